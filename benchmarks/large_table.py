"""A large recorded table: how long it takes to check, and to compare three methods on it, and how much memory that needs.

    python benchmarks/large_table.py [--rows 200000] [--repeats 3] [--json]

The table has 10 parameters (numbers, labels, switches), 3 arms, 4 workloads, status, spent and a fact, and no config twice
within a workload. Each command runs in a fresh process: wall-clock and processor seconds, and its peak of resident memory, the
medians of the repeats.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ARMS, WORKLOADS, BUDGET, SEEDS = ("aws", "azure", "gcp"), 4, 33, 2
OPTIMIZERS = "random,gp-ard,cloudbandit:gp-ard"
GRID = {
    "nodes": np.arange(1, 17),
    "vcpus": 2 ** np.arange(1, 7),
    "memory_gib": 4.0 * 2 ** np.arange(1, 7),
    "disk": np.array(["ssd", "hdd", "nvme"]),
    "family": np.array(list("abcdef")),
    "batch": 2 ** np.arange(0, 8),
    "threads": np.arange(1, 9),
    "share": np.round(np.linspace(0.1, 1.0, 10), 2),
    "spot": np.array(["true", "false"]),
    "codec": np.array(["none", "lz4", "zstd"]),
}
MANIFEST = """[table]
file = "runs.csv"
context = "workload"
arm = "cloud"

[params]
nodes = "int"
vcpus = "int"
memory_gib = "float"
disk = "choice"
family = "choice"
batch = "int"
threads = "int"
share = "float"
spot = "bool"
codec = "choice"

[metrics]
cost_usd = "cost_usd"
runtime_s = "runtime_s"

[spent]
usd = "cost_usd"
seconds = "runtime_s"

[facts]
price_usd_per_h = "price_usd_per_h"

[status]
column = "status"
ok = "ok"
otherwise = "failed"
"""


def write(folder, rows, seed=0):
    """The table's folder; the same for the same seed."""
    rng = np.random.default_rng(seed)
    configs = rows // WORKLOADS
    sizes = [len(ARMS), *(len(values) for values in GRID.values())]
    cells = np.unravel_index(rng.choice(int(np.prod(sizes)), configs, replace=False), sizes)
    one = pd.DataFrame(
        {
            "cloud": np.array(ARMS)[cells[0]],
            **{k: v[i] for (k, v), i in zip(GRID.items(), cells[1:], strict=True)},
        }
    )
    price = one["nodes"] * (0.02 * one["vcpus"] + 0.004 * one["memory_gib"]) * np.where(one["spot"] == "true", 0.4, 1.0)
    parts = []
    for w in range(WORKLOADS):
        level = rng.uniform(0.6, 1.6, len(ARMS))[cells[0]] * rng.uniform(0.7, 1.5, 6)[cells[5]]
        work = 3600 * rng.uniform(2, 20) / (one["nodes"] * one["vcpus"]) ** rng.uniform(0.5, 0.95)
        slow = 1 + (rng.uniform(8, 64) / one["memory_gib"]) ** 2 + 0.1 * np.log2(one["batch"]) + 0.3 * one["share"]
        runtime = work * level * slow * rng.lognormal(0, 0.02, configs)
        part = one.assign(workload=f"w{w}", price_usd_per_h=price.round(5), runtime_s=runtime.round(2))
        part["cost_usd"] = (runtime * price / 3600).round(5)
        parts.append(part.assign(status=np.where(rng.random(configs) < 0.03, "crashed", "ok")))
    pd.concat(parts).to_csv(folder / "runs.csv", index=False)
    (folder / "table.toml").write_text(MANIFEST)


def measured(argv):
    """A fresh process: wall-clock seconds, processor seconds, peak MB."""
    began = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(argv)} failed")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cli = [sys.executable, "-m", "cloudbandit"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, given.rows)
        budget = ["--budgets", str(BUDGET), "--seeds", str(SEEDS)]
        commands = {
            "check": [*cli, "table", "check", name],
            "compare": [*cli, "compare", name, "--minimize", "cost_usd", "--optimizers", OPTIMIZERS, *budget],
        }
        found = {"rows": given.rows}
        for label, argv in commands.items():
            runs = [measured(argv) for _ in range(given.repeats)]
            wall, cpu, peak = (statistics.median(column) for column in zip(*runs, strict=True))
            found[label] = {"wall_s": round(wall, 1), "processor_s": round(cpu, 1), "peak_mb": round(peak)}
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.rows:,} rows, {len(GRID)} parameters, {WORKLOADS} workloads; medians of {given.repeats}")
    for label in commands:
        print(f"{label:8}" + "  ".join(f"{key} {value:g}" for key, value in found[label].items()))


if __name__ == "__main__":
    main()
