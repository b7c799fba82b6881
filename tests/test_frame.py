"""A frame is a table, the same one as the file it could be written to."""

import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from cloudbandit import BaseOptimizer, Candidate, Table, Task, compare, load_table
from cloudbandit.core.errors import TableError, UsageError
from cloudbandit.replay import methods
from cloudbandit.replay.compare import _check_pickle

RUNS = pd.DataFrame(
    {
        "cloud": ["x", "x", "y", "y", "x"],
        "job": ["j", "j", "j", "k", "k"],
        "size": ["big", "big", "big", "small", "small"],
        "nodes": [2, 4, 2, 3, 2],
        "spot": [True, False, True, True, True],
        "share": [0.5, 0.25, 1.0, 1.0, 0.1],
        "disk": [1, None, None, 2, 1],
        "kind": ["a", "b", None, "a", "a"],
        "cost_usd": [3.0, 5.0, 4.0, 7.0, 1 / 3],
        "gpu": ["A100", "A100", "T4", "T4", "A100"],
        "price": [1.0, 1.0, 2.0, 2.0, 1.0],
        "state": ["ok", "timeout", "ok", "ok", "broken"],
    },
    index=[7, 7, 7, 0, 1],
)
ROLES = {"arm": "cloud", "context": ["job", "size"], "metrics": "cost_usd", "status": "state"}
FACTS = {"gpu": "gpu", "price_usd_per_h": "price"}


def table(frame=RUNS, **changes):
    return Table.from_frame(frame, **{**ROLES, "facts": FACTS, "spent": {"usd": "price"}, **changes})


def test_every_other_column_is_a_parameter_of_its_own_kind():
    made = table()
    assert made.workloads == ("j|big", "k|small")
    assert made.candidates[0] == Candidate("x", {"nodes": 2, "spot": True, "share": 0.5, "disk": 1, "kind": "a"})
    assert {type(v) for c in made.candidates for v in c.config.values()} == {int, bool, float, str}
    assert Candidate("y", {"nodes": 2, "spot": True, "share": 1.0}) in made.candidates, "empty: not active"
    statuses = {str(row.status) for w in made.workloads for c in made.workload(w).cells.values() for row in c.rows}
    assert statuses == {"ok", "timeout", "failed"}
    task = Task(made, "j|big", "cost_usd")
    facts = task.objective.facts(made.candidates[0])
    assert facts == {"gpu": "A100", "price_usd_per_h": 1.0}


def test_numbers_come_through_to_the_last_digit():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"n": range(50), "x": rng.normal(size=50), "f": rng.lognormal(size=50).astype(np.float32)})
    task = Task(Table.from_frame(frame, metrics=["f"]), "all", "f")
    assert list(task.values.values()) == frame.f.astype(float).tolist()
    assert [c["x"] for c in task.objective.domain.candidates] == frame.x.tolist()
    assert task.objective.domain.names == ("all",)


def test_the_same_table_as_from_a_file(tmp_path):
    RUNS.rename(columns={"price": "price_usd_per_h"}).to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "table.toml").write_text(
        """
        [table]
        file = "runs.csv"
        context = ["job", "size"]
        arm = "cloud"
        [params]
        nodes = "int"
        spot = "bool"
        share = "float"
        disk = "float"
        kind = "choice"
        [metrics]
        cost_usd = "cost_usd"
        [facts]
        gpu = "gpu"
        price_usd_per_h = "price_usd_per_h"
        [spent]
        usd = "price_usd_per_h"
        [status]
        column = "state"
        ok = ["ok"]
        timeout = ["timeout"]
        otherwise = "failed"
        """
    )
    read = load_table(tmp_path)
    kinds = {"nodes": "int", "spot": "bool", "share": "float", "disk": "float", "kind": "choice"}
    assert table(name=read.name, params=kinds).fingerprint == read.fingerprint
    assert table(RUNS.assign(price=9.0), name=read.name, params=kinds).fingerprint != read.fingerprint
    for w in read.workloads:
        one, two = (Task(t, w, "cost_usd").objective for t in (read, table(params=kinds)))
        assert [one.true_result(c) for c in one.domain.candidates] == [
            two.true_result(c) for c in two.domain.candidates
        ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": "cost"}, r"no column 'cost'; its columns: cloud, job"),
        ({"metrics": []}, "at least one parameter and one metric"),
        ({"params": ["nodes", "job"]}, "column 'job' is a parameter and has another role too"),
        ({"params": {"nodes": "number"}}, r"params\['nodes'\] is 'number'; allowed: int, float, bool, choice"),
        ({"params": {"share": "int"}}, "line 2: parameter 'share' is '0.5', and its type is 'int'"),
        ({"spent": {"euros": "price"}}, r"spent is \{'euros': 'price'\}; allowed: usd and seconds"),
        ({"metrics": {"cost_usd": "kind"}}, r"<frame> line 2: metric 'cost_usd' \(column 'kind'\) is 'a'"),
        ({"facts": {"price_usd_per_h": "gpu"}}, r"fact 'price_usd_per_h' \(column 'gpu'\) is 'A100'"),
    ],
)
def test_a_wrong_frame(changes, message):
    with pytest.raises(TableError, match=message):
        table(**changes)


