"""SageServe's hourly program, as published, and the same with quotas.

Source: SageServe (arXiv 2502.14617; POMACS 9(3), 2025). Decide for every model i, region j and GPU type k by how many instances δ
the fleet changes,

    min  Σ α_k·δ_ijk + Σ σ_ik·max(0, δ_ijk)
    s.t. n_ijk + δ_ijk ≥ 0
         Σ_k (n_ijk + δ_ijk)·θ_ik ≥ ε·max_w ρ_ij(w)        for every i, j: a fraction is served where it arises
         Σ_jk (n_ijk + δ_ijk)·θ_ik ≥ max_w Σ_j ρ_ij(w)      for every i: all of it is served somewhere

with α the price of an instance, σ what its start costs, θ its throughput, ρ the forecast load of a window w of the next hour.
The gap is told of the whole fleet's cost, Σ α·(n + δ) + Σ σ·max(0, δ), not of the change's alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import UsageError, need
from cloudbandit.plan.solve import GAP, SECONDS, Outcome, relative_gap, solve

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SageServe:
    """An instance of the program.

    Args:
        running: (models, regions, gpus) instances n.
        load: (models, regions, windows) forecast ρ.
        theta: (models, gpus) load one instance serves, > 0.
        alpha: (gpus,) price of an instance.
        sigma: (models, gpus) what a start costs.
        local: ε, the share of a region's load that is served there.
        quotas: (regions, gpus) instances at most over all models; None: no limit, as published.

    Raises:
        UsageError: shapes that do not fit, numbers that are negative or not finite, or a share that is none.
    """

    running: Ints
    load: Floats
    theta: Floats
    alpha: Floats
    sigma: Floats
    local: float = 0.8
    quotas: Floats | None = None

    def __post_init__(self) -> None:
        models, regions, gpus = np.shape(self.running)
        shapes = {"theta": (models, gpus), "alpha": (gpus,), "sigma": (models, gpus)}
        for name, shape in shapes.items():
            if np.shape(getattr(self, name)) != shape:
                raise UsageError(f"{name} has the shape {np.shape(getattr(self, name))}; by running it must be {shape}")
        if np.shape(self.load)[:2] != (models, regions) or np.ndim(self.load) != 3:
            raise UsageError(f"load has the shape {np.shape(self.load)}; it must be ({models}, {regions}, windows)")
        if self.quotas is not None and np.shape(self.quotas) != (regions, gpus):
            raise UsageError(f"quotas has the shape {np.shape(self.quotas)}; it must be ({regions}, {gpus})")
        if not 0 <= self.local <= 1:
            raise UsageError(f"local is {self.local!r}; it must be a share from 0 to 1")
        for name in ("running", "load", "theta", "alpha", "sigma"):
            values = np.asarray(getattr(self, name), float)
            if not (np.isfinite(values).all() and (values >= 0).all()) or (name == "theta" and not values.all()):
                raise UsageError(
                    f"{name} must hold finite numbers ≥ 0{', and none may be 0' if name == 'theta' else ''}"
                )

    @property
    def local_need(self) -> Floats:
        """(models, regions): what must be served where it arises."""
        return np.asarray(self.local * self.load.max(2))

    @property
    def global_need(self) -> Floats:
        """(models,): what must be served somewhere."""
        return np.asarray(self.load.sum(1).max(1))

    def cost(self, fleet: Ints) -> float:
        """Of a whole fleet (models, regions, gpus): instances and starts."""
        started = np.maximum(0, fleet - self.running)
        return float((self.alpha * fleet).sum() + (self.sigma[:, None, :] * started).sum())

    def change(self, fleet: Ints) -> float:
        """The published objective: of the change δ."""
        return self.cost(fleet) - float((self.alpha * self.running).sum())

    def broken(self, fleet: Ints) -> list[str]:
        """What a fleet breaks, by other code than the program's; empty: nothing."""
        out = ["a fleet has less than 0 instances"] if (fleet < 0).any() else []
        for i in range(len(self.running)):
            served = [sum(int(n) * float(t) for n, t in zip(row, self.theta[i], strict=True)) for row in fleet[i]]
            for j, has in enumerate(served):
                wanted = self.local * max(float(v) for v in self.load[i, j])
                if has < wanted * (1 - 1e-9) - 1e-9:
                    out.append(f"model {i} in region {j}: {has:g} of {wanted:g}")
            wanted = max(float(self.load[i, :, w].sum()) for w in range(self.load.shape[2]))
            if sum(served) < wanted * (1 - 1e-9) - 1e-9:
                out.append(f"model {i}: {sum(served):g} of {wanted:g}")
        if self.quotas is not None:
            used = fleet.sum(0)
            out += [
                f"region {j}, GPU {k}: {used[j, k]} of {self.quotas[j, k]:g}"
                for j, k in np.argwhere(used > self.quotas)
            ]
        return out


