"""HyperOpt's tree-structured Parzen estimator (extra ``hyperopt``), hierarchical and de-duplicated.

As `cloudbandit.optimizers.optuna_tpe`: the trials behind it are built anew from what was told, with a seed of the turn, so
resuming is exact; a suggestion that was tried, or is not in the space, is drawn again.

Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011.
"""

from __future__ import annotations

import logging
from typing import Any

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import need
from cloudbandit.core.parameter import Parameter
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate, Value
from cloudbandit.optimizers.random_search import draw_unseen

_ARM = "arm"
_DRAWS = 25


class HyperoptOptimizer(BaseOptimizer):
    """``hyperopt``: TPE over a choice of arms, each with its own parameters.

    Args:
        startup: random trials before the model is used; by default 10, or 3 in a domain of one arm.
    """

    objectives = "one"

    def __init__(self, problem: Problem, *, startup: int | None = None) -> None:
        super().__init__(problem)
        self._hyperopt = need("hyperopt", "hyperopt", "the optimizer hyperopt")
        logging.getLogger("hyperopt").setLevel(logging.ERROR)
        self._startup = startup if startup is not None else (10 if len(problem.domain.names) > 1 else 3)
        self._paths = list(problem.domain.leaves)
        self._space = self._make_space()
        base = need("hyperopt.base", "hyperopt", "the optimizer hyperopt")
        self._domain = base.Domain(lambda _: 0.0, self._space, pass_expr_memo_ctrl=False)

    def _label(self, arm: int, p: Parameter) -> str:
        return f"{arm}.{p.name}"

    def _make_space(self) -> Any:
        hp = self._hyperopt.hp
        options = []
        for i, path in enumerate(self._paths):
            entry: dict[str, Any] = {"arm": i}
            for p in self.domain.leaves[path].parameters:
                label = self._label(i, p)
                if p.finite:
                    entry[p.name] = hp.randint(label, len(p.values))
                elif p.log:
                    entry[p.name] = hp.loguniform(label, *_logs(p))
                else:
                    entry[p.name] = hp.uniform(label, p.low, p.high)
            options.append(entry)
        return hp.choice(_ARM, options)

    def _suggest(self) -> Candidate | None:
        listed = self.domain.enumerable
        free = {self.domain.candidates[i] for i in self.free} if listed else set()
        if listed and not free:
            return None
        if not self.observations or len(self.observations) + self._pending.total() < self._startup:
            return self._draw(free) if listed else draw_unseen(self)
        trials = self._trials()
        taken = {*(o.candidate for o in self.observations), *self.pending}
        seeds = self.rng(self.turn, 8).integers(2**31, size=_DRAWS)
        for seed in seeds.tolist():
            documents = self._hyperopt.tpe.suggest(
                [len(trials.trials)], self._domain, trials, seed, n_startup_jobs=0, verbose=False
            )
            candidate = self._candidate(documents[0]["misc"]["vals"])
            good = candidate in free if listed else candidate not in taken and candidate in self.domain
            if good and not self.rests(candidate):
                return candidate
        return self._draw(free) if listed else draw_unseen(self)

    def _draw(self, free: set[Candidate]) -> Candidate:
        options = sorted(free, key=lambda c: self.domain.index[c.key])
        weights = self.domain.draw_weights[[self.domain.index[c.key] for c in options]]
        return options[int(self.rng(self.turn, 9).choice(len(options), p=weights / weights.sum()))]

    def _trials(self) -> Any:
        known = self.targets.losses.tolist()
        pairs = [*zip((o.candidate for o in self.observations), known, strict=True)]
        pairs += [(candidate, max(known)) for candidate in self.pending]  # a constant liar
        labels = list(self._domain.params)
        documents = []
        for tid, (candidate, loss) in enumerate(pairs):
            values = self._values(candidate)
            misc = {
                "tid": tid,
                "cmd": self._domain.cmd,
                "workdir": None,
                "idxs": {label: [tid] if label in values else [] for label in labels},
                "vals": {label: [values[label]] if label in values else [] for label in labels},
            }
            documents.append(
                {
                    "tid": tid,
                    "spec": None,
                    "result": {"status": "ok", "loss": loss},
                    "misc": misc,
                    "state": 2,
                    "owner": None,
                    "book_time": None,
                    "refresh_time": None,
                    "exp_key": None,
                    "version": 0,
                }
            )
        trials = self._hyperopt.Trials()
        trials.insert_trial_docs(documents)
        trials.refresh()
        return trials

    def _values(self, candidate: Candidate) -> dict[str, Any]:
        arm = self._paths.index(candidate.arm)
        out: dict[str, Any] = {_ARM: arm}
        for p in self.domain.leaves[candidate.arm].parameters:
            value = candidate.config.get(p.name)
            if p.finite:  # an inactive parameter has some value in HyperOpt's tree: the first
                out[self._label(arm, p)] = 0 if value is None else p.values.index(value)
            else:
                out[self._label(arm, p)] = p.low if value is None else float(value)
        return out

    def _candidate(self, vals: dict[str, list[Any]]) -> Candidate:
        arm = int(vals[_ARM][0])
        path = self._paths[arm]
        leaf = self.domain.leaves[path]
        config: dict[str, Value] = {}
        for p in leaf.parameters:
            if leaf.active(p.name, config):
                drawn = vals[self._label(arm, p)][0]
                value = p.values[int(drawn)] if p.finite else float(drawn)
                config[p.name] = round(value) if p.kind == "int" and isinstance(value, float) else value
        return Candidate(path, config)


def _logs(p: Parameter) -> tuple[float, float]:
    import math

    return math.log(p.low), math.log(p.high)
