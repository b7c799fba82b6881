"""Find the cheapest cloud, node or GPU configuration and engine setting that meets your SLOs, in few paid trials.

The names below are the public ones; they are loaded when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "minimize": "api",
    "CloudBandit": "bandit",
    "BaseOptimizer": "base",
    "Budget": "budget",
    "CloudBanditError": "errors",
    "SLO": "goal",
    "SLOGoal": "goal",
    "Objective": "protocols",
    "Optimizer": "protocols",
    "Problem": "protocols",
    "Quote": "protocols",
    "make_factory": "optimizers.registry",
    "Domain": "space",
    "Listing": "space",
    "Store": "store",
    "Report": "study",
    "Study": "study",
    "load_table": "tables.registry",
    "Candidate": "trial",
    "Observation": "trial",
    "Result": "trial",
    "Score": "trial",
    "Status": "trial",
    "Trial": "trial",
}

__all__ = sorted([*_WHERE, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from cloudbandit.api import minimize as minimize
    from cloudbandit.bandit import CloudBandit as CloudBandit
    from cloudbandit.base import BaseOptimizer as BaseOptimizer
    from cloudbandit.budget import Budget as Budget
    from cloudbandit.errors import CloudBanditError as CloudBanditError
    from cloudbandit.goal import SLO as SLO
    from cloudbandit.goal import SLOGoal as SLOGoal
    from cloudbandit.optimizers.registry import make_factory as make_factory
    from cloudbandit.protocols import Objective as Objective
    from cloudbandit.protocols import Optimizer as Optimizer
    from cloudbandit.protocols import Problem as Problem
    from cloudbandit.protocols import Quote as Quote
    from cloudbandit.space import Domain as Domain
    from cloudbandit.space import Listing as Listing
    from cloudbandit.store import Store as Store
    from cloudbandit.study import Report as Report
    from cloudbandit.study import Study as Study
    from cloudbandit.tables.registry import load_table as load_table
    from cloudbandit.trial import Candidate as Candidate
    from cloudbandit.trial import Observation as Observation
    from cloudbandit.trial import Result as Result
    from cloudbandit.trial import Score as Score
    from cloudbandit.trial import Status as Status
    from cloudbandit.trial import Trial as Trial
