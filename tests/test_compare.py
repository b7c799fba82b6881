"""The comparison: the same figures wherever and however often it is run, and tables it was never shown."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from cloudbandit import load_table
from cloudbandit.core.errors import TableError, UnknownNameError, UsageError
from cloudbandit.optimizers.registry import all_names
from cloudbandit.replay.cells import Cell
from cloudbandit.replay.compare import compare_rows
from cloudbandit.replay.statistics import bootstrap_ci95, critical_difference, mean_ranks, paired_ci95
from cloudbandit.replay.task import Task, replay

FAST = [
    "random",
    "random-wor",
    "exhaustive",
    "coordinate",
    "gp",
    "gp-x3",
    "cherrypick",
    "rbf",
    "rising-bandits",
    "linear",
    "price-order",
    "single-arm",
    "portfolio",
    "oracle",
    "cloudbandit:gp",
]


def make_table(folder, arms="pqr", configs=6, workloads=4, failing=0.15, value=None, seed=0):
    """A table nobody tuned anything on: other arms, other parameters, repeats, failures."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    lines = ["job,vendor,size,p_mode,cost,time,ok"]
    for w in range(workloads):
        for a, arm in enumerate(arms):
            for i in range(configs):
                mode = f"m{i % 2}" if arm == "p" else ""
                for _ in range(1 + int(rng.random() < 0.2)):
                    time = (20 + 10 * rng.random()) * (1 + abs(i - w % configs) / 3) * (1 + 0.2 * a)
                    cost = value if value is not None else time * (a + 1 + i) / 100
                    ok = "yes" if rng.random() > failing else "no"
                    lines.append(f"w{w},{arm},{i},{mode},{cost:.6f},{time:.6f},{ok}")
    (folder / "runs.csv").write_text("\n".join(lines) + "\n")
    (folder / "table.toml").write_text(
        """
        [table]
        file = "runs.csv"
        context = ["job"]
        arm = "vendor"
        [params]
        size = "int"
        p_mode = { type = "choice", arm = "p" }
        [metrics]
        cost_usd = { column = "cost", unit = "USD" }
        runtime_s = { column = "time", unit = "s" }
        [spent]
        usd = "cost"
        seconds = "time"
        [status]
        column = "ok"
        ok = ["yes"]
        otherwise = "failed"
        [replay]
        failed_seconds = 300
        """.replace("p_mode = {", "p_mode = {" if "p" in arms else "# p_mode = {")
    )
    return str(folder)


def figures(rows):
    return [{k: v for k, v in row.to_dict().items() if k != "suggest_ms_median"} for row in rows]


@pytest.mark.parametrize("metric", ["cost_usd", "runtime_s"])
@pytest.mark.parametrize("failures", ["strict", "recorded"])
def test_a_table_never_seen_before(tmp_path, metric, failures):
    rows = compare_rows(make_table(tmp_path / "t"), metric, FAST, [5, 11, 40], 2, failures=failures)
    by_name = {(r.optimizer, r.budget): r for r in rows}
    assert len(rows) == 3 * len(FAST)
    assert all(math.isfinite(r.mean_regret_percent) and r.n == 8 for r in rows)
    oracle = by_name["oracle", 5]
    assert oracle.mean_answer_regret_percent <= 1e-9 or failures == "recorded"
    for name in ("random-wor", "exhaustive", "gp", "rbf", "coordinate", "linear"):
        assert by_name[name, 40].mean_regret_percent <= 1e-9, "the whole table was tried"
    assert by_name["oracle", 5].learns_from == "itself"
    assert by_name["portfolio", 5].learns_from == "others"


def test_a_checkpoint_is_not_computed_again_and_a_broken_line_is(tmp_path, monkeypatch):
    table, path = make_table(tmp_path / "t"), tmp_path / "cells.jsonl"
    arguments = (table, "cost_usd", ["random", "gp"], [5, 9], 2)
    first = figures(compare_rows(*arguments, checkpoint=path))
    lines = path.read_text().splitlines()
    assert len(lines) == 8
    ran = []
    original = Cell.run
    monkeypatch.setattr(Cell, "run", lambda cell, table: ran.append(cell.method) or original(cell, table))
    assert figures(compare_rows(*arguments, checkpoint=path)) == first
    assert ran == []
    path.write_text("\n".join(lines[:5]) + "\n" + lines[5][:30])  # a crash in the middle of a line
    assert figures(compare_rows(*arguments, checkpoint=path)) == first
    assert len(ran) == 3
    assert len(path.read_text().splitlines()) == 8
    compare_rows(table, "cost_usd", ["random", "gp"], [5, 9], 3, checkpoint=path)
    assert len(ran) == 11, "another number of seeds is other work"
    path.write_text("no cell\n" + lines[0] + "\n")
    with pytest.raises(UsageError, match="line 1 is no finished cell"):
        compare_rows(*arguments, checkpoint=path)


