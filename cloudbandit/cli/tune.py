"""``tune``: the settings of an engine, searched under SLOs and judged against its default."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudbandit.cli import complete
from cloudbandit.cli.common import (
    NOT_FEASIBLE,
    Json,
    Maximize,
    Minimize,
    Plot,
    Slo,
    StoreOption,
    app,
    config_text,
    err,
    names,
    print_json,
    this_command,
)
from cloudbandit.cli.text import plain
from cloudbandit.core.errors import UsageError

if TYPE_CHECKING:
    from cloudbandit.core.report import Report
    from cloudbandit.core.store import Store
    from cloudbandit.core.trial import Observation, Value
    from cloudbandit.tune.answer import Answer
    from cloudbandit.tune.subject import Subject
    from cloudbandit.tune.tuning import Tuning


@app.command()
def tune(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[STUDY.TOML]", help="See docs/tune.md; options stand above the file.")
    ] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="openvino, vllm, transformers, …")] = None,
    model: Annotated[str | None, typer.Option("--model", help="What the engine serves.")] = None,
    workload: Annotated[
        str | None, typer.Option("--workload", help="chat, prefix or code; of a table: one of its workloads.")
    ] = None,
    slo: Slo = None,
    minimize: Minimize = None,
    maximize: Maximize = None,
    budget: Annotated[int | None, typer.Option("--budget", min=2, help="Trials of the search: 30.")] = None,
    usd: Annotated[float | None, typer.Option("--usd", help="Of everything.")] = None,
    repeats: Annotated[
        int | None, typer.Option("--repeats", min=0, help="Of the winner and the default, on top of the search: 8.")
    ] = None,
    parallel: Annotated[int, typer.Option("--parallel", min=1, help="Trials in flight.")] = 1,
    on: Annotated[str | None, typer.Option("--on", help="A provider (local, ssh, …), or a recorded table.")] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="What searches.", autocompletion=complete.one_of(complete.optimizers)),
    ] = None,
    default: Annotated[
        str | None, typer.Option("--default", metavar="K=V,…", help="The default, where the engine's own is another.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", metavar="X,Y", help="Of the hypervolume: a value per objective.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    store: StoreOption = None,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """Find an engine's settings for a workload under SLOs, and how much better than the default they are."""
    from cloudbandit.tune.request import Request

    if plot is not None:
        from cloudbandit.report.figure import check_figure

        check_figure(plot, "--plot")
    request = Request(
        file=file,
        engine=engine,
        model=model,
        workload=workload,
        slos=slo or [],
        minimize=names(minimize or ""),
        maximize=names(maximize or ""),
        trials=budget,
        usd=usd,
        repeats=repeats,
        parallel=parallel,
        on=on,
        method=method,
        default=None if default is None else _settings(default),
        reference=None if reference is None else _numbers(reference),
        seed=seed,
    )
    command = this_command(context.obj)
    with err.status("asking for the engine's version …"):
        subject, tuning, machine = request.made()
    if not json_:
        _print_knobs(subject, tuning)
    url = store or (f"{subject.name}.tune.db" if subject.live else None)
    spec = {"kind": "tune", "command": command, "name": subject.name, "machine": machine}
    try:
        with err.status("") as status:
            answer, report = _run(subject, tuning, parallel, url, spec, _printer(subject, tuning, status, json_))
    except KeyboardInterrupt:
        said = f"stopped; go on with: {command}" if url else "stopped; nothing was kept. --store FILE keeps every trial"
        err.print(plain(said), markup=False, highlight=False, soft_wrap=True)
        raise
    if plot is not None:
        from cloudbandit.report.tune_plot import plot_tuning

        plot_tuning(answer, report, subject.goal, f"{subject.name}: {', '.join(subject.goal.metrics)}", plot)
    if json_:
        _print_json(answer, report, subject, url)
    else:
        from cloudbandit.cli.tuned import print_answer

        print_answer(answer, report, subject, url, plot)
    if answer.best is None:
        raise typer.Exit(NOT_FEASIBLE)


