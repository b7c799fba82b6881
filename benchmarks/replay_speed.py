"""Replays per second beside Syne Tune's simulator backend: random search, 33 trials, the same recorded workload.

    python -m venv /some/env && /some/env/bin/pip install syne-tune==0.16 huggingface_hub
    python benchmarks/replay_speed.py --syne-tune /some/env/bin/python [--replays 20] [--json]

Syne Tune is large (about 1 GB), so it lives in an environment of its own and is never a dependency. Its table is given as one
parameter, the number of the config (and a constant), with one recorded value and time each: the least work it allows.
Processor time; each side runs in a fresh process and times its replays after one to warm up.
"""

import argparse
import json
import subprocess
import sys

TRIALS = 33

THEIRS = """
import json, logging, sys, time
logging.disable(logging.CRITICAL)
import numpy as np, pandas as pd
from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend.simulator_backend.simulator_callback import SimulatorCallback
from syne_tune.blackbox_repository.blackbox_tabular import BlackboxTabular
from syne_tune.blackbox_repository.simulated_tabular_backend import UserBlackboxBackend
from syne_tune.config_space import choice, randint
from syne_tune.optimizer.baselines import RandomSearch
job = json.load(sys.stdin)
values, trials, replays = np.array(job["values"]), job["trials"], job["replays"]
space = {"config": choice(list(range(len(values)))), "one": choice([1])}  # its index needs two columns
table = BlackboxTabular(
    pd.DataFrame({"config": range(len(values)), "one": 1}), space, {"epoch": randint(1, 1)},
    np.stack([values, values], -1).reshape(len(values), 1, 1, 2), objectives_names=["loss", "elapsed"],
)
def replay(seed):
    backend = UserBlackboxBackend(table, elapsed_time_attr="elapsed", seed=0)
    tuner = Tuner(
        trial_backend=backend, scheduler=RandomSearch(space, metrics=["loss"], random_seed=seed),
        stop_criterion=StoppingCriterion(max_num_trials_finished=trials), n_workers=1, sleep_time=0,
        callbacks=[SimulatorCallback()], save_tuner=False, print_update_interval=1e9, suffix_tuner_name=True,
        results_update_interval=1e9,
    )
    tuner.run()
    return len(tuner.tuning_status.trial_rows)
done = replay(0)
began = time.process_time()
for seed in range(replays):
    replay(seed)
print("RESULT", json.dumps({"seconds": (time.process_time() - began) / replays, "trials": done}))
"""

OURS = """
import json, sys, time
from cloudbandit.replay.task import Task, replay
from cloudbandit.tables.registry import load_table
job = json.load(sys.stdin)
task = Task(load_table(job["table"]), job["workload"], "cost_usd" if job["table"] == "multicloud" else "usd_per_h")
done = replay(task, "random", job["trials"]).evaluations
began = time.process_time()
for seed in range(10 * job["replays"]):
    replay(task, "random", job["trials"], seed)
print("RESULT", json.dumps({"seconds": (time.process_time() - began) / (10 * job["replays"]), "trials": done}))
"""


def run(python, code, job):
    done = subprocess.run([python, "-c", code], input=json.dumps(job), capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    sys.exit(f"error: {python} could not run its half:\n{done.stderr[-2000:]}")


def main():
    from cloudbandit.replay.task import Task
    from cloudbandit.tables.registry import available, load_table

    parser = argparse.ArgumentParser()
    parser.add_argument("--syne-tune", required=True, metavar="PYTHON")
    parser.add_argument("--replays", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    table, workload, metric = ("llm-serving", "qwen3-32b|rag|2000tok|spot", "usd_per_h")
    if available("multicloud"):
        table, workload, metric = "multicloud", "buzz-xgboost", "cost_usd"
    task = Task(load_table(table), workload, metric)
    job = {
        "table": table,
        "workload": workload,
        "trials": TRIALS,
        "replays": arguments.replays,
        "values": list(task.values.values()),
    }
    ours, theirs = run(sys.executable, OURS, job), run(arguments.syne_tune, THEIRS, job)
    result = {
        "table": table,
        "workload": workload,
        "ours_per_s": 1 / ours["seconds"],
        "syne_tune_per_s": 1 / theirs["seconds"],
        "ratio": theirs["seconds"] / ours["seconds"],
        "trials": [ours["trials"], theirs["trials"]],
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"random search, {TRIALS} trials, {table}/{workload}, processor time")
    print(f"  cloudbandit  {result['ours_per_s']:8.1f} replays/s")
    print(f"  Syne Tune    {result['syne_tune_per_s']:8.2f} replays/s   ({theirs['trials']} trials in each)")
    print(f"  ratio        {result['ratio']:8.1f}")


if __name__ == "__main__":
    main()
