"""How far a study is, while it runs: a line that a terminal or a notebook updates in place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from cloudbandit.core.budget import Budget
from cloudbandit.core.goal import Goal, best, own_sign
from cloudbandit.core.report import tally
from cloudbandit.core.trial import Observation


@contextlib.contextmanager
def progress(budget: Budget, goal: Goal, shown: bool | None) -> Iterator[Callable[[Observation], None]]:
    """What to call after each trial. On standard error, and gone when it is over; where it is
    asked for and nothing can be updated in place, its last state is printed.

    Args:
        shown: None: where standard error is a terminal, or this is a notebook.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if shown is None:
        shown = console.is_terminal or console.is_jupyter
    if not shown:
        yield lambda observation: None
        return
    seen: list[Observation] = []
    columns = (BarColumn(20), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=console.is_terminal or console.is_jupyter) as bar:
        task = bar.add_task("0 run", total=budget.trials)

        def show(observation: Observation) -> None:
            seen.append(observation)
            incumbent = best(seen)
            value = ""
            if incumbent is not None and incumbent.score is not None:
                value = f", best {goal.metrics[0]} {own_sign(goal, incumbent.score.values)[0]:.4g}"
            informative = sum(o.score is not None for o in seen)
            bar.update(task, completed=informative, description=f"{tally(seen)}{value}")

        yield show