def _run(
    subject: Subject,
    tuning: Tuning,
    parallel: int,
    url: str | None,
    spec: dict[str, Any],
    on_trial: Callable[[Observation], None],
) -> tuple[Answer, Report]:
    from cloudbandit.core.pools import Serial, Simulated, Threads
    from cloudbandit.live.objective import LiveObjective
    from cloudbandit.live.studyfile import opened
    from cloudbandit.tune.request import alone_on_this_machine

    def go(store: Store | None) -> tuple[Answer, Report]:
        if isinstance(subject.objective, LiveObjective) and store is not None:
            subject.objective.store_id = store.id
        pool = (Serial() if parallel == 1 else Threads(parallel)) if subject.live else Simulated(parallel)
        try:
            return tuning.run(
                subject.domain,
                subject.objective,
                subject.goal,
                subject.default,
                pool=pool,
                store=store,
                name=f"tune/{subject.name}",
                identity={**subject.identity, "parallel": parallel},
                where_known={k: v for k, v in spec["machine"].items() if k in ("engine", "cpu", "cores") and v},
                spec=spec,
                on_trial=on_trial,
            )
        finally:
            pool.close()

    with opened(url) as store:
        if not subject.live:
            return go(store)
        with alone_on_this_machine(subject):
            return go(store)


def _settings(text: str) -> dict[str, Value]:
    """``a=1,b=true,c=u8``"""
    out: dict[str, Value] = {}
    for part in names(text):
        name, found, value = part.partition("=")
        if not found:
            raise UsageError(f"--default reads KNOB=VALUE,…; got {part!r}")
        try:
            out[name.strip()] = json.loads(value.strip().replace("True", "true").replace("False", "false"))
        except ValueError:
            out[name.strip()] = value.strip()
    return out


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in names(text)]
    except ValueError:
        raise UsageError(f"--reference is a number per objective, e.g. 500,40; got {text!r}") from None


def _print_knobs(subject: Subject, tuning: Tuning) -> None:
    listed = ", ".join(
        f"{p.name} ({', '.join(map(str, p.values)) if p.finite else f'{p.low:g} … {p.high:g}'})"
        for p in subject.searched
    )
    lines = [f"searched: {listed}"]
    if subject.fixed:
        lines.append("fixed: " + ", ".join(f"{name}={value}" for name, value in subject.fixed.items()))
    known = "not known" if subject.default is None else config_text(subject.default)
    trials = f"{tuning.trials} trials" if tuning.trials is not None else "as many trials as the budget allows"
    lines += [f"default: {known}", f"plan: {trials} with {tuning.method}, then {tuning.repeats} repeats in turns"]
    for line in lines:
        err.print(plain(line), markup=False, highlight=False, soft_wrap=True)


def _printer(subject: Subject, tuning: Tuning, status: Any, quiet: bool) -> Callable[[Observation], None]:
    """A line per finished trial, with what was spent so far."""
    spent = [0.0]

    def tell(o: Observation) -> None:
        spent[0] += o.result.spent_usd + o.result.hosts_usd
        status.update(f"trial {o.trial.number + 1}: start, load, stop … (Ctrl-C loses nothing that is stored)")
        if quiet:
            return
        metrics = [f"{m} {o.result.metrics[m]:.4g}" for m in subject.goal.metrics if m in o.result.metrics]
        said = ", ".join(metrics) if o.result.status == "ok" else f"{o.result.status} {o.result.reason}"
        met = "" if o.score is None or o.score.rank or o.score.feasible else "  (violates an SLO)"
        again = "  again" if o.trial.replicate else ""
        text = f"trial {o.trial.number:3}  {spent[0]:.4f} USD  {said}{met}{again}  {config_text(o.candidate)}"
        err.print(plain(text), highlight=False, markup=False, soft_wrap=True)

    return tell


def _print_json(answer: Answer, report: Report, subject: Subject, url: str | None) -> None:
    from cloudbandit.tune.subject import in_a_shell

    said = answer.to_dict()
    for key, setting in (("best", answer.best), ("default", answer.default)):
        if setting is not None:
            found = subject.command(setting.candidate)
            said[key]["command"] = None if found is None else in_a_shell(*found)
    more: dict[str, Any] = {
        "spent_usd": report.spent_usd,
        "trials": report.evaluations,
        "searched": answer.searched,
        "repeated": answer.repeated,
        "restored": report.restored,
        "seconds": report.elapsed_s,
        "stop_reason": report.stop_reason,
        "knobs": {p.name: list(p.values) for p in subject.searched},
        "fixed": subject.fixed,
        "store": url,
    }
    print_json({**said, **more})
