"""The estimates of ``aiconfigurator-core`` of the bundled points, as ``benchmarks/estimate_points.py`` wrote them."""

from __future__ import annotations

import csv
import io
import lzma

import numpy as np

from cloudbandit.core.bundled import bundled
from cloudbandit.surrogate.formula import Floats

ESTIMATES = bundled() / "serving" / "aiconfigurator.csv.xz"


def estimated_points() -> Floats:
    """(N, 2) logarithms of TPOT and TTFT in ms, in the order of `cloudbandit.surrogate.training.training_points`; NaN: none."""
    text = io.StringIO(lzma.decompress(ESTIMATES.read_bytes()).decode())
    rows = [[float(row[m] or "nan") for m in ("tpot_p50_ms", "ttft_p50_ms")] for row in csv.DictReader(text)]
    return np.asarray(np.log(np.array(rows, float)))
