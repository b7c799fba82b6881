# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # A real engine, and what to do with its measurements
#
# Every trial starts OpenVINO GenAI with a tiny Llama of random weights, puts it under load and stops it. (Extra `openvino`; about
# two seconds a trial on two cores.) What the model says is noise; what it costs is real.

# %%
import tempfile
from pathlib import Path

from cloudbandit import (
    Benchmark,
    Budget,
    LiveObjective,
    LocalProvider,
    OpenVINO,
    SLOGoal,
    Study,
    load_table,
    loadgen,
    make_factory,
    write_table,
)

engine = OpenVINO(threads=2, kv_cache_precision="u8", num_kv_blocks=[64, 256], enable_prefix_caching=False)
workload = loadgen.Workload(loadgen.LogNormal(input_median=48, output_median=12))
benchmark = Benchmark("tiny-llama", workload, [loadgen.Closed(users=4)], requests=16)
objective = LiveObjective(LocalProvider(usd_per_h=0.05), engine, benchmark)
print(objective.domain(), "of", ", ".join(k.name for k in engine.knobs))

# %% [markdown]
# Six trials: the time per token, where the first one comes within 200 ms for 95 % of the requests and none fails.

# %%
goal = SLOGoal("tpot_p50_ms", ("ttft_p95_ms<=200", "failure_rate<=0"))
report = Study(objective.domain(), objective, goal, make_factory("gp-ard", 6), Budget(trials=6)).run()
frame = report.to_frame()
print(frame[["trial", "status", "feasible", "tpot_p50_ms", "ttft_p95_ms"]])
if report.incumbent is not None:
    print(report.incumbent.candidate)

# %% [markdown]
# The trials become a table that anyone can replay, without the engine.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "mine"
    write_table(path, {"chat": [(o.trial, o.result) for o in report.observations]}, licence="Apache-2.0")
    print((path / "runs.csv").read_text()[:200], "…")
    print(load_table(path))
