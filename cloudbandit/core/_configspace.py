"""The bridge to ConfigSpace, imported only when a ConfigSpace is used."""

from __future__ import annotations

import copy
import itertools
import math
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ConfigSpace as CS
import numpy as np
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    Constant,
    FloatHyperparameter,
    IntegerHyperparameter,
    OrdinalHyperparameter,
    UniformIntegerHyperparameter,
)

from cloudbandit.core.errors import SpaceError
from cloudbandit.core.listing import ENUMERABLE_LIMIT, Listing, Space
from cloudbandit.core.parameter import Parameter, plain
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Config, Value

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

ABSENT = "(absent)"
"""The label that stands for an inactive parameter where a listing becomes a flat ConfigSpace."""

_MAX_FORBIDDEN = 5_000


class Leaf:
    """A ConfigSpace as an inner space; with ``fixed``, the slice of it where some parameters have given values.

    The configs of a slice leave the fixed parameters out. Activity and forbidden clauses are always decided by the
    whole ConfigSpace, so a slice means exactly what ConfigSpace means by it.
    """

    def __init__(self, space: ConfigurationSpace, fixed: Mapping[str, Value] | None = None) -> None:
        self.whole = space
        self.fixed = dict(fixed or {})
        self._sampler = copy.deepcopy(space)  # ConfigSpace owns a random state; ours is private and reseeded per draw
        self._lock = threading.Lock()
        if self.enumerable and not self.configs():
            raise SpaceError(f"no config is legal in this ConfigSpace{f' with {self.fixed}' if self.fixed else ''}")

    def __getstate__(self) -> dict[str, Any]:
        return {"space": self.whole, "fixed": self.fixed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["space"], state["fixed"])  # type: ignore[misc]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        free = [hp for name, hp in self.whole.items() if name not in self.fixed]
        if self.enumerable:
            used = {name for config in self.configs() for name in config}
            free = [hp for hp in free if hp.name in used]
        return tuple(_parameter(hp) for hp in free)

    @cached_property
    def size(self) -> float:
        parameters = [_parameter(hp) for name, hp in self.whole.items() if name not in self.fixed]
        return math.prod(len(p.values) if p.finite else math.inf for p in parameters)

    @property
    def enumerable(self) -> bool:
        return self.size <= ENUMERABLE_LIMIT

    @cached_property
    def _enumerated(self) -> tuple[tuple[Config, ...], np.ndarray[Any, Any]]:
        names = list(self.whole)  # ConfigSpace keeps parents before children
        values = {n: (self.fixed[n],) if n in self.fixed else _parameter(self.whole[n]).values for n in names}
        found: list[Config] = []
        weights: list[float] = []

        def extend(position: int, partial: dict[str, Value], weight: float) -> None:
            if position == len(names):
                if self._legal(partial) is None:
                    found.append({k: v for k, v in partial.items() if k not in self.fixed})
                    weights.append(weight)
                return
            name = names[position]
            if not self._satisfied(name, partial):
                extend(position + 1, partial, weight)
                return
            for value in values[name]:
                extend(position + 1, {**partial, name: value}, weight / len(values[name]))

        extend(0, {}, 1.0)
        return tuple(found), np.array(weights)

    def configs(self) -> Sequence[Config]:
        return self._enumerated[0]

    def weights(self) -> np.ndarray[Any, Any]:
        return self._enumerated[1]

    def _satisfied(self, name: str, partial: Mapping[str, Value]) -> bool:
        conditions = self.whole.parent_conditions_of.get(name, ())
        return all(_holds(condition, partial) for condition in conditions)

    def active(self, name: str, partial: Config) -> bool:
        return self._satisfied(name, {**self.fixed, **partial})

    def _legal(self, values: Mapping[str, Value]) -> str | None:
        for name, value in values.items():
            if name in self.whole and not _same_kind(self.whole[name], value):
                return f"{name}={value!r} has the wrong type; allowed: {_parameter(self.whole[name])}"
        try:
            CS.Configuration(self.whole, values=dict(values))
        except ValueError as error:  # every legality error of ConfigSpace is a ValueError
            return " ".join(str(error).split())
        return None

    def why_not(self, config: Config) -> str | None:
        clash = [name for name in config if name in self.fixed]
        if clash:
            return f"{clash[0]!r} is fixed by the arm and must be left out"
        return self._legal({**self.fixed, **config})

    def sample(self, rng: np.random.Generator, n: int = 1) -> list[Config]:
        """Uniform in the sense of ConfigSpace (its priors count); a slice is drawn by rejection."""
        kept: list[Config] = []
        with self._lock:
            self._sampler.seed(int(rng.integers(2**31)))
            for _ in range(1_000):
                for drawn in self._sampler.sample_configuration(max(2, 2 * (n - len(kept)))):
                    values = {k: plain(v) for k, v in dict(drawn).items()}
                    config = {k: v for k, v in values.items() if k not in self.fixed}
                    # ConfigSpace (1.2) draws parameters whose conditions hang on an inactive parent
                    if values.items() >= self.fixed.items() and self.why_not(config) is None:
                        kept.append(config)
                if len(kept) >= n:
                    return kept[:n]
        raise SpaceError(f"thousands of draws found no config with {self.fixed}; the slice is too thin to sample")

    def describe(self) -> str:
        if self.enumerable:
            return Listing(self.configs()).describe()
        return f"{sorted(self.fixed.items())}\n{self.whole!r}"

    def example(self) -> Config:
        """Some member, always the same."""
        return self.configs()[0] if self.enumerable else self.sample(np.random.default_rng(0))[0]

    def to_configspace(self) -> ConfigurationSpace:
        return _narrowed(self.whole, {k: [v] for k, v in self.fixed.items()}, {**self.fixed, **self.example()})

    def __repr__(self) -> str:
        return f"Leaf({len(self.whole)} parameters{f', {self.fixed}' if self.fixed else ''})"


