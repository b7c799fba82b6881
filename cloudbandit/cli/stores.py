"""``show``: what a store holds; and how other commands find a study in one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudbandit.cli import complete
from cloudbandit.cli.common import NOT_FEASIBLE, Json, MaxFailureRate, Slo, StudyName, app, names, out, print_json
from cloudbandit.cli.grid import Column, pairs, print_table
from cloudbandit.cli.judge import aims, another_goal, judged, values, verdict
from cloudbandit.cli.report import failure_limit
from cloudbandit.cli.text import plain, shown
from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.core.masking import masked_json
from cloudbandit.core.report import tally
from cloudbandit.core.trial import Observation

if TYPE_CHECKING:
    from cloudbandit.core.goal import Goal
    from cloudbandit.core.record import StoredTrial
    from cloudbandit.core.store import Store

_COLUMNS = 6
"""Metrics that fit into a table."""
_ROWS = 100


def existing(url: str) -> Store:
    """Open a store for reading; a missing file is an error, not a new store."""
    from cloudbandit.core.store import Store

    path = Path(url.removeprefix("sqlite:///")).expanduser()
    if ("://" not in url or url.startswith("sqlite:")) and not path.is_file():
        raise UsageError(f"there is no store at {path}; a store is made by `cloudbandit replay … --store {path}`")
    return Store(url)


def pick(store: Store, study: str | None) -> str:
    """The study that is meant: the named one, or the only one."""
    found: Sequence[str] = store.studies()
    if study is not None:
        store.spec(study)  # raises for an unknown name
        return study
    if len(found) == 1:
        return found[0]
    listed = ", ".join(found) or "none"
    raise UsageError(f"the store holds {len(found)} studies ({listed}); say which with --study NAME")


@app.command()
def show(
    store: Annotated[str, typer.Option("--store", metavar="URL")],
    study: StudyName = None,
    trial: Annotated[
        int | None, typer.Option("--trial", help="Everything of one trial, an engine's last words included.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="A,B",
            help="Columns; by default what the study aims at.",
            autocompletion=complete.list_of(complete.metrics),
        ),
    ] = None,
    slo: Slo = None,
    minimize: Annotated[
        str | None, typer.Option("--minimize", metavar="A,B", help="Judge the trials again: what to minimise.")
    ] = None,
    maximize: Annotated[str | None, typer.Option("--maximize", metavar="A,B", help="… what to maximise.")] = None,
    for_users: Annotated[
        int | None, typer.Option("--for-users", help="… as fleets for so many users, in USD per hour.")
    ] = None,
    max_failure_rate: MaxFailureRate = None,
    rows: Annotated[
        int, typer.Option("--rows", min=1, help="Lines of the table: the latest trials, or the best under a goal.")
    ] = _ROWS,
    all_: Annotated[bool, typer.Option("--all", help="All lines; JSON has all anyway.")] = False,
    json_: Json = False,
) -> None:
    """What a store holds: its studies, the trials of one, or one trial.

    With a goal (--slo, --minimize, --maximize, --for-users, --max-failure-rate) the trials are judged under it, the best first;
    nothing is run.
    """
    with existing(store) as opened:
        found = opened.studies()
        if study is None and len(found) != 1:
            if json_:
                print_json({"studies": found})
            else:
                out.print(plain("\n".join(found)) or "the store is empty", highlight=False, markup=False)
            return
        name = pick(opened, study)
        one = None if trial is None else opened.trial(name, trial)
        if trial is not None and one is None:
            raise UsageError(f"the study {name!r} has no finished trial {trial}; `show` without --trial lists them")
        asked = slo is not None or minimize or maximize or for_users is not None or max_failure_rate is not None
        if json_ and not asked:
            flying = [t.number for t in opened.in_flight(name)]
            _stream(name, opened.each_trial(name) if one is None else [one], flying)
            return
        if one is not None and not asked:
            _print_one(one)
            return
        spec = opened.spec(name)
        trials = [one] if one is not None else opened.trials(name, None if all_ or asked else rows)
        totals, in_flight = opened.totals(name), len(opened.in_flight(name))
    if asked:
        goal = another_goal(
            spec,
            trials,
            minimize=minimize,
            maximize=maximize,
            slos=slo,
            for_users=for_users,
            max_failure_rate=max_failure_rate,
        )
        _print_judged(name, trials, goal, json_, None if all_ else rows)
        return
    _print_all(name, trials, _chosen(metrics, spec, trials))
    if len(trials) < totals.trials:
        out.print(f"the latest {len(trials)} of {totals.trials} trials; --all shows all", style="dim")
    beside = f" and {totals.hosts_usd:.4g} USD for hosts" if totals.hosts_usd else ""
    said = f"{totals.trials} trials"
    if len(trials) == totals.trials:
        said = tally([Observation(t.trial, t.result, None) for t in trials])
    out.print(plain(f"{said}, {in_flight} in flight; {totals.spent_usd:.4g} USD{beside}"), markup=False)


def _stream(name: str, trials: Iterable[StoredTrial], in_flight: Sequence[int]) -> None:
    """One JSON object on one line, written trial by trial."""
    sys.stdout.write(f'{{"study": {masked_json(name)}, "trials": [')
    for i, t in enumerate(trials):
        sys.stdout.write((", " if i else "") + masked_json(_row(t)))
    sys.stdout.write(f'], "in_flight": {masked_json(in_flight)}}}\n')


def _print_judged(name: str, trials: Sequence[StoredTrial], goal: Goal, json_: bool, most: int | None) -> None:
    """The trials under a goal, the best first; of a table at ``most`` so many.

    Raises:
        typer.Exit: none of them is feasible.
    """
    stored = {t.trial.number: t for t in trials}
    seen = judged(trials, goal)
    feasible = [o for o in seen if o.score is not None and o.score.feasible]
    numbers = {o.trial.number for o in feasible}
    if json_:
        rows = [
            {
                **_row(stored[o.trial.number]),
                "values": values(o, goal),
                "feasible": o.trial.number in numbers,
            }
            for o in seen
        ]
        said = {"metrics": list(goal.metrics), "slos": [str(s) for s in goal.slos], **failure_limit(goal)}
        best = rows[0] if feasible else None
        print_json({"study": name, "goal": said, "incumbent": best, "trials": rows})
    else:
        best_of = seen[:most]
        found = [values(o, goal) for o in best_of]
        limited = [s.metric for s in goal.slos if any(s.metric in t.result.metrics for t in trials)]
        columns = {
            n: [f"{v[n]:.4g}" if n in v else "" for v in found] for n in dict.fromkeys(n for v in found for n in v)
        }
        columns["feasible"] = [verdict(o) for o in best_of]
        known = [m for m in dict.fromkeys(limited) if m not in columns]
        _print_all(name, [stored[o.trial.number] for o in best_of], known, columns)
        if len(best_of) < len(seen):
            out.print(f"the best {len(best_of)} of {len(seen)} trials; --all shows all", style="dim")
        slos = ", ".join(map(str, goal.slos)) or "no SLO"
        if limit := failure_limit(goal):
            slos += f", at most {limit['max_failure_rate']:.4g} of the requests failed where that is known"
        what = f"trial {seen[0].trial.number} is best" if feasible else "no trial is feasible"
        out.print(plain(f"{what} for {', '.join(goal.metrics)}, {slos}"), highlight=False, markup=False)
    if not feasible:
        raise typer.Exit(NOT_FEASIBLE)


def _row(t: StoredTrial) -> dict[str, Any]:
    return {
        "trial": t.trial.number,
        "arm": "/".join(t.trial.candidate.arm),
        "config": dict(t.trial.candidate.config),
        "status": str(t.result.status),
        "reason": t.result.reason,
        "metrics": dict(t.result.metrics),
        "spent_usd": t.spent_usd,
        "hosts_usd": t.hosts_usd,
        "error": t.result.error,
    }


def _chosen(wanted: str | None, spec: Mapping[str, Any], trials: Sequence[StoredTrial]) -> list[str]:
    """The metrics asked for, else those the study minimises or limits, else the first few."""
    from cloudbandit.core.goal import SLO
    from cloudbandit.core.metrics import resolve_metric

    recorded = list(dict.fromkeys(m for t in trials for m in t.result.metrics))
    if wanted is not None:
        return [resolve_metric(name, recorded) for name in names(wanted)]
    own = aims(spec)
    wished = [own.get(key, ()) for key in ("minimize", "maximize")]
    aimed_at = [name for w in wished for name in (names(w) if isinstance(w, str) else w)]
    aimed_at += [SLO.parse(text).metric for text in own.get("slos", ())]
    found = []
    for aim in aimed_at:
        with contextlib.suppress(UnknownNameError):  # of a study of another kind, or nothing has succeeded yet
            found.append(resolve_metric(aim, recorded))
    return list(dict.fromkeys(found or recorded))[:_COLUMNS]


def _print_all(
    name: str,
    trials: Sequence[StoredTrial],
    metrics: Sequence[str],
    extra: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """A line per trial.

    Args:
        extra: more columns, after the status; like metrics they are never left out.
    """
    columns = [Column("trial", [str(t.trial.number) for t in trials])]
    described = {"arm": ["/".join(t.trial.candidate.arm) for t in trials]}
    for knob in dict.fromkeys(k for t in trials for k in t.trial.candidate.config):
        described[knob] = [str(t.trial.candidate.config.get(knob, "")) for t in trials]
    same = {k: cells[0] for k, cells in described.items() if len(trials) > 1 and len(set(cells)) == 1}
    for i, (knob, cells) in enumerate(described.items(), start=2):
        if knob not in same:  # the later a knob, the sooner it is left out; the arm last
            columns.append(Column(knob, cells, not _are_numbers(knob, trials), i))
    columns.append(Column("status", [t.result.reason or str(t.result.status) for t in trials], text=True))
    columns += [Column(n, list(cells), n == "feasible") for n, cells in (extra or {}).items()]
    for m in metrics:
        columns.append(Column(m, [f"{t.result.metrics[m]:.4g}" if m in t.result.metrics else "" for t in trials]))
    columns.append(Column("USD", [f"{t.spent_usd:.3g}" for t in trials], spare=1))
    if any(t.hosts_usd for t in trials):
        columns.append(Column("hosts USD", [f"{t.hosts_usd:.3g}" for t in trials], spare=len(columns) + len(described)))
    print_table(name, columns)
    if same:
        said = ", ".join(f"{k}={v}" for k, v in same.items())
        out.print(plain(f"in all: {said}"), style="dim", highlight=False, markup=False)


def _are_numbers(knob: str, trials: Sequence[StoredTrial]) -> bool:
    values = [t.trial.candidate.config[knob] for t in trials if knob in t.trial.candidate.config]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _print_one(t: StoredTrial) -> None:
    grid = pairs()
    grid.add_row("arm", shown("/".join(t.trial.candidate.arm)))
    for key, value in (*t.trial.candidate.config.items(), ("seed", t.trial.seed), ("replicate", t.trial.replicate)):
        grid.add_row(shown(key), shown(value))
    grid.add_row("status", shown(f"{t.result.status} {t.result.reason}".strip()))
    hosts = (("hosts USD", t.hosts_usd),) if t.hosts_usd else ()
    for key, number in (*t.result.metrics.items(), ("seconds", t.result.seconds), ("USD", t.spent_usd), *hosts):
        grid.add_row(shown(key), f"{number:.6g}")
    for key, where in t.result.artifacts.items():
        grid.add_row(shown(key), shown(where))
    out.print(grid)
    if t.result.error:
        out.print(plain(t.result.error), highlight=False, markup=False, soft_wrap=True)
