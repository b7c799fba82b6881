"""Each provider with its real SDK before a fake cloud: launch, SSH, destroy by tag, and every way these go wrong."""

import contextlib
import itertools
import os
import sys
import time
from unittest import mock

import pytest
import rigs
import test_money_safety as money
from scripted_engine import Scripted

from cloudbandit import Status, Store
from cloudbandit.core.errors import (
    CredentialsError,
    HostInterrupted,
    HostLost,
    LeaseStuck,
    NoCapacity,
    OfferBarred,
    ProviderError,
    UsageError,
)
from cloudbandit.core.leases import LeaseState, MemoryBook
from cloudbandit.core.rented import run_tag
from cloudbandit.core.trial import Candidate, Trial
from cloudbandit.live.giving_back import give_back, reap
from cloudbandit.live.lease import Lease
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.trial import Benchmark, Unattended
from cloudbandit.loadgen.workloads import Closed, Fixed, Workload
from cloudbandit.testing.fakecloud import Fault
from cloudbandit.testing.fakecloud.provider import NoHost

pytest.importorskip("asyncssh")
pytestmark = pytest.mark.slow
PROVIDERS = list(rigs.TYPES)
OURS = {"cloudbandit": "1"}


@pytest.fixture(params=PROVIDERS)
def name(request):
    pytest.importorskip(rigs.SDK[request.param])
    return request.param


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr("cloudbandit.live.giving_back._PAUSE_S", 0.02)
    monkeypatch.setattr("cloudbandit.live.lease._FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr("cloudbandit.providers.cloud._POLL_S", 0.05)
    monkeypatch.setattr("cloudbandit.providers.ssh_connect._PAUSE_S", 0.05)


@pytest.fixture
def rig(name, tmp_path, monkeypatch, fast):
    with rigs.rig(name, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def with_machines(name, tmp_path, monkeypatch, fast):
    def up(driver=True, **options):
        folder = tmp_path / "bin"
        folder.mkdir()
        if driver:
            (folder / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: Tesla T4 (UUID: GPU-1)'\n")
            (folder / "nvidia-smi").chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}"
        return rigs.rig(name, tmp_path, monkeypatch, ssh=True, environment={"PATH": path}, **options)

    return up


def provider_of(rig, **more):
    made = rig.provider(**more)
    made.lag_s, made.gone_s = 0.05, 2.0
    return made


def launch(provider, key="cb-s-0123456789-0", offer=0, run="r", seconds=600.0):
    return provider.launch(provider.offers()[offer], run=run, key=key, expires=time.time() + seconds)


# ── one machine ──


def test_a_machine_is_launched_tagged_reached_and_seen_gone(with_machines):
    with with_machines() as rig:
        provider = provider_of(rig)
        book = MemoryBook()
        lease = Lease(provider, provider.offers()[0], "r", "cb-s-0123456789-0", 600.0, book)
        with lease.host() as host:
            (machine,) = rig.cloud.standing("machine", **OURS)
            assert host.run([sys.executable, "-c", "print('hello')"], timeout_s=20).output == "hello"
            assert machine.tags["cloudbandit-key"] == lease.key
            if rig.name != "azure":  # where what is shut down from within is still billed
                assert machine.gone == pytest.approx(time.time() + 600, abs=60), "its own timer is armed"
            assert [row.state for row in book.rows()] == [LeaseState.ACTIVE]
            assert book.rows()[0].id in (machine.id, machine.token)
            (seen,) = [one for one in provider.rented() if one.kind == "machine"]
            assert (seen.key, seen.run, seen.usd_per_h) == (lease.key, "r", rigs.ON_DEMAND)
            assert seen.expires == pytest.approx(time.time() + 600, abs=30)
        assert rig.cloud.standing(**OURS) == []
        assert provider.rented() == []
        assert lease.bill.usd == pytest.approx(rig.cloud.usd(**OURS), abs=0.01)
        assert lease.bill.usd >= rig.cloud.usd(**OURS)
        assert [row.state for row in book.rows()] == [LeaseState.GONE]


def test_another_process_destroys_by_key_alone_and_touches_nothing_else(rig):
    launch(provider_of(rig))
    theirs = rig.cloud.create("t", what="x", where=rigs.REGION[rig.name], tags={"owner": "them"}, usd_per_h=1.0)
    other = provider_of(rig)
    assert other.bill("cb-s-0123456789-0").usd == 0
    give_back(other, "cb-s-0123456789-0", believed_from=time.monotonic() + 0.05)
    give_back(other, "cb-never-launched-0", believed_from=time.monotonic())
    assert rig.cloud.standing(**OURS) == []
    launch(provider_of(rig), key="cb-s-0123456789-1", run="Another Run!")
    (gone,) = [one for one in reap(other, run="Another Run!").gone if one.kind == "machine"]
    assert gone.run == run_tag("Another Run!") != "Another Run!"
    assert rig.cloud.standing(**OURS) == []
    assert theirs.going is None


def test_a_spot_machine_that_is_taken_back_is_told_apart(rig):
    provider = provider_of(rig)
    spot = [offer.purchase for offer in provider.offers()].index("spot")
    receipt = launch(provider, offer=spot)
    (machine,) = rig.cloud.standing("machine", **OURS)
    assert machine.purchase == "spot"
    assert not provider.interrupted(receipt.key)
    rig.cloud.interrupt(machine.id)
    assert provider.interrupted(receipt.key)
    with pytest.raises(HostInterrupted, match="taken back"):
        provider.connect(receipt, timeout_s=2.0)
    give_back(provider, receipt.key, believed_from=time.monotonic())
    assert rig.cloud.standing(**OURS) == []


def test_what_was_measured_before_it_was_taken_back_is_kept(with_machines):
    with with_machines() as rig:
        provider = provider_of(rig)
        spot = next(offer for offer in provider.offers() if offer.purchase == "spot")

        class Taken(Unattended):
            def report(self, partial):
                rig.cloud.interrupt(next(iter(rig.cloud.standing("machine", **OURS))).id)
                return True

        benchmark = Benchmark("good", Workload(Fixed(5, 4)), [Closed(1), Closed(2)], requests=2, timeout_s=5.0)
        objective = LiveObjective({rig.name: provider}, Scripted(), benchmark, "r", "s")
        config = {"itl_ms": 1, "start": "ready", "batch": 1}
        result = objective.evaluate(Trial(0, Candidate((rig.name, spot.label), config)), Taken())
        assert (result.status, result.reason) == (Status.INTERRUPTED, "host_interrupted"), result.error
        assert [row["users"] for row in result.rows] == [1]
        assert rig.cloud.standing(**OURS) == []


# ── what goes wrong ──

MET = {
    Fault.REFUSED: (NoCapacity, "apacity|RESOURCE|EXHAUSTED|Allocation|SkuNotAvailable"),
    Fault.QUOTA: (OfferBarred, "(?i)limit|quota|OperationNotAllowed"),
    Fault.FORBIDDEN: (CredentialsError, "(?i)unauthorized|forbidden|Authorization"),
    Fault.PARTIAL: (ProviderError, None),
    Fault.LEFT: (NoCapacity, None),
}


@pytest.mark.parametrize("fault", list(MET), ids=str)
def test_refusals_are_told_apart_and_leave_nothing(rig, fault):
    provider = provider_of(rig)
    rig.cloud.plan("create", [fault] * 2)
    lease = Lease(provider, provider.offers()[0], "r", "cb-s-0123456789-0", 600.0)
    kind, why = MET[fault]
    with pytest.raises(kind, match=why) as told, lease.host():
        pytest.fail("there is no machine")
    assert type(told.value) is kind
    assert rig.cloud.standing(**OURS) == []
    tried = rigs.ZONES[rig.name] if fault in (Fault.REFUSED, Fault.LEFT) else 1
    assert rig.cloud.calls.count("create") == tried, "a launch is not tried again by the SDK"


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.LATE, Fault.THROTTLED, Fault.BROKEN], ids=str)
def test_asking_again_makes_no_second_machine(rig, fault):
    provider = provider_of(rig)
    rig.cloud.plan("create", [fault, None, fault])
    lease = Lease(provider, provider.offers()[0], "r", "cb-s-0123456789-0", 600.0)
    with mock.patch.object(provider, "connect", return_value=NoHost(None)), lease.host():
        assert len(rig.cloud.standing("machine", **OURS)) == 1
    assert rig.cloud.standing(**OURS) == []
    assert len([r for r in rig.cloud.resources if r.kind == "machine"]) == 1


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.THROTTLED, Fault.BROKEN, Fault.IGNORED], ids=str)
def test_a_destroy_is_repeated_until_it_is_seen(rig, fault):
    provider = provider_of(rig)
    launch(provider)
    rig.cloud.plan("delete", [fault] * 5)
    give_back(provider, "cb-s-0123456789-0", believed_from=time.monotonic() + 0.05)
    assert rig.cloud.standing(**OURS) == []


