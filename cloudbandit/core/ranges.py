"""A space written as ranges and choices: the shorthand of ConfigSpace, and a log scale."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cloudbandit.core.errors import SpaceError
from cloudbandit.core.listing import ENUMERABLE_LIMIT, Listing

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace
    from ConfigSpace.hyperparameters import Hyperparameter

FORMS = "(low, high), (low, high, 'log'), a list of values, or one value"


def is_ranges(space: object) -> bool:
    """Whether a mapping is a space of ranges and choices, and not arms with a space each."""
    return isinstance(space, Mapping) and bool(space) and all(map(_is_parameter, space.values()))


def _is_parameter(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_scalar, value))
    return _is_scalar(value) or (isinstance(value, tuple) and len(value) in (2, 3) and all(map(_is_scalar, value)))


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | bool | int | float)


def of_ranges(arm: str, space: Mapping[str, Any]) -> Listing | ConfigurationSpace:
    """The space of an arm: the full grid where every parameter is a list, else a ConfigSpace.

    Args:
        space: parameter → ``(low, high)``, both ends included: of whole numbers where both are ints, else of floats;
            ``(low, high, "log")``: the same, drawn and modelled on a log scale; a list: its values, numbers in ascending order;
            one value: always that.

    Raises:
        SpaceError: a range that is none.
    """
    lists = {str(n): v if isinstance(v, list) else [v] for n, v in space.items() if not isinstance(v, tuple)}
    if len(lists) == len(space) and math.prod(map(len, lists.values())) <= ENUMERABLE_LIMIT:
        return Listing(dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values()))
    import ConfigSpace as CS

    made = CS.ConfigurationSpace()
    made.add([_parameter(arm, str(name), value) for name, value in space.items()])
    return made


def _parameter(arm: str, name: str, value: Any) -> Hyperparameter:
    import ConfigSpace as CS

    if isinstance(value, tuple):
        low, high, *scale = value
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in (low, high))
        if not numbers or not low < high or scale not in ([], ["log"]) or (scale and low <= 0):
            raise SpaceError(
                f"the range of {name!r} in arm {arm!r} is {value!r}; a range is (low, high) or (low, high, 'log'), "
                "low < high, finite, and > 0 on a log scale. Cure: a list for values to choose from"
            )
        whole = isinstance(low, int) and isinstance(high, int)
        kind = CS.UniformIntegerHyperparameter if whole else CS.UniformFloatHyperparameter
        return kind(name, low, high, log=bool(scale))
    values = value if isinstance(value, list) else [value]
    if len(values) > 1 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return CS.OrdinalHyperparameter(name, sorted(values))
    return CS.CategoricalHyperparameter(name, values) if len(values) > 1 else CS.Constant(name, values[0])
