"""A question about one deployment, and the same question asked of every measured point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cloudbandit.catalogue.gpus import GPU, find_gpu
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.core.errors import CloudBanditError, DataError, UsageError
from cloudbandit.core.fleet import metric_name
from cloudbandit.surrogate.against import Held, report
from cloudbandit.surrogate.deployment import Deployment
from cloudbandit.surrogate.points import Point, Points, end_to_end_ms
from cloudbandit.surrogate.points_file import read_points
from cloudbandit.surrogate.points_known import silicon_points
from cloudbandit.surrogate.points_runs import faster_than_memory, speculative
from cloudbandit.surrogate.ratios import BASES
from cloudbandit.surrogate.ratios_known import SOURCE
from cloudbandit.surrogate.serving import TIMES, Estimate, Measured, Serving
from cloudbandit.surrogate.sources import serving_at_hand, what_was_asked

_NEAREST = 3
_LENGTHS = (64.0, 16_384.0)
"""Tokens of requests that were measured; beyond them an answer is a guess."""


@dataclass(frozen=True)
class Prediction:
    """What a deployment is believed to serve.

    Attributes:
        facts: of the model as served: name, parameters, active_parameters, weights_gib, kv_bytes_per_token.
        rows: (users, metric → estimate).
        source: ``predicted``, and by what: the formula, aiconfigurator-core's estimates, measurements of this model.
        ratios: metric → where it comes from, of those that follow from another one by a learned ratio.
        nearest: measured points that are most alike, a line each.
        warnings: what the answer does not rest on.
    """

    title: str
    facts: Mapping[str, Any]
    rows: Sequence[tuple[float, Mapping[str, Estimate]]]
    source: str
    nearest: Sequence[str]
    warnings: Sequence[str]
    ratios: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; rows with metrics that follow by a ratio say so in ``sources``."""
        said = {"sources": dict(self.ratios)} if self.ratios else {}
        rows = [
            {
                "users": u,
                "metrics": {m: {"median": e.median, "low": e.low, "high": e.high} for m, e in metrics.items()},
                **said,
            }
            for u, metrics in self.rows
        ]
        return {
            "model": dict(self.facts),
            "rows": rows,
            "source": self.source,
            "nearest": list(self.nearest),
            "warnings": list(self.warnings),
        }


def predict(
    model: str | Path | ModelSpec,
    gpu: str,
    gpus: int = 1,
    *,
    engine: str = "vllm",
    precision: str | None = None,
    input_tokens: float = 1024,
    output_tokens: float = 256,
    users: Sequence[int] = (1, 4, 16, 64),
    measured: str | Path | None = None,
    metrics: Sequence[str] = (),
    gpus_table: dict[str, GPU] | None = None,
    serving: Serving | None = None,
) -> Prediction:
    """Times and throughput of a model on GPUs with an engine, under so many concurrent users.

    Args:
        model: a config.json, or a spec.
        precision: of the weights; by default the checkpoint's.
        measured: a points file of this model (docs/points.md), which corrects the prediction.
        metrics: percentiles and gaps between tokens to be told too, e.g. ``itl_p95_ms``: they follow from the predicted
            medians by learned ratios.

    Raises:
        UsageError: an unknown GPU, precision, metric or number that makes no sense.
        DataError: the model does not fit, or its config is not understood.
    """
    if not users or not all(1 <= n < math.inf for n in (gpus, *users, input_tokens, output_tokens)):
        raise UsageError(
            f"gpus, users and tokens must be ≥ 1, got gpus={gpus}, users={list(users)}, "
            f"input_tokens={input_tokens}, output_tokens={output_tokens}"
        )
    spec = model if isinstance(model, ModelSpec) else ModelSpec.load(model)
    part = find_gpu(gpu, gpus_table)
    asked = Deployment(spec, part, gpus, engine.lower(), precision or spec.precision, input_tokens, output_tokens)
    surrogate = serving_at_hand() if serving is None else serving
    points = Points(()) if measured is None else read_points(measured, gpus_table, given={"model": spec.name})
    known = [Measured(_deployment(p, spec), p.users, p.metrics) for p in points]
    extra = [name for name in map(metric_name, metrics) if name not in TIMES]
    loads = [(asked, float(u)) for u in users]
    rows = surrogate.predict(loads, known, (*TIMES, *extra))
    served = asked.served
    return Prediction(
        f"{spec.name} on {gpus} × {part.part}, {asked.engine}, {asked.precision}, "
        f"{input_tokens:g} tokens in, {output_tokens:g} out",
        {
            "name": spec.name,
            "parameters": spec.parameters,
            "active_parameters": spec.active_parameters,
            "weights_gib": served.weights_gib,
            "kv_bytes_per_token": served.kv_bytes_per_token,
        },
        list(zip(map(float, users), rows, strict=True)),
        f"predicted {what_was_asked(surrogate, loads)}"
        + (f", corrected by {len(known)} measurements of this model" if known else ""),
        nearest(asked, max(users)),
        [*warnings(asked, max(users), surrogate), *doubts(points, [m.deployment for m in known])],
        {name: f"from its learned ratio to the median {BASES[name.split('_')[0]]} ({SOURCE})" for name in extra},
    )


def _deployment(p: Point, spec: ModelSpec) -> Deployment:
    return Deployment(spec, p.gpu, p.gpus, p.engine.lower(), p.precision, p.input_tokens, p.output_tokens)


