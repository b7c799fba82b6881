"""How true predictions of today's engines are: families, GPU types and engines left out, and what deciding by them costs.

    python benchmarks/truth.py [--json] [--levels family,gpu,engine,all] [--no-decisions] [--seed 0]

For every group left out, everything (constants and errors) is learnt on the others; errors are of the median prediction,
intervals the 80 % of `Serving.predict`. Means over rows and over groups; the 95 % interval resamples whole groups. Decisions
leave the model's family out: among the measured deployments of a workload choose by the default rule of `recommend` (and without
a measurement by others too, see `worth_by`); what is measured is what most is expected of. ``util`` is the least cost that meets
the SLO ÷ the cost of the chosen one, 0 where that violates it. Machines are whole, at the cheapest on-demand price of the
catalogue. ``all``: family, GPU type and engine are left out at once,
every point of the others that shares one of them too.

Three runs: ``formula`` (as installed without extras), ``with_aiconfigurator`` (estimates of aiconfigurator-core 0.12 as one more
source; its calibration may include these very points), ``with_speculative`` (as the first, points that look like speculative
decoding learnt from and asked about like others; the first two leave them out of both). ``aiconfigurator``: its own error where
it answers, and deciding by it alone. ``ratios``: percentiles by their ratio to the measured median, each model left out.
``tgis``: an engine of 2023. About four minutes of one core.
"""

import argparse
import json
import sys
from dataclasses import replace

import numpy as np
from other_truths import another_year, ratios
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid

from cloudbandit.catalogue.prices import load_offers
from cloudbandit.core.bundled import bundled
from cloudbandit.core.offer import ON_DEMAND
from cloudbandit.recommend.ranking import LIKELY, STEPS
from cloudbandit.surrogate.errors import METRICS
from cloudbandit.surrogate.serving import Measured
from cloudbandit.surrogate.training import train, training_points

PARTS = ("H100-SXM5-80GB", "H200-SXM5-141GB", "B200-SXM6-180GB")
TPOT_MS, TTFT_MS = (15, 25, 40, 60), (300, 1000, 3000)
LEAST_POINTS, LEAST_PARTS, LEAST_FAMILIES, RESAMPLES, MEASURED = 25, 2, 3, 2000, 2
RULES = ("expected", 0.5, 0.6, 0.7, 0.8, 0.9)
"""Tried without a measurement, beside the default of `recommend`."""


def interval(per_group, weights, rng):
    """95 % of the weighted mean over groups, whole groups resampled."""
    values, weights = np.asarray(per_group, float), np.asarray(weights, float)
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    means = (values[drawn] * weights[drawn]).sum(1) / weights[drawn].sum(1)
    return [round(float(q), 4) for q in np.quantile(means, [0.025, 0.975])]


def held_out(points, level):
    """Group → masks of what is asked and of what may be learnt from."""
    if level != "all":
        labels = points.labels(level)
        return {str(g): (labels == g, labels != g) for g in np.unique(labels)}
    of = [points.labels(name) for name in ("family", "gpu", "engine")]
    out = {}
    for group in sorted({tuple(map(str, names)) for names in zip(*of, strict=True)}):
        same = [labels == name for labels, name in zip(of, group, strict=True)]
        learnt = ~np.any(same, axis=0)
        if len(np.unique(points.families[learnt])) >= LEAST_FAMILIES:
            out[" ".join(group)] = np.all(same, axis=0), learnt
    return out


def left_out(points, level, learnt):
    """Per metric and group: (n, mean error, median ratio, coverage, median high/low)."""
    groups = {name: {} for name in METRICS}
    for group, (mask, _) in held_out(points, level).items():
        held = points.where(mask)
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


def worth_by(ahead, slo, rule):
    """(N,): what a rule makes of candidates, the more the better.

    Args:
        rule: ``expected``: tokens per USD at the SLO, 0 where it is violated; a probability with which the SLO must be met, and
            then tokens per USD in the median; ``likely``: `recommend`'s default, the first of its steps that any reaches.
    """
    if rule == "expected":
        return np.array([np.mean(np.where((t <= slo).all(1), rate, 0.0)) for t, rate in ahead])
    p = np.array([(t <= slo).all(1).mean() for t, _ in ahead])
    rate = np.array([np.median(r) for _, r in ahead])
    steps = STEPS if rule == LIKELY else (rule,)
    level = next((s for s in steps if p.max() >= s), p.max())
    return np.where(p >= level, 1 + rate, p)


