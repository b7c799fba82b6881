"""Load curves of a model on today's engines, by the formula and its errors: joint draws over GPUs and loads.

The draws of one profile move together over its loads; those of two profiles share the part of the error that belongs to the
model, as far as `Errors.parts` says, so that comparing offers knows what their errors have in common.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
from cloudbandit.surrogate.question import unmeasured_lengths
from cloudbandit.surrogate.ratios import BASES
from cloudbandit.surrogate.servable import check
from cloudbandit.surrogate.serving import Measured, Serving, bundled_serving
from cloudbandit.surrogate.training import measured_models

TODAY = RequestLengths.fixed(1024, 256)
"""The requests assumed where none are given: 1,024 tokens in, 256 out."""
ENGINE_LOADS = (*range(1, 9), *(k * 2**n for n in range(1, 7) for k in (5, 6, 7, 8)))
"""Concurrent users of one engine that are considered: nearly all that was measured lies below."""
_TPOT, _TTFT = METRICS
_KEPT = 4
_OF_EACH = 4
"""Bundled points taken of each deployment; more tell little else."""
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
    _drawn: dict[Hashable, Floats] = field(default_factory=dict, repr=False, compare=False)

    @property
    def workload(self) -> RequestLengths:
        return TODAY

    @property
    def metrics(self) -> frozenset[str]:
        known = self._serving.ratios
        return frozenset([*DERIVED, *(known.known if known else ())])

    @property
    def assumed(self) -> frozenset[str]:
        """That requests do not fail: today's engines let them wait."""
        return frozenset(FAILURES)

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
        times = self._times(model, tuple(profiles), tuple(loads), measured, workload)
        out = {}
        for name in metrics:
            base = name if name in DERIVED else BASES[name.split("_")[0]]
            drawn = derived(times[..., 0], times[..., 1], np.asarray(loads, float), workload, [base])[base]
            out[name] = drawn if name in DERIVED else drawn * self._ratios(name, len(drawn), loads, workload)
        return out

    def _ratios(self, name: str, size: int, loads: Sequence[int], workload: RequestLengths) -> Floats:
        """(samples, 1, loads): of a percentile to the median it follows."""
        known, one = self._serving.ratios, np.ones(size)
        assert known is not None
        drawn = [known.draws(name, float(u), one, workload.input_mean)[1] for u in loads]
        return np.asarray(drawn).T[:, None, :]

    def _times(
        self,
        model: ModelSpec,
        profiles: tuple[Profile, ...],
        loads: tuple[int, ...],
        measured: Sequence[LoadTest],
        workload: RequestLengths,
    ) -> Floats:
        """(samples, profiles, loads, 2) in ms. The latest few are kept, for another SLO asks for the same."""
        key = (model, profiles, loads, workload, repr(measured))
        if key not in self._drawn:
            while len(self._drawn) >= _KEPT:
                del self._drawn[next(iter(self._drawn))]
            self._drawn[key] = self._draw(model, profiles, loads, measured, workload)
        return self._drawn[key]

    def _draw(
        self,
        model: ModelSpec,
        profiles: Sequence[Profile],
        loads: Sequence[int],
        measured: Sequence[LoadTest],
        workload: RequestLengths,
    ) -> Floats:
        can = [i for i, p in enumerate(profiles) if not self.refusal(model, p, workload)]
        asked = [(self.deployment(model, profiles[i], workload), float(u)) for i in can for u in loads]
        mine = np.full((len(profiles), len(loads), len(self._serving.errors.pairs), len(METRICS)), np.nan)
        if can:
            _, drawn = self._serving.draws(asked, self._evidence(model, measured, workload))
            drawn = drawn.reshape(len(can), len(loads), -1, len(METRICS))
            for i, order, of in zip(can, self._order([profiles[i] for i in can]), drawn, strict=True):
                mine[i] = of[:, order]
        return np.ascontiguousarray(np.maximum.accumulate(mine, axis=1).transpose(2, 0, 1, 3))

    def spread(self, metric: str, level: float) -> float:
        """1: the draws are errors that were made."""
        return 1.0

    def follows(self, metric: str) -> str:
        """Of a percentile or a gap between tokens: the median whose learnt ratio gives it."""
        return "" if metric in DERIVED else f"learned ratio to {BASES[metric.split('_')[0]]}"

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
        out += unmeasured_lengths(workload.input_mean, workload.output_mean)
        if not any(m in t.metrics for t in measured for m in FAILURES):
            out.append("failures are assumed to be none: today's engines let requests wait; measure them")
        return [*out, *model.notes]

    def _evidence(self, model: ModelSpec, measured: Sequence[LoadTest], workload: RequestLengths) -> list[Measured]:
        mine = [
            Measured(self.deployment(model, t.profile, workload, t.engine), float(t.users), times)
            for t in measured
            if (times := _told(t.metrics, workload))
        ]
        return [*mine, *_nearest(known_points(model), workload)]

    def _order(self, profiles: Sequence[Profile]) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Per profile which error each sample has. Errors are sorted from fast to slow; two profiles are as far in them together
        as errors of one model are alike on two GPU types, or on one."""
        errors = self._serving.errors
        scaled = errors.pairs / np.maximum(errors.pairs.std(0), 1e-9)
        sorted_ = np.argsort(scaled.sum(1), kind="stable")
        share = {k: float(np.mean(v / np.maximum(errors.variance, 1e-12))) for k, v in errors.parts.items()}
        model, gpu = share["family"], share["gpu"] + share["engine"]
        out = []
        for p in profiles:
            latent = np.sqrt(model) * self._normal("model", len(sorted_)) + np.sqrt(gpu) * self._normal(
                p.gpu.part, len(sorted_)
            )
            latent = latent + np.sqrt(max(0.0, 1 - model - gpu)) * self._normal(repr(p.key), len(sorted_))
            out.append(sorted_[np.argsort(np.argsort(latent, kind="stable"), kind="stable")])
        return out

    def _normal(self, name: str, n: int) -> Floats:
        """n draws that belong to a name."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())]).standard_normal(n)


