"""The laws as tests, for authors of optimizers (see docs/laws.md), and simulated engines to try them on."""

from cloudbandit.testing.engines import SimulatedEngine, memory_engine, queueing_engine, recorded
from cloudbandit.testing.optimizers import OptimizerLaws
from cloudbandit.testing.problems import drive, listed_problem, sampled_problem, toy_value

__all__ = [
    "OptimizerLaws",
    "SimulatedEngine",
    "drive",
    "listed_problem",
    "memory_engine",
    "queueing_engine",
    "recorded",
    "sampled_problem",
    "toy_value",
]
