"""How much of a front is found, against laws and against brute force."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cloudbandit import Table, Task
from cloudbandit.core.errors import TableError, UsageError
from cloudbandit.replay.front import TrueFront

positive = st.floats(0.01, 100, allow_subnormal=False)
points = st.integers(1, 3).flatmap(lambda m: st.lists(st.tuples(*[positive] * m), min_size=1, max_size=12))


def signs_of(values):
    return (1.0,) * len(values[0])


@given(points, st.data())
def test_a_share_grows_with_what_is_found_up_to_the_whole(values, data):
    front = TrueFront(values, signs_of(values))
    some = data.draw(st.lists(st.sampled_from(values), max_size=8))
    more = [*some, *data.draw(st.lists(st.sampled_from(values), max_size=4))]
    assert 0 <= front.share(some) <= front.share(more) + 1e-12
    assert front.share(values) == pytest.approx(1)
    assert front.share([v for v, kept in zip(values, front.mask, strict=True) if kept]) == pytest.approx(1)
    assert front.share([]) == 0
    assert all(front.share([v]) > 0 for v in values), "the extremes count too"


@given(points, st.data())
def test_units_change_nothing_and_more_of_a_rate_is_less_of_its_inverse(values, data):
    some = data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=5))
    front = TrueFront(values, signs_of(values))
    share = front.share(some)
    other = np.array(values) * 1e3
    assert TrueFront(other, signs_of(values)).share(np.array(some) * 1e3) == pytest.approx(share, abs=1e-9)
    maximised = TrueFront(1 / np.array(values), [-1.0] * len(values[0]))
    assert maximised.share(1 / np.array(some)) == pytest.approx(share, abs=1e-9)


def test_a_share_by_hand():
    """Range 4 in both, so the reference is (4.04, 4.04) on a linear scale, where one value is not positive."""
    values = [(0, 4), (4, 0), (2, 2), (3, 3)]
    front = TrueFront(values, (1, 1))
    assert front.mask.tolist() == [True, True, True, False]
    whole = 2 * (4.04 * 0.04) - 0.04**2 + (2.04**2 - 2 * 2.04 * 0.04 + 0.04**2)
    assert front.share([(2, 2)]) == pytest.approx(2.04**2 / whole)
    assert front.share([(3, 3)]) == pytest.approx(1.04**2 / whole)
    assert TrueFront([(1.0, 2.0)], (1, -1)).share([(1.0, 2.0)]) == 1, "all alike: any point is the whole"


def table_of(rows):
    frame = pd.DataFrame(rows, columns=["cloud", "latency_ms", "speed", "ok"]).assign(n=range(len(rows)))
    return frame, Table.from_frame(frame, arm="cloud", metrics=["latency_ms", "speed"], status="ok")


runs = st.tuples(
    st.sampled_from("xy"), st.integers(1, 9), st.integers(1, 9), st.sampled_from([True, True, True, True, False])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(runs, min_size=1, max_size=14))
def test_the_true_front_by_brute_force(rows):
    frame, table = table_of(rows)
    good = frame[frame.ok & (frame.latency_ms <= 7)]
    assume(len(good))
    task = Task(table, "all", "latency_ms", ["latency_ms<=7"], maximize="speed")
    wanted = {
        (float(x), float(y))
        for x, y in zip(good.latency_ms, good.speed, strict=True)
        if not any((u <= x and v >= y) and (u, v) != (x, y) for u, v in zip(good.latency_ms, good.speed, strict=True))
    }
    found = [(m["latency_ms"], m["speed"]) for m in (task.objective.true_result(c).metrics for c in task.front)]
    assert found == sorted(wanted)
    report = task.replay("exhaustive", 99)
    assert {(o.result.metrics["latency_ms"], o.result.metrics["speed"]) for o in report.front} == wanted
    assert task.hypervolume_share(report.observations) == pytest.approx(1)
    assert task.front_points(report.observations) == len(wanted)
    first = report.observations[:1]
    assert task.front_points(first) in (0, 1)
    assert 0 <= task.hypervolume_share(first) <= 1


def test_a_front_has_no_optimum_and_an_optimum_needs_something_feasible():
    _, table = table_of([("x", 5, 3, True), ("y", 2, 1, True)])
    both = Task(table, "all", "latency_ms", maximize="speed")
    for ask in ("values", "optimum", "best_value", "random_regret_percent"):
        with pytest.raises(UsageError, match="of one objective, and the task has latency_ms, speed; cure: front"):
            getattr(both, ask)
    with pytest.raises(TableError, match="meets latency_ms<=1; cure: a looser SLO"):
        _ = Task(table, "all", "latency_ms", ("latency_ms<=1",), maximize="speed").front
