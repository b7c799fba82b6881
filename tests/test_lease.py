"""Leases: keys, what is given back whatever happens, and that trials + hosts = bills."""

import json
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cloudbandit
from cloudbandit import Budget, Result, SLOGoal, Status, Store, Study, make_factory
from cloudbandit.core.errors import NoCapacity, UsageError
from cloudbandit.core.offer import Bill
from cloudbandit.core.trial import Candidate, Trial
from cloudbandit.live.lease import Lease, lease_key
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.trial import STOP_S, Benchmark, Unattended
from cloudbandit.loadgen.workloads import Closed, Fixed, Workload

sys.path.insert(0, str(Path(__file__).parent / "plugins"))
from toycloud import ToyCloud, ToyEngine

LIMIT_S = 100.0
SPOT = ("toy", "us-east/toy.2x/spot")


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    time = monotonic

    def sleep(self, seconds):
        self.now += seconds


class Through:
    """Whatever clock the provider has by then."""

    def __init__(self, provider):
        self.provider = provider

    def __getattr__(self, name):
        return getattr(self.provider.clock, name)


class Folder:
    """A host that is none, so that hundreds of leases are fast."""

    def __init__(self, **_):
        self.closed = False

    def close(self):
        self.closed = True


@contextmanager
def clocked(provider):
    """The provider and the lease on one clock."""
    clock = provider.clock = Clock()
    with mock.patch("cloudbandit.live.lease.time", clock), mock.patch("toycloud.LocalHost", Folder):
        yield clock


def _objective(provider, **options):
    benchmark = Benchmark("m", Workload(Fixed(5, 4)), [Closed(1)], requests=2, limit_s=LIMIT_S)
    return LiveObjective(provider, ToyEngine(), benchmark, clock=Through(provider), **options)


def _total(bills):
    return sum(bill.usd for bill in bills.values())


# ── keys ──


@given(st.text(max_size=200), st.integers(0, 10**6), st.sampled_from(ToyCloud().offers()))
def test_a_key_is_a_function_of_store_run_offer_and_ordinal_and_safe_as_a_tag(run, ordinal, offer):
    key = lease_key("0123abcd", run, offer, ordinal)
    assert re.fullmatch("[a-z0-9-]{1,40}", key)
    assert key == lease_key("0123abcd", run, offer, ordinal)
    others = [lease_key("0123abce", run, offer, ordinal), lease_key("0123abcd", run + "x", offer, ordinal)]
    others += [lease_key("0123abcd", run, offer, ordinal + 1)]
    others += [lease_key("0123abcd", run, other, ordinal) for other in ToyCloud().offers() if other != offer]
    assert len({key, *others}) == 6


# ── giving back ──


def test_nobody_else_launches():
    package = Path(cloudbandit.__file__).parent
    assert [p.name for p in package.rglob("*.py") if ".launch(" in p.read_text()] == ["lease.py"]


@pytest.mark.parametrize("error", [NoCapacity("None"), KeyboardInterrupt(), RuntimeError("lost answer")])
def test_whatever_a_launch_raises_its_key_is_destroyed_and_billed(error):
    class Odd(ToyCloud):
        def launch(self, offer, **options):
            super().launch(offer, **options)
            self.clock.sleep(30.0)
            raise error  # the answer is lost; the machine is up

    provider = Odd(granularity_s=0.0)
    lease = Lease(provider, provider.offers()[0], "r", "k", 60.0)
    with clocked(provider), pytest.raises(type(error)), lease.host():
        pytest.fail("there is no host")
    assert provider.rented("r") == []
    assert provider.destroyed == ["k"]
    assert (lease.trial_usd, lease.hosts_usd) == (0.0, provider.bills["k"].usd)
    assert lease.bill == Bill(2.0 * 30 / 3600, 30.0)


def test_what_a_trial_raises_does_not_keep_its_host(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("cloudbandit.live.objective.measure", broken)
    provider = ToyCloud()
    with clocked(provider), pytest.raises(ZeroDivisionError):
        _objective(provider, run="r").evaluate(Trial(0, Candidate(SPOT, {"gpus": 1, "batch": 1})), Unattended())
    assert provider.rented("r") == []
    assert provider.destroyed == provider.launched


def test_no_capacity_is_unavailable_and_pays_what_was_billed_all_the_same():
    provider = ToyCloud(no_capacity=[SPOT[1]], refusal_s=36.0)
    with clocked(provider):
        result = _objective(provider).evaluate(Trial(0, Candidate(SPOT, {"gpus": 1, "batch": 1})), Unattended())
    assert (result.status, result.reason) == (Status.UNAVAILABLE, "InsufficientInstanceCapacity")
    assert (result.spent_usd, result.hosts_usd) == (0.0, pytest.approx(0.5 * 36 / 3600))
    assert provider.destroyed == provider.launched


# ── money ──


def test_hosts_usd_is_money_and_travels_through_json():
    result = Result(metrics={"m": 1.0}, hosts_usd=0.5)
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="hosts_usd of a result"):
            Result(hosts_usd=wrong)


