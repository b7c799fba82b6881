"""What the methods of the comparison do, checked by hand or by brute force."""

import itertools

import numpy as np
import pytest

from cloudbandit import Domain, Problem, Result, SLOGoal, Status, make_factory
from cloudbandit.core.errors import UsageError
from cloudbandit.core.front import hypervolume
from cloudbandit.optimizers.donors import Portfolio, donor_matrix
from cloudbandit.optimizers.per_arm import RisingBandits
from cloudbandit.optimizers.rbf import _interpolate
from cloudbandit.testing.problems import candidates, drive, observe


def losses(told):
    return [o.score.values[0] for o in told]


def problem_of(sizes, **options):
    domain = Domain({arm: [{"x": i} for i in range(size)] for arm, size in sizes.items()})
    return Problem(domain, SLOGoal("loss"), **options)


def values(of):
    return lambda candidate, number: Result(metrics={"loss": float(of(candidate))})


def history(problem, *tables):
    """One workload per mapping from candidate to value."""
    out = {}
    for i, table in enumerate(tables):
        out[f"w{i}"] = [observe(problem, c, n, values(table)) for n, c in enumerate(problem.domain.candidates)]
    return out


def test_x3_takes_turns():
    problem = problem_of({"a": 20, "b": 20, "c": 2})
    told = drive(make_factory("gp-x3")(problem), problem, 11, values(lambda c: 1 + c["x"]))
    arms = [o.arm for o in told]
    for i in range(0, 6, 3):
        assert sorted(arms[i : i + 3]) == ["a", "b", "c"]
    assert arms.count("c") == 2, "an arm that ran dry is passed over"


def test_rising_bandits_drop_an_arm_that_cannot_win_and_keep_a_rising_one():
    problem = problem_of({"flat": 60, "rising": 60, "good": 60})

    class Scripted:
        """Arm ``flat`` stays at 100, ``rising`` falls from 90 by a tenth each time, ``good`` stays at 10."""

        def __init__(self, p):
            self.arm, self.n = p.domain, 0

        def ask(self, n=1):
            self.n += 1
            return [self.arm.candidates[self.n - 1]]

        def tell(self, observations): ...

    def script(c):
        return {"flat": 100.0, "rising": 90.0 * 0.9 ** c["x"], "good": 10.0}[c.arm[0]]

    bandit = RisingBandits(problem, Scripted, 60)
    told = drive(bandit, problem, 60, values(script))
    pulls = {arm: [o.arm for o in told].count(arm) for arm in problem.domain.names}
    assert pulls["flat"] == 4, "dropped as soon as it has a slope over three pulls"
    assert pulls["rising"] > 20, "its slope says it will get there"


def test_cherrypick_stops_by_its_rule():
    problem = problem_of({"a": 40})
    told = drive(make_factory("cherrypick-stop")(problem), problem, 40, values(lambda c: 10 + c["x"]))
    assert 6 <= len(told) < 40
    assert len(drive(make_factory("cherrypick")(problem), problem, 40, values(lambda c: 10 + c["x"]))) == 40


def test_price_order_is_ascending_and_needs_prices():
    problem = problem_of({"a": 5, "b": 5}, facts=lambda c: {"price_usd_per_h": {"a": 5, "b": 4}[c.arm[0]] - c["x"]})
    told = candidates(drive(make_factory("price-order")(problem), problem, 10, values(lambda c: 1)))
    prices = [problem.facts(c)["price_usd_per_h"] for c in told]
    assert prices == sorted(prices)
    with pytest.raises(UsageError, match="price_usd_per_h"):
        make_factory("price-order")(problem_of({"a": 2}))


def test_the_oracle_starts_with_the_answer():
    problem = problem_of({"a": 6, "b": 6})
    told = Problem(
        problem.domain, problem.goal, history=history(problem, lambda c: 3 + abs(c["x"] - 4) + (c.arm == ("a",)))
    )
    first = drive(make_factory("oracle")(told), problem, 1, values(lambda c: 1))[0].candidate
    assert (first.arm, first["x"]) == (("b",), 4)


