"""How wrong the formula is: errors of points whose family, GPU or engine was left out of the learning, and what a measurement
corrects.

The errors of families left out (pairs of both times) are what an interval is made of; the mean of each family is moved
outwards as far as one more family strays further than those few. A GPU or an engine that
nobody measured adds what leaving out its like adds. Measurements of the same model correct the others by a Gaussian process
on the errors, whose variances say what points have in common that share the model, its GPU, engine and deployment: a model that
is slow on one GPU type says little of it on another, and much of it on the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cloudbandit.surrogate.constants import fit
from cloudbandit.surrogate.formula import Columns, Floats, Integers

METRICS = ("tpot_p50_ms", "ttft_p50_ms")
LEVELS = ("family", "gpu", "architecture", "engine")
SHARED = ("family", "gpu", "engine", "deployment", "point")
LOW, HIGH = 0.1, 0.9
"""Ends of an interval."""
_PER_GROUP = 40
"""Errors kept of each family: evenly spaced ones, the least to the largest, so that every family counts alike."""
_OUTLIERS = 0.02
"""Of each end of the errors, drawn in before variances are taken."""
_MEASURED_SD = 0.05
_NEAR = 1.0
"""Points of a deployment whose users or lengths differ by a factor e tell this much less of one another."""


@dataclass(frozen=True)
class Errors:
    """Errors of log times, measured less predicted.

    Args:
        pairs: (M, 2) of families left out, in the order of `METRICS`.
        added: level → (2,) variance that a new GPU or engine adds.
        parts: `SHARED` → (2,) variances, whose sum is that of the pairs: what errors of one model have in common everywhere, on
            one GPU, there with one engine, in one deployment; and what is a point's own.
        within: (2,) variance of points that were learnt from: what remains where the model's family is known.
        own: engine → (2,) variance of one whose errors are unlike the others', whatever the model.
    """

    pairs: Floats
    added: Mapping[str, Floats]
    parts: Mapping[str, Floats]
    within: Floats
    own: Mapping[str, Floats] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` undoes it."""
        return {
            "pairs": self.pairs.round(4).tolist(),
            "added": {k: v.round(5).tolist() for k, v in self.added.items()},
            "parts": {k: v.round(5).tolist() for k, v in self.parts.items()},
            "within": self.within.round(5).tolist(),
            "own": {k: v.round(5).tolist() for k, v in self.own.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Errors:
        return cls(
            np.array(data["pairs"], float),
            {k: np.array(v, float) for k, v in data["added"].items()},
            {k: np.array(v, float) for k, v in data["parts"].items()},
            np.array(data["within"], float),
            {k: np.array(v, float) for k, v in data.get("own", {}).items()},
        )

    @property
    def variance(self) -> Floats:
        """(2,) of the pairs."""
        out: Floats = sum(self.parts.values(), np.zeros(2))
        return out

    def widened(self, new: Sequence[str], engine: str = "") -> Floats:
        """(2,): by how much intervals are wider than those of a new family, where these levels are new."""
        total = self.variance if "family" in new else np.minimum(self.within, self.variance)
        total = np.maximum(self.own.get(engine, total), total)
        for level in new:
            total = total + self.added.get(level, 0.0)
        out: Floats = np.sqrt(total / np.maximum(self.variance, 1e-12))
        return out

    def corrected(
        self, deployment: Sequence[Any], at: Floats, known: Sequence[Any], where: Floats, told: Floats
    ) -> tuple[Floats, Floats]:
        """Shift and remaining standard deviation (as a share of the prior's) of both errors, (N, 2) each, given measurements of
        the same model.

        Args:
            deployment, at: (N,) `Deployment.label` and (N, 3) log users, inputs, outputs of what is asked.
            known, where, told: the same of what was measured, (m,), (m, 3), and the errors found there, (m, 2); NaN: not
            measured.
        """
        shift, share = np.zeros((len(at), 2)), np.ones((len(at), 2))
        for k in range(2):
            use = np.isfinite(told[:, k])
            if not use.any():
                continue
            codes = _codes([*deployment, *(d for d, kept in zip(known, use, strict=True) if kept)])
            given = codes[len(at) :]
            first, alike = _alike(codes[: len(at)], given)
            between = self._covariance(k, given, where[use], given, where[use])
            cross = self._covariance(k, codes[first], at[first], given, where[use])
            gain = np.linalg.solve(between + _MEASURED_SD**2 * np.eye(len(given)), cross.T).T
            prior = float(self.variance[k])
            shift[:, k] = (gain @ told[use, k])[alike]
            share[:, k] = np.sqrt(np.clip(1.0 - (gain * cross).sum(1) / prior, 0.0, 1.0))[alike]
        return shift, share

    def _covariance(self, k: int, a: Integers, x: Floats, b: Integers, y: Floats) -> Floats:
        gpu, engine, same = (a[:, None, i] == b[None, :, i] for i in range(a.shape[1]))
        squared = sum((x[:, None, i] - y[None, :, i]) ** 2 for i in range(x.shape[1]))
        near = np.exp(-0.5 * np.asarray(squared) / _NEAR**2)
        v = {name: part[k] for name, part in self.parts.items()}
        out: Floats = v["family"] + v["gpu"] * gpu + v["engine"] * engine + same * (v["deployment"] + v["point"] * near)
        return out


def _codes(labels: Sequence[tuple[Any, ...]]) -> Integers:
    """(N, 3): numbers of a label's GPU, of its GPU and engine, and of itself."""
    numbers: dict[tuple[Any, ...], int] = {}
    rows = [((m, part), (m, part, engine), (m, part, n, engine, p)) for m, part, n, engine, p in labels]
    return np.array([[numbers.setdefault(key, len(numbers)) for key in row] for row in rows], np.int64).reshape(-1, 3)


def _alike(asked: Integers, given: Integers) -> tuple[Integers, Integers]:
    """Rows of which measurements tell the same: the first of each kind, and the kind of each row."""
    kinds = np.where(np.isin(asked, given), asked, -1)
    own = np.where(
        kinds[:, 2] >= 0, np.arange(len(asked)), -1
    )  # where it lies matters within a measured deployment only
    _, first, alike = np.unique(np.column_stack([kinds, own]), axis=0, return_index=True, return_inverse=True)
    return first, alike.reshape(-1)


def left_out(c: Columns, times: Floats, families: Sequence[Any], groups: Sequence[Any]) -> Floats:
    """(N, 2): the error of each point when its group was left out.

    Args:
        times: (N, 2) log times in ms, in the order of `METRICS`; NaN: not measured.
    """
    labels, of = np.asarray(groups), np.asarray(families)
    out = np.full((len(c), 2), np.nan)
    for group in np.unique(labels):
        held = labels == group
        constants = fit(c[~held], times[~held, 0], times[~held, 1], of[~held])
        out[held] = times[held] - np.column_stack(constants.log_times_ms(c[held]))
    return out


def learn(
    c: Columns, times: Floats, families: Sequence[Any], deployments: Sequence[Any], levels: Mapping[str, Sequence[Any]]
) -> Errors:
    """Errors of families left out, and what the other levels add to those of a fit on everything.

    Args:
        levels: ``gpu``, ``architecture`` and ``engine`` → (N,) labels; one of fewer than two groups adds nothing.
    """
    residuals = left_out(c, times, families, families)
    constants = fit(c, times[:, 0], times[:, 1], families)
    within = _squares(times - np.column_stack(constants.log_times_ms(c)))
    added = {
        level: np.maximum(0.0, _squares(left_out(c, times, families, labels)) - within)
        for level, labels in levels.items()
        if len(set(labels)) > 1
    }
    if "architecture" in added:  # parts of one that nobody measured were not measured either
        added["architecture"] = np.maximum(added["architecture"], added.get("gpu", 0.0))
    of = np.asarray(families)
    names = np.unique(of)
    far = _of_few(len(names)) - 1.0
    kept = [_spread(mine + far * np.nanmean(mine, axis=0)) for f in names for mine in (residuals[of == f],)]
    parts = _parts(_drawn_in(residuals), of, deployments)
    return Errors(np.vstack(kept), added, parts, within)


def _of_few(families: int) -> float:
    """By how much the mean error of one more family strays further than those of a few (Student's t against the normal)."""
    from scipy.stats import norm, t

    if families < 2:
        return 1.0
    return float(t.ppf(HIGH, families - 1) / norm.ppf(HIGH) * np.sqrt(1.0 + 1.0 / families))


def _drawn_in(errors: Floats) -> Floats:
    low, high = np.nanquantile(errors, [_OUTLIERS, 1 - _OUTLIERS], axis=0)
    out: Floats = np.clip(errors, low, high)
    return out


def _squares(errors: Floats) -> Floats:
    out: Floats = np.nanmean(_drawn_in(errors) ** 2, axis=0)
    return out


def _spread(errors: Floats) -> Floats:
    errors = errors[np.isfinite(errors).all(1)]
    order = np.argsort(errors[:, 0], kind="stable")
    out: Floats = errors[order[np.linspace(0, len(order) - 1, min(_PER_GROUP, len(order))).astype(int)]]
    return out


def _parts(errors: Floats, families: np.ndarray[Any, Any], labels: Sequence[tuple[Any, ...]]) -> dict[str, Floats]:
    """Variances by what two errors share, from products of the mean errors of two deployments of one model; every family counts
    alike. Deployments of one model on other GPUs tell what the model has; on the same GPU, what it has there; and so on."""
    codes, models = _codes(labels), np.array([label[0] for label in labels])
    which, first, of = np.unique(codes[:, 2], return_index=True, return_inverse=True)
    means = np.array([np.nanmean(errors[of == d], axis=0) for d in range(len(which))])
    scatter = np.array([np.nanvar(errors[of == d], axis=0) for d in range(len(which))])
    gpu, engine, model, family = codes[first, 0], codes[first, 1], models[first], families[first]
    pair = model[:, None] == model[None, :]
    same_gpu, same_engine = gpu[:, None] == gpu[None, :], engine[:, None] == engine[None, :]
    levels = (
        pair & ~same_gpu,
        pair & same_gpu & ~same_engine,
        pair & same_engine & ~np.eye(len(which), dtype=bool),
        np.eye(len(which), dtype=bool),
    )
    together = [np.zeros(2)]
    for mask in levels:
        by_family = []
        for f in np.unique(family):
            i, j = np.nonzero(mask & (family == f)[:, None])
            if len(i):
                by_family.append(np.nanmean(means[i] * means[j], axis=0))
        together.append(np.maximum(np.mean(by_family, axis=0) if by_family else together[-1], together[-1]))
    own = np.mean([np.nanmean(scatter[family == f], axis=0) for f in np.unique(family)], axis=0)
    return dict(zip(SHARED, [*np.diff(together, axis=0), own], strict=True))