TARIFFS = st.fixed_dictionaries(
    {
        "usd_per_h": st.floats(0.01, 500.0),
        "boot_s": st.floats(0.0, 900.0),
        "minimum_s": st.sampled_from([0.0, 60.0, 3600.0]),
        "granularity_s": st.sampled_from([0.0, 1.0, 60.0, 3600.0]),
        "storage_usd_per_h": st.floats(0.0, 1.0),
        "refusal_s": st.sampled_from([0.0, 30.0]),
        "no_capacity": st.sampled_from([(), (SPOT[1],)]),
    }
)


@settings(max_examples=60, deadline=None)
@given(TARIFFS, st.lists(st.floats(0.0, LIMIT_S), min_size=4, max_size=4), st.floats(0.1, 50.0), st.integers(0, 99))
def test_trials_and_hosts_are_the_bills_and_never_exceed_the_cap(tariff, durations, cap_in_quotes, seed):
    provider = ToyCloud(**tariff)
    objective = _objective(provider)
    quotes = [objective.quote(c).usd for c in objective.domain().candidates]
    cap = cap_in_quotes * min(quotes)
    with clocked(provider) as clock:

        def measured(host, engine, benchmark, trial, run):
            clock.sleep(durations[trial.number % 4])
            return Result(metrics={"loss": float(trial.number)})

        with mock.patch("cloudbandit.live.objective.measure", measured):
            study = Study(
                objective.domain(), objective, SLOGoal("loss"), make_factory("random", None), Budget(12, cap), seed=seed
            )
            report = study.run()
    billed = _total(provider.bills)
    assert report.trials_usd + report.hosts_usd == pytest.approx(billed, abs=1e-9)
    assert report.spent_usd == pytest.approx(billed, abs=1e-9)
    assert report.spent_usd <= cap + 1e-9
    assert report.overrun_usd <= 1e-9
    assert len(set(provider.launched)) == len(report.observations)
    for o in report.observations:
        time_share = objective.offer(o.candidate).usd_per_h * durations[o.trial.number % 4] / 3600
        assert o.result.spent_usd <= max(time_share, 0.0) + 1e-6
        assert o.result.spent_usd + o.result.hosts_usd <= objective.quote(o.candidate).usd + 1e-9


def test_the_quote_holds_boot_limit_and_stop_at_the_providers_tariff():
    provider = ToyCloud(usd_per_h=3600.0, boot_s=300.0, minimum_s=0.0, granularity_s=60.0)
    offer = next(c for c in _objective(provider).domain().candidates if c.arm[1] == "us-east/toy.2x")
    quote = _objective(provider).quote(offer)
    assert quote.seconds == 300 + LIMIT_S + STOP_S
    assert quote.usd == 420.0  # 415 s, by the started minute
    assert _objective(ToyCloud(usd_per_h=3600.0, minimum_s=3600.0)).quote(offer).usd == 3600.0


def test_a_stored_study_keeps_what_hosts_cost_and_leases_under_its_stores_id(tmp_path):
    provider = ToyCloud(minimum_s=60.0)
    goal, key = SLOGoal("loss"), re.compile("cb-([0-9a-f]{8})-")
    for trials in (2, 4):
        with clocked(provider) as clock, Store(tmp_path / "s.db") as store:
            objective = _objective(provider, store_id=store.id)
            used = lambda *_, clock=clock: clock.sleep(6.0) or Result(metrics={"loss": 1.0})  # noqa: E731
            with mock.patch("cloudbandit.live.objective.measure", used):
                factory = make_factory("random-wor", None)
                report = Study(objective.domain(), objective, goal, factory, Budget(trials), store=store).run()
            assert {key.match(k)[1] for k in provider.launched} == {store.id}
    assert len(set(provider.launched)) == 4
    assert report.spent_usd == pytest.approx(_total(provider.bills))
    assert report.hosts_usd == pytest.approx(9 * report.trials_usd)  # six seconds of a minute were used
