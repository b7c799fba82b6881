"""Fronts and hypervolumes, against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit.core.front import hypervolume, nondominated


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
