"""What a deployment serves: times and throughput of a model on GPUs with an engine, by the formula, with how wrong it may be.

The constants and errors are data (``data/serving/constants.json``), made by ``benchmarks/fit_serving.py`` from measured
points; a first answer trains nothing. Measurements of the same model, given with the question, correct it at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cloudbandit.catalogue.gpus import GPU
from cloudbandit.catalogue.precision import find_precision
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import DataError, UnknownNameError
from cloudbandit.surrogate.constants import Constants
from cloudbandit.surrogate.deployment import Deployment
from cloudbandit.surrogate.errors import HIGH, LOW, METRICS, Errors
from cloudbandit.surrogate.formula import ENGINES, Columns, Floats
from cloudbandit.surrogate.opinion import Opinion
from cloudbandit.surrogate.ratios import BASES, Ratios
from cloudbandit.surrogate.servable import check

_COMPUTED_AS = {"mxfp4": "fp8"}  # weights alone are so small; today's kernels multiply them at the speed of 8 bits
_COMPUTED_IN = {"fp16": 0, "int8": 1, "fp8": 1, "fp4": 2}
Estimates = Callable[[Sequence[tuple[Deployment, float]]], Floats]
TIMES = (*METRICS, "e2e_p50_ms", "output_tok_per_s")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median and the ends of an 80 % interval."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a deployment: users and times in ms."""

    deployment: Deployment
    users: float
    metrics: Mapping[str, float]


def columns_of(rows: Sequence[tuple[Deployment, float]]) -> Columns:
    """Arrays for the formula from (deployment, users)."""
    places: dict[Deployment, list[int]] = {}
    for i, (d, _) in enumerate(rows):
        places.setdefault(d, []).append(i)
    every = np.array([users for _, users in rows], float)
    whole = ("engine", "computed_in")
    out = {n: np.empty(len(rows), np.int64 if n in whole else float) for n in Columns.__dataclass_fields__}
    for d, at in places.items():
        for name, value in _facts(d, every[at]).items():
            out[name][at] = value
    return Columns(**out)


def _facts(d: Deployment, users: Floats) -> dict[str, Floats | float]:
    """Of one deployment, by the names of `Columns`."""
    m, precision, capacity = d.served, find_precision(d.precision), d.capacity
    compute = _COMPUTED_AS.get(precision.name, precision.compute)
    running = np.maximum(1.0, np.minimum(users, capacity))
    context = d.input_tokens + d.output_tokens / 2
    return {
        "read_weights": m.touched_weight_bytes(running),
        "read_cache": running * m.cache_read_bytes(context),
        "step_operations": running * (2 * m.decode_parameters + m.attention_flops(context)),
        "prompt_operations": 2 * m.prefill_parameters * d.input_tokens,
        "attention_operations": m.prompt_attention_flops(d.input_tokens),
        "moe": float(m.experts > 0),
        "layers": m.layers,
        "width": m.d_model,
        "gpus": d.gpus,
        "bandwidth": d.gpu.bandwidth_gb_per_s * 1e9,
        "flops": flops(d.gpu, compute),
        "link": d.gpu.link_gb_per_s * 1e9,
        "inputs": d.input_tokens,
        "outputs": d.output_tokens,
        "users": users,
        "running": running,
        "capacity": capacity,
        "engine": ENGINES.index(d.engine) if d.engine in ENGINES else -1,
        "computed_in": _COMPUTED_IN[compute],
    }


def flops(gpu: GPU, compute: str) -> float:
    """Operations per second of one GPU's matrix units in ``fp16``, ``int8``, ``fp8`` or ``fp4``; where the part has no rate for
    it, the next wider one's."""
    order = {
        "fp4": ("fp4_dense_tflops", "fp8_dense_tflops"),
        "fp8": ("fp8_dense_tflops",),
        "int8": ("fp8_dense_tflops",),
    }
    known = next((rate for name in order.get(compute, ()) if (rate := getattr(gpu, name, None))), None)
    return 1e12 * float(known or gpu.fp16_dense_tflops)


