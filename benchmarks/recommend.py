"""How good the recommender is for an LLM it has never seen: leave-one-LLM-out, on LLM-Pilot's load tests.

    python benchmarks/recommend.py [--json] [--write docs/figures/recommend.json]

Zero-shot over 108 settings (SLOs on nTTFT and ITL, users), every entry of the fixed list, the nested choice between them, the
published methods beside it; few-shot by sweep and by single points; the coverage of predictive intervals. Everything is
deterministic (seed 0). Intervals: 95 % bootstrap over the ten LLMs.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from cloudbandit.catalogue.offers import paper_offers
from cloudbandit.core.errors import DatasetError
from cloudbandit.recommend.assess import baselines, published
from cloudbandit.recommend.assess.evaluation import (
    EXCESS,
    GRID,
    ITL,
    NTTFT,
    PAPER,
    STATIC_COUNTS,
    Assessment,
    evaluate,
    from_samples,
    so_score,
    static_policy,
    truths,
)
from cloudbandit.recommend.assess.nested import (
    ENTRIES,
    Folds,
    choose_entry,
    coverage,
    few_shot_curve,
    nested,
    percentage_error,
)
from cloudbandit.surrogate.loads import llm_pilot

MANY_PROFILES = 5


def row(summary, paper=None):
    """Grid figures with intervals, and the paper's single setting."""
    out = {
        "so_mean": round(summary.so_mean, 4),
        "so_mean_ci": [round(v, 4) for v in summary.interval("so_mean")],
        "util": round(summary.util, 4),
        "util_ci": [round(v, 4) for v in summary.interval("util")],
        "optimal": round(summary.optimal, 4),
        "llms": len({g.model for g in summary.graded}),
        "decisions": len(summary.graded),
    }
    if paper is not None:
        s, o, so = so_score(paper.graded)
        out |= {
            "paper_s": s,
            "paper_o": None if np.isnan(o) else round(o, 2),
            "paper_so": round(so, 4),
            "paper_so_ci": [round(v, 4) for v in paper.interval("so_mean")],
        }
    return out


def paired(ours, theirs, draws=2000, seed=0):
    """util minus util, 95 % paired bootstrap over LLMs."""
    models = sorted({g.model for g in ours.graded})

    def mean(summary, m):
        return np.mean([g.utility for g in summary.graded if g.model == m])

    d = np.array([mean(ours, m) - mean(theirs, m) for m in models])
    rng = np.random.default_rng(seed)
    means = d[rng.integers(len(d), size=(draws, len(d)))].mean(1)
    return [round(float(v), 4) for v in (d.mean(), *np.percentile(means, [2.5, 97.5]))]


def static(truth):
    """The fixed machine and count that does best on the other LLMs, per setting; nine out of ten choose it."""
    policies = [(o.name, n) for o in paper_offers() for n in STATIC_COUNTS]
    table = {p: evaluate(truth, GRID, static_policy(*p)).graded for p in policies}
    by = {p: {(g.model, g.setting): g for g in graded} for p, graded in table.items()}
    keys = sorted({(g.model, g.setting) for g in table[policies[0]]}, key=lambda k: (GRID.index(k[1]), k[0]))
    chosen = []
    for model, setting in keys:
        others = [m for m, s in keys if s == setting and m != model]
        best = max(policies, key=lambda p: so_score([by[p][m, setting] for m in others])[2])
        chosen.append(by[best][model, setting])
    return Assessment(chosen)


def per_slo(file, truth):
    """LLM-Pilot trained once per SLO (benchmarks/llmpilot_xgboost.py --grid)."""
    graded = []
    for (nttft, itl), frame in pd.read_csv(file).groupby(["slo_nttft", "slo_itl"]):
        samples = published.from_frame(frame, truth, two_shot=False)
        settings = [s for s in GRID if (s.nttft_ms, s.itl_ms) == (nttft, itl)]
        graded += evaluate(truth, settings, from_samples(samples, 0.5)).graded
    return Assessment(graded)


def at_paper(summary):
    return Assessment([g for g in summary.graded if g.setting == PAPER])


def few(folds, truth, chosen, **options):
    grid = few_shot_curve(folds, truth, chosen, GRID, **options)
    return [row(g, at_paper(g)) | {"measurements": k} for k, g in enumerate(grid)]


