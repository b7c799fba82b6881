"""Load generators under one signature: ours, aiperf's and vLLM's, each run as its users run it."""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from cloudbandit.loadgen import Closed, Fixed, Workload, client, plan

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
    """aiperf's TTFT and inter-token latency, a mean per request (medians, ms), and the CPU seconds of all its processes."""
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
        cpu = finished(argv, out)
        found = sorted(Path(out).rglob("profile_export_aiperf.json"))
        data = json.loads(found[0].read_text())
    return data["time_to_first_token"]["p50"], data["inter_token_latency"]["p50"], cpu


def vllm_bench(folder, tokenizer, url, model, users, requests, seed, outputs=OUTPUT):
    """TTFT and TPOT of ``vllm bench serve`` (medians, ms), and its CPU seconds."""
    with tempfile.TemporaryDirectory() as out:
        argv = [str(folder / "vllm"), "bench", "serve", "--backend", "openai", "--base-url", url]
        argv += ["--endpoint", "/v1/completions", "--model", model, "--tokenizer", str(tokenizer), "--seed", str(seed)]
        argv += ["--dataset-name", "random", "--random-input-len", str(INPUT), "--random-output-len", str(outputs)]
        argv += ["--num-prompts", str(requests), "--max-concurrency", str(users), "--ignore-eos"]
        argv += ["--save-result", "--result-dir", out]
        cpu = finished(argv, out)
        data = json.loads(next(Path(out).glob("*.json")).read_text())
    return data["median_ttft_ms"], data["median_tpot_ms"], cpu


def finished(argv, folder):
    """Run a client to its end; the CPU seconds of all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, env=env, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode or not any(Path(folder).rglob("*.json")):
        sys.exit(f"{argv[0]} ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
