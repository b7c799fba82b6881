"""The laws as tests, for authors of optimizers: see docs/laws.md."""

from cloudbandit.testing.optimizers import OptimizerLaws
from cloudbandit.testing.problems import drive, listed_problem, sampled_problem, toy_value

__all__ = ["OptimizerLaws", "drive", "listed_problem", "sampled_problem", "toy_value"]
