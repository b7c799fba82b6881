"""What a table records, column by column; rows and cells are made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cloudbandit.core.trial import Candidate, Status
from cloudbandit.tables.cell import Cell, Row
from cloudbandit.tables.columns import Array, Codes, Flags


@dataclass(frozen=True)
class Records:
    """n runs in the order of the file, the first of them in line 2.

    Attributes:
        workloads: names; ``workload`` is each run's position in them, ``(n,)``.
        candidates: what was run; ``candidate`` is each run's position in them, ``(n,)``.
        statuses, reasons: per run.
        metrics, usd, seconds, load: ``(n,)`` each, NaN where a run has none; ``usd``, ``seconds`` and ``load`` are None where no
            run has one.
        facts: distinct sets of them; ``fact`` is each run's position in these, ``(n,)``; None: nothing is known of any.
    """

    workloads: Sequence[str]
    workload: Codes
    candidates: Sequence[Candidate]
    candidate: Codes
    statuses: Sequence[Status]
    reasons: Sequence[str]
    metrics: Mapping[str, Array]
    usd: Array | None = None
    seconds: Array | None = None
    load: Array | None = None
    facts: Sequence[Mapping[str, float | str]] = ({},)
    fact: Codes | None = None

    def __len__(self) -> int:
        return len(self.workload)

    def row(self, i: int) -> Row:
        """Run number i, counted from 0."""
        metrics = {}
        for name, column in self.metrics.items():
            value = float(column[i])
            if value == value:  # NaN is not
                metrics[name] = value
        return Row(
            i + 2,
            self.statuses[i],
            self.reasons[i],
            metrics,
            _known(self.usd, i),
            _known(self.seconds, i),
            self.facts[0 if self.fact is None else self.fact[i]],
            _known(self.load, i),
        )

    @cached_property
    def ok(self) -> Flags:
        """Which runs succeeded, ``(n,)``."""
        return np.array([status is Status.OK for status in self.statuses], dtype=bool)

    @cached_property
    def cells(self) -> Mapping[str, Cells]:
        """Workload → its cells, in the order of their first runs."""
        order = np.lexsort((np.arange(len(self)), self.candidate, self.workload))
        workload, candidate = self.workload[order], self.candidate[order]
        begins = np.flatnonzero(np.diff(workload, prepend=-1) | np.diff(candidate, prepend=-1))
        ends = np.append(begins[1:], len(order))
        by_first = np.argsort(order[begins], kind="stable")
        begins, ends = begins[by_first], ends[by_first]
        found = {}
        for w, name in enumerate(self.workloads):
            here = workload[begins] == w
            found[name] = Cells(self, candidate[begins[here]], order, begins[here], ends[here])
        return found


class Cells(Mapping[str, Cell]):
    """The cells of one workload: ``candidate.key`` → cell.

    Args:
        records: where their runs are.
        positions: per cell, of its candidate in ``records.candidates``.
        order, begins, ends: cell j has the runs ``order[begins[j]:ends[j]]``.
    """

    def __init__(self, records: Records, positions: Codes, order: Codes, begins: Codes, ends: Codes) -> None:
        self._records, self.positions = records, positions
        self._order, self._begins, self._ends = order, begins, ends

    @property
    def candidates(self) -> Iterator[Candidate]:
        """Their candidates, without a look at what was run."""
        return (self._records.candidates[p] for p in self.positions.tolist())

    @cached_property
    def _index(self) -> dict[str, int]:
        return {candidate.key: j for j, candidate in enumerate(self.candidates)}

    def _cell(self, j: int) -> Cell:
        runs = self._order[self._begins[j] : self._ends[j]].tolist()
        candidate = self._records.candidates[self.positions[j]]
        return Cell(candidate, tuple([self._records.row(i) for i in runs]))

    def __getitem__(self, key: str) -> Cell:
        return self._cell(self._index[key])

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def __iter__(self) -> Iterator[str]:
        return (candidate.key for candidate in self.candidates)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def runs(self) -> Codes:
        """Positions of all their runs in the records."""
        return np.concatenate([self._order[b:e] for b, e in zip(self._begins, self._ends, strict=True)])

    @property
    def ever_succeed(self) -> bool:
        """Whether some run did."""
        return bool(self._records.ok[self.runs].any())

    @property
    def in_turn(self) -> Iterator[Cell]:
        """The cells, in order: cheaper than by their keys."""
        return (self._cell(j) for j in range(len(self)))


def _known(column: Array | None, i: int) -> float | None:
    if column is None:
        return None
    value = float(column[i])
    return value if value == value else None
