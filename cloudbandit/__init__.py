"""Find the cheapest cloud, node or GPU configuration and engine setting that meets your SLOs, in few paid trials.

The names below are the public ones; they are loaded when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "compare": "api",
    "minimize": "api",
    "CloudBandit": "core.bandit",
    "BaseOptimizer": "core.base",
    "Budget": "core.budget",
    "LoadCurve": "core.curve",
    "CloudBanditError": "core.errors",
    "FleetGoal": "core.fleet",
    "SLO": "core.goal",
    "SLOGoal": "core.goal",
    "History": "core.known",
    "Listing": "core.listing",
    "Offer": "core.offer",
    "Threads": "core.pools",
    "Profit": "core.profit",
    "Objective": "core.protocols",
    "Optimizer": "core.protocols",
    "Problem": "core.protocols",
    "Quote": "core.protocols",
    "Report": "core.report",
    "Domain": "core.space",
    "Belief": "core.stop",
    "Store": "core.store",
    "Study": "core.study",
    "Candidate": "core.trial",
    "Observation": "core.trial",
    "Result": "core.trial",
    "Score": "core.trial",
    "Status": "core.trial",
    "Trial": "core.trial",
    # hardware for a model
    "Recorded": "tables.recorded",
    "Recommender": "recommend.recommender",
    "Advisor": "recommend.advisor",
    "RecordedSweeps": "recommend.study",
    "few_shot_factory": "recommend.study",
    "estimated_curves": "recommend.study",
    "RequestLengths": "surrogate.loads",
    "llm_pilot": "surrogate.loads",
    "read_measurements": "surrogate.loads",
    # what was measured
    "Point": "surrogate.points",
    "Points": "surrogate.points",
    "read_points": "surrogate.points_file",
    "write_points": "surrogate.points_file",
    "llm_pilot_points": "surrogate.points_known",
    "points_of_loads": "surrogate.points_known",
    "points_of_study": "surrogate.points_known",
    "silicon_points": "surrogate.points_known",
    "hold_against": "surrogate.question",
    "predict": "surrogate.question",
    "ModelSpec": "catalogue.models",
    "catalogue_offers": "catalogue.offers",
    "paper_offers": "catalogue.offers",
    # live studies
    "NoCapacity": "core.errors",
    "OpenVINO": "engines.openvino",
    "Transformers": "engines.transformers",
    "VLLM": "engines.vllm",
    "tune_capacity": "live.capacity",
    "remember": "live.memory",
    "LiveObjective": "live.objective",
    "Benchmark": "live.trial",
    "LocalProvider": "providers.local",
    "write_table": "tables.export",
    "Estimated": "objectives.estimated",
    "make_factory": "optimizers.registry",
    "Task": "replay.task",
    "load_table": "tables.registry",
    "Table": "tables.table",
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
    from cloudbandit.api import compare as compare
    from cloudbandit.api import minimize as minimize
    from cloudbandit.catalogue.models import ModelSpec as ModelSpec
    from cloudbandit.catalogue.offers import catalogue_offers as catalogue_offers
    from cloudbandit.catalogue.offers import paper_offers as paper_offers
    from cloudbandit.core.bandit import CloudBandit as CloudBandit
    from cloudbandit.core.base import BaseOptimizer as BaseOptimizer
    from cloudbandit.core.budget import Budget as Budget
    from cloudbandit.core.curve import LoadCurve as LoadCurve
    from cloudbandit.core.errors import CloudBanditError as CloudBanditError
    from cloudbandit.core.errors import NoCapacity as NoCapacity
    from cloudbandit.core.fleet import FleetGoal as FleetGoal
    from cloudbandit.core.goal import SLO as SLO
    from cloudbandit.core.goal import SLOGoal as SLOGoal
    from cloudbandit.core.known import History as History
    from cloudbandit.core.listing import Listing as Listing
    from cloudbandit.core.offer import Offer as Offer
    from cloudbandit.core.pools import Threads as Threads
    from cloudbandit.core.profit import Profit as Profit
    from cloudbandit.core.protocols import Objective as Objective
    from cloudbandit.core.protocols import Optimizer as Optimizer
    from cloudbandit.core.protocols import Problem as Problem
    from cloudbandit.core.protocols import Quote as Quote
    from cloudbandit.core.report import Report as Report
    from cloudbandit.core.space import Domain as Domain
    from cloudbandit.core.stop import Belief as Belief
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
    from cloudbandit.live.memory import remember as remember
    from cloudbandit.live.objective import LiveObjective as LiveObjective
    from cloudbandit.live.trial import Benchmark as Benchmark
    from cloudbandit.objectives.estimated import Estimated as Estimated
    from cloudbandit.optimizers.registry import make_factory as make_factory
    from cloudbandit.providers.local import LocalProvider as LocalProvider
    from cloudbandit.recommend.advisor import Advisor as Advisor
    from cloudbandit.recommend.recommender import Recommender as Recommender
    from cloudbandit.recommend.study import RecordedSweeps as RecordedSweeps
    from cloudbandit.recommend.study import estimated_curves as estimated_curves
    from cloudbandit.recommend.study import few_shot_factory as few_shot_factory
    from cloudbandit.replay.task import Task as Task
    from cloudbandit.surrogate.loads import RequestLengths as RequestLengths
    from cloudbandit.surrogate.loads import llm_pilot as llm_pilot
    from cloudbandit.surrogate.loads import read_measurements as read_measurements
    from cloudbandit.surrogate.points import Point as Point
    from cloudbandit.surrogate.points import Points as Points
    from cloudbandit.surrogate.points_file import read_points as read_points
    from cloudbandit.surrogate.points_file import write_points as write_points
    from cloudbandit.surrogate.points_known import llm_pilot_points as llm_pilot_points
    from cloudbandit.surrogate.points_known import points_of_loads as points_of_loads
    from cloudbandit.surrogate.points_known import points_of_study as points_of_study
    from cloudbandit.surrogate.points_known import silicon_points as silicon_points
    from cloudbandit.surrogate.question import hold_against as hold_against
    from cloudbandit.surrogate.question import predict as predict
    from cloudbandit.tables.export import write_table as write_table
    from cloudbandit.tables.recorded import Recorded as Recorded
    from cloudbandit.tables.registry import load_table as load_table
    from cloudbandit.tables.table import Table as Table
