"""What can be rented and what it is billed; load curves and their rules, against brute force; fleets."""

import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbandit.core.curve import LoadCurve, answers, excess, max_users, meets, of_the_fleet, prefix, replicas_for
from cloudbandit.core.errors import PriceError, UnknownNameError, UsageError
from cloudbandit.core.fleet import SERVING, FleetGoal, metric_name, parse_slos
from cloudbandit.core.goal import SLO
from cloudbandit.core.offer import PURCHASES, Offer, Tariff
from cloudbandit.core.trial import Result, Status

# ── offers and tariffs ──

names = st.text("abc-.1", min_size=1, max_size=4)
offers = st.builds(
    Offer,
    provider=names,
    region=st.sampled_from(["", "r1", "r2"]),
    instance_type=names,
    usd_per_h=st.floats(0.01, 100),
    purchase=st.sampled_from(PURCHASES),
)


@given(offers, offers)
def test_offers_share_a_name_only_if_they_are_the_same_thing(a, b):
    same = all(getattr(a, f) == getattr(b, f) for f in ("provider", "region", "instance_type", "purchase"))
    assert (a.name == b.name) == same
    assert a.name == f"{a.provider}/{a.label}"


def test_what_is_unknown_of_an_offer_is_absent():
    bare = Offer("aws", "", "x1", 2.0)
    assert bare.facts() == {"price_usd_per_h": 2.0, "accelerators": 0.0, "provider": "aws", "purchase": "on-demand"}
    full = Offer("aws", "r1", "x1", 2.0, "spot", "T4-16GB", 1, 4, 16.0, "2026-07-20")
    assert full.facts()["memory_gib"] == 16.0
    assert full.label == "r1/x1/spot"
    assert full.age_days(date(2026, 7, 25)) == 5
    assert bare.age_days(date(2026, 7, 25)) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"usd_per_h": math.nan}, "finite number > 0"),
        ({"usd_per_h": 0.0}, "finite number > 0"),
        ({"purchase": "free"}, "allowed: 'on-demand', 'spot', 'reserved'"),
        ({"accelerators": -1}, "must be a whole number ≥ 0"),
        ({"accelerators": 0.5}, "must be a whole number ≥ 0"),
        ({"as_of": "July"}, "write YYYY-MM-DD"),
        ({"instance_type": ""}, "needs a provider and an instance type"),
    ],
)
def test_offers_that_cannot_be_are_refused(change, why):
    with pytest.raises(PriceError, match=why):
        Offer(**{"provider": "aws", "region": "r1", "instance_type": "x1", "usd_per_h": 1.0, **change})


tariffs = st.builds(
    Tariff, granularity_s=st.sampled_from([0.0, 1.0, 60.0, 3600.0]), minimum_s=st.sampled_from([0.0, 60.0, 600.0])
)


@given(tariffs, st.floats(0.001, 100_000), st.floats(0, 100_000))
def test_a_bill_covers_the_time_and_less_than_a_unit_more(tariff, seconds, longer):
    usd = tariff.usd(3600.0, seconds)  # one USD per second
    at_least = max(seconds, tariff.minimum_s)
    assert at_least - 1e-6 - 1e-9 * tariff.granularity_s <= usd <= at_least + tariff.granularity_s + 1e-6
    assert usd <= tariff.usd(3600.0, seconds + longer)
    if tariff.granularity_s:
        assert usd / tariff.granularity_s == pytest.approx(round(usd / tariff.granularity_s))


def test_a_bill_in_closed_form():
    assert Tariff().usd(5.0, 0.0) == 0.0
    assert Tariff(minimum_s=60).usd(3600.0, 1.2) == 60.0
    assert Tariff(granularity_s=3600).usd(2.0, 3601) == 4.0
    assert Tariff(granularity_s=1.0).usd(3600.0, 1e-12) == 1.0
    assert Tariff(granularity_s=1.0).usd(3600.0, 0.1 * 3 * 10) == 3.0, "three seconds, whatever the clock's last digit"
    assert Tariff(storage_usd_per_h=3600.0).usd(3600.0, 2.5) == 3.0 + 2.5
    with pytest.raises(PriceError, match="granularity_s"):
        Tariff(granularity_s=-1)


