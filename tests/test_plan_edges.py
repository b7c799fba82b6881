"""Plans at the edges: work that piles up, starts longer than a step, windows without a way out, names that are cut short."""

import json
from dataclasses import replace

import numpy as np
import pytest
from planning import demand_of, machine, one_kind

pytest.importorskip("linopy")
pytest.importorskip("highspy")

from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.plan.capacity import FirstOf, RecordedCapacity
from cloudbandit.plan.check import check
from cloudbandit.plan.demand import read_demand
from cloudbandit.plan.explain import binding, cures
from cloudbandit.plan.export import manifests
from cloudbandit.plan.planner import make_plan, overall
from cloudbandit.plan.pools import pools_of
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.rolling import roll
from cloudbandit.plan.solve import Outcome, solve
from cloudbandit.plan.terms import Network, Policy, Quota, Rental
from cloudbandit.plan.workload import Workload


def chat_and_batch(chat, batch, quota, deadline_h=12.0):
    """Two workloads under one quota; a machine takes 10 of the one and 2 of the other."""
    return Problem(
        [Workload("chat"), Workload("batch", deadline_h=deadline_h)],
        [Rental(machine())],
        demand_of({("chat", "us"): chat, ("batch", "us"): batch}),
        RecordedCapacity({("chat", "aws/small", 1, 0.0): 10.0, ("batch", "aws/small", 1, 0.0): 2.0}),
        quotas=[Quota("q", quota)],
    )


def test_work_that_waited_is_done_by_more_machines_than_its_largest_hour_asks_for():
    found = make_plan(chat_and_batch([30, 30, 30, 30, 30, 0], [2, 2, 2, 0, 0, 0], quota=3))
    assert found.outcome is Outcome.OPTIMAL
    assert found.groups[1, 0].tolist() == [0, 0, 0, 0, 0, 3]


def jobs(plan):
    """Name, deployment and replicas of every CronJob."""
    out = []
    for item in manifests(plan):
        if item["kind"] == "CronJob":
            args = item["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"]
            out.append((item["metadata"]["name"], args[1], args[2]))
    return out


def test_offers_that_differ_in_how_they_are_bought_scale_deployments_of_their_own():
    offer = machine("azure", "southcentralus", "Standard_NC24ads_A100_v4")
    problem = Problem(
        [Workload("conversation")],
        [Rental(offer), Rental(replace(offer, purchase="spot", usd_per_h=0.4))],
        demand_of({("conversation", "us"): [10.0] * 12 + [30.0] * 12}),
        RecordedCapacity({("conversation", "azure/Standard_NC24ads_A100_v4", 1, 0.0): 10.0}),
        policy=Policy(spot_share=0.5),
    )
    names, targets, _ = zip(*jobs(make_plan(problem)), strict=True)
    assert len(set(names)) == len(names) == 4
    assert len(set(targets)) == 2
    assert all(len(name) <= 52 for name in names)


def test_a_fleet_that_never_changes_is_scaled_once():
    assert [job[2] for job in jobs(make_plan(one_kind([20.0] * 24)))] == ["--replicas=2"]


def test_a_start_longer_than_a_step_is_no_timetable():
    with pytest.raises(UsageError, match="a step of 3600 s or longer"):
        manifests(make_plan(one_kind([20.0] * 24, start_s=3600.0)))


@pytest.mark.parametrize("time", ["1793577600000", "nan", "inf", "-5"])
def test_times_that_are_not_seconds_since_1970(tmp_path, time):
    path = tmp_path / "demand.csv"
    path.write_text(f"time,workload,source,load\n2026-11-02T00:00Z,chat,us,1\n{time},chat,us,1\n")
    with pytest.raises(DataError, match=r"line 3.*milliseconds"):
        read_demand(path)


def test_longer_steps_say_what_they_leave_out():
    assert "the last 2 steps" in demand_of({("chat", "us"): [1.0] * 12}).coarser(5 * 3600).notes[0]
    assert not demand_of({("chat", "us"): [1.0] * 10}).coarser(5 * 3600).notes


def test_nothing_serves_what_may_stay_unserved():
    problem = one_kind([10.0, 20.0])
    problem = replace(problem, workloads=[Workload("chat", unmet_usd=0.5)], quotas=[Quota("q", 0)])
    found = make_plan(problem)
    assert not check(found)
    assert (found.outcome, found.usd) == (Outcome.OPTIMAL, 15.0)


def test_why_no_offer_serves_is_named():
    problem = one_kind([10.0])
    with pytest.raises(UsageError, match=r"none may be rented \(quota q\)"):
        make_plan(replace(problem, quotas=[Quota("q", 0)]))
    with pytest.raises(UsageError, match=r"too far \(20 ms\), no capacity data from there"):
        make_plan(replace(problem, network=Network({("us", "aws/us"): 20.0})))


