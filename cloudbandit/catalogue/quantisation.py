"""In which precision a checkpoint holds each part of its weights: read from ``quantization_config``, whoever produced it.

Producers write the same three facts differently: a format, the modules it is not applied to, and formats of single modules.
Embeddings, output matrices and routers are left in 16 bits by all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from cloudbandit.catalogue.config_fields import Fields
from cloudbandit.catalogue.precision import FP16, PRECISIONS, Precision, find_precision, grouped
from cloudbandit.core.errors import UnknownNameError

_ALWAYS_16_BIT = ("embedding", "head", "router", "vision")
_MODULES = {  # a part → modules that stand for it, under the names of several families
    "attention": ("self_attn.o_proj", "self_attn.out_proj", "attn.wo_b", "mixer.o_proj", "attention.dense"),
    "linear_attention": ("linear_attn.out_proj", "mixer.out_proj", "mamba.out_proj", "self_attn.o_proj"),
    "mlp": ("mlp.down_proj", "mixer.down_proj", "feed_forward.down_proj", "ffn.w2"),
    "experts": (
        *("mlp.experts", "mlp.experts.7.down_proj", "block_sparse_moe.experts.7.w2", "ffn.experts", "ffn.experts.7.w2"),
        *("mixer.experts.7.down_proj", "experts.7.down_proj", "moe.experts.7.down_proj", "feed_forward.experts.7.w2"),
    ),
    "shared_experts": (
        *("mlp.shared_experts.down_proj", "mlp.shared_expert.down_proj", "mixer.shared_experts.down_proj"),
        *("ffn.shared_experts.w2", "shared_mlp.output_linear", "block_sparse_moe.shared_experts.down_proj"),
    ),
    "encoder": ("layer.0.SelfAttention.o",),
}
_PREFIXES = ("model.layers", "model.language_model.layers", "language_model.model.layers", "backbone.layers", "layers")
_IGNORED = ("ignore", "modules_to_not_convert", "exclude_modules", "ignored_layers", "llm_int8_skip_modules", "exclude")
_METHODS = {  # methods that are one format; others are told apart by their bits
    **dict.fromkeys(("fp8", "fbgemm_fp8", "finegrained_fp8", "ptpc_fp8"), "fp8"),
    **dict.fromkeys(("nvfp4", "modelopt_fp4"), "nvfp4"),
    "mxfp8": "mxfp8",
    "mxfp4": "mxfp4",
    "eetq": "int8-weights",
    "experts_int8": "int8-weights",
}
_INTEGERS = (
    "gptq",
    "awq",
    "auto-round",
    "autoround",
    "intel/auto-round",
    "hqq",
    "auto_gptq",
    "gptq_marlin",
    "awq_marlin",
    "deepspeedfp",
)


def precisions(f: Fields, layers: Mapping[str, Sequence[int]]) -> dict[str, Precision]:
    """Of each part that is named.

    Args:
        layers: part → the layers that have it (empty: it has none of its own).

    Raises:
        DataError: the method or format is not known; the message names the field.
    """
    quantized = config_of(f)
    plain = _sixteen_bit(f)
    if not quantized:
        return dict.fromkeys(layers, plain)
    single = quantized.get("quantized_layers")
    groups = quantized.get("config_groups")
    out = {}
    for part, where in layers.items():
        names = _names(f, part, where)
        if part in _ALWAYS_16_BIT:
            out[part] = plain if plain.bytes == 2 else PRECISIONS[FP16]
        elif isinstance(single, Mapping) and single:  # modules by name; the others keep the method's own precision
            out[part] = _named(f, single, names) or _method(quantized) or plain
        elif any(_matches(p, n) for p in _ignored(quantized) for n in names):
            out[part] = plain
        elif isinstance(groups, Mapping) and groups:
            group = next((g for g in groups.values() if _aims_at(g, names)), None)
            out[part] = plain if group is None else _by_group(f, quantized, group)
        else:
            out[part] = _whole(f, quantized)
    if "experts" in out and "fp4" in str(f.get("expert_dtype")) and not single:
        out["experts"] = PRECISIONS["mxfp4"]
    return out


def cache_precision(f: Fields) -> Precision:
    """Of the key-value cache: 16 bits unless the checkpoint brings scales for another."""
    quantized = config_of(f)
    scheme = quantized.get("kv_cache_scheme") or quantized.get("kv_cache_quant_algo")
    bits = scheme.get("num_bits") if isinstance(scheme, Mapping) else None
    if bits == 8 or (isinstance(scheme, str) and "8" in scheme):
        return PRECISIONS["fp8"]
    if bits == 4 or (isinstance(scheme, str) and "4" in scheme):
        return PRECISIONS["nvfp4"]
    return PRECISIONS[FP16]


def config_of(f: Fields) -> dict[str, Any]:
    """``quantization_config`` (or ModelOpt's separate ``quantization``), its nested parts in one; empty where there is none."""
    found = f.get("quantization_config", "compression_config", "quantization")
    if not isinstance(found, Mapping):
        return {}
    inner = found.get("quantization")
    return {**found, **inner} if isinstance(inner, Mapping) else dict(found)


def _sixteen_bit(f: Fields) -> Precision:
    word = f.get("torch_dtype", "dtype")
    try:
        return find_precision(str(word)) if word and word != "auto" else PRECISIONS[FP16]
    except UnknownNameError:
        raise f.beyond("torch_dtype" if f.get("torch_dtype") else "dtype", "that number format") from None


def _names(f: Fields, part: str, layers: Sequence[int]) -> list[str]:
    """Full names of the modules that stand for a part, in the middle one of its layers: the first and the last are often
    exempt."""
    if not layers:
        return []
    middle = layers[len(layers) // 2]
    modules = _MODULES.get(part, ())
    if part == "experts" and f.get("enable_moe_block"):  # Gemma 4: beside the dense network, not in its place
        modules = ("experts.7.down_proj",)
    return [f"{prefix}.{middle}.{module}" for prefix in _PREFIXES for module in modules]


def _ignored(quantized: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for key in _IGNORED:
        value = quantized.get(key)
        found += [str(v) for v in value] if isinstance(value, list | tuple) else []
    return found


def _matches(pattern: str, name: str) -> bool:
    """As the producers write them: a regular expression after ``re:``, a glob, or whole components of the name."""
    if pattern.startswith("re:"):
        return re.match(pattern[3:], name) is not None
    if "*" in pattern:
        return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") or fnmatchcase(name, f"*.{pattern}")
    return f".{pattern}." in f".{name}."


def _aims_at(group: object, names: Sequence[str]) -> bool:
    if not isinstance(group, Mapping):
        return False
    targets = [str(t) for t in group.get("targets") or ["Linear"]]
    return any(t in ("Linear", "FusedMoE", "RoutedExperts") or any(_matches(t, n) for n in names) for t in targets)


def _by_group(f: Fields, quantized: Mapping[str, Any], group: Mapping[str, Any]) -> Precision:
    weights = group.get("weights")
    if not isinstance(weights, Mapping):
        return _sixteen_bit(f)
    bits, kind, size = weights.get("num_bits"), str(weights.get("type") or "int"), weights.get("group_size")
    style = str(group.get("format") or quantized.get("format") or "")
    activations = group.get("input_activations")
    if not isinstance(bits, int | float) or bits <= 0:
        raise f.beyond("quantization_config", f"weights of {bits!r} bits")
    if kind == "float" and bits == 8:
        return PRECISIONS["mxfp8" if style.startswith("mxfp8") or size == 32 else "fp8"]
    if kind == "float" and bits == 4:
        name = "mxfp4" if style.startswith("mxfp4") or size == 32 else "nvfp4"
        return PRECISIONS[name] if activations else replace(PRECISIONS[name], compute=FP16)  # weights alone
    if bits == 8 and activations:
        return PRECISIONS["int8"]
    return grouped(float(bits), size if isinstance(size, int | float) else 0)


def _by_algorithm(f: Fields, algorithm: str) -> Precision:
    """ModelOpt's ``quant_algo``."""
    word = algorithm.upper()
    for part, name in (
        *(("NVFP4", "nvfp4"), ("MXFP4", "mxfp4"), ("MXFP8", "mxfp8"), ("FP8", "fp8"), ("W8A16", "int8-weights")),
        *(("INT4", "int4"), ("W4A16", "int4"), ("W4A8", "int4"), ("INT8", "int8"), ("W8A8", "int8")),
    ):
        if part in word:
            found = PRECISIONS[name]
            return replace(found, compute=FP16) if "A16" in word else found
    raise f.beyond("quantization_config", f"quant_algo {algorithm!r}")


def _named(f: Fields, single: Mapping[str, Any], names: Sequence[str]) -> Precision | None:
    found = next((single[n] for n in names if n in single), None)
    found = found or next((v for k, v in single.items() if k.startswith(tuple(f"{n}." for n in names))), None)
    return _by_algorithm(f, str(found.get("quant_algo"))) if isinstance(found, Mapping) else None


def _method(quantized: Mapping[str, Any]) -> Precision | None:
    name = _METHODS.get(str(quantized.get("quant_method") or "").lower())
    return PRECISIONS[name] if name else None


def _whole(f: Fields, quantized: Mapping[str, Any]) -> Precision:
    """Of a checkpoint with one format for all."""
    method = str(quantized.get("quant_method") or "").lower()
    algorithm = quantized.get("quant_algo")
    if algorithm and str(algorithm).upper() not in ("MIXED_PRECISION", "NONE"):
        return _by_algorithm(f, str(algorithm))
    if method in _METHODS:
        return PRECISIONS[_METHODS[method]]
    if method == "bitsandbytes" or quantized.get("load_in_4bit") or quantized.get("load_in_8bit"):
        if quantized.get("load_in_4bit") or quantized.get("_load_in_4bit"):
            double = quantized.get("bnb_4bit_use_double_quant")  # scales are quantised too (QLoRA, section 3)
            return Precision("nf4", 0.5 + (0.127 / 8 if double else 4 / 64), FP16)
        return PRECISIONS["int8-weights"]
    bits = quantized.get("bits") or quantized.get("w_bit") or quantized.get("nbits") or quantized.get("weight_bits")
    if method in _INTEGERS or (not method and bits):
        if not isinstance(bits, int | float) or not 0 < bits <= 16:
            raise f.beyond("quantization_config", f"{method or 'a method'} with bits = {bits!r}")
        return grouped(float(bits), quantized.get("group_size") or quantized.get("q_group_size"))
    word = _spelled(quantized, method)
    if word is None:
        raise f.beyond("quantization_config", f"quant_method {method!r}")
    return word


def _spelled(quantized: Mapping[str, Any], method: str) -> Precision | None:
    """Quark, Quanto and torchao spell the format out somewhere inside."""
    if method == "quark":
        weight = (quantized.get("global_quant_config") or {}).get("weight") or {}
        weight = weight[0] if isinstance(weight, list) and weight else weight
        word = str(weight.get("dtype") or "") if isinstance(weight, Mapping) else ""
        fine = isinstance(weight, Mapping) and weight.get("group_size") == 32
        word = "mxfp4" if word.startswith("fp4") and fine else word
    elif method == "quanto":
        word = str(quantized.get("weights") or "")
    elif method == "torchao":
        kind = quantized.get("quant_type")
        kind = str(kind).lower() if kind else ""
        if "float8" in kind or "fp8" in kind:
            word = "fp8"
        elif "int4" in kind or "uint4" in kind:
            word = "int4"
        else:
            word = "int8" if "int8" in kind and "dynamic" in kind else "int8-weights" if "int8" in kind else ""
    else:
        return None
    try:
        return find_precision(word)
    except UnknownNameError:
        return None
