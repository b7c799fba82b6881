import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbandit import SLO, Candidate, Observation, Result, SLOGoal, Status, Trial
from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.core.goal import best, changed_limit, failures, front, least_bad
from cloudbandit.core.metrics import resolve_metric


def observed(goal, *results):
    return [Observation(Trial(i, Candidate("a", {"x": i})), r, goal.score(r)) for i, r in enumerate(results)]


def losses(goal, told):
    return goal.targets(told).losses.tolist()


def test_slo_parses_and_prints():
    slo = SLO.parse(" ttft_p95_ms <= 5e2 ")
    assert slo == SLO("ttft_p95_ms", 500.0)
    assert str(slo) == "ttft_p95_ms<=500"
    assert SLO.parse("output_tok_per_s>=10").violation({"output_tok_per_s": 5}) == pytest.approx(0.5)
    for bad in ("ttft", "ttft<500", "ttft<=abc", "<=5", "ttft_ms<=nan"):
        with pytest.raises(UsageError, match=r"METRIC<=LIMIT|finite"):
            SLO.parse(bad)


def test_a_missing_metric_is_a_violated_slo():
    assert SLO("ttft_ms", 5).violation({}) == math.inf


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5), st.floats(0, 10)), min_size=2, max_size=20))
def test_scores_order_feasible_before_violating_before_failed(cases):
    goal = SLOGoal("cost_usd", ("ttft_ms<=1",))
    results = [
        Result(metrics={"cost_usd": cost, "ttft_ms": ttft}) if ok else Result(Status.FAILED, spent_usd=cost)
        for ok, ttft, cost in cases
    ]
    told = observed(goal, *results)
    ranked = sorted(told, key=lambda o: o.score)
    kinds = [0 if o.score.feasible else 1 if o.score.rank == 0 else 2 for o in ranked]
    assert kinds == sorted(kinds)
    incumbent = best(told)
    assert (incumbent is None) == (0 not in kinds)
    if incumbent is not None:
        assert incumbent.result.metrics["cost_usd"] == min(
            o.result.metrics["cost_usd"] for o in told if o.score.feasible
        )
        worst_feasible = max(x for o, x in zip(told, losses(goal, told), strict=True) if o.score.feasible)
        assert all(x >= 0 for x in losses(goal, told))
        assert worst_feasible == max(o.result.metrics["cost_usd"] for o in told if o.score.feasible)


def test_failed_trials_have_their_charge_or_the_worst_loss():
    cost, speed = SLOGoal("cost_usd"), SLOGoal("ttft_ms")
    ok = Result(metrics={"cost_usd": 4.0, "ttft_ms": 4.0})
    failed = Result(Status.FAILED, spent_usd=9.0, seconds=60.0)
    assert losses(cost, observed(cost, ok, failed)) == [4.0, 9.0]
    assert losses(SLOGoal("runtime_s"), observed(SLOGoal("runtime_s"), failed)) == [60.0]
    assert losses(speed, observed(speed, failed)) == [0.0]
    assert losses(speed, observed(speed, failed, ok, failed)) == [4.0, 4.0, 4.0]
    quick = Result(Status.FAILED, spent_usd=0.01)
    assert losses(cost, observed(cost, quick, ok)) == [4.0, 4.0]
    per_hour = SLOGoal("usd_per_h")
    assert per_hour.score(failed).values == (), "a rate is no charge"


def test_a_violating_trial_never_beats_a_feasible_one():
    goal = SLOGoal("cost_usd", ("ttft_ms<=10",))
    cheap_but_slow = Result(metrics={"cost_usd": 1.0, "ttft_ms": 20.0})
    dear = Result(metrics={"cost_usd": 50.0, "ttft_ms": 5.0})
    a, b = losses(goal, observed(goal, dear, cheap_but_slow))
    assert a == 50.0
    assert b > a
    told = observed(goal, cheap_but_slow)
    assert best(told) is None
    assert least_bad(told) is told[0]


def test_uninformative_results_have_no_score():
    goal = SLOGoal("x")
    for status in (Status.UNAVAILABLE, Status.INTERRUPTED, Status.LOST):
        assert goal.score(Result(status)) is None
        assert not status.informative
    with pytest.raises(UsageError, match="teaches an optimizer nothing"):
        losses(goal, observed(goal, Result(Status.LOST)))


def test_an_ok_result_without_the_metric_is_a_bug():
    with pytest.raises(UsageError, match=r"minimises 'x'.*only \['y'\]"):
        SLOGoal("x").score(Result(metrics={"y": 1.0}))


