"""Number formats of weights and caches: what a weight takes, and what the matrix units compute in."""

from __future__ import annotations

from dataclasses import dataclass

from cloudbandit.core.errors import UnknownNameError

FP16, INT8, FP8, FP4 = "fp16", "int8", "fp8", "fp4"


@dataclass(frozen=True, slots=True)
class Precision:
    """A number format.

    Args:
        name: e.g. ``nvfp4``.
        bytes: per weight, its share of the scales included (NVFP4: 4 bits, and 8 for every 16 weights).
        compute: what its matrices are multiplied in: fp16, int8, fp8 or fp4. Formats of weights alone (MXFP4 of gpt-oss, AWQ,
            GPTQ, NF4) are unpacked and computed in 16 bits.
    """

    name: str
    bytes: float
    compute: str


PRECISIONS = {
    p.name: p
    for p in (
        Precision("bf16", 2.0, FP16),
        Precision("fp16", 2.0, FP16),
        Precision("fp8", 1.0, FP8),
        Precision("mxfp8", 1 + 1 / 32, FP8),
        Precision("int8", 1.0, INT8),
        Precision("int8-weights", 1.0, FP16),
        Precision("nvfp4", 0.5 + 1 / 16, FP4),
        Precision("mxfp4", 0.5 + 1 / 32, FP16),
        Precision("int4", 0.5 + 2 / 128, FP16),
        Precision("nf4", 0.5 + 4 / 64, FP16),
    )
}
"""Every format there is a word for; `grouped` makes others of integers."""
_ALIASES = {
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float32": "fp16",  # checkpoints in FP32 are served in FP16
    "float64": "fp16",
    "float": "fp16",
    "fp32": "fp16",
    "float8": "fp8",
    "float8_e4m3fn": "fp8",
    "float8_e5m2": "fp8",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "fp8_block": "fp8",
    "fp4": "nvfp4",
    "w4a16": "int4",
    "int4_wo": "int4",
    "awq": "int4",
    "gptq": "int4",
    "w8a8": "int8",
    "w8a16": "int8-weights",
    "int8_wo": "int8-weights",
}


def find_precision(name: str) -> Precision:
    """A format by its name or another word for it, in any case: ``bfloat16``, ``fp8_e4m3``, ``fp4`` (NVFP4), ``int4_wo``.

    Raises:
        UnknownNameError: no format is called so; the message lists the known.
    """
    word = str(name).strip().lower().removeprefix("torch.")
    word = _ALIASES.get(word, word)
    if word not in PRECISIONS:
        raise UnknownNameError("precision", str(name), PRECISIONS)
    return PRECISIONS[word]


def grouped(bits: float, group_size: float | None) -> Precision:
    """Integer weights of so many bits with a 16-bit scale for every group (by default of 128; ≤ 0: a scale per channel)."""
    if bits >= 16:
        return PRECISIONS[FP16]
    if bits == 8 and not group_size:
        return PRECISIONS["int8-weights"]
    size = 128.0 if group_size is None else group_size
    name = "int8-weights" if bits == 8 else f"int{bits:g}"
    return Precision(name, bits / 8 + (2 / size if size > 0 else 0.0), FP16)
