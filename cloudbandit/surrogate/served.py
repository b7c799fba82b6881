"""Load curves of a model on today's engines, by the formula and its errors: joint draws over GPUs and loads.

The draws of one profile move together over its loads; those of two profiles share the part of the error that belongs to the
model, as far as `Errors.parts` says, so that comparing offers knows what their errors have in common.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.core.metrics import FAILURES
from cloudbandit.surrogate.deployment import Deployment, served_in
from cloudbandit.surrogate.errors import METRICS
from cloudbandit.surrogate.formula import Floats
from cloudbandit.surrogate.loads import LoadTest, RequestLengths
from cloudbandit.surrogate.points_known import silicon_points
from cloudbandit.surrogate.servable import check
from cloudbandit.surrogate.serving import Measured, Serving, bundled_serving
from cloudbandit.surrogate.training import measured_models

TODAY = RequestLengths.fixed(1024, 256)
"""The requests assumed where none are given: 1,024 tokens in, 256 out."""
ENGINE_LOADS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Concurrent users of one engine that are considered: nearly all that was measured lies below."""
_TPOT, _TTFT = METRICS
_MEASURED_LENGTHS = (64.0, 16_384.0)
DERIVED = (_TPOT, _TTFT, "nttft_p50_ms", "e2e_p50_ms", "output_tok_per_s", "requests_per_s", *FAILURES)


