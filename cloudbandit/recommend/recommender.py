"""`recommend`: the cheapest machines that serve a model within its SLOs, measured before or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.catalogue.offers import ServingOffer, catalogue_offers, paper_offers
from cloudbandit.catalogue.precision import find_precision
from cloudbandit.core.errors import DataError, UnknownNameError, UsageError
from cloudbandit.core.goal import SLO
from cloudbandit.recommend.advisor import Advisor
from cloudbandit.recommend.answer import Answer
from cloudbandit.recommend.ranking import LIKELY, MEDIAN
from cloudbandit.recommend.source import TGIS, LoadTestSource, Source
from cloudbandit.surrogate.loads import LOADS, LoadTest, LoadTests, RequestLengths, llm_pilot
from cloudbandit.surrogate.model import DEFAULT_MEAN, Surrogate
from cloudbandit.surrogate.served import ENGINE_LOADS, Served
from cloudbandit.surrogate.training import measured_models

VLLM = "vllm"
SERVED_BY = (VLLM, "sglang", "trtllm", TGIS, "openvino")
"""Engines that can be asked about."""


class Recommender:
    """Answers questions about any model, for one engine; what it trained is kept for the next question.

    Args:
        tests: load tests to learn from, when the engine is that of LLM-Pilot's (``tgis``); by default those.
        mean: the point model learnt from them, see `cloudbandit.surrogate.means.MEANS`; several are averaged.
        seed: determines everything.
        progress: called with a text before each fit.
        engine: ``vllm``, ``sglang`` or ``trtllm`` by the formula (`cloudbandit.surrogate.served.Served`), ``tgis`` by load tests.
            Default: ``tgis`` where ``tests`` are given, else ``vllm``.
        precision: of the weights, for the formula; by default each checkpoint's own.

    Raises:
        UsageError: another engine, or a precision for ``tgis``.
        UnknownNameError: no precision is called so.
    """

    def __init__(
        self,
        tests: LoadTests | None = None,
        *,
        mean: str = DEFAULT_MEAN,
        seed: int = 0,
        progress: Callable[[str], None] | None = None,
        engine: str | None = None,
        precision: str | None = None,
    ) -> None:
        self.engine = (engine or (VLLM if tests is None else TGIS)).lower()
        if self.engine not in SERVED_BY:
            raise UsageError(f"engine is {engine!r}; allowed: {', '.join(SERVED_BY)}")
        if precision and self.engine == TGIS:
            raise UsageError(f"{TGIS} was measured in FP16 alone; cure: another engine than {TGIS}, or no precision")
        self.precision = find_precision(precision).name if precision else None
        self.tests = llm_pilot() if tests is None else tests
        self.mean, self.seed, self.progress = mean, seed, progress
        self._surrogates: dict[str, Surrogate] = {}

    def surrogate(self, without: str = "") -> Surrogate:
        """Trained without one model's rows; kept, so that another SLO trains nothing again."""
        key = without if without in self.tests.names else ""
        if key not in self._surrogates:
            tests = self.tests.without(key) if key else self.tests
            self._surrogates[key] = Surrogate(tests, self.mean, self.seed, self.progress)
        return self._surrogates[key]

    def source(self, model: str) -> Source:
        """What answers about a model, by its name."""
        if self.engine == TGIS:
            return LoadTestSource(self.surrogate(model))
        return self._served

    @cached_property
    def _served(self) -> Served:
        return Served(self.engine, self.precision, seed=self.seed)

    @cached_property
    def offers(self) -> Sequence[ServingOffer]:
        """What is chosen from where no offers are given: the bundled catalogue on demand; for ``tgis`` LLM-Pilot's profiles."""
        return paper_offers() if self.engine == TGIS else catalogue_offers()[0]

    def model(self, model: str | Path | ModelSpec) -> ModelSpec:
        """A model by name, by its ``config.json``, or as it is.

        Raises:
            UnknownNameError: neither a known name nor a file.
            DataError: the file lacks fields.
        """
        if isinstance(model, ModelSpec):
            return model
        text, known = str(model), {**measured_models()[0], **self.tests.models}
        if text in known:
            return known[text]
        short = [name for name in known if name.rpartition("/")[2].lower() == text.lower()]
        if len(short) == 1:
            return known[short[0]]
        path = Path(text).expanduser()
        if path.exists():
            return ModelSpec.load(path)
        if path.suffix == ".json":
            raise DataError(f"there is no config.json at {path}")
        raise UnknownNameError(
            "model", text, known, "Any other model is described by its config.json: give the file's path."
        )

    def advise(
        self,
        model: str | Path | ModelSpec,
        offers: Iterable[ServingOffer] | None,
        slos: Iterable[str | SLO],
        users: int,
        *,
        workload: RequestLengths | None = None,
        measurements: Iterable[LoadTest] = (),
        risk: str | float | None = None,
        unseen: bool = False,
        only_measured: bool | None = None,
        max_failure_rate: float | None = 0.01,
        loads: Sequence[int] | None = None,
        notes: Iterable[str] = (),
    ) -> Advisor:
        """The question behind `recommend`, to be asked again with more measurements."""
        spec, pilot = self.model(model), self.engine == TGIS
        asked_as_recorded = pilot and workload in (None, self.tests.workload)
        known = self.tests.of(spec.name) if asked_as_recorded and not unseen else []
        given = list(measurements)
        newer = {(t.profile.key, t.users) for t in given}
        known = [t for t in known if (t.profile.key, t.users) not in newer]
        return Advisor(
            self.source(spec.name),
            spec,
            self.offers if offers is None else offers,
            slos,
            users,
            workload=workload,
            measured=[*known, *given],
            risk=(MEDIAN if pilot else LIKELY) if risk is None else risk,
            loads=loads or (LOADS if pilot else ENGINE_LOADS),
            only_measured=bool(known) if only_measured is None else only_measured,
            max_failure_rate=max_failure_rate,
            notes=notes,
        )

    def recommend(
        self,
        model: str | Path | ModelSpec,
        offers: Iterable[ServingOffer] | None,
        slos: Iterable[str | SLO],
        users: int,
        **options: Any,
    ) -> Answer:
        """The answer to `advise`'s question; the options are the same."""
        return self.advise(model, offers, slos, users, **options).recommend()