def test_what_does_not_go_is_stuck(rig):
    provider = provider_of(rig)
    provider.gone_s = 0.3
    launch(provider)
    rig.cloud.plan("delete", [Fault.IGNORED] * 500)
    with pytest.raises(LeaseStuck, match="still listed"):
        give_back(provider, "cb-s-0123456789-0", believed_from=time.monotonic())
    assert len(reap(provider).left) >= 1
    rig.cloud.faults.clear()
    provider.gone_s = 5.0
    assert reap(provider).left == []


def test_what_is_not_sold_there_is_barred(rig):
    provider = provider_of(rig)
    labels = [offer.label for offer in provider.offers()]
    wrong = next(i for i, label in enumerate(labels) if "not-sold" in label)
    lease = Lease(provider, provider.offers()[wrong], "r", "cb-s-0123456789-0", 600.0)
    with pytest.raises(OfferBarred), lease.host():
        pytest.fail("it is not sold")
    assert rig.cloud.standing(**OURS) == []


def test_settings_that_make_no_sense_are_told_before_anything_is_asked(rig):
    for change, why in (
        ({"regions": ["mars-1"]}, "no offer is in region 'mars-1'"),
        ({"instance_types": ["p9"]}, "no offer of .* is an instance type 'p9'"),
        ({"purchase": ["reserved"]}, "allowed: on-demand, spot"),
        ({"disk_gb": 3}, "did you mean 'disk_gib'"),
        ({"disk_gib": 0}, "number > 0"),
        ({"regions": "us-east-1"}, "a list of texts"),
    ):
        with pytest.raises(UsageError, match=why):
            rig.provider(**change)
    assert rig.server.requests == []


