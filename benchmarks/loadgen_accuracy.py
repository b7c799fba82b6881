"""The load generator beside aiperf, on a server with scripted timings, and on a real engine.

    python -m venv /somewhere && /somewhere/bin/pip install aiperf        (in an environment of its own)
    python benchmarks/loadgen_accuracy.py [--aiperf /somewhere/bin] [--repeats 5] [--json]

1. Accuracy: 100 concurrent streams of 20 tokens/s each against the script: by how much the measured TTFT and ITL (medians)
are off. 2. Cost: requests per second of the client's own CPU time, against a script that answers at once. 3. Agreement: our
TTFT against aiperf's, our TPOT against its inter-token latency (a mean per request), interleaved, on the script and on
OpenVINO; the ratio of medians with a 95 % interval over the repeats (Student's t). Who is right where they differ is told by the
loopback interface: the kernel's time stamps of the same packets (as root).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from wire import watched

from cloudbandit.engines.openvino import TINY, OpenVINO
from cloudbandit.engines.running import running
from cloudbandit.loadgen import Closed, Fixed, Workload, client, plan, summarize
from cloudbandit.providers.local import LocalHost

T95 = {3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # by degrees of freedom
INPUT, OUTPUT = 64, 32
TOKENIZER = """
import sys
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
words = ["<unk>", "<s>", "</s>"] + [f"w{i}" for i in range(300)]
t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
t.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=t, unk_token="<unk>", bos_token="<s>", eos_token="</s>").save_pretrained(sys.argv[1])
"""


@contextmanager
def scripted(ttft, itl):
    argv = [sys.executable, "-m", "cloudbandit.testing.stub_engine", "--ttft", str(ttft), "--itl", str(itl)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().split()[1]}"
        finally:
            server.kill()


def ours(url, model, users, requests, seed, outputs=OUTPUT, inputs=INPUT, ramp_s=0.0):
    """Run the client as a program of its own: records, and the CPU seconds it took."""
    made = plan(
        Workload(Fixed(inputs, outputs)),
        Closed(users, ramp_s=ramp_s),
        url=url,
        model=model,
        seed=seed,
        requests=requests,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "plan.json").write_text(json.dumps(made))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        argv = [sys.executable, "-I", "-S", client.__file__, str(path / "plan.json"), str(path / "records.jsonl")]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        records = [json.loads(line) for line in (path / "records.jsonl").read_text().splitlines()]
    return records, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def aiperf(folder, tokenizer, url, model, users, requests, seed, outputs=OUTPUT):
    """aiperf's TTFT and inter-token latency (medians, ms), and the CPU seconds of all its processes."""
    with tempfile.TemporaryDirectory() as out:
        argv = [
            str(folder / "aiperf"),
            "profile",
            "-m",
            model,
            "-u",
            url,
            "--endpoint-type",
            "completions",
            "--streaming",
        ]
        argv += ["--tokenizer", str(tokenizer), "--concurrency", str(users), "--request-count", str(requests)]
        argv += ["--isl", str(INPUT), "--osl", str(outputs), "--extra-inputs", "ignore_eos:true", "--artifact-dir", out]
        argv += ["--ui", "none", "--no-gpu-telemetry", "--use-server-token-count", "--random-seed", str(seed)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, env=env, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = sorted(Path(out).rglob("profile_export_aiperf.json"))
        if done.returncode or not found:
            sys.exit(f"aiperf ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
        data = json.loads(found[0].read_text())
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return data["time_to_first_token"]["p50"], data["inter_token_latency"]["p50"], cpu


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
    half = T95.get(len(x) - 1, 1.96) * x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else float("nan")
    return [round(float(v), 4) for v in (x.mean(), x.mean() - half, x.mean() + half)]


def agreement(folder, tokenizer, url, model, repeats, users=8, requests=80):
    """Both clients in turns, and for each what the loopback interface saw of the very same requests."""
    port = int(url.rsplit(":", 1)[1])
    table = []
    for seed in range(repeats):
        with watched(port) as wire:
            mine = summarize(ours(url, model, users, requests, seed)[0]).metrics
        row = {"ours": [mine["ttft_p50_ms"], mine["tpot_p50_ms"]], "ours_wire": medians(wire)}
        with watched(port) as wire:
            first, between, _ = aiperf(folder, tokenizer, url, model, users, requests, seed)
        row |= {"aiperf": [first, between], "aiperf_wire": medians(wire)}
        table.append(row)
        shown = {k: [round(v, 2) for v in pair] for k, pair in row.items()}
        print(f"  TTFT, TPOT in ms: {shown}", file=sys.stderr, flush=True)
    out = {"repeats": repeats, "ms": {k: [[round(v, 2) for v in row[k]] for row in table] for k in table[0]}}
    for over, under in (("ours", "aiperf"), ("ours", "ours_wire"), ("aiperf", "aiperf_wire")):
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
    parser.add_argument("--repeats", type=int, default=5)
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
    if args.aiperf:
        with tempfile.TemporaryDirectory() as tokenizer:
            subprocess.run([str(args.aiperf / "python"), "-c", TOKENIZER, tokenizer], check=True, capture_output=True)
            with scripted(0.0, 0.0) as url:
                _, _, few = aiperf(args.aiperf, tokenizer, url, "good", 64, 64, 0, outputs=8)
                _, _, many = aiperf(args.aiperf, tokenizer, url, "good", 64, 2064, 0, outputs=8)
            theirs = 2000 / (many - few)  # what starting costs is not held against it
            out["cost"] |= {"aiperf_requests_per_cpu_s": round(theirs, 1)}
            out["cost"]["ratio"] = round(out["cost"]["ours_requests_per_cpu_s"] / theirs, 1)
            with scripted(0.1, 0.02) as url:
                out["agreement_script"] = agreement(args.aiperf, tokenizer, url, "good", args.repeats)
            host, engine = LocalHost(), OpenVINO()
            try:
                with running(host, engine, {}, engine.prepare(host, TINY)) as up:
                    out["agreement_openvino"] = agreement(args.aiperf, tokenizer, up.url, "tiny", args.repeats)
            finally:
                host.close()
    print(json.dumps(out) if args.json else json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
