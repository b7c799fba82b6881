"""How true predictions of today's engines are: families, GPU types and engines left out, and what deciding by them costs.

    python benchmarks/truth.py [--json] [--levels family,gpu,engine] [--no-decisions] [--seed 0]

For every group left out, everything (constants and errors) is learnt on the others; errors are of the median prediction,
intervals the 80 % of `Serving.predict`. Means over rows and over groups; the 95 % interval resamples whole groups. Decisions
leave the model's family out: among the measured deployments of a workload choose the one with the highest expected output
tokens per USD at the SLO; ``util`` is the least cost that meets it ÷ the cost of the chosen one, 0 where that violates it.
Machines are whole, at the cheapest on-demand price of the catalogue.
"""

import argparse
import json
import sys

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid

from cloudbandit.catalogue.prices import load_offers
from cloudbandit.core.bundled import bundled
from cloudbandit.core.offer import ON_DEMAND
from cloudbandit.surrogate.errors import METRICS
from cloudbandit.surrogate.serving import Measured
from cloudbandit.surrogate.training import train, training_points

PARTS = ("H100-SXM5-80GB", "H200-SXM5-141GB", "B200-SXM6-180GB")
TPOT_MS, TTFT_MS = (15, 25, 40, 60), (300, 1000, 3000)
LEAST_POINTS, LEAST_PARTS, RESAMPLES, MEASURED = 25, 2, 2000, 2


def interval(per_group, weights, rng):
    """95 % of the weighted mean over groups, whole groups resampled."""
    values, weights = np.asarray(per_group, float), np.asarray(weights, float)
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    means = (values[drawn] * weights[drawn]).sum(1) / weights[drawn].sum(1)
    return [round(float(q), 4) for q in np.quantile(means, [0.025, 0.975])]


def left_out(points, level, learnt):
    """Per metric and group: (n, mean error, median ratio, coverage, median high/low)."""
    labels = points.labels(level)
    groups = {name: {} for name in METRICS}
    for group in np.unique(labels):
        held = points.where(labels == group)
        predicted = learnt(level, group).predict(held.rows)
        for k, name in enumerate(METRICS):
            true = np.exp(held.times[:, k])
            use = np.isfinite(true)
            median, low, high = (np.array([getattr(p[name], a) for p in predicted]) for a in ("median", "low", "high"))
            true, median, low, high = true[use], median[use], low[use], high[use]
            groups[name][str(group)] = {
                "ratios": median / true,
                "inside": (low <= true) & (true <= high),
                "widths": high / low,
            }
    return groups


def summary(groups, rng):
    """Both means with their intervals, and each group."""
    n = [len(g["ratios"]) for g in groups.values()]
    error = [100 * np.abs(g["ratios"] - 1).mean() for g in groups.values()]
    covered = [100 * g["inside"].mean() for g in groups.values()]
    both = {}
    for over, weights in (("over_rows", n), ("over_groups", np.ones(len(n)))):
        both[over] = {
            name: {"mean": round(float(np.average(v, weights=weights)), 2), "ci95": interval(v, weights, rng)}
            for name, v in (("error_percent", error), ("coverage_percent", covered))
        }
    return {
        "n": sum(n),
        **both,
        "median_ratio": round(float(np.median(np.concatenate([g["ratios"] for g in groups.values()]))), 3),
        "median_high_over_low": round(float(np.median(np.concatenate([g["widths"] for g in groups.values()]))), 3),
        "groups": {
            name: {"n": m, "error_percent": round(e, 1), "coverage_percent": round(float(c), 1)}
            for name, m, e, c in zip(groups, n, error, covered, strict=True)
        },
    }


