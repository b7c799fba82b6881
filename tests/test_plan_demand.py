"""Demand as it is read, forecast and buffered: nothing is guessed in silence, nothing sees the future."""

import warnings
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import demand_of

from cloudbandit.core.errors import DataError, UnknownNameError, UsageError
from cloudbandit.plan.backtest import backtest
from cloudbandit.plan.demand import Demand, demand_of_frame, read_demand
from cloudbandit.plan.forecast import METHODS, forecast_demand, forecast_series
from cloudbandit.plan.logs import read_log
from cloudbandit.plan.traces import TRACES, extended, merged, read_trace

NUMPY = ("naive-daily", "naive-weekly", "fourier")


def written(tmp_path, rows, head="time,workload,source,load"):
    path = tmp_path / "demand.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def hourly(hours, load=1.0):
    return [f"2026-11-02T{h:02d}:00Z,chat,us,{load}" for h in hours]


def test_a_file_and_a_frame_are_read_alike(tmp_path):
    path = written(tmp_path, [*hourly(range(3)), *(row.replace("us", "eu") for row in hourly(range(3), 2.0))])
    demand = read_demand(path)
    assert demand.step_h == 1.0
    assert demand.start == datetime(2026, 11, 2, tzinfo=UTC)
    assert demand.load["chat", "eu"].tolist() == [2.0, 2.0, 2.0]
    assert demand_of_frame(pd.read_csv(path)).load.keys() == demand.load.keys()
    tiers = written(tmp_path, ["0,m,fast,us,1", "3600,m,fast,us,2"], "time,model,tier,source,load")
    assert read_demand(tiers).workloads == ["m/fast"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "empty"),
        (hourly([0, 1, 3, 4]), "lacks 1 of 5 steps.*02T02:00"),
        (hourly([0, 1, 1, 2]), "twice.*clock"),
        ([*hourly([0, 1, 2]), "2026-11-02T02:30Z,chat,us,1"], "clock jumps"),
        ([*hourly([0]), "2026-11-02T01:00Z,chat,us,-1"], "'-1'.*≥ 0"),
        ([*hourly([0]), "2026-11-02T01:00Z,chat,us,nan"], "finite"),
        (["noon,chat,us,1"], "no time"),
        (["0,,us,1"], "needs a workload"),
    ],
)
def test_what_is_wrong_with_a_demand_is_said(tmp_path, rows, said):
    with pytest.raises(DataError, match=said):
        read_demand(written(tmp_path, rows))


def test_gaps_are_filled_only_when_asked_and_noted(tmp_path):
    path = written(tmp_path, [*hourly([0, 1], 2.0), *hourly([3, 4], 4.0)])
    assert read_demand(path, "zero").load["chat", "us"][2] == 0.0
    filled = read_demand(path, "line")
    assert filled.load["chat", "us"][2] == 3.0
    assert "1 steps were missing" in filled.notes[0]


def test_longer_steps_hold_the_largest_of_their_parts():
    fine = demand_of({("chat", "us"): [1, 5, 2, 3, 4, 9, 7]}, 900.0)
    assert fine.coarser(2700.0).load["chat", "us"].tolist() == [5, 9]
    assert fine.coarser(2700.0, "mean").load["chat", "us"].tolist() == [8 / 3, 16 / 3]
    with pytest.raises(UsageError, match="multiples"):
        fine.coarser(1000.0)


def test_a_log_becomes_a_demand_and_says_what_is_wrong(tmp_path):
    rows = [f"{3000 + 10 * i},{100 + i % 2},20" for i in range(1000)]
    log = read_log(written(tmp_path, rows, "time,input_tokens,output_tokens"), "chat", "us")
    demand = log.demand()
    assert demand.load["chat", "us"] == pytest.approx([0.1, 0.1])
    assert log.demand(unit="output_tok_per_s").load["chat", "us"] == pytest.approx([2.0, 2.0])
    assert log.lengths()["chat"] == (100.5, 20.0)
    assert "are left out" in demand.notes[0]
    with pytest.raises(DataError, match="no whole step"):
        log.demand(86400.0)
    back = [*rows[:500], *(f"{3000 + 10 * i - 3600},1,1" for i in range(500, 600))]
    with pytest.raises(DataError, match="clock jumps back by 3"):
        read_log(written(tmp_path, back, "time,input_tokens,output_tokens"))
    silent = [*rows, *(f"{40000 + 10 * i},1,1" for i in range(1000))]
    with pytest.raises(DataError, match="silent for 7 steps"):
        read_log(written(tmp_path, silent, "time,input_tokens,output_tokens")).demand()
    with pytest.raises(DataError, match="no column for output"):
        read_log(written(tmp_path, ["1,2"], "time,input_tokens"))


