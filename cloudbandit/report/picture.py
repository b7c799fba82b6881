"""A figure as a notebook shows it, without a display and without pyplot."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """A PNG; a notebook shows it where it is the last value of a cell."""

    png: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: str | Path) -> None:
        """As it is; for svg and pdf give ``plot`` the file."""
        Path(path).write_bytes(self.png)