def _narrowed(
    whole: ConfigurationSpace, kept: Mapping[str, Sequence[Value]], example: Mapping[str, Value]
) -> ConfigurationSpace:
    """A copy in which some parameters keep only some values. ConfigSpace insists on a legal default config, so the
    defaults become ``example``."""
    plan = whole.to_serialized_dict()
    for entry in plan["hyperparameters"]:
        if entry["name"] in example and "default_value" in entry:
            entry["default_value"] = example[entry["name"]]
    space = CS.ConfigurationSpace.from_serialized_dict(plan)
    for name, values in kept.items():
        others = [v for v in _parameter(space[name]).values if v not in values]
        if others:
            space.add(CS.ForbiddenInClause(space[name], others))
    return space


def _holds(condition: Any, values: Mapping[str, Value]) -> bool:
    """A condition on an inactive parent is not met (ConfigSpace's own method raises KeyError there)."""
    if isinstance(condition, CS.AndConjunction):
        return all(_holds(c, values) for c in condition.components)
    if isinstance(condition, CS.OrConjunction):
        return any(_holds(c, values) for c in condition.components)
    return condition.parent.name in values and bool(condition.satisfied_by_value(dict(values)))


def _same_kind(hp: Any, value: Value) -> bool:
    """ConfigSpace takes True for 1 and "1"; a config that went through JSON must not change its meaning."""
    if isinstance(hp, IntegerHyperparameter):
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hp, FloatHyperparameter):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return any(type(v) is type(value) and v == value for v in _parameter(hp).values)


def _parameter(hp: Any) -> Parameter:
    name = hp.name
    if isinstance(hp, Constant):
        return Parameter(name, "choice", (plain(hp.value),))
    if isinstance(hp, CategoricalHyperparameter):
        values = tuple(plain(v) for v in hp.choices)
        return Parameter(name, "bool" if all(isinstance(v, bool) for v in values) else "choice", values)
    if isinstance(hp, OrdinalHyperparameter):
        return Parameter(name, "ordinal", tuple(plain(v) for v in hp.sequence))
    low, high = float(hp.lower), float(hp.upper)
    log = bool(getattr(hp, "log", False))
    if isinstance(hp, UniformIntegerHyperparameter) and high - low < ENUMERABLE_LIMIT:
        return Parameter(name, "int", tuple(range(int(low), int(high) + 1)), low, high, log)
    return Parameter(name, "int" if isinstance(hp, IntegerHyperparameter) else "float", (), low, high, log)


