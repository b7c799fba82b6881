"""Time per suggestion and per replayed study, beside other libraries, in one run.

    python benchmarks/speed.py [--json] [--repeats 7]

Processor time, one process; the medians of the repeats. Absolute numbers are this machine's; the ratios are the claim.
"""

import argparse
import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from cloudbandit import Candidate, Domain, Listing, Observation, Problem, Result, SLOGoal, Trial, make_factory
from cloudbandit.replay.task import Task, replay
from cloudbandit.tables.registry import load_table

ARMS, OBSERVED = ("a", "b", "c"), 20


def domain(size):
    """Three arms; ``size`` configs of two numbers and two labels in all."""
    rng = np.random.default_rng(0)
    configs = {}
    while len(configs) < size:
        arm = ARMS[int(rng.integers(3))]
        config = {
            "nodes": int(rng.integers(1, 40)),
            "share": round(float(rng.random()), 3),
            "kind": "xyz"[int(rng.integers(3))],
            "disk": "uv"[int(rng.integers(2))],
        }
        configs[Candidate(arm, config)] = None
    return Domain({arm: Listing(c.config for c in configs if c.arm == (arm,)) for arm in ARMS})


def value(candidate):
    c = candidate.config
    return (
        1.0
        + abs(c["nodes"] - 12) / 10
        + c["share"]
        + (c["kind"] == "x")
        + {"a": 0.0, "b": 0.5, "c": 1.0}[candidate.arm[0]]
    )


def history(problem):
    rng = np.random.default_rng(1)
    chosen = rng.choice(len(problem.domain), OBSERVED, replace=False)
    out = []
    for i, position in enumerate(chosen):
        candidate = problem.domain.candidates[position]
        result = Result(metrics={"loss": value(candidate)})
        out.append(Observation(Trial(i, candidate), result, problem.goal.score(result)))
    return out


def timed(ask, repeats):
    """Median processor seconds of ``ask()``; the first call warms up."""
    ask()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        ask()
        times.append(time.process_time() - began)
    return statistics.median(times)


def ours(name, problem, told, repeats):
    """One suggestion after the 20th observation is told; nothing is kept from one repeat to the next but imports."""
    times = []
    for _ in range(repeats + 1):
        optimizer = make_factory(name)(problem)
        optimizer.tell(told[:-1])
        optimizer.ask(1)
        optimizer.tell(told[-1:])
        began = time.process_time()
        optimizer.ask(1)
        times.append(time.process_time() - began)
    return statistics.median(times[1:])


def skopt_gp(problem, told, repeats):
    """scikit-optimize's own Optimizer, as its users call it."""
    from skopt import Optimizer

    x = problem.domain.encode([o.candidate for o in told]).tolist()
    y = [o.score.values[0] for o in told]

    def ask():
        optimizer = Optimizer([(0.0, 1.0)] * len(x[0]), "GP", n_initial_points=5, random_state=0)
        optimizer.tell(x, y)
        return optimizer.ask()

    return timed(ask, repeats)


def smac_gp(problem, told, repeats):
    """SMAC's black-box facade (Gaussian process), asked after 20 tells."""
    from smac import BlackBoxFacade, Scenario
    from smac.runhistory import TrialInfo, TrialValue

    from cloudbandit.core._configspace import FlatSpace

    logging.getLogger("smac").setLevel(logging.ERROR)
    flat = FlatSpace(problem.domain, "arm", forbid=False)
    configurations = [flat.configuration(o.candidate) for o in told]

    def ask():
        with tempfile.TemporaryDirectory() as folder:
            scenario = Scenario(flat.space, deterministic=True, n_trials=1000, seed=0, output_directory=folder)
            design = BlackBoxFacade.get_initial_design(scenario, n_configs=0, additional_configs=configurations[:1])
            facade = BlackBoxFacade(
                scenario, lambda c, seed=0: 0.0, initial_design=design, overwrite=True, logging_level=False
            )
            for configuration, o in zip(configurations, told, strict=True):
                facade.tell(TrialInfo(configuration, seed=0), TrialValue(cost=o.score.values[0]), save=False)
            return facade.ask()

    return timed(ask, repeats)


def optuna_tpe(problem, told, repeats):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {
        "arm": optuna.distributions.CategoricalDistribution(ARMS),
        "nodes": optuna.distributions.IntDistribution(1, 40),
        "share": optuna.distributions.FloatDistribution(0.0, 1.0),
        "kind": optuna.distributions.CategoricalDistribution(("x", "y", "z")),
        "disk": optuna.distributions.CategoricalDistribution(("u", "v")),
    }
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    for o in told:
        params = {"arm": o.candidate.arm[0], **o.candidate.config}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=o.score.values[0]))
    return timed(lambda: study.ask(distributions), repeats)


