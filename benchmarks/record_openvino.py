"""Record data/openvino-cpu: a real engine on this machine's CPU, config by config, under two workloads.

    python benchmarks/record_openvino.py records.jsonl [--configs 305] [--anchors 20] [--rounds 8]   (resumable)
    python benchmarks/record_openvino.py records.jsonl --export data/openvino-cpu

OpenVINO GenAI serving a random tiny Llama. Each trial starts the engine afresh, sends one request, then a closed loop.
Configs are drawn at random (seed 0) from all combinations of knobs, those the engine is known to refuse included, because how
it fails is worth recording. Twenty configs are measured again in rounds, strewn between, with other requests, so that noise and
drift show. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from cloudbandit.core.trial import Candidate, Trial
from cloudbandit.engines.openvino import TINY, OpenVINO
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.trial import Benchmark, Unattended
from cloudbandit.loadgen.workloads import Closed, Fixed, LogNormal, Workload
from cloudbandit.providers.local import LocalHost, LocalProvider, describe_machine

WORKLOADS = {
    "chat": (Workload(LogNormal(96, 32, 0.5, 0.5, longest=384)), Closed(16), 64),
    "prefix": (Workload(Fixed(320, 16), shared_prefix_tokens=256), Closed(8), 48),
}
METRICS = [f"{m}_{p}_ms" for m in ("ttft", "itl", "tpot", "e2e") for p in ("p50", "p90", "p95")]
METRICS += ["output_tok_per_s", "requests_per_s", "failure_rate", "start_s"]


def draw(engine, n, seed=0):
    """n distinct configs, knob by knob, inactive knobs absent. Two settings that often fail are drawn less often than the others;
    known constraints are not applied."""
    rng = np.random.default_rng(seed)
    share = {"threads": {1: 0.1, 2: 0.9}, "dynamic_split_fuse": {True: 0.6, False: 0.4}}
    found = {}
    while len(found) < n:
        config = {}
        for knob in engine.knobs:
            if knob.when is None or config.get(knob.when[0]) == knob.when[1]:
                weights = share.get(knob.name)
                p = None if weights is None else [weights[v] for v in knob.values]
                config[knob.name] = knob.values[int(rng.choice(len(knob.values), p=p))]
        found.setdefault(json.dumps(config), config)
    return list(found.values())


def anchors(configs, n, seed=0):
    """Numbers of n configs that can be expected to run, to be measured again and again."""
    easy = [
        i
        for i, c in enumerate(configs)
        if c["threads"] == 2
        and c["num_kv_blocks"] >= 128
        and (c["dynamic_split_fuse"] or c["max_num_batched_tokens"] >= 512)
    ]
    return sorted(np.random.default_rng(seed).choice(easy, size=min(n, len(easy)), replace=False).tolist())


def schedule(configs, again, rounds):
    """(config number, replicate) in order: every config once, and between them, evenly strewn, the anchors in rounds."""
    repeats = [(c, r) for r in range(1, rounds + 1) for c in again]
    firsts = [(c, 0) for c in range(configs)]
    slots = [((i + 0.5) / len(firsts), 0, pair) for i, pair in enumerate(firsts)]
    slots += [((i + 0.5) / len(repeats), 1, pair) for i, pair in enumerate(repeats)]
    return [pair for _, _, pair in sorted(slots)]


def machine():
    """What was measured on."""
    host = LocalHost()
    version = OpenVINO().version(host)
    host.close()
    return {**describe_machine(), "engine": version}


def record(path, configs, again, rounds):
    engine = OpenVINO()
    chosen = draw(engine, configs)
    done = set()
    if path.exists():
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if "config" in row:
                done.add((row["config"], row["replicate"], row["workload"]))
    objectives = {
        name: LiveObjective(
            LocalProvider(),
            engine,
            Benchmark(TINY, workload, [load], requests=n, timeout_s=20, limit_s=60),
            trust=True,
        )
        for name, (workload, load, n) in WORKLOADS.items()
    }
    order = [(c, r, w) for c, r in schedule(len(chosen), anchors(chosen, again), rounds) for w in WORKLOADS]
    with path.open("a") as file:
        if not done:
            file.write(
                json.dumps({"machine": machine(), "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}) + "\n"
            )
        for i, (c, replicate, name) in enumerate(order):
            if (c, replicate, name) in done:
                continue
            seed = 1_000_000 * (1 + replicate) + 1000 * c + len(name)
            trial = Trial(i, Candidate(("local", "this-machine"), chosen[c]), seed=seed, replicate=replicate)
            result = objectives[name].evaluate(trial, Unattended())
            row = {
                "config": c,
                "replicate": replicate,
                "workload": name,
                "order": i,
                "at": round(time.time(), 2),
                "load_average": os.getloadavg()[0],
                "knobs": chosen[c],
                "status": str(result.status),
                "reason": result.reason,
                "seconds": result.seconds,
                "metrics": dict(result.metrics),
                "error": result.error[:300],
            }
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
            if i % 20 == 0:
                print(
                    f"{i}/{len(order)} {name} {row['status']} {row['reason']} {result.seconds:.1f} s",
                    file=sys.stderr,
                    flush=True,
                )


def export(path, folder):
    """runs.csv, machine.json and the figures of the README, from what was recorded."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    runs = sorted((r for r in rows if "config" in r), key=lambda r: r["order"])
    knobs = [k.name for k in OpenVINO.knobs]
    table = []
    for r in runs:
        row = {"workload": r["workload"], "machine": "local"}
        row |= {k: r["knobs"].get(k) for k in knobs}
        row |= {"status": r["status"], "reason": r["reason"], "replicate": r["replicate"], "order": r["order"]}
        row |= {
            "seconds": r["seconds"],
            "spent_usd": r["seconds"] * USD_PER_H / 3600,
            "load_average": r["load_average"],
        }
        table.append(row | {m: r["metrics"].get(m) for m in METRICS})
    frame = pd.DataFrame(table)
    for name in ("max_num_seqs",):
        frame[name] = frame[name].astype("Int64")
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "runs.csv", index=False, float_format="%.5g")
    facts = next(r for r in rows if "machine" in r)
    (folder / "machine.json").write_text(json.dumps(facts, indent=1) + "\n")
    readme = folder / "README.md"
    if readme.exists():
        before, rest = readme.read_text().split(BEGIN)
        readme.write_text(before + BEGIN + "\n" + figures(frame, knobs) + END + rest.split(END)[1])
    return frame


