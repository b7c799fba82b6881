"""Build data/llm-pilot/loads.csv and requests.csv: a selection of LLM-Pilot's load tests, with units in the column names.

    python benchmarks/build_llm_pilot.py AGGREGATE.csv WORKLOAD.csv LICENSE-DATA.md

AGGREGATE.csv is what prepare_llmpilot.py makes of the raw artifact (IBM/LLM-performance-prediction,
commit 3c66483f55d7a55e03410880c33c098c6233f892, data CDLA-Permissive-2.0); WORKLOAD.csv lists the requests every load test
replayed. The licence's text goes beside the result, as its section 2.1 asks.
"""

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parent.parent
OUT = ROOT / "data" / "llm-pilot"
STATS = {"mean": "mean", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
COLUMNS = {  # theirs → ours
    "model": "model",
    "gpu": "profile",
    "gpu_type": "gpu",
    "n_gpus": "gpus",
    "num_users": "users",
    "cost_usd_per_hour": "usd_per_h",
    "n_requests_total": "requests",
    "n_requests_failed": "requests_failed",
    "failure_rate": "failure_rate",
    "throughput_tok_s": "output_tok_per_s",
    "request_throughput_rps": "requests_per_s",
    "decode_batch_p50": "decode_batch_p50",
    "decode_batch_p95": "decode_batch_p95",
}
for theirs, ours in {
    "accept_ms": "accept_{}_ms",
    "ttft_ms": "ttft_excl_accept_{}_ms",
    "nttft_ms_per_tok": "nttft_{}_ms",
    "itl_ms": "itl_{}_ms",
    "e2e_ms": "e2e_{}_ms",
}.items():
    COLUMNS |= {f"{theirs}_{stat}": ours.format(name) for stat, name in STATS.items()}
COLUMNS |= {f"req_mean_itl_ms_{stat}": f"tpot_{stat}_ms" for stat in ("p50", "p90", "p95", "p99")}
COUNTS = ("requests", "requests_failed", "gpus", "users")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("aggregate", type=Path)
    parser.add_argument("workload", type=Path)
    parser.add_argument("licence", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    # USD per hour are rounded to four digits in the aggregate; the published prices have more.
    loads = pd.read_csv(args.aggregate)[list(COLUMNS)].rename(columns=COLUMNS)
    for name in COUNTS:
        loads[name] = loads[name].astype("Int64")
    loads = loads.sort_values(["model", "profile", "users"], kind="stable")
    loads.to_csv(OUT / "loads.csv", index=False, float_format="%.6g")
    requests = pd.read_csv(args.workload)
    requests = requests.rename(columns={"n_in": "input_tokens", "n_out": "output_tokens"})[
        ["input_tokens", "output_tokens"]
    ]
    requests.astype(int).to_csv(OUT / "requests.csv", index=False)
    shutil.copyfile(args.licence, OUT / "LICENSE-DATA.md")
    (OUT / "LICENSE-DATA.md").chmod(0o644)
    facts = {"load_tests": len(loads), "columns": len(loads.columns), "requests": len(requests)}
    print(json.dumps(facts) if args.json else f"{facts} → {OUT}")


if __name__ == "__main__":
    main()
