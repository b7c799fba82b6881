"""The configs of the measured models, from the files that aiconfigurator-core brings: ``data/silicon-points/models.json``.

    python benchmarks/build_point_models.py

A config's fields are facts of a model's architecture, published by its makers; fields that say nothing about its size
are left out.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent.parent / "data" / "silicon-points" / "models.json"
MODELS = {  # as the points call it: family, file
    "DeepSeek-R1": ("DeepSeek-V3", "deepseek-ai--DeepSeek-R1"),
    "GLM-5": ("GLM-5", "zai-org--GLM-5"),
    "Kimi-K2.5": ("Kimi-K2", "moonshotai--Kimi-K2.5"),
    "Llama-3.1-70B": ("Llama-3.1", "meta-llama--Meta-Llama-3.1-70B"),
    "Llama-3.1-8B-Instruct": ("Llama-3.1", "meta-llama--Meta-Llama-3.1-8B"),
    "Llama-3.1-8B-Instruct-FP8": ("Llama-3.1", "meta-llama--Meta-Llama-3.1-8B"),
    "MiniMax-M2.5": ("MiniMax-M2", "MiniMaxAI--MiniMax-M2.5"),
    "Qwen3-235B-A22B-FP8": ("Qwen3", "Qwen--Qwen3-235B-A22B"),
    "Qwen3-32B": ("Qwen3", "Qwen--Qwen3-32B"),
    "Qwen3.5-397B-A17B": ("Qwen3.5", "Qwen--Qwen3.5-397B-A17B"),
    "gpt-oss-120b": ("gpt-oss", "openai--gpt-oss-120b"),
}
_SAYS_NOTHING = [
    "architectures",
    "auto_map",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "use_cache",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "initializer_range",
    "attention_dropout",
    "hidden_dropout",
    "pretraining_tp",
    "seq_aux",
    "aux_loss_alpha",
    "modules_to_not_convert",
    "ignore",
    "router_aux_loss_coef",
    "output_router_logits",
    "initial_context_length",
    "max_position_embeddings",
    "rms_norm_eps",
]


def _sizes(config: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in config.items() if k not in _SAYS_NOTHING}
    return {k: _sizes(v) if isinstance(v, dict) else v for k, v in kept.items()}


def main() -> None:
    folder = files("aiconfigurator_core") / "model_configs"
    models = {}
    for name, (family, file) in MODELS.items():
        config = json.loads((folder / f"{file}_config.json").read_text(encoding="utf-8"))
        models[name] = {"family": family, "file": file, "config": _sizes(config)}
    source = f"model_configs of aiconfigurator-core {version('aiconfigurator-core')} (Apache-2.0); configs by the models' makers"
    OUT.write_text(json.dumps({"source": source, "models": models}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{OUT}: {len(models)} models")


if __name__ == "__main__":
    main()
