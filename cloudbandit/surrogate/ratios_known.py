"""What ratios of percentiles to medians are learnt from: LLM-Pilot's load tests, and OpenVINO on a CPU."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudbandit.core.bundled import bundled
from cloudbandit.surrogate.formula import Floats
from cloudbandit.surrogate.points_known import llm_pilot_points
from cloudbandit.surrogate.ratios import BASES, NAMES, Ratios, learn_ratios

SOURCE = "LLM-Pilot's load tests (TGIS, 2023) and data/openvino-cpu"
_OPENVINO_USERS = {"chat": 16.0, "prefix": 8.0}
"""Of its two workloads, as its README says."""


@dataclass(frozen=True)
class RatioPoints:
    """(N,) users and groups, and metric → (N,) log ratios to its base."""

    users: Floats
    logs: dict[str, Floats]
    groups: np.ndarray[Any, Any]

    def learn(self, keep: np.ndarray[Any, Any] | None = None) -> Ratios:
        """From those that are to be kept, by default all."""
        rows = np.ones(len(self.users), bool) if keep is None else keep
        return learn_ratios(self.users[rows], {n: y[rows] for n, y in self.logs.items()}, self.groups[rows])


def ratio_points() -> RatioPoints:
    """Every bundled measurement that has a percentile beside its median; both of LLM-Pilot's first tokens exclude the wait for
    acceptance."""
    users, groups, rows = [], [], []
    for p in llm_pilot_points():
        metrics = {n.replace("ttft_excl_accept", "ttft"): v for n, v in p.metrics.items()}
        users.append(p.users)
        groups.append(p.model)
        rows.append(_logs(metrics, p.input_tokens))
    with (bundled() / "openvino-cpu" / "runs.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["status"] == "ok" and float(row["failure_rate"] or 0) == 0:
                metrics = {n: float(v) for n, v in row.items() if n.endswith("_ms") and v}
                users.append(_OPENVINO_USERS[row["workload"]])
                groups.append(f"openvino-cpu {row['workload']}")
                rows.append(_logs(metrics, None))
    return RatioPoints(
        np.array(users, float), {n: np.array([r.get(n, np.nan) for r in rows]) for n in NAMES}, np.array(groups)
    )


def _logs(metrics: dict[str, float], input_tokens: float | None) -> dict[str, float]:
    out = {}
    for name in NAMES:
        time = name.split("_")[0]
        base = metrics.get(BASES[time], 0.0)
        if time == "nttft":
            base = 0.0 if input_tokens is None else base / input_tokens
        if (value := metrics.get(name, 0.0)) > 0 and base > 0:
            out[name] = float(np.log(value / base))
    return out
