"""Load tests: what was measured at so many concurrent users, and how many users that allows under an SLO."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.gpus import GPU, Profile, find_gpu
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.catalogue.offers import ServingOffer
from cloudbandit.core.bundled import bundled
from cloudbandit.core.curve import USERS, LoadCurve, excess
from cloudbandit.core.errors import DataError, UnknownNameError, UsageError
from cloudbandit.core.files import read_csv, read_json
from cloudbandit.core.fleet import SERVING, metric_name
from cloudbandit.core.metrics import DICTIONARY, FAILURES, STATISTICS, stand_in

PERCENTILES = tuple(s for s in STATISTICS if s != "mean")
METRICS = tuple(m for m in SERVING if "_mean_" not in m)
"""What the surrogate predicts, where the load tests that it learns from have it. ``failure_rate_excess`` is the share of requests
that fail beyond those that fail with a single user, i.e. for want of capacity."""
LOADS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Concurrent users of one engine that were measured."""
_CONTRADICTION = 1.5
_MOST = 1_000_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RequestLengths:
    """Lengths of requests, in tokens.

    Args:
        input_mean, output_mean: means over requests.
        longest: prompt and output of the longest request together; an engine must hold its KV cache.
    """

    name: str
    input_mean: float
    output_mean: float
    longest: float

    def __post_init__(self) -> None:
        if not (self.input_mean >= 1 and self.output_mean >= 1 and self.longest < math.inf):
            raise UsageError(f"a workload needs at least one input and one output token per request, got {self}")

    @classmethod
    def fixed(cls, input_tokens: float, output_tokens: float) -> RequestLengths:
        """Every request has these lengths."""
        return cls(
            f"{input_tokens:g} in, {output_tokens:g} out", input_tokens, output_tokens, input_tokens + output_tokens
        )


@lru_cache(maxsize=1)
def llm_pilot_workload() -> RequestLengths:
    """The 929 requests that every load test of LLM-Pilot replayed."""
    lengths = np.loadtxt(bundled() / "llm-pilot" / "requests.csv", delimiter=",", skiprows=1)
    return RequestLengths(
        "llm-pilot", float(lengths[:, 0].mean()), float(lengths[:, 1].mean()), float(lengths.sum(1).max())
    )


@dataclass(frozen=True, slots=True)
class LoadTest:
    """One model on one profile under so many concurrent users. Metrics as in `cloudbandit.core.fleet.SERVING`; an unmeasured one
    is absent.

    Args:
        engine: that served; ``""``: the one asked about.
    """

    model: str
    profile: Profile
    users: int
    metrics: Mapping[str, float]
    engine: str = ""


@dataclass(frozen=True)
class LoadTests:
    """Load tests of several models.

    Args:
        tests: in any order; one per (model, profile, users).
        models: what each named model is.
    """

    tests: Sequence[LoadTest]
    models: Mapping[str, ModelSpec]
    workload: RequestLengths = field(default_factory=llm_pilot_workload)

    def without(self, model: str) -> LoadTests:
        """Every row of one model removed."""
        return LoadTests([t for t in self.tests if t.model != model], self.models, self.workload)

    def of(self, model: str) -> list[LoadTest]:
        return [t for t in self.tests if t.model == model]

    def curves(self, model: str, offers: Iterable[ServingOffer]) -> dict[ServingOffer, LoadCurve]:
        """`load_curves` of one model."""
        return load_curves(self.of(model), offers)

    @property
    def names(self) -> list[str]:
        return sorted({t.model for t in self.tests})

    @property
    def metrics(self) -> frozenset[str]:
        """What was measured in any test."""
        return frozenset(m for t in self.tests for m in t.metrics)


