"""Every optimizer under every law."""

from dataclasses import replace

import pytest

from cloudbandit import CloudBandit, Result, Status, make_factory
from cloudbandit.core.errors import UsageError
from cloudbandit.optimizers.coordinate import CoordinateDescent
from cloudbandit.optimizers.donors import PriceOrder
from cloudbandit.optimizers.gp import GPOptimizer
from cloudbandit.optimizers.registry import all_names, history_of, objectives_of
from cloudbandit.optimizers.scoot import Scoot
from cloudbandit.testing import OptimizerLaws, toy_value
from cloudbandit.testing.problems import TWO, drive, listed_problem, observe


def _equipped(problem, name):
    """With what the method must know beforehand: list prices, and other workloads or the answer."""
    kind = history_of(name)
    if not problem.domain.enumerable:
        return problem
    told = [observe(problem, c, i) for i, c in enumerate(problem.domain.candidates)]
    last = toy_value(told[-1].candidate)
    shifted = [
        observe(problem, c, i, lambda c, i: toy_value(c) if i % 7 else last)
        for i, c in enumerate(problem.domain.candidates)
    ]
    history = {"others": {"w1": told, "w2": shifted}, "itself": {"w": told}, "": {}}[kind]
    return replace(problem, history=history, facts=lambda c: {"price_usd_per_h": float(len(c.key) % 5)})


def _laws(name, *, listed_only=False, trials=16, slow=False):
    class Laws(OptimizerLaws):
        def make(self, problem):
            return make_factory(name, self.trials)(_equipped(problem, name))

    Laws.listed_only, Laws.trials, Laws.law_of = listed_only, trials, name
    Laws.__name__ = Laws.__qualname__ = "Test" + "".join(part.title() for part in name.replace(":", "-").split("-"))
    return pytest.mark.slow(Laws) if slow else Laws


TestRandom = _laws("random")
TestRandomWor = _laws("random-wor")
TestExhaustive = _laws("exhaustive", listed_only=True)
TestCoordinate = _laws("coordinate", listed_only=True)
TestGp = _laws("gp", slow=True)
TestGpArd = _laws("gp-ard", slow=True)
TestJoint = _laws("joint", slow=True)
TestJointForest = _laws("joint-forest", trials=9, slow=True)
TestGpLcb = _laws("gp-lcb", slow=True)
TestGpX3 = _laws("gp-x3", slow=True)
TestCherrypick = _laws("cherrypick", slow=True)
TestCherrypickStop = _laws("cherrypick-stop", slow=True)
TestCherrypickX3 = _laws("cherrypick-x3", slow=True)
TestRbf = _laws("rbf", slow=True)
TestRisingBandits = _laws("rising-bandits", trials=20, slow=True)
TestNsga2 = _laws("nsga2")
TestGrid = _laws("grid")
TestLinear = _laws("linear", listed_only=True)
TestPriceOrder = _laws("price-order", listed_only=True)
TestPortfolio = _laws("portfolio", listed_only=True)
TestOracle = _laws("oracle", listed_only=True)
TestBanditRbf = _laws("cloudbandit:rbf", slow=True)
TestBanditRandom = _laws("cloudbandit:random")
TestBanditRandomWor = _laws("cloudbandit:random-wor", trials=22)
TestBanditCoordinate = _laws("cloudbandit:coordinate", listed_only=True)
TestBanditGp = _laws("cloudbandit:gp", slow=True)
TestBanditGpArd = _laws("cloudbandit:gp-ard", slow=True)
TestBanditJoint = _laws("cloudbandit:joint", slow=True)
TestNestedBandit = _laws("cloudbandit:cloudbandit:random-wor", trials=11, slow=True)
TestSkopt = _laws("skopt", trials=8, slow=True)
TestSkoptForest = _laws("skopt-forest", trials=7, slow=True)
TestSmac = _laws("smac", trials=7, slow=True)
TestOptuna = _laws("optuna", trials=14, slow=True)
TestHyperopt = _laws("hyperopt", trials=13, slow=True)
TestBilal = _laws("bilal", trials=6, slow=True)
TestBilalX3 = _laws("bilal-x3", trials=6, slow=True)
TestForest = _laws("forest", listed_only=True, trials=8, slow=True)
TestBanditHyperopt = _laws("cloudbandit:hyperopt", trials=11, slow=True)
TestBanditOptuna = _laws("cloudbandit:optuna", trials=11, slow=True)
TestBanditSmac = _laws("cloudbandit:smac", trials=8, slow=True)


@pytest.mark.slow
class TestScoot(OptimizerLaws):
    """With a small population: the laws do not ask how good it is."""

    trials, law_of = 8, "scoot"

    def make(self, problem):
        return Scoot(problem, initial=4, population=6, generations=2)


class TestUncappedBandit(OptimizerLaws):
    """Without a budget the schedule itself is the cap: 11·b₁."""

    trials = 22

    def make(self, problem):
        return CloudBandit(problem, make_factory("random-wor"), initial_pull=2)


class TestSingleArm(OptimizerLaws):
    """A control that searches one arm: what it leaves unasked in the others is its point."""

    listed_only = True

    def make(self, problem):
        return make_factory("single-arm", self.trials)(_equipped(problem, "single-arm"))

    def test_an_unavailable_arm_rests(self):
        """Its only arm resting, it is finished."""
        problem = self.problems()[0]
        optimizer = self.make(problem)
        told = drive(optimizer, problem, 8, lambda c, n: Result(Status.UNAVAILABLE))
        assert len(told) == 3
        assert len({o.arm for o in told}) == 1
        assert optimizer.ask(1) == []


def test_every_named_method_is_held_to_the_laws():
    held = {cls.law_of for cls in globals().values() if hasattr(cls, "law_of")}
    skipped = {"single-arm", "cloudbandit:skopt", "cloudbandit:random", "cloudbandit:random-wor"}
    assert set(all_names()) - held - skipped == set()


@pytest.mark.parametrize("name", all_names())
def test_two_objectives_are_refused_by_name_before_the_first_trial_or_searched(name):
    problem = _equipped(listed_problem(0, TWO), name)
    if objectives_of(name) == "several":
        assert make_factory(name, 16)(problem).ask(1)
        return
    with pytest.raises(
        UsageError, match=rf"{name.removeprefix('cloudbandit:')} aims at one.*cost_usd, output_tok_per_s.*gp-ard"
    ):
        make_factory(name, 16)(problem)


def test_a_class_that_aims_at_one_objective_refuses_several():
    for made in (CoordinateDescent, PriceOrder):
        assert made.objectives == "one"
        with pytest.raises(UsageError, match="aims at one objective"):
            made(listed_problem(0, TWO))
    with pytest.raises(UsageError, match="stop is a rule for one objective"):
        GPOptimizer(listed_problem(0, TWO), stop=0.1)
