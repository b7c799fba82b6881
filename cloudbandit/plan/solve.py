"""Solving a program with HiGHS: status, bound and gap are always read."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import need

Floats = npt.NDArray[np.float64]
GAP = 1e-3
"""Relative to the whole cost."""
SECONDS = 60.0


class Outcome(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    WITHIN_GAP = "within gap"
    BEYOND_GAP = "stopped beyond the gap"
    NO_PLAN = "stopped without a plan"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"

    @property
    def has_plan(self) -> bool:
        return self in (Outcome.OPTIMAL, Outcome.WITHIN_GAP, Outcome.BEYOND_GAP)


@dataclass(frozen=True)
class Solution:
    """What the solver says.

    Args:
        outcome: how it ended; values count only where it has a plan.
        objective, bound: in USD, with what is constant; NaN where there is none.
        gap: (objective − bound) / objective; infinite where there is no plan.
        values: of every variable, by the program's labels.
        cpu_s: processor time of the solve.
    """

    outcome: Outcome
    objective: float = math.nan
    bound: float = math.nan
    gap: float = math.inf
    values: Floats = field(default_factory=lambda: np.zeros(0), repr=False)
    cpu_s: float = 0.0

    def of(self, variable: Any) -> Floats:
        """The values of one variable of the program, in its shape."""
        out: Floats = self.values[variable.labels.values]
        return out


def solve(
    model: Any, gap: float = GAP, seconds: float = SECONDS, seed: int = 0, start: Floats | None = None
) -> Solution:
    """Minimise a linopy model; one with whole numbers from its relaxation rounded up, where that is feasible.

    Args:
        gap: at which to stop, relative to the objective.
        seconds: of wall time, at which to stop whatever was found.
        seed: of the solver.

    Raises:
        MissingExtraError: highspy is not installed.
        RuntimeError: the solver failed: a bug, not an answer.
    """
    highspy = need("highspy", "plan", "planning")
    matrices = model.matrices
    lp = highspy.HighsLp()
    rows = matrices.A.tocsr() if matrices.A is not None else None
    n, m = len(matrices.vlabels), 0 if rows is None else rows.shape[0]
    lp.num_col_, lp.num_row_ = n, m
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.asarray(matrices.c, float), matrices.lb, matrices.ub
    whole = np.isin(matrices.vtypes, ["I", "B"])
    if rows is not None:
        lp.row_lower_ = np.where(matrices.sense == "<", -np.inf, matrices.b)
        lp.row_upper_ = np.where(matrices.sense == ">", np.inf, matrices.b)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = rows.indptr, rows.indices, rows.data

    class Quiet(highspy.Highs):  # type: ignore[misc, name-defined]
        """Prints no banner: that comes with the callbacks, before an option can be set."""

        def enableCallbacks(self) -> None:
            self.setOptionValue("output_flag", False)
            super().enableCallbacks()

    h = Quiet()
    for name, value in (
        ("output_flag", False),
        ("threads", 1),
        ("random_seed", seed),
        ("time_limit", float(seconds)),
        ("mip_rel_gap", gap),
    ):
        h.setOptionValue(name, value)
    began = time.process_time()
    start = _rounded_up(highspy, h, lp, whole) if whole.any() else None
    if whole.any():
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(w)] for w in whole]
    if h.passModel(lp) == highspy.HighsStatus.kError:
        raise RuntimeError("the solver refused the program")
    if start is not None:
        h.setSolution(int(whole.sum()), np.flatnonzero(whole).astype(np.int32), start)
    if h.run() == highspy.HighsStatus.kError:
        raise RuntimeError(f"the solver failed: {h.modelStatusToString(h.getModelStatus())}")
    if h.getModelStatus() == highspy.HighsModelStatus.kUnboundedOrInfeasible:  # presolve stops there: which of them?
        h.setOptionValue("presolve", "off")
        h.clearSolver()
        h.run()
    took = time.process_time() - began
    return _read(highspy, h, bool(whole.any()), np.asarray(matrices.vlabels), gap, took)


def _rounded_up(highspy: Any, h: Any, lp: Any, whole: Any) -> Any:
    """The whole numbers above the relaxation's; None where it has no solution."""
    h.passModel(lp)
    h.run()
    if h.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return np.ceil(np.asarray(h.getSolution().col_value)[whole] - 1e-6)


def _read(highspy: Any, h: Any, mip: bool, labels: Any, gap: float, cpu_s: float) -> Solution:
    """A time limit is no error to the solver, and its infinite objective is a number: so each is looked at."""
    status, info, kinds = h.getModelStatus(), h.getInfo(), highspy.HighsModelStatus
    if status == kinds.kInfeasible:
        return Solution(Outcome.INFEASIBLE, cpu_s=cpu_s)
    if status == kinds.kUnbounded:
        return Solution(Outcome.UNBOUNDED, cpu_s=cpu_s)
    objective = float(info.objective_function_value)
    bound = float(info.mip_dual_bound) if mip else objective if status == kinds.kOptimal else -math.inf
    feasible = info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
    if not (feasible and math.isfinite(objective)):
        return Solution(Outcome.NO_PLAN, bound=bound, cpu_s=cpu_s)
    values = np.full(int(labels.max(initial=-1)) + 1, np.nan)
    values[labels] = np.asarray(h.getSolution().col_value)
    left = relative_gap(objective, bound)
    outcome = (
        Outcome.OPTIMAL if left <= 1e-9 else Outcome.WITHIN_GAP if left <= gap * (1 + 1e-6) else Outcome.BEYOND_GAP
    )
    return Solution(outcome, objective, bound, left, values, cpu_s)


def relative_gap(objective: float, bound: float) -> float:
    """(objective − bound) / |objective|; 0 where both are the same, infinite without a bound."""
    if not (math.isfinite(objective) and math.isfinite(bound)):
        return math.inf
    return max(0.0, objective - bound) / max(abs(objective), 1e-9) if objective != bound else 0.0
