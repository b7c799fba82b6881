"""Stopping when another trial no longer pays, and what a report says was believed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import lognorm, norm

from cloudbandit import Belief, Budget, Domain, Profit, Quote, Result, SLOGoal, Store, Study, make_factory, minimize
from cloudbandit.core.errors import NoBeliefError, StudyMismatchError, UnknownNameError, UsageError
from cloudbandit.core.profit import drawn_gain, rule
from cloudbandit.core.stop import Posterior
from cloudbandit.optimizers.exhaustive import Exhaustive
from cloudbandit.replay.believers import believers

DOMAIN = Domain({"a": [{"x": x} for x in range(6)], "b": [{"x": x} for x in range(6)]})
GOAL = SLOGoal("cost_usd")
PRICES = {"a": 1.0, "b": 4.0}


class Guessing(Exhaustive):
    """Expects the next trial to gain 1 / (trials told), in the objective's unit."""

    def belief(self):
        n = len(self.observations)
        if not n:
            return None
        every = self.domain.candidates
        return Belief(every, np.full(len(every), 2.0), np.full(len(every), 0.5), {"a": 0.7, "b": 0.3}, 0.4, 1.0 / n)


class Trials:
    """Each takes 10 s at the price of its arm, and quotes ten times that."""

    def __init__(self, metric="cost_usd", usd=1.0, facts=True):
        self.metric, self.usd = metric, usd
        if facts:
            self.facts = lambda c: {"price_usd_per_h": PRICES[c.arm[0]]}

    def quote(self, candidate):
        return Quote(10 * self.usd * PRICES[candidate.arm[0]], 100.0)

    def evaluate(self, trial, run):
        usd = self.usd * PRICES[trial.candidate.arm[0]]
        return Result(metrics={self.metric: 3.0 + trial.candidate["x"]}, spent_usd=usd, seconds=10.0)


def study(stop, *, goal=GOAL, optimizer=Guessing, budget=12, objective=None, **more):
    return Study(DOMAIN, objective or Trials(), goal, optimizer, budget, stop=stop, **more)


@settings(max_examples=20)
@given(st.floats(0.5, 40.0))
def test_it_stops_at_the_first_trial_that_costs_more_than_n_times_its_gain(n):
    """After k trials the model's gain is 1 / k, a blind draw's the leave-one-out mean; the cost is by the arm that is next."""
    report = study(Profit(n)).run()
    tried = study(None).run().observations
    values = [o.score.values[0] for o in tried]
    assert drawn_gain(tried[:1]) == 0.0
    pays = []
    for k in range(1, 12):
        alone = [max(0.0, min(values[:i] + values[i + 1 : k]) - values[i]) for i in range(k)] if k > 1 else [0.0]
        assert drawn_gain(tried[:k]) == pytest.approx(np.mean(alone))
        pays.append(n * max(1 / k, np.mean(alone)) >= PRICES[tried[k].arm])
    expected = pays.index(False) + 1 if False in pays else 12
    assert report.evaluations == expected
    assert report.stop_reason == ("profit" if False in pays else "trials")


def test_without_prices_a_trial_is_expected_to_cost_what_the_others_did():
    report = study(Profit(8), objective=Trials(facts=False)).run()
    paid = [o.result.spent_usd for o in report.observations]
    costs = [np.mean(paid[:k]) for k in range(1, len(paid) + 1)]
    assert [8 / k >= c for k, c in enumerate(costs, 1)] == [True] * (len(paid) - 1) + [False]


def test_a_time_is_paid_in_time_and_an_hourly_price_in_money():
    seconds = study(Profit(35), goal=SLOGoal("runtime_s"), objective=Trials("runtime_s")).run()
    assert seconds.evaluations == 4  # 35 / 4 s gained < 10 s spent
    hourly = study(Profit(production_hours=2.5), goal=SLOGoal("usd_per_h"), objective=Trials("usd_per_h", facts=False))
    assert hourly.run().stop_reason == "profit"


def test_what_was_measured_again_counts_once():
    tried = study(None).run().observations[:3]
    again = [*tried, *tried, tried[0]]
    assert drawn_gain(again) == pytest.approx(drawn_gain(tried)) != 0


def test_a_candidate_without_a_quote_ends_nothing():
    class Partly(Trials):
        def quote(self, candidate):
            return Quote() if candidate["x"] == 0 else super().quote(candidate)

    assert study(Profit(1e9), objective=Partly()).run().evaluations == 12


def test_a_function_is_quoted_by_whoever_calls():
    def paid(candidate):
        return Result(metrics={"cost_usd": 1.0}, spent_usd=1.0)

    report = minimize(paid, DOMAIN, 12, goal="cost_usd", optimizer=Guessing, stop=Profit(3.5), quote=Quote(usd=2.0))
    assert (report.evaluations, report.stop_reason) == (4, "profit")


