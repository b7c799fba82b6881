"""A recorded table in memory: workloads, each with its domain and what was recorded of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cloudbandit.core.errors import TableError, UnknownNameError
from cloudbandit.core.listing import Listing
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate
from cloudbandit.tables.columns import Codes
from cloudbandit.tables.frame import described
from cloudbandit.tables.manifest import Manifest, read_manifest
from cloudbandit.tables.records import Cells, Records
from cloudbandit.tables.rows import Rows
from cloudbandit.tables.text import read

if TYPE_CHECKING:
    import pandas as pd


class RecordedWorkload:
    """One workload of a table: a domain, and what was recorded of it."""

    def __init__(self, name: str, cells: Cells, domain: Domain) -> None:
        self.name = name
        self.cells = cells
        """``candidate.key`` → cell."""
        self.domain = domain

    @property
    def ever_succeeds(self) -> bool:
        return self.cells.ever_succeed

    def __repr__(self) -> str:
        return f"RecordedWorkload({self.name!r}, {len(self.cells)} cells)"


class Table:
    """A recorded table.

    Args:
        name: what it is called in messages.
        manifest: what the columns mean.
        texts: its cells as texts, one column per column; by default they are read from the manifest's file.

    Raises:
        TableError: the file cannot be read, lacks a column, or holds what its manifest rules out.
    """

    def __init__(self, name: str, manifest: Manifest, texts: pd.DataFrame | None = None) -> None:
        self.name = name
        self.manifest = manifest
        reader = Rows(manifest, read(manifest.file, manifest.separator, manifest.encoding) if texts is None else texts)
        if not reader.count:
            raise TableError(f"{manifest.file} holds no rows; cure: a line per run below the header")
        self.rows = reader.count
        self.arms: tuple[str, ...] = reader.arms
        self.records: Records = reader.records()
        self.unused: tuple[str, ...] = reader.unused
        """Columns of the file without a role."""
        self._parameters = reader.parameters
        self._domains: dict[bytes, Domain] = {}

    @classmethod
    def load(cls, folder: str | Path) -> Table:
        """The table in a folder with a ``table.toml``."""
        folder = Path(folder)
        return cls(folder.name, read_manifest(folder / "table.toml"))

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        metrics: str | Sequence[str] | Mapping[str, str],
        arm: str | None = None,
        context: str | Sequence[str] = (),
        params: Sequence[str] | Mapping[str, str] | None = None,
        spent: Mapping[str, str] | None = None,
        status: str | None = None,
        facts: str | Sequence[str] | Mapping[str, str | tuple[str, ...]] = (),
        name: str = "frame",
    ) -> Table:
        """A table from a frame, one row per recorded run; the index is ignored.

        Args:
            metrics: columns, or metric → column.
            arm: the column that names the arm; without one there is the arm ``all``.
            context: columns whose values together are a workload, joined with ``|``; without one there is the workload ``all``.
            params: columns, or column → kind (``"int"``, ``"float"``, ``"bool"``, ``"choice"``); by default every column that
                has no other role. An empty cell: not active in that row.
            spent: ``{"usd": column, "seconds": column}``, either or both: what a trial cost whoever ran it.
            status: a column; ``ok`` and true are runs that succeeded, ``timeout`` and ``stopped`` mean that, anything else means
                failed. Without one every row is a run that succeeded.
            facts: columns, or fact → column, or → several columns of which a row fills one: known before a trial.
            name: what it is called in messages, which count lines as in a CSV file of the frame.

        Raises:
            TableError: a column is lacking or has two roles, or a cell holds what its role rules out.

        Examples:
            >>> import pandas as pd
            >>> runs = pd.DataFrame({"cloud": ["a", "a", "b"], "nodes": [2, 4, 2], "cost_usd": [3.0, 5.0, 4.0]})
            >>> Table.from_frame(runs, arm="cloud", metrics="cost_usd").candidates[0]
            Candidate(a: nodes=2)
        """
        manifest, texts = described(name, frame, metrics, arm, context, params, spent, status, facts)
        return cls(name, manifest, texts)

    @property
    def fingerprint(self) -> str:
        """The same for the same content."""
        digest = hashlib.sha256(repr(self.name).encode())
        for workload, cells in self.records.cells.items():
            digest.update(repr(workload).encode())
            for cell in cells.in_turn:
                digest.update(repr(cell).encode())
        return digest.hexdigest()

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.manifest.metrics)

    @property
    def workloads(self) -> tuple[str, ...]:
        return tuple(sorted(self.records.workloads))

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every distinct candidate of any workload, by arm and then in the order of the file."""
        by_workload = dict.fromkeys(p for cells in self.records.cells.values() for p in cells.positions.tolist())
        return tuple(sorted((self.records.candidates[p] for p in by_workload), key=lambda c: c.arm))

    def workload(self, name: str) -> RecordedWorkload:
        """One workload.

        Raises:
            UnknownNameError: the table has no such workload.
        """
        cells = self.records.cells.get(name)
        if cells is None:
            raise UnknownNameError("workload", name, self.workloads, f"(in the table {self.name})")
        every = self.manifest.missing == "unavailable"
        return RecordedWorkload(name, cells, self._domain(self._in_order if every else cells.positions))

    @cached_property
    def _in_order(self) -> Codes:
        """Positions in ``records.candidates``: by parameter name, then numbers by size and labels by text, so that the order of
        rows means nothing."""
        candidates = self.records.candidates
        order = sorted(range(len(candidates)), key=lambda p: _config_order(candidates[p]))
        return np.array(order, dtype=np.intp)

    def _domain(self, offered: Codes) -> Domain:
        """Workloads that offer the same configs share a domain, and what optimizers work out about it."""
        chosen = np.zeros(len(self.records.candidates), dtype=bool)
        chosen[offered] = True
        key = np.packbits(chosen).tobytes()
        if key not in self._domains:
            by_arm: dict[str, list[Candidate]] = {arm: [] for arm in self.arms}
            for position in self._in_order[chosen[self._in_order]].tolist():
                candidate = self.records.candidates[position]
                by_arm[candidate.arm[0]].append(candidate)
            self._domains[key] = Domain(
                {arm: Listing.of(some, self._parameters[arm]) for arm, some in by_arm.items() if some}
            )
        return self._domains[key]

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {self.rows} rows, {len(self.records.workloads)} workloads)"


def _config_order(candidate: Candidate) -> list[tuple[str, str, float, str]]:
    """By parameter name, then numbers by size and labels by text: independent of the order of rows."""
    return [
        (k, type(v).__name__, 0.0 if isinstance(v, str) else float(v), v if isinstance(v, str) else "")
        for k, v in candidate.config.items()
    ]
