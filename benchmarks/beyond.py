"""What knowing things beforehand is worth: every figure that is claimed of ``joint``, beside other methods, with intervals.

    python benchmarks/beyond.py [--seeds 20] [--only TEXT] [--every 1] [--jobs 1] [--quick] [--json] [--write]

Each figure is a mean over workloads × seeds with a 95 % interval over workloads, beside the target it was to reach; one that
misses it is said to, and passes only where its interval holds the target. ``--every N``: every Nth workload. ``--quick``: 2
seeds, every eighth workload, to see that it runs. Needs the data set ``multicloud`` (see docs/tables.md).
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from cloudbandit.core.errors import TableError
from cloudbandit.core.known import History
from cloudbandit.core.pools import Simulated
from cloudbandit.core.profit import Profit
from cloudbandit.core.trial import Observation, Trial
from cloudbandit.replay.lifelong import order_of
from cloudbandit.replay.methods import Method
from cloudbandit.replay.statistics import bootstrap_ci95
from cloudbandit.replay.task import Task, study_of, task_seed
from cloudbandit.tables.registry import load_table

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- beyond: begin -->", "<!-- beyond: end -->"
TTFT = ("ttft_ms<=1000",)
OTHERS = ("gp-ard", "random")


@dataclass(frozen=True)
class Figure:
    """One claim: how a method does on a table. ``target``: at most this, at least where ``least``; None: shown beside."""

    title: str
    table: str
    minimize: str
    method: str
    budget: int
    column: str = "mean_regret_percent"
    target: float | None = None
    least: bool = False
    slos: tuple = ()
    facts: str = "all"
    history: str = ""  # "others": traces of random trials of other models; "lifelong"
    runs: int = 0  # production runs of the profit rule
    workers: int = 1


def figures():
    served = {"table": "llm-serving", "minimize": "usd_per_h", "slos": TTFT, "column": "mean_answer_regret_percent"}
    for budget, target in ((11, 80.0), (22, 20.0)):
        yield Figure(f"llm-serving, B = {budget}", method="joint", budget=budget, target=target, **served)
        for other in OTHERS:
            yield Figure(f"llm-serving, B = {budget}", method=other, budget=budget, **served)
    for budget, target in ((5, 60.0), (11, 30.0)):
        title = f"llm-serving, traces of other models, B = {budget}"
        yield Figure(title, method="joint", budget=budget, target=target, history="others", **served)
    for metric, facts, budget, target in (
        ("cost_usd", "none", 11, 6.0),
        ("cost_usd", "all", 5, 10.0),
        ("runtime_s", "vcpu_class", 11, 12.0),
    ):
        title = f"multicloud, {metric}, facts {facts}, B = {budget}"
        for method in ("joint", *OTHERS, *(["price-order"] if facts == "all" else [])):
            wanted = target if method == "joint" else None
            yield Figure(title, "multicloud", metric, method, budget, target=wanted, facts=facts)
    title = "multicloud, runtime_s, lifelong, B = 11"
    yield Figure(title, "multicloud", "runtime_s", "joint", 11, target=6.0, history="lifelong")
    for metric, runs, target in (
        ("cost_usd", 64, 80.0),
        ("runtime_s", 64, 42.0),
        ("cost_usd", 16, 0.0),
        ("runtime_s", 16, 0.0),
    ):
        title = f"multicloud, {metric}, profit stopping, N = {runs}"
        yield Figure(title, "multicloud", metric, "joint", 33, "mean_savings_percent", target, True, runs=runs)
    for table, metric, budget, facts in (
        ("multicloud:stress", "cost_usd", 11, "none"),
        ("multicloud:stress", "runtime_s", 11, "none"),
        ("multicloud", "runtime_s", 11, "none"),
        ("openvino-cpu", "tpot_p50_ms", 10, "all"),
    ):
        for method in ("joint", "gp-ard"):
            yield Figure(f"{table}, {metric}, facts {facts}, B = {budget}", table, metric, method, budget, facts=facts)
    for workers in (1, 4):
        for settings in (
            {**served, "budget": 24},
            {"table": "multicloud", "minimize": "runtime_s", "budget": 24, "column": "mean_regret_percent"},
        ):
            title = f"{settings['table']}, {workers} at a time, B = 24"
            yield Figure(title, method="joint", workers=workers, **settings)


@cache
def tasks_of(table, minimize, slos, every):
    loaded, out = load_table(table), {}
    for workload in loaded.workloads[::every]:
        task = Task(loaded, workload, minimize, slos)
        try:
            _ = task.best_value
        except TableError:  # it never succeeds, or nothing meets the SLOs
            continue
        out[workload] = task
    return out


@cache
def traces(table, minimize, slos, model):
    """11 random trials of every workload of other models."""
    out = {}
    for workload, task in tasks_of(table, minimize, slos, 1).items():
        if workload.split("|")[0] != model:
            rng = np.random.default_rng(task_seed(7, workload))
            candidates = task.objective.domain.candidates
            told = []
            for n, i in enumerate(rng.choice(len(candidates), min(11, len(candidates)), replace=False).tolist()):
                result = task.objective.true_result(candidates[i])
                told.append(Observation(Trial(n, candidates[i]), result, task.goal.score(result)))
            out[workload] = History(told, task.objective.facts, task.objective.units)
    return out


def run(task, figure, seed, history):
    stop = Profit(production_runs=figure.runs) if figure.runs else None
    study = study_of(
        task, Method.of(figure.method), figure.budget, seed, figure.facts, figure.workers, history=history, stop=stop
    )
    pool = Simulated(figure.workers)
    study._pool = pool  # whose clock is read below
    began = time.process_time()
    report = study.run()
    tried = [o for o in report.observations if o.score is not None]
    value = {
        "mean_regret_percent": lambda: task.regret_percent(task.best_tried_value(tried)),
        "mean_answer_regret_percent": lambda: task.regret_percent(task.answer_value(tried)),
        "mean_savings_percent": lambda: task.savings_percent(tried, figure.runs),
    }[figure.column]()
    return value, time.process_time() - began, pool.clock(), tried


def measure(figure, seeds, every):
    """The figure as a row."""
    tasks = tasks_of(figure.table, figure.minimize, figure.slos, every)
    values, trials, cpu, clock = {name: [] for name in tasks}, [], 0.0, []
    for seed in range(seeds):
        told = {}
        for name in order_of(tuple(tasks), seed) if figure.history == "lifelong" else tasks:
            history = dict(told)
            if figure.history == "others":
                history = traces(figure.table, figure.minimize, figure.slos, name.split("|")[0])
            value, seconds, simulated, tried = run(tasks[name], figure, seed, history)
            values[name].append(value)
            trials.append(len(tried))
            cpu += seconds
            clock.append(simulated)
            if figure.history == "lifelong":
                told[name] = History(tried, tasks[name].objective.facts, tasks[name].objective.units)
    means = np.array([np.mean(v) for v in values.values()])
    low, high = bootstrap_ci95(means)
    return {
        **asdict(figure),
        "value": float(means.mean()),
        "low": float(low),
        "high": float(high),
        "n": sum(map(len, values.values())),
        "workloads": len(means),
        "seeds": seeds,
        "mean_trials": float(np.mean(trials)),
        "cpu_ms_per_trial": 1e3 * cpu / max(1, sum(trials)),
        "mean_simulated_s": float(np.mean(clock)),
        "verdict": verdict(figure, float(means.mean()), float(low), float(high)),
    }


def verdict(figure, value, low, high):
    if figure.target is None:
        return ""
    if (value >= figure.target) if figure.least else (value <= figure.target):
        return "reached"
    return "within its interval" if low <= figure.target <= high else "missed"


def batches(rows):
    """What four trials at a time are worth: how many times shorter, at how many times the regret."""
    one, four = ({r["table"]: r for r in rows if f"{n} at a time" in r["title"]} for n in (1, 4))
    return [
        {
            "table": table,
            "times_shorter": one[table]["mean_simulated_s"] / four[table]["mean_simulated_s"],
            "times_the_regret": four[table]["value"] / max(one[table]["value"], 1e-9),
        }
        for table in one
        if table in four
    ]


def shown(rows):
    head = "| figure | method | mean | 95 % interval | target | n | |\n|---|---|---|---|---|---|---|"
    lines = [head]
    for r in rows:
        target = "" if r["target"] is None else f"{'≥' if r['least'] else '≤'} {r['target']:g}"
        lines.append(
            f"| {r['title']} | {r['method']} | {r['value']:.1f} | {r['low']:.1f} to {r['high']:.1f} | {target} | {r['n']} | "
            f"{r['verdict']} |"
        )
    for b in batches(rows):
        lines.append(
            f"| {b['table']}, 4 at a time | joint | {b['times_shorter']:.1f} × shorter, {b['times_the_regret']:.2f} × the regret "
            "| | ≥ 3, ≤ 1.2 | | |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    seeds, every = (2, 8) if given.quick else (given.seeds, given.every)
    rows = []
    for figure in figures():
        if given.only in f"{figure.title}, {figure.method}":
            rows.append(measure(figure, seeds, every))
            r = rows[-1]
            print(f"{r['title']}, {r['method']}: {r['value']:.1f} ({r['low']:.1f} to {r['high']:.1f})", file=sys.stderr)
    if given.write:
        page = ROOT / "docs" / "results.md"
        text = page.read_text()
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        page.write_text(f"{before}{BEGIN}\n{shown(rows)}\n{END}{after}")
    print(json.dumps({"figures": rows, "batches": batches(rows)}) if given.json else shown(rows))
    return any(r["verdict"] == "missed" for r in rows)


if __name__ == "__main__":
    sys.exit(main())
