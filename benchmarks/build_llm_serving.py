"""Build data/llm-serving/runs.csv.xz: estimates of LLM serving joined with cloud prices.

    pip install aiconfigurator-core==0.12.0 pandas        (in an environment of its own; needed only here)
    python benchmarks/build_llm_serving.py

Latency and throughput come from aiconfigurator-core (NVIDIA, Apache-2.0): interpolations of kernels measured on silicon,
for steady state at a fixed batch. They are estimates; nothing here was measured by serving. Prices: data/prices/offers.csv.
"""

import csv
import io
import json
import logging
import lzma
import math
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from cloudbandit.catalogue.prices import load_offers  # noqa: E402
from cloudbandit.objectives.aiconfigurator import SYSTEMS, VERSIONS  # noqa: E402

OUT = ROOT / "data" / "llm-serving" / "runs.csv.xz"

MODELS = {  # label: (bundled model config, mixture of experts, precisions)
    "llama-3.1-8b": ("meta-llama/Meta-Llama-3.1-8B", False, ("bf16", "fp8")),
    "qwen3-30b-a3b": ("Qwen/Qwen3-30B-A3B", True, ("bf16", "fp8")),
    "qwen3-32b": ("Qwen/Qwen3-32B", False, ("bf16", "fp8")),
    "llama-3.1-70b": ("meta-llama/Meta-Llama-3.1-70B", False, ("bf16", "fp8")),
    "gpt-oss-120b": ("openai/gpt-oss-120b", True, ("mxfp4",)),
}
LARGE = ("llama-3.1-70b", "gpt-oss-120b")
SHAPES = {"chat": (1024, 256), "rag": (4096, 256), "write": (512, 1024)}  # input, output tokens per request
DEMANDS = (500, 2000, 10000)  # output tokens/s
PURCHASES = ("on-demand", "spot")
BATCHES = (4, 8, 16, 32, 64, 96, 128, 192, 256)
CONTEXT_TOKENS = {"vllm": (2048, 8192), "trtllm": (8192,)}
LARGE_STEP_BATCHES = (64, 128, 256)  # the larger step is recorded where it matters
BACKENDS = ("vllm", "trtllm")
ONE_GPU_ONLY = (
    "l40s",
    "rtx_pro_6000_server",
)  # estimates across PCIe are doubtful: tensor parallel 1, machines of one GPU
PROVIDERS = ("aws", "azure", "gcp")
TRIAL_MINUTES, FAILED_MINUTES = 15, 5  # load the model, warm up, measure; a failed start is noticed sooner


def machines():
    """{(provider, instance type): (offers, system)}, and what was dropped with the reason."""
    kept, dropped = {}, []
    for offer in load_offers(ROOT / "data" / "prices" / "offers.csv"):
        system = SYSTEMS.get(offer.accelerator)
        name = f"{offer.provider} {offer.region} {offer.instance_type} {offer.purchase}"
        if offer.provider not in PROVIDERS:
            dropped.append((name, "not one of the three providers"))
        elif system is None:
            dropped.append((name, f"no silicon data for {offer.accelerator}"))
        elif system in ONE_GPU_ONLY and offer.accelerators > 1:
            dropped.append((name, f"several {offer.accelerator} across PCIe: estimates doubtful"))
        elif system in ONE_GPU_ONLY and not offer.instance_type.endswith((".xlarge", "g7e.2xlarge")):
            dropped.append((name, "same GPU as a cheaper size, more CPU"))
        else:
            kept.setdefault((offer.provider, offer.instance_type), ([], system))[0].append(offer)
    return kept, dropped


def tensor_parallels(model, gpus):
    wanted = (1, 2, 4, 8) if model in LARGE else (1, 2, 4)
    if gpus == 8 and model in LARGE:
        wanted = (2, 4, 8)
    return [tp for tp in wanted if tp <= gpus]


