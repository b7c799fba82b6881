"""Optuna's tree-structured Parzen estimator (extra ``optuna``), hierarchical and de-duplicated.

Left alone on a finite space it asks again for what it has seen. So each suggestion is drawn up to 40 times, until it is a
config not tried yet; then a random one is taken.
The study behind it is built anew for each suggestion, from what was told, with a sampler seeded by the turn: resuming
is exact.
"""

from __future__ import annotations

from typing import Any

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import need
from cloudbandit.core.parameter import Parameter
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate, Value
from cloudbandit.optimizers.random_search import draw_unseen

_ARM = "arm"
_DRAWS = 40


class OptunaOptimizer(BaseOptimizer):
    """``optuna``: TPE with a tree of arms and parameters.

    Args:
        startup: random trials before the model is used; by default 10, or 3 in a domain of one arm.
    """

    objectives = "one"

    def __init__(self, problem: Problem, *, startup: int | None = None) -> None:
        super().__init__(problem)
        self._optuna = need("optuna", "optuna", "the optimizer optuna")
        self._startup = startup if startup is not None else (10 if len(problem.domain.names) > 1 else 3)
        self._paths = {"/".join(path): path for path in problem.domain.leaves}
        self._parameters = {p.name: p for p in problem.domain.parameters}
        self._distributions = {name: self._distribution(p) for name, p in self._parameters.items()}
        self._arms = self._optuna.distributions.CategoricalDistribution(list(self._paths))

    def _suggest(self) -> Candidate | None:
        listed = self.domain.enumerable
        free = {self.domain.candidates[i] for i in self.free} if listed else set()
        if listed and not free:
            return None
        if len(self.observations) + self._pending.total() < 1 or not self.observations:
            return self._draw(free) if listed else draw_unseen(self)
        study = self._study()
        taken = {*(o.candidate for o in self.observations), *self.pending}
        for _ in range(_DRAWS):
            candidate = self._candidate(study.ask())
            good = candidate in free if listed else candidate not in taken and candidate in self.domain
            if good and not self.rests(candidate):
                return candidate
        return self._draw(free) if listed else draw_unseen(self)

    def _draw(self, free: set[Candidate]) -> Candidate:
        options = sorted(free, key=lambda c: self.domain.index[c.key])
        return options[int(self.rng(self.turn, 5).integers(len(options)))]

    def _study(self) -> Any:
        """A study that knows every observation; what is in flight counts as bad as the worst (a constant liar)."""
        optuna = self._optuna
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            seed = int(self.rng(self.turn, 5).integers(2**31))
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self._startup)
            study = optuna.create_study(sampler=sampler)
        finally:
            optuna.logging.set_verbosity(verbosity)
        known = self.targets.losses.tolist()
        for o, loss in zip(self.observations, known, strict=True):
            study.add_trial(self._told(o.candidate, loss))
        for candidate in self.pending:
            study.add_trial(self._told(candidate, max(known)))
        return study

    def _told(self, candidate: Candidate, loss: float) -> Any:
        params: dict[str, Any] = {_ARM: "/".join(candidate.arm)}
        distributions: dict[str, Any] = {_ARM: self._arms}
        for name, value in candidate.config.items():
            params[f"p.{name}"] = self._encode(self._parameters[name], value)
            distributions[f"p.{name}"] = self._distributions[name]
        return self._optuna.trial.create_trial(params=params, distributions=distributions, value=loss)

    def _candidate(self, trial: Any) -> Candidate:
        """Define by run: the arm, then each parameter that is active given what was drawn before it."""
        path = self._paths[trial.suggest_categorical(_ARM, list(self._paths))]
        leaf = self.domain.leaves[path]
        config: dict[str, Value] = {}
        for p in leaf.parameters:
            if leaf.active(p.name, config):
                drawn = trial._suggest(f"p.{p.name}", self._distributions[p.name])
                config[p.name] = self._decode(self._parameters[p.name], drawn)
        return Candidate(path, config)

    def _distribution(self, p: Parameter) -> Any:
        d = self._optuna.distributions
        if p.finite:
            ordered = p.numeric or p.kind == "ordinal"
            return d.IntDistribution(0, len(p.values) - 1) if ordered else d.CategoricalDistribution(list(p.values))
        if p.kind == "int":
            return d.IntDistribution(int(p.low), int(p.high), log=p.log)
        return d.FloatDistribution(p.low, p.high, log=p.log)

    @staticmethod
    def _encode(p: Parameter, value: Value) -> Any:
        return p.values.index(value) if p.finite and (p.numeric or p.kind == "ordinal") else value

    @staticmethod
    def _decode(p: Parameter, drawn: Any) -> Value:
        value: Value = p.values[int(drawn)] if p.finite and (p.numeric or p.kind == "ordinal") else drawn
        return float(value) if p.kind == "float" and not p.finite else value
