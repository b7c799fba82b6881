import threading
import time

import pytest

from cloudbandit import (
    Budget,
    Candidate,
    Domain,
    Listing,
    Quote,
    Result,
    SLOGoal,
    Status,
    Store,
    Study,
    make_factory,
    minimize,
)
from cloudbandit.core.budget import Ledger
from cloudbandit.core.errors import BudgetError, OptimizerError, StudyMismatchError, UsageError
from cloudbandit.core.pools import Serial, Simulated, Threads


class Objective:
    """Value x; spends half of what it quotes."""

    def __init__(self, verdict=None, quote=1.0):
        self.verdict, self._quote = verdict, quote
        self.evaluated = []
        self.lock = threading.Lock()

    def quote(self, candidate):
        return Quote(self._quote)

    def evaluate(self, trial, run):
        with self.lock:
            self.evaluated.append(trial)
        if self.verdict:
            return self.verdict(trial)
        return Result(metrics={"loss": float(trial.candidate["x"])}, spent_usd=self._quote / 2, seconds=10.0)


def domain(arms="abc", size=12):
    return Domain({arm: Listing({"x": i} for i in range(size)) for arm in arms})


def study(objective, budget, optimizer="random-wor", **kwargs):
    space = kwargs.pop("domain", None) or domain()
    return Study(space, objective, SLOGoal("loss"), make_factory(optimizer, None), budget, **kwargs)


# ── stopping ──


def test_stops_on_trials_usd_seconds_and_when_finished():
    assert study(Objective(), 5).run().stop_reason == "trials"
    report = study(Objective(), Budget(usd=3.0)).run()
    assert report.stop_reason == "usd"
    assert report.spent_usd == 2.5, "five trials at 0.50; a sixth would hold 1.00 of the 0.50 left"
    report = study(Objective(), Budget(seconds=35), pool=Simulated()).run()
    assert (report.stop_reason, report.evaluations, report.elapsed_s) == ("seconds", 4, 40.0)
    assert study(Objective(), 99).run().stop_reason == "finished"


def test_a_budget_must_limit_something():
    with pytest.raises(BudgetError, match=r"got none.*Budget\(trials=33\)"):
        Budget()
    for broken in ({"trials": 0}, {"usd": -1.0}, {"seconds": float("nan")}):
        with pytest.raises(BudgetError, match="finite number > 0"):
            Budget(**broken)


def test_unavailable_everywhere_stops_the_study():
    report = study(Objective(lambda t: Result(Status.UNAVAILABLE)), 9, wait_s=0.0).run()
    assert report.stop_reason == "unavailable"
    assert report.incumbent is None
    assert report.evaluations == 0


def test_interruptions_without_end_stop_the_study():
    report = study(Objective(lambda t: Result(Status.INTERRUPTED)), 9).run()
    assert report.stop_reason == "no_progress"
    assert len(report.observations) == 30


def test_given_back_trials_do_not_count():
    report = study(Objective(lambda t: Result(Status.LOST) if t.number % 2 else Result(metrics={"loss": 1.0})), 5).run()
    assert report.evaluations == 5
    assert len(report.observations) == 9


# ── the answer ──


def test_the_incumbent_is_feasible_and_best():
    def verdict(trial):
        x = trial.candidate["x"]
        if x == 0:
            return Result(Status.FAILED)
        return Result(metrics={"loss": float(x), "ttft_ms": 5.0 if x > 3 else 50.0})

    goal = SLOGoal("loss", ("ttft_ms<=10",))
    report = Study(domain(), Objective(verdict), goal, make_factory("exhaustive"), 99).run()
    assert report.incumbent.candidate == Candidate("a", {"x": 4})
    assert report.least_violating is None
    frame = report.to_frame()
    assert len(frame) == 36
    assert set(frame["status"]) == {"ok", "failed"}
    assert frame.loc[frame["feasible"], "loss"].min() == 4.0
    nothing = Study(
        domain(), Objective(verdict), SLOGoal("loss", ("ttft_ms<=1",)), make_factory("exhaustive"), 99
    ).run()
    assert nothing.incumbent is None
    assert nothing.least_violating.candidate["x"] == 4
    assert nothing.trajectory[-1] == (36, None)


def test_replicates_are_counted():
    objective = Objective()
    study(objective, 12, "random", domain=domain("a", 2)).run()
    first = [t for t in objective.evaluated if t.candidate["x"] == 0]
    assert [t.replicate for t in first] == list(range(len(first)))
    assert len({t.seed for t in objective.evaluated}) == 12


# ── bugs ──


def test_a_bug_stops_the_study_is_recorded_and_settled(tmp_path):
    def verdict(trial):
        if trial.number == 3:
            raise ZeroDivisionError("oops")
        return Result(metrics={"loss": 1.0}, spent_usd=0.25)

    with Store(tmp_path / "s.db") as store:
        with pytest.raises(ZeroDivisionError) as caught:
            study(Objective(verdict), 9, store=store).run()
        assert "trial 3" in caught.value.__notes__[0]
        trials = store.trials("study")
        assert [t.result.status for t in trials] == ["ok", "ok", "ok", "lost"]
        assert trials[3].result.reason == "bug"
        assert "oops" in trials[3].result.error
        assert trials[3].spent_usd == 1.0, "the whole hold"
        assert store.in_flight("study") == []