def test_a_cap_stays_a_cap_and_what_meets_no_slo_is_searched_on():
    assert study(Profit(1e9), budget=5).run().stop_reason == "trials"
    assert study(Profit(1e9), budget=Budget(trials=99, usd=50.0)).run().stop_reason == "usd"
    nothing = study(Profit(0.001), goal=SLOGoal("cost_usd", ("ttft_ms<=1",)))
    assert nothing.run().evaluations == 12


def test_a_resumed_study_stops_where_it_would_have(tmp_path):
    def run(stop, budget):
        with Store(tmp_path / "s.db") as store:
            return study(stop, budget=budget, store=store).run()

    whole = study(Profit(9)).run()
    run(Profit(9), 1)
    again = run(Profit(9), 12)
    assert [o.candidate for o in again.observations] == [o.candidate for o in whole.observations]
    assert again.stop_reason == whole.stop_reason == "profit"
    with pytest.raises(StudyMismatchError, match="stop"):
        run(Profit(10), 12)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Profit(0), "production_runs is 0; without production no trial pays"),
        (lambda: Profit(math.nan), "production_runs is nan"),
        (lambda: Profit(), "needs one of production_runs and production_hours, got none"),
        (lambda: Profit(1, 2), "got production_runs and production_hours"),
        (lambda: rule(None, 64), "goes with the rule that uses it"),
        (lambda: study(Profit(4), goal=SLOGoal(maximize="output_tok_per_s")), "output_tok_per_s, which is maximised"),
        (lambda: study(Profit(4), goal=SLOGoal(("cost_usd", "runtime_s"))), "one objective, .*cost_usd, runtime_s"),
        (lambda: study(Profit(4), goal=SLOGoal("ttft_p50_ms")), "ttft_p50_ms is neither in USD nor in s"),
        (lambda: study(Profit(4), goal=SLOGoal("usd_per_h")), "paid per hour, so profit needs production_hours"),
        (lambda: study(Profit(production_hours=4)), "cost_usd is paid per run, so profit needs production_runs"),
        (lambda: study(Profit(4), objective=Trials(usd=0.0)), "quoted at 0 USD"),
        (lambda: minimize(lambda c: 1.0, DOMAIN, 3, goal="runtime_s", optimizer=Guessing, stop=Profit(4)), "0 seconds"),
    ],
)
def test_what_makes_no_sense_is_told_before_any_trial(make, said):
    with pytest.raises(UsageError, match=said):
        make()


def test_an_unknown_rule_and_an_optimizer_without_beliefs_are_told_by_name():
    with pytest.raises(UnknownNameError, match="unknown stop rule 'profits'; known: profit"):
        rule("profits", 3)
    with pytest.raises(NoBeliefError, match="RandomSearch does not say what it believes"):
        study(Profit(4), optimizer=make_factory("random"))
    with pytest.raises(NoBeliefError, match=r"with a method belief\(\): joint"):
        minimize(lambda c: 1.0, DOMAIN, 3, goal="runtime_s", optimizer="random", stop=Profit(4))
    assert "joint" in believers()
    assert "random" not in believers()


# ── what a report says ──


def test_a_report_says_what_was_believed_beside_what_was_measured():
    report = study(None).run()
    assert report.incumbent.result.metrics["cost_usd"] == 3.0
    low, high = report.posterior.interval95
    assert report.believed() == {
        "mean": 2.0,
        "low": low,
        "high": high,
        "p_best_arm": 0.7,
        "p_near": 0.4,
        "expected_gain": 1 / 12,
    }
    assert "P(its arm is the best) 0.70, P(within 5 % of the optimum) 0.40" in str(report)
    assert f"cost_usd 2 (95 %: {low:.4g} … {high:.4g})" in str(report)


def test_a_maximised_metric_is_believed_in_its_own_sign():
    class Up(Guessing):
        def belief(self):
            found = super().belief()
            return found and Belief(found.candidates, -found.mean, found.sd, {"a": 1.0}, 0.4, 0.1)

    goal = SLOGoal(maximize="output_tok_per_s")
    report = study(None, goal=goal, objective=Trials("output_tok_per_s"), optimizer=Up).run()
    assert report.believed()["mean"] == 2.0


def test_nothing_is_said_where_nothing_is_believed():
    assert study(None, optimizer=make_factory("random")).run().believed() is None
    assert "believed" not in str(study(None, optimizer=make_factory("random")).run())
    nothing = study(None, goal=SLOGoal("cost_usd", ("ttft_ms<=1",))).run()
    assert nothing.believed() is None  # there is no answer


@settings(max_examples=20)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 3.0))
def test_an_interval_is_that_of_the_distribution_with_that_mean_and_deviation(mean, ratio):
    s = math.sqrt(math.log1p(ratio**2))
    law = lognorm(s, scale=mean / math.sqrt(1 + ratio**2))
    assert law.mean() == pytest.approx(mean)
    assert law.std() == pytest.approx(ratio * mean)
    assert Posterior(mean, ratio * mean).interval95 == pytest.approx(law.interval(0.95))
    assert Posterior(-mean, ratio).interval95 == pytest.approx(norm(-mean, ratio).interval(0.95))
