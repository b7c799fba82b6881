"""What the user proposes comes first, is a trial like any other, and resumes like one."""

import threading

import pytest

from cloudbandit import Budget, Candidate, Domain, Quote, Result, SLOGoal, Status, Store, Study, make_factory, minimize
from cloudbandit.core.errors import UsageError
from cloudbandit.core.pools import Serial, Threads

DOMAIN = Domain({arm: [{"x": i} for i in range(6)] for arm in "abc"})
FIRST = [Candidate("b", {"x": 5}), Candidate("b", {"x": 4}), Candidate("b", {"x": 3}), Candidate("c", {"x": 1})]


class Objective:
    def __init__(self, stop_after=99, bad=(), usd=1.0):
        self.left, self.bad, self.usd, self.seen = stop_after, bad, usd, []

    def quote(self, candidate):
        return Quote(self.usd(candidate) if callable(self.usd) else self.usd)

    def evaluate(self, trial, run):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.seen.append(trial.candidate)
        if trial.candidate in self.bad:
            return Result(Status.UNAVAILABLE, reason="no_capacity")
        return Result(metrics={"loss": trial.candidate["x"] + "abc".index(trial.candidate.arm[0])}, spent_usd=0.5)


def study(objective, optimizer="cloudbandit:random-wor", budget=12, enqueue=FIRST, **more):
    return Study(DOMAIN, objective, SLOGoal("loss"), make_factory(optimizer, 12), budget, enqueue=enqueue, **more)


@pytest.mark.parametrize("optimizer", ["random-wor", "gp", "cloudbandit:random-wor"])
def test_proposals_come_first_count_and_are_learnt_from(optimizer):
    report = study(Objective(), optimizer).run()
    asked = [o.candidate for o in report.observations]
    assert asked[:4] == FIRST
    assert [o.trial.number for o in report.observations] == list(range(12))
    assert report.evaluations == len(set(asked)) == 12, "nothing is asked again"
    if optimizer.startswith("cloudbandit"):
        assert {o.arm for o in report.observations} == set("abc"), "more of one arm than its pull ends no other's"


@pytest.mark.parametrize("optimizer", ["gp", "cloudbandit:random-wor"])
def test_the_resume_law_holds_at_every_cut(tmp_path, optimizer):
    bad = (FIRST[1],)
    whole = [o.trial for o in study(Objective(bad=bad), optimizer).run().observations]
    for cut in (1, 2, len(FIRST), 9):  # among the proposals, one of them given back, and after
        with Store(tmp_path / f"{cut}.db") as store:
            arguments = Objective(bad=bad), optimizer, Budget(trials=12, usd=99.0)
            told = []

            def stop(observation, told=told, cut=cut):
                told.append(observation)
                if len(told) == cut:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                study(*arguments, store=store, on_trial=stop).run()
            report = study(*arguments, store=store).run()
            assert [o.trial for o in report.observations] == whole, cut
            assert report.restored == cut


def test_a_proposal_in_flight_is_told_before_the_optimizer_is_asked():
    """Nobody told it what is pending, so it could ask for the same."""
    told_when_asked = []

    class Optimizer:
        def __init__(self, problem):
            self.told, self.open = [], list(problem.domain.candidates)

        def ask(self, n=1):
            told_when_asked.append(len(self.told))
            return [self.open.pop()]

        def tell(self, observations):
            self.told += observations

    gate = threading.Barrier(3)

    class Together(Objective):
        def evaluate(self, trial, run):
            if trial.number < 3:
                gate.wait(5)
            return super().evaluate(trial, run)

    pool = Threads(3)
    Study(DOMAIN, Together(), SLOGoal("loss"), Optimizer, 8, pool=pool, enqueue=FIRST).run()
    pool.close()
    assert told_when_asked[0] == len(FIRST)


def test_a_proposal_that_is_too_dear_is_passed_over():
    objective = Objective(usd=lambda c: 50.0 if c == FIRST[0] else 1.0)
    report = study(objective, budget=Budget(trials=6, usd=20.0)).run()
    assert [o.candidate for o in report.observations][:3] == FIRST[1:]
    assert report.evaluations == 6


def test_more_may_be_proposed_when_a_study_is_resumed(tmp_path):
    with Store(tmp_path / "s.db") as store:
        study(Objective(), budget=5, enqueue=FIRST[:2], store=store).run()
        report = study(Objective(), budget=9, store=store).run()
    later = [o.candidate for o in report.observations][5:]
    missing = [c for c in FIRST if c not in [o.candidate for o in report.observations][:5]]
    assert later[: len(missing)] == missing


def test_a_proposal_outside_the_domain_is_refused_before_the_first_trial():
    with pytest.raises(UsageError, match="lies outside the domain"):
        study(Objective(), enqueue=[Candidate("a", {"x": 99})], pool=Serial())
    with pytest.raises(UsageError, match=r"cure: Candidate\(arm, config\)"):
        minimize(lambda c: 1.0, DOMAIN, 3, enqueue=[{"x": 1}])


def test_minimize_takes_a_proposal_and_says_what_happens(capsys):
    seen = []
    arguments = {"optimizer": "random-wor", "enqueue": [{"x": 7}], "on_trial": seen.append}
    report = minimize(lambda c: float(c["x"]), [{"x": i} for i in range(9)], 5, **arguments)
    assert seen == list(report.observations)
    assert seen[0].candidate["x"] == 7
    assert capsys.readouterr() == ("", ""), "no terminal, no progress"
    minimize(lambda c: float(c["x"]), [{"x": i} for i in range(9)], 5, optimizer="random-wor", progress=True)
    assert "5 run, 0 failed, best value" in capsys.readouterr().err