def draw(out, path):
    """Zero-shot util per method, and what measuring adds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    rows = sorted(out["zero_shot"].items(), key=lambda item: item[1]["util"])
    colours = ["#D55E00" if n == "nested" else "#0072B2" if " / " in n else "#999999" for n, _ in rows]
    low = [r["util"] - r["util_ci"][0] for _, r in rows]
    high = [r["util_ci"][1] - r["util"] for _, r in rows]
    left.barh(
        [n for n, _ in rows], [r["util"] for _, r in rows], xerr=[low, high], color=colours, error_kw={"elinewidth": 1}
    )
    left.set_xlabel("util over 108 settings, no measurement (95 % bootstrap over 10 LLMs)")
    left.tick_params(axis="y", labelsize=8)
    for kind, label, colour in (
        ("few_shot_sweep", "a sweep of 8 loads on one profile", "#D55E00"),
        ("few_shot_single", "one load on one profile", "#0072B2"),
        ("few_shot_sweep_failure_aware", "sweeps, failing requests count", "#009E73"),
    ):
        x = [r["measurements"] for r in out[kind]]
        right.plot(x, [r["util"] for r in out[kind]], marker="o", color=colour, label=label)
        right.fill_between(
            x, [r["util_ci"][0] for r in out[kind]], [r["util_ci"][1] for r in out[kind]], color=colour, alpha=0.12
        )
    right.set_xticks(x)
    right.set_ylim(0, 1.02)
    right.set_xlabel("measurements of the new LLM")
    right.set_ylabel("util")
    right.grid(alpha=0.3)
    right.legend(loc="lower right")
    figure.savefig(path, dpi=110)


BEGIN, END = "<!-- recommend: begin -->", "<!-- recommend: end -->"


def tables(out):
    """The figures as Markdown."""

    def interval(pair):
        return f"[{pair[0]:.2f}, {pair[1]:.2f}]"

    lines = ["| method | SOmean | 95 % | util | 95 % | paper's setting: S/O | 95 % |", "|---|---|---|---|---|---|---|"]
    for name, r in out["zero_shot"].items():
        name = "**nested choice**" if name == "nested" else name
        lines.append(
            f"| {name} | {r['so_mean']:.3f} | {interval(r['so_mean_ci'])} | {r['util']:.3f} | {interval(r['util_ci'])} "
            f"| {r['paper_so']:.3f} | {interval(r['paper_so_ci'])} |"
        )
    lines += [
        "",
        "util of the nested choice minus a peer's, paired bootstrap over LLMs:",
        "",
        "| peer | difference | 95 % |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {d[0]:+.3f} | [{d[1]:+.2f}, {d[2]:+.2f}] |" for name, d in out["against"].items()]
    lines += [
        "",
        "| measured | sweeps: SOmean | util | optimal | single: SOmean | util | ≥ 5 profiles: SOmean | failures count: SOmean |",
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    kinds = ("few_shot_sweep", "few_shot_single", "few_shot_sweep_many_profiles", "few_shot_sweep_failure_aware")
    for k, rows in enumerate(zip(*(out[kind] for kind in kinds), strict=True)):
        sweep, single, many, aware = rows
        cells = [
            f"{sweep['so_mean']:.3f} {interval(sweep['so_mean_ci'])}",
            f"{sweep['util']:.3f} {interval(sweep['util_ci'])}",
        ]
        cells += [
            f"{100 * sweep['optimal']:.0f} %",
            f"{single['so_mean']:.3f} {interval(single['so_mean_ci'])}",
            f"{single['util']:.3f}",
        ]
        cells += [f"{r['so_mean']:.3f} {interval(r['so_mean_ci'])}" for r in (many, aware)]
        lines.append(f"| {k} | " + " | ".join(cells) + " |")
    covered = "; ".join(f"{m} {100 * c['all']:.0f} %" for m, c in out["coverage_80"].items())
    worst = "; ".join(
        f"{m}: " + ", ".join(f"{name} {100 * v:.0f} %" for name, v in sorted(c.items(), key=lambda i: i[1])[:3])
        for m, c in out["coverage_80"].items()
    )
    lines += ["", f"Coverage of central 80 % intervals: {covered} of held-out points. Least covered LLMs: {worst}."]
    errors = ", ".join(f"{m.removeprefix('mape_')} {100 * v:.0f} %" for m, v in out.items() if m.startswith("mape_"))
    lines += [f"Mean absolute percentage error of the medians: {errors}.", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="also write the figures here")
    parser.add_argument("--llm-pilot", type=Path, metavar="FILE", help="what llmpilot_xgboost.py --grid wrote")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument(
        "--from", dest="old", type=Path, metavar="FILE", help="show what --write wrote, compute nothing"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="put the tables between the marks of this Markdown page"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw util and what measuring adds")
    args = parser.parse_args()
    out = json.loads(args.old.read_text()) if args.old else run(args)
    if args.write:
        args.write.write_text(json.dumps(out, indent=1) + "\n")
    if args.plot:
        draw(out, args.plot)
    if args.page:
        text = args.page.read_text()
        before, rest = text.split(BEGIN)
        args.page.write_text(before + BEGIN + "\n" + tables(out) + END + rest.split(END)[1])
    print(json.dumps(out)) if args.json else show(out)


def run(args):
    """Everything, in minutes."""
    started = time.perf_counter()

    def say(text):
        print(f"{time.perf_counter() - started:7.1f} s  {text}", file=sys.stderr, flush=True)

    tests = llm_pilot()
    truth, aware = truths(tests), truths(tests, failure_aware=True)
    folds = Folds(tests, (NTTFT, ITL, EXCESS), size=args.samples)
    result = nested(folds, truth)
    say("zero-shot done")
    best = result.summary()
    out = {"zero_shot": {"nested": row(best, at_paper(best))}, "against": {}}
    for entry, summary in result.entries.items():
        out["zero_shot"]["{} / {}".format(*entry)] = row(summary, at_paper(summary))
    policy = static(truth)
    out["zero_shot"]["static"] = row(policy, at_paper(policy))
    try:
        for method in published.PUBLISHED:
            theirs = evaluate(truth, GRID, published.decider(method, truth))
            out["zero_shot"][f"{method} (published)"] = row(theirs, at_paper(theirs))
            out["against"][method] = paired(best, theirs)
    except DatasetError as error:
        say(str(error))
    for method in baselines.BASELINES:
        theirs = evaluate(truth, GRID, from_samples(baselines.predictions(method, tests, truth), 0.5))
        out["zero_shot"][f"{method} (written again)"] = row(theirs, at_paper(theirs))
        out["against"][f"{method} (written again)"] = paired(best, theirs)
    if args.llm_pilot:
        theirs = per_slo(args.llm_pilot, truth)
        out["zero_shot"]["LLM-Pilot (trained per SLO)"] = row(theirs, at_paper(theirs))
        out["against"]["LLM-Pilot (trained per SLO)"] = paired(best, theirs)
    say("peers done")
    out["for_new_llms"] = list(choose_entry(folds, truth))
    out["chosen"] = {m: list(e) for m, e in result.chosen.items()}
    out["inner_util"] = {
        m: {"{} / {}".format(*e): round(u, 4) for e, u in d.items()} for m, d in result.inner_util.items()
    }
    out["coverage_80"] = {}
    for metric in (NTTFT, ITL):
        per = coverage(folds, truth, result.chosen, metric)
        weights = [np.isfinite(t.metrics[metric]).sum() for t in truth]
        over_all = float(np.average([per[t.model] for t in truth], weights=weights))
        out["coverage_80"][metric] = {"all": round(over_all, 4), **{m: round(v, 4) for m, v in per.items()}}
        out[f"mape_{metric}"] = round(percentage_error(folds, truth, result.chosen, metric), 4)
    many = [t for t in truth if len(t.offers) >= MANY_PROFILES]
    out["few_shot_sweep"] = few(folds, truth, result.chosen)
    say("sweeps done")
    out["few_shot_single"] = few(folds, truth, result.chosen, single=True)
    say("single points done")
    out["few_shot_sweep_many_profiles"] = few(folds, many, result.chosen)
    out["few_shot_sweep_failure_aware"] = few(folds, aware, result.chosen)
    aware_samples = {t.model: folds.samples(result.chosen[t.model][0], t, t.model) for t in aware}
    paper_rule = {t.model: result.chosen[t.model][1] for t in aware}
    graded = [g for t in aware for g in evaluate([t], GRID, from_samples(aware_samples, paper_rule[t.model])).graded]
    out["zero_shot_failure_aware"] = row(Assessment(graded), at_paper(Assessment(graded)))
    out["entries"] = ["{} / {}".format(*e) for e in ENTRIES]
    out["seconds"] = round(time.perf_counter() - started, 1)
    return out


def show(out):
    """Tables for people."""
    print(f"{'method':38} {'SOmean':>7} {'95 %':>16} {'util':>6} {'95 %':>16} {'paper S/O':>9} {'95 %':>16}")
    for name, r in out["zero_shot"].items():
        print(
            f"{name:38} {r['so_mean']:7.3f} {r['so_mean_ci']!s:>16} {r['util']:6.3f} {r['util_ci']!s:>16} "
            f"{r['paper_so']:9.3f} {r['paper_so_ci']!s:>16}"
        )
    for kind in ("few_shot_sweep", "few_shot_single", "few_shot_sweep_many_profiles", "few_shot_sweep_failure_aware"):
        print(kind)
        for r in out[kind]:
            print(
                f"  {r['measurements']} measured: SOmean {r['so_mean']} {r['so_mean_ci']}  util {r['util']} {r['util_ci']}"
            )
    print("coverage of 80 % intervals:", {m: c["all"] for m, c in out["coverage_80"].items()})


if __name__ == "__main__":
    main()
