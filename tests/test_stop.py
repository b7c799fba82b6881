"""A rule beside the budget: asked before each trial and while one runs."""

from dataclasses import dataclass

import numpy as np
import pytest

from cloudbandit import Candidate, Domain, Result, SLOGoal, Status, Store, Study, make_factory
from cloudbandit.core.errors import StudyMismatchError
from cloudbandit.core.pools import Simulated, Threads
from cloudbandit.core.protocols import Quote
from cloudbandit.core.stop import Belief, Stop
from cloudbandit.optimizers.random_search import RandomWithoutReplacement

DOMAIN = Domain({"a": [{"x": x} for x in range(12)]})
GOAL = SLOGoal("cost_usd")


class Sweeps:
    """A trial in three steps, each reported; it ends as STOPPED where the study says it is hopeless."""

    def __init__(self):
        self.steps = 0

    def quote(self, candidate):
        return Quote(usd=0.5 + candidate["x"])

    def evaluate(self, trial, run):
        cost = 1.0 + trial.candidate["x"]
        for step in (1, 2, 3):
            self.steps += 1
            if step < 3 and not run.report({"cost_usd": cost * step / 3}):
                status = Status.INTERRUPTED if run.cancelled else Status.STOPPED
                return Result(status, {"cost_usd": cost * step / 3}, spent_usd=0.1, seconds=step, reason="hopeless")
        return Result(metrics={"cost_usd": cost}, spent_usd=0.3, seconds=3.0)


@dataclass(frozen=True)
class After(Stop):
    """Stops after n trials, and notes what it was asked."""

    trials: int

    def why(self, problem, budget, observations, next_quote, belief):
        asked.append((len(observations), next_quote.usd, budget.trials, problem.goal, belief))
        return "enough" if len(observations) >= self.trials else ""


class Hopeless(Stop):
    """A trial is hopeless when it costs more by now than the best did in the end."""

    def why(self, problem, budget, observations, next_quote, belief):
        return ""

    def hopeless(self, trial, partial, observations):
        best = min((o.result.metrics["cost_usd"] for o in observations if o.result.status == "ok"), default=np.inf)
        return partial["cost_usd"] > best


asked = []


@pytest.fixture(autouse=True)
def _nothing_asked():
    asked.clear()


def test_the_rule_is_asked_before_each_trial_and_its_reason_is_the_reports():
    report = Study(DOMAIN, Sweeps(), GOAL, make_factory("random-wor"), 10, stop=After(4)).run()
    assert (report.stop_reason, report.evaluations) == ("enough", 4)
    assert [n for n, *_ in asked] == [0, 1, 2, 3, 4]
    assert [usd for _, usd, *_ in asked[:4]] == [0.5 + o.candidate["x"] for o in report.observations]
    assert asked[0][2:] == (10, GOAL, None)


@pytest.mark.parametrize("pool", [Simulated(3), Threads(3)])
def test_what_is_in_flight_when_it_says_stop_is_finished_and_nothing_more_is_begun(pool):
    report = Study(DOMAIN, Sweeps(), GOAL, make_factory("random-wor"), 12, pool=pool, stop=After(3)).run()
    pool.close()
    assert report.stop_reason == "enough"
    assert 3 <= report.evaluations <= 5


def test_the_budget_stops_a_study_whatever_the_rule_says():
    report = Study(DOMAIN, Sweeps(), GOAL, make_factory("random-wor"), 2, stop=After(99)).run()
    assert (report.stop_reason, report.evaluations) == ("trials", 2)


def test_a_resumed_study_stops_where_it_would_have_and_under_no_other_rule(tmp_path):
    def run(stop):
        with Store(tmp_path / "s.db") as store:
            return Study(DOMAIN, Sweeps(), GOAL, make_factory("random-wor"), 10, store=store, stop=stop).run()

    first = run(After(4))
    asked.clear()
    again = run(After(4))
    assert [o.candidate for o in again.observations] == [o.candidate for o in first.observations]
    assert again.stop_reason == "enough"
    assert len(asked) == 1
    for other in (After(5), Hopeless(), None):
        with pytest.raises(StudyMismatchError, match="stop"):
            run(other)


def test_a_hopeless_trial_ends_as_stopped():
    objective = Sweeps()
    report = Study(DOMAIN, objective, GOAL, make_factory("exhaustive"), 12, stop=Hopeless()).run()
    status = [o.result.status for o in report.observations]
    assert status[0] is Status.OK
    assert Status.STOPPED in status
    assert objective.steps < 3 * 12
    assert report.incumbent.candidate == Candidate("a", {"x": 0})
    stopped = [o for o in report.observations if o.result.status is Status.STOPPED]
    assert all(o.score.rank == 1 for o in stopped)  # never an answer
    assert sum(o.result.spent_usd for o in report.observations) == pytest.approx(report.spent_usd)


def test_a_rule_that_raises_is_a_bug_and_loses_no_trial(tmp_path):
    class Broken(Hopeless):
        def hopeless(self, trial, partial, observations):
            if observations:
                raise ZeroDivisionError
            return False

    with Store(tmp_path / "s.db") as store:
        study = Study(DOMAIN, Sweeps(), GOAL, make_factory("exhaustive"), 12, store=store, stop=Broken())
        with pytest.raises(ZeroDivisionError):
            study.run()
        assert [t.result.status for t in store.trials("study")] == [Status.OK, Status.LOST]


def test_the_rule_is_told_what_the_optimizer_believes():
    class Sure(RandomWithoutReplacement):
        def belief(self):
            n = len(self.domain)
            return Belief(self.domain.candidates, np.zeros(n), np.ones(n), {"a": 1.0}, 0.5, 0.25)

    Study(DOMAIN, Sweeps(), GOAL, Sure, 10, stop=After(1)).run()
    assert [belief.expected_gain for *_, belief in asked] == [0.25, 0.25]
