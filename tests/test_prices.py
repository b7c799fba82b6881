import csv
from dataclasses import asdict, replace
from datetime import date

import pytest

from cloudbandit.catalogue.facts import facts
from cloudbandit.catalogue.offers import catalogue_offers, select, serving_offers
from cloudbandit.catalogue.prices import PriceRow, load_offers, load_prices, stale
from cloudbandit.catalogue.validation import validate
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import PriceError, UsageError
from cloudbandit.core.offer import Offer

BASE = PriceRow("aws", "r1", "p5.48xlarge", "H100", 8, 192, 2048.0, 55.0, 20.0, "2026-07-20", "test")


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(BASE)))
        writer.writeheader()
        writer.writerows(asdict(r) for r in rows)


def dropped(*rows):
    return {(d.row.region, d.row.instance_type, d.what): d.reason for d in validate([BASE, *rows])[1]}


@pytest.mark.parametrize(
    ("change", "what", "reason"),
    [
        ({"vcpu": None}, "offer", "no host part"),
        ({"accelerators": 12}, "offer", "12 accelerators"),
        ({"on_demand_usd_per_h": 700.0}, "offer", "placeholder"),
        ({"on_demand_usd_per_h": 5.0, "spot_usd_per_h": None}, "offer", "per GPU"),
        ({"on_demand_usd_per_h": 90.0}, "offer", "regions disagree"),
        ({"spot_usd_per_h": 55.0}, "spot", "not below on-demand"),
        ({"spot_usd_per_h": 60.0}, "spot", "not below on-demand"),
        ({"spot_usd_per_h": 1.0}, "spot", "below 3 %"),
        ({"spot_usd_per_h": 7.0}, "spot", "outlier"),
        ({"note": "min over AZs is local zone atl2"}, "spot", "local zone"),
    ],
)
def test_known_errors_are_caught(change, what, reason):
    found = dropped(replace(BASE, region="r2", **change))
    assert reason in found["r2", "p5.48xlarge", what]


def test_a_sound_catalogue_passes_unchanged():
    rows = [BASE, replace(BASE, region="r2", spot_usd_per_h=18.0)]
    assert validate(rows) == (rows, [])


def test_of_two_prices_the_one_nearer_to_other_regions_stays():
    near, far = (replace(BASE, region="r2", on_demand_usd_per_h=x) for x in (56.0, 30.0))
    kept, gone = validate([BASE, far, near])
    assert [o.on_demand_usd_per_h for o in kept] == [55.0, 56.0]
    assert "two prices for one key" in gone[0].reason


def test_a_disputed_size_takes_its_family_along():
    sizes = [
        replace(
            BASE,
            provider="gcp",
            instance_type=f"a3-highgpu-{n}g",
            region="r1",
            accelerators=n,
            on_demand_usd_per_h=7.0 * n,
        )
        for n in (1, 2, 4)
    ]
    other = replace(sizes[0], region="r2", on_demand_usd_per_h=14.0)
    kept, gone = validate([BASE, *sizes, other])
    assert [o.provider for o in kept] == ["aws"]
    assert len(gone) == 4


def test_the_bundled_prices_validate_and_say_where_they_come_from():
    rows = load_prices(bundled() / "prices" / "offers.csv")
    assert len(rows) > 50
    kept, gone = validate(rows)
    assert kept == rows
    assert gone == []
    assert all(r.source for r in rows)
    assert not any(r.instance_type.startswith("a3-highgpu") for r in rows)
    spot = {r.key: r.spot_usd_per_h for r in rows}
    assert spot["aws", "us-east-1", "p5.48xlarge"] is None, "a local zone's price"
    assert spot["azure", "eastus", "Standard_ND96isr_H100_v5"] is None, "a copy of on-demand"


def test_age():
    today = date(2026, 7, 25)
    offer = BASE.offers()[0]
    undated = replace(offer, as_of="")
    assert stale([offer, undated], today) == [undated]
    assert stale([offer], today, max_age_days=4) == [offer]


# ── offers ──


def test_a_row_makes_an_offer_per_price():
    demand, spot = BASE.offers()
    assert (demand.usd_per_h, demand.purchase, demand.name) == (55.0, "on-demand", "aws/r1/p5.48xlarge")
    assert (spot.usd_per_h, spot.purchase, spot.name) == (20.0, "spot", "aws/r1/p5.48xlarge/spot")
    assert (spot.accelerator, spot.accelerators, spot.vcpus, spot.memory_gib) == ("H100", 8, 192, 2048.0)
    assert (spot.as_of, spot.source) == ("2026-07-20", "test")
    assert replace(BASE, spot_usd_per_h=None).offers() == [demand]


