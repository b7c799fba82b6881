"""vLLM and transformers started for real, with a small Llama of random weights: does what a knob should do, happen?

    python -m venv /a && /a/bin/pip install 'transformers[serving]' torch accelerate
    python -m venv /b && /b/bin/pip install vllm            (or a build for CPUs; then add --device cpu)
    python benchmarks/other_engines.py [--transformers /a/bin] [--vllm /b/bin] [--repeats 3] [--json]

Pairs of configs are measured in turns, each trial with an engine of its own and other requests. Only orders are claimed: the
exit code is 1 if one does not hold in the median. Milliseconds are this machine's alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from cloudbandit.core.trial import Candidate, Trial
from cloudbandit.engines.transformers import Transformers
from cloudbandit.engines.vllm import VLLM
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.trial import Benchmark, Unattended
from cloudbandit.loadgen import Closed, Fixed, LogNormal, Open, Workload
from cloudbandit.providers.local import LocalHost, LocalProvider

MODEL = """
import sys
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
words = ["<unk>", "<s>", "</s>"] + [f"w{i}" for i in range(2045)]
t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
t.pre_tokenizer = pre_tokenizers.Whitespace()
f = PreTrainedTokenizerFast(tokenizer_object=t, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
f.save_pretrained(sys.argv[1])
torch.manual_seed(0)
config = LlamaConfig(vocab_size=2048, hidden_size=256, intermediate_size=688, num_hidden_layers=6, num_attention_heads=8,
                     num_key_value_heads=4, max_position_embeddings=2048, bos_token_id=1, eos_token_id=2)
LlamaForCausalLM(config).save_pretrained(sys.argv[1])
"""
MIXED = Workload(LogNormal(96, 32, longest=512))
SHARED = Workload(Fixed(512, 16), shared_prefix_tokens=384)


class Bench:
    """One engine, one model, one line per claim."""

    def __init__(self, engine, model, repeats):
        self.engine, self.model, self.repeats = engine, model, repeats
        self.rows = []

    def trial(self, config, workload, load, requests, seed, engine=None, trust=False):
        engine = engine or self.engine
        objective = LiveObjective(
            LocalProvider(), engine, Benchmark(str(self.model), workload, [load], requests), trust=trust
        )
        return objective.evaluate(Trial(seed, Candidate(("local", "this-machine"), config), seed=seed), Unattended())

    def smaller(self, metric, one, other, workload, load, requests):
        """Claim: ``metric`` is smaller with the knobs ``one`` than with ``other``."""
        found = {0: [], 1: []}
        for seed in range(self.repeats):
            for i, config in enumerate((one, other)):
                result = self.trial(config, workload, load, requests, seed)
                if str(result.status) != "ok":
                    sys.exit(f"{self.engine.name} {config}: {result.reason}\n{result.error}")
                found[i].append(result.metrics[metric])
        low, high = (float(np.median(found[i])) for i in (0, 1))
        self._row(f"{metric}: {_text(one)} < {_text(other)}", f"{_list(found[0])} < {_list(found[1])}", low < high)

    def fails(self, reason, config, why, engine=None, trust=False):
        """Claim: the config ends with this reason, and the kept lines say why. ``trust``: the engine itself is asked."""
        result = self.trial(config, MIXED, Closed(2), 4, 0, engine, trust)
        said = next((line.strip() for line in result.error.splitlines() if why in line), "")
        self._row(
            f"{_text(config) or 'default'} fails", f"{result.reason}: {said[:110]}", result.reason == reason and said
        )

    def serves(self, claim, workload, load, requests):
        """Claim: no request fails, and every one has as many tokens as were asked for."""
        result = self.trial({}, workload, load, requests, 7)
        m = result.metrics
        told = (
            f"{m.get('requests_per_s', 0):.1f} requests/s, TTFT p50 {m.get('ttft_p50_ms', 0):.0f} ms"
            if m
            else result.reason
        )
        self._row(claim, told, m.get("failure_rate") == 0)

    def _row(self, claim, found, holds):
        self.rows.append({"engine": self.engine.name, "claim": claim, "found": found, "holds": bool(holds)})
        print(
            f"{self.engine.name}: {claim}: {found}: {'holds' if holds else 'DOES NOT HOLD'}",
            file=sys.stderr,
            flush=True,
        )


def _text(config):
    return ", ".join(f"{k}={v}" for k, v in config.items())


def _list(values):
    return "/".join(f"{v:.3g}" for v in values)


def vllm(folder, device, model, repeats):
    program = str(folder / "vllm")
    engine = VLLM(program=program, device=device, dummy=True, max_model_len=2048, vocabulary=(10, 2000))
    bench = Bench(engine, model, repeats)
    fast = {"enforce_eager": True}  # starts sooner
    few, many = {**fast, "max_num_seqs": 4}, {**fast, "max_num_seqs": 256}
    bench.smaller("tpot_p50_ms", few, many, MIXED, Closed(32), 96)
    bench.smaller("ttft_p50_ms", many, few, MIXED, Closed(32), 96)
    cached, not_cached = ({**fast, "enable_prefix_caching": v} for v in (True, False))
    bench.smaller("ttft_p50_ms", cached, not_cached, SHARED, Closed(8), 48)
    bench.serves("open loop, 4 requests/s", MIXED, Open(4.0), 40)
    if device == "cpu":
        bench.fails("start_crash", {**fast, "block_size": 16}, "block")
    refused = {"enable_chunked_prefill": False, "max_num_batched_tokens": 256, "max_num_seqs": 16}
    bench.fails("known_constraint", refused, "enable_chunked_prefill")
    bench.fails("start_crash", {**fast, **refused}, "max_num_batched_tokens", trust=True)
    return bench.rows


def transformers(folder, device, model, repeats):
    program = {"program": str(folder / "transformers")}
    bench = Bench(Transformers(device=device, **program), model, repeats)
    few, many = ({"num_blocks": n, "block_size": 32} for n in (16, 256))  # room for four of sixteen users, or for all
    bench.smaller("ttft_p50_ms", many, few, MIXED, Closed(16), 48)
    few, many = ({"max_batch_tokens": n, "num_blocks": 256} for n in (64, 1024))
    bench.smaller("requests_per_s", few, many, MIXED, Closed(16), 48)
    bench.serves("open loop, 2 requests/s", Workload(Fixed(64, 16)), Open(2.0), 20)
    bench.fails("start_crash", {}, "rror", engine=Transformers(device="no-such-device", **program))
    return bench.rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transformers", type=Path, metavar="FOLDER")
    parser.add_argument("--vllm", type=Path, metavar="FOLDER")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not (args.transformers or args.vllm):
        parser.error("name the folder of at least one engine's programs: --transformers, --vllm")
    rows, versions = [], []
    host = LocalHost()
    with tempfile.TemporaryDirectory() as model:
        for folder, measure, engine, device in (
            (args.transformers, transformers, Transformers, {"cpu": "cpu", "gpu": "cuda"}[args.device]),
            (args.vllm, vllm, VLLM, args.device),
        ):
            if folder:
                versions.append(engine(program=str(folder / engine.name)).version(host))
                subprocess.run([str(folder / "python"), "-c", MODEL, model], check=True, capture_output=True)
                rows += measure(folder, device, model, args.repeats)
    host.close()
    if args.json:
        print(json.dumps({"versions": versions, "rows": rows}))
    else:
        print("\n".join([", ".join(versions), "", "| engine | claim | measured | holds |", "|---|---|---|---|"]))
        for r in rows:
            print(f"| {r['engine']} | {r['claim']} | {r['found']} | {'yes' if r['holds'] else 'NO'} |")
    sys.exit(not all(r["holds"] for r in rows))


if __name__ == "__main__":
    main()
