"""Build data/silicon-points/points.csv.xz: aggregated deployments of aiconfigurator's silicon_sample.csv as measured points.

    CLOUDBANDIT_DATA=… python benchmarks/build_points.py [--json]

The file is ai-dynamo/aiconfigurator's at a pinned commit (Apache-2.0; `cloudbandit.tables.registry`, data set "silicon"). Its
columns are selected and renamed, its encoding of parallelism is repaired where another record of the same measurement proves how,
copies of one measurement are kept once, and what cannot be told goes to dropped.csv with the reason. data/silicon-points/README.md
says all of it in words.
"""

import argparse
import csv
import io
import json
import lzma
import re
import shutil
from collections import Counter
from pathlib import Path

from cloudbandit.tables.registry import dataset_path

ROOT = Path(__file__).parent.parent
OUT = ROOT / "data" / "silicon-points"
PARTS = {
    "h100_sxm": "H100-SXM5-80GB",
    "h200_sxm": "H200-SXM5-141GB",
    "b200_sxm": "B200-SXM6-180GB",
    "b300_sxm": "B300-SXM6-288GB",
    "gb200": "GB200-186GB",
    "gb300": "GB300-288GB",
}
COLUMNS = (
    "model",
    "gpu",
    "gpus",
    "engine",
    "precision",
    "input_tokens",
    "output_tokens",
    "users",
    "ttft_p50_ms",
    "tpot_p50_ms",
    "source",
    "date",
    "engine_version",
    "tensor_parallel",
    "data_parallel",
    "expert_parallel",
)
DEPLOYMENT = COLUMNS[:8]
LATENCIES = COLUMNS[8:10]
ROUNDED = 1e-3
"""Two files repeat InferenceX's measurements without a date, rounded to 0.01 ms: relative difference of both latencies."""
BF16 = ("Qwen/Qwen3-32B", "meta-llama/Llama-3.1-8B-Instruct")
"""Models of which some rows name no precision: their checkpoints are BF16, and no row is faster than BF16 weights stream."""
NO_USERS = "the number of users is not stated"
WORKERS = "a Dynamo deployment: users are several workers', whose number is not stated"
DISAGGREGATED = (
    "more GPUs than one machine and, nine times of eleven, than divide 128 heads: prefill and decode workers together"
)
CONTRADICTION = "tensor and data parallelism contradict that of the experts"


def origin(text):
    return "InferenceX" if re.match(r"db-dump|source_file=\d{4}-\d\d-\d\d\.csv", text) else "gap-analysis"


def parallelism(row, source):
    """(GPUs, tensor, data, expert parallel, repaired); None: contradictory.

    InferenceX's rows store products in place of factors. Where the experts' two are equal, the first or the second is itself
    times them: (64, 1, 8, 8) is 8 GPUs, and 89 of these measurements stand in another of its dumps as (8, 1, 1, 8). (4, 4, 1, 16)
    is 4 GPUs by tensor and expert parallel: so its id says, and the copies of Kimi's.
    """
    names = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    tp, dp, moe_tp, moe_ep = (int(float(row[name] or 1)) or 1 for name in names)
    if source == "InferenceX" and moe_tp == moe_ep > 1:
        return (moe_ep, moe_ep, 1, moe_ep, True) if dp == 1 else (moe_ep, 1, moe_ep, moe_ep, True)
    if tp == dp > 1 and moe_ep == tp * dp:
        return tp, tp, 1, tp, True
    if moe_tp * moe_ep not in (1, tp * dp):
        return None
    return tp * dp, tp, dp, moe_ep, False


def precision(row):
    if not row["precision"]:
        assert row["model_path"] in BF16, row
        return "bf16"
    if row["precision"] == "fp4":
        return "mxfp4" if row["model_path"].startswith("openai/gpt-oss") else "nvfp4"
    return row["precision"]


def model(row):
    """The dump of 2026-04-27 calls DeepSeek-R1 ("dsr1" in the id) V3; 185 of these rows are copies of rows of R1."""
    return "DeepSeek-R1" if row["id"].startswith("dsr1_") else row["model_path"].rpartition("/")[2]