def test_a_machine_that_never_answers_is_given_back(with_machines):
    with with_machines(answer=False) as rig:
        provider = provider_of(rig, boot_s=1.0)
        lease = Lease(provider, provider.offers()[0], "r", "cb-s-0123456789-0", 600.0)
        with pytest.raises(HostLost, match="cannot be reached by SSH"), lease.host():
            pytest.fail("there is no machine")
        assert rig.cloud.standing(**OURS) == []


def test_an_image_without_a_driver_is_one_clear_error(with_machines):
    with with_machines(driver=False) as rig:
        provider = provider_of(rig)
        lease = Lease(provider, provider.offers()[0], "r", "cb-s-0123456789-0", 600.0)
        with pytest.raises(ProviderError, match=r"no_driver.*Cure: image"), lease.host():
            pytest.fail("there is no GPU")
        assert rig.cloud.standing(**OURS) == []


def test_a_setup_that_fails_says_what_it_said(with_machines):
    with with_machines() as rig:
        provider = provider_of(rig, setup=["echo no such package; exit 3"])
        lease = Lease(provider, provider.offers()[0], "r", "cb-s-0123456789-0", 600.0)
        with pytest.raises(ProviderError, match="ended with 3: no such package"), lease.host():
            pytest.fail("it is not set up")
        assert rig.cloud.standing(**OURS) == []


# ── bad credentials ──


def test_wrong_and_missing_credentials_are_one_clear_error(rig, monkeypatch):
    rigs.reject(rig, monkeypatch)
    with pytest.raises(CredentialsError):
        launch(provider_of(rig))
    with pytest.raises(CredentialsError):
        provider_of(rig).rented()
    changed = rigs.forget(rig, monkeypatch)
    with pytest.raises(CredentialsError, match="Cure"):
        launch(provider_of(rig, **changed))
    assert rig.cloud.standing(**OURS) == []


# ── fault schedules over HTTP, with the store ──


def searched(name, tmp_path, monkeypatch, examples):
    """The state machine of test_money_safety.py, with this provider's SDK and the real store."""
    with contextlib.ExitStack() as stack:
        numbers = itertools.count()
        made = stack.enter_context(rigs.rig(name, tmp_path, monkeypatch))
        shared = made.provider(**rigs.ONE_REGION[name])

        def provider(cloud, gone_s, boots_s):
            made.front.begin(cloud)
            shared.clock, shared.lag_s, shared.gone_s, shared.boot_s = cloud.clock, cloud.lag_s, gone_s, 120.0
            shared._rentals.clear()

            def connect(receipt, timeout_s):
                cloud.clock.sleep(boots_s)
                return NoHost(cloud.find(rigs.id_of(name, cloud, receipt)))

            shared.connect = connect
            return shared

        def book(clock):
            return stack.enter_context(Store(tmp_path / f"{next(numbers)}.db")).leases

        monkeypatch.setattr(money, "ARMS", [(name, offer.label) for offer in shared.offers()[:2]])
        fixed = {"lives": False} if name == "azure" else {}
        money.search(examples, {"provider": provider, "book": book, "name": name, **fixed}, steps=4)


@pytest.mark.timeout(0)
def test_a_hundred_fault_schedules_over_http(name, tmp_path, monkeypatch):
    """`make soak` sets how many."""
    searched(name, tmp_path, monkeypatch, int(os.environ.get("CLOUDBANDIT_SOAK") or 100))
