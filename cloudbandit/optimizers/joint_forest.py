"""``joint-forest``: `joint`, and a forest that learns which configs serve: the model of `cloudbandit.tune`.

Settings of an engine crash in boxes (one thread, a batch below the longest prompt), which a smooth model is slow to see, and
violate SLOs by jumps. A forest sees boxes early; so the probability that a config serves is
the product of both opinions (a product of experts: Hinton, Neural Computation 14(8), 2002), up to a factor that does not matter
among candidates. The forest's opinion is drawn towards the share that served, by half a trial. A trial that was cut short
as hopeless counts as one that did not serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cloudbandit.core.errors import need
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate
from cloudbandit.optimizers.columns import Columns
from cloudbandit.optimizers.joint import Joint
from cloudbandit.optimizers.outlook import Field, JointModel, Outlook

Array = np.ndarray[Any, np.dtype[np.float64]]

_TREES = 24
_PRIOR_WEIGHT = 0.5  # of the share that served, in trials


class ForestModel(JointModel):
    """A `JointModel` whose ``meets`` a forest has its say in."""

    _grown: tuple[int, Any] = (-1, None)

    def outlook(self, field: Field, chosen: Any, pending: Sequence[Candidate] = ()) -> Outlook:
        """See `JointModel.outlook`."""
        found = super().outlook(field, chosen, pending)
        served = found.known.feasible.astype(float)
        if served.all() or not served.any():
            return found
        if self._grown[0] != len(served):
            features = np.vstack([point.features for point in self._points])
            ensemble = need("sklearn.ensemble", "tune", "the optimizer joint-forest")
            trees = ensemble.ExtraTreesRegressor(_TREES, bootstrap=True, random_state=0, n_jobs=1)
            self._grown = len(served), trees.fit(features, served)
        said = self._grown[1].predict(field.points.features[chosen])
        drawn = (said * len(served) + _PRIOR_WEIGHT * served.mean()) / (len(served) + _PRIOR_WEIGHT)
        return replace(found, meets=found.meets * drawn)


class JointForest(Joint):
    """See the module's text.

    Args:
        initial: as of `Joint`, by default 2: where settings crash, waiting for a third random one that serves costs many trials.
    """

    def __init__(self, problem: Problem, *, initial: int = 2) -> None:
        super().__init__(problem, initial=initial)
        need("sklearn.ensemble", "tune", "the optimizer joint-forest")
        columns: Columns = self._model.columns
        self._model = ForestModel(problem, columns, len(self.domain) if self._listed else 1_000)

    def predicted(self) -> tuple[Sequence[Candidate], Array]:
        """What the model expects of the first objective, on its modelled scale, over the domain (of one that is not listed: over
        512 draws): candidates and ``(N,)``. Something must have been measured."""
        listed = self.domain.enumerable
        some = self.domain.candidates if listed else self.domain.sample(np.random.default_rng(0), 512)
        field = self._whole if listed else self._model.field(some)
        outlook = self._model.outlook(field, np.arange(len(some)))
        return some, outlook.objectives[0].expected()
