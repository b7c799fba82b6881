"""How long the recommender trains, and how long it then takes to answer.

    taskset -c 0 python benchmarks/recommend_speed.py [--json]

On one core: training on all load tests for one question's metrics and for every metric, then answers with changing SLOs and users
(median and 95th percentile of n = 60; nothing is trained in between).
"""

import argparse
import json
import os
import time

import numpy as np

from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.recommend import Recommender, paper_offers
from cloudbandit.surrogate.loads import METRICS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    model = ModelSpec("new", 8.03e9, 32, 4096, 32, 8, 128, 128256)
    recommender, offers = Recommender(engine="tgis"), paper_offers()
    began = time.perf_counter()
    recommender.recommend(model, offers, ["nttft_ms<=100", "itl_ms<=50"], 200)
    first = time.perf_counter() - began
    began = time.perf_counter()
    metrics = [m for m in METRICS if m in recommender.tests.metrics]
    recommender.surrogate().fit(metrics)
    every = first + time.perf_counter() - began
    times = []
    for i in range(60):
        slos = [f"nttft_ms<={20 + i}", f"itl_ms<={30 + i}"]
        began = time.perf_counter()
        recommender.recommend(model, offers, slos, 50 + 20 * i, risk=("median", "utility")[i % 2])
        times.append(1e3 * (time.perf_counter() - began))
    out = {
        "cores": len(os.sched_getaffinity(0)),
        "train_four_metrics_s": round(first, 2),
        "train_all_metrics_s": round(every, 2),
        "metrics": len(metrics),
        "answer_median_ms": round(float(np.median(times)), 2),
        "answer_p95_ms": round(float(np.percentile(times, 95)), 2),
        "n": len(times),
    }
    print(json.dumps(out) if args.json else "\n".join(f"{k:22} {v}" for k, v in out.items()))


if __name__ == "__main__":
    main()