def doubts(points: Points, deployments: Sequence[Deployment]) -> list[str]:
    """What looks wrong in measured points: units that do not go together, times that no memory allows, and loads that several
    tokens a step were likely used for."""
    pairs = list(zip(points, deployments, strict=True))
    fast = [p for p, d in pairs if d.capacity >= 1 and faster_than_memory(p, d.streaming_ms)]
    out = list(points.warnings)
    if fast:
        some = f"{fast[0].model} on {fast[0].gpus} × {fast[0].gpu.part}, {fast[0].users:g} users"
        out.append(
            f"{len(fast)} of {len(points)} points take less time per token than their weights and cache stream at full bandwidth "
            f"({some}, …): speculative decoding, another model, precision or number of GPUs, or another unit?"
        )
    several = int(speculative(points).sum())
    if several:
        out.append(
            f"{several} points take at most 0.75 of other dates' time per token at equal load, and no earlier first token: "
            "speculative decoding?"
        )
    return out


def warnings(d: Deployment, users: float, serving: Serving) -> list[str]:
    """What an answer does not rest on."""
    out = [f"{level} {name!r} was never measured: intervals are wider" for level, name in _new(d, serving)]
    if users > d.capacity:
        out.append(f"the cache holds {d.capacity:.0f} requests of this length; of {users:g} users the others wait")
    return [*out, *unmeasured_lengths(d.input_tokens, d.output_tokens), *d.model.notes]


def unmeasured_lengths(input_tokens: float, output_tokens: float) -> list[str]:
    """What of a request is longer or shorter than anything that was measured."""
    lengths = (("prompts", input_tokens), ("answers", output_tokens))
    return [f"{what} of {n:g} tokens were never measured" for what, n in lengths if not _LENGTHS[0] <= n <= _LENGTHS[1]]


def _new(d: Deployment, serving: Serving) -> list[tuple[str, str]]:
    names = {
        "family": ("model", d.model.name),
        "gpu": ("GPU", d.gpu.part),
        "architecture": ("GPU", d.gpu.part),
        "engine": ("engine", d.engine),
    }
    return [names[level] for level in serving.new_levels(d)]


def nearest(d: Deployment, users: float) -> list[str]:
    """The bundled points most like a deployment, a line each."""
    points = silicon_points()

    def unlike(p: Point) -> float:
        sizes = np.log([p.users / users, p.input_tokens / d.input_tokens, p.output_tokens / d.output_tokens])
        machine = np.log(p.gpus * p.gpu.bandwidth_gb_per_s / (d.gpus * d.gpu.bandwidth_gb_per_s))
        other = 2.0 * (p.model != d.model.name) + 1.0 * (p.gpu.part != d.gpu.part) + 0.5 * (p.engine != d.engine)
        return float(np.abs(sizes).sum() + abs(machine) + other + 0.5 * (p.precision != d.precision))

    found: dict[tuple[str, str, int, str], Point] = {}
    for p in sorted(points, key=unlike):
        found.setdefault((p.model, p.gpu.part, p.gpus, p.engine), p)
        if len(found) == _NEAREST:
            break
    return [
        f"{p.model} on {p.gpus} × {p.gpu.part}, {p.engine} {p.precision}, {p.users:g} users, {p.input_tokens:g} in, "
        f"{p.output_tokens:g} out: TTFT {p.metrics.get('ttft_p50_ms', float('nan')):.4g} ms, "
        f"TPOT {p.metrics.get('tpot_p50_ms', float('nan')):.4g} ms"
        for p in found.values()
    ]


def hold_against(
    points: str | Path, models: str | Path, gpus: dict[str, GPU] | None = None, serving: Serving | None = None
) -> tuple[list[Held], dict[str, Any]]:
    """Predict every point of a file, and compare.

    Args:
        models: a folder with ``<model>.json`` for each model of the points, a Hugging Face config each.

    Returns:
        the points with their predictions, and `cloudbandit.surrogate.against.report` of them, with ``warnings`` of what looks
        wrong in the file.

    Raises:
        DataError: a model has no file, or the points cannot be read.
    """
    surrogate = serving_at_hand() if serving is None else serving
    read = read_points(points, gpus)
    specs = {name: _spec(Path(models).expanduser(), name) for name in dict.fromkeys(p.model for p in read)}
    asked = [_deployment(p, specs[p.model]) for p in read]
    held = [_held(p, d, surrogate) for p, d in zip(read, asked, strict=True)]
    return held, {**report(held), "warnings": doubts(read, asked)}


def _spec(folder: Path, name: str) -> ModelSpec:
    path = folder / f"{name.replace('/', '--')}.json"
    if not path.is_file():
        path = folder / f"{name.rpartition('/')[2]}.json"
    if not path.is_file():
        have = sorted(p.stem for p in folder.glob("*.json"))
        raise DataError(f"there is no {name}.json in {folder}; it holds {', '.join(have) or 'no .json file'}")
    return ModelSpec.load(path)


def _held(p: Point, d: Deployment, serving: Serving) -> Held:
    labels = {"model": p.model, "gpu": p.gpu.part, "engine": p.engine}
    measured = dict(p.metrics)
    e2e = end_to_end_ms(p.metrics, p.output_tokens)
    if e2e is not None:
        measured.setdefault("e2e_p50_ms", e2e)
    ratios = () if serving.ratios is None else serving.ratios.known
    asked = (*TIMES, *(name for name in measured if name in ratios))
    try:
        predicted: Mapping[str, Estimate] = serving.predict([(d, p.users)], (), asked)[0]
    except CloudBanditError:
        predicted = {}  # refused: it does not fit, or a precision is unknown
    return Held(labels, measured, predicted)
