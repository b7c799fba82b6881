# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # Hardware for an LLM nobody has measured
#
# A recommender that learned from other LLMs' load tests (LLM-Pilot's, TGIS in 2023) says which machines serve a model within its
# SLOs, at what bill, and which load test would help most. (Extra `recommend`.)

# %%
from cloudbandit import Recommender, llm_pilot, paper_offers

tests = llm_pilot()
print(f"{len(tests.tests)} load tests of {', '.join(tests.names)}")

# %% [markdown]
# Forget what was measured of llama-13b, and ask for two hundred users.

# %%
slos = ["nttft_ms<=100", "itl_ms<=60"]
advisor = Recommender(engine="tgis").advise("llama-13b", paper_offers(), slos, users=200, unseen=True)
before = advisor.recommend()
print(before.best.offer.name, f"{before.best.replicas} replicas, {before.best.usd_per_h:.2f} USD/h")

# %% [markdown]
# As long as it pays, the advisor names the load tests that are worth most. Here they are looked up; on real machines they would
# be run.

# %%
for _ in range(3):
    wanted = advisor.next_measurement()
    if wanted is None:
        break
    print(f"measure {wanted.profile}: {100 * wanted.regret_left:.0f} % would be lost by stopping now")
    advisor.update([t for t in tests.of("llama-13b") if t.profile.key == wanted.profile.key])

# %%
after = advisor.recommend()
print(after.best.offer.name, f"{after.best.replicas} replicas, {after.best.usd_per_h:.2f} USD/h, {after.best.source}")

# %% [markdown]
# What a study of everything would have said.

# %%
known = Recommender(engine="tgis").advise("llama-13b", paper_offers(), slos, users=200, only_measured=True).recommend()
print(known.best.offer.name, f"{known.best.replicas} replicas, {known.best.usd_per_h:.2f} USD/h")
assert after.best.usd_per_h <= 1.1 * known.best.usd_per_h, "three sweeps of fourteen come within a tenth of it"
