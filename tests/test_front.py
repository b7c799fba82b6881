"""Fronts and hypervolumes, against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit.core.front import free_boxes, hypervolume, nondominated, reference_behind


def points(m):
    return st.lists(st.lists(st.integers(0, 6), min_size=m, max_size=m), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 3, 4]).flatmap(points))
def test_hypervolume_counts_the_unit_cells_that_are_dominated(values):
    m, worst = len(values[0]), 5
    cells = np.stack(np.meshgrid(*[np.arange(worst)] * m, indexing="ij"), -1).reshape(-1, m)
    dominated = (np.array(values)[:, None, :] <= cells[None, :, :]).all(-1).any(0)
    assert hypervolume(values, [worst] * m) == pytest.approx(dominated.sum())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 3]).flatmap(points))
def test_nondominated_is_what_no_other_beats(values):
    def beats(a, b):
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    assert nondominated(values).tolist() == [not any(beats(a, b) for a in values) for b in values]


def test_a_point_that_is_dominated_adds_nothing():
    assert hypervolume([[1, 1], [2, 2]], [3, 3]) == hypervolume([[1, 1]], [3, 3]) == 4
    assert hypervolume([[3, 0]], [3, 3]) == 0
    assert hypervolume(np.empty((0, 2)), [3, 3]) == 0


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 3, 4]).flatmap(points))
def test_free_boxes_and_what_is_dominated_fill_the_space(values):
    """Cell by unit cell: each that the reference bounds is dominated, or in exactly one box."""
    m, worst = len(values[0]), 5
    cells = np.stack(np.meshgrid(*[np.arange(worst)] * m, indexing="ij"), -1).reshape(-1, m)
    dominated = (np.array(values)[:, None, :] <= cells[None, :, :]).all(-1).any(0)
    lower, upper = free_boxes(values, [worst] * m)
    inside = (lower[:, None] <= cells) & (cells < upper[:, None])
    assert (inside.all(-1).sum(0) == ~dominated).all()
    assert len(lower) <= (len(values) + 1) ** (m - 1)


def test_without_points_everything_is_free():
    lower, upper = free_boxes(np.empty((0, 2)), [3.0, 4.0])
    assert lower.tolist() == [[-np.inf, -np.inf]]
    assert upper.tolist() == [[3.0, 4.0]]


def test_the_reference_lies_behind_the_worst():
    assert reference_behind([[0.0, 5.0], [10.0, 5.0]]).tolist() == [11.0, 6.0]


@pytest.mark.slow
def test_the_hypervolume_is_what_moocore_says():
    """The library of Fonseca, López-Ibáñez and others; ours needs no dependency and is exact too."""
    moocore = pytest.importorskip("moocore")
    rng = np.random.default_rng(0)
    for m in (2, 3, 4):
        for n in (1, 5, 20):
            values, reference = rng.random((n, m)), np.full(m, 0.9)
            assert hypervolume(values, reference) == pytest.approx(float(moocore.hypervolume(values, ref=reference)))