def point(row):
    """(the point, empty or why it is dropped, what was repaired)."""
    text = row["silicon_data_source"]
    source = origin(text)
    users = re.search(r"silicon_concurrency=(\d+)", text)
    date = re.search(r"measured=(\d{4}-\d\d-\d\d)", text)
    found = parallelism(row, source)
    gpus, tensor, data, expert, repaired = found or ("", "", "", "", False)
    out = {
        "model": model(row),
        "gpu": PARTS[row["system"]],
        "gpus": gpus,
        "engine": row["backend"],
        "precision": precision(row),
        "input_tokens": int(row["isl"]),
        "output_tokens": int(row["osl"]),
        "users": int(users[1]) if users else "",
        "ttft_p50_ms": f"{float(row['silicon_ttft_ms']):.6g}",
        "tpot_p50_ms": f"{float(row['silicon_tpot_ms']):.6g}",
        "source": source,
        "date": date[1] if date else "",
        "engine_version": row["backend_version"],
        "tensor_parallel": tensor,
        "data_parallel": data,
        "expert_parallel": expert,
    }
    why = ""
    if not users:
        why = NO_USERS
    elif "gtl_task_id=" in text:
        why = WORKERS
    elif found is None:
        why = CONTRADICTION
    elif gpus > 8:
        why = DISAGGREGATED
    repairs = [
        name
        for name, done in {
            "parallelism": repaired,
            "model": out["model"] != row["model_path"].rpartition("/")[2],
            "precision": not row["precision"],
        }.items()
        if done
    ]
    return out, why, repairs


def best_known(row):
    """Of the copies of a measurement the one kept is the one that tells most."""
    return sum(row[c] == "" for c in COLUMNS), -len(row["engine_version"]), [str(row[c]) for c in COLUMNS]


def without_copies(points):
    """One of each measurement. Two runs never agree in six digits of both latencies, two records of a run do."""
    records = {}
    for p in points:
        records.setdefault(tuple(p[c] for c in (*DEPLOYMENT, *LATENCIES, "date")), []).append(p)
    kept = [min(some, key=best_known) for some in records.values()]
    dated = {}
    for p in kept:
        if p["date"]:
            dated.setdefault(tuple(p[c] for c in DEPLOYMENT), []).append(p)
    return [
        p for p in kept if p["date"] or not any(same_run(p, q) for q in dated.get(tuple(p[c] for c in DEPLOYMENT), ()))
    ]


def same_run(a, b):
    return all(abs(float(a[c]) / float(b[c]) - 1) < ROUNDED for c in LATENCIES)


def build(path):
    with open(path, newline="", encoding="utf-8") as file:
        every = list(csv.DictReader(file))
    rows = [row for row in every if row["mode"] == "agg"]
    every_point, dropped, repairs = [], [], Counter()
    for row in rows:
        out, why, repaired = point(row)
        if why:
            dropped.append({**out, "why": why, "id": row["id"]})
            continue
        repairs.update(repaired)
        every_point.append(out)
    points = without_copies(every_point)
    points.sort(key=lambda p: ([p[c] for c in DEPLOYMENT], p["date"], [float(p[c]) for c in LATENCIES]))
    facts = {
        "rows": len(every),
        "disaggregated": len(every) - len(rows),
        "aggregated": len(rows),
        "dropped": dict(Counter(d["why"] for d in dropped)),
        "repaired": dict(repairs),
        "copies": len(every_point) - len(points),
        "kept": len(points),
        "workloads": len({(p["model"], p["input_tokens"], p["output_tokens"]) for p in points}),
    }
    return points, dropped, facts


def written(rows, columns):
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    path = dataset_path("silicon")
    points, dropped, facts = build(path)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "points.csv.xz").write_bytes(lzma.compress(written(points, COLUMNS), preset=9 | lzma.PRESET_EXTREME))
    (OUT / "dropped.csv").write_bytes(written(dropped, (*COLUMNS, "why", "id")))
    licence = path.parent / "LICENSE"
    if licence.is_file():
        shutil.copyfile(licence, OUT / "LICENSE")
        (OUT / "LICENSE").chmod(0o644)
    print(json.dumps(facts) if args.json else json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