def test_what_the_optimizer_is_told_is_chosen():
    seen = []

    class Nosy(BaseOptimizer):
        def __init__(self, problem):
            super().__init__(problem)
            seen.append(dict(problem.facts(problem.domain.candidates[0])))

        def _suggest(self):
            free = self.free
            return self.domain.candidates[int(free[0])] if len(free) else None

    task = Task(table(), "j|big", "cost_usd")
    for chosen in ("all", "none", "gpu", ["price_usd_per_h"]):
        task.replay(Nosy, 1, facts=chosen)
    assert seen == [{"gpu": "A100", "price_usd_per_h": 1.0}, {}, {"gpu": "A100"}, {"price_usd_per_h": 1.0}]
    with pytest.raises(UsageError, match="unknown fact 'gpus'; known: gpu, price_usd_per_h"):
        compare(table(), "cost_usd", optimizers=Nosy, budgets=1, seeds=1, facts="gpus")
    seen.clear()
    frame = compare(table(), "cost_usd", optimizers=Nosy, budgets=1, seeds=1, facts="gpu")
    assert all(set(told) == {"gpu"} for told in seen)
    assert frame.optimizer.tolist() == ["Nosy"]


# ── compare in Python ──


def last(problem):
    class Last(BaseOptimizer):
        def _suggest(self):
            free = self.free
            return self.domain.candidates[int(free[-1])] if len(free) else None

    return Last(problem)


def one_objective(problem):
    if len(problem.goal.metrics) > 1:
        raise UsageError("one_objective aims at one objective")
    return last(problem)


GRID = pd.DataFrame([("xyz"[n % 3], n, n % 5, 10.0 + n, 50.0 - n, w) for w in "ab" for n in range(12)])
GRID.columns = ["cloud", "n", "m", "cost_usd", "ttft_ms", "job"]


def grid():
    return Table.from_frame(GRID, arm="cloud", metrics=["cost_usd", "ttft_ms"], context="job", name="grid")


def test_names_classes_factories_and_labels():
    told = []
    found = compare(
        grid(),
        "cost_usd",
        optimizers={"by name": "random-wor", "mine": last, "also": lambda problem: last(problem)},
        budgets=[2, 12],
        seeds=2,
        on_cell=lambda done, total: told.append((done, total)),
    )
    assert found.optimizer.tolist() == ["by name"] * 2 + ["mine"] * 2 + ["also"] * 2
    assert (found.n == 4).all()
    assert found[found.budget == 12].mean_regret_percent.tolist() == [0, 0, 0]
    assert told[-1] == (6, 6)
    figures = found.drop(columns=["optimizer", "suggest_ms_median"])
    mine, also = (figures[found.optimizer == name].reset_index(drop=True) for name in ("mine", "also"))
    pd.testing.assert_frame_equal(mine, also)
    listed = compare(grid(), "cost_usd", optimizers=["random-wor", last], budgets=2, seeds=1)
    assert listed.optimizer.tolist() == ["random-wor", "last"]


def test_labels_that_do_not_tell_apart_are_refused():
    with pytest.raises(UsageError, match=r"no name of its own; cure: a mapping"):
        compare(grid(), "cost_usd", optimizers=[lambda problem: last(problem)])
    other = type("last", (), {})
    with pytest.raises(UsageError, match=r"two optimizers are called 'last'; cure: a mapping"):
        compare(grid(), "cost_usd", optimizers=[last, other])


def test_what_cannot_be_sent_or_recognised_is_refused_before_anything_runs(tmp_path):
    class Local(BaseOptimizer):
        def _suggest(self):
            raise AssertionError

    with pytest.raises(UsageError, match=r"'Local' cannot be sent to other processes.*jobs=1"):
        compare(grid(), "cost_usd", optimizers=[Local], budgets=1, seeds=1, jobs=2)
    with pytest.raises(UsageError, match=r"a checkpoint cannot tell.*path.py:Class"):
        compare(grid(), "cost_usd", optimizers=[Local], budgets=1, seeds=1, checkpoint=tmp_path / "c.jsonl")
    assert not (tmp_path / "c.jsonl").exists()


def test_a_class_of_a_session_without_a_file_cannot_be_sent(monkeypatch):
    main = ModuleType("__main__")
    main.Mine = type("Mine", (), {"__module__": "__main__"})
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(UsageError, match=r"'Mine' cannot be sent.*a session that has no file"):
        _check_pickle([methods.Method.of(main.Mine)], None)


@pytest.mark.slow
def test_processes_take_a_frame_and_a_factory_of_a_module():
    arguments = {"optimizers": ["gp", last], "budgets": [3, 6], "seeds": 2}
    one, two = (compare(grid(), "cost_usd", jobs=jobs, **arguments) for jobs in (1, 2))
    pd.testing.assert_frame_equal(one.drop(columns="suggest_ms_median"), two.drop(columns="suggest_ms_median"))


