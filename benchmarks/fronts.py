"""Two objectives on the bundled table: how much of the true front each optimizer finds with few trials.

    python benchmarks/fronts.py [--optimizers A,B] [--seeds 20] [--budgets 11,22] [--jobs 2] [--plot FILE] [--json]

``usd_per_h`` and ``ttft_ms`` of ``llm-serving``, six of its workloads evenly spread, B = 22. By default every method of our own
that searches a front and learns from nothing but its own trials. The baseline is ``random-wor``: a method is *below* it where the
paired 95 % interval of the difference, over workloads, lies below 0.
"""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from cloudbandit import load_table
from cloudbandit.optimizers.registry import BUILT_IN, all_names
from cloudbandit.replay.compare import compare_rows
from cloudbandit.replay.methods import Method

TABLE, OBJECTIVES, WORKLOADS = "llm-serving", ("usd_per_h", "ttft_ms"), 6
BASELINE = "random-wor"


def own_methods():
    """Names without a library and without a history; those that refuse several objectives are left out when asked."""
    for name in all_names():
        inner = BUILT_IN.get(name.rpartition(":")[2])
        if inner is None or not (inner.extra or Method.of(name).history):
            yield name


def spread(names, count):
    """So many of the names, evenly spread, both ends included."""
    return [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--optimizers")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", default="22")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    chosen = arguments.optimizers.split(",") if arguments.optimizers else list(own_methods())
    methods = [Method(name, name, by_all=not arguments.optimizers) for name in dict.fromkeys([BASELINE, *chosen])]
    left_out = {}
    with Progress(console=Console(stderr=True), transient=True, disable=arguments.json) as progress:
        bar = progress.add_task("comparing", total=None)
        rows = compare_rows(
            TABLE,
            OBJECTIVES,
            methods,
            [int(b) for b in arguments.budgets.split(",")],
            arguments.seeds,
            workloads=spread(load_table(TABLE).workloads, WORKLOADS),
            jobs=arguments.jobs,
            baseline=BASELINE,
            on_cell=lambda done, total: progress.update(bar, completed=done, total=total),
            on_left_out=left_out.__setitem__,
        )
    if arguments.plot:
        from cloudbandit.report.compare_plot import plot_compare

        plot_compare(rows, f"{TABLE}: {', '.join(OBJECTIVES)}", arguments.plot)
    found = [{**row.to_dict(), "below": row.difference_ci95[1] < 0} for row in rows]
    if arguments.json:
        print(json.dumps({"rows": found, "left_out": left_out}))
        return
    points = rows[0].mean_true_front_points
    print(f"{TABLE}: {', '.join(OBJECTIVES)}; n = {rows[0].n} runs per row, a true front of {points:.1f} points")
    heads = f"{'optimizer':26}{'B':>4}{'hypervolume':>13}  {'95 % interval':17}"
    print(f"{heads}{'− ' + BASELINE:>13}  {'its interval':19}{'points':>7}")
    for row in found:
        low, high = row["ci95"]
        less, more = row["difference_ci95"]
        print(
            f"{row['optimizer']:26}{row['budget']:4}{row['mean_hypervolume_share']:13.3f}  [{low:.3f}, {high:.3f}]  "
            f"{row['difference']:+13.3f}  [{less:+.3f}, {more:+.3f}]{row['mean_front_points']:9.1f}{'  below' * row['below']}"
        )
    for name, why in left_out.items():
        print(f"left out: {name}: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
