"""Plans are the best there are: by looking at every fleet, in closed form, and by laws."""

from dataclasses import replace

import numpy as np
import pytest
from planning import demand_of, least_cost, machine, one_kind, random_problem, together

pytest.importorskip("linopy")
pytest.importorskip("highspy")

from cloudbandit.core.errors import UsageError
from cloudbandit.plan.capacity import RecordedCapacity
from cloudbandit.plan.check import check
from cloudbandit.plan.dominance import needed
from cloudbandit.plan.explain import cures, prices
from cloudbandit.plan.limits import add_limits, add_objective
from cloudbandit.plan.plan import Plan
from cloudbandit.plan.planner import NoPlan, empty, filled, make_plan
from cloudbandit.plan.pools import lines_below, pools_of
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.program import Program
from cloudbandit.plan.rolling import roll
from cloudbandit.plan.solve import Outcome, solve
from cloudbandit.plan.terms import Network, Policy, Quota, Rental
from cloudbandit.plan.whatif import changed, parse_change
from cloudbandit.plan.workload import Workload

EXACT = 1e-7


def solved(problem, **options):
    found = make_plan(problem, gap=EXACT, **options)
    assert isinstance(found, Plan), found.outcome
    assert not check(found)
    assert found.gap <= EXACT * 1.01
    return found


def brute_force(seeds, policy):
    """Problems small enough to look at every fleet, with the least cost of each; None: infeasible."""
    for seed in seeds:
        problem = random_problem(seed, policy)
        try:
            pools, _ = pools_of(problem)
        except UsageError:
            continue
        most = max(p.most for p in pools)
        if (most + 1) ** len(pools) <= 200:
            yield problem, least_cost(problem, pools, most)


POLICIES = [
    Policy(),
    Policy("machine"),
    Policy(spot_share=0.5),
    Policy("machine", spot_share=0.5),
]


def against_brute_force(seeds, policy):
    cases = list(brute_force(seeds, policy))
    some = [(p, usd) for p, usd in cases if usd is not None]
    problem = together([p for p, _ in some])
    pools, notes = pools_of(problem)
    program = Program(problem, pools)  # all of them at once
    add_limits(program)
    add_objective(program)
    found = filled(empty(problem, pools, notes), program, solve(program.model, EXACT, 60.0))
    assert not check(found)
    fewer = Program(problem, needed(problem, pools))
    add_limits(fewer)
    add_objective(fewer)
    assert solve(fewer.model, EXACT, 60.0).objective == pytest.approx(found.usd, rel=1e-6)
    by_case = [0.0] * len(some)
    for (w, r), n in found.groups.items():
        rental, case = found.problem.rentals[r], int(found.problem.workloads[w].name.partition(":")[0])
        if not rental.reserved:
            started = found.starts[w, r].sum() * rental.start_s / 3600
            by_case[case] += (n.sum() * found.problem.demand.step_h + started) * rental.machine.usd_per_h
    for w, workload in enumerate(found.problem.workloads):
        by_case[int(workload.name.partition(":")[0])] += found.unmet[w].sum() * (workload.unmet_usd or 0.0)
    for case, (problem, _) in enumerate(some):
        for rental in problem.rentals:
            if rental.reserved:
                by_case[case] += found.reserved[rental.machine.name] * rental.machine.usd_per_h * 2
    assert by_case == pytest.approx([usd for _, usd in some], rel=1e-5, abs=1e-4)
    return len(some), [p for p, usd in cases if usd is None], len(pools) - len(fewer.pools)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_equal_to_brute_force():
    n, hopeless, dropped = 0, [], 0
    for i, policy in enumerate(POLICIES):
        more, none, fewer = against_brute_force(range(100 + 120 * i, 220 + 120 * i), policy)
        n, hopeless, dropped = n + more, hopeless + none, dropped + fewer
    assert n >= 200
    assert dropped > 10
    assert len(hopeless) >= 3
    for problem in hopeless[:8]:
        assert make_plan(problem).outcome is Outcome.INFEASIBLE


