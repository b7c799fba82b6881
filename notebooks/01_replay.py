# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # Replaying a recorded table
#
# A recorded table answers every trial at once and for free, so a search can be tried, watched and compared before it is
# pointed at a cloud.

# %%
from cloudbandit import BaseOptimizer, Task, compare, load_table

table = load_table("llm-serving")
print(table, "such as", table.workloads[0])

# %% [markdown]
# One workload under a goal: the fleet that serves 2,000 output tokens/s of a 70B model, at the least price, with its first
# token within a second. (The table holds estimates; see its README.)

# %%
task = Task(table, "llama-3.1-70b|chat|2000tok|spot", "usd_per_h", ("ttft_ms<=1000", "tpot_ms<=50"))
print(f"{len(task.scores)} configs on {task.objective.domain.names}, the best at {task.best_value} USD/h")

# %% [markdown]
# CloudBandit shares 66 trials out: every provider gets a few, the worst one drops out, the rest get more.

# %%
report = task.replay("cloudbandit:gp-ard", 66, on_study=lambda study: print(*study.optimizer.schedule(), sep="\n"))
best = report.incumbent
print(best.candidate, best.result.metrics["usd_per_h"])
print(
    "trials per provider:", {arm: sum(o.arm == arm for o in report.observations) for arm in task.objective.domain.names}
)
assert best.candidate == task.optimum

# %% [markdown]
# Judging is apart from measuring: the same trials under a stricter SLO, without paying again.

# %%
strict = Task(table, task.workload, "usd_per_h", ("ttft_ms<=400",))
scores = [strict.goal.score(o.result) for o in report.observations]
print(sum(s.feasible for s in scores if s), "of the trials meet ttft_ms <= 400")

# %% [markdown]
# And the whole study as a frame.

# %%
print(report.to_frame()[["trial", "arm", "status", "feasible", "usd_per_h", "ttft_ms"]].tail())

# %% [markdown]
# Two objectives have a front instead of a best config: what no other trial beats in both.

# %%
both = Task(table, task.workload, ("usd_per_h", "ttft_ms"), ("tpot_ms<=50",))
found = both.replay("random-wor", 66)
for o in found.front:
    print(f"{o.result.metrics['usd_per_h']:6.2f} USD/h  {o.result.metrics['ttft_ms']:6.0f} ms  {o.candidate}")
print(f"{both.hypervolume_share(found.observations):.2f} of the true front's hypervolume, {len(both.front)} points")

# %% [markdown]
# Optimizers side by side, one of one's own among them; the answer is a frame.


# %%
class CheapestFirst(BaseOptimizer):
    def _suggest(self):
        free = [self.domain.candidates[i] for i in self.free]
        return min(free, key=lambda c: self.problem.facts(c)["price_usd_per_h"], default=None)


frame = compare(
    table, "usd_per_h", optimizers=["random", CheapestFirst], budgets=[11, 22], seeds=3, workloads=[task.workload]
)
print(frame[["optimizer", "budget", "mean_regret_percent", "near_percent"]])
