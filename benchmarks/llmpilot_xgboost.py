"""Train LLM-Pilot's own method again, and compare with the predictions its authors published.

    python3.11 -m venv /somewhere && /somewhere/bin/pip install -r benchmarks/llmpilot_xgboost.txt
    /somewhere/bin/python benchmarks/llmpilot_xgboost.py DATA [--grid FILE] [--json]

DATA is a folder with aggregate.csv, llm_features.csv, gpu_features.csv, prices.csv and expected/ of the LLM-Pilot artifact.
Gradient boosting on raw milliseconds, two outputs, monotone in users; samples weighted by how near their latency is to the SLO;
grid of 120 hyperparameters, chosen by leave-one-LLM-out inside leave-one-LLM-out (SC 2024, sections IV and V). It needs an old
xgboost, so it runs in an environment of its own and imports nothing of cloudbandit. Deterministic (seed 42).

--grid FILE: also train once per SLO of benchmarks/recommend.py's grid, samples weighted for that SLO, hyperparameters those
chosen at the paper's; the predictions are scored by benchmarks/recommend.py --llm-pilot FILE.
"""

import argparse
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import mean_absolute_percentage_error
from sklearn.model_selection import ParameterGrid
from sklearn.preprocessing import TargetEncoder
from xgboost import XGBRegressor

TARGETS = {"median_nttft": 100.0, "median_itl": 50.0}  # with their SLOs in ms
USERS = 200
SLO_GRID = ((5, 10, 20, 50, 100, 200), (25, 30, 40, 50, 75, 100))
CATEGORIES = ("model_type", "model_torch_dtype", "gpu_architecture")
GRID = ParameterGrid(
    {
        "n_estimators": [5, 50],
        "max_depth": [4, 6, 8, 10, 12],
        "learning_rate": [0.5, 0.1],
        "subsample": [0.5, 0.8, 1.0],
        "colsample_bytree": [0.8, 1.0],
    }
)


def load(folder):
    """Load tests with features, in the order the artifact sorts them in."""
    tests = pd.read_csv(folder / "aggregate.csv")[["model", "gpu", "num_users", "nttft_ms_per_tok_p50", "itl_ms_p50"]]
    tests = tests.rename(columns={"nttft_ms_per_tok_p50": "median_nttft", "itl_ms_p50": "median_itl"})
    published = pd.read_csv(folder / "expected" / "expected_predictions_LLM-Pilot.csv")
    # the aggregate is rounded to four digits; the published truth is not
    keys = ["model", "gpu", "num_users"]
    tests = tests[keys].merge(published[[*keys, *TARGETS]], on=keys)
    llms = pd.read_csv(folder / "llm_features.csv")
    gpus = pd.read_csv(folder / "gpu_features.csv").iloc[:, 1:]
    tests = tests.merge(llms, on="model").merge(gpus, on="gpu")
    tests = tests.sort_values(keys, kind="stable").reset_index(drop=True)
    features = ["num_users", *(c for c in tests.columns if "model_" in c or "gpu_" in c)]
    x = tests[features].copy()
    for name in features:
        if name in CATEGORIES:
            x[name] = x[name].astype("category").cat.codes
        elif x[name].dtype == bool:
            x[name] = x[name].astype(int)
    return tests, x.fillna(-1).astype(float)


def encoded(x_train, y_train, x_test):
    """The categories, encoded once per target, before the numeric columns; fitted on the training part alone."""
    names = list(CATEGORIES)
    parts_train, parts_test = [], []
    for target in TARGETS:
        encoder = TargetEncoder(target_type="continuous", cv=5, shuffle=False)
        columns = [f"{target}__{c}" for c in names]
        fitted = encoder.fit_transform(x_train[names], y_train[target])
        parts_train.append(pd.DataFrame(fitted, columns=columns, index=x_train.index))
        parts_test.append(pd.DataFrame(encoder.transform(x_test[names]), columns=columns, index=x_test.index))
    rest = [c for c in x_train.columns if c not in names]
    return pd.concat([*parts_train, x_train[rest]], axis=1), pd.concat([*parts_test, x_test[rest]], axis=1)


def weights(tests, slo=TARGETS):
    """Near the SLO counts more, curve by curve and target by target; the mean of both targets."""
    total = np.zeros(len(tests))
    for _, curve in tests.groupby(["model", "gpu"], sort=False):
        for target, limit in slo.items():
            values = curve[target].to_numpy()
            reach = max(abs(limit - values.min()), abs(limit - values.max()))
            w = 1 - np.abs(values - limit) / reach
            total[curve.index] += w / w.sum() / len(slo)
    return total