def test_closed_form_for_one_kind():
    load = [0.0, 9.0, 31.0, 40.0, 5.0, 12.0]
    found = solved(one_kind(load, usd=3.0, takes=10.0))
    assert found.machines[0].tolist() == [int(np.ceil(v / 10)) for v in load]
    assert found.usd == pytest.approx(3.0 * (0 + 1 + 4 + 4 + 1 + 2))


def day(policy=None, quotas=(), scale=1.0, providers=("aws", "gcp"), egress=0.0, spot=True, deadline_h=None, steps=6):
    """Two sources, a place near each on two clouds, two machines, on demand and spot."""
    hours = np.arange(steps)
    load = {("chat", s): scale * (20 + 15 * np.sin(hours + i)) for i, s in enumerate(("us", "eu"))}
    load["batch", "us"] = np.full(steps, 6.0 * scale)
    rentals, rows = [], {}
    for i, provider in enumerate(("aws", "gcp")):
        for name, usd, takes in (("small", 1.0 + 0.1 * i, 5.0), ("large", 3.5 - 0.2 * i, 21.0)):
            for w in ("chat", "batch"):
                rows |= {(w, f"{provider}/{name}", 1, 0.0): takes, (w, f"{provider}/{name}", 1, 100.0): 0.8 * takes}
            for region in ("us", "eu"):
                for purchase in ("on-demand", "spot")[: 1 + spot]:
                    price = usd * (0.4 if purchase == "spot" else 1.0)
                    offer = machine(provider, region, name, price, purchase, 4 if name == "large" else 1)
                    rentals.append(Rental(offer, start_s=300.0, reclaimed=0.25 if purchase == "spot" else 0.0))
    rtt = {
        (s, f"{p}/{r}"): 10.0 if s == r else 90.0 for s in ("us", "eu") for p in ("aws", "gcp") for r in ("us", "eu")
    }
    usd = {pair: egress for pair, ms in rtt.items() if ms > 50}
    workloads = [Workload("chat", egress_gb=0.5), Workload("batch", deadline_h=deadline_h)]
    return Problem(
        workloads,
        [r for r in rentals if r.machine.provider in providers],
        demand_of(load),
        RecordedCapacity(rows),
        Network(rtt, usd),
        quotas,
        policy or Policy(spot_share=0.3),
    )


def usd(problem, gap=5e-3):
    found = make_plan(problem, gap=gap, seconds=2.0)
    assert isinstance(found, Plan)
    assert not check(found)
    return found.usd, found.bound


@pytest.mark.slow
def test_monotone_in_demand_price_quota_and_care():
    base, bound = usd(day())
    quota = Quota("q", 5, provider="aws")
    dearer = {
        "demand": day(scale=1.3),
        "quota": day(quotas=[quota]),
        "survive machine": day(Policy("machine", spot_share=0.3)),
        "survive region": day(Policy("region", spot_share=0.3)),
        "survive provider": day(Policy("provider", spot_share=0.3)),
        "no spot": day(Policy(spot_share=0.0)),
        "egress": day(egress=2.0),
        "one kind": day(Policy(spot_share=0.3, most_kinds=1)),
        "price": changed(day(), {"price:aws": "1.5"}),
    }
    for name, problem in dearer.items():
        assert usd(problem)[0] >= bound - 1e-9, name
    assert usd(day(quotas=[replace(quota, most=2)]))[0] >= usd(day(quotas=[quota]))[1] - 1e-9
    assert usd(changed(day(), {"price": "2"}))[0] == pytest.approx(2 * base, rel=0.011)
    assert usd(day(deadline_h=6.0))[1] <= base + 1e-9


@pytest.mark.slow
def test_a_union_of_clouds_is_never_dearer_than_the_best_single_one():
    singles = [usd(day(providers=[p]))[0] for p in ("aws", "gcp")]
    assert usd(day())[1] <= min(singles) + 1e-9


