"""Estimates of LLM serving on NVIDIA GPUs from kernels measured on silicon: ``aiconfigurator-core`` (NVIDIA, Apache-2.0).

It assumes a steady state at a fixed batch: no queueing, no bursts, no scheduler limits. Systems without silicon data are
refused, never approximated. Its cache key leaves out the model, so each `Estimator` is for one model, and two models need two
processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cloudbandit.core.errors import UnknownNameError, UsageError, need
from cloudbandit.core.trial import Candidate, Result, Status

_EXTRA = "aiconfigurator"
SYSTEMS: Mapping[str, str] = {
    "A100-SXM4-80GB": "a100_sxm",
    "H100-SXM5-80GB": "h100_sxm",
    "H200-SXM5-141GB": "h200_sxm",
    "B200-SXM6-180GB": "b200_sxm",
    "L40S-48GB": "l40s",
    "RTX-PRO-6000-Server-96GB": "rtx_pro_6000_server",
}
"""GPU parts with silicon data → the estimator's names."""
VERSIONS: Mapping[str, Mapping[str, str]] = {
    "a100_sxm": {"vllm": "0.14.0", "trtllm": "1.0.0"},
    "*": {"vllm": "0.24.0", "trtllm": "1.3.0rc20"},
}
"""Which engine versions have data."""
_LOADED: list[str] = []


@dataclass
class Estimator:
    """A ``predict`` for `cloudbandit.objectives.estimated.Estimated`: dense models in BF16.

    A candidate's config has ``gpu`` (one of `SYSTEMS`; else the name of its arm), ``tp``, ``batch`` (requests at once) and,
    if it is to be varied, ``ctx_tokens`` (tokens per engine step) and ``backend``.

    Args:
        model: a model whose config the package brings, e.g. ``meta-llama/Meta-Llama-3.1-8B``, or a folder with a config.json.
        input_tokens, output_tokens: of every request.
        backend: ``vllm`` or ``trtllm``.

    Raises:
        UsageError: another model was estimated in this process before.
        MissingExtraError: aiconfigurator-core is not installed.
    """

    model: str
    input_tokens: int
    output_tokens: int
    backend: str = "vllm"
    ctx_tokens: int = 2048
    _built: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        need("aiconfigurator_core", _EXTRA, "this estimate")
        if _LOADED and _LOADED[0] != self.model:
            raise UsageError(
                f"this process has estimated {_LOADED[0]!r}, and the estimator would mix it up with {self.model!r}. "
                "Cure: one process per model"
            )
        _LOADED[:] = [self.model]

    def __call__(self, candidate: Candidate) -> Result | dict[str, float]:
        """Metrics ``ttft_p50_ms``, ``tpot_p50_ms``, ``output_tok_per_s`` (of one engine); failed with reason ``out_of_memory`` or
        ``no_data``."""
        config = candidate.config
        part = str(config.get("gpu", candidate.arm[-1]))
        if part not in SYSTEMS:
            raise UnknownNameError("GPU with silicon data", part, SYSTEMS)
        tp, batch = int(config["tp"]), int(config["batch"])
        backend, steps = str(config.get("backend", self.backend)), int(config.get("ctx_tokens", self.ctx_tokens))
        return self._estimate(SYSTEMS[part], backend, tp, batch, steps)

    def _estimate(self, system: str, backend: str, tp: int, batch: int, steps: int) -> Result | dict[str, float]:
        config = need("aiconfigurator_core.sdk.config", _EXTRA, "this estimate")
        errors = need("aiconfigurator_core.sdk.errors", _EXTRA, "this estimate")
        if (backend, tp) not in self._built:
            models = need("aiconfigurator_core.sdk.models", _EXTRA, "this estimate")
            backends = need("aiconfigurator_core.sdk.backends.factory", _EXTRA, "this estimate")
            built = models.get_model(self.model, config.ModelConfig(tp_size=tp), backend)
            self._built[backend, tp] = backends.get_backend(backend), built
        engine, built = self._built[backend, tp]
        runtime = config.RuntimeConfig(isl=self.input_tokens, osl=self.output_tokens, batch_size=batch)
        try:
            summary = engine.run_agg(built, _database(system, backend), runtime, ctx_tokens=steps)
        except errors.PerfDataNotAvailableError as error:
            return Result(Status.FAILED, reason="no_data", error=str(error))
        if summary.check_oom():
            return Result(Status.FAILED, reason="out_of_memory")
        found = summary.get_result_dict()
        return {
            "ttft_p50_ms": float(found["ttft"]),
            "tpot_p50_ms": float(found["tpot"]),
            "output_tok_per_s": float(found["tokens/s"]),
        }


@lru_cache(maxsize=16)
def _database(system: str, backend: str) -> Any:
    versions = VERSIONS.get(system, VERSIONS["*"])
    if backend not in versions:
        raise UnknownNameError("backend", backend, versions)
    data = need("aiconfigurator_core.sdk.perf_database", _EXTRA, "this estimate")
    return data.get_database_view(system, backend, versions[backend], allow_missing_data=False, database_mode="SILICON")
