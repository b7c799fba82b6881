"""``recommend`` and ``evaluate-recommender``: hardware for an LLM."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudbandit.cli.common import NOT_FEASIBLE, Json, Plot, Slo, app, err, out, print_json
from cloudbandit.cli.grid import Column, print_table
from cloudbandit.cli.text import plain, shown
from cloudbandit.core.errors import NoOfferError, UsageError

if TYPE_CHECKING:
    from cloudbandit.catalogue.gpus import GPU
    from cloudbandit.catalogue.offers import ServingOffer
    from cloudbandit.recommend.advisor import Advisor, Measurement
    from cloudbandit.recommend.answer import Answer
    from cloudbandit.surrogate.loads import RequestLengths

LLM_PILOT, CATALOGUE, TGIS = "llm-pilot", "catalogue", "tgis"


@app.command()
def recommend(
    model: Annotated[str, typer.Option("--model", help="A measured model, or the path of a Hugging Face config.json.")],
    users: Annotated[int, typer.Option("--users", help="Concurrent users in all, one request in flight each.")],
    slo: Slo = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="vllm, sglang, trtllm, or tgis (LLM-Pilot's, 2023). Default: vllm.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Of the weights; the checkpoint's by default.")
    ] = None,
    offers: Annotated[
        str | None,
        typer.Option(
            "--offers",
            help="catalogue (cloud machines, the default), a CSV file of offers, or llm-pilot (its 14 GPU profiles; means "
            "--engine tgis).",
        ),
    ] = None,
    provider: Annotated[
        list[str] | None, typer.Option("--provider", help="Only this provider's offers; repeatable.")
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option("--region", help="Only offers in this region; repeatable.")
    ] = None,
    purchase: Annotated[str, typer.Option("--purchase", help="on-demand or spot, of a catalogue.")] = "on-demand",
    gpus: Annotated[
        Path | None, typer.Option("--gpus", metavar="FILE", help="GPU datasheets, as data/gpus/gpus.csv.")
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option("--measured", metavar="FILE", help="Load tests of this model: gpu, gpus, users, metrics."),
    ] = None,
    unseen: Annotated[bool, typer.Option("--unseen", help="Forget every bundled row of this model.")] = False,
    predict: Annotated[
        bool, typer.Option("--predict", help="Also rank offers on which a measured model was not measured.")
    ] = False,
    risk: Annotated[
        str | None,
        typer.Option(
            "--risk",
            help="Probability with which the SLOs must be met; likely (0.7, or the best there is), median or utility.",
        ),
    ] = None,
    input_tokens: Annotated[float | None, typer.Option("--input-tokens", help="Of every request.")] = None,
    output_tokens: Annotated[float | None, typer.Option("--output-tokens", help="Of every request.")] = None,
    top: Annotated[int, typer.Option("--top", help="Rows of the table.")] = 10,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """The cheapest machines that serve a model within its SLOs, measured before or not."""
    from cloudbandit.catalogue.gpus import load_gpus
    from cloudbandit.recommend.recommender import Recommender
    from cloudbandit.surrogate.loads import read_measurements

    if plot is not None:
        from cloudbandit.report.figure import check_figure

        check_figure(plot, "--plot")
    table = load_gpus(gpus) if gpus else None
    engine, offers = _defaults(engine, offers)
    chosen, notes = _offers(offers, engine, provider or [], region or [], purchase, table)
    with err.status("…") as status:
        recommender = Recommender(
            engine=engine, precision=precision, progress=lambda text: status.update(f"training: {shown(text)}")
        )
        spec = recommender.model(model)
        try:
            advisor = recommender.advise(
                spec,
                chosen,
                slo or [],
                users,
                workload=_workload(input_tokens, output_tokens),
                measurements=read_measurements(measured, spec.name, table) if measured else (),
                risk=risk,
                unseen=unseen,
                only_measured=False if predict else None,
                notes=notes,
            )
        except NoOfferError as error:  # what fell away before is part of why
            before = [note for note in notes if note.startswith("Left out")]
            raise UsageError(". ".join([str(error), *before])) from None
        answer = advisor.recommend()
        following = advisor.next_measurement()
        if plot is not None and answer.ranking:
            from cloudbandit.report.recommend_plot import plot_answer

            plot_answer(advisor, answer, plot, top)
    if json_:
        measurement = None
        if following is not None:
            profile = following.profile
            measurement = {"gpu": profile.gpu.part, "gpus": profile.gpus, "users": list(following.loads)}
        print_json({**answer.to_dict(), "next_measurement": measurement})
    else:
        _print(answer, advisor, following, top, plot)
    if not answer.ranking:
        raise typer.Exit(NOT_FEASIBLE)


def _defaults(engine: str | None, offers: str | None) -> tuple[str, str]:
    """Each follows from the other where it is not given."""
    engine = (engine or (TGIS if offers == LLM_PILOT else "vllm")).lower()
    return engine, offers or (LLM_PILOT if engine == TGIS else CATALOGUE)


def _offers(
    name: str, engine: str, providers: list[str], regions: list[str], purchase: str, gpus: dict[str, GPU] | None
) -> tuple[list[ServingOffer], list[str]]:
    """The offers asked for, and what the reader must know of them."""
    from cloudbandit.catalogue.offers import catalogue_offers, paper_offers, select
    from cloudbandit.catalogue.prices import stale

    if name == LLM_PILOT:
        if purchase != "on-demand":
            raise UsageError(f"the offers of {LLM_PILOT} have on-demand prices only; cure: --offers {CATALOGUE}")
        paper = paper_offers()
        machines = select([o.machine for o in paper], providers, regions)
        return (
            [o for o in paper if o.machine in machines],
            ["prices are those LLM-Pilot used, undated; today's: --offers catalogue"],
        )
    path = None if name == CATALOGUE else Path(name).expanduser()
    found, left_out = catalogue_offers(path, purchase, gpus, providers=providers, regions=regions)
    if not found:
        raise UsageError(f"no offer is left. {_reasons(left_out)}. {_cures(left_out, purchase)}")
    notes = (
        ["learnt from LLM-Pilot's load tests (TGIS, FP16, 2023), not from today's engines"] if engine == TGIS else []
    )
    prices = dict.fromkeys(o.machine for o in found)
    old = len(stale(prices, date.today()))
    if old:
        notes.append(f"{old} of {len(prices)} prices are older than 7 days or undated: check them before you rent")
    if left_out:
        notes.append(_reasons(left_out))
    return found, notes


def _reasons(left_out: list[str]) -> str:
    """``Left out: 12 machines (no spot price), 1 machine (no datasheet for Z9; …)``, the most first."""
    counted = Counter(text.partition(": ")[2] for text in left_out)
    said = [f"{n} {'machine' if n == 1 else 'machines'} ({why})" for why, n in counted.most_common(4)]
    more = f" and {len(counted) - 4} more reasons" if len(counted) > 4 else ""
    return f"Left out: {', '.join(said)}{more}" if said else "The catalogue holds none"


def _cures(left_out: list[str], purchase: str) -> str:
    other = "on-demand" if purchase == "spot" else "spot"
    cures = [f"--purchase {other}"] if any(text.endswith(f"no {purchase} price") for text in left_out) else []
    if any("no datasheet" in text for text in left_out):
        cures.append("--gpus FILE with a row for the GPU")
    return f"Cure: {', or '.join([*cures, 'other offers (--offers, --provider, --region)'])}"


def _workload(inputs: float | None, outputs: float | None) -> RequestLengths | None:
    from cloudbandit.surrogate.loads import RequestLengths

    if (inputs is None) != (outputs is None):
        raise UsageError("give both --input-tokens and --output-tokens, or neither")
    return None if inputs is None or outputs is None else RequestLengths.fixed(inputs, outputs)


def _among(regions: list[str]) -> str:
    """The first of them, and how many more."""
    return regions[0] + (f" +{len(regions) - 1}" if len(regions) > 1 else "")


def _print(answer: Answer, advisor: Advisor, following: Measurement | None, top: int, plot: Path | None) -> None:
    slos = ", ".join(map(str, answer.slos))
    if not answer.ranking:
        out.print(
            f"[bold red]nothing to recommend[/] for {shown(answer.model)}, {answer.users} users, {shown(slos)}",
            highlight=False,
        )
        out.print(plain(answer.explanation), highlight=False, markup=False)
    else:
        choices = answer.choices()
        somewhere = any(regions[0] for _, regions in choices)
        rows = choices[:top]
        tokens = [r.usd_per_million_output_tokens for r, _ in rows]
        machines = [replace(r.offer.machine, region="").name if somewhere else r.offer.name for r, _ in rows]
        columns = [Column("offer", machines, text=True)]
        if somewhere:
            columns.append(Column("region", [_among(regions) for _, regions in rows], text=True, spare=3))
        columns += [
            Column("engines", [f"{r.offer.engines} × ({r.offer.profile})" for r, _ in rows], text=True, spare=1),
            Column("replicas", [str(r.replicas) for r, _ in rows]),
            Column("users each", [str(r.users_per_replica) for r, _ in rows], spare=5),
            Column("USD/h", [f"{r.usd_per_h:.2f}" for r, _ in rows]),
            Column("USD/Mtok out", ["" if t is None else f"{t:.2f}" for t in tokens], spare=4),
            Column("P(meets)", [f"{r.p_meets_slo:.2f}" for r, _ in rows]),
            Column("binding", [r.binding for r, _ in rows], text=True, spare=2),
            Column("source", [r.source for r, _ in rows], text=True),
            Column("from", [r.basis if r.source != "measured" else "" for r, _ in rows], text=True, spare=7),
        ]
        if any(r.stand_ins for r, _ in choices):
            columns.append(Column("answered by", [", ".join(r.stand_ins) for r, _ in rows], text=True, spare=6))
        print_table(f"{answer.model} under {answer.engine}, {answer.users} users, {slos}", columns, ["bold green"])
        if len(choices) > top:
            out.print(f"… and {len(choices) - top} more (--top)", highlight=False)
    for note in answer.notes:
        out.print(plain(f"note: {note}"), highlight=False, markup=False)
    if answer.ranking and answer.best is not None and answer.best.source == "predicted":
        out.print(plain(f"the first row rests on {answer.best.basis}"), highlight=False, markup=False)
        loss = f"{100 * answer.expected_regret:.0f} %"
        out.print(f"expected loss against perfect knowledge: {loss} (a missed SLO counts as 100 %)", highlight=False)
    if following is not None:
        loads = ", ".join(map(str, following.loads))
        out.print(
            f"worth measuring next: {shown(following.profile)} at {loads} users (then --measured FILE)", highlight=False
        )
    if plot is not None and answer.ranking:
        out.print(f"figure: {shown(plot)}", highlight=False)


@app.command("evaluate-recommender")
def evaluate_recommender(
    protocol: Annotated[
        str, typer.Option("--protocol", help="paper: one SLO and 200 users; grid: 108 settings.")
    ] = "paper",
    json_: Json = False,
) -> None:
    """Leave-one-LLM-out on the bundled load tests, everything chosen inside; beside published methods where they are at hand."""
    from cloudbandit.core.errors import DatasetError
    from cloudbandit.recommend.assess import published
    from cloudbandit.recommend.assess.evaluation import GRID, PAPER, Assessment, evaluate, so_score, truths
    from cloudbandit.recommend.assess.nested import Folds, nested
    from cloudbandit.surrogate.loads import llm_pilot

    if protocol not in ("paper", "grid"):
        raise UsageError(f"--protocol is {protocol!r}; allowed: paper, grid")
    settings = (PAPER,) if protocol == "paper" else GRID
    tests = llm_pilot()
    truth = truths(tests)
    with err.status("…") as status:
        folds = Folds(tests, progress=lambda text: status.update(f"training: {shown(text)}"))
        result = nested(folds, truth)  # the choice is always made on the grid

        def only(summary: Assessment) -> Assessment:
            return Assessment([g for g in summary.graded if g.setting in settings])

        summaries = {"nested choice": only(result.summary())}
        summaries |= {f"{mean} / {rule}": only(s) for (mean, rule), s in result.entries.items()}
        missing = ""
        try:
            for method in published.PUBLISHED:
                summaries[f"{method} (published)"] = evaluate(truth, settings, published.decider(method, truth))
        except DatasetError as error:
            missing = str(error)
    rows: list[dict[str, Any]] = []
    for name, s in summaries.items():
        success, over, so = so_score(s.graded) if protocol == "paper" else (None, None, s.so_mean)
        rows.append(
            {
                "method": name,
                "success_percent": success,
                "overspend_percent": None if over is None or over != over else over,
                "so_score": so,
                "so_ci95": list(s.interval("so_mean")),
                "util": s.util,
                "util_ci95": list(s.interval("util")),
            }
        )
    if json_:
        print_json(
            {"protocol": protocol, "llms": len(truth), "settings": len(settings), "rows": rows, "missing": missing}
        )
        return
    ran = "S/O" if protocol == "paper" else "SOmean"
    columns = [Column("method", [row["method"] for row in rows], text=True)]
    for key, header in (("success_percent", "S %"), ("overspend_percent", "O %")):
        columns.append(Column(header, ["" if row[key] is None else f"{row[key]:.1f}" for row in rows]))
    for key, header, spare in (("so", ran, 1), ("util", "util", 0)):
        score = "so_score" if key == "so" else key
        columns.append(Column(header, [f"{row[score]:.3f}" for row in rows]))
        ends = ["{:.2f} … {:.2f}".format(*row[f"{key}_ci95"]) for row in rows]
        columns.append(Column(f"{header} 95 %", ends, spare=spare))
    print_table(
        f"{protocol}: {len(truth)} LLMs left out in turn, {len(settings)} settings; 95 % bootstrap over LLMs", columns
    )
    if missing:
        out.print(plain(f"note: {missing}"), highlight=False, markup=False)