def estimates(model, system, backend, precision, tp, cells):
    """{(isl, osl, batch, ctx): result or a reason}. A fresh backend and database per call: the estimator caches by a key
    that leaves out model and database."""
    import aiconfigurator_core.sdk.common as common
    from aiconfigurator_core.sdk.backends.factory import get_backend
    from aiconfigurator_core.sdk.config import ModelConfig, RuntimeConfig
    from aiconfigurator_core.sdk.errors import PerfDataNotAvailableError
    from aiconfigurator_core.sdk.models import get_model

    path, moe, _ = MODELS[model]
    database = _database(system, backend)
    supported = database.supported_quant_mode
    options = {"tp_size": tp, "kvcache_quant_mode": common.KVCacheQuantMode.bfloat16}
    options["fmha_quant_mode"] = common.FMHAQuantMode.bfloat16
    gemm = "fp8" if precision == "fp8" else "bfloat16"
    if gemm not in supported["gemm"]:
        return dict.fromkeys(cells, "unsupported")
    options["gemm_quant_mode"] = common.GEMMQuantMode[gemm]
    if moe:
        experts = {"fp8": "fp8", "bf16": "bfloat16", "mxfp4": "w4a16_mxfp4"}[precision]
        if experts not in supported["moe"]:
            return dict.fromkeys(cells, "unsupported")
        options |= {"moe_tp_size": tp, "moe_ep_size": 1, "moe_quant_mode": common.MoEQuantMode[experts]}
    out = {}
    engine, built = get_backend(backend), get_model(path, ModelConfig(**options), backend)
    for isl, osl, batch, ctx in cells:
        runtime = RuntimeConfig(isl=isl, osl=osl, batch_size=batch)
        try:
            summary = engine.run_agg(built, database, runtime, ctx_tokens=ctx)
        except (
            PerfDataNotAvailableError
        ) as error:  # the cell is left out, and counted; anything else is a bug and raises
            out[isl, osl, batch, ctx] = f"unsupported: {error}"
            continue
        if summary.check_oom():
            out[isl, osl, batch, ctx] = "out_of_memory"
        else:
            d = summary.get_result_dict()
            out[isl, osl, batch, ctx] = (float(d["ttft"]), float(d["tpot"]), float(d["tokens/s"]))
    return out


_databases = {}


def _database(system, backend):
    from aiconfigurator_core.sdk.perf_database import get_database_view

    version = VERSIONS.get(system, VERSIONS["*"])[backend]
    if (system, backend) not in _databases:
        _databases[system, backend] = get_database_view(
            system, backend, version, allow_missing_data=False, database_mode="SILICON"
        )
    return _databases[system, backend]


def cells_of(backend):
    steps = CONTEXT_TOKENS[backend]
    return [
        (isl, osl, batch, ctx)
        for isl, osl in SHAPES.values()
        for batch in BATCHES
        for ctx in steps
        if ctx == steps[0] or batch in LARGE_STEP_BATCHES
    ]


def rounded(x):
    return float(f"{x:.4g}")


def rows(kept):
    cache = {}
    counts = {"unsupported": 0, "out_of_memory": 0, "ok": 0}
    for model, (_, _, precisions) in MODELS.items():
        for (provider, instance), (offers, system) in kept.items():
            gpus = offers[0].accelerators
            for tp in tensor_parallels(model, gpus):
                for backend in BACKENDS:
                    for precision in precisions:
                        key = (model, system, backend, precision, tp)
                        if key not in cache:
                            cache[key] = estimates(*key, cells_of(backend))
                        for cell, found in cache[key].items():
                            if isinstance(found, str) and found.startswith("unsupported"):
                                counts["unsupported"] += 1
                                continue
                            counts["ok" if not isinstance(found, str) else found] += 1
                            yield from _priced(model, provider, instance, offers, tp, backend, precision, cell, found)
    print("estimates used (over machines):", counts, file=sys.stderr)