@pytest.mark.parametrize("wrong", [Result(metrics={"other": 1.0}), None, "text"])
def test_a_result_that_cannot_be_judged_is_a_bug(wrong):
    with pytest.raises(Exception, match=r"minimises|must return a Result") as caught:
        study(Objective(lambda t: wrong), 3).run()
    assert caught.value


def test_a_bug_in_a_thread_lets_the_others_end(tmp_path):
    def verdict(trial):
        if trial.number == 0:
            raise RuntimeError("bug")
        time.sleep(0.2)
        return Result(metrics={"loss": 1.0}, spent_usd=0.25)

    pool = Threads(4)
    with Store(tmp_path / "s.db") as store:
        with pytest.raises(RuntimeError):
            study(Objective(verdict), 9, store=store, pool=pool).run()
        assert sorted(t.result.status for t in store.trials("study")) == ["lost", "ok", "ok", "ok"]
        assert store.in_flight("study") == []
    pool.close()


def test_an_optimizer_that_leaves_the_domain_is_named():
    class Stray:
        def __init__(self, problem): ...
        def ask(self, n=1):
            return [Candidate("a", {"x": 99})]

        def tell(self, observations): ...

    with pytest.raises(OptimizerError, match=r"Stray asked for .*x=99.* outside the domain: .*not one of"):
        Study(domain(), Objective(), SLOGoal("loss"), Stray, 3).run()


def test_a_callback_that_raises_loses_nothing(tmp_path):
    def broken(observation):
        raise KeyError("callback")

    with Store(tmp_path / "s.db") as store:
        with pytest.raises(KeyError):
            study(Objective(), 9, store=store, on_trial=broken).run()
        assert len(store.trials("study")) == 1


# ── money ──


def test_spent_plus_held_never_exceeds_the_cap():
    cap, peak = 5.0, []

    class Watched(Ledger):
        def hold(self, number, usd):
            done = super().hold(number, usd)
            peak.append(self.spent_usd + self.held_usd)
            return done

    import cloudbandit.core.loop as module

    original, module.Ledger = module.Ledger, Watched
    pool = Threads(6)
    try:
        slow = Objective(
            lambda t: time.sleep(0.01) or Result(metrics={"loss": 1.0}, spent_usd=0.1 + 0.8 * (t.number % 2))
        )
        report = study(slow, Budget(usd=cap), pool=pool).run()
    finally:
        module.Ledger = original
        pool.close()
    assert max(peak) <= cap + 1e-9
    assert max(peak) > 4.0, "four or more were in flight"
    assert report.spent_usd <= cap
    assert report.stop_reason == "usd"


def test_the_ledger_is_strict():
    ledger = Ledger(2.0)
    assert ledger.hold(0, 1.5)
    assert not ledger.hold(1, 0.6)
    with pytest.raises(BudgetError, match="already holds"):
        ledger.hold(0, 0.1)
    with pytest.raises(BudgetError, match="finite"):
        ledger.hold(2, float("nan"))
    ledger.settle(0, 1.8)
    assert ledger.overrun_usd == pytest.approx(0.3)
    assert ledger.spent_usd == 1.8
    ledger = Ledger(2.0)
    ledger.restore(0.5, 0.25)
    assert not ledger.hold(0, 1.3)
    assert ledger.hold(0, 1.0)
    ledger.settle(0, 0.5, 0.25)
    assert ledger.spent_usd == 1.5
    assert ledger.overrun_usd == 0


def test_what_hosts_cost_counts_against_the_cap_and_survives_a_resume(tmp_path):
    def run(trials):
        with Store(tmp_path / "s.db") as store:
            paid = Objective(lambda t: Result(metrics={"loss": 1.0}, spent_usd=0.25, hosts_usd=0.5))
            return study(paid, Budget(trials=trials, usd=4.0), store=store).run()

    first, second = run(2), run(9)
    assert (first.trials_usd, first.hosts_usd, first.spent_usd) == (0.5, 1.0, 1.5)
    assert second.stop_reason == "usd"
    assert second.spent_usd == second.trials_usd + second.hosts_usd <= 4.0
    assert second.to_frame()["hosts_usd"].tolist() == [0.5] * len(second.observations)


# ── pools ──


def test_simulated_workers_overlap_in_virtual_time():
    report = study(Objective(), 8, pool=Simulated(4)).run()
    assert report.elapsed_s == 20.0, "eight trials of 10 s on four workers"


@pytest.mark.parametrize("pool", [Serial(), Simulated(1)])
def test_one_worker_gives_the_same_study_on_every_pool(pool):
    one = study(Objective(), 9, "gp").run()
    two = study(Objective(), 9, "gp", pool=pool).run()
    assert [o.candidate for o in one.observations] == [o.candidate for o in two.observations]


