"""Describe data/llm-serving per workload, into its README.

    python benchmarks/describe_llm_serving.py [--seeds 20]

Per workload: the share of configs that meet a loose and a tight SLO, the provider of the optimum under each, and the mean
regret at B = 11 under the loose one of price order (ascending price of one instance, ties in the table's order) and of
random search. A run that found nothing feasible counts with the worst feasible value.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean

from cloudbandit.core.goal import SLO
from cloudbandit.replay.task import Task, replay
from cloudbandit.tables.registry import load_table

LOOSE = (SLO("ttft_ms", 1000.0),)
TIGHT = (SLO("ttft_ms", 500.0), SLO("tpot_ms", 30.0))
BUDGET = 11
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def feasible(task):
    return [c for c, score in task.scores.items() if score.feasible]


def price_order_regret(task):
    candidates = task.objective.domain.candidates
    order = sorted(candidates, key=lambda c: task.objective.facts(c)["price_usd_per_h"])[:BUDGET]
    worst = max(task.values[c] for c in feasible(task))
    return task.regret_percent(min((task.values[c] for c in order if task.scores[c].feasible), default=worst))


def random_regret(task, seeds):
    worst = max(task.values[c] for c in feasible(task))
    out = []
    for seed in range(seeds):
        report = replay(task, "random", BUDGET, seed)
        out.append(task.regret_percent(task.answer_value(report.observations) if report.incumbent else worst))
    return fmean(out)


def describe(seeds):
    table = load_table("llm-serving")
    for name in table.workloads:
        loose, tight = (Task(table, name, "usd_per_h", slos) for slos in (LOOSE, TIGHT))
        few = feasible(tight)
        yield {
            "workload": name,
            "configs": len(loose.scores),
            "loose_percent": 100 * len(feasible(loose)) / len(loose.scores),
            "tight_percent": 100 * len(few) / len(tight.scores),
            "loose_winner": loose.optimum.arm[0],
            "tight_winner": tight.optimum.arm[0] if few else "none",
            "price_order_regret_percent": price_order_regret(loose),
            "random_regret_percent": random_regret(loose, seeds),
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = list(describe(arguments.seeds))
    if arguments.json:
        print(json.dumps({"seeds": arguments.seeds, "budget": BUDGET, "rows": rows}))
        return
    lines = [
        f"Mean over {arguments.seeds} seeds (0 … {arguments.seeds - 1}); "
        f"made by `python benchmarks/describe_llm_serving.py --seeds {arguments.seeds}`.",
        "",
        "| workload | configs | meets loose % | meets tight % | winner loose | winner tight | price order % | random % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r['workload'].replace('|', ' · ')} | {r['configs']} | {r['loose_percent']:.0f} | {r['tight_percent']:.0f} "
            f"| {r['loose_winner']} | {r['tight_winner']} | {r['price_order_regret_percent']:.0f} "
            f"| {r['random_regret_percent']:.0f} |"
        )
    for purchase in ("on-demand", "spot"):
        some = [r for r in rows if r["workload"].endswith(purchase)]
        for slo in ("loose", "tight"):
            winners = [r[f"{slo}_winner"] for r in some]
            counts = ", ".join(f"{w} {winners.count(w)}" for w in sorted(set(winners)))
            lines.append(f"| **{purchase}, {slo}: winners** | {counts} | | | | | | |")
        zero = sum(r["price_order_regret_percent"] < 0.5 for r in some)
        mean = fmean(r["price_order_regret_percent"] for r in some)
        rand = fmean(r["random_regret_percent"] for r in some)
        lines.append(
            f"| **{purchase}: price order is optimal in {zero} of {len(some)}** | | | | | | {mean:.0f} | {rand:.0f} |"
        )
    path = Path(__file__).parent.parent / "data" / "llm-serving" / "README.md"
    text = path.read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    path.write_text(f"{head}{BEGIN}\n{chr(10).join(lines)}\n{END}{tail}", encoding="utf-8")
    print("\n".join(lines[-6:]))


if __name__ == "__main__":
    main()
