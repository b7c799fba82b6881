"""Targets on the scale that is modelled: what each kind of trial teaches a Gaussian process."""

import math

import numpy as np
import pytest

from cloudbandit import Candidate, Domain, Observation, Problem, Result, SLOGoal, Status, Trial, make_factory
from cloudbandit.optimizers.modelled import Modelled


def observed(goal, *pairs):
    return [Observation(Trial(i, Candidate("a", {"x": x})), r, goal.score(r)) for i, (x, r) in enumerate(pairs)]


def modelled(goal, *pairs, log=True):
    told = observed(goal, *pairs)
    return Modelled.of(goal.targets(told), [o.candidate for o in told], log)


def ok(value, stderr=None, **rest):
    return Result(metrics={"usd_per_h": value}, stderr={} if stderr is None else {"usd_per_h": stderr}, **rest)


COST = SLOGoal("usd_per_h")


def test_a_maximised_metric_is_minus_its_log():
    known = modelled(
        SLOGoal(maximize="output_tok_per_s"),
        *((i, Result(metrics={"output_tok_per_s": v})) for i, v in enumerate((2.0, 8.0))),
    )
    assert known.logged
    np.testing.assert_allclose(known.objectives[0], [-math.log(2), -math.log(8)])
    negative = modelled(COST, (0, ok(-2.0)), (1, ok(-8.0)))
    assert not negative.logged
    np.testing.assert_array_equal(negative.objectives[0], [-2, -8])
    np.testing.assert_array_equal(modelled(COST, (0, ok(2.0)), log=False).objectives[0], [2.0])


def test_without_errors_or_repeats_there_is_no_noise():
    assert modelled(COST, (0, ok(1.0)), (1, ok(2.0))).noise == [0.0, 0.0]


def test_a_standard_error_is_relative_on_the_log_scale():
    known = modelled(COST, (0, ok(1.0, 0.1)), (1, ok(10.0, 1.0)), (2, ok(5.0)))
    variance = np.log([1.0, 10.0, 5.0]).var()
    assert known.noise == pytest.approx([0.01 / variance, 0.01 / variance, 0.0])
    raw = modelled(COST, (0, ok(-1.0, 0.1)), (1, ok(3.0, 1.0)))
    assert raw.noise == pytest.approx([0.01 / 4, 1.0 / 4])


def test_repeats_tell_the_noise_of_all_that_state_none():
    pairs = [(0, ok(math.exp(1.0))), (0, ok(math.exp(1.4))), (1, ok(math.exp(3.0))), (2, ok(math.exp(2.0), 0.0))]
    known = modelled(COST, *pairs)
    share = 2 * 0.2**2 / np.array([1.0, 1.4, 3.0, 2.0]).var()
    assert known.noise == pytest.approx([share, share, share, 0.0])
    same = modelled(COST, (0, ok(2.0)), (0, ok(2.0)), (1, ok(3.0)))
    assert same.noise == [0.0] * 3


def test_of_several_objectives_the_noise_is_the_mean():
    goal = SLOGoal(("usd_per_h", "ttft_ms"))
    known = modelled(
        goal,
        *(
            (i, Result(metrics={"usd_per_h": v, "ttft_ms": v}, stderr={"usd_per_h": 0.1 * v}))
            for i, v in enumerate((1.0, 2.0))
        ),
    )
    share = 0.01 / np.log([1.0, 2.0]).var()
    assert known.noise == pytest.approx([share / 2] * 2)


def test_failures_and_trials_cut_short_do_not_attract():
    known = modelled(
        COST,
        (0, ok(1.0)),
        (1, ok(4.0)),
        (2, ok(9.0)),
        (3, Result(Status.FAILED)),
        (4, ok(0.5, status=Status.STOPPED)),
        (5, ok(20.0, status=Status.STOPPED)),
    )
    values = np.exp(known.objectives[0])
    assert values[4] == pytest.approx(4.0), "the median of what served: its bound says less"
    assert values[5] == pytest.approx(20.0)
    assert values[3] == pytest.approx(np.median([1, 4, 9, 0.5, 20]))
    assert known.failed.tolist() == [0, 0, 0, 1, 0, 0]
    assert known.feasible.tolist() == [True] * 3 + [False] * 3


def test_a_charge_is_at_least_the_median_of_what_ran():
    goal = SLOGoal("cost_usd")
    told = [Result(metrics={"cost_usd": v}) for v in (1.0, 4.0, 9.0)]
    told += [Result(Status.FAILED, spent_usd=v) for v in (0.01, 20.0)]
    np.testing.assert_allclose(np.exp(modelled(goal, *enumerate(told)).objectives[0]), [1, 4, 9, 4, 20])


def test_slos_are_on_log_scales_where_metric_and_limit_are_positive():
    goal = SLOGoal(
        "usd_per_h", ("ttft_ms<=10", "output_tok_per_s>=5", "failure_rate<=0.01", "goodput_requests_per_s>=1")
    )
    metrics = {"usd_per_h": 1.0, "ttft_ms": 20.0, "output_tok_per_s": 50.0, "failure_rate": 0.0}
    slos = modelled(goal, (0, Result(metrics=metrics))).slos
    assert [(column.tolist(), limit) for column, limit in slos] == [
        ([pytest.approx(math.log(20))], math.log(10)),
        ([pytest.approx(-math.log(50))], -math.log(5)),
        ([0.0], 0.01),
    ], "a metric that nobody reported has no column"


@pytest.mark.parametrize("name", ["gp", "gp-ard"])
def test_one_lucky_measurement_does_not_hold_a_noisy_search(name):
    """A config of 10 that once measured 2, with a large error, is no incumbent: the search goes where precise trials point."""
    domain = Domain({"a": [{"x": x} for x in range(41)]})
    precise = [(x, ok(5.0 + 0.2 * abs(x - 30), 0.01)) for x in (0, 8, 16, 24, 40)]

    def asked(stderr):
        optimizer = make_factory(name)(Problem(domain, COST))
        optimizer.tell(observed(COST, *precise, (5, ok(2.0, stderr))))
        return optimizer.ask(1)[0]["x"]

    assert abs(asked(0.001) - 5) <= 2
    assert abs(asked(1.0) - 30) <= 2
