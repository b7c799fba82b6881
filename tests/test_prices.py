from dataclasses import replace
from datetime import date

import pytest

from cloudbandit.catalogue.prices import Offer, load_offers, stale, validate
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import PriceError

BASE = Offer("aws", "r1", "p5.48xlarge", "H100", 8, 192, 2048.0, 55.0, 20.0, "2026-07-20", "test")


def dropped(*offers):
    return {(d.offer.region, d.offer.instance_type, d.what): d.reason for d in validate([BASE, *offers])[1]}


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
    offers = [BASE, replace(BASE, region="r2", spot_usd_per_h=18.0)]
    assert validate(offers) == (offers, [])


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
    offers = load_offers(bundled() / "prices" / "offers.csv")
    assert len(offers) > 50
    kept, gone = validate(offers)
    assert kept == offers
    assert gone == []
    assert all(o.source for o in offers)
    assert not any(o.instance_type.startswith("a3-highgpu") for o in offers)
    spot = {o.key: o.spot_usd_per_h for o in offers}
    assert spot["aws", "us-east-1", "p5.48xlarge"] is None, "a local zone's price"
    assert spot["azure", "eastus", "Standard_ND96isr_H100_v5"] is None, "a copy of on-demand"


def test_age():
    today = date(2026, 7, 25)
    assert BASE.age_days(today) == 5
    undated = replace(BASE, as_of="")
    assert stale([BASE, undated], today) == [undated]
    assert stale([BASE], today, max_age_days=4) == [BASE]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("on_demand_usd_per_h", "nan", r"line 2: on_demand_usd_per_h is 'nan'; it must be a finite number > 0"),
        ("on_demand_usd_per_h", "", "on_demand_usd_per_h is ''"),
        ("spot_usd_per_h", "-1", "spot_usd_per_h is '-1'"),
        ("as_of", "July", "write YYYY-MM-DD"),
    ],
)
def test_wrong_catalogues(tmp_path, field, value, message):
    import csv
    from dataclasses import asdict

    path = tmp_path / "offers.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(BASE)))
        writer.writeheader()
        writer.writerow({**asdict(BASE), field: value})
    with pytest.raises(PriceError, match=message):
        load_offers(path)


def test_no_catalogue_or_no_columns(tmp_path):
    with pytest.raises(PriceError, match="no price catalogue"):
        load_offers(tmp_path / "nope.csv")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(PriceError, match="lacks the columns provider"):
        load_offers(tmp_path / "x.csv")
