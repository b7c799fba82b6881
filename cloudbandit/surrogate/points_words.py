"""Words in a points file: which precision and which GPU are meant."""

from __future__ import annotations

from collections.abc import Mapping

from cloudbandit.catalogue.gpus import GPU
from cloudbandit.core.errors import UnknownNameError, UsageError

PRECISIONS = ("bf16", "fp16", "fp8", "mxfp8", "int8", "nvfp4", "mxfp4", "int4", "nf4")
"""Of the weights as served."""
_OTHER_WORDS = {
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "fp8_e4m3": "fp8",
    "fp4": "nvfp4",
    "awq": "int4",
    "gptq": "int4",
}


def precision_name(text: str) -> str:
    """The precision meant, in any case; ``fp4`` is ``nvfp4``.

    Raises:
        UnknownNameError: nobody knows it.
    """
    word = text.strip().lower()
    word = _OTHER_WORDS.get(word, word)
    if word not in PRECISIONS:
        raise UnknownNameError("precision", text, PRECISIONS)
    return word


def part_of(name: str, gpus: Mapping[str, GPU]) -> GPU:
    """The GPU meant in a file that outlives its writer: a part, or an alias that leaves no doubt, in any case.

    Raises:
        UsageError: parts of this name have memories that differ by half or more (A100: 40 or 80 GB).
        UnknownNameError: nobody knows it.
    """
    wanted = name.strip().lower()
    exact = next((g for g in gpus.values() if g.part.lower() == wanted), None)
    if exact is not None:
        return exact
    family = [g for g in gpus.values() if g.part.lower().startswith(wanted + "-")] if wanted else []
    if family and max(g.memory_gib for g in family) >= 1.5 * min(g.memory_gib for g in family):
        parts = ", ".join(g.part for g in family)
        raise UsageError(f"gpu is {name!r}, which may be any of {parts}; cure: name the part")
    found = next((g for g in gpus.values() if wanted in (a.lower() for a in g.aliases)), None)
    if found is None:
        raise UnknownNameError("GPU", name, gpus, "To add one, append a row to a copy of data/gpus/gpus.csv.")
    return found