def _priced(model, provider, instance, offers, tp, backend, precision, cell, found):
    isl, osl, batch, ctx = cell
    shape = next(name for name, lengths in SHAPES.items() if lengths == (isl, osl))
    replicas = offers[0].accelerators // tp
    for purchase in PURCHASES:
        priced = [(o.usd_per_h, o.region) for o in offers if o.purchase == purchase]
        if not priced:
            continue
        price, region = min(priced)
        base = {
            "model": model,
            "shape": shape,
            "demand": 0,
            "purchase": purchase,
            "provider": provider,
            "instance": instance,
            "tp": tp,
            "backend": backend,
            "precision": precision,
            "batch": batch,
            "ctx_tokens": ctx,
        }
        tail = {"price_usd_per_h": price, "region": region}
        for demand in DEMANDS:
            row = base | {"demand": f"{demand}tok"}
            if isinstance(found, str):
                minutes = FAILED_MINUTES
                row |= dict.fromkeys(
                    ("ttft_ms", "tpot_ms", "output_tok_per_s", "usd_per_million_output_tokens", "usd_per_h"), ""
                )
                row |= {"status": "failed", "reason": found}
            else:
                minutes = TRIAL_MINUTES
                ttft, tpot, speed = found
                capacity = replicas * speed
                row |= {
                    "ttft_ms": rounded(ttft),
                    "tpot_ms": rounded(tpot),
                    "output_tok_per_s": rounded(capacity),
                    "usd_per_million_output_tokens": rounded(price / (capacity * 3600 / 1e6)),
                    "usd_per_h": rounded(math.ceil(demand / capacity) * price),
                    "status": "ok",
                    "reason": "",
                }
            yield row | tail | {"spent_usd": rounded(price * minutes / 60), "spent_s": minutes * 60}


def workload(row):
    return "|".join(row[k] for k in ("model", "shape", "demand", "purchase"))


def check_against_fresh_processes():
    """The estimator's cache must not leak from one model to the next: compare with processes that know only one."""
    samples = [
        ("llama-3.1-70b", "h100_sxm", "vllm", "fp8", 4, (1024, 256, 64, 2048)),
        ("qwen3-32b", "a100_sxm", "trtllm", "bf16", 2, (4096, 256, 16, 8192)),
        ("gpt-oss-120b", "h200_sxm", "vllm", "mxfp4", 2, (512, 1024, 128, 2048)),
    ]
    for *key, cell in samples:
        here = estimates(*key, [cell])[tuple(cell)]
        command = [sys.executable, __file__, "--one", json.dumps([key, cell])]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        there = json.loads(run.stdout.splitlines()[-1])
        assert (list(here) if not isinstance(here, str) else here) == there, (key, cell, here, there)
    print(f"{len(samples)} estimates agree with fresh processes", file=sys.stderr)


def main() -> None:
    logging.disable(logging.CRITICAL)
    if sys.argv[1:2] == ["--one"]:
        key, cell = json.loads(sys.argv[2])
        found = estimates(*key, [tuple(cell)])[tuple(cell)]
        print(json.dumps(found))
        return
    kept, dropped = machines()
    for name, reason in dropped:
        print(f"dropped {name}: {reason}", file=sys.stderr)
    made = list(rows(kept))
    providers = {}
    for row in made:
        providers.setdefault(workload(row), set()).add(row["provider"])
    single = sorted(name for name, some in providers.items() if len(some) == 1)
    print(f"dropped {len(single)} workloads that only one provider can serve: {', '.join(single)}", file=sys.stderr)
    made = [row for row in made if len(providers[workload(row)]) > 1]
    made.sort(
        key=lambda r: (
            r["model"],
            r["shape"],
            r["provider"],
            r["instance"],
            r["tp"],
            r["backend"],
            r["precision"],
            r["ctx_tokens"],
            r["batch"],
            r["purchase"],
            int(r["demand"].removesuffix("tok")),
        )
    )
    check_against_fresh_processes()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(made[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_bytes(lzma.compress(text.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(made)} rows, {OUT.stat().st_size / 1e6:.2f} MB, {len(kept)} machines", file=sys.stderr)


if __name__ == "__main__":
    main()
