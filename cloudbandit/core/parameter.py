"""One parameter of a config: what it may be, and where a value of it lies on [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cloudbandit.core.errors import SpaceError
from cloudbandit.core.trial import Value

Kind = Literal["int", "float", "bool", "choice", "ordinal"]
_LOG_RATIO = 10.0  # a listed numeric parameter that spans more than this is encoded on a log scale


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: listed ``values`` in order, or (values empty) a numeric range ``low … high``."""

    name: str
    kind: Kind
    values: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    @property
    def numeric(self) -> bool:
        return self.kind in ("int", "float")

    @property
    def finite(self) -> bool:
        return bool(self.values)

    @classmethod
    def listed(cls, name: str, values: Iterable[Value], kind: Kind | None = None) -> Parameter:
        """A parameter with explicit values; the kind is inferred from them unless given.

        Raises:
            SpaceError: the values mix kinds, e.g. ``1`` and ``"1"``.
        """
        seen = list(dict.fromkeys((type(v), v) for v in values))
        types = {t for t, _ in seen}
        if kind is None:
            if types == {bool}:
                kind = "bool"
            elif types == {int}:
                kind = "int"
            elif types <= {int, float}:
                kind = "float"
            elif types == {str}:
                kind = "choice"
            else:
                raise SpaceError(
                    f"parameter {name!r} mixes {sorted(t.__name__ for t in types)}; "
                    "cure: give all its values one type (str, bool, int, or int and float)"
                )
        plain = [v for _, v in seen]
        if kind in ("int", "float"):
            numbers = sorted(float(v) for v in plain)
            low, high = numbers[0], numbers[-1]
            return cls(
                name,
                kind,
                tuple(sorted(plain, key=float)),
                low,
                high,
                log=low > 0 and high / low > _LOG_RATIO,
            )
        return cls(name, kind, tuple(plain if kind == "ordinal" else sorted(plain, key=str)))

    def unit(self, value: Value) -> float:
        """A numeric or ordinal value on [0, 1]."""
        if self.kind == "ordinal":
            return self.values.index(value) / max(1, len(self.values) - 1)
        x, low, high = float(value), self.low, self.high
        if self.log:
            x, low, high = math.log(x), math.log(low), math.log(high)
        return 0.5 if high == low else (x - low) / (high - low)


def plain(value: Any) -> Value:
    """A JSON-able Python scalar for a numpy or ConfigSpace one."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float):
        return value
    raise SpaceError(f"a parameter value must be a str, bool, int or float, got {value!r} ({type(value).__name__})")


def merge(a: Parameter, b: Parameter) -> Parameter:
    """One parameter with the values of two of that name.

    Raises:
        SpaceError: they are of different kinds.
    """
    if a == b:
        return a
    if a.finite and b.finite and (a.kind == b.kind or {a.kind, b.kind} == {"int", "float"}):
        kind = a.kind if a.kind == b.kind else "float"
        merged = Parameter.listed(a.name, (*a.values, *b.values), kind)
        return merged
    if a.numeric and b.numeric:
        kind = a.kind if a.kind == b.kind else "float"
        return Parameter(a.name, kind, (), min(a.low, b.low), max(a.high, b.high), a.log and b.log)
    raise SpaceError(f"parameter {a.name!r} is {a.kind} in one arm and {b.kind} in another; cure: give it two names")
