"""SageServe's program: equal to its closed form, to brute force, and in tune with its limits."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("linopy")
pytest.importorskip("highspy")

from cloudbandit.core.errors import UsageError
from cloudbandit.plan.sageserve import SageServe, closed_form, solve_sageserve
from cloudbandit.plan.solve import Outcome


def instance(seed, models=2, regions=2, gpus=1, **options):
    rng = np.random.default_rng(seed)
    return SageServe(
        rng.integers(0, 4, (models, regions, gpus)),
        rng.uniform(0, 30, (models, regions, 3)),
        rng.uniform(5, 15, (models, gpus)),
        rng.uniform(1, 10, gpus),
        rng.uniform(0, 3, (models, gpus)),
        **options,
    )


def by_looking(problem, most):
    """The least cost over every fleet of at most so many instances per cell."""
    shape, best = problem.running.shape, np.inf
    for cells in itertools.product(range(most + 1), repeat=problem.running.size):
        fleet = np.array(cells).reshape(shape)
        if not problem.broken(fleet):
            best = min(best, problem.cost(fleet))
    return best


def test_closed_form_is_the_optimum():
    for seed in range(6):
        problem = instance(seed, models=1)
        fleet = closed_form(problem)
        assert not problem.broken(fleet)
        assert problem.cost(fleet) == pytest.approx(by_looking(problem, 9))
        assert solve_sageserve(problem).cost == problem.cost(fleet)


@pytest.mark.slow
def test_the_program_is_the_optimum_and_equals_the_closed_form():
    for seed in range(4):
        problem = instance(seed, models=1, gpus=2)
        found = solve_sageserve(problem, 1e-9)
        assert found.outcome is Outcome.OPTIMAL
        assert found.cost == pytest.approx(by_looking(problem, 6))
    for seed in range(3):
        problem = instance(seed, models=3, regions=4)
        loose = replace(problem, quotas=np.full((4, 1), 1e3))
        assert solve_sageserve(loose, 1e-9).cost == pytest.approx(solve_sageserve(problem).cost)


def test_quotas_and_shares_only_cost():
    problem = instance(3, models=2, regions=2, gpus=1)
    free = solve_sageserve(problem)
    used = free.fleet.sum(0)
    tight = solve_sageserve(replace(problem, quotas=used - np.array([[0], [1]])), 1e-9)
    assert not tight.outcome.has_plan or tight.cost >= free.cost - 1e-9
    assert solve_sageserve(replace(problem, local=1.0)).cost >= solve_sageserve(replace(problem, local=0.5)).cost
    none = solve_sageserve(replace(problem, quotas=np.zeros((2, 1))))
    assert (none.outcome, none.fleet) == (Outcome.INFEASIBLE, None)


def test_what_does_not_fit_is_refused():
    problem = instance(0)
    for name, value in (
        ("theta", np.ones((9, 9))),
        ("load", np.ones((2, 2))),
        ("local", 2.0),
        ("alpha", np.array([-1.0])),
    ):
        with pytest.raises(UsageError, match=name):
            replace(problem, **{name: value})
    with pytest.raises(UsageError, match="closed form"):
        closed_form(instance(0, gpus=2))
