"""The load generator beside others, on a server with scripted timings, and on a real engine.

    python -m venv /somewhere && /somewhere/bin/pip install aiperf        (each in an environment of its own)
    python benchmarks/loadgen_accuracy.py [--aiperf /somewhere/bin] [--vllm /elsewhere/bin] [--repeats 5] [--json]

1. Accuracy: 100 concurrent streams of 20 tokens/s each against the script: by how much the measured TTFT and ITL (medians)
are off. 2. Cost: requests per second of the client's own CPU time, against a script that answers at once. 3. Agreement: our
TTFT against theirs, our TPOT against vLLM's, and against aiperf's inter-token latency, which is a mean per request; in turns,
on the script and on OpenVINO; the ratio of medians with a 95 % interval over the repeats (Student's t). Who is right where they
differ is told by the loopback interface: the kernel's time stamps of the same packets (as root).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from load_clients import TOKENIZER, aiperf, ours, vllm_bench
from scipy import stats
from wire import watched

from cloudbandit.engines.openvino import TINY, OpenVINO
from cloudbandit.engines.running import running
from cloudbandit.loadgen import summarize
from cloudbandit.providers.local import LocalHost


@contextmanager
def scripted(ttft, itl):
    argv = [sys.executable, "-m", "cloudbandit.testing.stub_engine", "--ttft", str(ttft), "--itl", str(itl)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().split()[1]}"
        finally:
            server.kill()


def accuracy():
    ttft, itl = 0.2, 0.05
    with scripted(ttft, itl) as url:
        # users start spread over the life of a request: the script would otherwise send a hundred tokens in one instant
        records, _ = ours(url, "good", 100, 400, 0, outputs=40, ramp_s=ttft + 39 * itl)
    metrics = summarize(records, warmup_s=2.2).metrics
    return {
        "streams": 100,
        "tokens_per_s_each": 20,
        "ttft_error_p50_ms": round(metrics["ttft_p50_ms"] - 1e3 * ttft, 3),
        "itl_error_p50_ms": round(metrics["itl_p50_ms"] - 1e3 * itl, 3),
        "ttft_error_p95_ms": round(metrics["ttft_p95_ms"] - 1e3 * ttft, 3),
        "itl_error_p95_ms": round(metrics["itl_p95_ms"] - 1e3 * itl, 3),
        "failures": sum(r["status"] != "ok" for r in records),
    }


def interval(ratios):
    x = np.array(ratios)
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else float("nan")
    return [round(float(v), 4) for v in (x.mean(), x.mean() - half, x.mean() + half)]


def agreement(peers, tokenizer, url, model, repeats, users=8, requests=80):
    """All clients in turns, and for each what the loopback interface saw of the very same requests."""
    port = int(url.rsplit(":", 1)[1])
    table = []
    for seed in range(repeats):
        with watched(port) as wire:
            mine = summarize(ours(url, model, users, requests, seed)[0]).metrics
        row = {"ours": [mine["ttft_p50_ms"], mine["tpot_p50_ms"]], "ours_wire": medians(wire)}
        for name, (client, folder) in peers.items():
            with watched(port) as wire:
                ttft, tpot, _ = client(folder, tokenizer, url, model, users, requests, seed)
            row |= {name: [ttft, tpot], f"{name}_wire": medians(wire)}
        table.append(row)
        shown = {k: [round(v, 2) for v in pair] for k, pair in row.items()}
        print(f"  TTFT, TPOT in ms: {shown}", file=sys.stderr, flush=True)
    out = {"repeats": repeats, "ms": {k: [[round(v, 2) for v in row[k]] for row in table] for k in table[0]}}
    for over, under in [("ours", p) for p in peers] + [(c, f"{c}_wire") for c in ("ours", *peers)]:
        for i, metric in enumerate(("ttft", "tpot")):
            out[f"{metric}_{over}_over_{under}"] = interval([row[over][i] / row[under][i] for row in table])
    return out


def medians(wire):
    """TTFT and TPOT in ms, as the interface saw them; not numbers where nobody could watch."""
    if wire is None or not wire.timings:
        return [float("nan")] * 2
    x = np.array([t for t in wire.timings if t[2] > 1])
    return [float(1e3 * np.median(x[:, 0])), float(1e3 * np.median((x[:, 1] - x[:, 0]) / (x[:, 2] - 1)))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aiperf", type=Path, metavar="FOLDER", help="the folder with aiperf and its python")
    parser.add_argument("--vllm", type=Path, metavar="FOLDER", help="the folder with vllm and its python")
    parser.add_argument("--repeats", type=int, default=5, help="1: accuracy and cost alone")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    out = {"accuracy": accuracy()}
    with scripted(0.0, 0.0) as url:
        n = 4000
        began = time.perf_counter()
        records, cpu = ours(url, "good", 64, n, 0, outputs=8)
        out["cost"] = {
            "ours_requests_per_cpu_s": round(n / cpu, 1),
            "ours_requests_per_s": round(n / (time.perf_counter() - began), 1),
            "ok": sum(r["status"] == "ok" for r in records),
        }
    peers = {"aiperf": (aiperf, args.aiperf), "vllm_bench": (vllm_bench, args.vllm)}
    peers = {name: peer for name, peer in peers.items() if peer[1]}
    if peers:
        with tempfile.TemporaryDirectory() as tokenizer:
            python = next(iter(peers.values()))[1] / "python"
            subprocess.run([str(python), "-c", TOKENIZER, tokenizer], check=True, capture_output=True)
            for name, (client, folder) in peers.items():

                def cpu(n, run=client, folder=folder):
                    with scripted(0.0, 0.0) as url:
                        return run(folder, tokenizer, url, "good", 64, n, 0, outputs=8)[2]

                cpu(64)  # fills the caches
                pairs = [(cpu(64), cpu(4064)) for _ in range(3)]
                theirs = 4000 / np.median([many - few for few, many in pairs])  # starting is not held against it
                out["cost"][f"{name}_requests_per_cpu_s"] = round(float(theirs), 1)
                out["cost"][f"ours_over_{name}"] = round(out["cost"]["ours_requests_per_cpu_s"] / theirs, 1)
            if args.repeats < 2:  # no interval
                return print(json.dumps(out))
            with scripted(0.1, 0.02) as url:
                out["agreement_script"] = agreement(peers, tokenizer, url, "good", args.repeats)
            host, engine = LocalHost(), OpenVINO()
            try:
                with running(host, engine, {}, engine.prepare(host, TINY)) as up:
                    out["agreement_openvino"] = agreement(peers, tokenizer, up.url, "tiny", args.repeats)
            finally:
                host.close()
    print(json.dumps(out) if args.json else json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
