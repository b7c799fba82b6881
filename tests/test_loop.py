"""The loop under bad luck: what was paid for is kept, what can be used is used, and it never waits for what will not come."""

import logging

import pytest

from cloudbandit import Budget, Candidate, Domain, Quote, Result, SLOGoal, Status, Store, Study, make_factory
from cloudbandit.core.pools import Serial, Simulated, Threads
from cloudbandit.core.protocols import Outcome
from cloudbandit.core.record import StudyRecord

GOAL = SLOGoal("loss")


def domain(arms="ab", size=8):
    return Domain({arm: [{"x": i} for i in range(size)] for arm in arms})


class Priced:
    """Costs what ``price(candidate)`` says, and holds that much."""

    def __init__(self, price=lambda c: 1.0, verdict=None, spent=1.0):
        self.price, self.verdict, self.spent = price, verdict, spent

    def quote(self, candidate):
        return Quote(self.price(candidate))

    def evaluate(self, trial, run):
        if self.verdict is not None:
            return self.verdict(trial)
        spent = self.price(trial.candidate) * self.spent
        return Result(metrics={"loss": 1.0 + trial.candidate["x"]}, spent_usd=spent, seconds=10.0)


def study(objective, budget, optimizer="random-wor", space=None, **options):
    return Study(space or domain(), objective, GOAL, make_factory(optimizer), budget, **options)


# ── an outcome already taken is never awaited ──


class Refusing(StudyRecord):
    """Cannot write the result of some trials."""

    refused: tuple[int, ...] = ()

    def finish(self, trial, result, clock_s):
        if trial.number in self.refused:
            raise OSError("disk full")
        super().finish(trial, result, clock_s)


@pytest.mark.parametrize("pool", [Serial, lambda: Threads(3), lambda: Simulated(3)])
def test_a_store_that_refuses_once_ends_the_study_and_the_result_is_in_the_traceback(
    tmp_path, monkeypatch, caplog, pool
):
    monkeypatch.setattr(Refusing, "refused", (1,))
    monkeypatch.setattr("cloudbandit.core.store.StudyRecord", Refusing)
    running = pool()
    with Store(tmp_path / "s.db") as store:
        with pytest.raises(OSError, match="disk full") as caught, caplog.at_level(logging.ERROR):
            study(Priced(), 9, store=store, pool=running).run()
        kept = [t.trial.number for t in store.trials("study")]
    running.close()
    assert 0 in kept
    assert 1 not in kept
    assert any("trial 1" in note and '"loss"' in note for note in caught.value.__notes__)
    assert '"loss"' in caplog.text


class TwoAtOnce(Simulated):
    """Hands over everything that runs at once; the first outcome is a bug."""

    def wait(self):
        done = [Simulated.wait(self)[0] for _ in range(len(self._running))]
        return [Outcome(done[0].trial, error=ZeroDivisionError("first")), *done[1:]]


def test_the_second_of_two_outcomes_is_recorded_when_the_first_raises(tmp_path):
    with Store(tmp_path / "s.db") as store:
        with pytest.raises(ZeroDivisionError):
            study(Priced(), 9, store=store, pool=TwoAtOnce(2)).run()
        assert [t.result.status for t in store.trials("study")] == [Status.LOST, Status.OK]


# ── finishing is idempotent ──


class Interrupted(StudyRecord):
    """Ctrl-C arrives right after a result was committed."""

    def finish(self, trial, result, clock_s):
        super().finish(trial, result, clock_s)
        if trial.number == 2 and result.status is Status.OK:
            raise KeyboardInterrupt


@pytest.mark.parametrize("pool", [Serial, lambda: Threads(2)])
def test_ctrl_c_after_the_commit_does_not_overwrite_a_paid_result(tmp_path, monkeypatch, pool):
    monkeypatch.setattr("cloudbandit.core.store.StudyRecord", Interrupted)
    running = pool()
    with Store(tmp_path / "s.db") as store:
        with pytest.raises(KeyboardInterrupt):
            study(Priced(), 9, store=store, pool=running).run()
        third = next(t for t in store.trials("study") if t.trial.number == 2)
    running.close()
    assert third.result.status is Status.OK
    assert third.spent_usd == 1.0


def test_a_finished_row_is_never_rewritten(tmp_path):
    with Store(tmp_path / "s.db") as store:
        study(Priced(), 2, store=store).run()
        before = store.trials("study")
        record = store.open("study", store.identity("study"))
        record.finish(before[0].trial, Result(Status.INTERRUPTED, spent_usd=9.0), 0.0)
        record.close()
        assert store.trials("study") == before


