"""What is known before the first trial reaches the optimizer, and belongs to the study's identity."""

from typing import ClassVar

import pytest

from cloudbandit import (
    BaseOptimizer,
    Candidate,
    CloudBandit,
    Domain,
    Observation,
    Problem,
    Result,
    SLOGoal,
    Store,
    Study,
    Trial,
    minimize,
)
from cloudbandit.core.errors import StudyMismatchError, UnknownNameError, UsageError
from cloudbandit.core.known import History, choose_facts, digest_of_history, probes
from cloudbandit.objectives.estimated import Estimated
from cloudbandit.testing import sampled_problem

DOMAIN = Domain({"a": [{"x": x} for x in range(4)], "b": [{"x": x} for x in range(3)]})
GOAL = SLOGoal("cost_usd")


def facts(candidate):
    return {"price_usd_per_h": 1.0 + candidate["x"], "accelerator": f"H{candidate['x']}00"}


def objective():
    return Estimated(lambda c: {"cost_usd": 1.0 + c["x"]}, facts=facts)


def observed(value=1.0):
    trial = Trial(0, Candidate("a", {"x": 0}))
    result = Result(metrics={"cost_usd": value})
    return Observation(trial, result, GOAL.score(result))


class Recording(BaseOptimizer):
    """Notes the problem it was given."""

    seen: ClassVar[list] = []

    def __init__(self, problem):
        super().__init__(problem)
        self.seen.append(problem)

    def _suggest(self):
        free = self.free
        return self.domain.candidates[int(free[0])] if len(free) else None


@pytest.fixture(autouse=True)
def _nothing_seen():
    Recording.seen.clear()


def test_everything_known_beforehand_arrives():
    def roofline(candidate):
        return {"cost_usd": float(candidate["x"])}

    history = {"last week": History([observed()], facts, {"cost_usd": "USD"}), "bare": [observed(2.0)]}
    Study(DOMAIN, objective(), GOAL, Recording, 2, history=history, estimates={"roofline": roofline}).run()
    (problem,) = Recording.seen
    candidate = DOMAIN.candidates[1]
    assert problem.facts(candidate) == {"price_usd_per_h": 2.0, "accelerator": "H100"}
    assert problem.history["last week"].units == {"cost_usd": "USD"}
    assert problem.history["last week"].facts(candidate) == facts(candidate)
    assert [o.result.metrics["cost_usd"] for o in problem.history["bare"]] == [2.0]
    assert problem.estimates["roofline"](candidate) == {"cost_usd": 1.0}


def test_it_arrives_in_every_arm_of_a_bandit():
    def factory(problem):
        return CloudBandit(problem, Recording)

    estimates = {"line": lambda candidate: {"cost_usd": float(candidate["x"])}}
    Study(
        DOMAIN, objective(), GOAL, factory, 3, history={"h": [observed()]}, estimates=estimates, facts="accelerator"
    ).run()
    assert [p.domain.names for p in Recording.seen] == [("a",), ("b",)]
    for problem in Recording.seen:
        assert problem.estimates["line"](Candidate("a", {"x": 2})) == {"cost_usd": 2.0}
        assert len(problem.history["h"]) == 1
        assert set(problem.facts(problem.domain.candidates[0])) == {"accelerator"}
    assert len({p.seed for p in Recording.seen}) == 2


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ("all", {"price_usd_per_h", "accelerator"}),
        ("none", set()),
        ("accelerator", {"accelerator"}),
        ("accelerator, price_usd_per_h", {"price_usd_per_h", "accelerator"}),
        (["price_usd_per_h"], {"price_usd_per_h"}),
    ],
)
def test_facts_are_chosen(chosen, left):
    assert set(choose_facts(facts, chosen, DOMAIN)(DOMAIN.candidates[0])) == left


def test_a_fact_nobody_knows_is_refused_by_name():
    with pytest.raises(UnknownNameError, match=r"unknown fact 'accelerater'.*accelerator.*did you mean|Did you mean"):
        Study(DOMAIN, objective(), GOAL, Recording, 2, facts="accelerater")


def test_a_label_is_no_metric():
    result = objective().evaluate(Trial(0, DOMAIN.candidates[2]), None)
    assert result.metrics == {"price_usd_per_h": 3.0, "cost_usd": 3.0}


def test_a_resumed_study_must_know_the_same(tmp_path):
    def study(budget, **known):
        with Store(tmp_path / "s.db") as store:
            return Study(DOMAIN, objective(), GOAL, Recording, budget, store=store, **known).run()

    known = {"facts": "accelerator", "history": {"h": [observed()]}, "estimates": {"e": lambda c: {"cost_usd": c["x"]}}}
    study(1, **known)
    assert study(2, **known).evaluations == 2
    for other in (
        {**known, "facts": "all"},
        {**known, "history": {"h": [observed(1.5)]}},
        {**known, "history": {"another": [observed()]}},
        {**known, "estimates": {"e": lambda c: {"cost_usd": 2.0 * c["x"]}}},
        {**known, "estimates": {}},
    ):
        (key,) = [k for k in known if other[k] is not known[k]]
        with pytest.raises(StudyMismatchError, match=key):
            study(2, **other)