@lru_cache(maxsize=8)
def _default(engine: str, precision: str | None) -> Recommender:
    return Recommender(engine=engine, precision=precision)


def recommend(
    model: str | Path | ModelSpec,
    offers: Iterable[ServingOffer] | None = None,
    workload: RequestLengths | None = None,
    slo: str | SLO | Iterable[str | SLO] = (),
    users: int = 0,
    measurements: Iterable[LoadTest] = (),
    *,
    engine: str = VLLM,
    precision: str | None = None,
    risk: str | float | None = None,
    unseen: bool = False,
    only_measured: bool | None = None,
    max_failure_rate: float | None = 0.01,
) -> Answer:
    """The cheapest machines that serve ``users`` concurrent users of a model within its SLOs.

    Args:
        model: a measured model's name, the path of a Hugging Face ``config.json``, or a `ModelSpec`.
        offers: what can be rented, e.g. `catalogue_offers`; by default all of the bundled catalogue on demand, and for ``tgis``
            LLM-Pilot's fourteen GPU profiles at its prices.
        workload: lengths of requests; by default 1,024 tokens in and 256 out, for ``tgis`` LLM-Pilot's (123 and 19).
        slo: one SLO or several, on any metric that is known: ``"ttft_ms<=500"``, ``"tpot_ms<=40"``. A throughput is the fleet's.
            Without one on failures, at most ``max_failure_rate`` more requests may fail than with a single user.
        users: concurrent users in all, each with one request in flight.
        measurements: load tests of this model, e.g. of `read_measurements`; they win over what is bundled. Those of another
            engine inform, and answer for nothing.
        engine: ``vllm``, ``sglang``, ``trtllm``; or ``tgis``, as LLM-Pilot measured it in 2023.
        precision: of the weights; by default the checkpoint's.
        risk: a probability with which the SLOs must be met; ``"likely"``, the default: 0.7, or the highest tenth below that any
            offer reaches; ``"median"``, the default of ``tgis``: 0.5; or ``"utility"``: the offer and number with the best
            expected utility, 1 − overspend where the SLOs are met, else 0.
        unseen: forget LLM-Pilot's rows of this model.
        only_measured: leave out offers on which the model was not measured; by default so where bundled rows of it are used.

    Returns:
        a ranked list; each entry says whether it was measured or predicted, and from what.

    Raises:
        UsageError: zero users, an SLO that contradicts itself, or a model too large for every offer.
        UnknownNameError: an unknown model, metric or GPU.
        DataError: a ``config.json`` without the needed fields, or measurements that contradict each other.
        MissingExtraError: ``tgis`` has to predict and scikit-learn is not installed.

    Source: the question and the fleet arithmetic are LLM-Pilot's (Lazuka et al., SC 2024, section IV); the surrogates are not.
    """
    slos = [slo] if isinstance(slo, str | SLO) else list(slo)
    return _default(engine, precision).recommend(
        model,
        offers,
        slos,
        users,
        workload=workload,
        measurements=measurements,
        risk=risk,
        unseen=unseen,
        only_measured=only_measured,
        max_failure_rate=max_failure_rate,
    )
