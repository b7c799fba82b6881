"""What a replay says of a table whose repeats it averages."""

from __future__ import annotations

import logging
import weakref

from cloudbandit.core.goal import SLOGoal
from cloudbandit.tables.repeats import STRONG, disagreements
from cloudbandit.tables.table import Table

log = logging.getLogger("cloudbandit")

_said: weakref.WeakKeyDictionary[Table, set[str]] = weakref.WeakKeyDictionary()


def say_what_disagrees(table: Table, goal: SLOGoal) -> None:
    """Warn, once per table and metric, that repeats are averaged which differ too much to be repeats."""
    if table.manifest.repeats != "mean":
        return
    said = _said.setdefault(table, set())
    metrics = [m for m in dict.fromkeys((*goal.metrics, *(s.metric for s in goal.slos))) if m not in said]
    said.update(metrics)
    for found in disagreements(table.records, metrics, STRONG):
        log.warning(
            "%s: repeats are averaged, and %s. Cure: a column that tells them apart, in [params] or table.context; "
            '`cloudbandit table check`; or repeats = "draw"',
            table.name,
            found,
        )