@lru_cache(maxsize=1)
def llm_pilot() -> LoadTests:
    """The bundled load tests: ten LLMs on fourteen GPU profiles, 1 to 128 users (LLM-Pilot, SC 2024; CDLA-Permissive-2.0)."""
    import pandas as pd

    folder = bundled() / "llm-pilot"
    configs = json.loads((folder / "models.json").read_text(encoding="utf-8"))["models"]
    specs = {
        name: ModelSpec.from_config({k: v for k, v in c.items() if k != "flash"}, name, flash=c["flash"])
        for name, c in configs.items()
    }
    frame = pd.read_csv(folder / "loads.csv").sort_values(["model", "profile", "users"], kind="stable")
    profiles = {str(g): find_gpu(str(g)) for g in frame["gpu"].unique()}
    columns = [c for c in METRICS if c in frame.columns]
    values = frame[columns].to_numpy(float)
    tests = [
        LoadTest(str(model), Profile(profiles[str(gpu)], int(n)), int(users), _known(columns, row))
        for model, gpu, n, users, row in zip(
            frame["model"], frame["gpu"], frame["gpus"], frame["users"], values, strict=True
        )
    ]
    return LoadTests(with_excess(tests), specs)


def _known(columns: Sequence[str], row: Floats) -> dict[str, float]:
    return {name: float(v) for name, v in zip(columns, row, strict=True) if math.isfinite(v)}


def with_excess(tests: Iterable[LoadTest]) -> list[LoadTest]:
    """Where the failure rate is known, ``failure_rate_excess`` is `cloudbandit.core.curve.excess` of it over the test's curve."""
    out = list(tests)
    curves: dict[tuple[str, tuple[str, int], str], list[int]] = {}
    for i, t in enumerate(out):
        if FAILURES[1] in t.metrics:
            curves.setdefault((t.model, t.profile.key, t.engine), []).append(i)
    for which in curves.values():
        which.sort(key=lambda i: out[i].users)
        rates = np.array([out[i].metrics[FAILURES[1]] for i in which])
        for i, value in zip(which, excess(rates, [out[i].users for i in which]), strict=True):
            out[i] = replace(out[i], metrics={**out[i].metrics, FAILURES[0]: float(value)})
    return out


def with_stand_ins(tests: Iterable[LoadTest]) -> list[LoadTest]:
    """Fill in a stand-in that was not measured with what it stands for: an upper bound of it, taken at face value
    (``ttft_excl_accept_p50_ms`` = ``ttft_p50_ms``, although the wait for acceptance is in it). As evidence it errs on the slow
    side: a machine is believed to be slower than it is, never faster."""
    out = []
    for t in tests:
        bounds = {other: value for m, value in t.metrics.items() if (other := stand_in(m)) is not None}
        out.append(replace(t, metrics={**bounds, **t.metrics}))
    return out


def load_curves(tests: Iterable[LoadTest], offers: Iterable[ServingOffer]) -> dict[ServingOffer, LoadCurve]:
    """Per offer on whose profile there are load tests: their curve, at its price. The tests are of one model.

    Raises:
        UsageError: two tests of one profile and load (see `merged`).
    """
    rows: dict[tuple[str, int], list[dict[str, float]]] = {}
    for t in tests:
        rows.setdefault(t.profile.key, []).append({USERS: float(t.users), **t.metrics})
    return {o: LoadCurve.of_rows(rows[o.profile.key], o.usd_per_h, o.engines) for o in offers if o.profile.key in rows}


def read_measurements(path: str | Path, model: str, gpus: dict[str, GPU] | None = None) -> list[LoadTest]:
    """Load tests of one model from a CSV file, or a JSON list of objects: ``gpu``, ``gpus`` (per engine), ``users``, and metrics
    by name; ``engine`` where it is not the one asked about.

    Raises:
        DataError: the file cannot be read, a column is missing, or two rows contradict each other; the message says which.
    """
    path = Path(path).expanduser()
    rows = _measured_rows(path)
    columns = list(dict.fromkeys(c for _, row in rows for c in row))
    missing = [c for c in ("gpu", "gpus", "users") if c not in columns]
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}; it needs gpu, gpus, users, and metrics such as nttft_p50_ms"
        )
    named: dict[str, str] = {}
    for column in columns:
        try:
            named[column] = metric_name(column)
        except UnknownNameError:
            continue
    if not named:
        raise DataError(f"{path} has no metric; its columns are {', '.join(columns)}; known: {', '.join(METRICS)}")
    return merged([_test(f"{path} {where}", row, named, model, gpus) for where, row in rows])


