"""What earlier searches paid for: read from stores and tables, and told search after search."""

import json
import math
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from cloudbandit import BaseOptimizer, Candidate, Result, SLOGoal, Store, load_table, minimize, remember
from cloudbandit.cli import app
from cloudbandit.core.errors import UsageError
from cloudbandit.core.known import digest_of_history
from cloudbandit.replay.cells import Cell
from cloudbandit.replay.compare import compare_rows
from cloudbandit.replay.lifelong import Life, order_of
from cloudbandit.replay.task import Task

TABLE = """
[table]
file = "runs.csv"
context = ["job"]
arm = "cloud"
[params]
nodes = "int"
[metrics]
cost_usd = { column = "cost", unit = "USD" }
runtime_s = "time"
[spent]
usd = "cost"
seconds = "time"
[facts]
price_usd_per_h = "price"
"""


@pytest.fixture
def table(tmp_path):
    rows = ["job,cloud,nodes,cost,time,price"]
    for j, job in enumerate("uvwxyz"):
        for cloud, price in (("a", 1.0), ("b", 3.0)):
            rows += [f"{job},{cloud},{n},{price * n / 8 + abs(n - j):g},{60 / n:g},{price * n}" for n in range(1, 6)]
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "runs.csv").write_text("\n".join(rows) + "\n")
    (folder / "table.toml").write_text(TABLE)
    return folder


GOAL = SLOGoal("cost_usd")


class Told(BaseOptimizer):
    """Notes what it was told beforehand, then tries what was best there, and the rest in the order of the list."""

    seen: ClassVar[list] = []

    def __init__(self, problem):
        super().__init__(problem)
        self.seen.append({name: [o.candidate.key for o in h] for name, h in problem.history.items()})

    def _suggest(self):
        free = self.free
        if not len(free):
            return None
        best = {}
        for history in self.problem.history.values():
            for o in history:
                best[o.candidate] = min(o.score.values[0], best.get(o.candidate, math.inf))
        return min((self.domain.candidates[i] for i in free), key=lambda c: best.get(c, math.inf))


@pytest.fixture(autouse=True)
def _nothing_seen():
    Told.seen.clear()


# ── where histories come from ──


def test_a_table_is_remembered_workload_by_workload_without_what_is_searched(table):
    found = remember([str(table)], GOAL, task=(str(table), "w"))
    assert sorted(found) == [f"{table}/{w}" for w in "uvxyz"]
    history = found[f"{table}/u"]
    assert len(history) == 10
    assert all(o.score.values == (o.result.metrics["cost_usd"],) for o in history)
    assert history.facts(Candidate("b", {"nodes": 2})) == {"price_usd_per_h": 6.0}
    assert list(remember([f"{table}#v"], GOAL)) == [f"{table}/v"]
    with pytest.raises(UsageError, match="holds no other trial that says something"):
        remember([f"{table}#w"], GOAL, task=(str(table), "w"))
    with pytest.raises(UsageError, match=r"history 'past\.db' is neither a store's file nor a table"):
        remember(["past.db"], GOAL)
    with pytest.raises(UsageError, match="has cost_usd in USD, and this study in EUR"):
        remember([str(table)], GOAL, {"cost_usd": "EUR"})


def test_a_store_is_remembered_study_by_study_without_the_study_itself(table, tmp_path):
    url = str(tmp_path / "s.db")
    with Store(url) as store:
        for workload in "uv":
            spec = {"kind": "replay", "table": str(table), "workload": workload}
            Task(load_table(table), workload, "cost_usd").replay("random-wor", 4, store=store, name=workload, spec=spec)
    both = remember([url], GOAL)
    assert {name: len(h) for name, h in both.items()} == {f"{url}/u": 4, f"{url}/v": 4}
    assert both[f"{url}/u"].facts(Candidate("a", {"nodes": 3})) == {"price_usd_per_h": 3.0}
    assert list(remember([url], GOAL, study=(url, "u"))) == [f"{url}/v"]
    assert list(remember([f"{url}#u"], GOAL)) == [f"{url}/u"]
    with pytest.raises(UsageError, match="no speed, which this study aims at; it has cost_usd, runtime_s"):
        remember([url], SLOGoal("speed"))


def test_a_store_whose_table_is_gone_is_remembered_without_facts_and_it_is_said(table, tmp_path, caplog):
    url = str(tmp_path / "s.db")
    with Store(url) as store:
        spec = {"kind": "replay", "table": str(tmp_path / "gone"), "workload": "u"}
        Task(load_table(table), "u", "cost_usd").replay("random-wor", 4, store=store, name="u", spec=spec)
    (history,) = remember([url], GOAL).values()
    assert history.facts(history.observations[0].candidate) == {}
    assert "are not known any more" in caplog.text


