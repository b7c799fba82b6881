"""Build data/prices/: validated rows of a collection of public GPU prices.

    python benchmarks/build_prices.py INSTANCES.csv

INSTANCES.csv has the columns cloud, region, instance_type, accelerator, count, vcpu, mem_gib, ondemand_usd_h,
spot_usd_h, note, source_commit_date; each row names its source, its commit and, where known, its date. Prices are facts.
Writes offers.csv (what validates) and dropped.csv (what does not, and why).
"""

import csv
import re
import sys
from dataclasses import asdict
from pathlib import Path

from cloudbandit.catalogue.prices import PriceRow
from cloudbandit.catalogue.validation import validate

OUT = Path(__file__).parent.parent / "data" / "prices"

# The exact part behind a marketing name, by instance type: what a benchmark of one must not be used to price another.
PARTS = [
    (r"p4d\.|a2-highgpu|a2-megagpu|Standard_ND96asr_v4", "A100-SXM4-40GB"),
    (r"p4de\.|a2-ultragpu|Standard_ND96amsr_A100_v4|gpu_8x_a100_80gb_sxm4", "A100-SXM4-80GB"),
    (r"Standard_NC\d+ads_A100_v4", "A100-PCIe-80GB"),
    (r"p5\.|a3-highgpu|Standard_ND96isr_H100_v5", "H100-SXM5-80GB"),
    (r"Standard_NC\d+adi?s_H100_v5", "H100-NVL-94GB"),
    (r"p5en\.", "H200-SXM5-141GB"),
    (r"p6-b200\.", "B200-SXM6-180GB"),
    (r"g6e\.", "L40S-48GB"),
    (r"g7e\.", "RTX-PRO-6000-Server-96GB"),
    (r"g6\.|g2-standard", "L4-24GB"),
    (r"g5\.", "A10G-24GB"),
    (r"g4dn\.|Standard_NC\d+as_T4_v3", "T4-16GB"),
    (r"Standard_NV\d+ads_A10_v5|gpu_1x_a10$", "A10-24GB"),
    (r"Standard_ND40rs_v2", "V100-SXM2-32GB"),
    (r"Standard_NC\d+s_v3|gpu_8x_v100", "V100-16GB"),
]


def part(row: dict[str, str]) -> str:
    for pattern, name in PARTS:
        if re.match(pattern, row["instance_type"]):
            return name
    return row["accelerator"].replace(" ", "-") + "-unspecified"


def as_of(source: str) -> str:
    found = re.search(r"(?:generated|last changed) (\d{4}-\d{2}-\d{2})", source)
    return found[1] if found else ""


def main() -> None:
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    priced = [
        PriceRow(
            row["cloud"],
            row["region"],
            row["instance_type"],
            part(row),
            int(row["count"]),
            int(row["vcpu"]) if row["vcpu"] else None,
            float(row["mem_gib"]) if row["mem_gib"] else None,
            float(row["ondemand_usd_h"]),
            float(row["spot_usd_h"]) if row["spot_usd_h"] else None,
            as_of(row["source_commit_date"]),
            row["source_commit_date"],
            row["note"],
        )
        for row in rows
    ]
    kept, dropped = validate(priced)
    OUT.mkdir(parents=True, exist_ok=True)
    _write(OUT / "offers.csv", [asdict(r) for r in kept])
    _write(
        OUT / "dropped.csv",
        [
            {
                "provider": d.row.provider,
                "region": d.row.region,
                "instance_type": d.row.instance_type,
                "what": d.what,
                "on_demand_usd_per_h": d.row.on_demand_usd_per_h,
                "spot_usd_per_h": d.row.spot_usd_per_h,
                "reason": d.reason,
                "source": d.row.source,
            }
            for d in dropped
        ],
    )
    print(f"{len(rows)} rows: {len(kept)} offers kept, {len(dropped)} prices dropped")
    for d in dropped:
        print(f"  {d.what:5} {d.row.provider} {d.row.region} {d.row.instance_type}: {d.reason}")


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