@dataclass(frozen=True)
class Serving:
    """The formula with its constants and errors.

    Args:
        seen: what was measured: ``models``, ``gpus``, ``architectures``, ``engines`` → names.
        ratios: of percentiles and gaps between tokens to the medians that the formula gives; None: not learnt.
        opinion: what to make of estimates of somebody else's model; estimates: (deployment, users) → log TPOT and TTFT in ms,
            (N, 2), NaN: none. Without either the formula stands alone.
    """

    constants: Constants
    errors: Errors
    seen: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ratios: Ratios | None = None
    opinion: Opinion | None = None
    estimates: Estimates | None = None

    @classmethod
    def load(cls, path: Path) -> Serving:
        """Constants as written by `to_dict`.

        Raises:
            DataError: the file is no such thing.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            constants = Constants(data["step"], data["first"])
            seen = {k: frozenset(v) for k, v in data["seen"].items()}
            ratios = Ratios.from_dict(data["ratios"]) if data.get("ratios") else None
            opinion = Opinion.from_dict(data["opinion"]) if data.get("opinion") else None
            return cls(constants, Errors.from_dict(data["errors"]), seen, ratios, opinion)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} holds no constants of the formula: {error!r}") from error

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `load` undoes it."""
        learnt = {"ratios": self.ratios, "opinion": self.opinion}
        return {
            **{name: part.to_dict() for name, part in learnt.items() if part is not None},
            "step": {k: float(f"{v:.6g}") for k, v in self.constants.step.items()},
            "first": {k: float(f"{v:.6g}") for k, v in self.constants.first.items()},
            "errors": self.errors.to_dict(),
            "seen": {k: sorted(v) for k, v in self.seen.items()},
        }

    def new_levels(self, d: Deployment) -> list[str]:
        """Which of the model (``family``), GPU and engine nobody measured; a GPU of an ``architecture`` that nobody measured is
        told as that alone."""
        names = {
            "family": ("models", d.model.name),
            "gpu": ("gpus", d.gpu.part),
            "architecture": ("architectures", d.gpu.architecture),
            "engine": ("engines", d.engine),
        }
        new = [level for level, (kind, name) in names.items() if name not in self.seen.get(kind, ())]
        return [level for level in new if level != ("gpu" if "architecture" in new else "")]

    def predict(
        self,
        rows: Sequence[tuple[Deployment, float]],
        measured: Sequence[Measured] = (),
        metrics: Sequence[str] = TIMES,
    ) -> list[dict[str, Estimate]]:
        """Times in ms and output tokens per second of a closed loop, for each (deployment, users).

        Args:
            measured: of the same model; each corrects what is near it most.
            metrics: `TIMES`, and percentiles and gaps between tokens that follow by a learned ratio (`ratios.NAMES`).

        Raises:
            UsageError, DataError: a deployment cannot serve; see `cloudbandit.surrogate.servable.check`.
            UnknownNameError: nothing predicts a metric.
        """
        found = self.metric_draws(rows, metrics, measured)
        return [
            {name: _estimate(middle[i], drawn[i]) for name, (middle, drawn) in found.items()} for i in range(len(rows))
        ]

    def metric_draws(
        self, rows: Sequence[tuple[Deployment, float]], metrics: Sequence[str], measured: Sequence[Measured] = ()
    ) -> dict[str, tuple[Floats, Floats]]:
        """Metric → medians (N,) and equally likely values (N, M), the m-th of every metric of one future; raises as `predict`
        does."""
        middle, drawn = self.draws(rows, measured)
        outputs = np.array([d.output_tokens for d, _ in rows])
        users = np.array([u for _, u in rows])
        known = {name: (middle[:, k], drawn[:, :, k]) for k, name in enumerate(METRICS)}
        after = np.maximum(outputs - 1, 0)
        known["e2e_p50_ms"] = (
            middle[:, 1] + middle[:, 0] * after,
            drawn[:, :, 1] + drawn[:, :, 0] * after[:, None],
        )
        rate = users * outputs * 1e3  # Little's law: each user has one request in flight
        typical, each = known["e2e_p50_ms"]
        known["output_tok_per_s"] = rate / typical, rate[:, None] / each
        return {name: known[name] if name in known else self._by_ratio(name, rows, known) for name in metrics}

    def _by_ratio(
        self, name: str, rows: Sequence[tuple[Deployment, float]], known: Mapping[str, tuple[Floats, Floats]]
    ) -> tuple[Floats, Floats]:
        base = BASES.get(name.split("_")[0])
        if self.ratios is None or base is None:
            raise UnknownNameError("metric", name, (*TIMES, *(self.ratios.known if self.ratios else ())))
        middle, drawn = known[base]
        found = [self.ratios.draws(name, u, drawn[i], d.input_tokens) for i, (d, u) in enumerate(rows)]
        return middle * [ratio for ratio, _ in found], np.array([values for _, values in found])

    def draws(
        self, rows: Sequence[tuple[Deployment, float]], measured: Sequence[Measured] = ()
    ) -> tuple[Floats, Floats]:
        """Medians (N, 2) and equally likely values (N, M, 2) of both times in ms: what `predict` sums up; raises as it does."""
        for d in dict.fromkeys(d for d, _ in rows):
            check(d)
        shift, share = self._corrected(rows, measured)
        logs, narrower = self._log_times(rows)
        logs = logs + shift
        known = ("family",) if measured else ()  # evidence narrows what is believed of a new family
        widths = {
            d: self.errors.widened([*known, *self.new_levels(d)], d.engine) for d in dict.fromkeys(d for d, _ in rows)
        }
        spread = np.array([widths[d] for d, _ in rows]) * share * narrower
        drawn: Floats = np.exp(logs[:, None, :] + self.errors.pairs[None, :, :] * spread[:, None, :])
        return np.exp(logs), drawn

    def _log_times(self, rows: Sequence[tuple[Deployment, float]]) -> tuple[Floats, Floats]:
        """Logarithms of times in ms, and their typical error as a share of the formula's, (N, 2) each."""
        logs = np.column_stack(self.constants.log_times_ms(columns_of(rows)))
        share = np.ones_like(logs)
        engines = [d.engine for d, _ in rows]
        if (
            self.opinion is not None
            and self.estimates is not None
            and any(self.opinion.trust(e).weight for e in engines)
        ):
            told = self.estimates(rows)[:, 0]
            logs[:, 0], share[:, 0] = self.opinion.moved(logs[:, 0], told, engines)
        return logs, share

    def _corrected(
        self, rows: Sequence[tuple[Deployment, float]], measured: Sequence[Measured]
    ) -> tuple[Floats, Floats]:
        if not measured:
            return np.zeros((len(rows), 2)), np.ones((len(rows), 2))
        known = [(m.deployment, m.users) for m in measured]
        values = np.array([[m.metrics.get(name, np.nan) for name in METRICS] for m in measured], float)
        told = np.log(values) - self._log_times(known)[0]
        labels = [d.label for d, _ in rows]
        return self.errors.corrected(labels, _where(rows), [d.label for d, _ in known], _where(known), told)


def _where(rows: Sequence[tuple[Deployment, float]]) -> Floats:
    out: Floats = np.log(np.array([[users, d.input_tokens, d.output_tokens] for d, users in rows], float))
    return out


def _estimate(middle: float, drawn: Floats) -> Estimate:
    low, high = np.quantile(drawn, [LOW, HIGH])
    return Estimate(float(middle), float(min(low, middle)), float(max(high, middle)))


@lru_cache(maxsize=1)
def bundled_serving() -> Serving:
    """The constants that come with the package."""
    return Serving.load(bundled() / "serving" / "constants.json")