@dataclass(frozen=True)
class SageServePlan:
    """What to change.

    Args:
        fleet: (models, regions, gpus) instances; None: there is no plan.
        cost, bound, gap: of the whole fleet; the published objective is ``cost`` less a constant.
    """

    outcome: Outcome
    fleet: Ints | None
    cost: float = math.nan
    bound: float = math.nan
    gap: float = math.inf
    cpu_s: float = field(default=0.0, compare=False)


def solve_sageserve(problem: SageServe, gap: float = GAP, seconds: float = SECONDS, seed: int = 0) -> SageServePlan:
    """The cheapest change, to a gap.

    With one GPU type and no quota there is a closed form, and nothing is solved; without quotas models are solved one by one.

    Raises:
        MissingExtraError: linopy or highspy is not installed.
        AssertionError: the solver's fleet breaks a constraint: a bug.
    """
    models = len(problem.running)
    if problem.quotas is None and problem.running.shape[2] == 1:
        fleet = closed_form(problem)
        cost = problem.cost(fleet)
        return SageServePlan(Outcome.OPTIMAL, fleet, cost, cost, 0.0)
    together = [slice(None)] if problem.quotas is not None else [slice(i, i + 1) for i in range(models)]
    fleet, bound, cpu = np.zeros_like(problem.running, np.int64), 0.0, 0.0
    for part in together:
        model, x = _program(problem, part)
        found = solve(model, gap, seconds / len(together), seed)
        cpu += found.cpu_s
        if not found.outcome.has_plan:
            return SageServePlan(found.outcome, None, bound=bound + found.bound, cpu_s=cpu)
        fleet[part] = np.round(found.of(x)).astype(np.int64)
        bound += found.bound
    wrong = problem.broken(fleet)
    assert not wrong, wrong
    cost = problem.cost(fleet)
    left = relative_gap(cost, bound)
    outcome = (
        Outcome.OPTIMAL if left <= 1e-9 else Outcome.WITHIN_GAP if left <= gap * (1 + 1e-6) else Outcome.BEYOND_GAP
    )
    return SageServePlan(outcome, fleet, cost, bound, left, cpu)


def _program(problem: SageServe, part: slice) -> tuple[Any, Any]:
    linopy = need("linopy", "plan", "planning")
    import pandas as pd
    import xarray as xr

    linopy.options["semantics"] = "v1"
    running = problem.running[part]
    model, region, gpu = (
        pd.Index(range(n), name=name) for n, name in zip(running.shape, ("model", "region", "gpu"), strict=True)
    )

    def array(values: Any, *axes: Any) -> Any:
        return xr.DataArray(np.asarray(values, float), coords=list(axes))

    m = linopy.Model()
    x = m.add_variables(lower=0, integer=True, coords=[model, region, gpu], name="instances")
    started = m.add_variables(lower=0, coords=[model, region, gpu], name="started")
    m.add_constraints(1 * started - 1 * x >= -array(running, model, region, gpu), name="starts")
    served = array(problem.theta[part], model, gpu) * x
    m.add_constraints(served.sum("gpu") >= array(problem.local_need[part], model, region), name="local")
    m.add_constraints(served.sum(["region", "gpu"]) >= array(problem.global_need[part], model), name="global")
    if problem.quotas is not None:
        m.add_constraints((1 * x).sum("model") <= array(problem.quotas, region, gpu), name="quotas")
    cost = array(problem.alpha, gpu) * x
    m.add_objective(cost.sum() + (array(problem.sigma[part], model, gpu) * started).sum())
    return m, x


def closed_form(problem: SageServe) -> Ints:
    """The optimum for one GPU type without quotas: each region rounds its own need up; what is missing of the whole is kept from
    what runs beyond that, before anything new is started.

    Raises:
        UsageError: several GPU types, or quotas.
    """
    if problem.running.shape[2] != 1 or problem.quotas is not None:
        raise UsageError("the closed form is for one GPU type without quotas")
    theta = problem.theta[:, 0]
    running = problem.running[:, :, 0]
    fleet = np.ceil(problem.local_need / theta[:, None] * (1 - 1e-12)).astype(np.int64)
    for i, wanted in enumerate(np.ceil(problem.global_need / theta * (1 - 1e-12)).astype(np.int64)):
        lacking = int(wanted - fleet[i].sum())
        for j in range(fleet.shape[1]):
            kept = min(max(lacking, 0), max(int(running[i, j] - fleet[i, j]), 0))
            fleet[i, j] += kept
            lacking -= kept
        fleet[i, 0] += max(lacking, 0)
    return fleet[:, :, None]