def test_every_price_of_the_bundled_catalogue_is_an_offer_of_its_own():
    path = bundled() / "prices" / "offers.csv"
    offers = load_offers(path)
    prices = [(r.key, p) for r in load_prices(path) for p in (r.on_demand_usd_per_h, r.spot_usd_per_h) if p is not None]
    assert [((o.provider, o.region, o.instance_type), o.usd_per_h) for o in offers] == prices
    assert len({o.name for o in offers}) == len(offers)


def test_regions_never_collapse_into_one_another(tmp_path):
    regions = [replace(BASE, region=f"r{i}", on_demand_usd_per_h=50.0 + i // 2) for i in range(4)]
    path = tmp_path / "offers.csv"
    write(path, regions)
    found, left_out = catalogue_offers(path)
    assert {(o.machine.region, o.usd_per_h) for o in found} == {("r0", 50), ("r1", 50), ("r2", 51), ("r3", 51)}
    assert {(o.profile.gpus, o.engines) for o in found} == {(1, 8), (2, 4), (4, 2), (8, 1)}
    assert left_out == []
    assert {o.machine.region for o in catalogue_offers(path, regions=["r1", "r3"])[0]} == {"r1", "r3"}
    write(path, [BASE, BASE])
    with pytest.raises(PriceError, match=r"two prices for aws/r1/p5\.48xlarge: 55 and 55 USD/h; cure: leave"):
        load_offers(path)


def test_offers_are_selected_by_provider_and_region_and_the_unknown_lists_the_known():
    offers = [Offer(p, r, "x1", 1.0) for p, r in (("aws", "a"), ("aws", "b"), ("gcp", "c"))]
    assert select(offers) == offers
    assert select(offers, ["gcp"]) == offers[2:]
    assert select(offers, [], ["a", "c"]) == [offers[0], offers[2]]
    with pytest.raises(UsageError, match="no offer is of provider 'ibm'; known: aws, gcp"):
        select(offers, ["ibm"])
    with pytest.raises(UsageError, match="no offer is in region 'a'; known: c"):
        select(offers, ["gcp"], ["a"])
    with pytest.raises(UsageError, match="these have no region"):
        select([Offer("aws", "", "x1", 1.0)], [], ["a"])


def test_machines_without_a_datasheet_are_left_out_with_the_reason():
    bare, odd = Offer("aws", "a", "c5", 1.0), Offer("aws", "a", "trn1", 1.0, accelerator="Trainium", accelerators=1)
    found, left_out = serving_offers([bare, odd])
    assert found == []
    assert left_out == [
        "aws/a/c5: no datasheet for it; add it with --gpus",
        "aws/a/trn1: no datasheet for Trainium; add it with --gpus",
    ]


def test_the_datasheet_joins_the_facts_of_an_offer():
    known = facts(BASE.offers()[1])
    assert known["price_usd_per_h"] == 20.0
    assert known["accelerators"] == 8.0
    assert known["accelerator"] == "H100-SXM5-80GB", "the part, whatever the catalogue calls it"
    assert known["architecture"] == "Hopper"
    assert known["accelerator_memory_gib"] == 80.0
    assert known["accelerator_bandwidth_gb_per_s"] > 3000
    cpu = Offer("aws", "a", "c5", 1.0)
    assert facts(cpu) == cpu.facts()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("on_demand_usd_per_h", "nan", r"line 2: on_demand_usd_per_h is 'nan'; it must be a finite number > 0"),
        ("on_demand_usd_per_h", "", "on_demand_usd_per_h is ''"),
        ("spot_usd_per_h", "-1", "spot_usd_per_h is '-1'"),
        ("as_of", "July", "write YYYY-MM-DD"),
        ("provider", "", "line 2: provider is empty"),
    ],
)
def test_wrong_catalogues(tmp_path, field, value, message):
    path = tmp_path / "offers.csv"
    write(path, [replace(BASE, **{field: value})])
    with pytest.raises(PriceError, match=message):
        load_offers(path)


def test_no_catalogue_or_no_columns(tmp_path):
    with pytest.raises(PriceError, match="no price catalogue"):
        load_offers(tmp_path / "nope.csv")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(PriceError, match="lacks the columns provider"):
        load_offers(tmp_path / "x.csv")
