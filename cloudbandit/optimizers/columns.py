"""What a model sees of a candidate: its arm, its parameters, and facts, as columns in groups.

Numbers that are facts are scaled to [0, 1] over the domain, on a log scale where they are positive and wide; labels are one-hot
divided by √2, as labels of configs are (`Domain.encode`). What is unknown of a candidate lies in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cloudbandit.core.curve import PRICE
from cloudbandit.core.errors import UsageError
from cloudbandit.core.known import Fact, Facts, no_facts
from cloudbandit.core.listing import Space
from cloudbandit.core.parameter import Parameter
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Value

Array = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Positions = np.ndarray[Any, np.dtype[np.intp]]

_WIDE = 10.0  # a positive number that spans more than this is seen on a log scale, as parameters are
_MOST_LABELS = 256
_DRAWN = 256  # candidates that stand for a domain that is not listed


@dataclass(frozen=True)
class Points:
    """n candidates.

    Attributes:
        features: ``(n, d)``.
        arms: ``(n,)``, the position of each one's arm path; −1 for an arm that the domain does not have.
        active: ``(n, G)``, whether the candidate has what the group of columns is about.
    """

    features: Array
    arms: Positions
    active: Flags

    def __len__(self) -> int:
        return len(self.features)

    def at(self, positions: Any) -> Points:
        """Some of them."""
        return Points(self.features[positions], self.arms[positions], self.active[positions])

    def and_(self, other: Points) -> Points:
        """Both, these first."""
        return Points(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.arms, other.arms]),
            np.concatenate([self.active, other.active]),
        )

    def halved(self) -> Points:
        """In single precision."""
        return Points(self.features.astype(np.float32), self.arms, self.active)


class Columns:
    """How candidates of one domain become `Points`.

    Args:
        facts: of each candidate. The price is none of the columns: it is known what it does to a cost, and of anything else it
            says less than the machine does.

    Raises:
        UsageError: a fact is neither a finite number nor a text, or a number here and a text there.

    Attributes:
        groups: ``(d,)``, the group of each column: levels of arms first, then parameters, then facts.
        of_arms: how many groups are levels of arms.
        shared: ``(G,)``, whether several arms have the group, or there is but one arm; false of arms themselves.
    """

    def __init__(self, domain: Domain, facts: Facts) -> None:
        self._domain, self._facts = domain, facts
        self._parameters = [p for p in domain.parameters if not (p.finite and len(p.values) == 1)]
        self._leaves = {path: i for i, path in enumerate(domain.leaves)}
        own = domain.feature_groups
        count = int(own[-1]) + 1 if len(own) else 0
        self.of_arms = count - len(self._parameters)
        self._told = [] if facts is no_facts else [facts(c) for c in self._candidates]
        names = sorted({name for t in self._told for name in t})
        self._scales = {name: scale for name in names if (scale := _Scale.of(name, self._told)) is not None}
        widths = [scale.width for scale in self._scales.values()]
        self.groups: Positions = np.append(own, np.repeat(np.arange(count, count + len(widths)), widths)).astype(
            np.intp
        )
        of_parameters = np.sum([self._within(leaf) for leaf in domain.leaves.values()], axis=0)
        several = of_parameters > min(1, len(domain.leaves) - 1)
        self.shared: Flags = np.concatenate([np.zeros(self.of_arms, bool), several, np.ones(len(widths), bool)])

    @cached_property
    def _candidates(self) -> Sequence[Candidate]:
        domain = self._domain
        return domain.candidates if domain.enumerable else domain.sample(np.random.default_rng(0), _DRAWN)

    @cached_property
    def known(self) -> tuple[Sequence[Candidate], Points]:
        """Candidates that stand for the domain, all of them where it is listed."""
        return self._candidates, self.encode(self._candidates, told=self._told or None)

    def _within(self, leaf: Space) -> Flags:
        names = {p.name for p in leaf.parameters}
        return np.array([p.name in names for p in self._parameters], bool)

    @property
    def facts(self) -> tuple[str, ...]:
        """The names of facts that are columns."""
        return tuple(self._scales)

    def encode(
        self,
        candidates: Sequence[Candidate],
        facts: Facts | None = None,
        told: Sequence[Mapping[str, Fact]] | None = None,
    ) -> Points:
        """Also of candidates of another domain, of which only what this one has too is seen.

        Args:
            facts: of candidates of another domain; those of this one by default.
            told: what they say, where that was asked already.
        """
        if told is None:
            told = [(facts or self._facts)(c) for c in candidates] if self._scales else [{}] * len(candidates)
        tame = [c if self._owns(c) else self._tame(c) for c in candidates] if facts else candidates
        scaled = [scale.encode([t.get(name) for t in told]) for name, scale in self._scales.items()]
        active = np.ones((len(candidates), len(self.shared)), bool)
        for g, p in enumerate(self._parameters, start=self.of_arms):
            active[:, g] = [p.name in c.config for c in tame]
        for g, name in enumerate(self._scales, start=self.of_arms + len(self._parameters)):
            active[:, g] = [name in t for t in told]
        arms = np.array([self._leaves.get(c.arm, -1) for c in candidates], dtype=np.intp)
        return Points(np.hstack([self._domain.encode(tame), *scaled]), arms, active)

    def _owns(self, candidate: Candidate) -> bool:
        return self._domain.enumerable and candidate.key in self._domain.index

    def _tame(self, candidate: Candidate) -> Candidate:
        """Without what the domain has no column for."""
        kept = {}
        for p in self._parameters:
            value = candidate.config.get(p.name)
            if value is not None and _has_place(p, value):
                kept[p.name] = value
        return Candidate(candidate.arm, kept)


def _has_place(p: Parameter, value: Value) -> bool:
    """Whether the parameter's columns can show the value; a number may lie outside the range."""
    if p.numeric:
        return isinstance(value, int | float) and not isinstance(value, bool) and (not p.log or value > 0)
    return any(type(v) is type(value) and v == value for v in p.values)


