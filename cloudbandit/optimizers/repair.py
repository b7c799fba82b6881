"""From points of a unit cube to configs: decoded, and repaired to what meets the known constraints and was not tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.parameter import Parameter
from cloudbandit.core.trial import Candidate, Value

Array = np.ndarray[Any, np.dtype[np.float64]]

_DRAWN = 300  # what stands for a space that cannot be listed


class Repair:
    """Of one optimizer, whose domain and taken configs decide.

    A point's first coordinate chooses the arm, the others a value each. A config that the space does not have is repaired to the
    nearest free one of its arm in the encoding of `Domain.encode`; where the space cannot be listed, to the nearest of some
    hundred draws.
    """

    def __init__(self, optimizer: BaseOptimizer) -> None:
        self._optimizer, self._domain = optimizer, optimizer.domain
        self._leaves = list(self._domain.leaves.items())
        self.parameters = self._domain.parameters

    @property
    def width(self) -> int:
        """Coordinates of a point."""
        return 1 + len(self.parameters)

    @property
    def searched(self) -> int:
        """d: the parameters that have more than one value, and the arm where there are several."""
        return sum(not p.finite or len(p.values) > 1 for p in self.parameters) + (len(self._leaves) > 1)

    def decode(self, point: Sequence[float]) -> Candidate:
        """What the point says, whether or not the space has it; parameters that other arms have alone, or that are inactive, are
        left out."""
        arm, leaf = self._leaves[min(int(point[0] * len(self._leaves)), len(self._leaves) - 1)]
        own = {p.name: p for p in leaf.parameters}
        shares = {p.name: float(share) for p, share in zip(self.parameters, point[1:], strict=True) if p.name in own}
        config: dict[str, Value] = {}
        while True:  # parents may come after children
            more = [name for name in shares if name not in config and leaf.active(name, config)]
            if not more:
                return Candidate(arm, config)
            config[more[0]] = _at(own[more[0]], shares[more[0]])

    def encode(self, candidate: Candidate) -> Array:
        """A point that `decode` turns into the candidate; inactive parameters lie in the middle."""
        arms = [path for path, _ in self._leaves]
        own = {p.name: p for p in dict(self._leaves)[candidate.arm].parameters}
        shares = [(arms.index(candidate.arm) + 0.5) / len(arms)]
        for p in self.parameters:
            shares.append(_share(own[p.name], candidate[p.name]) if p.name in candidate.config else 0.5)
        return np.array(shares)

    def free(self, wanted: Candidate) -> Candidate | None:
        """The wanted candidate, or the nearest that is free; None where nothing is."""
        optimizer, domain = self._optimizer, self._domain
        if domain.enumerable:
            free = optimizer.free
            options: list[Candidate] = [domain.candidates[i] for i in free.tolist()]
            features = domain.features[free]
        else:
            taken = {*(o.candidate for o in optimizer.observations), *optimizer.pending}
            if domain.why_not(wanted) is None and wanted not in taken and not optimizer.rests(wanted):
                return wanted
            drawn = domain.sample(optimizer.rng(optimizer.turn, 41), _DRAWN)
            options = [c for c in dict.fromkeys(drawn) if c not in taken and not optimizer.rests(c)]
            features = domain.encode(options)
        if not options:
            return None
        own = np.array([c.arm == wanted.arm for c in options])
        distance = ((features - domain.encode([wanted])) ** 2).sum(axis=1)
        return options[int(np.argmin(np.where(own, distance, distance + 1e6) if own.any() else distance))]


def _at(parameter: Parameter, share: float) -> Value:
    """The value at a share of the parameter's range."""
    if parameter.finite:
        return parameter.values[min(int(share * len(parameter.values)), len(parameter.values) - 1)]
    low, high = parameter.low, parameter.high
    value = float(low * (high / low) ** share if parameter.log else low + share * (high - low))
    return min(int(high), round(value)) if parameter.kind == "int" else value


def _share(parameter: Parameter, value: Value) -> float:
    if parameter.finite:
        return (parameter.values.index(value) + 0.5) / len(parameter.values)
    return parameter.unit(value)