def split(space: ConfigurationSpace, arm: str) -> dict[str, Leaf]:
    """One slice per legal value of the parameter ``arm``."""
    if arm not in space:
        raise SpaceError(
            f"the ConfigSpace has no parameter {arm!r} to split into arms; it has: {', '.join(space) or 'none'}. "
            "Cure: name the right one with Domain.from_configspace(cs, arm=…)"
        )
    parameter = _parameter(space[arm])
    if space.parents_of.get(arm) or parameter.numeric:
        raise SpaceError(f"the arm parameter {arm!r} must be an unconditional categorical, ordinal or constant")
    out: dict[str, Leaf] = {}
    for value in parameter.values:
        try:
            out[str(value)] = Leaf(space, {arm: value})
        except SpaceError:  # every config of this value is forbidden: the arm does not exist
            continue
    return out


def flatten(domain: Domain, arm: str) -> ConfigurationSpace:
    """See `cloudbandit.Domain.to_configspace`."""
    return FlatSpace(domain, arm).space


class FlatSpace:
    """A domain as one ConfigSpace, with the way back.

    Args:
        arm: the name of the categorical parameter that chooses the leaf.
        forbid: whether cells that a listing lacks become forbidden clauses; a caller that masks them itself says False.
    """

    def __init__(self, domain: Domain, arm: str, *, forbid: bool = True) -> None:
        self.arm = arm
        leaves = domain.leaves
        self._paths = {"/".join(path): path for path in leaves}
        self._renamed: dict[tuple[str, ...], dict[str, str]] = {path: {} for path in leaves}
        slices = [leaf for leaf in leaves.values() if isinstance(leaf, Leaf) and set(leaf.fixed) == {arm}]
        if len(slices) == len(leaves) and all(leaf.whole is slices[0].whole for leaf in slices):
            self.space = self._whole(slices)
            self._labels = {path: leaf.fixed[arm] for path, leaf in zip(leaves, slices, strict=True)}
            return
        self._labels = {path: "/".join(path) for path in leaves}
        self.space = CS.ConfigurationSpace()
        chooser = CategoricalHyperparameter(arm, list(self._paths))
        self.space.add(chooser)
        inner = {path: _own_space(leaf, forbid) for path, leaf in leaves.items()}
        names = [name for space in inner.values() for name in space]
        shared = {n for n in names if names.count(n) > 1 or n == arm}
        for path, space in inner.items():
            self._graft(chooser, path, space, shared)

    def _whole(self, slices: Sequence[Leaf]) -> ConfigurationSpace:
        kept = [leaf.fixed[self.arm] for leaf in slices]
        if set(kept) == set(_parameter(slices[0].whole[self.arm]).values):
            return copy.deepcopy(slices[0].whole)
        example = {**slices[0].fixed, **slices[0].example()}
        return _narrowed(slices[0].whole, {self.arm: kept}, example)

    def _graft(self, chooser: Any, path: tuple[str, ...], inner: ConfigurationSpace, shared: set[str]) -> None:
        label = "/".join(path)
        renamed: dict[str, Any] = {}
        for name, hp in inner.items():
            twin = copy.copy(hp)
            twin.name = f"{label}:{name}" if name in shared else name
            self._renamed[path][name] = twin.name
            renamed[name] = twin
        self.space.add(list(renamed.values()))
        for name, hp in renamed.items():
            here = CS.EqualsCondition(hp, chooser, label)
            conditions = [_rebind(c, hp, renamed) for c in inner.parent_conditions_of.get(name, ())]
            self.space.add(CS.AndConjunction(here, *conditions) if conditions else here)
        for clause in inner.forbidden_clauses:
            self.space.add(_rebind_forbidden(clause, renamed))

    def configuration(self, candidate: Candidate) -> Any:
        """The ConfigSpace configuration of a candidate."""
        renamed = self._renamed[candidate.arm]
        values: dict[str, Value] = {renamed.get(k, k): v for k, v in candidate.config.items()}
        values[self.arm] = self._labels[candidate.arm]
        for name, hp in self.space.items():  # a listing's inactive parameters
            if name in renamed.values() and name not in values and ABSENT in _parameter(hp).values:
                values[name] = ABSENT
        return CS.Configuration(self.space, values=values)

    def candidate(self, configuration: Any) -> Candidate:
        """The candidate of a ConfigSpace configuration."""
        values = {k: plain(v) for k, v in dict(configuration).items()}
        label = values.pop(self.arm)
        path = next(path for path, known in self._labels.items() if known == label)
        original = {new: old for old, new in self._renamed[path].items()}
        return Candidate(path, {original.get(k, k): v for k, v in values.items() if v != ABSENT})


