"""Figures: what they show is data, tested without drawing; that they draw is tested once each."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbandit import SLO, Result, SLOGoal, Status, Task, load_table, minimize
from cloudbandit.core.metrics import DICTIONARY, title
from cloudbandit.optimizers.registry import BUILT_IN, all_names
from cloudbandit.replay.compare import compare_rows
from cloudbandit.report import bill
from cloudbandit.report.compare_plot import plot_compare, plot_ranks, plot_savings
from cloudbandit.report.comparison import below_zero, curves, ranks, savings
from cloudbandit.report.figure import slo_title, spread
from cloudbandit.report.front_plot import shares, true_front
from cloudbandit.report.plots import plot_replay, plot_study
from cloudbandit.report.points import NOT_COUNTED, SEVERAL, points, verdict, verdicts, without
from cloudbandit.report.scatter import shape
from cloudbandit.report.styles import arm_colour, styles

PNG = b"\x89PNG"
NAMES = sorted({*all_names(), *(f"cloudbandit:{name}" for name in BUILT_IN)})


# ── names ──


def test_every_metric_has_a_title_of_its_own():
    assert all(metric.title for metric in DICTIONARY.values())
    assert len({metric.title for metric in DICTIONARY.values()}) == len(DICTIONARY)


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("ttft_ms", "time to first token, median [ms]"),
        ("ttft_p50_ms", "time to first token, median [ms]"),
        ("itl_p95_ms", "inter-token latency, 95th percentile [ms]"),
        ("e2e_mean_ms", "end-to-end latency, mean [ms]"),
        ("usd_per_h", "price of the fleet [USD/h]"),
        ("failure_rate", "failed requests [share of all]"),
        ("tiles_per_s", "tiles_per_s"),
    ],
)
def test_axes_have_names_and_units(metric, says):
    assert title(metric) == says


def test_an_slo_in_words():
    assert slo_title(SLO.parse("ttft_p95_ms<=500")) == "time to first token, 95th percentile ≤ 500 ms"
    assert slo_title(SLO.parse("output_tok_per_s>=2000")) == "output throughput ≥ 2000 tok/s"
    assert slo_title(SLO.parse("failure_rate<=0.01")) == "failed requests ≤ 0.01"


# ── colours ──


def _as_seen(colour, blind):
    """CIE Lab of a colour as a person sees it to whom one kind of cone is missing (Machado et al. 2009, severity 1)."""
    kinds = {
        "": np.eye(3),
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
    }
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(kinds[blind] @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz / (0.9505, 1.0, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_no_colour_twice_among_the_built_in_methods():
    looks = styles(NAMES)
    assert len({look.colour for look in looks.values()}) == len(NAMES) >= 2 * len(BUILT_IN)


@pytest.mark.parametrize("blind", ["", "protanopia", "deuteranopia"])
def test_methods_with_like_colours_differ_in_marker_or_line(blind):
    looks = styles(NAMES)
    seen = {name: _as_seen(look.colour, blind) for name, look in looks.items()}
    for a, b in itertools.combinations(NAMES, 2):
        rest = [(k.marker, k.line, k.filled) for k in (looks[a], looks[b])]
        assert rest[0] != rest[1] or np.linalg.norm(seen[a] - seen[b]) > 12, (a, b)


@pytest.mark.parametrize("blind", ["", "protanopia", "deuteranopia"])
def test_seven_arms_are_told_apart_by_anyone(blind):
    seen = [_as_seen(arm_colour(i), blind) for i in range(7)]
    assert all(np.linalg.norm(a - b) > 12 for a, b in itertools.combinations(seen, 2))


def test_a_method_looks_the_same_in_every_figure():
    assert styles(["gp", "mine.py:A"])["gp"] == styles(["random", "smac", "gp"])["gp"]
    mine = styles([f"mine.py:C{i}" for i in range(20)])
    assert len(set(mine.values())) == 20
    wrapped = styles(["cloudbandit:gp", "gp", "linear"])
    assert [look.line for look in wrapped.values()] == ["-", "--", ":"]


# ── a study ──

GOAL = SLOGoal("cost_usd", ("ttft_ms<=100", "tpot_ms<=10"))
TOLD = {  # x → ttft, tpot
    0: (50, 5),
    1: (200, 5),
    2: (50, 20),
    3: (200, 20),
    4: None,
}


def _measured(c):
    told = TOLD[c["x"]]
    if told is None:
        return Result(Status.FAILED, reason="out_of_memory")
    return {"cost_usd": 10.0 - c["x"], "ttft_ms": told[0], "tpot_ms": told[1]}


@pytest.fixture(scope="module")
def report():
    configs = {"a": [{"x": 0}, {"x": 1}], "b": [{"x": 2}, {"x": 3}, {"x": 4}]}
    return minimize(_measured, configs, budget=5, optimizer="exhaustive", goal=GOAL)


def test_a_violating_point_says_which_slo(report):
    said = {p.values[0]: p.verdict for p in points(report, GOAL, ["cost_usd", "ttft_ms"])}
    assert said == {
        10.0: "",
        9.0: "violates time to first token, median ≤ 100 ms",
        8.0: "violates time per output token, median ≤ 10 ms",
        7.0: SEVERAL,
    }
    found = points(report, GOAL, ["cost_usd"])
    shapes = [shape(text, GOAL.slos) for text in verdicts(found, GOAL.slos)]
    assert len(set(shapes)) == 4, "each has a marker of its own"


def test_failed_trials_are_counted_and_not_placed(report):
    failed = [n for n, o in enumerate(report.observations, start=1) if o.result.status is Status.FAILED]
    assert without(report, ["cost_usd"]) == failed
    assert len(points(report, GOAL, ["cost_usd"])) + len(failed) == len(report.observations)


def test_what_ran_under_no_slo_and_is_no_answer():
    o = SimpleNamespace(score=SimpleNamespace(feasible=False), result=SimpleNamespace(metrics={"cost_usd": 1.0}))
    assert verdict(o, []) == NOT_COUNTED


def test_a_study_is_drawn(report, tmp_path):
    plot_study(report, GOAL, ["a", "b"], "a study", tmp_path / "s.png", {"the best": 1.0})
    plot_study(report, SLOGoal("cost_usd"), ["a", "b"], "no SLO", tmp_path / "t.svg")
    assert (tmp_path / "s.png").read_bytes()[:4] == PNG
    svg = (tmp_path / "t.svg").read_text()
    assert "cost of a run [USD]" in svg
    assert "cost_usd" not in svg


# ── a front ──


def test_the_front_that_is_drawn_is_the_tables(tmp_path):
    task = Task(load_table("llm-serving"), "qwen3-32b|rag|2000tok|spot", ("usd_per_h", "ttft_ms"))
    found = task.replay("random-wor", 22)
    true = true_front(task)
    assert len(true) == len(task.front)
    assert true == sorted(true)
    assert [y for _, y in true] == sorted((y for _, y in true), reverse=True)
    so_far = shares(task, found)
    assert len(so_far) == found.evaluations
    assert so_far == sorted(so_far)
    assert so_far[-1] == pytest.approx(task.hypervolume_share(found.observations))
    plot_replay(task, found, "a front", tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:4] == PNG


# ── a comparison ──


@pytest.fixture(scope="module")
def rows():
    names = ["random", "random-wor", "cloudbandit:random"]
    return compare_rows(
        "llm-serving", "usd_per_h", names, [6, 11], 3, workloads=list(load_table("llm-serving").workloads[:3])
    )


def test_curves_are_the_rows(rows):
    found = curves(rows)
    assert [c.mean[0] for c in found] == sorted(c.mean[0] for c in found), "the legend is in the order of the left end"
    for row in rows:
        (curve,) = [c for c in found if c.optimizer == row.optimizer]
        at = curve.budgets.index(row.budget)
        assert (curve.mean[at], curve.low[at], curve.high[at]) == (row.mean_regret_percent, *row.ci95)


def test_savings_have_the_interval_of_their_mean(rows):
    bars = savings(rows, 11)
    assert [b.value for b in bars] == sorted((b.value for b in bars), reverse=True)
    assert len(bars) == 3
    for bar in bars:
        assert bar.interval[0] <= bar.value <= bar.interval[1]
        assert bar.interval[0] < bar.interval[1]


def test_nothing_is_saved_by_a_maximised_metric():
    workloads = list(load_table("llm-serving").workloads[:1])
    found = compare_rows("llm-serving", (), ["random"], 3, 2, maximize="output_tok_per_s", workloads=workloads)
    assert found[0].savings_ci95 is None
    assert savings(found, 3) == []


def test_ranks_are_at_the_smallest_budget(rows):
    found = ranks(rows, 3)
    assert found.budget == 6
    assert found.within(found.bars[0])
    assert sum(b.value for b in found.bars) == pytest.approx(6.0), "1 + 2 + 3"


def test_a_regret_below_zero_is_explained(rows):
    assert below_zero(rows) == ""
    from dataclasses import replace

    assert "charged" in below_zero([replace(rows[0], mean_regret_percent=-0.2)])


def test_a_comparison_is_drawn(rows, tmp_path):
    plot_compare(rows, "regret", tmp_path / "c.svg")
    plot_ranks(rows, 3, "ranks", tmp_path / "r.png")
    plot_savings(rows, 11, "savings", tmp_path / "s.png")
    assert " %" in (tmp_path / "c.svg").read_text()
    assert {(tmp_path / f"{n}.png").read_bytes()[:4] for n in "rs"} == {PNG}


# ── labels ──


@given(st.lists(st.floats(-0.2, 1.2), min_size=1, max_size=12), st.floats(0.01, 0.2))
def test_labels_keep_their_distance_and_their_order(places, gap):
    found = spread(places, gap, 0.0, 1.0)
    step = min(gap, 1.0 / max(1, len(places) - 1))
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    in_order = [found[i] for i in order]
    assert all(b - a >= step - 1e-9 for a, b in itertools.pairwise(in_order))
    assert min(found) >= -1e-9
    assert max(found) <= 1 + 1e-9


def test_labels_with_room_stay_where_they_belong():
    assert spread([0.1, 0.9, 0.5], 0.05, 0.0, 1.0) == [0.1, 0.9, 0.5]


# ── a bill ──


@pytest.mark.slow
def test_the_bill_shows_the_best_choices_and_the_load_that_is_recommended():
    from cloudbandit import Recommender, paper_offers

    advisor = Recommender(engine="tgis").advise("llama-13b", paper_offers(), ["nttft_ms<=100", "itl_ms<=60"], users=200)
    answer = advisor.recommend()
    panels = bill.shown_slos(answer)
    assert [slo.metric for slo in panels] == ["nttft_p50_ms", "itl_p50_ms"]
    for slo in panels:
        assert len(bill.lines(advisor, answer, slo, 2)) == min(2, len(answer.choices()))
        for line, (r, _) in zip(bill.lines(advisor, answer, slo, 99), answer.choices(), strict=True):
            assert line.chosen[0] == r.usd_per_h
            assert line.interval[0] <= line.chosen[1] <= line.interval[1]
            assert np.isfinite(line.values).all()
            assert (np.diff(line.usd_per_h) <= 0).all(), "more users an engine, fewer machines"