@dataclass(frozen=True)
class Served:
    """One engine, in one precision.

    Args:
        engine: ``vllm``, ``sglang``, ``trtllm``, or another one.
        precision: of the weights; None: each checkpoint's own.
        serving: constants and errors; by default those that come with the package.
        seed: determines which errors of two profiles meet.
    """

    engine: str = "vllm"
    precision: str | None = None
    serving: Serving | None = None
    seed: int = 0

    @property
    def workload(self) -> RequestLengths:
        return TODAY

    @property
    def metrics(self) -> frozenset[str]:
        return frozenset(DERIVED)

    @property
    def _serving(self) -> Serving:
        return bundled_serving() if self.serving is None else self.serving

    def deployment(self, model: ModelSpec, profile: Profile, workload: RequestLengths, engine: str = "") -> Deployment:
        """One engine on a profile."""
        return Deployment(
            model,
            profile.gpu,
            profile.gpus,
            engine or self.engine,
            self.precision or model.precision,
            workload.input_mean,
            workload.output_mean,
        )

    def as_served(self, model: ModelSpec) -> ModelSpec:
        """The model in the precision that is served."""
        return served_in(model, self.precision or model.precision)

    def refusal(self, model: ModelSpec, profile: Profile, workload: RequestLengths) -> str:
        """Why it cannot be served there; ``""``: it can."""
        try:
            check(self.deployment(model, profile, workload))
        except (UsageError, DataError) as error:
            return str(error)
        return ""

    def samples(
        self,
        model: ModelSpec,
        profiles: Sequence[Profile],
        loads: Sequence[int],
        metrics: Sequence[str],
        measured: Sequence[LoadTest],
        workload: RequestLengths,
        size: int,
    ) -> Mapping[str, Floats]:
        """Joint draws, metric → (samples, profiles, loads); as many samples as there are errors, whatever ``size`` says. NaN on
        a profile that cannot serve."""
        can = [i for i, p in enumerate(profiles) if not self.refusal(model, p, workload)]
        asked = [(self.deployment(model, profiles[i], workload), float(u)) for i in can for u in loads]
        mine = np.full((len(profiles), len(loads), len(self._serving.errors.pairs), len(METRICS)), np.nan)
        if can:
            _, drawn = self._serving.draws(asked, self._evidence(model, measured, workload))
            drawn = drawn.reshape(len(can), len(loads), -1, len(METRICS))
            for i, order, of in zip(can, self._order([profiles[i] for i in can]), drawn, strict=True):
                mine[i] = of[:, order]
        times = np.maximum.accumulate(mine, axis=1).transpose(2, 0, 1, 3)
        every = derived(times[..., 0], times[..., 1], np.asarray(loads, float), workload)
        return {name: every[name] for name in metrics}

    def band(
        self,
        model: ModelSpec,
        profile: Profile,
        loads: Sequence[int],
        metric: str,
        measured: Sequence[LoadTest],
        workload: RequestLengths,
        level: float,
    ) -> tuple[Floats, Floats, Floats]:
        """Low, median and high of one metric over the loads: a central predictive interval."""
        drawn = self.samples(model, [profile], loads, [metric], measured, workload, 0)[metric][:, 0]
        low, middle, high = np.quantile(drawn, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
        return low, middle, high

    def spread(self, metric: str) -> float:
        """1: the draws are errors that were made."""
        return 1.0

    def basis(self, model: ModelSpec, profile: Profile, measured: Sequence[LoadTest]) -> str:
        """What a prediction rests on: measurements of this model, and how many of them on this GPU."""
        own = [t.profile.gpu.part for t in measured] + [m.deployment.gpu.part for m in known_points(model)]
        if not own:
            unseen = profile.gpu.part not in self._serving.seen.get("gpus", ())
            return "the formula alone" + (", GPU never measured" if unseen else "")
        here = own.count(profile.gpu.part)
        return f"the formula and {len(own)} measurements of this model, {here or 'none'} on this GPU"

    def notes(
        self, model: ModelSpec, profiles: Sequence[Profile], workload: RequestLengths, measured: Sequence[LoadTest]
    ) -> list[str]:
        """What a reader must know of the answers."""
        seen, out = self._serving.seen, []
        points = len(known_points(model)) + len(measured)
        if not points:
            out.append(f"{model.name} was never measured: predicted from what other models did, intervals say how well")
        if self.engine not in seen.get("engines", ()):
            out.append(f"{self.engine} was never measured: predicted from other engines, with wider intervals")
        new = sorted({p.gpu.part for p in profiles} - set(seen.get("gpus", ())))
        if new:
            out.append(f"never measured, so from datasheets with wider intervals: {', '.join(new)}")
        for what, tokens in (("prompts", workload.input_mean), ("answers", workload.output_mean)):
            if not _MEASURED_LENGTHS[0] <= tokens <= _MEASURED_LENGTHS[1]:
                out.append(f"{what} of {tokens:g} tokens were never measured")
        if not any(m in t.metrics for t in measured for m in FAILURES):
            out.append("failures are assumed to be none: today's engines let requests wait; measure them")
        return [*out, *model.notes]

    def _evidence(self, model: ModelSpec, measured: Sequence[LoadTest], workload: RequestLengths) -> list[Measured]:
        mine = [
            Measured(self.deployment(model, t.profile, workload, t.engine), float(t.users), times)
            for t in measured
            if (times := _times(t.metrics, workload))
        ]
        return [*mine, *known_points(model)]

    def _order(self, profiles: Sequence[Profile]) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Per profile which error each sample has: pairs are sorted from fast to slow, and two profiles are as far in them
        together as what is particular to a model makes of all the error."""
        errors = self._serving.errors
        scaled = errors.pairs / np.maximum(errors.pairs.std(0), 1e-9)
        sorted_ = np.argsort(scaled.sum(1), kind="stable")
        shared = float(np.mean(errors.parts["family"] / np.maximum(errors.variance, 1e-12)))
        common = np.random.default_rng([self.seed, 1]).standard_normal(len(sorted_))
        out = []
        for p in profiles:
            own = np.random.default_rng([self.seed, 2, zlib.crc32(repr(p.key).encode())]).standard_normal(len(sorted_))
            latent = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
            out.append(sorted_[np.argsort(np.argsort(latent, kind="stable"), kind="stable")])
        return out


def derived(tpot: Floats, ttft: Floats, users: Floats, workload: RequestLengths) -> dict[str, Floats]:
    """Every metric of a closed loop from its two times in ms, (…, loads) each; failures are none."""
    e2e = ttft + tpot * max(workload.output_mean - 1, 0.0)
    requests = users * 1e3 / e2e  # Little's law: each user has one request in flight
    none = np.zeros_like(e2e)
    return {
        _TPOT: tpot,
        _TTFT: ttft,
        "nttft_p50_ms": ttft / workload.input_mean,
        "e2e_p50_ms": e2e,
        "output_tok_per_s": requests * workload.output_mean,
        "requests_per_s": requests,
        **dict.fromkeys(FAILURES, none),
    }


def _times(metrics: Mapping[str, float], workload: RequestLengths) -> dict[str, float]:
    """The two times that a load test tells of."""
    ttft = metrics.get(_TTFT, metrics.get("nttft_p50_ms", np.nan) * workload.input_mean)
    tpot = metrics.get(_TPOT, metrics.get("itl_p50_ms", np.nan))
    return {k: float(v) for k, v in ((_TPOT, tpot), (_TTFT, ttft)) if v > 0}


@lru_cache(maxsize=64)
def known_points(model: ModelSpec) -> tuple[Measured, ...]:
    """The bundled points of a model, by its shapes: whatever its name is here."""
    specs, _ = measured_models()
    same = {name for name, spec in specs.items() if _shape(spec) == _shape(model)}
    out = [
        Measured(
            Deployment(model, p.gpu, p.gpus, p.engine, p.precision, p.input_tokens, p.output_tokens),
            float(p.users),
            {k: v for k, v in p.metrics.items() if k in METRICS},
        )
        for p in silicon_points()
        if p.model in same
    ]
    return tuple(m for m in out if m.deployment.capacity >= 1)


def _shape(model: ModelSpec) -> tuple[float, ...]:
    return (model.parameters, model.active_parameters, model.layers, model.d_model, model.heads)
