# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # A fleet over three clouds, hour by hour
#
# Three models, two sources of load, machines of three clouds on demand, spot and reserved. What a machine serves within the SLOs
# is the surrogate's, at a probability of 0.7; on-demand and spot prices are the bundled catalogue's; a reservation is assumed to
# cost 60 % of the on-demand price, for the catalogue has none. The demand is made up; the lengths of two of the three kinds of
# requests are the means of recorded ones. (Extras `plan`, `plot`.)

# %%
from dataclasses import replace

from cloudbandit.plan import forecast_demand, make_plan
from cloudbandit.plan.example import SERVED, example_demand, example_week

seen = example_demand(days=29)
for name, (model, tokens_in, tokens_out, rate, _, slos) in SERVED.items():
    print(
        f"{name}: {model}, {tokens_in} tokens in, {tokens_out} out, {rate:g} requests/s on a working day, {', '.join(slos)}"
    )

# %% [markdown]
# Four weeks were seen; the day after is planned for. The forecast knows nothing of that day, and its buffer is the 95 % quantile
# of the errors that the same method made on the days before.

# %%
history, coming = seen.part(0, 28 * 24), seen.part(28 * 24, 29 * 24)
expected = forecast_demand(history, 24, method="naive-weekly", quantile=0.95)
held = [(coming.load[key] <= expected.load[key]).mean() for key in coming.load]
print(f"the day itself stayed below the plan's demand in {100 * sum(held) / len(held):.0f} % of the hours")

# %% [markdown]
# One program over all clouds, against the best single cloud with the same purchases.

# %%
problem = example_week(demand=expected)
plan = make_plan(problem, gap=0.02, seconds=20)
print(f"all clouds: {plan.usd:,.0f} USD a day, {plan.outcome}, at most {plan.gap:.1%} above the least")
single = {}
for cloud in ("aws", "azure", "gcp"):
    alone = make_plan(example_week([cloud], demand=expected, capacity=problem.capacity), gap=0.02, seconds=10)
    if hasattr(alone, "usd"):
        single[cloud] = alone.usd
        print(f"{cloud} alone: {alone.usd:,.0f} USD")
assert plan.bound <= min(single.values())

# %% [markdown]
# The same machines all day, sized for the busiest hour of each source: what an hourly plan saves at most. (Peaks that do not
# coincide are added up here; `benchmarks/plan.py` has the fairer fleet, whose routes are free.)

# %%
peak = replace(expected, load={key: values.max(keepdims=True) for key, values in expected.load.items()})
static = make_plan(example_week(demand=peak, capacity=problem.capacity), gap=0.01, seconds=10)
all_day = 24 * (static.usd - static.costs["starts"])
print(f"static: {all_day:,.0f} USD a day")

# %% [markdown]
# What serves whom, and what each hour costs.

# %%
from cloudbandit.report.picture import Picture
from cloudbandit.report.plan_plot import plan_figure


def png(figure):
    """A figure as a notebook shows it."""
    import io

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return Picture(file.getvalue())


png(plan_figure(plan))