# ── curves ──

LOADS = (1, 2, 4, 8, 16)
oks = st.lists(st.booleans(), min_size=1, max_size=5)
rates = st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=1, max_size=5)


@given(oks)
def test_the_prefix_ends_at_the_first_violation(ok):
    expected = [all(ok[: i + 1]) for i in range(len(ok))]
    assert prefix(np.array(ok)).tolist() == expected
    assert max_users(np.array(ok), LOADS[: len(ok)]) == max(
        (u for u, e in zip(LOADS, expected, strict=False) if e), default=0
    )


@given(st.integers(1, 500), st.integers(1, 60))
def test_replicas_are_the_least_that_serve(demand, each):
    n = int(replicas_for(demand, each))
    assert n * each >= demand > (n - 1) * each
    assert int(replicas_for(demand * 0.7, each * 0.7)) == n, "not one more for rounding"


def test_what_takes_nothing_needs_infinitely_many():
    assert replicas_for(5, [0.0, 5.0]).tolist() == [math.inf, 1.0]


@given(rates)
def test_the_excess_of_failures_is_what_a_single_user_does_not_see(rate):
    known = excess(np.array(rate), LOADS[: len(rate)])
    base = 0.0 if math.isnan(rate[0]) else rate[0]
    assert np.array_equal(known, [math.nan if math.isnan(r) else max(0.0, r - base) for r in rate], equal_nan=True)
    no_single = excess(np.array(rate), [u + 1 for u in LOADS[: len(rate)]])
    assert np.array_equal(no_single, rate, equal_nan=True), (
        "without a single user's rate all failures are for want of capacity"
    )
    again = answers({"failure_rate": np.array(rate)}, "failure_rate_excess", LOADS[: len(rate)])
    assert np.array_equal(again, known, equal_nan=True)


@given(st.lists(st.tuples(*[st.one_of(st.none(), st.floats(1, 9))] * 2), min_size=1, max_size=5))
def test_each_load_is_answered_by_its_own_metric_or_the_stand_in(cells):
    own, other = (np.array([math.nan if v is None else v for v in column]) for column in zip(*cells, strict=True))
    curve = LoadCurve(LOADS[: len(cells)], {"ttft_p50_ms": own, "ttft_excl_accept_p50_ms": other}, 1.0)
    expected = [b if a is None else a for a, b in cells]
    assert curve.values("ttft_p50_ms").tolist() == pytest.approx(
        [math.nan if v is None else v for v in expected], nan_ok=True
    )
    stood_in = any(a is None and b is not None for a, b in cells)
    assert curve.answered_by("ttft_p50_ms") == ("ttft_excl_accept_p50_ms" if stood_in else "ttft_p50_ms")


def test_a_metric_may_be_called_without_its_statistic_and_the_unknown_is_nan():
    curve = LoadCurve.of_rows([{"users": 2, "ttft_ms": 7.0}, {"users": 1, "ttft_ms": 5.0}], 1.0)
    assert curve.loads == (1.0, 2.0)
    assert curve.values("ttft_p50_ms").tolist() == [5.0, 7.0]
    assert curve.answered_by("ttft_p50_ms") == "ttft_ms"
    assert curve.answered_by("itl_p50_ms") is None
    assert np.isnan(curve.values("itl_p50_ms")).all()
    assert not curve.meets(parse_slos(["itl_ms<=5"]), 1).any(), "a missing metric is a violated SLO"
    only = LoadCurve.of_rows([{"users": 1, "ttft_excl_accept_p95_ms": 5.0}], 1.0)
    assert only.answered_by("ttft_p95_ms") == "ttft_excl_accept_p95_ms"


