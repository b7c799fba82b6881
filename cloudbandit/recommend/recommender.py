"""`recommend`: the cheapest machines that serve a model within its SLOs, measured before or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.catalogue.offers import ServingOffer, paper_offers
from cloudbandit.core.errors import DataError, UnknownNameError
from cloudbandit.core.goal import SLO
from cloudbandit.recommend.advisor import Advisor
from cloudbandit.recommend.answer import Answer
from cloudbandit.surrogate.loads import LOADS, LoadTest, LoadTests, RequestLengths, llm_pilot
from cloudbandit.surrogate.model import DEFAULT_MEAN, Surrogate


class Recommender:
    """Load tests of several models, and surrogates trained on them when they are needed.

    Args:
        tests: by default the bundled ones of LLM-Pilot.
        mean: the point model, see `means.MEANS`; several are averaged.
        seed: determines everything.
        progress: called with a text before each fit.
    """

    def __init__(
        self,
        tests: LoadTests | None = None,
        *,
        mean: str = DEFAULT_MEAN,
        seed: int = 0,
        progress: Callable[[str], None] | None = None,
    ) -> None:
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

    def model(self, model: str | Path | ModelSpec) -> ModelSpec:
        """A model by name, by its ``config.json``, or as it is.

        Raises:
            UnknownNameError: neither a known name nor a file.
            DataError: the file lacks fields.
        """
        if isinstance(model, ModelSpec):
            return model
        text = str(model)
        if text in self.tests.models:
            return self.tests.models[text]
        short = [name for name in self.tests.models if name.rpartition("/")[2].lower() == text.lower()]
        if len(short) == 1:
            return self.tests.models[short[0]]
        path = Path(text).expanduser()
        if path.exists():
            return ModelSpec.load(path)
        if path.suffix == ".json":
            raise DataError(f"there is no config.json at {path}")
        raise UnknownNameError(
            "model", text, self.tests.models, "Any other model is described by its config.json: give the file's path."
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
        risk: str | float = "median",
        unseen: bool = False,
        only_measured: bool | None = None,
        max_failure_rate: float | None = 0.01,
        loads: Sequence[int] = LOADS,
        notes: Iterable[str] = (),
    ) -> Advisor:
        """The question behind `recommend`, to be asked again with more measurements."""
        spec = self.model(model)
        known = [] if unseen or (workload not in (None, self.tests.workload)) else self.tests.of(spec.name)
        given = list(measurements)
        newer = {(t.profile.key, t.users) for t in given}
        known = [t for t in known if (t.profile.key, t.users) not in newer]
        return Advisor(
            self.surrogate(spec.name),
            spec,
            paper_offers() if offers is None else offers,
            slos,
            users,
            workload=workload,
            measured=[*known, *given],
            risk=risk,
            loads=loads,
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


@lru_cache(maxsize=1)
def _default() -> Recommender:
    return Recommender()


def recommend(
    model: str | Path | ModelSpec,
    offers: Iterable[ServingOffer] | None = None,
    workload: RequestLengths | None = None,
    slo: str | SLO | Iterable[str | SLO] = (),
    users: int = 0,
    measurements: Iterable[LoadTest] = (),
    *,
    risk: str | float = "median",
    unseen: bool = False,
    only_measured: bool | None = None,
    max_failure_rate: float | None = 0.01,
) -> Answer:
    """The cheapest machines that serve ``users`` concurrent users of a model within its SLOs.

    Args:
        model: a name among the bundled load tests, the path of a Hugging Face ``config.json``, or a `ModelSpec`.
        offers: what can be rented, e.g. `catalogue_offers`; by default LLM-Pilot's fourteen GPU profiles at its prices.
        workload: lengths of requests; by default LLM-Pilot's (123 tokens in and 19 out on average).
        slo: one SLO or several, on any metric of `loads.METRICS`: ``"nttft_ms<=100"``, ``"itl_p95_ms<=80"``. A throughput is the
            fleet's. Without one on failures, at most ``max_failure_rate`` more requests may fail than with a single user.
        users: concurrent users in all, each with one request in flight.
        measurements: load tests of this model, e.g. of `read_measurements`; they win over what is bundled.
        risk: ``"median"``; a probability with which the SLOs must be met; or ``"utility"``: the offer and number with the best
            expected utility, 1 − overspend where the SLOs are met, else 0.
        unseen: forget every bundled row of this model.
        only_measured: leave out offers on which the model was not measured; by default so where bundled rows of it are used.

    Returns:
        a ranked list; each entry says whether it was measured or predicted.

    Raises:
        UsageError: zero users, an SLO that contradicts itself, or a model too large for every offer.
        UnknownNameError: an unknown model, metric or GPU.
        DataError: a ``config.json`` without the needed fields, or measurements that contradict each other.
        MissingExtraError: a prediction is needed and scikit-learn is not installed.

    Source: the question and the fleet arithmetic are LLM-Pilot's (Lazuka et al., SC 2024, section IV); the surrogate is not.
    """
    slos = [slo] if isinstance(slo, str | SLO) else list(slo)
    return _default().recommend(
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
