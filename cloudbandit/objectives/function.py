"""A Python function as an objective: for research code."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
import time
from collections.abc import Callable, Mapping

from cloudbandit.core.errors import UsageError
from cloudbandit.core.known import Facts, no_facts
from cloudbandit.core.protocols import Quote, Run
from cloudbandit.core.trial import Candidate, Result, Trial

Function = Callable[[Candidate], "float | Mapping[str, float] | Result"]


class FunctionObjective:
    """Calls ``function(candidate)``.

    Args:
        function: returns a number (the metric ``metric``), a mapping of metrics, or a whole `Result`.
        metric: the name of a bare number.
        quote: the worst case per evaluation, if evaluations cost money.
        facts: what is known of a candidate free of charge.
    """

    def __init__(
        self, function: Function, metric: str = "value", quote: Quote | None = None, facts: Facts = no_facts
    ) -> None:
        self.function, self.metric, self.facts = function, metric, facts
        self._quote = quote or Quote()

    @property
    def identity(self) -> str | None:
        """A digest of the function's source without name, comments and layout; None where there is none to read. What the
        function calls or closes over is not part of it."""
        try:
            source = textwrap.dedent(inspect.getsource(self.function))
            tree = ast.parse(source)
        except (OSError, TypeError, SyntaxError):
            return None
        if isinstance(tree.body[0], ast.FunctionDef):
            tree.body[0].name = "function"
        return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]

    def quote(self, candidate: Candidate) -> Quote:
        return self._quote

    def evaluate(self, trial: Trial, run: Run) -> Result:
        began = time.perf_counter()
        value = self.function(trial.candidate)
        seconds = time.perf_counter() - began
        if isinstance(value, Result):
            return value
        if isinstance(value, Mapping):
            return Result(metrics={str(k): float(v) for k, v in value.items()}, seconds=seconds)
        try:
            return Result(metrics={self.metric: float(value)}, seconds=seconds)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the function returned {value!r} for {trial.candidate!r}; "
                "it must return a finite number, a mapping of finite numbers, or a Result"
            ) from error
