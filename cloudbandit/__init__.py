"""Find the cheapest cloud, node or GPU configuration and engine setting that meets your SLOs, in few paid trials.

The names below are the public ones; they are loaded when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "minimize": "api",
    "CloudBandit": "core.bandit",
    "BaseOptimizer": "core.base",
    "Budget": "core.budget",
    "CloudBanditError": "core.errors",
    "SLO": "core.goal",
    "SLOGoal": "core.goal",
    "Objective": "core.protocols",
    "Optimizer": "core.protocols",
    "Problem": "core.protocols",
    "Quote": "core.protocols",
    "make_factory": "optimizers.registry",
    "Domain": "core.space",
    "Listing": "core.listing",
    "Store": "core.store",
    "Report": "core.report",
    "Study": "core.study",
    "load_table": "tables.registry",
    "Candidate": "core.trial",
    "Observation": "core.trial",
    "Result": "core.trial",
    "Score": "core.trial",
    "Status": "core.trial",
    "Trial": "core.trial",
    # live studies
    "NoCapacity": "core.errors",
    "OpenVINO": "engines.openvino",
    "Transformers": "engines.transformers",
    "VLLM": "engines.vllm",
    "tune_capacity": "live.capacity",
    "LiveObjective": "live.objective",
    "Benchmark": "live.trial",
    "LocalProvider": "providers.local",
    "write_table": "tables.export",
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
    from cloudbandit.core.bandit import CloudBandit as CloudBandit
    from cloudbandit.core.base import BaseOptimizer as BaseOptimizer
    from cloudbandit.core.budget import Budget as Budget
    from cloudbandit.core.errors import CloudBanditError as CloudBanditError
    from cloudbandit.core.errors import NoCapacity as NoCapacity
    from cloudbandit.core.goal import SLO as SLO
    from cloudbandit.core.goal import SLOGoal as SLOGoal
    from cloudbandit.core.listing import Listing as Listing
    from cloudbandit.core.protocols import Objective as Objective
    from cloudbandit.core.protocols import Optimizer as Optimizer
    from cloudbandit.core.protocols import Problem as Problem
    from cloudbandit.core.protocols import Quote as Quote
    from cloudbandit.core.report import Report as Report
    from cloudbandit.core.space import Domain as Domain
    from cloudbandit.core.store import Store as Store
    from cloudbandit.core.study import Study as Study
    from cloudbandit.core.trial import Candidate as Candidate
    from cloudbandit.core.trial import Observation as Observation
    from cloudbandit.core.trial import Result as Result
    from cloudbandit.core.trial import Score as Score
    from cloudbandit.core.trial import Status as Status
    from cloudbandit.core.trial import Trial as Trial
    from cloudbandit.engines.openvino import OpenVINO as OpenVINO
    from cloudbandit.engines.transformers import Transformers as Transformers
    from cloudbandit.engines.vllm import VLLM as VLLM
    from cloudbandit.live.capacity import tune_capacity as tune_capacity
    from cloudbandit.live.objective import LiveObjective as LiveObjective
    from cloudbandit.live.trial import Benchmark as Benchmark
    from cloudbandit.optimizers.registry import make_factory as make_factory
    from cloudbandit.providers.local import LocalProvider as LocalProvider
    from cloudbandit.tables.export import write_table as write_table
    from cloudbandit.tables.registry import load_table as load_table
