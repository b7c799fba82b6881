"""Record data/openvino-cpu: a real engine on this machine's CPU, config by config, under two workloads.

    python benchmarks/record_openvino.py records.jsonl [--configs 310] [--repeats 105]       (resumable; Ctrl-C loses nothing)
    python benchmarks/record_openvino.py records.jsonl --export data/openvino-cpu

OpenVINO GenAI serving a random tiny Llama. Each trial starts the engine afresh, sends one request, then a closed loop.
Configs are drawn at random (seed 0) from all combinations of knobs, those the engine is known to refuse included, because how
it fails is worth recording. Repeats of earlier configs are strewn between, with other requests, so that drift shows. Nothing
else should run meanwhile.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from cloudbandit.engines.openvino import TINY, OpenVINO
from cloudbandit.loadgen.workloads import Closed, Fixed, LogNormal, Workload
from cloudbandit.objectives.live import LiveObjective
from cloudbandit.providers.local import LocalHost, LocalProvider
from cloudbandit.trial import Candidate, Trial

WORKLOADS = {
    "chat": (Workload(LogNormal(96, 32, 0.5, 0.5, longest=384)), Closed(16), 64),
    "prefix": (Workload(Fixed(320, 16), shared_prefix_tokens=256), Closed(8), 48),
}
METRICS = [f"{m}_{p}_ms" for m in ("ttft", "itl", "tpot", "e2e") for p in ("p50", "p90", "p95")]
METRICS += ["output_tok_per_s", "requests_per_s", "failure_rate", "start_s"]


class Quiet:
    cancelled, deadline = False, None

    def report(self, partial):
        return True

    def log(self, message):
        pass


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


def schedule(configs, repeats, seed=0):
    """(config number, replicate) in order: the drawn configs once, repeats of earlier ones strewn between."""
    rng = np.random.default_rng(seed)
    order, seen = [], {}
    every = max(2, round((configs + repeats) / max(1, repeats)))
    number = 0
    while number < configs or len(order) < configs + repeats:
        if number < configs and (len(order) % every != every - 1 or number < 10):
            order.append((number, 0))
            number += 1
        else:
            again = int(rng.integers(number))
            seen[again] = seen.get(again, 0) + 1
            order.append((again, seen[again]))
        if len(order) == configs + repeats:
            break
    return order


def machine():
    """What was measured on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    host = LocalHost()
    version = OpenVINO().version(host)
    host.close()
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "engine": version,
    }


def record(path, configs, repeats):
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
            LocalProvider(), engine, TINY, workload, [load], requests=n, timeout_s=20, limit_s=60, trust=True
        )
        for name, (workload, load, n) in WORKLOADS.items()
    }
    order = [(c, r, w) for c, r in schedule(len(chosen), repeats) for w in WORKLOADS]
    with path.open("a") as file:
        if not done:
            file.write(
                json.dumps({"machine": machine(), "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}) + "\n"
            )
        for i, (c, replicate, name) in enumerate(order):
            if (c, replicate, name) in done:
                continue
            seed = 1_000_000 * (1 + replicate) + 1000 * c + len(name)
            trial = Trial(i, Candidate("this-machine", chosen[c]), seed=seed, replicate=replicate)
            result = objectives[name].evaluate(trial, Quiet())
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
    """runs.csv, from what was recorded."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    runs = [r for r in rows if "config" in r]
    knobs = [k.name for k in OpenVINO.knobs]
    table = []
    for r in sorted(runs, key=lambda r: r["order"]):
        row = {"workload": r["workload"], "machine": "local"}
        row |= {k: r["knobs"].get(k) for k in knobs}
        row |= {"status": r["status"], "reason": r["reason"], "replicate": r["replicate"], "order": r["order"]}
        row |= {"seconds": r["seconds"], "load_average": r["load_average"]}
        table.append(row | {m: r["metrics"].get(m) for m in METRICS})
    frame = pd.DataFrame(table)
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "runs.csv", index=False, float_format="%.5g")
    (folder / "machine.json").write_text(json.dumps(next(r for r in rows if "machine" in r), indent=1) + "\n")
    return frame


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("--configs", type=int, default=310)
    parser.add_argument("--repeats", type=int, default=105)
    parser.add_argument("--export", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    if args.export:
        frame = export(args.records, args.export)
        print(
            f"{len(frame)} runs of {len(frame.drop_duplicates([k.name for k in OpenVINO.knobs]))} configs → {args.export}"
        )
    else:
        record(args.records, args.configs, args.repeats)


if __name__ == "__main__":
    main()
