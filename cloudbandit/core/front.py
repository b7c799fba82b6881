"""Several objectives at once: which points no other beats, and how much they dominate together. Smaller is better throughout."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = np.ndarray[Any, np.dtype[np.float64]]


def nondominated(values: npt.ArrayLike) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which points no other point beats: none is at most as large in every objective and smaller in one.

    Args:
        values: ``(n, m)``, finite. Of equal points all are kept.

    Returns:
        shape ``(n,)``.
    """
    points = np.atleast_2d(np.asarray(values, float))
    no_larger = (points[:, None, :] <= points[None, :, :]).all(-1)
    smaller = (points[:, None, :] < points[None, :, :]).any(-1)
    return np.asarray(~(no_larger & smaller).any(0))


def hypervolume(values: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """The volume that the points dominate and that dominates the reference (Zitzler & Thiele, PPSN 1998), exact.

    Args:
        values: ``(n, m)``, finite; points that do not beat the reference in every objective count for nothing.
        reference: ``(m,)``.

    By slicing along the last objective (While et al., IEEE TEC 10(1), 2006): O(nᵐ⁻¹) for the few points of a study.
    """
    worst = np.asarray(reference, float)
    points = np.asarray(values, float).reshape(-1, len(worst))
    points = points[(points < worst).all(1)]
    return _volume(points, worst) if len(points) else 0.0


def _volume(points: Array, reference: Array) -> float:
    if len(reference) == 1:
        return float(reference[0] - points.min())
    order = points[np.argsort(points[:, -1], kind="stable")]
    heights = np.append(order[1:, -1], reference[-1]) - order[:, -1]
    if len(reference) == 2:  # every slice is an interval: the running minimum
        widths = reference[0] - np.minimum.accumulate(order[:, 0])
        return float(widths @ heights)
    return float(
        sum(_volume(order[: i + 1, :-1], reference[:-1]) * height for i, height in enumerate(heights) if height > 0)
    )


def reference_behind(values: npt.ArrayLike) -> Array:
    """The reference point where nobody gave one, ``(m,)``: in each objective a tenth of the range behind the worst value;
    1 behind it where all are equal.

    Args:
        values: ``(n, m)``, finite; n ≥ 1.
    """
    points = np.asarray(values, float)
    worst, spread = points.max(axis=0), np.ptp(points, axis=0)
    return np.asarray(worst + np.where(spread > 0, 0.1 * spread, 1.0))


def free_boxes(values: npt.ArrayLike, reference: npt.ArrayLike) -> tuple[Array, Array]:
    """What dominates the reference and no point dominates, as boxes that do not overlap.

    By slicing along the last objective: between one point's and the next's, what is free is free of the points below, in the
    other objectives. Of two objectives that is a box a point, and one more.

    Args:
        values: ``(n, m)``, finite; n ≥ 0.
        reference: ``(m,)``, finite.

    Returns:
        Lower ends (some −∞) and upper ends of b boxes, each ``(b, m)``.
    """
    worst = np.asarray(reference, float)
    points = np.asarray(values, float).reshape(-1, len(worst))
    boxes = _free(points[(points < worst).all(1)], tuple(worst.tolist()))
    return np.array([low for low, _ in boxes]), np.array([high for _, high in boxes])


def _free(points: Array, worst: tuple[float, ...]) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Lower and upper end of each box."""
    if len(worst) == 1:
        return [((-np.inf,), (float(points.min(initial=worst[0])),))]
    if len(points):
        points = points[nondominated(points)]
    edges = np.unique(points[:, -1]).tolist()
    out = []
    for start, end in zip([-np.inf, *edges], [*edges, worst[-1]], strict=True):
        below = _free(points[points[:, -1] <= start][:, :-1], worst[:-1])
        out += [((*low, start), (*high, end)) for low, high in below]
    return out