@given(st.lists(st.dictionaries(st.sampled_from(SERVING), st.floats(0, 9)), min_size=1, max_size=5))
def test_a_curve_survives_its_rows(metrics):
    rows = [{"users": float(u), **m} for u, m in zip(LOADS, metrics, strict=False)]
    curve = LoadCurve.of_rows(rows[::-1], 2.0, 3)
    assert curve.rows() == rows
    result = Result(metrics={"price_usd_per_h": 2.0, "engines": 3.0}, rows=rows)
    assert LoadCurve.of_result(result).rows() == rows


@pytest.mark.parametrize("loads", [(), (0,), (1, 1), (2, 1), (1, math.nan), (1.5,), (1, math.inf)])
def test_loads_that_are_none_are_refused(loads):
    with pytest.raises((UsageError, OverflowError), match="whole numbers"):
        LoadCurve(loads, {}, 1.0)


def test_curves_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="2 values for 1 loads"):
        LoadCurve((1,), {"m": np.zeros(2)}, 1.0)
    for price, engines in ((0.0, 1), (math.nan, 1), (1.0, 0)):
        with pytest.raises(UsageError, match="both must be > 0"):
            LoadCurve((1,), {}, price, engines)
    with pytest.raises(UsageError, match=r"one row per load .*got 0 rows"):
        LoadCurve.of_rows([], 1.0)
    with pytest.raises(UsageError, match="column 'users'"):
        LoadCurve.of_rows([{"rate_per_s": 5.0}], 1.0)
    with pytest.raises(UsageError, match="needs the metric price_usd_per_h"):
        LoadCurve.of_result(Result(rows=[{"users": 1.0}]))


def test_a_throughput_is_the_fleets_and_a_latency_is_anyones():
    values = np.array([10.0, 30.0])
    assert of_the_fleet("output_tok_per_s", values, (1, 4), 8).tolist() == [80.0, 60.0]
    assert of_the_fleet("itl_p50_ms", values, (1, 4), 8) is values
    assert meets(SLO("output_tok_per_s", 70.0, False), values, (1, 4), 8).tolist() == [True, False]


# ── fleets ──

points = st.tuples(st.integers(1, 99), st.integers(0, 4), st.integers(1, 400))  # itl, failures of 10, tokens/s
sweeps = st.lists(points, min_size=1, max_size=5)


def _result(sweep, price=3.0, engines=1.0):
    rows = [
        {"users": float(u), "itl_p50_ms": float(itl), "failure_rate": failed / 10, "output_tok_per_s": float(tokens)}
        for u, (itl, failed, tokens) in zip(LOADS, sweep, strict=False)
    ]
    return Result(metrics={"price_usd_per_h": price, "engines": engines}, rows=rows)


def _good(sweep):
    """The points up to the first violation of itl ≤ 50 and of one failure in ten beyond a single user's."""
    for i, (itl, failed, _) in enumerate(sweep):
        if itl > 50 or failed > sweep[0][1] + 1:
            return sweep[:i]
    return sweep


@given(sweeps, st.integers(1, 200), st.integers(1, 4))
def test_a_fleet_for_users_is_the_brute_force_optimum(sweep, users, engines):
    score = FleetGoal(users, ["itl_ms<=50"], max_failure_rate=0.1000001).score(_result(sweep, engines=engines))
    most = LOADS[len(_good(sweep)) - 1] if _good(sweep) else 0
    if most:
        assert score.feasible
        assert score.values == (3.0 * math.ceil(users / (most * engines)),)
    else:
        assert score.violation == pytest.approx((sweep[0][0] - 50) / 50)


@given(sweeps, st.integers(1, 5000), st.integers(1, 4))
def test_a_fleet_for_tokens_is_the_brute_force_optimum(sweep, demand, engines):
    goal = FleetGoal(slos=["itl_ms<=50"], tokens_per_s=demand, max_failure_rate=0.1000001)
    score = goal.score(_result(sweep, engines=engines))
    counts = [math.ceil(demand / (tokens * engines)) for _, _, tokens in _good(sweep)]
    if counts:
        assert score.values == (3.0 * min(counts),)
    else:
        assert not score.feasible