def hyperopt_tpe(problem, told, repeats):
    """HyperOpt's tpe.suggest on trials that hold the 20 observations; a flat space, its defaults, no random start-up."""
    import hyperopt
    from hyperopt.base import Domain as HyperoptDomain

    logging.getLogger("hyperopt").setLevel(logging.ERROR)
    hp = hyperopt.hp
    labels = {"arm": ARMS, "kind": ("x", "y", "z"), "disk": ("u", "v")}
    space = {k: hp.choice(k, list(v)) for k, v in labels.items()}
    space |= {"nodes": hp.quniform("nodes", 1, 40, 1), "share": hp.uniform("share", 0, 1)}
    made = HyperoptDomain(lambda _: 0.0, space)
    documents = []
    for tid, o in enumerate(told):
        values = {"arm": o.candidate.arm[0], **o.candidate.config}
        vals = {k: [labels[k].index(v) if k in labels else v] for k, v in values.items()}
        misc = {"tid": tid, "cmd": made.cmd, "workdir": None, "idxs": {k: [tid] for k in vals}, "vals": vals}
        rest = dict.fromkeys(("spec", "owner", "book_time", "refresh_time", "exp_key"))
        result = {"status": "ok", "loss": o.score.values[0]}
        documents.append({"tid": tid, "result": result, "misc": misc, "state": 2, "version": 0, **rest})
    trials = hyperopt.Trials()
    trials.insert_trial_docs(documents)
    trials.refresh()
    return timed(lambda: hyperopt.tpe.suggest([OBSERVED], made, trials, 1, n_startup_jobs=0, verbose=False), repeats)


def replayed_study(repeats):
    table = load_table("llm-serving")
    task = Task(table, "llama-3.1-70b|chat|2000tok|spot", "usd_per_h")
    return timed(lambda: replay(task, "cloudbandit:random", 33), 4 * repeats)


def whole_studies():
    """Wall seconds of one replayed study of 33 trials, by optimizer: suggestions and everything around them."""
    task = Task(load_table("llm-serving"), "llama-3.1-70b|chat|2000tok|spot", "usd_per_h")
    out = {}
    for name in ("random", "rbf", "gp", "gp-ard", "joint", "cloudbandit:gp-ard", "optuna", "hyperopt", "smac", "skopt"):
        replay(task, name, 5)  # imports
        began = time.perf_counter()
        replay(task, name, 33)
        out[name] = time.perf_counter() - began
    return out


def import_seconds(repeats):
    command = [
        sys.executable,
        "-c",
        "import time; t = time.perf_counter(); import cloudbandit; print(time.perf_counter() - t)",
    ]
    return statistics.median(
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(repeats)
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    repeats = arguments.repeats
    small = Problem(domain(88), SLOGoal("loss"))
    large = Problem(domain(10_000), SLOGoal("loss"))
    told, told_large = history(small), history(large)
    rows = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows["gp, 88 candidates"] = ours("gp", small, told, repeats)
        rows["gp, 10,000 candidates"] = ours("gp", large, told_large, repeats)
        rows["gp-ard, 88 candidates"] = ours("gp-ard", small, told, repeats)
        rows["gp-ard, 10,000 candidates"] = ours("gp-ard", large, told_large, repeats)
        rows["joint, 88 candidates"] = ours("joint", small, told, repeats)
        rows["joint, 10,000 candidates"] = ours("joint", large, told_large, repeats)
        for label, function in (
            ("scikit-optimize GP", skopt_gp),
            ("SMAC GP (black-box facade)", smac_gp),
            ("Optuna TPE", optuna_tpe),
            ("HyperOpt TPE", hyperopt_tpe),
        ):
            with contextlib.redirect_stdout(sys.stderr):
                rows[label] = function(small, told, repeats)
        studies = whole_studies()
    base = rows["gp, 88 candidates"]
    study, imported = replayed_study(repeats), import_seconds(repeats)
    result = {
        "observations": OBSERVED,
        "repeats": repeats,
        "ms_per_suggestion": {k: 1e3 * v for k, v in rows.items()},
        "times_gp_88": {k: v / base for k, v in rows.items()},
        "replayed_study_ms": 1e3 * study,
        "whole_study_ms": {k: 1e3 * v for k, v in studies.items()},
        "import_ms": 1e3 * imported,
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"one suggestion after {OBSERVED} observations, median of {repeats}, processor time")
    for label, seconds in rows.items():
        print(f"  {label:28} {1e3 * seconds:10.3f} ms   {seconds / base:10.1f} × gp over 88")
    print("one study of 33 trials over 567 configs, suggestions included, wall clock, one run:")
    print("  " + ", ".join(f"{name} {1e3 * seconds:.0f} ms" for name, seconds in studies.items()))
    print(f"one replayed study, 33 trials, cloudbandit:random, no store: {1e3 * study:.2f} ms")
    print(f"import cloudbandit: {1e3 * imported:.0f} ms")


if __name__ == "__main__":
    main()