def test_the_portfolio_is_greedy():
    problem = problem_of({"a": 5})
    tables = [np.random.default_rng(i).random(5) + 0.5 for i in range(4)]
    told = Problem(problem.domain, problem.goal, history=history(problem, *(lambda c, t=t: t[c["x"]] for t in tables)))
    matrix = donor_matrix(told)
    np.testing.assert_allclose(matrix, [np.log(t / t.min()) for t in tables])
    order = Portfolio(told)._order()
    chosen = []
    for step in order[:2]:
        mean = {i: np.min([matrix[:, j] for j in [*chosen, i]], axis=0).mean() for i in range(5) if i not in chosen}
        assert step == min(mean, key=mean.get)
        chosen.append(step)


@pytest.mark.slow
def test_predictors_transfer():
    problem = problem_of({"a": 12, "b": 12})

    def shape(c):
        return np.exp(0.2 * abs(c["x"] - 7) + (c.arm == ("a",)))

    told = Problem(
        problem.domain, problem.goal, history=history(problem, shape, lambda c: 40 * shape(c), lambda c: 0.1 * shape(c))
    )
    for name in ("linear", "forest", "single-arm", "portfolio"):
        run = drive(make_factory(name)(told), problem, 6, values(lambda c: 5 * shape(c)))
        assert min(losses(run)) <= 5 * np.exp(0.4), name
    for name in ("linear", "portfolio", "single-arm", "forest"):
        with pytest.raises(UsageError, match="learns from other workloads"):
            make_factory(name)(problem)


@pytest.mark.parametrize("n", [3, 5, 9, 20])
def test_the_interpolant_interpolates(n):
    rng = np.random.default_rng(n)
    x, y = rng.random((n, 3)), rng.normal(size=n)
    np.testing.assert_allclose(_interpolate(x, y, x), y, atol=1e-6)


def test_the_interpolant_reproduces_a_linear_function():
    rng = np.random.default_rng(0)
    x, z = rng.random((12, 3)), rng.random((40, 3))
    w = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(_interpolate(x, x @ w + 3, z), z @ w + 3, atol=1e-6)


@pytest.mark.slow
def test_model_based_methods_beat_random_on_a_smooth_problem():
    """On 3 × 49 configs of a bowl, 20 trials, 10 seeds: the mean of the best found."""
    grid = [{"x": i, "y": j} for i, j in itertools.product(range(7), repeat=2)]
    domain = Domain({"a": grid, "b": grid, "c": grid})

    def bowl(c):
        return 1 + {"a": 0, "b": 1, "c": 2}[c.arm[0]] + (c["x"] - 5) ** 2 / 4 + (c["y"] - 2) ** 2 / 4

    def mean_best(name):
        out = []
        for seed in range(10):
            problem = Problem(domain, SLOGoal("loss"), seed)
            out.append(min(losses(drive(make_factory(name, 20)(problem), problem, 20, values(bowl)))))
        return np.mean(out)

    random = mean_best("random-wor")
    for name in (
        "gp",
        "gp-ard",
        "gp-lcb",
        "rbf",
        "coordinate",
        "cloudbandit:gp",
        "cloudbandit:rbf",
        "rising-bandits",
        "gp-x3",
    ):
        assert mean_best(name) < random, name


@pytest.mark.parametrize("name", ["gp", "gp-ard", "gp-lcb", "cherrypick", "rbf"])
def test_trials_that_fail_from_the_start_do_not_trap_a_model(name):
    """Seven of ten configs fail without a value, all those that are listed first."""

    def measured(candidate, number):
        if candidate["x"] < 14:
            return Result(Status.FAILED, reason="start_crash")
        return Result(metrics={"loss": 1.0 + candidate["x"] + candidate["y"], "ttft_ms": 1.0})

    goal = SLOGoal("loss", ("ttft_ms<=5",))
    domain = Domain({"a": [{"x": x, "y": y} for x, y in itertools.product(range(20), range(10))]})
    for seed in range(12):
        problem = Problem(domain, goal, seed=seed)
        told = drive(make_factory(name)(problem), problem, 15, measured)
        assert any(o.result.status is Status.OK for o in told), seed


