"""``resume``: go on with a stored study. A store may be somebody else's: no code that it names is run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from msgspec import field

from cloudbandit.cli.common import Json, Plot, StudyName, app
from cloudbandit.cli.replay import run_replay
from cloudbandit.cli.stores import existing, pick
from cloudbandit.core.errors import StoreCorruptError, UsageError
from cloudbandit.core.schema import Amount, Count, Count0, Section, Text, Texts, convert


@app.command()
def resume(
    store: Annotated[str, typer.Option("--store", metavar="URL")],
    study: StudyName = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="From now on: trials in all, those stored included.")
    ] = None,
    usd: Annotated[float | None, typer.Option("--usd", help="From now on: USD in all; of a live study.")] = None,
    optimizer: Annotated[
        str | None,
        typer.Option("--optimizer", help="The stored path.py:Class again, to say that its code may be run."),
    ] = None,
    program: Annotated[
        str | None,
        typer.Option("--program", help="The stored path of the engine's program again, for the same reason."),
    ] = None,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """Go on with a stored study: no finished trial is run again."""
    with existing(store) as opened:
        name = pick(opened, study)
        spec = opened.spec(name)
    if spec.get("kind") == "live":
        from cloudbandit.cli.live import described_machine, run_live
        from cloudbandit.live.studyfile import LiveStudy

        section = spec.get("study")
        asked = {"trials": budget, "usd": usd}
        spec = {**spec, "study": {**section, **_given(asked)}} if isinstance(section, Mapping) else spec
        _check_code(name, "optimizer", section, "optimizer", optimizer)
        for part in ("options", "knobs"):
            _check_code(name, "program", _part(spec.get("engine"), part), "program", program)
        run_live(described_machine(LiveStudy.of(spec)), store, json_, plot)
        return
    if spec.get("kind") == "tune":
        raise UsageError(f"the study {name!r} goes on with the command that began it: {spec.get('command')}")
    if spec.get("kind") != "replay":
        raise UsageError(
            f"the study {name!r} was started from Python, so only that program can go on with it: run it again"
        )
    if usd is not None:
        raise UsageError("--usd is for a live study; a replay's budget is --budget, in trials")
    convert(spec, _Replay, f"the spec of the study {name!r}", StoreCorruptError)
    _check_code(name, "optimizer", spec, "optimizer", optimizer)
    run_replay({**spec, **_given({"budget": budget})}, store, name, plot, json_)


class _Replay(Section):
    """What `cloudbandit.cli.replay.replay` keeps."""

    kind: Text
    table: Text
    workload: str
    optimizer: Text
    budget: Count
    seed: Count0
    workers: Count
    failures: Text
    minimize: str = ""
    maximize: str = ""
    slo: Texts = field(default_factory=list)
    facts: Text = "all"
    max_failure_rate: float | None = None
    history: Texts = field(default_factory=list)
    stop: Text | None = None
    production_runs: Amount | None = None
    production_hours: Amount | None = None


def _given(options: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in options.items() if value is not None}


def _part(section: Any, name: str) -> Any:
    return section.get(name) if isinstance(section, Mapping) else None


def _check_code(study: str, kind: str, section: Any, key: str, named: str | None) -> None:
    """What a store names is run only where it is installed, or named again by whoever resumes.

    Raises:
        UsageError: it would be run because the store says so, or another was named.
    """
    stored = _part(section, key)
    if not isinstance(stored, str):
        return  # none; or no text, which is found when the study is rebuilt
    if named is not None and named != stored:
        raise UsageError(
            f"the study {study!r} was run with the {kind} {stored}, got --{kind} {named}; "
            "cure: run another study, or leave the option out"
        )
    if named is None and _from_file(kind, stored):
        raise UsageError(
            f"the study {study!r} was run with the {kind} {stored}, a file that the store names; only what you name or have "
            f"installed is run. Cure: read that file, and if you trust it add --{kind} {shlex.quote(stored)}"
        )


def _from_file(kind: str, stored: str) -> bool:
    from cloudbandit.optimizers.registry import is_file

    return is_file(stored) if kind == "optimizer" else os.sep in stored