def test_threads_run_at_once():
    barrier = threading.Barrier(4, timeout=10)
    pool = Threads(4)
    report = study(Objective(lambda t: (barrier.wait() and None) or Result(metrics={"loss": 1.0})), 8, pool=pool).run()
    pool.close()
    assert report.evaluations == 8
    with pytest.raises(UsageError, match="at least one worker"):
        Threads(0)


def test_ctrl_c_leaves_a_resumable_study(tmp_path):
    def verdict(trial):
        if trial.number == 4 and not resumed:
            raise KeyboardInterrupt
        return Result(metrics={"loss": float(trial.candidate["x"])}, spent_usd=0.5)

    resumed = False
    with Store(tmp_path / "s.db") as store:
        with pytest.raises(KeyboardInterrupt):
            study(Objective(verdict), 9, store=store).run()
        assert [t.result.status for t in store.trials("study")][-1] == "interrupted"
        resumed = True
        report = study(Objective(verdict), 9, store=store).run()
    assert report.evaluations == 9
    assert report.spent_usd == 9 * 0.5 + 1.0


def test_ctrl_c_in_threads_waits_for_what_is_in_flight(tmp_path):
    started, stopping = threading.Event(), []

    class Slow(Objective):
        def evaluate(self, trial, run):
            started.set()
            while not run.cancelled:
                time.sleep(0.005)
            stopping.append(trial.number)
            return Result(metrics={"loss": 1.0}, spent_usd=0.5)

    class Interrupted(Threads):
        def wait(self):
            if not stopping:
                started.wait(5)
                stopping.append("ctrl-c")
                raise KeyboardInterrupt
            return super().wait()

    pool = Interrupted(3)
    with Store(tmp_path / "s.db") as store:
        with pytest.raises(KeyboardInterrupt):
            study(Slow(), 9, store=store, pool=pool).run()
        assert [t.result.status for t in store.trials("study")] == ["ok"] * 3, "paid for, so kept"
    pool.close()


# ── the one-liner ──


def test_minimize_finds_the_minimum():
    report = minimize(
        lambda c: (c["x"] - 7) ** 2 + {"a": 0, "b": 5}[c.arm[0]], {"a": [{"x": i} for i in range(30)], "b": [{"x": 7}]}
    )
    assert report.incumbent.candidate == Candidate("a", {"x": 7})


def test_minimize_on_a_continuous_space_with_conditions():
    import ConfigSpace as CS

    space = CS.ConfigurationSpace({"lr": CS.UniformFloatHyperparameter("lr", 1e-4, 1.0, log=True)})
    report = minimize(lambda c: abs(c["lr"] - 0.01), space, 30, optimizer="gp", seed=1)
    best = report.incumbent.result.metrics["value"]
    drawn = minimize(lambda c: abs(c["lr"] - 0.01), space, 30, optimizer="random-wor", seed=1)
    assert best < 0.003
    assert best <= drawn.incumbent.result.metrics["value"]


def test_minimize_with_several_metrics_threads_and_a_store(tmp_path):
    def run(calls):
        return minimize(
            lambda c: calls.append(c) or {"cost_usd": float(c["x"]), "ttft_ms": 10.0 - c["x"]},
            {"a": [{"x": i} for i in range(10)]},
            10,
            optimizer="exhaustive",
            goal=SLOGoal("cost_usd", ("ttft_ms<=5",)),
            workers=3,
            store=str(tmp_path / "m.db"),
        )

    first, again = [], []
    assert run(first).incumbent.candidate["x"] == 5
    assert run(again).incumbent.candidate["x"] == 5
    assert len(first) == 10
    assert again == [], "everything was in the store"


@pytest.mark.parametrize("value", [float("nan"), "fast", None])
def test_minimize_refuses_what_is_no_number(value):
    with pytest.raises(UsageError, match=r"must return a finite number|finite numbers only"):
        minimize(lambda c: value, [{"x": 1}], 1, optimizer="exhaustive")


# ── what a resumed study must agree on where it is known ──


def test_an_edited_objective_does_not_return_old_numbers(tmp_path):
    def first(candidate):
        return float(candidate["x"])

    def first_again(candidate):
        return float(candidate["x"])  # a comment

    def edited(candidate):
        return float(candidate["x"]) + 1.0

    def run(function, budget):
        space = {"a": [{"x": i} for i in range(9)]}
        return minimize(function, space, budget, optimizer="random-wor", store=str(tmp_path / "s.db"))

    run(first, 2)
    with pytest.raises(StudyMismatchError, match=r"objective: stored '[0-9a-f]{16}', now '[0-9a-f]{16}'.*another name"):
        run(edited, 3)
    report = run(first_again, 4)
    assert (report.restored, report.evaluations) == (2, 4)


def test_a_function_without_a_source_is_taken_as_it_is(tmp_path):
    made = eval("lambda c: 1.0")
    for budget in (1, 2):
        report = minimize(made, {"a": [{"x": i} for i in range(9)]}, budget, store=str(tmp_path / "s.db"))
    assert report.restored == 1
