"""Objectives: what turns a trial into a result."""

from cloudbandit.objectives.function import FunctionObjective
from cloudbandit.objectives.recorded import Recorded

__all__ = ["FunctionObjective", "Recorded"]
