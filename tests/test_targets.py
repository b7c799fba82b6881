"""What an optimizer learns from, and its law: what failed or violates never looks better than what served."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbandit import Candidate, Domain, Observation, Problem, Result, SLOGoal, Status, Trial, make_factory
from cloudbandit.core.errors import UsageError
from cloudbandit.core.fleet import FleetGoal
from cloudbandit.core.goal import targets_of
from cloudbandit.core.targets import log_scale
from cloudbandit.core.trial import Score

ONE = SLOGoal("usd_per_h", ("ttft_ms<=10", "output_tok_per_s>=5"))
TWO = SLOGoal("usd_per_h", ("ttft_ms<=10",), maximize="output_tok_per_s")


def observed(goal, *results):
    return [Observation(Trial(i, Candidate("a", {"x": i})), r, goal.score(r)) for i, r in enumerate(results)]


def ran(usd_per_h, ttft_ms=1.0, served=9.0, **rest):
    return Result(metrics={"usd_per_h": usd_per_h, "ttft_ms": ttft_ms, "output_tok_per_s": served}, **rest)


results = st.lists(
    st.one_of(
        st.builds(ran, st.floats(-5, 50), st.floats(0.1, 100), st.floats(0.1, 50)),
        st.builds(Result, st.sampled_from([Status.FAILED, Status.TIMEOUT, Status.STOPPED]), spent_usd=st.floats(0, 99)),
        st.builds(ran, st.floats(0, 50), status=st.just(Status.STOPPED)),
    ),
    min_size=1,
    max_size=12,
)


@given(results)
def test_what_did_not_serve_never_looks_better_than_what_served(some):
    targets = ONE.targets(observed(ONE, *some))
    if targets.feasible.any():
        assert (targets.losses[~targets.feasible] >= targets.losses[targets.feasible].max()).all()


COSTS = SLOGoal("cost_usd", ("ttft_ms<=10",))
costly = st.lists(
    st.one_of(
        st.builds(
            lambda usd, ttft: Result(metrics={"cost_usd": usd, "ttft_ms": ttft}), st.floats(0, 50), st.floats(1, 99)
        ),
        st.builds(Result, st.sampled_from([Status.FAILED, Status.TIMEOUT]), spent_usd=st.floats(0, 99)),
    ),
    min_size=1,
    max_size=12,
)


@given(costly)
def test_a_failed_trials_charge_is_never_better_than_the_median_of_those_that_ran(some):
    targets = COSTS.targets(observed(COSTS, *some))
    ran = ~targets.failed
    assert targets.charged.tolist() == targets.failed.tolist()
    if ran.any():
        assert (targets.losses[targets.failed] >= np.median(targets.losses[ran])).all()
        assert (targets.losses[targets.failed] >= targets.objectives[targets.failed, 0]).all()
    if targets.feasible.any() and (ran & ~targets.feasible).any():
        assert targets.losses[ran & ~targets.feasible].min() >= targets.losses[targets.feasible].max()


@given(st.one_of(results, costly), st.randoms())
def test_the_order_of_telling_has_no_part_in_it(some, random):
    order = random.sample(range(len(some)), len(some))
    goal = COSTS if all("usd_per_h" not in r.metrics for r in some) else ONE
    told = observed(goal, *some)
    np.testing.assert_array_equal(
        goal.targets([told[i] for i in order]).losses, goal.targets(told).losses[np.array(order)]
    )


@given(results, st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_of_several_objectives_it_never_does_at_all(some, weights):
    targets = TWO.targets(observed(TWO, *some))
    scalar = targets.tchebycheff(np.array(weights))
    served, ran_only = targets.feasible, ~targets.failed & ~targets.feasible
    assert np.isfinite(scalar).all()
    if served.any():
        assert (scalar[~served] >= scalar[served].max()).all()
    if ran_only.any():
        assert (scalar[targets.failed] >= scalar[ran_only].max()).all()


def test_columns_are_signed_so_that_small_is_good():
    told = observed(
        TWO,
        ran(3.0, 4.0, 20.0, stderr={"usd_per_h": 0.5}),
        ran(2.0, 30.0, 50.0),
        Result(Status.FAILED, reason="out_of_memory"),
        ran(5.0, 1.0, 9.0, status=Status.STOPPED),
    )
    targets = TWO.targets(told)
    np.testing.assert_array_equal(targets.objectives, [[3, -20], [2, -50], [np.nan] * 2, [5, -9]])
    assert targets.signs.tolist() == [1, -1]
    np.testing.assert_array_equal(targets.stderr[0], [0.5, np.nan])
    assert targets.feasible.tolist() == [True, False, False, False]
    assert targets.failed.tolist() == [False, False, True, True]
    assert targets.censored.tolist() == [False, False, False, True]
    assert targets.reasons == ("", "", "out_of_memory", "")
    assert targets.violation.tolist() == [0, 2, 0, 0]
    assert targets.slos[:, 0].tolist() == [4, 30, 30, 1], "a failed trial's unknown metric counts as the worst seen"
    at_least = ONE.targets(observed(ONE, ran(1.0, 1.0, 7.0), Result(Status.FAILED)))
    assert at_least.limits.tolist() == [10, -5]
    assert at_least.slo_signs.tolist() == [1, -1]
    assert at_least.slos.tolist() == [[1, -7], [1, -7]]


def test_a_trial_that_was_cut_short_is_at_least_as_bad_as_the_worst_that_ran():
    stopped = ran(2.0, status=Status.STOPPED)
    assert ONE.targets(observed(ONE, ran(8.0), stopped, ran(1.0))).losses.tolist() == [8, 8, 1]
    assert ONE.targets(observed(ONE, ran(1.0), stopped)).losses.tolist() == [1, 2]


def test_several_objectives_have_no_one_loss():
    targets = TWO.targets(observed(TWO, ran(3.0), ran(4.0)))
    with pytest.raises(UsageError, match=r"2 objectives.*Targets\.scalar"):
        _ = targets.losses
    drawn = [targets.scalar(np.random.default_rng(seed)) for seed in range(2)]
    assert drawn[0].tolist() != drawn[1].tolist()
    one = ONE.targets(observed(ONE, ran(3.0), ran(4.0)))
    assert one.scalar(np.random.default_rng(0)).tolist() == one.losses.tolist()


def test_tchebycheff_by_hand():
    goal = SLOGoal(("usd_per_h", "ttft_ms"))
    told = observed(goal, ran(1.0, 100.0), ran(10.0, 10.0), ran(100.0, 1.0))  # log scales: 0, ½, 1 and 1, ½, 0
    np.testing.assert_allclose(
        goal.targets(told).tchebycheff(np.array([0.8, 0.2])),
        [0.2 + 0.05 * 0.2, 0.4 + 0.05 * 0.5, 0.8 + 0.05 * 0.8],
    )


@pytest.mark.parametrize("goal", [ONE, TWO, SLOGoal("usd_per_h"), FleetGoal(users=8, slos=("ttft_ms<=100",))])
def test_before_the_first_trial_there_are_no_rows(goal):
    targets = goal.targets([])
    assert len(targets) == 0
    assert targets.objectives.shape == (0, len(goal.metrics))
    assert targets.slos.shape == (0, len(targets.limits))
    assert targets.scalar(np.random.default_rng(0)).shape == (0,)


def test_uninformative_observations_teach_nothing():
    with pytest.raises(UsageError, match="ended lost, which teaches an optimizer nothing"):
        ONE.targets(observed(ONE, ran(1.0), Result(Status.LOST)))


def test_a_goal_of_ones_own_needs_no_method():
    class Own:
        metrics, slos = ("usd_per_h",), ONE.slos

        def score(self, result):
            return Score(0, 0.0, (result.metrics["usd_per_h"] ** 2,))

    goal = Own()
    targets = targets_of(goal, observed(goal, ran(3.0, 4.0, 7.0)))
    assert targets.objectives.tolist() == [[9.0]]
    assert targets.slos.tolist() == [[4.0, -7.0]]
    assert targets.losses.tolist() == [9.0]

    class Broken(Own):
        metrics = ("usd_per_h", "ttft_ms")

    with pytest.raises(UsageError, match="1 values for 2 objectives"):
        targets_of(Broken(), observed(goal, ran(3.0)))


def curve(*ttft_ms, price=2.0, tok_per_s=50.0):
    rows = [{"users": 2.0**i, "ttft_p50_ms": ttft, "output_tok_per_s": tok_per_s} for i, ttft in enumerate(ttft_ms)]
    return Result(metrics={"price_usd_per_h": price, "ttft_ms": ttft_ms[-1]}, rows=rows)


def test_a_fleet_learns_from_its_lowest_load():
    goal = FleetGoal(users=8, slos=("ttft_ms<=100", "output_tok_per_s>=300"), max_failure_rate=None)
    told = observed(goal, curve(50.0, 90.0, 900.0), curve(200.0, 400.0, 900.0), Result(Status.FAILED))
    targets = goal.targets(told)
    assert targets.feasible.tolist() == [True, False, False]
    assert targets.slos[:, 0].tolist() == [50, 200, 200]
    assert targets.slos[:, 1].tolist() == [-400, -400, -400], "throughputs are the fleet's: 8 users at load 1"
    assert targets.limits.tolist() == [100, -300]
    assert targets.objectives[0].tolist() == [8 * 2.0]
    within = (targets.slos <= targets.limits).all(axis=1)
    assert within[:2].tolist() == targets.feasible[:2].tolist()
    by_tokens = FleetGoal(tokens_per_s=100.0, slos=("ttft_ms<=100",), max_failure_rate=None)
    assert by_tokens.targets(observed(by_tokens, curve(50.0))).slos.tolist() == [[50.0]]


def test_scales():
    positive, mixed = np.array([1.0, math.e, np.nan]), np.array([1.0, -1.0])
    np.testing.assert_allclose(log_scale(positive)[0], [0, 1, np.nan])
    np.testing.assert_allclose(log_scale(-positive, -1.0)[0], [0, -1, np.nan])
    for values, sign in ((mixed, 1.0), (mixed, -1.0), (-positive, 1.0)):
        same, logged = log_scale(values, sign)
        assert not logged
        np.testing.assert_array_equal(same, values)


@pytest.mark.parametrize("name", ["gp", "gp-ard", "rbf"])
def test_trials_cut_short_do_not_attract(name):
    """They stopped at a bound far below what the others cost: were it their value, the next trial would be beside them."""
    goal, domain = SLOGoal("usd_per_h"), Domain({"a": [{"x": x} for x in range(40)]})
    told = {5: ran(55.0), 10: ran(50.0), 15: ran(45.0), 0: ran(60.0)}
    cut = {x: ran(1.0, status=Status.STOPPED) for x in (26, 30, 34, 38)}
    believed = {x: ran(1.0) for x in cut}
    asked = {}
    for kind, rest in {"bound": cut, "value": believed}.items():
        optimizer = make_factory(name)(Problem(domain, goal))
        some = {**told, **rest}.items()
        optimizer.tell(
            [Observation(Trial(i, Candidate("a", {"x": x})), r, goal.score(r)) for i, (x, r) in enumerate(some)]
        )
        asked[kind] = [c["x"] for c in optimizer.ask(3)]
    assert min(asked["value"]) > 20
    assert max(asked["bound"]) < 26


@pytest.mark.parametrize("name", ["gp", "gp-ard", "rbf"])
def test_crashes_that_end_quickly_do_not_attract(name):
    """Half the configs crash at once and are charged next to nothing: were that their value, the search would go nowhere else."""
    goal, domain = SLOGoal("cost_usd"), Domain({"a": [{"x": x} for x in range(40)]})
    optimizer = make_factory(name)(Problem(domain, goal))
    crashes = 0
    for i in range(20):
        (candidate,) = optimizer.ask(1)
        x = candidate["x"]
        crashed = x >= 20
        crashes += crashed
        cost = 1.0 + 0.1 * abs(x - 6)
        result = Result(Status.FAILED, spent_usd=0.01) if crashed else Result(metrics={"cost_usd": cost})
        optimizer.tell([Observation(Trial(i, candidate), result, goal.score(result))])
    assert crashes <= 12
    assert 6 in [o.candidate["x"] for o in optimizer.observations]


def test_while_every_trial_crashes_a_model_does_not_look_for_the_soonest_crash():
    goal, domain = SLOGoal("cost_usd"), Domain({"a": [{"x": x} for x in range(40)]})
    asked = {}
    for scale in (0.0, 1.0):
        optimizer = make_factory("gp")(Problem(domain, goal, seed=1))
        for i, x in enumerate((0, 10, 20, 30)):
            result = Result(Status.FAILED, spent_usd=5.0 - scale * x / 10)
            optimizer.tell([Observation(Trial(i, Candidate("a", {"x": x})), result, goal.score(result))])
        asked[scale] = optimizer.ask(1)
    assert asked[0.0] == asked[1.0]