class Workload:
    """Measured deployments of one model at one pair of lengths: candidates of a decision."""

    def __init__(self, points, prices):
        self.rows, self.times, self.estimated = points.rows, np.exp(points.times), np.exp(points.estimates)
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

    def decide(self, serving, slo, measure, rule=LIKELY):
        """The candidate chosen after measuring so many deployments, each the one of which most is expected."""
        measured, done = [], set()
        while True:
            ahead = self.ahead(serving, measured)
            new = [i for i, label in enumerate(self.labels) if label not in done]
            if len(done) == measure or not new:
                return int(np.argmax(worth_by(ahead, slo, rule)))
            label = self.labels[new[int(np.argmax(worth_by(ahead, slo, "expected")[new]))]]
            done.add(label)
            measured += [i for i in new if self.labels[i] == label]

    def by_estimates(self, slo):
        """The candidate with the most tokens per USD among those estimated to meet the SLO; if none is, the one nearest to it."""
        worth = np.array([self._rate(i, t) for i, t in enumerate(self.estimated)])
        meets = (self.estimated <= slo).all(1)
        if meets.any():
            return int(np.argmax(np.where(meets, worth, 0.0)))
        return int(np.argmin(np.nan_to_num((self.estimated / slo).max(1), nan=np.inf)))

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
    found = {name: {} for name in ("random", *(f"after_{k}" for k in range(MEASURED + 1)), *map(str, RULES))}
    for w in workloads(points, replica_prices()):
        serving = learnt("family", w.family)
        for slo in w.settings():
            found["random"].setdefault(w.family, []).append(float(w.util(slo, np.arange(len(w.rows))).mean()))
            for k in range(MEASURED + 1):
                found[f"after_{k}"].setdefault(w.family, []).append(float(w.util(slo, w.decide(serving, slo, k))))
            for rule in RULES:
                found[str(rule)].setdefault(w.family, []).append(float(w.util(slo, w.decide(serving, slo, 0, rule))))
        step()
    return {name: util_of(by, rng) for name, by in found.items()}


def util_of(by, rng):
    """The mean over settings, its interval over families, and each family's."""
    n, means = [len(v) for v in by.values()], [float(np.mean(v)) for v in by.values()]
    return {
        "settings": sum(n),
        "util": round(float(np.average(means, weights=n)), 3),
        "ci95": interval(means, n, rng),
        "families": {f: round(m, 3) for f, m in zip(by, means, strict=True)},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", default="family,gpu,engine,all")
    parser.add_argument("--no-decisions", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling of groups")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    every = training_points()
    plain = every.where(~every.speculative)
    runs = {"formula": (plain, False), "with_aiconfigurator": (plain, True), "with_speculative": (every, False)}
    found = {"n": len(every), "speculative": int(every.speculative.sum())}
    with Progress(console=Console(stderr=True), transient=True, disable=arguments.json) as progress:
        bar = progress.add_task("learning without a group", total=None)
        for name, (points, estimates) in runs.items():
            rng = np.random.default_rng(arguments.seed)
            levels = [v for v in arguments.levels.split(",") if v != "all" or name != "with_speculative"]
            deciding = not arguments.no_decisions
            found[name] = run(points, estimates, levels, deciding, rng, lambda: progress.advance(bar))
        rng = np.random.default_rng(arguments.seed)
        found["aiconfigurator"] = alone(plain, rng, not arguments.no_decisions)
        found["ratios"] = ratios()
        found["tgis"] = another_year(train(plain))
    if arguments.json:
        json.dump(found, sys.stdout, indent=1)
        print()
        return
    show(found, Console(width=100))


def run(points, estimates, levels, deciding, rng, step):
    """Everything left out, and decisions, with or without estimates as a source."""
    cache, told = {}, Stored(points)

    def learnt(level, group):
        if (level, group) not in cache:
            serving = train(points.where(held_out(points, level)[group][1]), with_speculative=True)
            cache[level, group] = replace(serving, estimates=told) if estimates else serving
            step()
        return cache[level, group]

    out = {"n": len(points), "left_out": {}}
    for level in levels:
        groups = left_out(points, level, learnt)
        out["left_out"][level] = {name: summary(g, rng) for name, g in groups.items()}
    if deciding:
        out["decisions"] = decisions(points, learnt, rng, step)
    return out


class Stored:
    """Estimates of the bundled points, as `cloudbandit.surrogate.silicon.silicon_times` would give them."""

    def __init__(self, points):
        keys = map(self._key, points.rows)
        self.known = dict(zip(keys, points.estimates, strict=True))

    @staticmethod
    def _key(row):
        d, users = row
        return d.label, d.input_tokens, d.output_tokens, users

    def __call__(self, rows):
        return np.array([self.known[self._key(row)] for row in rows])


def alone(points, rng, deciding):
    """aiconfigurator-core by itself, on what it answers: its error as it is, and by engine; util of deciding by it."""
    out, families, engines = {}, points.labels("family"), points.labels("engine")
    for k, name in enumerate(METRICS):
        ratio = np.exp(points.estimates[:, k] - points.times[:, k])
        use = np.isfinite(ratio)
        errors = 100 * np.abs(ratio - 1)
        by = {str(g): round(float(errors[use & (families == g)].mean()), 1) for g in np.unique(families[use])}
        means, n = list(by.values()), [int((use & (families == g)).sum()) for g in by]
        out[name] = {
            "n": int(use.sum()),
            "error_percent": round(float(errors[use].mean()), 2),
            "ci95": interval(means, n, rng),
            "median_ratio": round(float(np.median(ratio[use])), 3),
            "families": by,
            "engines": {str(e): round(float(errors[use & (engines == e)].mean()), 1) for e in np.unique(engines[use])},
        }
    if deciding:
        found = {}
        for w in workloads(points, replica_prices()):
            for slo in w.settings():
                found.setdefault(w.family, []).append(float(w.util(slo, w.by_estimates(slo))))
        out["util"] = util_of(found, rng)
    return out


def show(every, console):
    for name in ("formula", "with_aiconfigurator", "with_speculative"):
        console.print(f"[bold]{name}[/bold]: {every[name]['n']} points")
        _show(every[name], console)
    for name in ("aiconfigurator", "ratios", "tgis"):
        console.print(name, every[name])


def _show(found, console):
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
