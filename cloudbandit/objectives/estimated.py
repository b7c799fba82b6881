"""Estimates as an objective: nothing is rented, and nothing that comes out is called measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cloudbandit.core.known import Facts, no_facts
from cloudbandit.core.protocols import Quote, Run
from cloudbandit.core.trial import Candidate, Result, Status, Trial

Predict = Callable[[Candidate], "Mapping[str, float] | Sequence[Mapping[str, float]] | Result | None"]


class Estimated:
    """Asks ``predict`` instead of a machine; every result's source is ``"estimated"``.

    Args:
        predict: candidate → metrics; or a row per load (the last one's metrics are the trial's); or a whole `Result`; or None
            where it has no estimate, e.g. because the model does not fit: the trial fails with reason ``no_estimate``.
        quote: what one trial would cost if it were real, for budgets in USD; by default nothing.
        facts: known of a candidate free of charge; those that are numbers are among the metrics too.
    """

    def __init__(
        self,
        predict: Predict,
        quote: Callable[[Candidate], Quote] | None = None,
        facts: Facts = no_facts,
    ) -> None:
        self.predict, self._quote, self.facts = predict, quote, facts

    def quote(self, candidate: Candidate) -> Quote:
        return Quote() if self._quote is None else self._quote(candidate)

    def evaluate(self, trial: Trial, run: Run) -> Result:
        told = self.predict(trial.candidate)
        quote = self.quote(trial.candidate)
        if isinstance(told, Result):
            return replace(told, source="estimated")
        if told is None:
            return Result(Status.FAILED, reason="no_estimate", source="estimated")
        rows = [dict(told)] if isinstance(told, Mapping) else [dict(row) for row in told]
        facts = {k: v for k, v in self.facts(trial.candidate).items() if not isinstance(v, str)}
        return Result(
            metrics={**facts, **rows[-1]},
            rows=[] if isinstance(told, Mapping) else rows,
            spent_usd=quote.usd,
            seconds=quote.seconds,
            source="estimated",
        )