def test_a_share_that_cures_is_not_rounded_below_what_it_takes():
    offer = machine()
    problem = Problem(
        [Workload("chat")],
        [Rental(offer, most=2), Rental(replace(offer, purchase="spot", usd_per_h=0.4))],
        demand_of({("chat", "us"): [28.71]}),
        RecordedCapacity({("chat", "aws/small", 1, 0.0): 10.0}),
        policy=Policy(spot_share=0.3),
    )
    cure = next(c for c in cures(problem) if c.limit == "spot_share")
    assert cure.text == "let spot machines serve 30.4 % of a load, not 30 %"
    assert make_plan(replace(problem, policy=Policy(spot_share=cure.then))).outcome is Outcome.OPTIMAL


class Guess:
    """Ninety-nine a machine, wherever."""

    def max_load(self, workload, machine, n, rtt_ms=0.0):
        return 99.0 * n

    def basis(self, workload, machine):
        return "guessed"


def test_what_one_table_knows_in_part_is_not_filled_from_the_next():
    recorded = RecordedCapacity({("chat", "aws/small", 1, 0.0): 10.0})
    both, chat = FirstOf([recorded, Guess()]), Workload("chat")
    assert both.basis(chat, machine()) == "recorded"
    assert both.max_load(chat, machine(), 3) == 30.0
    assert np.isnan(both.max_load(chat, machine(), 1, 20.0))  # from there nobody recorded it
    assert (both.basis(chat, machine(name="other")), both.max_load(chat, machine(name="other"), 2)) == (
        "guessed",
        198.0,
    )


def test_reservations_of_a_rolled_plan_are_rounded_up_where_nothing_else_serves():
    problem = one_kind([24.0] * 4)
    problem = replace(problem, rentals=[Rental(machine(purchase="reserved"), most=5)])
    found = roll(problem, window=3, keep=2)
    assert not check(found)
    assert (list(found.reserved.values()), found.usd) == ([3], 12.0)


@pytest.mark.slow
def test_a_window_without_a_way_out_is_not_an_infeasible_problem():
    rows = {("chat", "aws/small", 1, 0.0): 10.0, ("batch", "aws/small", 1, 0.0): 10.0}
    problem = replace(chat_and_batch([0, 0, 20, 20, 20, 20], [10] * 6, 3, 6.0), capacity=RecordedCapacity(rows))
    problem = replace(problem, rentals=[Rental(machine(), start_s=300.0)])
    assert make_plan(problem).outcome is Outcome.OPTIMAL
    found = roll(problem, window=2, keep=1)
    assert found.outcome is Outcome.NO_PLAN
    assert "window" in found.notes[-1]


def test_a_plan_without_a_bound_is_json():
    found = replace(make_plan(one_kind([10.0])), bound=-np.inf)
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (said["bound_usd"], said["gap"]) == (None, None)


@pytest.mark.parametrize("hopeless", [True, False])
def test_infeasible_is_told_from_unbounded_where_presolve_does_not(hopeless):
    linopy, pd = pytest.importorskip("linopy"), pytest.importorskip("pandas")
    model, axis = linopy.Model(), pd.Index(range(2), name="i")
    x, y, z = (model.add_variables(lower=0, coords=[axis], integer=n == "x", name=n) for n in "xyz")
    model.add_constraints(1 * x - 1 * y <= 3.5, name="a")
    if hopeless:
        model.add_constraints(2 * x.sum() - 1 * z.sum() >= 1, name="more")
        model.add_constraints(1 * z.sum() - 2 * x.sum() >= 0.5, name="less")
    model.add_objective((-1 * y).sum())
    assert solve(model).outcome is (Outcome.INFEASIBLE if hopeless else Outcome.UNBOUNDED)


def test_a_quota_that_binds_while_machines_start_binds():
    rentals = [Rental(machine(), start_s=600.0), Rental(machine(name="dear", usd=5.0), start_s=600.0)]
    takes = {(w, f"aws/{m}", 1, 0.0): 10.0 for w in ("a", "b") for m in ("small", "dear")}
    problem = Problem(
        [Workload("a"), Workload("b")],
        rentals,
        demand_of({("a", "us"): [20.0, 0.0], ("b", "us"): [0.0, 20.0]}),
        RecordedCapacity(takes),
        quotas=[Quota("q", 3, accelerator="small")],
    )
    found = make_plan(problem)
    assert found.groups[0, 1].tolist() == [1, 0]  # a dear one, while two small ones start
    assert list(binding(found)) == ["quota q"]


def test_a_plan_cheaper_than_its_bound_is_a_bug():
    found = make_plan(one_kind([10.0, 20.0]))
    with pytest.raises(AssertionError):
        overall(replace(found, bound=found.usd * 1.01), 1e-3)


def test_a_pool_that_saturates_beyond_the_sizes_first_asked_is_not_taken_to_grow_on():
    class Saturating:
        def max_load(self, workload, machine, n, rtt_ms=0.0):
            return min(10.0 * n, 700.0)

        def basis(self, workload, machine):
            return "made up"

    (pool,), _ = pools_of(
        Problem([Workload("chat")], [Rental(machine())], demand_of({("chat", "us"): [800.0]}), Saturating())
    )
    assert pool.most == 70
    assert all(pool.takes(n) <= Saturating().max_load(None, None, n) + 1e-6 for n in range(1, pool.most + 1))
