"""What a recommendation stands on: who predicts the metrics of a model that nobody measured.

`LoadTestSource` learns from load tests of other models (LLM-Pilot's: TGIS, FP16, 2023); `cloudbandit.surrogate.served.Served`
knows today's engines by a formula. `beliefs` asks either the same questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.surrogate.loads import LoadTest, RequestLengths, with_stand_ins
from cloudbandit.surrogate.model import Surrogate

Floats = npt.NDArray[np.float64]

TGIS = "tgis"
"""The engine of LLM-Pilot's load tests."""
ACCEPT_TIME = "the accept time, whose median is 4 to 140 ms in LLM-Pilot's load tests"


class Source(Protocol):
    """Predicts load curves, from what it learned and from what was measured of the model."""

    @property
    def engine(self) -> str:
        """Whose load curves these are; measurements under another one inform, and answer for nothing."""

    @property
    def workload(self) -> RequestLengths:
        """The requests assumed where none are given."""

    @property
    def metrics(self) -> frozenset[str]:
        """What it can predict, by full names."""

    @property
    def assumed(self) -> frozenset[str]:
        """Of these, what it takes for granted: an answer may be called measured without them."""

    def as_served(self, model: ModelSpec) -> ModelSpec:
        """The model in the precision that is served: what has to fit."""

    def refusal(self, model: ModelSpec, profile: Profile, workload: RequestLengths) -> str:
        """Why the model cannot be served there, though it fits; ``""``: it can."""

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
        """Joint draws, metric → (about ``size``, profiles, loads); latencies and failures grow with users."""

    def spread(self, metric: str, level: float) -> float:
        """By how much a central interval of the draws must be stretched about its median, on a log scale, to hold that share."""

    def follows(self, metric: str) -> str:
        """What a metric is derived from, where it is not learnt itself; else ``""``."""

    def basis(self, model: ModelSpec, profile: Profile, measured: Sequence[LoadTest]) -> str:
        """What a prediction on a profile rests on, in a few words."""

    def notes(
        self, model: ModelSpec, profiles: Sequence[Profile], workload: RequestLengths, measured: Sequence[LoadTest]
    ) -> list[str]:
        """What a reader must know of the answers."""


class LoadTestSource:
    """A surrogate that was trained on load tests of other models.

    Args:
        surrogate: on none of the model asked about.
        engine: of its load tests.
    """

    def __init__(self, surrogate: Surrogate, engine: str = TGIS) -> None:
        self.surrogate, self.engine = surrogate, engine

    @property
    def workload(self) -> RequestLengths:
        return self.surrogate.tests.workload

    @property
    def metrics(self) -> frozenset[str]:
        return self.surrogate.tests.metrics

    @property
    def assumed(self) -> frozenset[str]:
        return frozenset()

    def as_served(self, model: ModelSpec) -> ModelSpec:
        return model

    def refusal(self, model: ModelSpec, profile: Profile, workload: RequestLengths) -> str:
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
        evidence = with_stand_ins(self._own(measured))
        return self.surrogate.samples(model, profiles, loads, metrics, evidence, workload, size)

    def spread(self, metric: str, level: float) -> float:
        return self.surrogate.half_width(metric, level) / NormalDist().inv_cdf((1 + level) / 2)

    def follows(self, metric: str) -> str:
        return ""

    def basis(self, model: ModelSpec, profile: Profile, measured: Sequence[LoadTest]) -> str:
        own = len(self._own(measured))
        learnt = f"{len(self.surrogate.tests.names)} other models under {self.engine}"
        return f"{learnt}, {own} load tests of this one" if own else learnt

    def notes(
        self, model: ModelSpec, profiles: Sequence[Profile], workload: RequestLengths, measured: Sequence[LoadTest]
    ) -> list[str]:
        recorded, tests, out = self.workload, self.surrogate.tests.tests, []
        for name, mine, theirs in (
            ("input", workload.input_mean, recorded.input_mean),
            ("output", workload.output_mean, recorded.output_mean),
        ):
            if not 2 / 3 <= mine / theirs <= 3 / 2:
                out.append(
                    f"requests of {mine:g} {name} tokens are extrapolated from measurements with {theirs:.3g}: "
                    "measure before you rent"
                )
        known = {t.profile.gpu.part for t in (*tests, *measured)}
        new = sorted({p.gpu.part for p in profiles} - known)
        if new:
            out.append(f"never measured with any model, so extrapolated from datasheets: {', '.join(new)}")
        unused = len(measured) - len(self._own(measured))
        if unused:
            out.append(f"{unused} load tests of other engines than {self.engine} are not used")
        return out

    def _own(self, measured: Sequence[LoadTest]) -> list[LoadTest]:
        return [t for t in measured if t.engine in ("", self.engine)]
