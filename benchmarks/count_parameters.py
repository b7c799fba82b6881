"""Counts the parameters of well-known models in transformers, on the meta device (no weights), for tests/data/models.json.

Needs an environment of its own: ``pip install transformers==5.24.0 torch==2.14.1``, without this project. The configs in the file
are the fields that matter of each model's published config.json. Without arguments the file is checked; ``--write`` replaces its
counts. Where a model's code lies beside its weights, the class of the same shapes counts (`SAME_SHAPES`).

``--families`` reads the default config of every causal family of transformers instead, and says which are miscounted by more than
2 %, and which are refused: ``PYTHONPATH=. TF_ENV/bin/python benchmarks/count_parameters.py --families`` (this needs numpy alone).
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


def families() -> dict[str, object]:
    """Of every causal family with its default config: how far off the count is in percent, or why it is refused."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from cloudbandit.catalogue.models import ModelSpec
    from cloudbandit.core.errors import DataError

    within, off, refused, unbuilt = 0, {}, {}, []
    for family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            made = AutoConfig.for_model(family)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(made)
        except Exception:  # some defaults are no model: transformers itself fails on them
            unbuilt.append(family)
            continue
        model.tie_weights()
        total = sum(p.numel() for p in model.parameters())
        try:
            spec = ModelSpec.from_config(json.loads(made.to_json_string(use_diff=False)), family)
        except DataError as reason:
            refused[family] = str(reason)
            continue
        text = spec.parameters - sum(p.parameters for p in spec.parts if p.kind == "vision")
        error = min(text / total - 1, spec.parameters / total - 1, key=abs)  # some are built without their vision tower
        if abs(error) > 0.02:
            off[family] = round(100 * error, 1)
        else:
            within += 1
    return {"within_2_percent": within, "off_percent": off, "refused": refused, "not_built": unbuilt}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--families", action="store_true")
    args = parser.parse_args()
    if args.families:
        print(json.dumps(families(), indent=None if args.json else 1))
        return
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