def test_results_hold_finite_numbers_only():
    for broken in ({"metrics": {"x": math.nan}}, {"spent_usd": math.inf}, {"seconds": -1.0}):
        with pytest.raises(UsageError):
            Result(**broken)


def test_result_survives_json():
    result = Result(
        Status.FAILED, {"x": 1.5}, {"x": 0.1}, 2.0, 3.0, "recorded", "oom", ({"users": 1.0},), {"log": "a"}, "e"
    )
    assert Result.from_dict(result.to_dict()) == result


def test_front_holds_what_nothing_beats():
    goal = SLOGoal(("cost_usd", "ttft_ms"))
    told = observed(
        goal, *(Result(metrics={"cost_usd": a, "ttft_ms": b}) for a, b in [(1, 9), (2, 5), (3, 6), (4, 1), (1, 9)])
    )
    assert [o.trial.number for o in front(told)] == [0, 1, 3]


def test_metric_names_default_to_the_median():
    assert resolve_metric("ttft_ms", ["ttft_p50_ms"]) == "ttft_p50_ms"
    assert resolve_metric("ttft_p50_ms", ["ttft_ms"]) == "ttft_ms"
    with pytest.raises(UnknownNameError, match="Did you mean 'ttft_ms'"):
        resolve_metric("tfft_ms", ["ttft_ms", "cost_usd"])


# ── the implied limit on failures ──


def served(rate, *rows, **more):
    return Result(metrics={"tpot_ms": 5.0, "failure_rate": rate, **more}, rows=rows)


def test_a_config_that_fails_its_requests_is_not_feasible():
    goal = SLOGoal("tpot_ms")
    assert not goal.score(served(63 / 64)).feasible
    assert goal.score(served(0.01)).feasible
    assert goal.score(Result(metrics={"tpot_ms": 5.0})).feasible, "nothing is known of its failures"
    assert goal.failure_slo == SLO("failure_rate_excess", 0.01)
    worse, bad = (goal.score(served(rate)) for rate in (0.9, 0.1))
    assert bad < worse, "the nearer to the limit the better"


def test_the_limit_is_changeable_and_an_explicit_one_replaces_it():
    half = served(0.5)
    assert SLOGoal("tpot_ms", max_failure_rate=None).score(half).feasible
    assert SLOGoal("tpot_ms", max_failure_rate=0.5).score(half).feasible
    for text in ("failure_rate<=0.6", "failure_rate_excess<=0.6"):
        explicit = SLOGoal("tpot_ms", (text,))
        assert explicit.failure_slo is None
    assert SLOGoal("tpot_ms", ("failure_rate<=0.6",)).score(half).feasible
    for wrong in (-0.1, 7, math.nan):
        with pytest.raises(UsageError, match="max_failure_rate"):
            SLOGoal("tpot_ms", max_failure_rate=wrong)


def test_failures_are_beyond_a_single_users_where_that_was_measured():
    one, eight = {"users": 1.0, "failure_rate": 0.2}, {"users": 8.0, "failure_rate": 0.205}
    assert failures(served(0.205, one, eight)) == pytest.approx(0.005)
    assert failures(served(0.205, eight)) == 0.205
    assert failures(served(0.2, one)) == 0.2, "a single user alone excuses nothing"
    assert failures(served(0.2, eight, one)) == 0.2
    assert failures(served(0.9, failure_rate_excess=0.0)) == 0.0
    assert failures(Result(metrics={"tpot_ms": 1.0})) is None


def test_optimizers_learn_of_failures_once_there_are_some():
    goal = SLOGoal("tpot_ms")

    def targets(*results):
        return goal.targets(
            [Observation(Trial(i, Candidate("a", {"x": i})), r, goal.score(r)) for i, r in enumerate(results)]
        )

    assert targets(served(0.0), served(0.0)).slos.shape == (2, 0)
    known = targets(served(0.0), served(0.5), Result(metrics={"tpot_ms": 1.0}), Result(Status.FAILED))
    assert known.slos[:, 0].tolist() == [0.0, 0.5, 0.0, 0.5]
    assert known.limits.tolist() == [0.01]
    assert known.feasible.tolist() == [True, False, True, False]


def test_stores_written_before_there_was_a_limit_go_on():
    assert changed_limit(SLOGoal("tpot_ms")) == {}
    assert changed_limit(SLOGoal("tpot_ms", max_failure_rate=None)) == {"max_failure_rate": None}
