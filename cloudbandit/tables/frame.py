"""A frame as a table: its manifest, and its cells as the texts a file would hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cloudbandit.core.errors import TableError
from cloudbandit.core.parameter import Kind
from cloudbandit.core.trial import Status
from cloudbandit.tables.manifest import FactColumns, Manifest, Metric, ParameterRule, StatusRule, check_no_outcome

if TYPE_CHECKING:
    import pandas as pd

_KINDS = ("int", "float", "bool", "choice")

Columns = str | Sequence[str] | Mapping[str, str]
"""Columns by their own name, or name → column."""


def described(
    name: str,
    frame: pd.DataFrame,
    metrics: Columns,
    arm: str | None,
    context: str | Sequence[str],
    params: Sequence[str] | Mapping[str, str] | None,
    spent: Mapping[str, str] | None,
    status: str | None,
    facts: str | Sequence[str] | Mapping[str, FactColumns],
) -> tuple[Manifest, pd.DataFrame]:
    """The manifest and the texts; see `cloudbandit.tables.table.Table.from_frame`."""
    spent = spent or {}
    if set(spent) - {"usd", "seconds"}:
        raise TableError(f"the frame {name!r}: spent is {dict(spent)!r}; allowed: usd and seconds, each a column")
    contexts = (context,) if isinstance(context, str) else tuple(context)
    measured = {k: Metric(column) for k, column in _named(metrics).items()}
    known: dict[str, FactColumns] = (
        {k: c if isinstance(c, str) else tuple(c) for k, c in facts.items()}
        if isinstance(facts, Mapping)
        else dict(_named(facts))
    )
    outcomes = {*(m.column for m in measured.values()), *([status] if status else [])}
    check_no_outcome(f"the frame {name!r}", known, None, outcomes)
    roles = [*contexts, *(m.column for m in measured.values()), *spent.values()]
    roles += [column for column in known.values() if isinstance(column, str)]
    roles += [column for column in (arm, status) if column is not None]
    columns = [str(c) for c in frame.columns]
    shared = [c for some in known.values() if not isinstance(some, str) for c in some]
    lacking = [c for c in (*roles, *shared, *(params or ())) if c not in columns]
    if lacking:
        raise TableError(f"the frame {name!r} has no column {lacking[0]!r}; its columns: {', '.join(columns)}")
    if len(set(columns)) < len(columns):
        raise TableError(f"the frame {name!r} has two columns of one name; its columns: {', '.join(columns)}")
    chosen = [c for c in columns if c not in roles] if params is None else list(params)
    if not chosen or not measured:
        raise TableError(f"the frame {name!r}: a table needs at least one parameter and one metric")
    both = [c for c in chosen if c in roles]
    if both:
        raise TableError(f"the frame {name!r}: column {both[0]!r} is a parameter and has another role too")
    values = {str(c): [_plain(v) for v in frame[c].tolist()] for c in frame.columns}
    kinds = dict(params) if isinstance(params, Mapping) else {c: _kind(values[c]) for c in chosen}
    for column, kind in kinds.items():
        if kind not in _KINDS:
            raise TableError(f"the frame {name!r}: params[{column!r}] is {kind!r}; allowed: {', '.join(_KINDS)}")
    texts = {c: [_text(v, kinds.get(c, "")) for v in values[c]] for c in columns}
    manifest = Manifest(
        Path(f"<{name}>"),
        contexts,
        arm or "",
        tuple(ParameterRule(c, cast(Kind, kinds[c])) for c in chosen),
        measured,
        spent.get("usd", ""),
        spent.get("seconds", ""),
        None if status is None else StatusRule(status, _STATUSES, Status.FAILED),
        facts=known,
    )
    import pandas as pd

    return manifest, pd.DataFrame(texts, dtype=str)


_STATUSES = {
    Status.OK: ("ok", "true", "1"),
    Status.TIMEOUT: ("timeout",),
    Status.STOPPED: ("stopped",),
}


def _named(columns: Columns) -> dict[str, str]:
    if isinstance(columns, Mapping):
        return dict(columns)
    return {c: c for c in ([columns] if isinstance(columns, str) else columns)}


def _plain(value: Any) -> Any:
    """Python's own type; None for an empty cell."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if (isinstance(value, float) and math.isnan(value)) or str(value) in ("<NA>", "NaT") else value


def _kind(values: Iterable[Any]) -> Kind:
    """Of a column whose empty cells are None; whole numbers that pandas turned to floats for the sake of one are whole."""
    values = list(values)
    known = [v for v in values if v is not None]
    if known and all(isinstance(v, bool) for v in known):
        return "bool"
    if not known or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in known):
        return "choice"
    whole = all(isinstance(v, int) or (len(known) < len(values) and v.is_integer()) for v in known)
    return "int" if whole else "float"


def _text(value: Any, kind: str) -> str:
    """As a CSV file has it; numbers in the digits that give the same number back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if kind == "int" and isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