def _own_space(leaf: Space, forbid: bool) -> ConfigurationSpace:
    return listing_to_configspace(leaf, forbid=forbid) if isinstance(leaf, Listing) else leaf.to_configspace()


def _rebind(condition: Any, child: Any, by_name: Mapping[str, Any]) -> Any:
    """The same condition between the renamed parameters."""
    if isinstance(condition, CS.AndConjunction | CS.OrConjunction):
        return type(condition)(*(_rebind(c, child, by_name) for c in condition.components))
    twin = copy.copy(condition)
    rest = twin.values if isinstance(condition, CS.InCondition) else twin.value
    return type(condition)(child, by_name[condition.parent.name], rest)


def _rebind_forbidden(clause: Any, by_name: Mapping[str, Any]) -> Any:
    if hasattr(clause, "components"):
        return type(clause)(*(_rebind_forbidden(c, by_name) for c in clause.components))
    if hasattr(clause, "left"):
        return type(clause)(by_name[clause.left.name], by_name[clause.right.name])
    rest = clause.values if hasattr(clause, "values") else clause.value
    return type(clause)(by_name[clause.hyperparameter.name], rest)


def listing_to_configspace(listing: Listing, *, forbid: bool = True) -> ConfigurationSpace:
    """A grid over the listed values, with what is not listed forbidden; `ABSENT` stands for an inactive one.

    Raises:
        SpaceError: more than 5,000 cells of the grid would have to be forbidden one by one.
    """
    space = CS.ConfigurationSpace()
    axes: dict[str, tuple[Value, ...]] = {}
    for p in listing.parameters:
        used = [v for v in p.values if any(c.get(p.name) == v for c in listing.configs())]
        absent = any(p.name not in c for c in listing.configs())
        if used:
            axes[p.name] = (*used, ABSENT) if absent else tuple(used)
            ordered = p.numeric or p.kind == "ordinal"
            kind = OrdinalHyperparameter if ordered and not absent else CategoricalHyperparameter
            space.add(kind(p.name, list(axes[p.name])))
    if not forbid:
        return space
    members = {tuple(c.get(n, ABSENT) for n in axes) for c in listing.configs()}
    holes = math.prod(map(len, axes.values())) - len(members)
    if holes > _MAX_FORBIDDEN:
        raise SpaceError(
            f"the grid around this listing has {holes} cells that are not listed, too many to forbid one by one "
            f"(at most {_MAX_FORBIDDEN}); cure: keep the listing, every optimizer takes one"
        )
    for cell in itertools.product(*axes.values()):
        if holes and cell not in members:
            clauses = [CS.ForbiddenEqualsClause(space[n], v) for n, v in zip(axes, cell, strict=True)]
            space.add(CS.ForbiddenAndConjunction(*clauses) if len(clauses) > 1 else clauses[0])
    return space