def test_a_length_scale_per_parameter_finds_the_one_that_matters():
    """One of twelve labels is good, three more parameters do nothing: 10 seeds of 20 trials; the mean of the best found."""
    grid = itertools.product("abcdefghijkl", range(4), range(4), range(4))
    domain = Domain({"here": [{"instance": i, "x": x, "y": y, "z": z} for i, x, y, z in grid]})

    def measured(c):
        return 1.0 + 10 * "hcdalbkgeifj".index(c["instance"])

    def mean_best(name):
        found = []
        for seed in range(10):
            problem = Problem(domain, SLOGoal("loss"), seed)
            found.append(min(losses(drive(make_factory(name)(problem), problem, 20, values(measured)))))
        return np.mean(found)

    assert mean_best("gp-ard") < min(mean_best("gp"), mean_best("random-wor"))


def test_a_model_learns_which_configs_fail():
    """Two thirds of the configs crash, and the others get better towards that edge: 10 seeds of 20 trials."""

    def measured(candidate, number):
        if candidate["x"] >= 5:
            return Result(Status.FAILED, reason="start_crash")
        return Result(metrics={"loss": 20.0 - candidate["x"] - 0.1 * candidate["y"]})

    domain = Domain({"a": [{"x": x, "y": y} for x, y in itertools.product(range(15), range(10))]})
    best, failed = {}, {}
    for name in ("random-wor", "gp", "gp-ard"):
        found = []
        for seed in range(10):
            problem = Problem(domain, SLOGoal("loss"), seed=seed)
            found.append(drive(make_factory(name)(problem), problem, 20, measured))
        best[name] = np.mean([min(o.score.values[0] for o in told if o.score.feasible) for told in found])
        failed[name] = np.mean([o.result.status is Status.FAILED for told in found for o in told])
    for name in ("gp", "gp-ard"):
        assert best[name] < best["random-wor"] - 0.2
        assert failed[name] < failed["random-wor"] - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("slos", [(), ("ttft_ms<=30",)])
def test_methods_that_search_a_front_beat_random(slos):
    """3 × 49 configs; what is fast is dear, and the arms pay differently: 20 trials, 5 seeds, the mean hypervolume."""
    grid = [{"x": i, "y": j} for i, j in itertools.product(range(7), repeat=2)]
    domain = Domain({"a": grid, "b": grid, "c": grid})

    def measured(c, number):
        waste = 1 + {"a": 0, "b": 1, "c": 2}[c.arm[0]] + (c["y"] - 2) ** 2 / 4
        return Result(metrics={"usd_per_h": waste * 2.0 ** c["x"], "ttft_ms": waste * 64 / 2.0 ** c["x"]})

    def mean_volume(name):
        out = []
        for seed in range(5):
            problem = Problem(domain, SLOGoal(("usd_per_h", "ttft_ms"), slos), seed)
            told = drive(make_factory(name, 20)(problem), problem, 20, measured)
            values = [o.score.values for o in told if o.score.feasible]
            out.append(hypervolume(np.log(values) if values else np.empty((0, 2)), np.log([700.0, 700.0])))
        return np.mean(out)

    random = mean_volume("random-wor")
    for name in ("gp", "gp-ard", "gp-lcb", "rbf", "cloudbandit:gp"):
        assert mean_volume(name) > random, name
    assert mean_volume("gp-ard") > 1.1 * random


def test_exhaustive_search_is_spread_for_several_objectives_and_in_order_for_one():
    problem = problem_of({"a": 100})
    order = [c["x"] for c in candidates(drive(make_factory("exhaustive")(problem), problem, 100, values(lambda c: 1)))]
    assert order == list(range(100))
    several = Problem(problem.domain, SLOGoal(("usd_per_h", "ttft_ms")))
    told = drive(
        make_factory("exhaustive")(several),
        several,
        100,
        lambda c, n: Result(metrics={"usd_per_h": 1.0, "ttft_ms": 1.0}),
    )
    spread = [c["x"] for c in candidates(told)]
    assert sorted(spread) == order
    for n in (5, 10, 20):
        assert max(np.diff([0, *sorted(spread[:n]), 100])) <= 3 * 100 / n, "no large part is left out"