def fit(params, x, y, w, seed=42):
    model = XGBRegressor(
        **params,
        tree_method="hist",
        max_bin=256,
        objective="reg:squarederror",
        random_state=seed,
        monotone_constraints={"num_users": 1},
        n_jobs=1,
    )
    return model.fit(x, y, sample_weight=w)


def tune(tests, x, w):
    """The hyperparameters with the least MAPE on LLMs left out in turn; the first of equals."""
    targets = list(TARGETS)
    scores = np.zeros(len(GRID))
    for llm in sorted(tests["model"].unique()):
        train, test = tests["model"] != llm, tests["model"] == llm
        a, b = encoded(x[train], tests[train], x[test])
        truth = tests.loc[test, targets]
        for i, params in enumerate(GRID):
            predicted = fit(params, a, tests.loc[train, targets], w[train]).predict(b)
            scores[i] += mean_absolute_percentage_error(truth, predicted)
    return GRID[int(np.argmin(scores))]


def score(tests, prices):
    """S, O and S/O at the paper's SLO (SC 2024, section V)."""
    over, successes, n = [], 0, 0
    for _, mine in tests.groupby("model"):
        n += 1
        rows = []
        for gpu, curve in mine.sort_values("num_users").groupby("gpu"):
            most = {"": 0, "prediction_": 0}
            for prefix in most:
                for _, row in curve.iterrows():
                    if any(row[prefix + t] > limit for t, limit in TARGETS.items()):
                        break
                    most[prefix] = int(row["num_users"])
            rows.append((gpu, most[""], most["prediction_"]))
        oracle = min(math.ceil(USERS / true) * prices[gpu] for gpu, true, _ in rows if true)
        options = [(math.ceil(USERS / u) * prices[gpu], math.ceil(USERS / u), true) for gpu, true, u in rows if u]
        if not options:
            continue
        cost, pods, true = min(options, key=lambda o: o[0])
        if pods * true >= USERS:
            successes += 1
            over.append((cost - oracle) / oracle)
    s, o = successes / n, float(np.mean(over))
    good = max(0.0, 1 - o)
    return {
        "success_percent": 100 * s,
        "overspend_percent": 100 * o,
        "so_score": 2 * s * good / (s + good) if s and good else 0.0,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--grid", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    started = time.perf_counter()
    tests, x = load(args.data)
    w = weights(tests)
    columns = [f"prediction_{t}" for t in TARGETS]
    tests[columns] = np.nan
    chosen, parts = {}, {}
    for llm in sorted(tests["model"].unique()):
        train, test = tests["model"] != llm, tests["model"] == llm
        inner = tests[train].reset_index(drop=True)
        chosen[llm] = params = tune(inner, x[train].reset_index(drop=True), w[train.to_numpy()])
        parts[llm] = a, b = encoded(x[train], tests[train], x[test])
        tests.loc[test, columns] = fit(params, a, tests.loc[train, list(TARGETS)], w[train]).predict(b)
        if not args.json:
            print(f"{time.perf_counter() - started:6.1f} s  {llm}: {params}", flush=True)
    prices = pd.read_csv(args.data / "prices.csv").set_index("GPU")["price"].to_dict()
    result = score(tests, prices)
    keys = ["model", "gpu", "num_users"]
    published = pd.read_csv(args.data / "expected" / "expected_predictions_LLM-Pilot.csv").set_index(keys)
    mine = tests.set_index(keys).loc[published.index]
    result["largest_difference_ms"] = float(np.abs(mine[columns] - published[columns]).to_numpy().max())
    same = 0
    for llm, params in chosen.items():
        theirs = published.loc[llm, "best_params"].iloc[0]
        same += all(f"'pred__{k}': {v!r}" in theirs for k, v in params.items())
    result |= {"same_hyperparameters": same, "llms": len(chosen), "seconds": round(time.perf_counter() - started, 1)}
    if args.grid:
        per_slo = []
        for nttft, itl in itertools.product(*SLO_GRID):
            slo = {"median_nttft": nttft, "median_itl": itl}
            w = weights(tests, slo)
            mine = tests[keys].assign(slo_nttft=nttft, slo_itl=itl)
            for llm, (a, b) in parts.items():
                train = tests["model"] != llm
                model = fit(chosen[llm], a, tests.loc[train, list(TARGETS)], w[train])
                mine.loc[~train, columns] = model.predict(b)
            per_slo.append(mine)
        pd.concat(per_slo).to_csv(args.grid, index=False)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