def _measured_rows(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """Where each stands, and its values by column."""
    missing = f"there are no measurements at {path}"
    if path.suffix != ".json":
        return [(f"line {line}", row) for line, row in read_csv(path, (), missing, DataError)]
    listed = read_json(path, missing, DataError)
    if not (isinstance(listed, list) and all(isinstance(row, dict) for row in listed)):
        raise DataError(
            f"{path} holds no list of objects; it needs one per load test, with gpu, gpus, users, and metrics"
        )
    return [(f"object {i}", row) for i, row in enumerate(listed, start=1)]


def _test(
    where: str, row: Mapping[str, Any], named: Mapping[str, str], model: str, gpus: dict[str, GPU] | None
) -> LoadTest:
    def number(column: str) -> float | None:
        """None where it is not known."""
        value = row.get(column)
        try:
            found = math.nan if value is None or value == "" else float("x" if isinstance(value, bool) else value)
        except (TypeError, ValueError, OverflowError):
            found = math.inf
        if found in (math.inf, -math.inf):
            raise DataError(
                f"{where}: {column} is {_short(value)}; it must be a finite number, or empty where it is not known"
            )
        return None if math.isnan(found) else found

    counts = {}
    for column in ("users", "gpus"):
        value = number(column)
        if value is None or not (1 <= value <= _MOST and value % 1 == 0):
            raise DataError(
                f"{where}: {column} is {_short(row.get(column))}; it must be a whole number from 1 to {_MOST}"
            )
        counts[column] = int(value)
    metrics = {metric: value for column, metric in named.items() if (value := number(column)) is not None}
    for metric, value in metrics.items():
        if value < 0:
            raise DataError(f"{where}: a metric is negative: {metric} is {value:g}")
        if metric in FAILURES and value > 1:
            raise DataError(f"{where}: {metric} is {value:g}; it is a share, at most 1")
    engine = str(row.get("engine") or "").strip().lower()
    return LoadTest(
        model, Profile(find_gpu(str(row.get("gpu")), gpus), counts["gpus"]), counts["users"], metrics, engine
    )


def _short(value: object) -> str:
    return repr(value)[:80]


def merged(tests: Iterable[LoadTest]) -> list[LoadTest]:
    """One test per (model, profile, users, engine): repeats are averaged, contradictions refused.

    Raises:
        DataError: two repeats differ by more than a factor of 1.5, or within a test a higher percentile is the lower one.
    """
    groups: dict[tuple[str, tuple[str, int], int, str], list[LoadTest]] = {}
    for t in tests:
        groups.setdefault((t.model, t.profile.key, t.users, t.engine), []).append(t)
    out = []
    for some in groups.values():
        first = some[0]
        where = f"{first.model} on {first.profile} at {first.users} users"
        metrics: dict[str, float] = {}
        for name in dict.fromkeys(m for t in some for m in t.metrics):
            values = [t.metrics[name] for t in some if name in t.metrics]
            if name not in FAILURES and max(values) > _CONTRADICTION * min(values):
                raise DataError(
                    f"measurements of {where} contradict each other: {name} is {min(values):g} and {max(values):g}. "
                    "Cure: measure again, and leave the wrong row out"
                )
            metrics[name] = float(np.mean(values))
        for stem in (m.name for m in DICTIONARY.values() if m.statistics):
            known = [(p, metrics[f"{stem}_{p}_ms"]) for p in PERCENTILES if f"{stem}_{p}_ms" in metrics]
            for (low, a), (high, b) in itertools.pairwise(known):
                if a > b:
                    raise DataError(
                        f"measurements of {where} contradict each other: {stem} {low} is {a:g} ms, {high} {b:g} ms"
                    )
        out.append(LoadTest(first.model, first.profile, first.users, metrics, first.engine))
    return with_excess(out)