@pytest.mark.slow
def test_processes_give_the_same_figures(tmp_path):
    arguments = (make_table(tmp_path / "t"), "runtime_s", ["random", "gp", "portfolio"], [5], 2)
    assert figures(compare_rows(*arguments)) == figures(compare_rows(*arguments, jobs=2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_gives_the_same_figures(tmp_path):
    code = (
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    c = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host='127.0.0.1')\n"
        "    print(c.scheduler_address, flush=True)\n"
        "    import sys; sys.stdin.read()\n"
    )
    (tmp_path / "cluster.py").write_text(code)
    cluster = subprocess.Popen(
        [sys.executable, tmp_path / "cluster.py"], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        address = cluster.stdout.readline().strip()
        arguments = (make_table(tmp_path / "t"), "runtime_s", ["random", "gp", "linear"], [5, 11], 2)
        assert figures(compare_rows(*arguments)) == figures(compare_rows(*arguments, scheduler=address))
    finally:
        cluster.stdin.close()
        cluster.wait(30)


@pytest.mark.slow
def test_every_method_runs_by_name(tmp_path):
    rows = compare_rows(make_table(tmp_path / "t", workloads=2), "cost_usd", ["all"], [7], 1)
    assert [r.optimizer for r in rows] == all_names()
    named = (
        "random, random-wor, exhaustive, coordinate, gp, gp-x3, cherrypick, cherrypick-x3, bilal, bilal-x3, skopt, smac, "
        "optuna, hyperopt, rbf, rising-bandits, linear, forest, price-order, single-arm, portfolio, oracle"
    )
    assert set(named.split(", ")) <= set(all_names())


# ── strange tables: the right answer, or a clear error ──


@pytest.mark.parametrize(
    ("options", "budgets"),
    [
        ({"arms": "p"}, [3, 30]),
        ({"configs": 1, "failing": 0.0}, [3, 30]),
        ({"value": 2.5, "failing": 0.0}, [4]),
        ({"configs": 2}, [500]),
    ],
)
def test_strange_tables_end_cleanly(tmp_path, options, budgets):
    rows = compare_rows(make_table(tmp_path / "t", **options), "cost_usd", FAST, budgets, 2)
    for row in rows:
        assert row.mean_regret_percent >= 0
        whole = row.budget >= 30 and not row.optimizer.startswith(("random", "single-arm", "cloudbandit", "rising"))
        if whole or "value" in options:
            assert row.mean_answer_regret_percent == pytest.approx(0, abs=1e-9), row.optimizer


@pytest.mark.parametrize(
    "name", ["exhaustive", "portfolio", "coordinate", "gp", "rbf", "cloudbandit:gp", "price-order"]
)
def test_configs_that_are_never_to_be_had_do_not_put_their_arm_to_rest(tmp_path, name):
    """Every third config of a workload is missing, and missing = "unavailable": the rest must still be found."""
    folder = make_table(tmp_path / "t", failing=0.0)
    path = tmp_path / "t" / "runs.csv"
    kept = [
        line
        for line in path.read_text().splitlines()
        if not (line.startswith("w0,") and line.split(",")[2] in ("1", "4"))
    ]
    path.write_text("\n".join(kept) + "\n")
    manifest = tmp_path / "t" / "table.toml"
    manifest.write_text(manifest.read_text() + 'missing = "unavailable"\n')
    task = Task(load_table(folder), "w0", "cost_usd")
    report = replay(task, name, 40)
    assert report.evaluations == 12
    assert report.incumbent.candidate == task.optimum


def test_a_workload_that_never_succeeds_is_dropped_or_said(tmp_path):
    folder = make_table(tmp_path / "t", failing=0.0)
    path = tmp_path / "t" / "runs.csv"
    text = path.read_text()
    path.write_text(
        "\n".join(line.replace("yes", "no") if line.startswith("w1,") else line for line in text.splitlines()) + "\n"
    )
    assert {r.n for r in compare_rows(folder, "cost_usd", ["random", "portfolio"], [4], 2)} == {6}
    path.write_text(text.replace("yes", "no"))
    with pytest.raises(TableError, match="ever succeeds"):
        compare_rows(folder, "cost_usd", ["random"], [4], 2)


def test_wrong_arguments(tmp_path):
    table = make_table(tmp_path / "t")
    with pytest.raises(UnknownNameError, match="unknown baseline 'gpp'"):
        compare_rows(table, "cost_usd", ["random", "gp"], [4], 1, baseline="gpp")
    with pytest.raises(UsageError, match="seeds=0"):
        compare_rows(table, "cost_usd", ["random"], [4], 0)
    with pytest.raises(UnknownNameError, match="unknown optimizer"):
        compare_rows(table, "cost_usd", ["random", "magic"], [4], 1)
    with pytest.raises(UsageError, match=r"cloudbandit:gp on workload.*fewer than the 3 arms"):
        compare_rows(table, "cost_usd", ["cloudbandit:gp"], [2], 1)
    one = make_table(tmp_path / "one", workloads=1)
    with pytest.raises(UsageError, match="learns from other workloads"):
        compare_rows(one, "cost_usd", ["portfolio"], [4], 1)


# ── what the columns mean ──


def test_the_columns_by_hand(tmp_path):
    folder = make_table(tmp_path / "t", workloads=1, failing=0.0)
    table = load_table(folder)
    task = Task(table, "w0", "cost_usd")
    (row,) = compare_rows(folder, "cost_usd", ["exhaustive"], [len(task.scores)], 1)
    order = task.objective.domain.candidates
    near = next(i for i, c in enumerate(order, start=1) if task.values[c] <= 1.05 * task.best_value)
    assert row.median_evaluations_to_near == near
    spent = sum(task.objective.true_result(c).spent_usd for c in order[:near])
    assert row.median_usd_to_near == pytest.approx(spent)
    assert (row.near_percent, row.right_arm_percent, row.mean_rank, row.difference_percent) == (100, 100, 1, 0)
    saved = 64 * task.random_value - (sum(task.values.values()) + 64 * task.best_value)
    assert row.mean_savings_percent == pytest.approx(100 * saved / (64 * task.random_value))
    (few,) = compare_rows(folder, "cost_usd", ["exhaustive"], [len(task.scores)], 1, production_runs=1)
    assert few.mean_savings_percent < row.mean_savings_percent


def test_statistics():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 30), rng.normal(1, 1, 30)
    low, high = bootstrap_ci95(a)
    assert low < a.mean() < high
    assert abs((high - low) / (2 * 1.96 * a.std() / np.sqrt(30)) - 1) < 0.15, "close to the normal interval"
    low, high = paired_ci95(a + b, b)
    assert (low, high) == pytest.approx(bootstrap_ci95(a))
    np.testing.assert_allclose(mean_ranks(np.array([[1.0, 5.0], [1.0, 2.0], [3.0, 9.0]])), [1.75, 1.25, 3.0])
    assert critical_difference(4, 14) == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=0.002), (
        "Demšar, table 5"
    )
    assert critical_difference(1, 5) == 0