@given(sweeps, st.integers(1, 60), st.integers(1, 3000))
def test_a_throughput_slo_is_judged_for_the_whole_fleet(sweep, users, wanted):
    score = FleetGoal(users, [f"output_tok_per_s>={wanted}"], None).score(_result(sweep))
    fleet = [tokens * users / u for u, (_, _, tokens) in zip(LOADS, sweep, strict=False)]
    most = 0
    for u, tokens in zip(LOADS, fleet, strict=False):
        if tokens < wanted:
            break
        most = u
    if most:
        assert score.values == (3.0 * math.ceil(users / most),)
    else:
        assert score.violation == pytest.approx((wanted - fleet[0]) / wanted)


@given(sweeps, st.integers(1, 100), st.integers(1, 100))
def test_more_users_and_stricter_slos_never_cost_less(sweep, users, more):
    def score(n, limit):
        return FleetGoal(n, [f"itl_ms<={limit}"], 0.1).score(_result(sweep))

    easy = score(users, 60)
    for harder in (score(users + more, 60), score(users, 40)):
        assert harder >= easy or not harder.feasible


def test_a_live_row_is_judged_by_its_failure_rate():
    """A live load test knows the failure rate and no excess of it."""
    rows = [
        {"users": 1.0, "itl_p50_ms": 9.0, "failure_rate": 0.0},
        {"users": 8.0, "itl_p50_ms": 9.0, "failure_rate": 0.3},
    ]
    score = FleetGoal(8, ["itl_ms<=50"]).score(Result(metrics={"price_usd_per_h": 1.0}, rows=rows))
    assert score.feasible
    assert score.values == (8.0,), "three requests of ten fail at eight users, so an engine takes one"


def test_a_load_that_did_not_work_ends_the_curve():
    rows = [{"users": 1.0, "itl_p50_ms": 9.0, "failure_rate": 0.0}, {"users": 2.0}, {"users": 4.0, "itl_p50_ms": 9.0}]
    assert FleetGoal(4, ["itl_ms<=50"]).score(Result(metrics={"price_usd_per_h": 1.0}, rows=rows)).values == (4.0,)


def test_what_serves_nothing_is_far_from_good():
    rows = [{"users": 1.0, "itl_p50_ms": 9.0, "failure_rate": 0.0}]
    result = Result(metrics={"price_usd_per_h": 1.0}, rows=rows)
    silent = FleetGoal(slos=["itl_ms<=50"], tokens_per_s=5.0).score(result)
    assert (silent.feasible, silent.violation) == (False, 1.0)
    unknown = FleetGoal(5, ["ttft_ms<=50"]).score(result)
    assert not unknown.feasible
    assert unknown.violation == 1e6
    assert FleetGoal(5, ["ttft_ms<=50"]).score(Result(Status.TIMEOUT)).rank == 1


def test_demands_and_slos_that_make_no_sense_are_refused():
    for kwargs, why in (
        ({}, "one of the two"),
        ({"users": 5, "tokens_per_s": 5.0}, "one of the two"),
        ({"users": 0}, "at least 1"),
        ({"tokens_per_s": math.inf}, "finite number > 0"),
    ):
        with pytest.raises(UsageError, match=why):
            FleetGoal(slos=["itl_ms<=50"], **kwargs)
    with pytest.raises(UsageError, match="limits a throughput too; cure: leave it out"):
        FleetGoal(slos=["itl_ms<=50", "output_tok_per_s>=5"], tokens_per_s=5.0)
    with pytest.raises(UsageError, match="there is no SLO"):
        FleetGoal(5)
    with pytest.raises(UnknownNameError, match="start_s"):
        parse_slos(["start_s<=5"])


def test_metrics_are_called_by_their_full_name_their_median_or_an_old_name():
    assert metric_name("ttft_ms") == "ttft_p50_ms"
    assert metric_name("throughput_tok_per_s") == "output_tok_per_s"
    assert {"goodput_requests_per_s", "itl_mean_ms", "failure_rate_excess", "ttft_excl_accept_p99_ms"} <= set(SERVING)
    assert "usd_per_h" not in SERVING