@pytest.mark.slow
def test_no_spot_is_the_plan_on_demand_and_dear_egress_is_local():
    assert usd(day(Policy(spot_share=0.0)))[0] == pytest.approx(usd(day(spot=False))[0], rel=0.011)
    found = solved_to(day(egress=1e4))
    far = [p for p in found.pools if found.problem.workloads[p.workload].egress_gb]
    assert far
    for i, p in enumerate(found.pools):
        for s, source in enumerate(found.problem.demand.sources):
            if found.problem.workloads[p.workload].name == "chat" and found.routed[i, s].any():
                assert found.problem.rentals[p.rental].machine.region == source


def solved_to(problem, gap=1e-4):
    found = make_plan(problem, gap=gap)
    assert isinstance(found, Plan)
    return found


def test_check_finds_what_is_wrong():
    """Each constraint broken by hand, so that the checks can fail."""
    quota = Quota("q", 3, counts="machines")
    problem = replace(one_kind([25.0, 4.0], start_s=600.0, most=4), quotas=[quota], policy=Policy("machine"))
    problem = replace(problem, quotas=[replace(quota, most=5)])
    found = solved(problem)
    assert found.machines[0].tolist() == [4, 2]

    def broken(**changes):
        return " ".join(check(replace(found, **changes)))

    assert "take" in broken(machines=found.machines - 1)
    assert "more than 4" in broken(machines=found.machines + 1)
    assert "quota q" in broken(machines=found.machines + 2)
    assert "served of" in broken(routed=found.routed * 0.9)
    assert "not allowed" in broken(unmet=found.unmet + 1.0)
    assert "whole" in broken(machines=found.machines.astype(float) + 0.5)
    away = replace(problem, network=Network())
    assert "away" in broken(problem=away)
    assert "billed" in broken(problem=replace(problem, rentals=[replace(problem.rentals[0], min_bill_s=7200.0)]))
    assert "before it has started" in broken(problem=replace(problem, running={}))


def test_deferrable_work_waits_for_its_deadline_and_no_longer():
    load = [20.0, 0.0, 0.0, 0.0, 0.0, 20.0, 0.0, 0.0]
    problem = one_kind(load, takes=10.0, start_s=600.0)
    later = replace(problem, workloads=[Workload("chat", deadline_h=3.0)])
    found = solved(later)
    assert found.usd < solved(problem).usd
    assert found.machines[0].max() == 1
    late = replace(found, routed=np.array([[[0.0, 0, 0, 10, 10, 0, 10, 10]]]))
    assert any("due" in text for text in check(late))


def test_what_starts_now_serves_later_and_what_is_billed_stays():
    problem = replace(
        one_kind([5.0, 15.0, 5.0, 5.0], start_s=600.0, min_bill_s=7200.0), running={("chat", "aws/us/small"): 1}
    )
    assert solved(problem).machines[0].tolist() == [1, 2, 1, 1]  # the old one stops, the new one is billed on
    fresh = replace(problem, running={}, ahead=True)
    assert solved(fresh).machines[0].tolist() == [1, 2, 1, 1]
    short = replace(fresh, demand=demand_of({("chat", "us"): [0.0, 15.0, 5.0, 5.0]}))
    assert solved(short).machines[0].tolist() == [1, 2, 1, 1]  # one an hour early is cheaper than two an hour longer
    busy = replace(problem, demand=problem.demand.scaled(3.0))
    assert make_plan(busy).outcome is Outcome.INFEASIBLE


def test_a_pool_is_never_planned_with_more_than_the_table_says():
    rng = np.random.default_rng(0)
    for _ in range(50):
        loads = np.maximum.accumulate(rng.uniform(0, 10, int(rng.integers(1, 9))) + np.arange(1))
        loads = np.cumsum(rng.uniform(0, 10, len(loads)))
        lines = lines_below(loads)
        planned = [min(a * n - b for a, b in lines) for n in range(1, len(loads) + 1)]
        assert all(p <= v * (1 + 1e-9) + 1e-9 for p, v in zip(planned, loads, strict=True))
        if np.all(np.diff(loads, n=2) <= 0):
            assert planned == pytest.approx(loads.tolist())


