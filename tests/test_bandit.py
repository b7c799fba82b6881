"""CloudBandit against its paper's arithmetic, and the cases the paper leaves open."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbandit import Budget, CloudBandit, Domain, Problem, Quote, Result, SLOGoal, Status, Study, make_factory
from cloudbandit.core.bandit import rounds_for, rounds_within
from cloudbandit.core.errors import BudgetError
from cloudbandit.optimizers import DEFAULT
from cloudbandit.testing.problems import candidates, drive, listed_problem

RANDOM = make_factory("random-wor")


def arms(sizes, seed=0):
    spaces = {name: [{"x": i} for i in range(size)] for name, size in sizes.items()}
    return Problem(Domain(spaces), SLOGoal("loss"), seed)


def value(of):
    return lambda candidate, number: Result(metrics={"loss": of(candidate)}, spent_usd=1.0)


def by_arm(told):
    return [o.arm for o in told if o.score is not None]


@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 3))
def test_total_is_the_papers_formula(k, pull, growth):
    total = sum(r.evaluations for r in rounds_for(k, pull, growth))
    assert total == pull * sum((k - m + 1) * growth ** (m - 1) for m in range(1, k + 1))


def test_three_arms_cost_eleven():
    assert [r.evaluations for r in rounds_for(3, 1, 2.0)] == [3, 4, 4]


@pytest.mark.slow
@given(st.integers(1, 6), st.integers(0, 200), st.sampled_from([1.0, 1.5, 2.0, 3.0]))
def test_a_budget_is_used_up_exactly(k, extra, growth):
    budget = k + extra
    rounds = rounds_within(k, budget, growth)
    assert [r.arms for r in rounds] == list(range(k, 0, -1))
    assert all(a.pull <= b.pull for a, b in itertools.pairwise(rounds))
    smallest = sum(r.evaluations for r in rounds_for(k, 1, growth))
    assert sum(r.evaluations for r in rounds) == max(budget, smallest)
    problem = arms({f"arm{i}": 300 for i in range(k)})
    bandit = CloudBandit.for_budget(problem, RANDOM, budget, growth=growth)
    told = drive(bandit, problem, 1000, value(lambda c: float(c["x"])))
    assert len(told) == budget
    assert bandit.ask(1) == []


@pytest.mark.parametrize("b1", [1, 2, 3])
def test_multiples_of_eleven_give_the_papers_schedule(b1):
    assert rounds_within(3, 11 * b1, 2.0) == rounds_for(3, b1, 2.0)


def test_the_worst_arm_goes_and_the_best_gets_the_rest():
    problem = arms({"good": 40, "middling": 40, "bad": 40})
    offset = {"good": 0.0, "middling": 100.0, "bad": 200.0}
    bandit = CloudBandit.for_budget(problem, RANDOM, 22)
    told = drive(bandit, problem, 99, value(lambda c: offset[c.arm[0]] + c["x"]))
    names = by_arm(told)
    assert sorted(names[:6]) == sorted(["good", "middling", "bad"] * 2), "arms take turns"
    assert set(names[:3]) == {"good", "middling", "bad"}
    assert sorted(names[6:14]) == ["good"] * 4 + ["middling"] * 4
    assert names[14:] == ["good"] * 8
    assert bandit.active == ("good",)


def test_fewer_trials_than_arms_is_an_error_that_names_the_cure():
    with pytest.raises(BudgetError, match=r"budget of 2 trials is fewer than the 3 arms.*at least 3.*11 for one full"):
        CloudBandit.for_budget(arms({"a": 3, "b": 3, "c": 3}), RANDOM, 2)
    with pytest.raises(BudgetError, match="growth"):
        CloudBandit(arms({"a": 3}), RANDOM, growth=0.5)
    with pytest.raises(BudgetError, match="initial_pull"):
        CloudBandit(arms({"a": 3}), RANDOM, initial_pull=0)


@pytest.mark.parametrize("budget", range(3, 12))
def test_a_short_budget_cuts_the_smallest_schedule_short(budget):
    problem = arms({"a": 30, "b": 30, "c": 30})
    whole = drive(CloudBandit.for_budget(problem, RANDOM, 11), problem, 99, value(lambda c: float(c["x"])))
    short = drive(CloudBandit.for_budget(problem, RANDOM, budget), problem, 99, value(lambda c: float(c["x"])))
    assert candidates(short) == candidates(whole[:budget])


def test_one_arm_is_just_its_optimizer():
    problem = arms({"only": 9})
    assert len(drive(CloudBandit.for_budget(problem, RANDOM, 7), problem, 99, value(lambda c: 1.0))) == 7


def test_an_arm_that_runs_dry_stays_in_the_race():
    problem = arms({"tiny": 1, "wide": 50, "worst": 50})
    of = {"tiny": 0.0, "wide": 10.0, "worst": 100.0}
    bandit = CloudBandit.for_budget(problem, RANDOM, 33)
    told = drive(bandit, problem, 99, value(lambda c: of[c.arm[0]] + c["x"]))
    assert by_arm(told).count("tiny") == 1
    assert bandit.active == ("tiny",), "its best loss won, though nothing was left to try"
    assert len(told) == 33, "what it leaves of its pull goes to dropped arms"
    assert set(by_arm(told)[13:25]) == {"wide"}, "the best of them first"
    assert bandit.ask(1) == []


def test_a_budget_in_usd_alone_is_used():
    problem = arms({"a": 30, "b": 30, "c": 30})

    class Dollar:
        def quote(self, candidate):
            return Quote(1.0)

        def evaluate(self, trial, run):
            return Result(metrics={"loss": float(trial.candidate["x"])}, spent_usd=1.0)

    report = Study(problem.domain, Dollar(), problem.goal, make_factory(DEFAULT), Budget(usd=40.0)).run()
    assert (report.evaluations, report.stop_reason) == (40, "usd")


@pytest.mark.parametrize("seed", range(5))
def test_the_one_feasible_config_is_found_in_a_dropped_arm(seed):
    problem = arms({"a": 16, "b": 16, "c": 16}, seed)

    def verdict(candidate, number):
        if candidate.arm == ("c",) and candidate["x"] == 7:
            return Result(metrics={"loss": 1.0})
        return Result(Status.FAILED, {"loss": 50.0 if candidate.arm == ("c",) else 10.0})

    told = drive(CloudBandit.for_budget(problem, RANDOM, 48), problem, 99, verdict)
    assert len(told) == 48
    assert len(set(candidates(told))) == 48
    assert any(o.score.feasible for o in told)


@given(st.sampled_from([11, 17, 22]), st.sampled_from([23, 44, 66]), st.integers(0, 3))
def test_an_extended_budget_goes_on_as_a_bandit_of_that_budget_told_the_history(first, more, seed):
    problem = arms({"a": 40, "b": 40, "c": 40}, seed)
    verdict = value(lambda c: {"a": 0.0, "b": 5.0, "c": 9.0}[c.arm[0]] + c["x"])
    history = drive(CloudBandit.for_budget(problem, RANDOM, first), problem, 99, verdict)
    extended = CloudBandit.for_budget(problem, RANDOM, more)
    extended.tell(history)
    rounds = extended.schedule()
    counts = {name: by_arm(history).count(name) for name in "abc"}
    if max(counts.values()) <= rounds[0].pull:
        assert extended.active == ("a", "b", "c"), "no arm is dropped before its pull was made"
    rest = drive(extended, problem, 99, verdict, start=first)
    assert len(history) + len(rest) == more
    assert len(set(candidates([*history, *rest]))) == more
    total = {name: by_arm([*history, *rest]).count(name) for name in "abc"}
    assert min(total.values()) >= min(rounds[0].pull, more - 1), "every arm made the larger budget's first pull"
    for cut in range(len(rest)):
        again = CloudBandit.for_budget(problem, RANDOM, more)
        again.tell([*history, *rest[:cut]])
        assert again.ask(1) == [rest[cut].candidate], cut


def test_ties_drop_the_later_arm():
    problem = arms({"first": 20, "second": 20, "third": 20})
    bandit = CloudBandit.for_budget(problem, RANDOM, 11)
    drive(bandit, problem, 99, value(lambda c: 1.0))
    assert bandit.active == ("first",)


def test_a_failed_arm_loses_to_one_that_works_at_any_price():
    problem = arms({"crashes": 20, "works": 20})

    def verdict(candidate, number):
        if candidate.arm == ("crashes",):
            return Result(Status.FAILED, spent_usd=0.01, seconds=1.0)
        return Result(metrics={"loss": 1e6})

    bandit = CloudBandit.for_budget(problem, RANDOM, 8)
    drive(bandit, problem, 99, verdict)
    assert bandit.active == ("works",)


def test_a_lost_trial_does_not_use_up_the_pull():
    problem = arms({"a": 30, "b": 30, "c": 30})
    lost = {1, 4, 9}

    def verdict(candidate, number):
        return Result(Status.LOST) if number in lost else Result(metrics={"loss": float(candidate["x"])})

    told = drive(CloudBandit.for_budget(problem, RANDOM, 11), problem, 99, verdict)
    assert sum(o.score is not None for o in told) == 11
    assert len(told) == 14


def test_a_round_waits_for_its_pending_trials():
    problem = arms({"a": 30, "b": 30, "c": 30})
    bandit = CloudBandit.for_budget(problem, RANDOM, 11)
    asked = bandit.ask(11)
    assert sorted(c.arm[0] for c in asked) == ["a", "b", "c"], "the second round needs the first one's results"
    assert bandit.ask(1) == []


def test_an_inner_optimizer_that_stops_early_ends_its_arm_and_resumes_exactly():
    class Two(type(RANDOM(arms({"a": 1})))):
        def _suggest(self):
            return None if len(self.observations) >= 2 else super()._suggest()

    problem = arms({"a": 30, "b": 30, "c": 30}, seed=5)

    def make():
        return CloudBandit.for_budget(problem, lambda p: Two(p) if p.domain.names != ("b",) else RANDOM(p), 33)

    verdict = value(lambda c: {"a": 0.0, "b": 50.0, "c": 90.0}[c.arm[0]] + c["x"])
    whole = drive(make(), problem, 99, verdict)
    assert by_arm(whole).count("a") == 2
    for cut in range(len(whole)):
        fresh = make()
        fresh.tell(whole[:cut])
        assert candidates(drive(fresh, problem, 99, verdict, start=cut)) == candidates(whole[cut:]), cut


def test_inner_optimizers_have_seeds_of_their_own():
    seen = []
    problem = listed_problem(4)
    CloudBandit(problem, lambda p: seen.append((p.domain.names, p.seed)) or RANDOM(p))
    assert [names for names, _ in seen] == [("a",), ("b",), ("c",)]
    assert len({seed for _, seed in seen}) == 3


def fronts(sizes, slos=()):
    spaces = {name: [{"x": i} for i in range(size)] for name, size in sizes.items()}
    return Problem(Domain(spaces), SLOGoal(("usd_per_h", "ttft_ms"), slos))


def test_with_several_objectives_the_arm_that_widens_the_front_least_goes():
    """``cheap`` and ``fast`` hold an end each; ``between`` is dominated by both, though it beats each in one objective."""

    def verdict(candidate, number):
        wiggle = 1 + candidate["x"] / 1000
        usd, ms = {"cheap": (1.0, 50.0), "fast": (50.0, 1.0), "between": (60.0, 60.0), "late": (1.0, 1.0)}[
            candidate.arm[0]
        ]
        return Result(
            metrics={"usd_per_h": usd * wiggle, "ttft_ms": ms * wiggle, "tpot_ms": 9.0 * (candidate.arm == ("late",))}
        )

    problem = fronts(dict.fromkeys(("fast", "between", "cheap"), 40))
    bandit = CloudBandit.for_budget(problem, RANDOM, 11)
    told = drive(bandit, problem, 99, verdict)
    assert set(by_arm(told)[3:7]) == {"fast", "cheap"}
    with_slo = fronts(dict.fromkeys(("fast", "late", "between", "cheap"), 40), ("tpot_ms<=5",))
    bandit = CloudBandit.for_budget(with_slo, RANDOM, 26)
    told = by_arm(drive(bandit, with_slo, 99, verdict))
    assert set(told[4:10]) == {"fast", "between", "cheap"}, "an arm that never serves goes first, whatever it promises"
    assert set(told[10:18]) == {"fast", "cheap"}


def test_of_arms_that_add_nothing_the_one_with_the_least_front_goes():
    """Both are dominated by ``best``; ``worse`` by ``bad`` too."""
    of = {"best": 1.0, "bad": 5.0, "worse": 25.0}
    problem = fronts(dict.fromkeys(of, 40))

    def verdict(candidate, number):
        value = of[candidate.arm[0]] + candidate["x"] / 100
        return Result(metrics={"usd_per_h": value, "ttft_ms": value})

    bandit = CloudBandit.for_budget(problem, RANDOM, 11)
    told = by_arm(drive(bandit, problem, 99, verdict))
    assert set(told[3:7]) == {"best", "bad"}
    assert set(told[7:]) == {"best"}


def test_a_world_of_failures_drops_arms_as_with_one_objective():
    problem = fronts({"a": 40, "b": 40, "c": 40})
    bandit = CloudBandit.for_budget(problem, RANDOM, 11)
    told = by_arm(drive(bandit, problem, 99, lambda c, n: Result(Status.FAILED)))
    assert set(told[7:]) == {"a"}, "of equal arms the later one goes"
