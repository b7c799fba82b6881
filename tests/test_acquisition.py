"""Acquisition functions against sampling."""

from functools import partial

import numpy as np
import pytest

from cloudbandit.core.front import hypervolume, reference_behind
from cloudbandit.optimizers.acquisition import (
    expected_improvement,
    hypervolume_improvement,
    lower_confidence_bound,
    probability_below,
)
from cloudbandit.optimizers.gaussian_process import CandidateGP


def posteriors(count, seed=1):
    rng = np.random.default_rng(seed)
    model = CandidateGP(rng.random((15, 2)))
    for i in range(5):
        model.add(i)
    return [model.posterior(rng.normal(size=5)) for _ in range(count)]


def draws_of(p, candidate, n, rng):
    scale = rng.choice(len(p.weight), size=n, p=p.weight)
    return p.mean[scale, candidate] + p.sd[scale, candidate] * rng.normal(size=n)


def test_of_one_objective():
    (p,) = posteriors(1)
    draws = draws_of(p, 9, 200_000, np.random.default_rng(0))
    incumbent = float(np.median(draws))
    assert expected_improvement(p, incumbent)[9] == pytest.approx(np.maximum(incumbent - draws, 0).mean(), rel=0.02)
    assert probability_below(p, incumbent)[9] == pytest.approx((draws <= incumbent).mean(), abs=0.01)
    assert p.at(np.array([9, 3])).expected() == pytest.approx(p.expected()[[9, 3]])


@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_expected_hypervolume_improvement(m):
    rng = np.random.default_rng(m)
    several = posteriors(m)
    front = rng.normal(size=(4, m))
    reference = reference_behind(front)
    value = hypervolume_improvement([partial(expected_improvement, p) for p in several], front, reference)
    before = hypervolume(front, reference)
    for candidate in (7, 9):
        draws = np.column_stack([draws_of(p, candidate, 4_000, rng) for p in several])
        gained = [hypervolume(np.vstack([front, draw]), reference) - before for draw in draws]
        error = np.std(gained) / np.sqrt(len(gained))
        assert value[candidate] == pytest.approx(np.mean(gained), abs=4 * error)


def test_of_one_objective_it_is_the_expected_improvement():
    (p,) = posteriors(1)
    value = hypervolume_improvement([partial(expected_improvement, p)], np.array([[0.3], [0.1]]), np.array([1.0]))
    np.testing.assert_allclose(value, expected_improvement(p, 0.1))


def test_what_a_point_itself_would_gain():
    """Gains that are certain give the hypervolume improvement of the points themselves."""
    front, reference = np.array([[0.2, 0.8], [0.6, 0.3]]), np.array([1.0, 1.0])
    points = np.random.default_rng(0).random((30, 2))
    value = hypervolume_improvement([lambda c, x=x: np.maximum(c - x, 0.0) for x in points.T], front, reference)
    before = hypervolume(front, reference)
    wanted = [hypervolume(np.vstack([front, point]), reference) - before for point in points]
    np.testing.assert_allclose(value, wanted, atol=1e-12)


def test_the_bound_is_that_many_deviations_below_the_mean():
    (p,) = posteriors(1)
    np.testing.assert_allclose(lower_confidence_bound(p, 0.0), -p.expected())
    np.testing.assert_allclose(lower_confidence_bound(p, 2.0) + p.expected(), 2 * p.weight @ p.sd)
