"""Rebuild the per-load-test aggregate of LLM-Pilot's raw benchmark data.

    git clone https://github.com/IBM/LLM-performance-prediction          (commit 3c66483f55d7; the raw files are 402 MB)
    python benchmarks/prepare_llmpilot.py CHECKOUT --out aggregate.csv

One raw CSV is one load test: one LLM on one GPU profile under a closed loop of so many users for 120 s. The definitions are
LLM-Pilot's (SC 2024, artifact): the first token's latency excludes the accept time, percentiles are over successful requests,
the inter-token latency is pooled over all gaps of all requests. What the artifact drops, the failed requests, is counted.
Data: CDLA-Permissive-2.0.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

COMMIT = "3c66483f55d7a55e03410880c33c098c6233f892"
QUANTILES = (5, 25, 50, 75, 90, 95, 99)
LABEL = {"a10": "A10", "a100": "A100", "h100": "H100", "t4": "T4", "v100": "V100"}
SAMPLE_MS, WINDOW_MS = 200, (15_000, 105_000)  # when concurrently decoding requests are counted


def spread(name, values):
    """Mean, standard deviation, percentiles and maximum of one quantity."""
    values = np.asarray(values, float)
    out = {f"{name}_mean": values.mean(), f"{name}_std": values.std(ddof=0)}
    out |= {f"{name}_p{q}": np.percentile(values, q) for q in QUANTILES}
    return out | {f"{name}_max": values.max()}


def decode_batch(ok):
    """How many requests were between their first and their last token, every 200 ms of the steady part."""
    stamps = [json.loads(text) for text in ok["timestamps_per_token"]]
    first = np.sort([s[1] for s in stamps])
    last = np.sort([s[-1] for s in stamps])
    origin = ok["start_timestamp"].min()
    at = origin + np.arange(*WINDOW_MS, SAMPLE_MS)
    return np.searchsorted(first, at, "right") - np.searchsorted(last, at, "right")


def aggregate(raw, usd_per_h):
    """One load test → one row.

    Args:
        raw: the test's requests, as the artifact stores them.
        usd_per_h: (GPU type, number of GPUs) → price of the profile.
    """
    head = raw.iloc[0]
    gpus, kind = int(head["n_gpus"]), LABEL[str(head["gpu_type"]).lower()]
    ok = raw[raw["status"] == 200]
    failed = raw[raw["status"] != 200]
    steps = [json.loads(text) for text in ok["latency_ms_per_token"]]
    ttft = np.array([s[1] for s in steps], float)
    gaps = [np.array(s[2:], float) for s in steps]
    pooled = np.concatenate(gaps)
    seconds, price = float(head["experiment_duration_s"]), usd_per_h[kind, gpus]
    throughput = ok["n_output_tokens"].sum() / seconds
    errors = failed["errors"].astype(str)
    row = {
        "model": head["model"],
        "gpu": f"{gpus} x {kind}",
        "gpu_type": kind,
        "n_gpus": gpus,
        "num_users": int(head["num_users"]),
        "cost_usd_per_hour": price,
        "n_requests_total": len(raw),
        "n_requests_ok": len(ok),
        "n_requests_failed": len(failed),
        "experiment_duration_s": seconds,
        "n_itl_samples": len(pooled),
        "n_input_tokens_sum": ok["n_input_tokens"].sum(),
        "n_output_tokens_sum": ok["n_output_tokens"].sum(),
        "throughput_tok_s": throughput,
        "request_throughput_rps": len(ok) / seconds,
        "tokens_per_usd": throughput * 3600 / price,
    }
    row |= spread("accept_ms", [s[0] for s in steps])
    row |= spread("ttft_ms", ttft)
    row |= spread("nttft_ms_per_tok", ttft / ok["n_input_tokens"].to_numpy(float))
    row |= spread("itl_ms", pooled)
    row |= spread("e2e_ms", ok["latency_ms"])
    row |= spread("n_input_tokens", ok["n_input_tokens"])
    row |= spread("n_output_tokens", ok["n_output_tokens"])
    means = [g.mean() for g in gaps if len(g)]
    row |= {f"req_mean_itl_ms_p{q}": np.percentile(means, q) for q in (50, 90, 95, 99)}
    row["n_fail_oom"] = errors.str.contains("OutOfMemory").sum()
    row["n_fail_empty_error"] = (errors == "[]").sum()
    row["n_fail_cache_miss"] = errors.str.contains("cache").sum()
    row["n_status_9999"] = (raw["status"] == 9999).sum()
    batch = decode_batch(ok)
    row |= {"decode_batch_p50": np.percentile(batch, 50), "decode_batch_p95": np.percentile(batch, 95)}
    return row | {"source": "raw", "failure_rate": len(failed) / len(raw)}


def prices(path):
    """The artifact's prices.csv as (GPU type, number of GPUs) → USD per hour."""
    table = pd.read_csv(path)
    table = table.rename(columns={c: c.lower() for c in table.columns})
    parts = table["gpu"].str.split(" x ")
    return {(p[1], int(p[0])): float(usd) for p, usd in zip(parts, table["price"], strict=True)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="the artifact, or any folder that holds its raw results_*.csv[.gz]")
    parser.add_argument("--prices", type=Path, help="prices.csv; by default the one found in the checkout")
    parser.add_argument("--out", type=Path, default=Path("aggregate.csv"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    files = sorted(args.checkout.rglob("results_*.csv*"))
    if not files:
        sys.exit(f"no results_*.csv under {args.checkout}; name a checkout of the artifact (commit {COMMIT[:12]})")
    found = args.prices or next(iter(sorted(args.checkout.rglob("prices.csv"))), None)
    if found is None:
        sys.exit(f"no prices.csv under {args.checkout}; give one with --prices")
    usd_per_h = prices(found)
    rows = [aggregate(pd.read_csv(file), usd_per_h) for file in files]
    table = pd.DataFrame(rows).sort_values(["model", "gpu", "num_users"], kind="stable").round(4)
    table.to_csv(args.out, index=False)
    print(
        json.dumps({"load_tests": len(table), "file": str(args.out)})
        if args.json
        else f"{len(table)} load tests → {args.out}"
    )


if __name__ == "__main__":
    main()
