"""Counts the parameters of well-known models in transformers, on the meta device (no weights), for tests/data/models.json.

Needs an environment of its own: ``pip install transformers==5.24.0 torch==2.14.1``, without this project. The configs in the file
are the fields that matter of each model's published config.json. Without arguments the file is checked; ``--write`` replaces its
counts. A model whose class here is not the published one (its code lies beside the weights) names the class that has its shapes.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from pathlib import Path

FILE = Path(__file__).parent.parent / "tests" / "data" / "models.json"
SAME_SHAPES = {"kimi_k2": "deepseek_v3", "minimax_m3": "minimax_m3_vl_text"}


def counted(config: dict) -> dict[str, float]:
    """Parameters in all, of the vision tower, and active per token: all but the vision tower and the experts not chosen."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    config = copy.deepcopy(config)
    kind = config.pop("model_type")
    if kind == "kimi_k25":
        config = config["text_config"]
        kind = config.pop("model_type")
    made = AutoConfig.for_model(SAME_SHAPES.get(kind, kind), **config)
    auto = AutoModelForImageTextToText if config.get("vision_config") else AutoModelForCausalLM
    with torch.device("meta"):
        try:
            model = auto.from_config(made)
        except ValueError:
            model = AutoModelForCausalLM.from_config(made.get_text_config())
    model.tie_weights()
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    sees = sum(n for name, n in sizes.items() if any(w in name for w in ("vision", "visual", "multi_modal")))
    experts = sum(n for name, n in sizes.items() if ".experts." in name)
    text = {**config, **config.get("text_config", {}), **config.get("ffn_config", {})}
    chosen = next((text[k] for k in TOP_K if text.get(k)), 1)
    count = next((text[k] for k in EXPERTS if text.get(k)), 1)
    share = (chosen[0] if isinstance(chosen, list) else chosen) / count
    total = sum(sizes.values())
    return {
        "parameters": total,
        "active_parameters": round(total - sees - experts * (1 - share)),
        "vision_parameters": sees,
        "expert_parameters": experts,
    }


TOP_K = ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", "moe_k")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    models = json.loads(FILE.read_text(encoding="utf-8"))
    wrong = []
    for m in models["models"]:
        found = counted(m["config"])
        if any(not math.isclose(found[k], m.get(k, -1)) for k in found):
            wrong.append(m["name"])
        m.update(found)
    if args.write:
        lines = ",\n".join("  " + json.dumps(m) for m in models["models"])
        head = json.dumps({k: v for k, v in models.items() if k != "models"})[1:-1]
        FILE.write_text(f'{{{head}, "models": [\n{lines}\n]}}\n', encoding="utf-8")
    print(json.dumps({"models": len(models["models"]), "other_than_in_the_file": wrong}) if args.json else f"{wrong=}")


if __name__ == "__main__":
    main()