@pytest.mark.dataset
@pytest.mark.parametrize("name", TRACES)
def test_recorded_traces(name):
    demand = read_trace(name).demand(300.0)
    assert len(demand) == 10
    assert 1.0 < next(iter(demand.load.values())).mean() < 7.0


def week(seed, days=28):
    return next(iter(extended(5.0, days, seed=seed).load.values()))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(NUMPY), st.integers(0, 50), st.floats(0.0, 100.0))
def test_no_forecast_sees_the_future(method, seed, other):
    """What comes later may be anything: forecast and buffer stay."""
    series = week(seed)
    now = len(series) - 24
    changed = np.concatenate([series[:now], np.full(24, other)])
    a, b = (forecast_series(s[:now], 24, 24, method, 0.9) for s in (series, changed))
    assert np.array_equal(a.point, b.point)
    assert np.array_equal(a.buffered, b.buffered)


def test_a_season_that_repeats_is_forecast_exactly():
    season = 5 + np.sin(np.arange(168) * 2 * np.pi / 24)
    history = np.tile(season, 4)
    for method in NUMPY:
        found = forecast_series(history, 168, 24, method, 0.95)
        assert found.point == pytest.approx(season, rel=1e-6), method
        assert found.buffered == pytest.approx(season, rel=1e-6), method


@pytest.mark.parametrize("method", NUMPY)
def test_buffers_hold_as_often_as_asked(method):
    series = [week(seed, 56) for seed in range(6)]
    found = backtest(series, 24, 24, method, 0.9)
    assert abs(found.coverage_percent - 90) < 3, found
    assert abs(found.bias_percent) < 3
    assert found.n == 6 * 28 * 24


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ets", "theta", "mstl", "sarimax"])
def test_forecasts_by_statsmodels(method):
    pytest.importorskip("statsmodels")
    series = week(0, 21)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = METHODS[method][0](series[:-24], 24, 24)
    error = np.abs(made - series[-24:]).sum() / series[-24:].sum()
    assert error < 0.6  # a weekend, which a daily season does not know
    assert np.array_equal(made, METHODS[method][0](series[:-24], 24, 24))


def test_too_little_history_is_said():
    with pytest.raises(UsageError, match="naive-weekly needs 7 days"):
        forecast_series(np.ones(100), 24, 24, "naive-weekly")
    with pytest.raises(UsageError, match="no history is left"):
        forecast_series(np.ones(168), 24, 24, "naive-weekly", 0.9)
    with pytest.raises(UnknownNameError, match="unknown forecast method 'prophet'"):
        forecast_series(np.ones(100), 24, 24, "prophet")
    with pytest.raises(UsageError, match="no whole number of steps"):
        forecast_demand(demand_of({("a", "b"): np.ones(99)}, 7000.0), 1)


def test_a_forecast_goes_on_where_the_history_ends():
    history = merged([extended(3.0, 28, seed=1, workload=w) for w in ("a", "b")])
    coming = forecast_demand(history, 24, method="naive-weekly", quantile=0.95)
    assert coming.time(0) == history.time(len(history))
    assert len(coming) == 24
    assert (coming.load["a", "everywhere"] >= forecast_demand(history, 24).load["a", "everywhere"]).all()
    assert any("95% quantile" in note for note in coming.notes)


def test_demand_must_be_whole():
    for bad in ({}, {("a", "b"): []}, {("a", "b"): [1.0], ("a", "c"): [1.0, 2.0]}, {("a", "b"): [-1.0]}):
        with pytest.raises(DataError):
            Demand(datetime(2026, 1, 1, tzinfo=UTC), 3600.0, {k: np.array(v) for k, v in bad.items()})
