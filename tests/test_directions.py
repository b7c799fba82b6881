"""Minimise, maximise, or both: every value in its own sign."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbandit import SLOGoal, Store, Table, Task, compare, minimize
from cloudbandit.core.errors import StudyMismatchError, TableError, UnknownNameError, UsageError
from cloudbandit.replay.task import replay, task_seed
from cloudbandit.tables.check import check_table


def table_of(values, metric="output_tok_per_s", **more):
    frame = pd.DataFrame({"cloud": "x", "n": range(len(values)), metric: values, **more})
    return Table.from_frame(frame, arm="cloud", metrics=[metric, *(k for k in more if k != "ok")], name="t")


@given(st.lists(st.floats(0.1, 1e3), min_size=2, max_size=8, unique=True))
def test_a_maximised_metric_is_searched_and_judged_like_a_minimised_one(values):
    table = table_of(values, other=[-v for v in values])
    up, down = Task(table, "all", maximize="output_tok_per_s"), Task(table, "all", "other")
    assert up.best_value == max(values)
    assert up.optimum == down.optimum
    one, two = (replay(task, "random-wor", 2) for task in (up, down))
    assert [o.candidate for o in one.observations] == [o.candidate for o in two.observations]
    assert one.incumbent.candidate == two.incumbent.candidate
    assert [v for _, v in one.trajectory] == [-v for _, v in two.trajectory], "each in its own sign"
    for task, report in ((up, one), (down, two)):
        regret = task.regret_percent(task.answer_value(report.observations))
        f = task.values[report.incumbent.candidate]
        assert regret == pytest.approx(100 * abs(f - task.best_value) / abs(task.best_value))
        assert task.savings_percent(report.observations) is None, "nothing is saved by more, nor below 0"
    assert up.random_regret_percent >= 0


def test_the_worst_is_refused_with_the_cure():
    table = table_of([1.0, 2.0], ttft_ms=[5.0, 6.0])
    with pytest.raises(UsageError, match=r"better the higher it is.*--maximize output_tok_per_s"):
        _ = Task(table, "all", "output_tok_per_s").goal
    with pytest.raises(UsageError, match=r"better the lower it is.*--minimize ttft_p50_ms|--minimize ttft_ms"):
        _ = Task(table, "all", maximize="ttft_ms").goal
    with pytest.raises(UsageError, match="at least one metric"):
        _ = Task(table, "all").goal
    with pytest.raises(UsageError, match="each metric once"):
        _ = Task(table, "all", ("ttft_ms", "ttft_p50_ms")).goal
    with pytest.raises(UnknownNameError, match="unknown metric 'ttft_p95_ms'"):
        _ = Task(table, "all", "ttft_p95_ms").goal


def test_a_failed_trial_is_charged_in_what_is_minimised_alone():
    frame = pd.DataFrame(
        {"n": [1, 2, 3], "wins_s": [5.0, None, 2.0], "took": [1.0, 7.0, 1.0], "ok": [True, False, True]}
    )
    table = Table.from_frame(frame, metrics="wins_s", spent={"seconds": "took"}, status="ok")
    failed = next(c for c in table.candidates if c["n"] == 2)
    assert Task(table, "all", "wins_s").values[failed] == 7, "a time is charged the time it took"
    up = Task(table, "all", maximize="wins_s")
    assert up.scores[failed].values == ()
    assert up.values[failed] == 2, "no charge: the worst of all"


def test_an_optimum_of_zero_has_no_relative_regret():
    with pytest.raises(TableError, match=r"best speed of workload 'all' is 0"):
        _ = Task(table_of([-1.0, 0.0], "speed"), "all", maximize="speed").best_value
    found = check_table(table_of([0.0, 1.0], "output_tok_per_s")).warnings
    assert not any("optimum is 0" in w for w in found), "more is better: the optimum is 1"
    assert any("optimum is 0 in 1 workloads" in w for w in check_table(table_of([0.0, 1.0], "misses")).warnings)


def test_a_crash_that_looks_best_is_warned_of_in_the_metrics_own_direction():
    frame = pd.DataFrame({"n": [1, 2], "output_tok_per_s": [5.0, 9.0], "ok": [True, False]})
    warnings = check_table(Table.from_frame(frame, metrics="output_tok_per_s", status="ok")).warnings
    assert "output_tok_per_s: the greatest value is a failed run's in 1 of 1 workloads" in "".join(warnings)


def test_the_identity_of_a_minimising_study_is_what_it_was_and_a_maximising_one_says_so(tmp_path):
    table = table_of([3.0, 1.0, 2.0], "cost_usd", output_tok_per_s=[1.0, 2.0, 3.0])
    store = Store(str(tmp_path / "s.db"))
    down = Task(table, "all", "cost_usd")
    replay(down, "random-wor", 2, 1, store=store)
    before = {
        "domain": down.objective.domain.fingerprint,
        "minimize": ["cost_usd"],
        "slos": [],
        "seed": task_seed(1, "all"),
        "optimizer": "random-wor",
        "workers": 1,
    }
    store.open("study", before).close()
    both = Task(table, "all", "cost_usd", maximize="output_tok_per_s")
    first = replay(both, "random-wor", 2, 1, store=store, name="both")
    store.open("both", {**before, "minimize": list(both.goal.metrics), "maximize": ["output_tok_per_s"]}).close()
    assert replay(both, "random-wor", 2, 1, store=store, name="both").observations == first.observations
    store.open("earlier", {**before, "budget": 2}).close()  # as it was kept once; a budget may grow
    assert replay(down, "random-wor", 3, 1, store=store, name="earlier").evaluations == 3
    store.close()


def test_a_comparison_of_what_is_maximised():
    table = table_of([1.0, 4.0, 2.0])
    frame = compare(table, maximize="output_tok_per_s", optimizers=["exhaustive"], budgets=[1, 2, 3], seeds=1)
    assert frame.mean_regret_percent.tolist() == [75, 0, 0]
    assert frame.mean_savings_percent.isna().all()
    assert frame.median_evaluations_to_near.tolist()[1:] == [2, 2]


def both_ways(c):
    return {"cost_usd": float(c["n"]), "output_tok_per_s": float(c["n"] % 4)}


def test_a_function_of_several_objectives_and_one_that_is_maximised(tmp_path):
    domain, store = {"a": [{"n": n} for n in range(1, 9)]}, str(tmp_path / "s.db")
    pair = minimize(lambda c: {"x": c["n"], "y": -c["n"]}, domain, 8, optimizer="exhaustive", goal=("x", "y"))
    assert len(pair.front) == 8
    goal = SLOGoal("cost_usd", maximize="output_tok_per_s")
    report = minimize(both_ways, domain, 8, optimizer="exhaustive", goal=goal)
    assert [o.candidate["n"] for o in report.front] == [1, 2, 3]
    up = SLOGoal(maximize="speed")

    def speed(c):
        return {"speed": both_ways(c)["output_tok_per_s"]}

    wanted = minimize(speed, domain, 8, optimizer="exhaustive", goal=up, store=store)
    assert wanted.incumbent.candidate["n"] == 3
    assert [v for _, v in wanted.trajectory] == [1, 2, 3, 3, 3, 3, 3, 3]
    with pytest.raises(StudyMismatchError, match="maximize"):
        minimize(speed, domain, 8, optimizer="exhaustive", goal="speed", store=store)