# ── the stress variant ──


def test_stress_changes_levels_and_nothing_inside_an_arm(tmp_path):
    folder = make_table(tmp_path / "t", failing=0.1, workloads=40)
    plain, stressed = load_table(folder), load_table(folder + ":stress")
    winners = []
    for name in plain.workloads:
        before, after = Task(plain, name, "cost_usd"), Task(stressed, name, "cost_usd")
        winners.append(after.optimum.arm[0])
        for arm in before.objective.domain.names:
            ratio = [
                after.values[c] / before.values[c]
                for c in before.scores
                if c.arm == (arm,) and before.scores[c].rank == 0
            ]
            assert max(ratio) == pytest.approx(min(ratio))
    counts = [winners.count(arm) for arm in "pqr"]
    assert min(counts) >= 5, "no arm dominates"
    before = [Task(plain, name, "cost_usd").optimum.arm[0] for name in plain.workloads]
    assert before.count("p") >= 38, "as one did before"
    assert json.dumps(figures(compare_rows(folder + ":stress", "cost_usd", ["random"], [4], 1)))


def test_one_workload_has_an_interval_over_its_seeds(tmp_path):
    folder = make_table(tmp_path / "t", workloads=1)
    row, other = compare_rows(folder, "cost_usd", ["random", "random-wor"], [5], 12)
    low, high = row.ci95
    assert low < row.mean_regret_percent < high
    low, high = other.difference_ci95
    assert low < other.difference_percent < high
    alone = compare_rows(folder, "cost_usd", ["random"], [5], 1)[0]
    assert alone.ci95 == pytest.approx((alone.mean_regret_percent,) * 2), "one run: nothing to resample"
