"""``predict``: what a model on given GPUs serves, and how wrong such predictions are on anybody's measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudbandit.cli.common import Json, Plot, app, counts, err, out, print_json
from cloudbandit.cli.grid import Column, print_table
from cloudbandit.cli.text import plain, shown
from cloudbandit.core.errors import UsageError

if TYPE_CHECKING:
    from cloudbandit.surrogate.question import Prediction

_SHOWN = ("ttft_p50_ms", "tpot_p50_ms", "e2e_p50_ms", "output_tok_per_s")


@app.command()
def predict(
    model: Annotated[Path | None, typer.Option("--model", help="A Hugging Face config.json.")] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", metavar="PART", help="As in data/gpus/gpus.csv.")] = None,
    gpus: Annotated[int, typer.Option("--gpus", help="How many, by tensor parallelism.")] = 1,
    engine: Annotated[str, typer.Option("--engine", help="vllm, sglang, trtllm, or another.")] = "vllm",
    precision: Annotated[
        str | None, typer.Option("--precision", help="Of the weights; by default the checkpoint's.")
    ] = None,
    input_tokens: Annotated[float, typer.Option("--input-tokens", help="Per request, the mean.")] = 1024,
    output_tokens: Annotated[float, typer.Option("--output-tokens", help="Per request, the mean.")] = 256,
    users: Annotated[str, typer.Option("--users", help="Concurrent users, comma-separated.")] = "1,4,16,64",
    measured: Annotated[
        Path | None, typer.Option("--measured", metavar="FILE", help="Points of this model: docs/points.md.")
    ] = None,
    metrics: Annotated[
        str, typer.Option("--metrics", help="More, comma-separated: percentiles, gaps between tokens, e.g. itl_p95_ms.")
    ] = "",
    datasheets: Annotated[
        Path | None, typer.Option("--datasheets", metavar="FILE", help="GPUs, as data/gpus/gpus.csv.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="POINTS.CSV", help="Predict every measured point, and compare.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option("--models", metavar="DIR", help="With --against: <model>.json, each a config.json.")
    ] = None,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """Time to first token, time per token and throughput of a deployment nobody need have measured, with 80 % intervals."""
    from cloudbandit.catalogue.gpus import load_gpus

    table = load_gpus(datasheets) if datasheets else None
    if against is not None:
        if models is None:
            raise UsageError("--against needs --models DIR, a folder with one <model>.json per model of the points")
        _against(against, models, table, plot, json_)
        return
    if model is None or gpu is None:
        raise UsageError("predict needs --model CONFIG and --gpu PART (or --against POINTS.CSV --models DIR)")
    from cloudbandit.surrogate.question import predict as ask

    prediction = ask(
        model,
        gpu,
        gpus,
        engine=engine,
        precision=precision,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        users=counts(users, "--users"),
        measured=measured,
        metrics=[m.strip() for m in metrics.split(",") if m.strip()],
        gpus_table=table,
    )
    if json_:
        print_json(prediction.to_dict())
    else:
        _print(prediction)


def _print(prediction: Prediction) -> None:
    facts = prediction.facts
    out.print(
        plain(
            f"{facts['name']}: {facts['parameters'] / 1e9:.1f} G parameters, {facts['active_parameters'] / 1e9:.1f} G active, "
            f"weights {facts['weights_gib']:.1f} GiB, cache {facts['kv_bytes_per_token'] / 1024:.0f} KiB per token"
        ),
        highlight=False,
        markup=False,
    )
    _print_rows(prediction, _SHOWN, prediction.title)
    if prediction.ratios:
        _print_rows(prediction, tuple(prediction.ratios), "by learned ratios")
    out.print("each median, and its 80 % interval below it", style="dim", highlight=False)
    out.print(f"source: {plain(prediction.source)}", highlight=False, markup=False)
    for name, text in prediction.ratios.items():
        out.print(f"{name}: {text}", highlight=False, markup=False)
    for near in prediction.nearest:
        out.print(f"measured nearby: {plain(near)}", highlight=False, markup=False)
    for warning in prediction.warnings:
        out.print(f"warning: {plain(warning)}", style="yellow", highlight=False, markup=False)


def _print_rows(prediction: Prediction, names: Sequence[str], title: str) -> None:
    columns = [Column("users", [f"{users:g}" for users, _ in prediction.rows])]
    for name in names:
        estimates = [m[name] for _, m in prediction.rows]
        columns.append(Column(name, [f"{_said(e.median)}\n{_said(e.low)} … {_said(e.high)}" for e in estimates]))
    print_table(title, columns)


def _said(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _against(points: Path, models: Path, table: Any, plot: Path | None, json_: bool) -> None:
    from cloudbandit.surrogate.question import hold_against

    with err.status("predicting …"):
        held, found = hold_against(points, models, table)
    if plot is not None:
        from cloudbandit.report.predict_plot import plot_against

        plot_against(held, plot)
    if json_:
        print_json(found)
        return
    out.print(f"{found['n']} points predicted, {found['refused']} refused", highlight=False)
    named = [("all", found["metrics"]), *((f"{g['by']} {g['name']}", g["metrics"]) for g in found["groups"])]
    rows = [(label if i == 0 else "", name, e) for label, m in named for i, (name, e) in enumerate(m.items())]
    columns = [
        Column("group", [label for label, _, _ in rows], text=True),
        Column("metric", [name for _, name, _ in rows], text=True),
        Column("n", [str(e["n"]) for *_, e in rows]),
        Column("error %", [f"{e['mape_percent']:.1f}" for *_, e in rows]),
        Column("ratio", [f"{e['median_ratio']:.2f}" for *_, e in rows]),
        Column("covered %", [f"{e['coverage_percent']:.0f}" for *_, e in rows]),
        Column("high/low", [f"{e['median_high_over_low']:.2f}" for *_, e in rows]),
    ]
    print_table("", columns)
    for warning in found["warnings"]:
        out.print(f"warning: {plain(warning)}", style="yellow", highlight=False, markup=False)
    if plot is not None:
        out.print(f"figure: {shown(plot)}")
