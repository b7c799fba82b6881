"""GPUs by their datasheets, and what one engine runs on: a profile, ``gpus`` GPUs of one part, by tensor parallelism."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import DataError, UnknownNameError
from cloudbandit.core.files import read_csv


@dataclass(frozen=True, slots=True)
class GPU:
    """One GPU's datasheet. Compute is dense (vendors print twice as much, with sparsity), ``link_gb_per_s`` is to another
    GPU of the same machine in one direction."""

    part: str
    aliases: tuple[str, ...]
    architecture: str
    compute_capability: float
    memory_gib: float
    bandwidth_gb_per_s: float
    fp16_dense_tflops: float
    link_gb_per_s: float
    source: str = ""


@lru_cache(maxsize=8)
def load_gpus(path: Path | None = None) -> dict[str, GPU]:
    """Datasheets by part name.

    Raises:
        DataError: a column is missing or a number is not > 0; the message names the line.
    """
    path = path or bundled() / "gpus" / "gpus.csv"
    numbers = ("compute_capability", "memory_gib", "bandwidth_gb_per_s", "fp16_dense_tflops", "link_gb_per_s")
    out: dict[str, GPU] = {}
    columns = ("part", "aliases", "architecture", *numbers, "source")
    for line, row in read_csv(path, columns, f"there is no table of GPUs at {path}", DataError):
        try:
            cc, memory, bandwidth, tflops, link = values = [float(row[name]) for name in numbers]
        except ValueError:
            values = []
        if not values or not all(math.isfinite(v) and v > 0 for v in values):
            raise DataError(f"{path} line {line}: {', '.join(numbers)} must be finite numbers > 0")
        aliases = tuple(a for a in row["aliases"].split(";") if a)
        out[row["part"]] = GPU(
            row["part"], aliases, row["architecture"], cc, memory, bandwidth, tflops, link, row["source"]
        )
    return out


def find_gpu(name: str, gpus: dict[str, GPU] | None = None) -> GPU:
    """A GPU by part or alias, in any case.

    Raises:
        UnknownNameError: nobody knows it; the message lists the known and says how to add one.
    """
    table = load_gpus() if gpus is None else gpus
    wanted = name.strip().lower()
    for gpu in table.values():
        if wanted in (gpu.part.lower(), *(a.lower() for a in gpu.aliases)):
            return gpu
    cure = "To add one, copy data/gpus/gpus.csv, append a row from its datasheet, and name the file with --gpus."
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