def test_a_checkpoint_of_a_frame_is_for_that_content(tmp_path):
    path = tmp_path / "c.jsonl"
    for frame in (GRID, GRID, GRID.assign(cost_usd=GRID.cost_usd + 1)):
        made = Table.from_frame(frame, arm="cloud", metrics=["cost_usd", "ttft_ms"], context="job")
        for goal in ("cost_usd", ["cost_usd", "ttft_ms"]):
            first = compare(made, goal, optimizers="random-wor", budgets=[3, 5], seeds=2, checkpoint=path)
            again = compare(made, goal, optimizers="random-wor", budgets=[3, 5], seeds=2, checkpoint=path)
            pd.testing.assert_frame_equal(first, again)
    assert len(path.read_text().splitlines()) == 2 * 2 * 2, "two contents, two goals, two workloads"


# ── several objectives ──


def test_a_front_is_compared_by_its_hypervolume():
    found = compare(
        grid(), ["cost_usd", "ttft_ms"], optimizers=["random-wor", "exhaustive", last], budgets=[3, 12], seeds=3
    )
    assert not [c for c in found.columns if "regret" in c or "savings" in c]
    whole = found[found.budget == 12]
    assert whole.mean_hypervolume_share.tolist() == pytest.approx([1, 1, 1])
    assert (whole.mean_front_points == whole.mean_true_front_points).all()
    assert (found.mean_true_front_points == 12).all(), "cost and time trade off at every config"
    part = found[found.budget == 3].set_index("optimizer")
    assert part.difference["random-wor"] == 0
    assert (part.mean_front_points == 3).all()
    best = part.mean_hypervolume_share.idxmax()
    assert part.mean_rank[best] == part.mean_rank.min(), "more hypervolume is the better rank"
    task = Task(grid(), "a", ("cost_usd", "ttft_ms"))
    by_hand = task.hypervolume_share(task.replay("exhaustive", 3).observations)
    assert part.mean_hypervolume_share["exhaustive"] == pytest.approx(by_hand), "both workloads are alike"
    assert part.ci95["exhaustive"][0] == pytest.approx(by_hand)


def test_who_refuses_several_objectives_says_so_before_anything_runs(monkeypatch):
    ran = []
    aims = (grid(), ["cost_usd", "ttft_ms"])
    with pytest.raises(UsageError, match="one_objective aims at one objective"):
        compare(*aims, optimizers=[last, one_objective], on_cell=lambda *c: ran.append(c))
    assert ran == []
    monkeypatch.setattr(methods, "all_names", lambda: ["random", "refuses", "random-wor"])
    make = methods.make_factory
    monkeypatch.setattr(methods, "make_factory", lambda n, b: one_objective if n == "refuses" else make(n, b))
    found = compare(*aims, optimizers="all", budgets=2, seeds=1)
    assert found.optimizer.tolist() == ["random", "random-wor"]
    assert found.attrs["left_out"] == {"refuses": "one_objective aims at one objective"}
    with pytest.raises(UsageError, match="one_objective"):
        compare(*aims, optimizers=["all", "refuses"], budgets=2, seeds=1)
    assert len(compare(grid(), "cost_usd", optimizers="all", budgets=2, seeds=1)) == 3


def test_a_recorded_config_that_fails_its_requests_is_no_optimum():
    frame = pd.DataFrame({"x": [1, 2, 3], "cost_usd": [1.0, 2.0, 3.0], "failure_rate": [63 / 64, 0.0, 0.01]})
    failing = Table.from_frame(frame, metrics=["cost_usd", "failure_rate"])
    task, loose = Task(failing, "all", "cost_usd"), Task(failing, "all", "cost_usd", max_failure_rate=None)
    assert (task.optimum["x"], loose.optimum["x"]) == (2, 1)
    report = task.replay("exhaustive", 3)
    assert report.incumbent.candidate["x"] == 2
    assert task.best_tried_value(report.observations) == 2.0
    assert task.random_feasible_value == 2.5
    hopeless = Table.from_frame(frame[:1], metrics=["cost_usd", "failure_rate"])
    with pytest.raises(TableError, match=r"meets failure_rate_excess<=0\.01"):
        _ = Task(hopeless, "all", "cost_usd").optimum


def test_a_history_is_of_its_own_table():
    """Tables come and go, and with them their ids."""
    for i in range(12):
        rows = {"cloud": ["a", "a"] * 2, "n": [1, 2] * 2, "w": ["x", "x", "y", "y"], "usd": [i + 1.0, i + 2.0] * 2}
        task = Task(Table.from_frame(pd.DataFrame(rows), arm="cloud", context="w", metrics="usd"), "x", "usd")
        (other,) = task.history("others").values()
        assert sorted(o.result.metrics["usd"] for o in other.observations) == [i + 1.0, i + 2.0]