USD_PER_H = 0.05
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def figures(frame, knobs):
    """Counts, variances and drift as Markdown."""
    configs = len(frame.drop_duplicates(knobs))
    reasons = frame[frame["status"] != "ok"]["reason"].value_counts()
    failed = ", ".join(f"{name} {100 * n / len(frame):.0f} %" for name, n in reasons.items())
    lines = [f"{len(frame)} trials of {configs} configs; failed: {failed}.", ""]
    lines += [
        "| workload | metric | ok trials | repeated | sd between configs | sd of repeats | share of variance | drift |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for name, some in frame[frame["status"] == "ok"].groupby("workload"):
        for metric in ("ttft_p50_ms", "tpot_p50_ms"):
            good = some[some[metric].notna() & (some["failure_rate"] == 0)].copy()
            good["y"] = np.log(good[metric].astype(float))
            groups = good.groupby(knobs, dropna=False)["y"]  # an inactive knob is no value
            repeated = good[groups.transform("size") > 1]
            within = float(groups.var(ddof=1).dropna().mean())
            means = groups.mean()
            between = max(0.0, float(means.var(ddof=1)) - within / float(groups.size().mean()))
            residual = good.loc[repeated.index, "y"] - groups.transform("mean").loc[repeated.index]
            slope = float(np.polyfit(good.loc[repeated.index, "order"], residual, 1)[0]) * float(frame["order"].max())
            lines.append(
                f"| {name} | {metric} | {len(good)} | {int((groups.size() > 1).sum())} | {between**0.5:.2f} | {within**0.5:.2f} "
                f"| {100 * between / (between + within):.0f} % | {100 * (np.exp(slope) - 1):+.0f} % |"
            )
    lines += [
        "",
        "Standard deviations are of the natural logarithm, over trials without a failed request; share: of the variance,",
    ]
    lines += [
        "what is between configs; drift: the trend of repeats of one config from the first trial to the last.",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("--configs", type=int, default=305)
    parser.add_argument("--anchors", type=int, default=20, help="configs that are measured again")
    parser.add_argument("--rounds", type=int, default=8, help="so many times each")
    parser.add_argument("--export", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    if args.export:
        frame = export(args.records, args.export)
        print(
            f"{len(frame)} runs of {len(frame.drop_duplicates([k.name for k in OpenVINO.knobs]))} configs → {args.export}"
        )
    else:
        record(args.records, args.configs, args.anchors, args.rounds)


if __name__ == "__main__":
    main()
