"""The CloudBandit paper's comparison, whole: every method, both metrics, both failure policies, and the stress variant.

    python benchmarks/regret.py [--seeds 30] [--jobs 2] [--checkpoint FILE] [--write] [--only TEXT] [--quick] [--json]
    python benchmarks/regret.py --redraw

Needs the data set ``multicloud`` (IBM, Apache-2.0; found in $CLOUDBANDIT_DATA, the cache, or downloaded). ``--write`` puts
tables into docs/results.md, figures and CSV into docs/figures/; ``--redraw`` draws the figures again from those.
``--only`` runs the sweeps whose title has TEXT, without the tables. ``--quick``: 2 seeds, budgets 11 and 33, a few methods.
Methods that take long (library models, forests) run on fewer tasks and seeds, beside fast ones on the same tasks; n is in
every row.
"""

import argparse
import ast
import csv
import json
import resource
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from cloudbandit.core.errors import DatasetError
from cloudbandit.core.metrics import title as title_of
from cloudbandit.replay.compare import compare_rows
from cloudbandit.replay.rows import CompareRow
from cloudbandit.report.compare_plot import plot_compare, plot_ranks, plot_savings
from cloudbandit.tables.registry import load_table

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"
FAST = (
    "random",
    "random-wor",
    "exhaustive",
    "coordinate",
    "gp",
    "gp-ard",
    "gp-lcb",
    "gp-x3",
    "cherrypick",
    "cherrypick-stop",
    "cherrypick-x3",
    "rbf",
    "rising-bandits",
    "cloudbandit:random",
    "cloudbandit:random-wor",
    "cloudbandit:coordinate",
    "cloudbandit:gp",
    "cloudbandit:gp-ard",
    "cloudbandit:rbf",
    "linear",
    "price-order",
    "single-arm",
    "portfolio",
    "oracle",
)
SLOW = (
    "bilal",
    "bilal-x3",
    "skopt",
    "skopt-forest",
    "smac",
    "optuna",
    "hyperopt",
    "forest",
    "cloudbandit:skopt",
    "cloudbandit:smac",
    "cloudbandit:optuna",
    "cloudbandit:hyperopt",
)
BESIDE = ("random", "gp", "gp-ard", "rbf", "cloudbandit:gp", "cloudbandit:gp-ard")
BUDGETS = (11, 22, 33, 44, 55, 66, 77)
SHOWN = (11, 33, 77)
PLOTTED = (
    "random",
    "coordinate",
    "gp",
    "gp-ard",
    "gp-x3",
    "rbf",
    "rising-bandits",
    "cloudbandit:random",
    "cloudbandit:gp",
    "cloudbandit:gp-ard",
)
METRICS = ("cost_usd", "runtime_s")
DRAWN = tuple(f"{metric}, strict failures" for metric in METRICS)
BEGIN, END = "<!-- regret: begin -->", "<!-- regret: end -->"


def sweeps(quick, seeds):
    """(title, table, metric, failures, optimizers, budgets, seeds, workloads)"""
    names = load_table("multicloud").workloads
    if quick:
        for metric in METRICS:
            yield f"{metric}, strict, quick", "multicloud", metric, "strict", BESIDE, (11, 33), 2, names[:6]
        return
    for metric in METRICS:
        for failures in ("strict", "recorded"):
            yield f"{metric}, {failures} failures", "multicloud", metric, failures, FAST, BUDGETS, seeds, None
    for metric in METRICS:
        yield (
            f"{metric}, stress variant",
            "multicloud:stress",
            metric,
            "strict",
            FAST,
            (11, 22, 33),
            max(1, seeds // 3),
            None,
        )
    sound = [n for n in names if not n.endswith("spectral_clustering")]
    ten = [*sound[::3], sound[1]]  # twenty tasks with both metrics
    for metric in METRICS:
        yield f"{metric}, library methods", "multicloud", metric, "strict", (*BESIDE, *SLOW), (11, 33), 3, ten


def markdown(title, rows, shown):
    yield f"### {title} (n = {rows[0].n} runs per row)"
    yield ""
    yield "| optimizer | B | mean regret % | 95 % interval | median % | of answer % | savings % | right arm % | near % | rank |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for r in rows:
        if r.budget in shown:
            mark = " \\*" if r.learns_from else ""
            yield (
                f"| {r.optimizer}{mark} | {r.budget} | {r.mean_regret_percent:.1f} | {r.ci95[0]:.1f} … {r.ci95[1]:.1f} "
                f"| {r.median_regret_percent:.1f} | {r.mean_answer_regret_percent:.1f} | {r.mean_savings_percent:.1f} "
                f"| {r.right_arm_percent:.0f} | {r.near_percent:.0f} | {r.mean_rank:.1f} |"
            )
    yield ""


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = [k for k in rows[0].to_dict() if k != "suggest_ms_median"]  # times are a machine's, not a result
        writer.writerow(columns)
        for row in rows:
            data = row.to_dict()
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in (data[c] for c in columns)])


