"""What `cloudbandit tune` claims, measured: in how few trials, with how few failures, how sure of its gain.

    python benchmarks/tune.py [--part A,B] [--seeds 20] [--methods A,B] [--json] [--out FILE]

Parts:

* ``search``: trials until within 5 % of the best feasible, regret at 10, 20 and 40 trials, failed trials; each method begins with
  the default. On both workloads of ``openvino-cpu`` (TPOT at a p95 TTFT ≤ 300 ms and no failed request) and on both simulated
  engines, another instance per seed.
* ``readme``: mean regret on ``openvino-cpu`` as its README has it (no default first).
* ``fronts``: hypervolume regret (1 − share of the true front's) at 20 and 40 trials, two and three objectives.
* ``hidden``: failed trials of ``joint-forest`` against the same model that learns nothing of failures.
* ``hopeless``: regret and time with and without the rule, three loads a trial.
* ``parallel``: four trials in flight against one: simulated time, and hypervolume.
* ``noise``: how often a gain is claimed where there is none, and what is claimed where there is one.
* ``speed``: a suggestion with three objectives, two SLOs and some 600 candidates.
* ``live``: OpenVINO on this machine, 30 trials and 8 repeats in turns. Not part of the default.

Figures are medians with a 95 % bootstrap interval over runs, unless they say otherwise.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from cloudbandit import Domain, Result, SLOGoal, load_table, make_factory
from cloudbandit.core.pools import Simulated
from cloudbandit.core.protocols import Problem
from cloudbandit.core.study import Study
from cloudbandit.core.trial import Candidate
from cloudbandit.optimizers.joint_forest import ForestModel, JointForest
from cloudbandit.optimizers.random_search import RandomWithoutReplacement
from cloudbandit.replay.front import TrueFront
from cloudbandit.replay.task import Task, task_seed
from cloudbandit.testing import memory_engine, queueing_engine
from cloudbandit.testing.problems import drive, observe
from cloudbandit.tune.answer import answer_of
from cloudbandit.tune.hopeless import Hopeless
from cloudbandit.tune.judge import names_of
from cloudbandit.tune.plan import Plan
from cloudbandit.tune.tuning import Tuning

METHODS = "joint-forest,joint,scoot,nsga2,optuna,smac,grid,random-wor"
SLOWEST = {"smac": 8, "scoot": 8}  # seeds
FIRST = 100  # what was chosen while writing was chosen on seeds below
OPENVINO = Candidate(
    "local",
    {
        "max_num_batched_tokens": 256,
        "dynamic_split_fuse": True,
        "enable_prefix_caching": False,
        "num_kv_blocks": 256,
        "threads": 2,
        "kv_cache_precision": "u8",
    },
)
SLOS = ("failure_rate<=0", "ttft_p95_ms<=300")
B = 40


def middle(values, seed=0):
    """Median and its bootstrap interval."""
    values = np.asarray(values, float)
    draws = np.random.default_rng(seed).choice(values, (2000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return {"median": float(np.median(values)), "low": float(low), "high": float(high), "n": len(values)}


def mean(values, seed=0):
    values = np.asarray(values, float)
    draws = np.random.default_rng(seed).choice(values, (2000, len(values))).mean(axis=1)
    return {
        "mean": float(values.mean()),
        "low": float(np.quantile(draws, 0.025)),
        "high": float(np.quantile(draws, 0.975)),
    }


def some(seeds):
    return range(FIRST, FIRST + seeds)


class Place:
    """A problem with its truth."""

    def __init__(self, name, domain, objective, goal, default, score):
        self.name, self.domain, self.objective, self.goal = name, domain, objective, goal
        self.default, self.score = default, score

    def run(self, factory, budget, seed, workers=1, stop=None):
        study = Study(
            self.domain,
            self.objective,
            self.goal,
            factory,
            budget,
            pool=Simulated(workers),
            seed=task_seed(seed, self.name),
            enqueue=[self.default],
            stop=stop,
        )
        return study.run()


def openvino(minimize, maximize=(), slos=SLOS):
    table = load_table("openvino-cpu")
    for workload in table.workloads:
        task = Task(table, workload, minimize, slos, maximize=maximize)
        yield Place(f"openvino {workload}", task.objective.domain, task.objective, task.goal, OPENVINO, task.scores.get)


def simulated(seed, goal=None, **options):
    for make in (memory_engine, queueing_engine):
        engine = make(seed, **options)
        asked = goal or engine.goal
        name = engine.name.split("-")[0]
        yield Place(
            name, engine.domain, engine, asked, engine.default, lambda c, e=engine, g=asked: g.score(e.truth(c))
        )


def places(seed):
    yield from openvino("tpot_p50_ms")
    yield from simulated(seed)


def regrets(place, report):
    """Of the best feasible so far, in percent, after each trial; infinite while there is none."""
    scores = [place.score(c) for c in place.domain.candidates]
    best = min(s.values[0] for s in scores if s is not None and s.feasible)
    out, least = [], np.inf
    for o in report.observations:
        score = place.score(o.candidate)
        if score.feasible and o.result.status == "ok":
            least = min(least, score.values[0])
        out.append(100 * (least - best) / abs(best))
    return np.array(out + [out[-1]] * (B - len(out)))


def near(curve):
    """Trials until within 5 %; one more than there were where it never was."""
    found = np.flatnonzero(curve <= 5.0)
    return int(found[0]) + 1 if len(found) else B + 1


def search(methods, seeds):
    out = {}
    for method in methods:
        rows = {}
        for seed in some(min(seeds, SLOWEST.get(method, seeds))):
            for place in places(seed):
                report = place.run(make_factory(method, B), B, seed)
                curve = regrets(place, report)
                failed = sum(o.result.status != "ok" for o in report.observations)
                rows.setdefault(place.name, []).append((near(curve), *curve[[9, 19, 39]].clip(max=300), failed))
        for name, found in rows.items():
            near_, *at, failed = map(list, zip(*found, strict=True))
            figures = {"near": middle(near_), "failed": middle(failed)}
            figures |= {f"regret_{b}": mean(x) for b, x in zip((10, 20, 40), at, strict=True)}
            out.setdefault(name, {})[method] = figures
            said = ", ".join(
                f"{k} {v.get('median', v.get('mean')):.1f} [{v['low']:.1f}, {v['high']:.1f}]"
                for k, v in figures.items()
            )
            print(f"{method:13} {name:17} {said}", file=sys.stderr, flush=True)
    return out


def readme(methods, seeds):
    from cloudbandit.replay.compare import compare_rows

    rows = compare_rows("openvino-cpu", "tpot_p50_ms", methods, [10, 20, 40], seeds, slos=SLOS)
    return [row.to_dict() for row in rows]


def fronts(methods, seeds):
    aims = {
        "two": (("ttft_p95_ms", "tpot_p50_ms"), ()),
        "three": (("ttft_p95_ms", "tpot_p50_ms"), ("output_tok_per_s",)),
    }
    out = {}
    for aim, (low, high) in aims.items():
        for method in methods:
            rows = {}
            for seed in some(seeds):
                goal = SLOGoal(low, maximize=high)
                every = [*openvino(low, high, SLOS[:1]), *simulated(seed, goal)]
                for place in every:
                    report = place.run(make_factory(method, B), B, seed)
                    scores = [place.score(c) for c in place.domain.candidates]
                    values = [s.values for s in scores if s is not None and s.feasible]
                    true = TrueFront(np.array(values) * np.array(place.goal.signs), place.goal.signs)
                    tried = [place.score(o.candidate) for o in report.observations]
                    got = [np.array(s.values) * np.array(place.goal.signs) for s in tried if s.feasible]
                    firsts = [sum(s.feasible for s in tried[:b]) for b in (20, 40)]
                    rows.setdefault(place.name, []).append([1 - true.share(got[:n]) for n in firsts])
            for name, found in rows.items():
                figures = {f"regret_{b}": middle(x) for b, x in zip((20, 40), zip(*found, strict=True), strict=True)}
                out.setdefault(aim, {}).setdefault(name, {})[method] = figures
                said = ", ".join(f"{k} {v['median']:.3f} [{v['low']:.3f}, {v['high']:.3f}]" for k, v in figures.items())
                print(f"{aim:6} {method:13} {name:17} {said}", file=sys.stderr, flush=True)
    return out


class _Blind(ForestModel):
    """Learns nothing of failures; SLOs as ever."""

    def runs(self, field, chosen):
        return np.ones(len(field.points.at(chosen)))

    def outlook(self, field, chosen, pending=()):
        return super(ForestModel, self).outlook(field, chosen, pending)


class Blind(JointForest):
    def __init__(self, problem):
        super().__init__(problem)
        self._model = _Blind(problem, self._model.columns, len(self.domain))


def hidden(methods, seeds):
    out = {}
    for label, factory in {"learnt": JointForest, "none": Blind}.items():
        rows = {}
        for seed in some(seeds):
            for place in places(seed):
                report = place.run(factory, B, seed)
                failed = sum(o.result.status != "ok" for o in report.observations)
                curve = regrets(place, report)
                rows.setdefault(place.name, []).append((failed, *curve[[19, 39]].clip(max=300)))
        for name, found in rows.items():
            failed, at20, at40 = map(list, zip(*found, strict=True))
            out.setdefault(name, {})[label] = {
                "failed": middle(failed),
                "regret_20": mean(at20),
                "regret_40": mean(at40),
            }
            print(label, name, out[name][label], file=sys.stderr, flush=True)
    return out


def hopeless(methods, seeds):
    out = {}
    for label in ("with", "without"):
        rows = {}
        for seed in some(seeds):
            for place in simulated(seed, noise=0.05, loads=(0.25, 0.5, 1.0)):
                rule = Hopeless(tuple(place.goal.slos), names_of(place.goal)) if label == "with" else None
                report = place.run(JointForest, B, seed, stop=rule)
                curve = regrets(place, report)
                stopped = sum(o.result.status == "stopped" for o in report.observations)
                row = (sum(o.result.seconds for o in report.observations), stopped, *curve[[19, 39]].clip(max=300))
                rows.setdefault(place.name, []).append(row)
        for name, found in rows.items():
            seconds, stopped, at20, at40 = map(list, zip(*found, strict=True))
            figures = {
                "seconds": middle(seconds),
                "stopped": middle(stopped),
                "regret_20": mean(at20),
                "regret_40": mean(at40),
            }
            out.setdefault(name, {})[label] = figures
            print(label, name, figures, file=sys.stderr, flush=True)
    return out


def parallel(methods, seeds):
    goal = SLOGoal(("ttft_p95_ms", "tpot_p50_ms"))
    rows = {}
    for seed in some(seeds):
        for place in [*openvino(goal.metrics, (), SLOS[:1]), *simulated(seed, goal)]:
            scores = [place.score(c) for c in place.domain.candidates]
            true = TrueFront([s.values for s in scores if s is not None and s.feasible], (1.0, 1.0))
            share, elapsed = {}, {}
            for workers in (1, 4):
                report = place.run(JointForest, B, seed, workers)
                tried = [place.score(o.candidate) for o in report.observations]
                share[workers] = true.share([s.values for s in tried if s.feasible])
                elapsed[workers] = report.elapsed_s
            rows.setdefault(place.name, []).append((elapsed[1] / elapsed[4], share[4] / share[1]))
    out = {}
    for name, found in rows.items():
        shorter, volume = map(list, zip(*found, strict=True))
        out[name] = {"times_shorter": middle(shorter), "hypervolume_ratio": middle(volume)}
        print(name, out[name], file=sys.stderr, flush=True)
    return out


def flat_plan(seed, goal, domain, default):
    """A tuning study of settings that change nothing, 10 % noise: whether a gain is claimed."""
    plan = Plan(Problem(domain, goal, seed), RandomWithoutReplacement, default, trials=10)
    rng = np.random.default_rng(seed)

    def measured(candidate, number):
        return Result(metrics={goal.metrics[0]: 5.0 * float(np.exp(rng.normal(0, 0.1)))})

    drive(plan, plan.problem, 100, measured)
    return answer_of(plan, goal, default).better


def noise(methods, seeds):
    covered, shown, true = [], [], []
    domain = Domain({"a": [{"x": x} for x in range(12)]})
    claimed = [flat_plan(s, SLOGoal("tpot_p50_ms"), domain, domain.candidates[0]) for s in range(FIRST, FIRST + 400)]
    for seed in some(seeds):
        engine = memory_engine(seed, noise=0.08)
        tuning = Tuning(trials=30, seed=seed)
        answer, _ = tuning.run(engine.domain, engine, engine.goal, engine.default, pool=Simulated(1))
        if answer.winner is None or not answer.gains:
            continue
        winner, default = (engine.truth(c).metrics["tpot_p50_ms"] for c in (answer.winner.candidate, engine.default))
        gain = answer.gains["tpot_p50_ms"]
        covered.append(gain.low <= 100 * (1 - winner / default) <= gain.high)
        shown.append(answer.better)
        true.append(100 * (1 - winner / default))
    out = {"claimed_where_none": [sum(claimed), len(claimed)], "covered": [sum(covered), len(covered)]}
    out |= {"shown": [sum(shown), len(shown)], "true_gain": middle(true)}
    print(out, file=sys.stderr)
    return out


def speed(methods, seeds):
    engine = queueing_engine(0)
    goal = SLOGoal(("ttft_p95_ms", "tpot_p50_ms"), ["ttft_p95_ms<=200", "tpot_p50_ms<=12"], maximize="output_tok_per_s")
    out = {"candidates": len(engine.domain)}
    for method in ("joint-forest", "joint", "scoot"):
        problem = Problem(engine.domain, goal)
        optimizer = make_factory(method, B)(problem)
        drive(optimizer, problem, 25, lambda c, n: engine.truth(c))
        taken = []
        for n in range(10):
            began = time.perf_counter()
            (asked,) = optimizer.ask(1)
            taken.append(1e3 * (time.perf_counter() - began))
            optimizer.tell([observe(problem, asked, 25 + n, lambda c, n: engine.truth(c))])
        out[method] = {"ms": middle(taken)}
    return out


def live(methods, seeds):
    store = Path("tune-live.db")
    argv = [
        sys.executable,
        "-m",
        "cloudbandit",
        "tune",
        "--engine",
        "openvino",
        "--workload",
        "chat",
        "--minimize",
        "tpot_ms",
    ]
    argv += ["--slo", "ttft_p95_ms<=300", "--slo", "failure_rate<=0", "--budget", "30", "--json", "--store", str(store)]
    began = time.perf_counter()
    first = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    time.sleep(40)
    first.kill()
    first.wait()
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    kept = (
        "best",
        "default",
        "better",
        "gain",
        "importance",
        "failures",
        "trials",
        "restored",
        "searched",
        "repeated",
        "seconds",
    )
    return {**{key: found[key] for key in kept}, "wall_s": time.perf_counter() - began}


PARTS = {f.__name__: f for f in (search, readme, fronts, hidden, hopeless, parallel, noise, speed, live)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", default="search,readme,fronts,hidden,hopeless,parallel,noise,speed")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = {}
    for part in arguments.part.split(","):
        began = time.perf_counter()
        found[part] = PARTS[part](arguments.methods.split(","), arguments.seeds)
        print(f"{part}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.json or arguments.out is None:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
