"""Every optimizer under every law."""

import pytest

from cloudbandit import CloudBandit, make_factory
from cloudbandit.testing import OptimizerLaws


def _laws(name, *, listed_only=False, trials=16, slow=False):
    class Laws(OptimizerLaws):
        def make(self, problem):
            return make_factory(name, self.trials)(problem)

    Laws.listed_only, Laws.trials = listed_only, trials
    Laws.__name__ = Laws.__qualname__ = "Test" + "".join(part.title() for part in name.replace(":", "-").split("-"))
    return pytest.mark.slow(Laws) if slow else Laws


TestRandom = _laws("random")
TestRandomWor = _laws("random-wor")
TestExhaustive = _laws("exhaustive", listed_only=True)
TestCoordinate = _laws("coordinate", listed_only=True)
TestGp = _laws("gp")
TestGpLcb = _laws("gp-lcb")
TestBanditRandom = _laws("cloudbandit:random")
TestBanditRandomWor = _laws("cloudbandit:random-wor", trials=22)
TestBanditCoordinate = _laws("cloudbandit:coordinate", listed_only=True)
TestBanditGp = _laws("cloudbandit:gp")
TestNestedBandit = _laws("cloudbandit:cloudbandit:random-wor", trials=11)
TestSkopt = _laws("skopt", trials=8, slow=True)
TestSkoptForest = _laws("skopt-forest", trials=7, slow=True)
TestSmac = _laws("smac", trials=7, slow=True)
TestOptuna = _laws("optuna", trials=14, slow=True)
TestBanditOptuna = _laws("cloudbandit:optuna", trials=11, slow=True)
TestBanditSmac = _laws("cloudbandit:smac", trials=8, slow=True)


class TestUncappedBandit(OptimizerLaws):
    """Without a budget the schedule itself is the cap: 11·b₁."""

    trials = 22

    def make(self, problem):
        return CloudBandit(problem, make_factory("random-wor"), initial_pull=2)
