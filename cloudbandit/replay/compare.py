"""Optimizers side by side on the workloads of a table.

The unit of work is a cell (`cloudbandit.replay.cells`). Cells run here, in processes, or on a Dask cluster; their results do
not depend on where. With a checkpoint file, finished cells are not computed again.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from cloudbandit.core.errors import BudgetError, NoBeliefError, TableError, UnknownNameError, UsageError, need
from cloudbandit.core.goal import SLO
from cloudbandit.core.known import ALL
from cloudbandit.core.profit import Profit
from cloudbandit.replay import checkpoint as kept
from cloudbandit.replay.cells import Cell, Outcome, task_of
from cloudbandit.replay.checkpoint import Work
from cloudbandit.replay.lifelong import Life, check_methods, order_of, rows_of
from cloudbandit.replay.methods import Method, Optimizers, methods_of
from cloudbandit.replay.repeats import say_what_disagrees
from cloudbandit.replay.rows import Row, summed_up
from cloudbandit.replay.task import PRODUCTION_RUNS, Aim, Task, study_of
from cloudbandit.tables.recorded import Failures
from cloudbandit.tables.registry import load_table
from cloudbandit.tables.table import Table


def compare_rows(
    table: Table | str | Path,
    minimize: Aim,
    optimizers: Optimizers,
    budgets: int | Sequence[int],
    seeds: int,
    *,
    maximize: Aim = (),
    slos: Sequence[SLO | str] = (),
    workloads: Sequence[str] | None = None,
    failures: Failures = "strict",
    facts: str | Sequence[str] = ALL,
    jobs: int = 1,
    scheduler: str | None = None,
    checkpoint: Path | None = None,
    baseline: str | None = None,
    production_runs: int = PRODUCTION_RUNS,
    stop: Profit | None = None,
    lifelong: bool = False,
    on_cell: Callable[[int, int], None] | None = None,
    on_left_out: Callable[[str, str], None] | None = None,
) -> list[Row]:
    """Run every optimizer on every workload with seeds 0 … seeds−1: `cloudbandit.api.compare` as rows.

    Args:
        stop: ends a study before its budget does; every optimizer must say what it believes.
        lifelong: seeds are orders of the workloads, and each search is told what the earlier ones of its method and order tried.
        on_left_out: told (optimizer, why) of what ``all`` stands for and cannot take part.
    """
    methods = methods_of(optimizers)
    levels = tuple(sorted({budgets} if isinstance(budgets, int) else set(budgets)))
    if seeds < 1 or jobs < 1 or production_runs < 1 or not methods or not levels or levels[0] < 1:
        raise UsageError(
            f"compare needs seeds, jobs and production runs ≥ 1, an optimizer and budgets ≥ 1; got seeds={seeds}, jobs={jobs}, "
            f"production_runs={production_runs}, optimizers={[m.label for m in methods]}, budgets={list(levels)}"
        )
    loaded = table if isinstance(table, Table) else load_table(table)
    aimed = Task(loaded, (workloads or loaded.workloads)[0], minimize, slos, failures, maximize)
    goal = tuple(aimed.minimize), tuple(aimed.maximize), tuple(aimed.goal.slos), failures
    tasks = [task_of(loaded, workload, *goal) for workload in workloads or loaded.workloads]
    tasks = [task for task in tasks if failures == "recorded" or task.succeeds]
    if not tasks:
        raise TableError(f"no workload of {loaded.name!r} ever succeeds under strict failures; nothing to compare")
    for task in tasks:  # impossible goals and bad optima are errors before hours of work
        _ = task.front if task.several else task.best_value
    say_what_disagrees(loaded, tasks[0].goal)
    if lifelong:
        methods = [m for m in methods if not (m.by_all and m.history)]
        check_methods(methods)
    methods = _taking_part(tasks, methods, levels, facts, stop, on_left_out)
    labels = [m.label for m in methods]
    if baseline is not None and baseline not in labels:
        raise UnknownNameError("baseline", baseline, labels)
    here = loaded if isinstance(table, Table) else None
    if jobs > 1 and scheduler is None:
        _check_pickle(methods, here)
    name = loaded.name if isinstance(table, Table) else str(table)
    told = facts if isinstance(facts, str) else tuple(facts)
    shared = told, production_runs, stop
    at = labels.index(baseline) if baseline else 0
    if not lifelong:
        cells = [Cell(name, t.workload, *goal, method, levels, seeds, *shared) for method in methods for t in tasks]
        outcomes = _run_all(cells, loaded, here, jobs, scheduler, checkpoint, on_cell)
        return summed_up(methods, levels, outcomes, len(tasks), at)
    orders = [order_of([t.workload for t in tasks], seed) for seed in range(seeds)]
    lives = [
        Life(name, order, *goal, method, level, seed, *shared)
        for method in methods
        for level in levels
        for seed, order in enumerate(orders)
    ]
    return rows_of(methods, levels, lives, _run_all(lives, loaded, here, jobs, scheduler, checkpoint, on_cell), at)


def _taking_part(
    tasks: Sequence[Task],
    methods: Sequence[Method],
    budgets: Sequence[int],
    facts: str | Sequence[str],
    stop: Profit | None,
    on_left_out: Callable[[str, str], None] | None,
) -> list[Method]:
    """Building each kind of study once raises what a whole sweep would raise late."""
    out = []
    for method in methods:
        try:
            _build(tasks, method, min(budgets), facts, stop)
        except BudgetError:
            raise
        except UsageError as error:
            if not (method.by_all and (tasks[0].several or isinstance(error, NoBeliefError))):
                raise
            if on_left_out is not None:
                on_left_out(method.label, str(error))
        else:
            out.append(method)
    return out


def _build(tasks: Sequence[Task], method: Method, budget: int, facts: str | Sequence[str], stop: Profit | None) -> None:
    for task in (tasks[0], max(tasks, key=lambda t: len(t.objective.domain.names))):
        try:
            study_of(task, method, budget, 0, facts, stop=stop)
        except BudgetError as error:
            raise BudgetError(f"{method.label} on workload {task.workload!r}: {error}") from error


def _check_pickle(methods: Sequence[Method], table: Table | None) -> None:
    """What other processes need must reach them: a class of a notebook does not."""
    for what, thing in [(f"the optimizer {m.label!r}", m.how) for m in methods] + [("the table", table)]:
        try:
            sent = pickle.dumps(thing)
        except Exception as error:  # whatever the object's own pickling raises
            why = f"{type(error).__name__}: {error}"
        else:
            if b"__main__" not in sent or hasattr(sys.modules["__main__"], "__file__"):
                continue
            why = "it is defined in a session that has no file"
        raise UsageError(f"{what} cannot be sent to other processes ({why}); cure: define it in a module, or jobs=1")


# ── running cells ──


def _run_all(
    cells: Sequence[Work],
    table: Table,
    here: Table | None,
    jobs: int,
    scheduler: str | None,
    checkpoint: Path | None,
    on_cell: Callable[[int, int], None] | None,
) -> list[Outcome]:
    keys = kept.keys(cells, table) if checkpoint is not None else [""] * len(cells)
    known = kept.read(checkpoint)
    done = {i: known[key] for i, key in enumerate(keys) if key in known}
    todo = sorted(
        (i for i in range(len(cells)) if i not in done), key=lambda i: cells[i].workload
    )  # a task after another
    with kept.append(checkpoint) as keep:
        if on_cell is not None and done:
            on_cell(len(done), len(cells))
        with contextlib.closing(_map(cells, todo, table, here, jobs, scheduler)) as finished:
            for i, outcome in finished:
                done[i] = outcome
                keep(kept.line(keys[i], outcome))
                if on_cell is not None:
                    on_cell(len(done), len(cells))
    return [done[i] for i in range(len(cells))]


def _map(
    cells: Sequence[Work], todo: Sequence[int], table: Table, here: Table | None, jobs: int, scheduler: str | None
) -> Generator[tuple[int, Outcome], None, None]:
    """(cell number, outcome), in any order. ``here``: a table that others cannot load by its name."""
    if scheduler is not None:
        distributed = need("distributed", "dask", "compare on a Dask cluster")
        with distributed.Client(scheduler, set_as_default=False) as client:
            sent = client.scatter(here, broadcast=True) if here is not None else None
            futures = {client.submit(_elsewhere, cells[i], sent, pure=False): i for i in todo}
            for future in distributed.as_completed(futures, loop=client.loop):
                yield futures[future], future.result()
                future.release()
        return
    if jobs == 1:
        for i in todo:
            yield i, cells[i].run(table)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _keep, (here,)) as executor:
        try:
            with (
                _without_interrupts()
            ):  # inherited by the processes: Ctrl-C reaches them too, and it is ours to end them
                waiting = {executor.submit(_elsewhere, cells[i]): i for i in todo}
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            _end(executor)
            raise


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C for a moment; only a program's main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(executor: ProcessPoolExecutor) -> None:
    """Without waiting for the cells being computed: a cell is kept when it is finished, or computed again."""
    processes = list((executor._processes or {}).values())  # Python 3.14 has terminate_workers
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


_sent: list[Table] = []
"""In a process of the pool: the table it was started with."""


def _keep(table: Table | None) -> None:
    _sent[:] = [] if table is None else [table]


def _elsewhere(cell: Work, table: Table | None = None) -> Outcome:
    """In another process, which keeps what it loaded."""
    return cell.run(table or (_sent[0] if _sent else load_table(cell.table)))
