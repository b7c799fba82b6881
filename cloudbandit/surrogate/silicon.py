"""Estimates of a deployment's times by ``aiconfigurator-core`` (NVIDIA, Apache-2.0), from kernels measured on silicon: a second
opinion beside the formula, never the truth (`cloudbandit.surrogate.opinion` learns how wrong it is).

It assumes a steady state at a fixed batch. What it has no data for it does not answer: NaN, nothing is approximated. A model is
known to it if one of the published configs that it brings has the same layers, width and parameters. Whether memory suffices is
for the callers to say, by their own account: the batch is no larger than what fits by it."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.catalogue.precision import find_precision
from cloudbandit.core.errors import CloudBanditError, need
from cloudbandit.objectives.aiconfigurator import SYSTEMS, VERSIONS
from cloudbandit.surrogate.deployment import Deployment
from cloudbandit.surrogate.formula import Floats

PACKAGE, EXTRA = "aiconfigurator_core", "aiconfigurator"
_SYSTEMS = {**SYSTEMS, "B300-SXM6-288GB": "b300_sxm"}
_VERSIONS = {**VERSIONS["*"], "sglang": "0.5.14"}
_STEP_TOKENS = 8192
"""Prompt tokens that an engine lets into a step at most."""
_MATRICES = {
    "bf16": "bfloat16",
    "fp16": "bfloat16",
    "fp8": "fp8",
    "mxfp8": "fp8",
    "int8-weights": "int8_wo",
    "int4": "int4_wo",
    "nvfp4": "nvfp4",
    "mxfp4": "bfloat16",
}
_EXPERTS = {
    "bf16": "bfloat16",
    "fp16": "bfloat16",
    "fp8": "fp8",
    "nvfp4": "nvfp4",
    "mxfp4": "w4a16_mxfp4",
    "int4": "int4_wo",
}
_PARAMETERS_ALIKE = 0.005


def installed() -> bool:
    """Whether the package is."""
    return find_spec(PACKAGE) is not None


def silicon_times(rows: Sequence[tuple[Deployment, float]]) -> Floats:
    """(N, 2): estimated TPOT and TTFT in ms of (deployment, users), with tensor parallelism over its GPUs; NaN where there is no
    estimate.

    Raises:
        MissingExtraError: the package is not installed.
    """
    need(PACKAGE, EXTRA, "this estimate")
    running = [max(1.0, min(users, d.capacity)) for d, users in rows]
    return np.array([_estimate(_key(d), n) for (d, _), n in zip(rows, running, strict=True)], float).reshape(-1, 2)


def _key(d: Deployment) -> tuple[Any, ...]:
    name = find_precision(d.precision).name
    return (
        _published(d.model),
        bool(d.model.experts),
        d.gpu.part,
        d.gpus,
        d.engine,
        name,
        d.input_tokens,
        d.output_tokens,
    )


_NOTHING = (float("nan"), float("nan"))


@lru_cache(maxsize=4096)
def _estimate(key: tuple[Any, ...], batch: float) -> tuple[float, float]:
    *where, inputs, outputs = key
    if where[0] is None or where[2] not in _SYSTEMS or where[4] not in _VERSIONS or where[5] not in _MATRICES:
        return _NOTHING
    config = need(f"{PACKAGE}.sdk.config", EXTRA, "this estimate")
    errors = need(f"{PACKAGE}.sdk.errors", EXTRA, "this estimate")
    runtime = config.RuntimeConfig(isl=round(inputs), osl=max(2, round(outputs)), batch_size=round(batch))
    with _quiet():
        try:
            engine, model = _engine(tuple(where))
            database = _database(_SYSTEMS[where[2]], where[4])
            summary = engine.run_agg(model, database, runtime, ctx_tokens=_STEP_TOKENS)
        except (errors.PerfDataNotAvailableError, ValueError):  # no data, or a split that the model does not allow
            return _NOTHING
    found = summary.get_result_dict()
    times = float(found["tpot"]), float(found["ttft"])
    return times if min(times) > 0 else _NOTHING


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's own warnings, which are about its data and not about the question."""
    log = logging.getLogger(PACKAGE)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


@lru_cache(maxsize=256)
def _engine(where: tuple[Any, ...]) -> tuple[Any, Any]:
    """A backend and a model of its own for every deployment: the package's cache key leaves both out."""
    path, experts, _, gpus, engine, precision = where
    common = need(f"{PACKAGE}.sdk.common", EXTRA, "this estimate")
    config = need(f"{PACKAGE}.sdk.config", EXTRA, "this estimate")
    backends = need(f"{PACKAGE}.sdk.backends.factory", EXTRA, "this estimate")
    models = need(f"{PACKAGE}.sdk.models", EXTRA, "this estimate")
    by_blocks = precision == "fp8" and experts  # as the published FP8 checkpoints of mixtures are scaled
    options: dict[str, Any] = {
        "tp_size": gpus,
        "gemm_quant_mode": common.GEMMQuantMode["fp8_block" if by_blocks else _MATRICES[precision]],
        "kvcache_quant_mode": common.KVCacheQuantMode.bfloat16,
        "fmha_quant_mode": common.FMHAQuantMode.bfloat16,
    }
    if experts:
        if precision not in _EXPERTS:
            raise ValueError(f"no experts in {precision}")
        mode = common.MoEQuantMode["fp8_block" if by_blocks else _EXPERTS[precision]]
        options |= {"moe_quant_mode": mode, "moe_tp_size": gpus, "moe_ep_size": 1}
    return backends.get_backend(engine), models.get_model(path, config.ModelConfig(**options), engine)


@lru_cache(maxsize=16)
def _database(system: str, engine: str) -> Any:
    data = need(f"{PACKAGE}.sdk.perf_database", EXTRA, "this estimate")
    return data.get_database_view(system, engine, _VERSIONS[engine], allow_missing_data=False, database_mode="SILICON")


@lru_cache(maxsize=256)
def _published(model: ModelSpec) -> str | None:
    """The name under which the package brings a model's config, if it does: the shortest of those that are alike."""
    alike = [
        name
        for name, spec in _configs().items()
        if (spec.layers, spec.d_model, spec.experts) == (model.layers, model.d_model, model.experts)
        and abs(spec.parameters / model.parameters - 1) < _PARAMETERS_ALIKE
    ]
    return min(alike, key=lambda name: (len(name), name), default=None)


@lru_cache(maxsize=1)
def _configs() -> dict[str, ModelSpec]:
    folder = Path(str(need(PACKAGE, EXTRA, "this estimate").__file__)).parent / "model_configs"
    out = {}
    for path in sorted(folder.glob("*_config.json")):
        if path.name.endswith("_hf_quant_config.json"):
            continue
        name = path.name.removesuffix("_config.json").replace("--", "/")
        try:
            out[name] = ModelSpec.from_config(json.loads(path.read_text(encoding="utf-8")), name)
        except CloudBanditError:
            continue  # not understood here, so nobody can ask about it
    return out
