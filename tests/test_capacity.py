"""The largest safe value, against brute force; estimates that say so."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbandit import Budget, Domain, Listing, SLOGoal, Status, Study, make_factory
from cloudbandit.core.errors import CloudBanditError, UsageError
from cloudbandit.core.fleet import FleetGoal
from cloudbandit.core.protocols import Quote
from cloudbandit.core.trial import Candidate, Result, Trial
from cloudbandit.live.capacity import largest_safe, tune_capacity
from cloudbandit.live.objective import LiveObjective
from cloudbandit.objectives.estimated import Estimated
from cloudbandit.recommend import llm_pilot, paper_offers
from cloudbandit.recommend.advisor import Advisor
from cloudbandit.recommend.source import LoadTestSource
from cloudbandit.recommend.study import RecordedSweeps, estimated_curves
from cloudbandit.surrogate.model import Surrogate


@given(st.integers(1, 60), st.integers(-1, 60), st.integers(1, 3))
def test_bisection_finds_what_trying_all_finds(n, limit, confirm):
    values = list(range(n))
    found = largest_safe(values, lambda v: v <= limit, confirm)
    safe = [v for v in values if v <= limit]
    assert found.largest == (safe[-1] if safe else None)
    assert len(found.checked) <= math.ceil(math.log2(n + 1))
    assert found.checks <= confirm * len(found.checked)


def test_luck_near_the_limit_is_not_enough():
    tosses = iter([True, False, True, True, True, True])
    assert largest_safe([1, 2, 3], lambda v: next(tosses), confirm=2).largest == 1
    for values, confirm in (([], 1), ([1, 1], 1), ([1], 0)):
        with pytest.raises(UsageError):
            largest_safe(values, bool, confirm)


def test_a_knob_of_an_engine_is_tuned_by_its_trials():
    class Fragile(LiveObjective):
        def __init__(self):
            self.engine = type("E", (), {"name": "fragile", "knobs": ()})()
            self.engine.knobs = [type("K", (), {"name": "batch", "values": (1, 2, 4, 8, 16)})()]

        def domain(self):
            return Domain({"here": Listing([{"batch": 1}])})

        def evaluate(self, trial, run):
            batch = trial.candidate["batch"]
            if batch > 8:
                return Result(Status.FAILED, reason="engine_died")
            return Result(metrics={"failure_rate": 0.1 if batch == 8 else 0.0})

    found, results = tune_capacity(Fragile(), "batch", {"other": 1})
    assert found.largest == 4
    assert len(results) == found.checks <= 3
    assert tune_capacity(Fragile(), "batch", {}, max_failure_rate=0.2)[0].largest == 8

    class FullDisk(Fragile):
        def evaluate(self, trial, run):
            return Result(Status.UNAVAILABLE, reason="disk_full")

    with pytest.raises(CloudBanditError, match="batch = 4: disk_full"):
        tune_capacity(FullDisk(), "batch", {})
    with pytest.raises(UsageError, match="no knob 'size'"):
        tune_capacity(Fragile(), "size", {})


def test_estimates_are_marked_and_may_be_missing():
    objective = Estimated(lambda c: None if c["x"] == 2 else {"m": float(c["x"])}, lambda c: Quote(0.5, 60.0))
    goal = SLOGoal("m")
    domain = Domain({"a": [{"x": x} for x in (1, 2, 3)]})
    report = Study(domain, objective, goal, make_factory("exhaustive", 3), Budget(trials=3)).run()
    assert {o.result.source for o in report.observations} == {"estimated"}
    assert report.incumbent.candidate["x"] == 1
    assert report.spent_usd == pytest.approx(1.0)  # an estimate that is not there costs nothing
    assert {o.result.reason for o in report.observations} == {"", "no_estimate"}
    whole = Estimated(lambda c: Result(metrics={"m": 1.0})).evaluate(Trial(0, Candidate("a", {})), None)
    assert whole.source == "estimated"


def test_the_surrogate_is_an_objective_too():
    """Here everything was measured, so that what it believes is what is true."""
    tests = llm_pilot()
    curves = RecordedSweeps(tests.of("llama-13b"), paper_offers())
    advisor = Advisor(
        LoadTestSource(Surrogate(tests.without("llama-13b"))),
        tests.models["llama-13b"],
        curves.offers.values(),
        ["nttft_ms<=100", "itl_ms<=50"],
        200,
        measured=tests.of("llama-13b"),
        only_measured=True,
    )
    objective = Estimated(
        estimated_curves(advisor, curves.offer),
        facts=curves.facts,
    )
    goal = FleetGoal(200, ["nttft_ms<=100", "itl_ms<=50"])
    report = Study(curves.domain, objective, goal, make_factory("exhaustive", 20), Budget(trials=20)).run()
    assert report.incumbent.result.source == "estimated"
    assert report.incumbent.score.values[0] == pytest.approx(advisor.recommend().best.usd_per_h)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the package's own
def test_silicon_estimates_of_gpus_are_a_study_of_their_own():
    pytest.importorskip("aiconfigurator_core", reason="x86-64 Linux only")
    from cloudbandit.objectives.aiconfigurator import SYSTEMS, Estimator

    estimator = Estimator("meta-llama/Meta-Llama-3.1-8B", 1024, 256)
    objective = Estimated(estimator)
    domain = Domain(
        {"H100-SXM5-80GB": [{"tp": 1, "batch": b} for b in (1, 32, 4096)], "L40S-48GB": [{"tp": 1, "batch": 4}]}
    )
    goal = SLOGoal("tpot_p50_ms", ["output_tok_per_s>=1000"])
    report = Study(domain, objective, goal, make_factory("exhaustive", 4), Budget(trials=4)).run()
    assert {o.result.source for o in report.observations} == {"estimated"}
    assert report.incumbent.candidate == Candidate("H100-SXM5-80GB", {"tp": 1, "batch": 32})
    found = report.incumbent.result.metrics
    weights_ms = 8.03e9 * 2 / 3.35e12 * 1e3
    assert weights_ms < found["tpot_p50_ms"] < 10 * weights_ms  # no faster than memory allows
    assert [o.result.reason for o in report.observations if o.candidate["batch"] == 4096] == ["out_of_memory"]
    with pytest.raises(UsageError, match="T4-16GB"):
        estimator(Candidate("T4-16GB", {"tp": 1, "batch": 1}))
    with pytest.raises(UsageError, match="one process per model"):
        Estimator("Qwen/Qwen3-32B", 1024, 256)
    assert len(SYSTEMS) == 6