def test_a_function_learns_from_a_store(tmp_path):
    url = str(tmp_path / "s.db")

    def cost(candidate):
        return Result(metrics={"value": abs(candidate["x"] - 3.0)}, spent_usd=1.0)

    space = {"a": [{"x": x} for x in range(8)]}
    minimize(cost, space, 6, optimizer="random-wor", store=url, name="first")
    again = minimize(cost, space, 2, optimizer=Told, store=url, name="second", history=url)
    assert list(Told.seen[0]) == [f"{url}/first"]
    first = remember([f"{url}#first"], SLOGoal("value"))[f"{url}/first"]
    assert again.observations[0].candidate == min(first, key=lambda o: o.score).candidate


def test_replay_remembers_and_resumes_only_with_the_same_memory(table, tmp_path):
    url, past = str(tmp_path / "s.db"), str(tmp_path / "past.db")
    run = ["replay", str(table), "--minimize", "cost_usd", "--optimizer", "random-wor", "--json"]

    def call(*more, code=0):
        done = CliRunner().invoke(app, [*run, *map(str, more)])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout) if code == 0 else str(done.exception) + done.output

    call("--workload", "u", "--budget", 3, "--store", past, "--study", "u")
    now = ["--workload", "w", "--store", url, "--study", "w", "--history", past]
    assert call(*now, "--budget", 3)["evaluations"] == 3
    resumed = CliRunner().invoke(app, ["resume", "--store", url, "--study", "w", "--budget", "5", "--json"])
    assert json.loads(resumed.stdout)["restored"] == 3
    call("--workload", "v", "--budget", 3, "--store", past, "--study", "v")
    call(*now, "--budget", 6, code=1)  # there is more to remember by now: another study
    (own,) = remember([past], GOAL, study=(past, "u")).items()
    assert own[0] == f"{past}/v"
    assert digest_of_history(dict([own])) != digest_of_history(remember([past], GOAL))


# ── search after search ──


def lived(table, optimizers, budgets=3, seeds=2, **more):
    return compare_rows(table, "cost_usd", optimizers, budgets, seeds, lifelong=True, **more)


def test_each_search_is_told_what_the_earlier_ones_of_its_order_tried_and_nothing_else(table):
    lived(load_table(table), {"told": Told}, seeds=2)
    searches = Told.seen[-12:]  # before them each kind of study was built once, to see that it can be
    for seed, part in enumerate((searches[:6], searches[6:])):
        order = order_of("uvwxyz", seed)
        assert [list(seen) for seen in part] == [list(order[:i]) for i in range(6)]
        assert all(len(tried) == 3 for seen in part for tried in seen.values())
    assert order_of("uvwxyz", 0) == order_of("zyxwvu", 0) != order_of("uvwxyz", 1)


def test_rows_are_those_of_a_comparison_and_more(table):
    (alone,) = compare_rows(str(table), "cost_usd", "random", 3, 2)
    (row,) = lived(table, "random")
    assert row.to_dict().keys() - alone.to_dict().keys() == {
        "cold_regret_percent",
        "last_third_regret_percent",
        "regret_by_position_percent",
    }
    assert alone.to_dict().keys() <= row.to_dict().keys()
    assert row.n == 12
    places = row.regret_by_position_percent
    assert row.mean_regret_percent == pytest.approx(sum(places) / 6)
    assert (row.cold_regret_percent, row.last_third_regret_percent) == (places[0], pytest.approx(sum(places[4:]) / 2))


def test_a_method_that_learns_nothing_is_worth_the_same_alone(table):
    """Seeds are the searches' own too, so only what is told differs."""
    alone = {
        (r.optimizer, r.budget): r.to_dict() for r in compare_rows(str(table), "cost_usd", ["random", "gp"], [2, 4], 3)
    }
    for row in lived(table, ["random", "gp"], [2, 4], 3):
        then = alone[row.optimizer, row.budget]
        assert row.mean_regret_percent == pytest.approx(then["mean_regret_percent"])
        assert row.ci95 == pytest.approx(then["ci95"])


@pytest.mark.slow
def test_it_is_the_same_in_processes_and_from_a_checkpoint(table, tmp_path, monkeypatch):
    def figures(rows):
        return [{k: v for k, v in row.to_dict().items() if k != "suggest_ms_median"} for row in rows]

    path, seen = tmp_path / "cells.jsonl", []
    first = figures(lived(table, ["random", "joint"], checkpoint=path, on_cell=lambda *n: seen.append(n)))
    assert seen[-1] == (4, 4)
    assert figures(lived(table, ["random", "joint"], jobs=2)) == first
    monkeypatch.setattr(Life, "run", None)
    assert figures(lived(table, ["random", "joint"], checkpoint=path)) == first
    assert Cell is not Life


def test_what_must_know_whole_workloads_has_no_place_in_it(table):
    with pytest.raises(UsageError, match="portfolio must be told whole recorded workloads"):
        lived(table, ["random", "portfolio"])


def test_the_command_says_how_it_went(table):
    words = [
        "compare",
        str(table),
        "--minimize",
        "cost_usd",
        "--optimizers",
        "random",
        "--budgets",
        "2",
        "--seeds",
        "2",
    ]
    done = CliRunner().invoke(app, [*words, "--lifelong"])
    assert done.exit_code == 0, done.output
    assert "last third %" in done.stdout
