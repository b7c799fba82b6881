"""SMAC3 (extra ``smac``): its random forest, expected improvement and search over a conditional ConfigSpace.

Each suggestion builds a facade, tells it everything and asks once: the facade keeps no state between suggestions, so
resuming is exact. In a domain that can be listed its acquisition function ranks the configs not tried yet; else its own
local and random search proposes.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from typing import Any

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import need
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate
from cloudbandit.optimizers.random_search import draw_nominal, draw_unseen

_MAX_SCORED = 2_000
_ARM = "cloudbandit_arm"


class SMACOptimizer(BaseOptimizer):
    """``smac``: the hyperparameter optimization facade.

    Args:
        initial: random points before the model is used; by default 5, or 2 in a domain of one arm.
        challengers: how many configs its own search looks at, where the domain cannot be listed.
    """

    objectives = "one"

    def __init__(self, problem: Problem, *, initial: int | None = None, challengers: int = 500) -> None:
        super().__init__(problem)
        need("smac", "smac", "the optimizer smac")
        from cloudbandit.core._configspace import FlatSpace

        self._initial = initial if initial is not None else (5 if len(problem.domain.names) > 1 else 2)
        self._challengers = challengers
        self._flat = FlatSpace(problem.domain, self._arm(), forbid=False)

    def _arm(self) -> str:
        """The arm parameter of a split ConfigSpace keeps its name, so that the split is undone and not nested."""
        from cloudbandit.core._configspace import Leaf

        fixed = {name for leaf in self.domain.leaves.values() if isinstance(leaf, Leaf) for name in leaf.fixed}
        return fixed.pop() if len(fixed) == 1 else _ARM

    def _suggest(self) -> Candidate | None:
        early = len(self.observations) + self._pending.total() < self._initial or not self.observations
        if not self.domain.enumerable:
            return draw_unseen(self) if early else self._ask_smac(None) or draw_unseen(self)
        free = self.free
        if not len(free):
            return None
        if early or len(free) == 1:
            return draw_nominal(self, free)
        if len(free) > _MAX_SCORED:
            free = np.sort(self.rng().choice(free, _MAX_SCORED, replace=False))
        return self._ask_smac([self.domain.candidates[i] for i in free])

    def _ask_smac(self, options: list[Candidate] | None) -> Candidate | None:
        """SMAC's next config: among ``options``, or anywhere; None where it has nothing new on an arm that works."""
        from smac import HyperparameterOptimizationFacade as Facade
        from smac import Scenario
        from smac.runhistory import TrialInfo, TrialValue

        logging.getLogger("smac").setLevel(logging.ERROR)
        seed = int(self.rng(self.turn, 4).integers(2**31))
        y = self.targets.losses
        known = [*(o.candidate for o in self.observations), *self.pending]
        y = np.append(y, np.full(len(known) - len(y), y.mean()))  # a constant liar for what is in flight
        configurations = [self._flat.configuration(c) for c in known]
        self._flat.space.seed(seed)
        with tempfile.TemporaryDirectory(prefix="cloudbandit-smac-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scenario = Scenario(
                self._flat.space, deterministic=True, n_trials=10_000, seed=seed, output_directory=folder
            )
            facade = Facade(
                scenario,
                _never_called,
                model=self._forest(scenario),
                initial_design=Facade.get_initial_design(scenario, n_configs=0, additional_configs=configurations[:1]),
                acquisition_maximizer=self._maximizer(scenario, options),
                overwrite=True,
                logging_level=False,
            )
            for configuration, cost in zip(configurations, y, strict=True):
                facade.tell(TrialInfo(configuration, seed=seed), TrialValue(cost=float(cost)), save=False)
            taken = set(known)
            for _ in range(10):
                candidate = self._flat.candidate(facade.ask().config)
                fits = options is None or candidate in options
                if fits and candidate not in taken and not self.rests(candidate):
                    return candidate
        return options[0] if options else None

    @staticmethod
    def _forest(scenario: Any) -> Any:
        """The facade's own forest, but on one core and with room for 4,096 leaves a tree: its default makes room for a million,
        and filling that memory takes far longer than growing ten trees on a few observations."""
        from smac.model.random_forest import RandomForest

        return RandomForest(
            scenario.configspace,
            log_y=True,
            n_trees=10,
            ratio_features=1.0,
            min_samples_split=2,
            min_samples_leaf=1,
            bootstrapping=True,
            max_leaf_nodes=2**12,
            seed=scenario.seed,
            n_jobs=1,
        )

    def _maximizer(self, scenario: Any, options: list[Candidate] | None) -> Any:
        from smac import HyperparameterOptimizationFacade as Facade
        from smac.acquisition.maximizer import AbstractAcquisitionMaximizer

        if options is None:
            return Facade.get_acquisition_maximizer(scenario, challengers=self._challengers)
        configurations = [self._flat.configuration(c) for c in options]

        class Listed(AbstractAcquisitionMaximizer):  # type: ignore[misc]
            """Ranks the configs not tried yet, and no others."""

            def _maximize(self, previous_configs: list[Any], n_points: int) -> list[tuple[float, Any]]:
                ranked: list[tuple[float, Any]] = self._sort_by_acquisition_value(list(configurations))
                return ranked

        return Listed(scenario.configspace, seed=scenario.seed)


def _never_called(config: Any, seed: int = 0) -> float:
    raise AssertionError("SMAC is asked and told; it evaluates nothing itself")
