"""What ``aiconfigurator-core`` estimates of the bundled points: ``data/serving/aiconfigurator.csv.xz``.

    pip install "cloudbandit[aiconfigurator]"
    python benchmarks/estimate_points.py

One row per point of ``data/silicon-points``, in its order; empty: no estimate. Kept beside the points so that how wrong the
estimates are can be learnt without the package.
"""

from __future__ import annotations

import csv
import io
import logging
import lzma
import time
from importlib.metadata import version

import numpy as np

from cloudbandit.surrogate.opinion_known import ESTIMATES
from cloudbandit.surrogate.silicon import silicon_times
from cloudbandit.surrogate.training import training_points


def main() -> None:
    logging.disable(logging.CRITICAL)
    points, began = training_points(), time.process_time()
    times = silicon_times(points.rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "gpu", "gpus", "users", "tpot_p50_ms", "ttft_p50_ms"])
    for (d, users), row in zip(points.rows, times, strict=True):
        writer.writerow(
            [d.model.name, d.gpu.part, d.gpus, f"{users:g}", *("" if np.isnan(t) else f"{t:.5g}" for t in row)]
        )
    ESTIMATES.write_bytes(lzma.compress(text.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME))
    answered = int(np.isfinite(times).all(1).sum())
    print(
        f"{ESTIMATES}: aiconfigurator-core {version('aiconfigurator-core')} answers {answered} of {len(points)} points, "
        f"{time.process_time() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