@dataclass(frozen=True)
class _Scale:
    """One fact's columns: a number's range, or labels."""

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    labels: Mapping[str, int] | None = None

    @property
    def width(self) -> int:
        return 1 if self.labels is None else len(self.labels)

    @classmethod
    def of(cls, name: str, told: Sequence[Mapping[str, Fact]]) -> _Scale | None:
        """None where the fact says nothing: all candidates are alike, or there are more labels than could be learnt."""
        values = {t[name] for t in told if name in t}
        texts = sorted(v for v in values if isinstance(v, str))
        numbers = [float(v) for v in values if not isinstance(v, str)]
        if texts and numbers:
            raise UsageError(
                f"the fact {name!r} is a text of some candidates and a number of others, e.g. {texts[0]!r} and {numbers[0]!r}; "
                "cure: one of the two"
            )
        for number in numbers:
            if not math.isfinite(number):
                raise UsageError(
                    f"the fact {name!r} is {number!r} of some candidate; a fact is a finite number or a text. "
                    "Cure: leave it out where it is unknown"
                )
        if len(values) < 2 or name == PRICE or len(texts) > _MOST_LABELS:
            return None
        if texts:
            return cls(labels={v: i for i, v in enumerate(texts)})
        low, high = min(numbers), max(numbers)
        return cls(low, high, low > 0 and high / low > _WIDE)

    def encode(self, values: Sequence[Fact | None]) -> Array:
        if self.labels is not None:
            half = math.sqrt(0.5)
            rows: dict[Fact | None, Array] = {None: np.full(self.width, half / self.width)}
            for label, i in self.labels.items():
                rows[label] = half * np.eye(self.width)[i]
            unseen = np.zeros(self.width)
            return np.array([rows.get(v, unseen) for v in values]).reshape(len(values), self.width)
        numbers = np.array([np.nan if v is None or isinstance(v, str) else v for v in values], float)
        low, high = self.low, self.high
        if self.log:
            numbers, low, high = np.log(np.where(numbers > 0, numbers, np.nan)), math.log(low), math.log(high)
        unit = (numbers - low) / (high - low)
        return np.asarray(np.where(np.isnan(unit), 0.5, unit)[:, None])
