"""What people see of a study: the summary, the frame, the picture, the counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit import Report, Result, SLOGoal, Status, make_factory, minimize
from cloudbandit.core.report import tally
from cloudbandit.testing.problems import listed_problem, observe


def _report(results, goal=None, **more):
    """One trial per result, on configs of a listed problem."""
    problem = listed_problem(0, goal or SLOGoal("cost_usd"))
    seen = [observe(problem, problem.domain.candidates[i], i, lambda c, n, r=r: r) for i, r in enumerate(results)]
    return Report(problem.goal, seen, "trials", 1.5, 10.0, **more)


OK = Result(metrics={"cost_usd": 2.0, "ttft_ms": 9.0})
FAILED = Result(Status.FAILED, reason="out_of_memory")
AWAY = Result(Status.UNAVAILABLE, reason="no_capacity")


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([], "0 run, 0 failed"),
        ([OK, OK], "2 run, 0 failed"),
        ([OK, FAILED, Result(Status.TIMEOUT)], "3 run, 2 failed (out_of_memory, timeout)"),
        ([Result(Status.FAILED)] * 3, "3 run, 3 failed"),
        ([AWAY] * 3, "3 run, 0 failed, 3 given back (no_capacity)"),
    ],
)
def test_trials_are_counted_in_one_sense(results, said):
    report = _report(results)
    assert tally(report.observations) == said
    assert said in str(report)
    assert said in repr(report)


def test_a_printed_report_is_short_and_says_what_was_found():
    dear = Result(metrics={"cost_usd": 7.0, "ttft_ms": 3.0})
    report = _report([OK, dear, FAILED], SLOGoal("cost_usd", ("ttft_ms<=5",)), restored=2)
    assert str(report).splitlines() == [
        "best        a: disk=ssd, nodes=2  →  ttft_ms 3, cost_usd 7",
        "trials      3 run, 1 failed (out_of_memory) (2 of them from the store)",
        "spent       1.5 USD, 10 s",
        "stopped by  trials",
    ]
    assert "\n" not in repr(report)
    nothing = str(_report([OK], SLOGoal("cost_usd", ("ttft_ms<=5",)), stop_note="that is all", overrun_usd=0.25))
    for said in ("none: no trial met ttft_ms<=5", "nearest miss", "trials: that is all", "0.25 USD beyond"):
        assert said in nothing
    assert "none: no trial succeeded" in str(_report([FAILED]))
    assert "none: no trial succeeded" in str(_report([]))


def test_a_front_is_summed_up_and_maximised_metrics_keep_their_sign():
    results = [Result(metrics={"cost_usd": float(i), "speed": 10.0 * i}) for i in range(1, 9)]
    text = str(_report(results, SLOGoal("cost_usd", maximize="speed")))
    assert "8 trials that no other beats in cost_usd, speed" in text
    assert "cost_usd 1, speed 10" in text
    assert "and 3 more" in text


def test_a_notebook_shows_a_table_and_nothing_unescaped():
    report = minimize(lambda c: 1.0, {"<b>": [{"x": "<script>"}]}, 1, optimizer="exhaustive")
    html = report._repr_html_()
    assert html.startswith("<table>")
    assert "every trial" in html
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert "<b>" not in html


OWN = ["trial", "arm", "status", "feasible", "reason", "spent_usd", "hosts_usd", "seconds", "source"]
NAMES = st.sampled_from([*OWN, "cost_usd", "param.nodes", "metric.seconds", "metric.metric.seconds", "nodes", "x"])


@given(st.dictionaries(NAMES, st.floats(-9, 9), min_size=1))
@settings(deadline=None)
def test_a_frame_never_writes_over_a_column(metrics):
    report = _report([Result(metrics={"cost_usd": 1.0, **metrics}, seconds=77.0)])
    (row,) = report.to_frame().to_dict("records")
    assert row["seconds"] == 77.0
    assert row["status"] == "ok"
    assert (row["arm"], row["param.nodes"]) == ("a", 2)
    assert len(row) == len(OWN) + len(report.observations[0].result.metrics) + 2
    for name, value in metrics.items():
        plain = name not in OWN and not name.startswith(("metric.", "param."))
        assert row[name if plain else f"metric.{name}"] == value


def test_a_report_draws_itself(tmp_path):
    pytest.importorskip("matplotlib")
    report = _report([OK, FAILED], SLOGoal("cost_usd", ("ttft_ms<=5",)))
    assert report.plot()._repr_png_()[:4] == b"\x89PNG"
    assert report.plot(tmp_path / "r.svg") is None
    assert "<svg" in (tmp_path / "r.svg").read_text()


@pytest.mark.parametrize("name", ["random-wor", "gp", "cloudbandit:random-wor"])
def test_an_optimizer_is_told_one_or_several(name):
    problem = listed_problem(3)
    one, several = (make_factory(name, 20)(problem) for _ in range(2))
    for number in range(6):
        asked = one.ask()
        assert asked == several.ask()
        observation = observe(problem, asked[0], number)
        one.tell(observation)
        several.tell([observation])
    assert np.array_equal(one.ask(3), several.ask(3))
