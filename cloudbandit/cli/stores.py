"""``show``: what a store holds; and how other commands find a study in one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudbandit.cli.common import Json, StudyName, app, names, out, print_json
from cloudbandit.core.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from cloudbandit.core.store import Store, StoredTrial

_COLUMNS = 6
"""Metrics that fit into a table."""


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
        str | None, typer.Option("--metrics", metavar="A,B", help="Columns; by default what the study aims at.")
    ] = None,
    json_: Json = False,
) -> None:
    """What a store holds: its studies, the trials of one, or one trial."""
    with existing(store) as opened:
        found = opened.studies()
        if study is None and len(found) != 1:
            if json_:
                print_json({"studies": found})
            else:
                out.print("\n".join(found) or "the store is empty", highlight=False, markup=False)
            return
        name = pick(opened, study)
        trials, flying, spec = opened.trials(name), opened.in_flight(name), opened.spec(name)
    if trial is not None:
        trials = [t for t in trials if t.trial.number == trial]
        if not trials:
            raise UsageError(f"the study {name!r} has no finished trial {trial}; `show` without --trial lists them")
    if json_:
        print_json({"study": name, "trials": [_row(t) for t in trials], "in_flight": [t.number for t in flying]})
    elif trial is not None:
        _print_one(trials[0])
    else:
        _print_all(name, trials, _chosen(metrics, spec, trials))
        out.print(f"{len(trials)} trials, {sum(t.spent_usd for t in trials):.4g} USD, {len(flying)} in flight")


def _row(t: StoredTrial) -> dict[str, Any]:
    return {
        "trial": t.trial.number,
        "arm": "/".join(t.trial.candidate.arm),
        "config": dict(t.trial.candidate.config),
        "status": str(t.result.status),
        "reason": t.result.reason,
        "metrics": dict(t.result.metrics),
        "spent_usd": t.spent_usd,
        "error": t.result.error,
    }


def _chosen(wanted: str | None, spec: Mapping[str, Any], trials: Sequence[StoredTrial]) -> list[str]:
    """The metrics asked for, else those the study minimises or limits, else the first few."""
    from cloudbandit.core.goal import SLO
    from cloudbandit.core.metrics import resolve_metric

    recorded = list(dict.fromkeys(m for t in trials for m in t.result.metrics))
    if wanted is not None:
        return [resolve_metric(name, recorded) for name in names(wanted)]
    kind = spec.get("kind")
    study = spec["study"] if kind == "live" else spec if kind == "replay" else {}
    aims = [
        study.get("minimize", "tpot_ms"),
        *(SLO.parse(text).metric for text in study.get("slos", study.get("slo", ()))),
    ]
    found = []
    for aim in aims:
        with contextlib.suppress(UnknownNameError):  # of a study of another kind, or nothing has succeeded yet
            found.append(resolve_metric(aim, recorded))
    return list(dict.fromkeys(found or recorded))[:_COLUMNS]


def _print_all(name: str, trials: Sequence[StoredTrial], metrics: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table as Grid

    columns = {"trial": [str(t.trial.number) for t in trials]}
    columns["arm"] = ["/".join(t.trial.candidate.arm) for t in trials]
    for knob in dict.fromkeys(k for t in trials for k in t.trial.candidate.config):
        columns[knob] = [str(t.trial.candidate.config.get(knob, "")) for t in trials]
    same = {k: values[0] for k, values in columns.items() if k != "trial" and len(trials) > 1 and len(set(values)) == 1}
    columns["status"] = [t.result.reason or str(t.result.status) for t in trials]
    for m in metrics:
        columns[m] = [f"{t.result.metrics[m]:.4g}" if m in t.result.metrics else "" for t in trials]
    columns["USD"] = [f"{t.spent_usd:.3g}" for t in trials]
    shown = {k: values for k, values in columns.items() if k not in same}
    note = escape("in all: " + ", ".join(f"{k}={v}" for k, v in same.items())) if same else None
    grid = Grid(title=escape(name), caption=note, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column, values in shown.items():
        numbers = column in (*metrics, "USD")
        widest = max((len(v) for v in values), default=0)
        grid.add_column(
            _header(column, widest), overflow="fold", justify="right" if numbers else "left", min_width=min(widest, 18)
        )
    for row in zip(*shown.values(), strict=True):
        grid.add_row(*map(escape, row))
    out.print(grid)


def _header(name: str, width: int) -> str:
    """Broken at underscores, so that it is hardly wider than what stands below."""
    lines = [""]
    for part in name.replace("_", "_ ").split(" "):
        if lines[-1] and len(lines[-1] + part) > max(width, 8):
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _print_one(t: StoredTrial) -> None:
    from rich.markup import escape
    from rich.table import Table as Grid

    grid = Grid(show_header=False, box=None, pad_edge=False)
    grid.add_row("arm", escape("/".join(t.trial.candidate.arm)))
    for key, value in (*t.trial.candidate.config.items(), ("seed", t.trial.seed), ("replicate", t.trial.replicate)):
        grid.add_row(key, escape(str(value)))
    grid.add_row("status", f"{t.result.status} {t.result.reason}".strip())
    for key, number in (*t.result.metrics.items(), ("seconds", t.result.seconds), ("USD", t.spent_usd)):
        grid.add_row(key, f"{number:.6g}")
    for key, where in t.result.artifacts.items():
        grid.add_row(key, escape(where))
    out.print(grid)
    if t.result.error:
        out.print(t.result.error, highlight=False, markup=False, soft_wrap=True)
