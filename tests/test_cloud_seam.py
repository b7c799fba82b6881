"""What every cloud has in common, without an SDK: what a refused listing or deletion is, and what a late listing costs."""

from types import SimpleNamespace
from unittest import mock

import pytest
from test_lease import Clock, _objective

from cloudbandit.core.errors import CredentialsError, LeaseStuck, NoCapacity, OfferBarred, ProviderError, UsageError
from cloudbandit.core.leases import LeaseRow, LeaseState, MemoryBook
from cloudbandit.core.offer import Tariff
from cloudbandit.core.rented import Fate, Receipt
from cloudbandit.live.giving_back import give_back, reap
from cloudbandit.providers.cloud import KEY, OURS, UP, CloudProvider, Seen

pytest.importorskip("asyncssh")


class Stub(CloudProvider):
    """A cloud of what the test puts into it."""

    name = "aws"  # the catalogue has offers of it
    lag_s, gone_s = 30.0, 600.0

    def __init__(self, **given):
        super().__init__(given)
        self.tariff = Tariff()
        self.clock = Clock()
        self.there = {}
        self.list_raises, self.delete_raises = [], {}

    def put(self, id, key, where="us-east-1", **more):
        self.there[id] = Seen(id, where, UP, {OURS: "1", KEY: key}, **more)

    def _create(self, rental):
        return Receipt(rental.key, "i-1", rental.offer.region)

    def _list(self, tags, where=""):
        if self.list_raises:
            raise self.list_raises.pop(0)
        return [s for s in self.there.values() if all(s.tags.get(k) == v for k, v in tags.items())]

    def _delete(self, seen):
        if seen.id in self.delete_raises:
            raise self.delete_raises[seen.id]
        del self.there[seen.id]


@pytest.fixture
def cloud():
    return Stub(regions=["us-east-1"])


def test_a_quota_of_calls_is_no_lack_of_machines(cloud):
    cloud.put("i-1", "cb-1")
    for ask in (cloud.rented, lambda: cloud.destroy("cb-1")):
        cloud.list_raises = [OfferBarred("quotaExceeded", "too many calls today")]
        with pytest.raises(ProviderError, match=r"^quotaExceeded: too many calls today$"):
            ask()
    cloud.list_raises = [OfferBarred("quotaExceeded")]
    assert not cloud.interrupted("cb-1"), "nobody can tell: what was measured is kept"
    cloud.delete_raises["i-1"] = OfferBarred("UnsupportedOperation", "not so")
    with pytest.raises(LeaseStuck, match="UnsupportedOperation"):
        give_back(cloud, "cb-1", believed_from=0.0, clock=cloud.clock)


def test_one_thing_that_does_not_go_keeps_no_other_of_its_lease(cloud):
    cloud.put("i-1", "cb-1")
    cloud.put("vol-1", "cb-1", kind="disk")
    cloud.delete_raises["i-1"] = ProviderError("OperationNotPermitted", "protected")
    with pytest.raises(ProviderError, match="protected"):
        cloud.destroy("cb-1")
    assert list(cloud.there) == ["i-1"]


def test_what_a_late_listing_did_not_show_is_billed_until_it_is_gone(cloud):
    offer = cloud.offers()[0]
    cloud.launch(offer, run="r", key="cb-1", expires=9000.0)
    assert cloud.destroy("cb-1") is Fate.GONE, "the listing is behind"
    cloud.clock.sleep(600)
    cloud.put("i-1", "cb-1")
    assert cloud.destroy("cb-1") is Fate.GOING
    assert cloud.destroy("cb-1") is Fate.GONE
    assert cloud.bill("cb-1").seconds == 600


@pytest.mark.parametrize("how", ["give_back", "reap"])
def test_two_listings_agree_that_may_be_believed(cloud, how):
    """One that flickers: the first listing after ``lag_s`` misses it, the second does not."""
    cloud.put("i-1", "cb-1")
    listed, whole, late = [], cloud._list, cloud.clock.now + cloud.lag_s

    def flicker(tags, where=""):
        listed.append(cloud.clock.now)
        return [] if sum(at >= late for at in listed) < 2 else whole(tags, where)

    cloud._list = flicker
    if how == "reap":
        assert reap(cloud, clock=cloud.clock).left == []
    else:
        give_back(cloud, "cb-1", believed_from=late, clock=cloud.clock)
    assert cloud.there == {}


@pytest.mark.parametrize(
    "error", [ProviderError("OperationNotPermitted", "protected"), CredentialsError("Denied", "no")]
)
def test_what_does_not_go_keeps_no_other_lease_from_going(cloud, error):
    for n in range(3):
        cloud.put(f"i-{n}", f"cb-{n}")
    cloud.delete_raises["i-0"] = error
    reaped = reap(cloud, clock=cloud.clock)
    assert list(cloud.there) == ["i-0"]
    assert "i-0" in [one.id for one in reaped.left]
    assert reaped.errors == [f"cb-0: {error}"]


def test_a_refusal_of_azure_may_leave_its_group_behind():
    """A machine's PUT follows those of its group and address: only a listing that can be believed says they are gone."""
    pytest.importorskip("azure.mgmt.compute")
    from azure.core.exceptions import HttpResponseError

    from cloudbandit.providers.azure_errors import errors

    refused = HttpResponseError("no")
    refused.status_code, refused.error = 409, SimpleNamespace(code="SkuNotAvailable", message="none in eastus")
    with pytest.raises(NoCapacity) as told, errors():
        raise refused
    assert told.value.code == "SkuNotAvailable"
    assert not told.value.clean