def derived(
    tpot: Floats, ttft: Floats, users: Floats, workload: RequestLengths, metrics: Iterable[str] = DERIVED
) -> dict[str, Floats]:
    """Metrics of a closed loop from its two times in ms, (…, loads) each; failures are none."""
    e2e = ttft + tpot * max(workload.output_mean - 1, 0.0)
    formulas: dict[str, Callable[[], Floats]] = {
        _TPOT: lambda: tpot,
        _TTFT: lambda: ttft,
        "nttft_p50_ms": lambda: ttft / workload.input_mean,
        "e2e_p50_ms": lambda: e2e,
        "output_tok_per_s": lambda: (
            users * workload.output_mean * 1e3 / e2e
        ),  # Little's law: one request a user in flight
        "requests_per_s": lambda: users * 1e3 / e2e,
        **dict.fromkeys(FAILURES, lambda: np.zeros_like(e2e)),
    }
    return {name: formulas[name]() for name in metrics}


def _told(metrics: Mapping[str, float], workload: RequestLengths) -> dict[str, float]:
    """The two times that a load test tells of."""
    ttft = metrics.get(_TTFT, metrics.get("nttft_p50_ms", np.nan) * workload.input_mean)
    tpot = metrics.get(_TPOT, metrics.get("itl_p50_ms", np.nan))
    return {k: float(v) for k, v in ((_TPOT, tpot), (_TTFT, ttft)) if v > 0}


def _nearest(points: Sequence[Measured], workload: RequestLengths) -> list[Measured]:
    """Of each deployment those whose requests are most like these."""
    asked = np.log([workload.input_mean, workload.output_mean])

    def unlike(m: Measured) -> float:
        return float(np.abs(np.log([m.deployment.input_tokens, m.deployment.output_tokens]) - asked).sum())

    by: dict[tuple[str, str, int, str, str], list[Measured]] = {}
    for m in sorted(points, key=unlike):
        by.setdefault(m.deployment.label, []).append(m)
    return [m for some in by.values() for m in some[:_OF_EACH]]


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
