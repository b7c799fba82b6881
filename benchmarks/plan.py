"""How fast and how well plans are made.

python benchmarks/plan.py --json
"""

import time

import numpy as np

from cloudbandit.plan.sageserve import SageServe, solve_sageserve


def sageserve(models, regions, gpus, seed, quotas=True):
    rng = np.random.default_rng(seed)
    alpha = np.exp(rng.uniform(np.log(2), np.log(100), gpus)).round(2)
    theta = alpha * rng.uniform(40, 160, (models, gpus))
    load = np.exp(rng.normal(np.log(8000), 1.0, (models, regions, 1))) * rng.uniform(0.8, 1.2, (models, regions, 4))
    running = rng.poisson(load.max(2)[:, :, None] / theta[:, None, :] / gpus)
    sigma = alpha * rng.uniform(0.02, 0.2, (models, 1))
    need = None
    if quotas:
        one = SageServe(running, load, theta, alpha, sigma)
        free = solve_sageserve(one, 1e-2).fleet
        need = np.maximum(
            np.ceil(free.sum(0) * rng.uniform(0.7, 1.1, (regions, gpus))),
            np.ceil(free.sum(0).sum(1, keepdims=True) * 0.1),
        )
    return SageServe(running, load, theta, alpha, sigma, quotas=need)


if __name__ == "__main__":
    for shape in [(4, 3, 1), (4, 3, 3), (20, 20, 5), (40, 30, 3)]:
        for seed in range(5):
            p = sageserve(*shape, seed)
            t = time.process_time()
            r = solve_sageserve(p, 1e-3, 60)
            t = time.process_time() - t
            print(shape, seed, r.outcome, r.gap, round(r.cpu_s, 2), round(t, 2), flush=True)