@pytest.mark.parametrize("error", [ProviderError("500", "down", again=True), OfferBarred("quotaExceeded", "calls")])
@pytest.mark.parametrize("name", ["gcp", "azure"])
def test_whether_a_host_was_taken_back_may_be_unknown_and_costs_no_measurement(name, error):
    from cloudbandit.providers.registry import PROVIDERS

    provider = PROVIDERS.make(name, {"purchase": ["spot"]}, "the test")
    rental = SimpleNamespace(offer=provider.offers()[0], stood=True, where="z")
    provider._rentals["cb-1"] = rental
    with (
        mock.patch.object(provider, "_list", side_effect=error),
        mock.patch.object(provider, "_client", side_effect=error),
    ):
        assert provider.interrupted("cb-1") is False


def test_an_answer_of_aws_that_cannot_be_read_is_an_answer_that_was_lost():
    """A truncated one, or a proxy's page: what was asked for may have been done."""
    pytest.importorskip("boto3")
    from botocore.parsers import ResponseParserError

    from cloudbandit.providers.aws import _errors

    with pytest.raises(ProviderError) as told, _errors():
        raise ResponseParserError("Unable to parse response (no element found), invalid XML received")
    assert told.value.again


def test_what_stands_is_priced_by_its_own_region(tmp_path):
    """Not by one whose name begins the same: eastus, eastus2; europe-west1, europe-west10-a."""
    head = "provider,region,instance_type,accelerator,accelerators,vcpu,memory_gib,"
    head += "on_demand_usd_per_h,spot_usd_per_h,as_of,source"
    rows = [f"aws,{region},x,T4-16GB,1,4,16,{usd},,2026-07-20,test" for region, usd in (("east1", 1), ("east10", 2))]
    (tmp_path / "prices.csv").write_text("\n".join([head, *rows, ""]))
    cloud = Stub(prices=str(tmp_path / "prices.csv"))
    for where in ("east10", "east10-a", "east1-b", "east12-a"):
        cloud.put(where, where, where=where, what="x")
    assert [one.usd_per_h for one in cloud.rented()] == [2, 2, 1, None]


def test_nothing_is_rented_where_no_sweep_looks():
    from cloudbandit.providers.aws import AWSProvider

    assert {o.region for o in AWSProvider().offers()} == {"us-east-1", "us-west-2"}
    assert {o.region for o in AWSProvider(everywhere=["us-west-2"]).offers()} == {"us-west-2"}
    with pytest.raises(UsageError, match="lacks us-east-1"):
        AWSProvider(everywhere=["us-west-2"], regions=["us-east-1"])
    with pytest.raises(UsageError, match="must be a list of regions"):
        AWSProvider(everywhere="us-west-2")


def test_what_an_earlier_run_left_is_told_to_go_at_once(cloud):
    """Not one by one: the others would cost money while one that does not go is waited for."""
    book = MemoryBook()
    for n in range(3):
        cloud.put(f"i-{n}", f"cb-{n}")
        book.intend(LeaseRow(f"cb-{n}", "cloudbandit", "aws", "o", 1.0, 0.0))
    cloud.delete_raises["i-0"] = ProviderError("OperationNotPermitted", "protected")
    went, delete, began = {}, cloud._delete, cloud.clock.now

    def told(seen):
        delete(seen)
        went[seen.id] = cloud.clock.now - began

    cloud._delete = told
    with pytest.raises(LeaseStuck, match="cb-0"):
        _objective(cloud, book=book).clear()
    assert went == {"i-1": 0.0, "i-2": 0.0}
    assert [row.state for row in book.rows()] == [LeaseState.STUCK, LeaseState.GONE, LeaseState.GONE]


def test_a_rental_does_not_show_its_machines_private_key(cloud):
    cloud.launch(cloud.offers()[0], run="r", key="cb-1", expires=9000.0)
    assert "PRIVATE KEY" in cloud._rentals["cb-1"].user_data
    assert "PRIVATE KEY" not in repr(cloud._rentals)


@pytest.mark.parametrize(
    ("zones", "kind", "code", "asked"),
    [
        ([NoCapacity("STOCKOUT"), OfferBarred("RESOURCE_NOT_FOUND")], NoCapacity, "STOCKOUT", 2),
        ([OfferBarred("RESOURCE_NOT_FOUND"), NoCapacity("STOCKOUT")], NoCapacity, "STOCKOUT", 2),
        ([OfferBarred("RESOURCE_NOT_FOUND"), OfferBarred("RESOURCE_NOT_FOUND")], OfferBarred, "RESOURCE_NOT_FOUND", 2),
        ([OfferBarred("quotaExceeded"), NoCapacity("STOCKOUT")], OfferBarred, "quotaExceeded", 1),
        ([NoCapacity("STOCKOUT"), OfferBarred("QUOTA_EXCEEDED")], OfferBarred, "QUOTA_EXCEEDED", 2),
    ],
)
def test_an_offer_of_gcp_is_barred_where_every_zone_bars_it(zones, kind, code, asked):
    from cloudbandit.providers.gcp import GCPProvider

    gcp = GCPProvider(regions=["us-central1"])
    rental = SimpleNamespace(offer=gcp.offers()[0], key="cb-1", where="")
    with (
        mock.patch.object(gcp, "_zones_of", return_value=["us-central1-a", "us-central1-f"]),
        mock.patch.object(gcp, "_let_ssh_in"),
        mock.patch.object(gcp, "_call"),
        mock.patch.object(gcp, "_in_zone", side_effect=zones) as tried,
        pytest.raises(NoCapacity) as told,
    ):
        gcp._create(rental)
    assert type(told.value) is kind
    assert (told.value.code, told.value.clean, tried.call_count) == (code, False, asked)
