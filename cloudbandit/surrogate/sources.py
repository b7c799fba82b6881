"""The bundled constants with every source that is at hand: where ``aiconfigurator-core`` is installed, its estimates too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from cloudbandit.surrogate.deployment import Deployment
from cloudbandit.surrogate.formula import Floats
from cloudbandit.surrogate.serving import Serving, bundled_serving
from cloudbandit.surrogate.silicon import EXTRA, installed, silicon_times


@lru_cache(maxsize=1)
def serving_at_hand() -> Serving:
    """`bundled_serving`, which asks ``aiconfigurator-core`` too where that is installed. An answer to a new question takes some
    milliseconds more per load; asked again it is remembered."""
    serving = bundled_serving()
    return replace(serving, estimates=_log_times) if installed() else serving


def _log_times(rows: Sequence[tuple[Deployment, float]]) -> Floats:
    return np.asarray(np.log(silicon_times(rows)))


def what_was_asked(serving: Serving, rows: Sequence[tuple[Deployment, float]]) -> str:
    """What the second source said to a question about one deployment, for its ``source``."""
    if serving.estimates is None or serving.opinion is None:
        return f"by the formula alone (aiconfigurator-core is not installed; cure: pip install 'cloudbandit[{EXTRA}]')"
    engine = rows[0][0].engine
    trust = serving.opinion.trust(engine)
    if not trust.weight:
        return f"by the formula alone (aiconfigurator-core's estimates for {engine} made no prediction better)"
    answered = int(np.isfinite(serving.estimates(rows)[:, 0]).sum())
    if not answered:
        return "by the formula alone (aiconfigurator-core has no estimate of this)"
    told = "" if answered == len(rows) else f" for {answered} of {len(rows)} loads"
    return (
        f"by the formula, and the time per token{told} by aiconfigurator-core at weight {trust.weight:.2f} "
        f"(typical error of its estimates for {engine}: {100 * np.expm1(trust.spread):.0f} %)"
    )
