"""Learn the formula's constants and errors from the bundled points: what ``data/serving/constants.json`` is made by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.core.bundled import bundled
from cloudbandit.surrogate.constants import fit
from cloudbandit.surrogate.deployment import Deployment
from cloudbandit.surrogate.errors import METRICS, learn, left_out
from cloudbandit.surrogate.formula import Columns, Floats
from cloudbandit.surrogate.opinion import Opinion, learn_opinion
from cloudbandit.surrogate.opinion_known import estimated_points
from cloudbandit.surrogate.points import Points
from cloudbandit.surrogate.points_known import silicon_points
from cloudbandit.surrogate.points_runs import speculative
from cloudbandit.surrogate.serving import Serving, columns_of


@dataclass(frozen=True)
class TrainingPoints:
    """Points in the form that learning takes.

    Args:
        rows: (deployment, users) of each point.
        times: (N, 2) logarithms of `METRICS` in ms; NaN where one was not measured.
        families: (N,) of the points' models.
        speculative: (N,) whether several tokens a step are suspected (`points_runs.speculative`).
        estimates: (N, 2) logarithms of what ``aiconfigurator-core`` estimates; NaN: nothing.
    """

    rows: Sequence[tuple[Deployment, float]]
    times: Floats
    families: np.ndarray[Any, Any]
    speculative: np.ndarray[Any, np.dtype[np.bool_]]
    estimates: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, keep: np.ndarray[Any, Any]) -> TrainingPoints:
        """Those that are to be kept, by a mask (N,)."""
        rows = [row for row, kept in zip(self.rows, keep, strict=True) if kept]
        return TrainingPoints(rows, self.times[keep], self.families[keep], self.speculative[keep], self.estimates[keep])

    @property
    def columns(self) -> Columns:
        return columns_of(self.rows)

    def labels(self, level: str) -> np.ndarray[Any, Any]:
        """(N,): ``family``, ``gpu``, ``architecture`` or ``engine`` of each point."""
        if level == "family":
            return self.families
        kinds = {
            "gpu": lambda d: d.gpu.part,
            "architecture": lambda d: d.gpu.architecture,
            "engine": lambda d: d.engine,
        }
        return np.array([kinds[level](d) for d, _ in self.rows])


@lru_cache(maxsize=1)
def measured_models() -> tuple[dict[str, ModelSpec], dict[str, str]]:
    """The models of the bundled points by name, and the family of each."""
    data = json.loads((bundled() / "silicon-points" / "models.json").read_text(encoding="utf-8"))["models"]
    specs = {name: ModelSpec.from_config(entry["config"], name) for name, entry in data.items()}
    return {k: replace(v, notes=()) for k, v in specs.items()}, {name: entry["family"] for name, entry in data.items()}


def training_points(points: Points | None = None) -> TrainingPoints:
    """The bundled points, those left out whose weights cannot lie on their GPUs."""
    specs, families = measured_models()
    used = silicon_points() if points is None else points
    rows = [
        (
            Deployment(specs[p.model], p.gpu, p.gpus, p.engine, p.precision, p.input_tokens, p.output_tokens),
            float(p.users),
        )
        for p in used
    ]
    times = np.log(np.array([[p.metrics.get(m, np.nan) for m in METRICS] for p in used], float))
    every = TrainingPoints(
        rows, times, np.array([families[p.model] for p in used]), speculative(used), np.full_like(times, np.nan)
    )
    every = every.where(np.array([d.capacity >= 1 for d, _ in rows]))
    return replace(every, estimates=estimated_points()) if points is None else every


def train(points: TrainingPoints, *, with_speculative: bool = False) -> Serving:
    """Constants, and errors of what was left out of learning them; seconds. Times of several tokens a step are no times of a
    step: unless told so, nothing is learnt from points that look like it."""
    points = points if with_speculative else points.where(~points.speculative)
    c = points.columns
    constants = fit(c, points.times[:, 0], points.times[:, 1], list(points.families))
    levels = {level: list(points.labels(level)) for level in ("gpu", "architecture", "engine")}
    errors = learn(c, points.times, list(points.families), [d.label for d, _ in points.rows], levels)
    seen = {
        "models": frozenset(d.model.name for d, _ in points.rows),
        "architectures": frozenset(d.gpu.architecture for d, _ in points.rows),
        "gpus": frozenset(d.gpu.part for d, _ in points.rows),
        "engines": frozenset(d.engine for d, _ in points.rows),
    }
    return Serving(constants, errors, seen, opinion=_opinion(points))


def _opinion(points: TrainingPoints) -> Opinion | None:
    if not np.isfinite(points.estimates[:, 0]).any():
        return None
    families, engines = list(points.families), list(points.labels("engine"))
    residuals = left_out(points.columns, points.times, families, families)
    return learn_opinion(residuals[:, 0], points.times[:, 0] - points.estimates[:, 0], families, engines)