def replica_prices():
    """(part, GPUs) → least USD/h of one engine on a whole machine that holds as many of it as fit."""
    prices = {}
    for offer in load_offers(bundled() / "prices" / "offers.csv"):
        if offer.accelerator in PARTS and offer.purchase == ON_DEMAND:
            for gpus in (1, 2, 4, 8):
                if offer.accelerators >= gpus:
                    price = offer.usd_per_h / (offer.accelerators // gpus)
                    key = offer.accelerator, gpus
                    prices[key] = min(price, prices.get(key, np.inf))
    return prices


def tokens_per_s(users, outputs, times_ms):
    """Of a closed loop, from (..., 2) TPOT and TTFT in ms."""
    return users * outputs * 1e3 / (times_ms[..., 1] + times_ms[..., 0] * max(outputs - 1, 0))


class Workload:
    """Measured deployments of one model at one pair of lengths: candidates of a decision."""

    def __init__(self, points, prices):
        self.rows, self.times = points.rows, np.exp(points.times)
        self.family = str(points.families[0])
        self.price = np.array([prices[d.gpu.part, d.gpus] for d, _ in self.rows])
        self.labels = [d.label for d, _ in self.rows]
        self.value = np.array([self._rate(i, self.times[i]) for i in range(len(self.rows))])

    def _rate(self, i, times):
        d, users = self.rows[i]
        return tokens_per_s(users, d.output_tokens, times) / self.price[i]

    def ahead(self, serving, measured):
        """[(equally likely times (M, 2), tokens per s and USD/h (M,))] of each candidate."""
        told = [Measured(*self.rows[i], dict(zip(METRICS, self.times[i], strict=True))) for i in measured]
        _, drawn = serving.draws(self.rows, told)
        drawn[list(measured)] = self.times[list(measured), None, :]
        return [(drawn[i], self._rate(i, drawn[i])) for i in range(len(self.rows))]

    def decide(self, serving, slo, measure):
        """The candidate chosen after measuring so many deployments, each the one then chosen."""
        measured, done = [], set()
        while True:
            ahead = self.ahead(serving, measured)
            expected = np.array([np.mean(np.where((t <= slo).all(1), rate, 0.0)) for t, rate in ahead])
            if len(done) == measure:
                return int(np.argmax(expected))
            new = [i for i, label in enumerate(self.labels) if label not in done]
            if not new:
                return int(np.argmax(expected))
            label = self.labels[new[int(np.argmax(expected[new]))]]
            done.add(label)
            measured += [i for i in new if self.labels[i] == label]

    def util(self, slo, chosen):
        """Of chosen candidates (any shape) at an SLO some candidate meets."""
        worth = np.where((self.times <= slo).all(1), self.value, 0.0)
        return worth[chosen] / worth.max()

    def settings(self):
        """SLOs that some candidate meets."""
        every = (np.array([tpot, ttft], float) for tpot in TPOT_MS for ttft in TTFT_MS)
        return [slo for slo in every if (self.times <= slo).all(1).any()]


def workloads(points, prices):
    """Those with enough points over enough GPU types, both times measured and a price known."""
    known = np.isfinite(points.times).all(1) & np.array([(d.gpu.part, d.gpus) in prices for d, _ in points.rows])
    usable = points.where(known)
    keys = np.array([f"{d.model.name}|{d.input_tokens:g}|{d.output_tokens:g}" for d, _ in usable.rows])
    for key in np.unique(keys):
        mine = usable.where(keys == key)
        if len(mine) >= LEAST_POINTS and len({d.gpu.part for d, _ in mine.rows}) >= LEAST_PARTS:
            yield Workload(mine, prices)


def decisions(points, learnt, rng, step):
    """util by how many deployments were measured before, and of a random candidate; intervals over families."""
    found = {name: {} for name in ("random", *(f"after_{k}" for k in range(MEASURED + 1)))}
    for w in workloads(points, replica_prices()):
        serving = learnt("family", w.family)
        for slo in w.settings():
            found["random"].setdefault(w.family, []).append(float(w.util(slo, np.arange(len(w.rows))).mean()))
            for k in range(MEASURED + 1):
                found[f"after_{k}"].setdefault(w.family, []).append(float(w.util(slo, w.decide(serving, slo, k))))
        step()
    out = {}
    for name, by in found.items():
        n, means = [len(v) for v in by.values()], [float(np.mean(v)) for v in by.values()]
        out[name] = {
            "settings": sum(n),
            "util": round(float(np.average(means, weights=n)), 3),
            "ci95": interval(means, n, rng),
            "families": {f: round(m, 3) for f, m in zip(by, means, strict=True)},
        }
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", default="family,gpu,engine")
    parser.add_argument("--no-decisions", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling of groups")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    points, rng = training_points(), np.random.default_rng(arguments.seed)
    cache, found = {}, {"n": len(points), "left_out": {}}
    with Progress(console=Console(stderr=True), transient=True, disable=arguments.json) as progress:
        bar = progress.add_task("learning without a group", total=None)

        def learnt(level, group):
            if (level, group) not in cache:
                cache[level, group] = train(points.where(points.labels(level) != group))
                progress.advance(bar)
            return cache[level, group]

        for level in arguments.levels.split(","):
            groups = left_out(points, level, learnt)
            found["left_out"][level] = {name: summary(g, rng) for name, g in groups.items()}
        if not arguments.no_decisions:
            found["decisions"] = decisions(points, learnt, rng, lambda: progress.advance(bar))
    if arguments.json:
        json.dump(found, sys.stdout, indent=1)
        print()
        return
    show(found, Console(width=100))


def show(found, console):
    grid = Grid("left out", "metric", "n", "error % rows", "groups", "ratio", "covered %", "least", "high/low")
    for level, metrics in found["left_out"].items():
        for name, s in metrics.items():
            worst = min(g["coverage_percent"] for g in s["groups"].values())
            grid.add_row(
                level,
                name,
                str(s["n"]),
                *(
                    "{mean:.1f} [{ci95[0]:.0f}, {ci95[1]:.0f}]".format(**s[o]["error_percent"])
                    for o in ("over_rows", "over_groups")
                ),
                f"{s['median_ratio']:.2f}",
                "{mean:.0f} [{ci95[0]:.0f}, {ci95[1]:.0f}]".format(**s["over_rows"]["coverage_percent"]),
                f"{worst:.0f}",
                f"{s['median_high_over_low']:.2f}",
            )
    console.print(grid)
    for name, d in found.get("decisions", {}).items():
        console.print(f"{name}: util {d['util']:.3f} {d['ci95']}, {d['settings']} settings; {d['families']}")


if __name__ == "__main__":
    main()