# ── money that is left is used ──


def test_a_candidate_dearer_than_what_is_left_is_set_aside():
    objective = Priced(lambda c: 5.0 if c.arm == ("a",) else 1.0)
    report = study(objective, Budget(usd=8.0), "exhaustive").run()
    arms = [o.arm for o in report.observations]
    assert arms == ["a", "b", "b", "b"], "after 5 of 8 USD the arm b still fits"
    assert report.stop_reason == "usd"
    assert report.stop_note == "0 USD are left, and the cheapest trial would hold 1"
    assert report.spent_usd == 8.0


def test_nothing_fits_is_said_with_figures():
    report = study(Priced(lambda c: 2.0 + c["x"]), Budget(usd=1.5)).run()
    assert (report.stop_reason, report.evaluations) == ("usd", 0)
    assert report.stop_note == "1.5 USD are left, and the cheapest trial would hold 2"


@pytest.mark.parametrize("name", ["random", "random-wor", "gp", "cloudbandit:random-wor"])
def test_all_that_fits_is_used_whatever_is_asked_first(name):
    """One cheap config among fifteen dear ones, on a budget that pays for it alone."""
    objective = Priced(lambda c: 1.0 if c == Candidate("b", {"x": 3}) else 50.0)
    report = study(objective, Budget(usd=1.0), name).run()
    assert [o.candidate for o in report.observations] == [Candidate("b", {"x": 3})]
    assert report.spent_usd <= 1.0


def test_what_was_set_aside_is_no_trial(tmp_path):
    objective = Priced(lambda c: 5.0 if c.arm == ("a",) else 1.0)
    with Store(tmp_path / "s.db") as store:
        study(objective, Budget(usd=8.0), "exhaustive", store=store).run()
        assert len(store.trials("study")) == 4
        more = study(objective, Budget(usd=14.0), "exhaustive", store=store).run()
    assert [o.arm for o in more.observations] == ["a", "b", "b", "b", "a", "b"]


# ── waiting for what rests ──


def sold_out(until):
    return lambda t: Result(Status.UNAVAILABLE) if t.number < until else Result(metrics={"loss": 1.0}, seconds=10.0)


def test_when_everything_rests_the_study_waits_and_asks_once_more():
    report = study(Priced(verdict=sold_out(6)), 5, pool=Simulated(), wait_s=300.0).run()
    assert report.stop_reason == "trials"
    assert report.evaluations == 5
    assert report.elapsed_s == pytest.approx(300.0 + 50.0)


def test_and_stops_as_unavailable_when_that_fails_too():
    report = study(Priced(verdict=sold_out(99)), 5, pool=Simulated(), wait_s=300.0).run()
    assert report.stop_reason == "unavailable"
    assert len(report.observations) == 7
    assert report.observations[-1].arm == report.observations[0].arm or report.observations[-1].arm in ("a", "b")


def test_a_budget_of_seconds_is_not_waited_away():
    report = study(Priced(verdict=sold_out(99)), Budget(seconds=100.0), pool=Simulated(), wait_s=300.0).run()
    assert (report.stop_reason, len(report.observations)) == ("unavailable", 6)


def test_waiting_resumes_where_it_stopped(tmp_path):
    with Store(tmp_path / "s.db") as store:
        options = {"store": store, "wait_s": 0.0}
        first = study(Priced(verdict=sold_out(99)), 5, pool=Simulated(), **options).run()
        again = study(Priced(verdict=sold_out(7)), 5, pool=Simulated(), **options).run()
    assert first.stop_reason == "unavailable"
    assert (again.stop_reason, again.evaluations) == ("trials", 5)


# ── clocks and overruns ──


def test_a_pools_clock_starts_with_the_study_that_uses_it():
    pool = Simulated()
    first = study(Priced(), Budget(seconds=35), pool=pool).run()
    second = study(Priced(), Budget(seconds=35), pool=pool).run()
    assert first.elapsed_s == second.elapsed_s == 40.0
    assert second.evaluations == 4


def test_overruns_of_all_runs_count(tmp_path):
    with Store(tmp_path / "s.db") as store:
        study(Priced(spent=1.5), 2, store=store).run()
        report = study(Priced(spent=1.5), 4, store=store).run()
    assert report.overrun_usd == pytest.approx(2.0)
    assert report.restored == 2
