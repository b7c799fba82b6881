"""``grid``: every combination of two knobs, everything else as in the first trial.

What vLLM's auto_tune does with ``max_num_seqs`` and ``max_num_batched_tokens`` (second-hand). Where a domain lacks one, the two
numeric knobs with most values that the first trial sets. Cells come in a seeded order.
"""

from __future__ import annotations

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.trial import Candidate
from cloudbandit.optimizers.random_search import draw_nominal, draw_unseen

_NAMES = ("max_num_seqs", "max_num_batched_tokens")


class Grid(BaseOptimizer):
    """See the module's text. The first trial is the default where the study begins with it, else a random one; when the grid has
    been tried it has finished."""

    def _suggest(self) -> Candidate | None:
        listed = self.domain.enumerable
        if not self.observations:
            if self._pending.total():
                return None
            return draw_nominal(self, self.free) if listed and len(self.free) else draw_unseen(self)
        base = self.observations[0].candidate
        taken = {*(o.candidate for o in self.observations), *self._pending}
        cells = [c for c in self._cells(base) if c not in taken and not self.rests(c)]
        return cells[int(self.rng(self.turn, 46).integers(len(cells)))] if cells else None

    def _cells(self, base: Candidate) -> list[Candidate]:
        own = {p.name: p for p in self.domain.leaves[base.arm].parameters if p.name in base.config}
        numeric = sorted((p for p in own.values() if p.numeric and p.finite), key=lambda p: (-len(p.values), p.name))
        names = _NAMES if all(name in own for name in _NAMES) else tuple(p.name for p in numeric[:2])
        cells = [dict(base.config)]
        for name in names:
            cells = [{**cell, name: value} for cell in cells for value in own[name].values]
        made = [Candidate(base.arm, cell) for cell in cells]
        return [c for c in made if self.domain.why_not(c) is None]