def test_infeasible_says_what_binds_and_what_cures_it():
    problem = replace(one_kind([35.0, 10.0]), quotas=[Quota("h100", 3)])
    found = make_plan(problem)
    assert isinstance(found, NoPlan)
    assert found.outcome is Outcome.INFEASIBLE
    by = {c.limit: c for c in cures(problem)}
    assert (by["quota h100"].now, by["quota h100"].then) == (3, 4)
    assert by["unmet"].then == pytest.approx(5.0)
    solved(replace(problem, quotas=[Quota("h100", by["quota h100"].then)]))


@pytest.mark.slow
def test_what_a_limit_costs():
    dear = Rental(machine("gcp", "us", "large", 5.0))
    rows = {("chat", "aws/small", 1, 0.0): 10.0, ("chat", "gcp/large", 1, 0.0): 10.0}
    problem = one_kind([35.0, 10.0])
    problem = replace(
        problem, rentals=[*problem.rentals, dear], capacity=RecordedCapacity(rows), quotas=[Quota("h100", 3, "aws")]
    )
    found = solved(problem)
    assert found.usd == 3 + 5 + 1
    (price,) = prices(found)
    assert (price.limit, price.usd) == ("quota h100", pytest.approx(4.0))
    free = changed(problem, parse_change("quota:h100=4"))
    assert solved(free).usd == 5


@pytest.mark.slow
@pytest.mark.parametrize("deadline_h", [None, 3.0])
def test_rolling_stays_near_the_whole_and_never_below_its_bound(deadline_h):
    problem = day(deadline_h=deadline_h, steps=12)
    whole = solved_to(problem, 1e-3)
    rolled = roll(problem, window=6, keep=3, gap=1e-3)
    assert isinstance(rolled, Plan)
    assert not check(rolled)
    assert rolled.bound <= whole.usd + 1e-9
    assert whole.bound <= rolled.usd <= 1.1 * whole.usd


@pytest.mark.slow
def test_one_period_gives_what_recommend_says():
    from cloudbandit.catalogue.offers import catalogue_offers
    from cloudbandit.plan.predicted import PredictedCapacity
    from cloudbandit.recommend.recommender import Recommender

    slos, users = ("ttft_ms<=1000", "tpot_ms<=40"), 200
    recommender = Recommender()
    answer = recommender.recommend("Llama-3.1-8B-Instruct", None, slos, users, risk=0.7)
    machines = list(dict.fromkeys(o.machine for o in catalogue_offers()[0]))
    from cloudbandit.core.fleet import parse_slos

    workload = Workload("chat", parse_slos(slos), "users")
    capacity = PredictedCapacity({"chat": recommender.model("Llama-3.1-8B-Instruct")}, probability=0.7)
    problem = Problem([workload], [Rental(m) for m in machines], demand_of({("chat", "us"): [users]}), capacity)
    best = solved(replace(problem, policy=Policy(most_kinds=1)))
    assert best.usd == pytest.approx(answer.best.usd_per_h)
    for entry in answer.ranking[:5]:
        alone = solved(replace(problem, rentals=[Rental(entry.offer.machine)]))
        assert (int(alone.machines.sum()), alone.usd) == (entry.replicas, pytest.approx(entry.usd_per_h))
    assert solved(problem).usd <= best.usd + 1e-9


def test_what_contradicts_itself_is_refused():
    with pytest.raises(UsageError, match="contradict"):
        Rental(machine(purchase="reserved"), least=3, most=2)
    with pytest.raises(UsageError, match="only spot"):
        Rental(machine(), reclaimed=0.2)
    with pytest.raises(UsageError, match="no capacity data"):
        pools_of(replace(one_kind([1.0]), capacity=RecordedCapacity({})))
    with pytest.raises(UsageError, match="none may be rented"):
        pools_of(replace(one_kind([1.0]), quotas=[Quota("q", 0)]))
    far = {("chat", "aws/small", 1, 0.0): 5.0, ("chat", "aws/small", 1, 100.0): 0.0}
    with pytest.raises(UsageError, match="too far"):
        pools_of(replace(one_kind([1.0]), capacity=RecordedCapacity(far), network=Network({("us", "aws/us"): 90.0})))
    with pytest.raises(UsageError, match="less than a step"):
        replace(one_kind([1.0]), workloads=[Workload("chat", deadline_h=0.5)])