def read_csv(path):
    """The rows that `write_csv` wrote, to six digits."""

    def of(name, text):
        if name in ("optimizer", "learns_from"):
            return text
        value = ast.literal_eval(text) if text else None
        return tuple(value) if isinstance(value, list) else value

    with path.open(newline="", encoding="utf-8") as file:
        found = [{k: of(k, v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [CompareRow(**row, suggest_ms_median=0.0) for row in found]


def draw(title, rows, tasks):
    metric, what = title.split(", ", 1)
    stem, what = stem_of(title), f"multicloud, {title_of(metric, unit_too=False)}, {what}"
    plot_savings(rows, 33, what, FIGURES / f"{stem}-savings.png")
    plot_ranks(rows, tasks, what, FIGURES / f"{stem}-ranks.png")
    plot_compare([r for r in rows if r.optimizer in PLOTTED], what, FIGURES / f"{stem}.png")


def stem_of(title):
    return title.replace(", ", "-").replace(" ", "-")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--redraw", action="store_true")
    arguments = parser.parse_args()
    if arguments.redraw:
        for title in DRAWN:
            rows = read_csv(FIGURES / f"{stem_of(title)}.csv")
            draw(title, rows, rows[0].n // arguments.seeds)
        return
    lines, found = [], []
    with Progress(console=Console(stderr=True), transient=True, disable=arguments.json) as progress:
        for title, table, metric, failures, optimizers, budgets, seeds, workloads in sweeps(
            arguments.quick, arguments.seeds
        ):
            if arguments.only not in title:
                continue
            bar = progress.add_task(title, total=None)
            began = time.monotonic()

            def told(done, total, bar=bar):
                progress.update(bar, completed=done, total=total)

            rows = compare_rows(
                table,
                metric,
                optimizers,
                budgets,
                seeds,
                failures=failures,
                workloads=workloads,
                jobs=arguments.jobs,
                checkpoint=arguments.checkpoint,
                on_cell=told,
            )
            largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3  # of all sweeps so far
            print(f"{title}: {time.monotonic() - began:.0f} s, largest process {largest:.0f} MB", file=sys.stderr)
            found += [{"title": title, **r.to_dict()} for r in rows]
            lines += markdown(title, rows, SHOWN if failures == "strict" else (11, 33))
            if arguments.write:
                FIGURES.mkdir(parents=True, exist_ok=True)
                write_csv(FIGURES / f"{stem_of(title)}.csv", rows)
                if title in DRAWN:
                    draw(title, rows, rows[0].n // seeds)
    if arguments.json:
        print(json.dumps({"rows": found}))
        return
    print("\n".join(lines))
    if arguments.write and not arguments.only:
        path = ROOT / "docs" / "results.md"
        text = path.read_text(encoding="utf-8")
        body = f"{BEGIN}\n\n{chr(10).join(lines)}\n{END}"
        path.write_text(text.split(BEGIN)[0] + body + text.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except DatasetError as error:
        sys.exit(f"error: {error}")
