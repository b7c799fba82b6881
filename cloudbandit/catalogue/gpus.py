"""GPUs by their datasheets, and what one engine runs on: a profile, ``gpus`` GPUs of one part, by tensor parallelism."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cloudbandit.catalogue.precision import FP4, FP8, find_precision
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import DataError, UnknownNameError, UsageError


_WEIGHTS_ALONE_FROM = 8.0
"""Compute capability from which engines unpack 4-bit floats on the way to FP16 matrices."""


@dataclass(frozen=True, slots=True)
class GPU:
    """One GPU's datasheet. Compute is dense (vendors print twice as much, with sparsity), ``link_gb_per_s`` is to another
    GPU of the same machine in one direction. A rate of None: its matrices do not compute in that format, or nobody knows.
    ``ambiguous`` are names that also mean other parts (LLM-Pilot's ``A100`` is the one of 40 GB)."""

    part: str
    aliases: tuple[str, ...]
    architecture: str
    compute_capability: float
    memory_gib: float
    bandwidth_gb_per_s: float
    fp16_dense_tflops: float
    link_gb_per_s: float
    source: str = ""
    fp8_dense_tflops: float | None = None
    fp4_dense_tflops: float | None = None
    ambiguous: tuple[str, ...] = ()

    def check_precision(self, precision: str) -> None:
        """That weights of a precision (see `cloudbandit.catalogue.precision.find_precision`) can be served on it.

        Raises:
            UsageError: its matrices do not compute in that format; the message says in which they do.
            UnknownNameError: no precision is called so.
        """
        self.dense_tflops(precision)

    def dense_tflops(self, precision: str) -> float:
        """At which it multiplies weights of a precision; weights that are only stored in fewer bits (INT4, NF4, MXFP4) are
        multiplied in FP16, and INT8 counts as FP16: its rate is not in the datasheets' table.

        Raises:
            UsageError, UnknownNameError: see `check_precision`.
        """
        wanted = find_precision(precision)
        rates = {FP8: self.fp8_dense_tflops, FP4: self.fp4_dense_tflops}
        rate = rates.get(wanted.compute, self.fp16_dense_tflops)
        packed = wanted.name == "mxfp4" and self.compute_capability < _WEIGHTS_ALONE_FROM
        if rate is None or packed:
            known = ["fp16", *(name for name, value in rates.items() if value is not None), "int4"]
            raise UsageError(
                f"{self.part} ({self.architecture}) cannot run {precision}: it computes in {', '.join(known[:-1])}, and stores "
                f"int4. Cure: serve the model in one of these, choose another GPU, or give its {wanted.compute}_dense_tflops"
            )
        return rate


def load_gpus(path: Path | None = None) -> dict[str, GPU]:
    """Datasheets by part name: the bundled ones, and before them those of a file of one's own (a row is enough; it replaces
    the bundled part of its name).

    Raises:
        DataError: a column is missing, a number is not > 0, or two parts share a name; the message names the line.
    """
    shipped = _read(bundled() / "gpus" / "gpus.csv")
    if path is None:
        return shipped
    mine = _read(path)
    return {**mine, **{part: gpu for part, gpu in shipped.items() if part not in mine}}


_NUMBERS = ("compute_capability", "memory_gib", "bandwidth_gb_per_s", "fp16_dense_tflops", "link_gb_per_s")
_RATES = ("fp8_dense_tflops", "fp4_dense_tflops")


@lru_cache(maxsize=8)
def _read(path: Path) -> dict[str, GPU]:
    out: dict[str, GPU] = {}
    names: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                try:
                    gpu = _gpu(row)
                    for name in (gpu.part, *gpu.aliases, *gpu.ambiguous):
                        if names.setdefault(name.lower(), gpu.part) != gpu.part or gpu.part in out:
                            raise ValueError(f"{name} names two parts, {names[name.lower()]} and {gpu.part}")
                except (KeyError, TypeError, ValueError) as error:
                    raise DataError(
                        f"{path} line {line}: {error!r}; it needs part, architecture, {', '.join(_NUMBERS)}; aliases, "
                        f"{', '.join(_RATES)} and source may be left out"
                    ) from None
                out[gpu.part] = gpu
    except FileNotFoundError:
        raise DataError(f"there is no table of GPUs at {path}") from None
    return out


def _gpu(row: dict[str, str]) -> GPU:
    numbers = {name: float(row[name]) for name in _NUMBERS}
    rates = {name: float(row[name]) for name in _RATES if (row.get(name) or "").strip()}
    if not all(math.isfinite(v) and v > 0 for v in (*numbers.values(), *rates.values())):
        raise ValueError("numbers must be > 0")
    if not row["part"]:
        raise ValueError("part is empty")
    aliases, ambiguous = (
        tuple(a.strip() for a in (row.get(c) or "").split(";") if a.strip()) for c in ("aliases", "ambiguous")
    )
    return GPU(
        part=row["part"],
        aliases=aliases,
        ambiguous=ambiguous,
        architecture=row["architecture"],
        source=row.get("source") or "",
        **numbers,
        **rates,
    )


def find_gpu(name: str, gpus: dict[str, GPU] | None = None, *, strict: bool = False) -> GPU:
    """A GPU by part or alias, in any case.

    Args:
        gpus: datasheets; by default the bundled ones.
        strict: refuse a name that also means other parts (``A100``: 40 or 80 GB), as in somebody's measurements.

    Raises:
        UnknownNameError: nobody knows it; the message lists the known and says how to add one.
        UsageError: it is ambiguous; the message lists the parts it may mean.
    """
    table = load_gpus() if gpus is None else gpus
    wanted = name.strip().lower()
    for gpu in table.values():
        if wanted in (gpu.part.lower(), *(a.lower() for a in gpu.aliases)):
            return gpu
    for gpu in table.values():
        if wanted in (a.lower() for a in gpu.ambiguous):
            if strict:
                parts = [p for p in table if p.lower().startswith(f"{wanted}-")]
                raise UsageError(f"the GPU {name!r} may be any of {', '.join(parts)}. Cure: name the part")
            return gpu
    cure = "To add one, write a row from its datasheet as in data/gpus/gpus.csv, and name the file with --gpus."
    raise UnknownNameError("GPU", name, table, cure)


@dataclass(frozen=True, slots=True)
class Profile:
    """What one engine runs on: ``gpus`` GPUs of one part."""

    gpu: GPU
    gpus: int

    @property
    def key(self) -> tuple[str, int]:
        return self.gpu.part, self.gpus

    @property
    def memory_gib(self) -> float:
        return self.gpus * self.gpu.memory_gib

    def __str__(self) -> str:
        return f"{self.gpus} x {self.gpu.part}"
