"""Regret on the CloudBandit paper's table; with --write into docs/results.md and docs/figures/.

    python benchmarks/multicloud.py [--seeds 30] [--jobs 2] [--json | --write]

Needs the data set ``multicloud`` (IBM, Apache-2.0; found in $CLOUDBANDIT_DATA, the cache, or downloaded).
"""

import argparse
import json
import sys
from pathlib import Path

from rich.progress import Progress

from cloudbandit.analysis.compare import compare
from cloudbandit.analysis.plots import plot_compare
from cloudbandit.errors import DatasetError

ROOT = Path(__file__).parent.parent
OPTIMIZERS = ("random", "random-wor", "coordinate", "gp", "gp-lcb", "cloudbandit:random", "cloudbandit:gp")
BUDGETS = (5, 11, 22, 33)
BEGIN, END = "<!-- multicloud: begin -->", "<!-- multicloud: end -->"


def markdown(metric, failures, rows):
    yield f"### {metric}, {failures} failures (n = {rows[0].n} runs per row)"
    yield ""
    yield "| optimizer | B | mean regret % | 95 % interval | median % | of the answer % | savings % |"
    yield "|---|---|---|---|---|---|---|"
    for r in rows:
        yield (
            f"| {r.optimizer} | {r.budget} | {r.mean_regret_percent:.1f} | {r.ci95[0]:.1f} … {r.ci95[1]:.1f} "
            f"| {r.median_regret_percent:.1f} | {r.mean_answer_regret_percent:.1f} | {r.mean_savings_percent:.1f} |"
        )
    yield ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    lines, found = [], []
    with Progress(transient=True, disable=arguments.json) as progress:
        for metric in ("cost_usd", "runtime_s"):
            for failures in ("strict", "recorded"):
                bar = progress.add_task(f"{metric}, {failures}", total=None)

                def told(done, total, bar=bar):
                    progress.update(bar, completed=done, total=total)

                rows = compare(
                    "multicloud",
                    metric,
                    OPTIMIZERS,
                    BUDGETS,
                    arguments.seeds,
                    failures=failures,
                    jobs=arguments.jobs,
                    on_cell=told,
                )
                found += [{"metric": metric, "failures": failures, **r.to_dict()} for r in rows]
                lines += markdown(metric, failures, rows)
                if failures == "strict" and arguments.write:
                    figures = ROOT / "docs" / "figures"
                    figures.mkdir(parents=True, exist_ok=True)
                    plot_compare(rows, f"multicloud, {metric}, strict failures", figures / f"multicloud-{metric}.png")
    if arguments.json:
        print(json.dumps({"seeds": arguments.seeds, "rows": found}))
        return
    if arguments.write:
        path = ROOT / "docs" / "results.md"
        text = path.read_text(encoding="utf-8")
        path.write_text(
            f"{text.split(BEGIN)[0]}{BEGIN}\n\n{chr(10).join(lines)}\n{END}{text.split(END)[1]}", encoding="utf-8"
        )
    print("\n".join(lines))


if __name__ == "__main__":
    try:
        main()
    except DatasetError as error:
        sys.exit(f"error: {error}")