def test_digests_tell_order_and_content_apart():
    a, b = observed(1.0), observed(2.0)
    assert digest_of_history({"h": History([a, b])}) == digest_of_history({"h": History([a, b])})
    assert digest_of_history({"h": History([a, b])}) != digest_of_history({"h": History([b, a])})


def test_probes_are_few_and_always_the_same():
    large = Domain({"a": [{"x": x} for x in range(5_000)]})
    assert len(probes(large)) == 256
    assert probes(large)[0] == large.candidates[0]
    assert probes(large)[-1] == large.candidates[-1]
    sampled: Problem = sampled_problem()
    assert probes(sampled.domain) == probes(sampled.domain)
    assert all(c in sampled.domain for c in probes(sampled.domain))


# ── what is refused, or dropped and said ──


def test_facts_that_say_little_are_said(caplog):
    told = {("a", 0): {"gpus": 1.0, "region": "x"}}
    minimize(
        lambda c: 1.0, DOMAIN, 1, optimizer="random", facts=lambda c: told.get((c.arm[0], c["x"]), {"region": "x"})
    )
    assert "the fact 'gpus' is not known of 6 of 7 candidates" in caplog.text
    assert "the fact 'region' is the same for every candidate" in caplog.text


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ({"vcpus": float("inf")}, r"'vcpus' of Candidate\(a: x=0\) is inf; allowed: a finite number, or a label"),
        ({"vcpus": None}, "'vcpus' .* is None"),
        ({"price_usd_per_h": 0.0}, "'price_usd_per_h' .* is 0.0; allowed: a finite number > 0"),
        ({"price_usd_per_h": "cheap"}, "is 'cheap'; allowed: a finite number > 0"),
    ],
)
def test_facts_that_are_none_are_refused_when_told(fact, said):
    class Reading(Recording):
        def __init__(self, problem):
            super().__init__(problem)
            problem.facts(problem.domain.candidates[0])

    with pytest.raises(UsageError, match=said):
        Study(DOMAIN, Estimated(lambda c: {"cost_usd": 1.0}, facts=lambda c: fact), GOAL, Reading, 2)


@pytest.mark.parametrize(
    ("estimate", "said"),
    [
        (lambda c: {"cost_usd": 1 / c["x"]}, r"the estimate 'e' raised ZeroDivisionError.*Candidate\(a: x=0\)"),
        (lambda c: {"cost_usd": float("nan")}, "predicts cost_usd = nan .* allowed: finite numbers"),
    ],
)
def test_an_estimate_that_raises_or_is_no_number_is_refused(estimate, said):
    with pytest.raises(UsageError, match=said):
        Study(DOMAIN, objective(), GOAL, Recording, 2, estimates={"e": estimate})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cost_usd": 2.0}, "the estimate 'e' is left out: it predicts the same cost_usd for every candidate"),
        ({"speed": 2.0}, "it predicts only speed, and the study aims at cost_usd"),
        ({}, "it predicts nothing of any candidate"),
    ],
)
def test_an_estimate_that_says_nothing_is_dropped_and_said(values, said, caplog):
    study = Study(DOMAIN, objective(), GOAL, Recording, 2, estimates={"e": lambda c: values})
    assert study.problem.estimates == {}
    assert said in caplog.text


def test_an_estimate_is_looked_at_for_every_candidate_it_is_asked_about():
    wide = Domain({"a": [{"x": x} for x in range(1000)]})
    hidden = next(c for c in wide.candidates if c not in set(probes(wide)))
    estimate = {"e": lambda c: {"cost_usd": float("inf") if c == hidden else float(c["x"])}}
    study = Study(wide, objective(), GOAL, Recording, 2, estimates=estimate)
    assert study.problem.estimates["e"](wide.candidates[0]) == {"cost_usd": 0.0}
    with pytest.raises(UsageError, match="predicts cost_usd = inf"):
        study.problem.estimates["e"](hidden)


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (
            History([observed()], units={"cost_usd": "EUR"}),
            "the history 'h' has cost_usd in EUR, and this study in USD",
        ),
        (
            [Observation(Trial(0, DOMAIN.candidates[0]), Result(metrics={"speed": 1.0}), None)],
            "the history 'h' has no cost_usd, which this study aims at; it has speed",
        ),
    ],
)
def test_a_history_of_other_metrics_or_units_is_refused_by_name(history, said):
    with pytest.raises(UsageError, match=said):
        Study(DOMAIN, objective(), GOAL, Recording, 2, history={"fine": [observed()], "h": history})


def test_a_history_of_another_space_is_kept():
    elsewhere = Observation(Trial(0, Candidate("z", {"cores": 3})), Result(metrics={"cost_usd": 1.0}), None)
    Study(DOMAIN, objective(), GOAL, Recording, 2, history={"h": [elsewhere]}).run()
    assert Recording.seen[0].history["h"].observations[0].candidate.arm == ("z",)
