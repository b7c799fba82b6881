"""Recorded tables of load curves: rows that differ in the load alone are one config's, and a fleet goal judges them."""

import math

import pytest

from cloudbandit import Budget, SLOGoal, Status, Study, Trial, load_table, make_factory
from cloudbandit.core.curve import LoadCurve
from cloudbandit.core.errors import TableError
from cloudbandit.core.fleet import FleetGoal
from cloudbandit.tables.check import check_table
from cloudbandit.tables.recorded import Recorded

MANIFEST = """
[table]
file = "runs.csv"
context = "model"
arm = "provider"
load = "clients"
[params]
gpus = "int"
[metrics]
itl_ms = "itl"
failure_rate = "failed"
output_tok_per_s = "tokens"
[facts]
price_usd_per_h = "price"
engines = "engines"
[spent]
usd = "paid"
seconds = "took"
[status]
column = "state"
ok = "ok"
otherwise = "failed"
"""
HEAD = "model,provider,gpus,clients,itl,failed,tokens,price,engines,paid,took,state"
ROWS = """m,A,1,1,10,0.1,50,3,1,0.5,60,ok
m,A,1,4,30,0.1,150,3,1,0.5,60,ok
m,A,1,4,50,0.1,130,3,1,0.7,80,ok
m,A,1,16,60,0.1,300,3,1,0.5,60,ok
m,A,2,16,20,0,500,7,2,1,60,ok
m,A,2,1,8,0,60,7,2,1,60,ok
m,A,2,4,12,0,200,7,2,1,60,ok
m,B,1,1,9,0,55,2,1,0.2,60,ok
m,B,1,4,,,,2,1,0.3,30,out of memory
m,B,1,16,9,0,99,2,1,0.2,60,ok
m,B,2,1,,,,5,1,0.4,30,out of memory
m,B,2,4,,,,5,1,0.4,30,out of memory"""


def recorded(tmp_path, manifest=MANIFEST, rows=ROWS, failures="strict"):
    (tmp_path / "table.toml").write_text(manifest)
    (tmp_path / "runs.csv").write_text(f"{HEAD}\n{rows}\n")
    return Recorded(load_table(tmp_path), "m", ["itl_ms"], failures)


def results(objective):
    return {(c.arm[0], c["gpus"]): objective.true_result(c) for c in objective.domain.candidates}


def test_rows_that_differ_in_the_load_alone_are_one_result(tmp_path):
    objective = recorded(tmp_path)
    found = results(objective)
    assert set(found) == {("A", 1), ("A", 2), ("B", 1), ("B", 2)}
    one = found["A", 1]
    assert [row["users"] for row in one.rows] == [1, 4, 16]
    assert one.rows[1] == {"users": 4, "itl_ms": 40, "failure_rate": pytest.approx(0.1), "output_tok_per_s": 140}
    assert one.metrics == {
        "itl_ms": 60,
        "failure_rate": 0.1,
        "output_tok_per_s": 300,
        "price_usd_per_h": 3,
        "engines": 1,
    }
    assert one.spent_usd == pytest.approx(0.5 + 0.6 + 0.5)
    assert one.seconds == pytest.approx(60 + 70 + 60)
    curve = LoadCurve.of_result(found["A", 2])
    assert (curve.loads, curve.engines, curve.usd_per_h) == ((1, 4, 16), 2, 7)
    candidate = next(c for c in objective.domain.candidates if c.arm == ("A",))
    quote = objective.quote(candidate)
    assert (quote.usd, quote.seconds) == (one.spent_usd, one.seconds)


def test_a_load_that_failed_has_a_row_and_a_config_that_never_worked_fails(tmp_path):
    found = results(recorded(tmp_path))
    partly, never = found["B", 1], found["B", 2]
    assert partly.status is Status.OK
    assert partly.rows[1] == {"users": 4}
    assert partly.spent_usd == pytest.approx(0.7)
    assert (never.status, never.reason, never.rows) == (Status.FAILED, "out of memory", ())
    assert never.spent_usd == pytest.approx(0.8)
    stated = results(recorded(tmp_path, MANIFEST + "[replay]\nfailed_seconds = 600\n"))["B", 2]
    assert stated.seconds == 600, "a trial fails once, however many loads it was asked for"


def test_a_fleet_goal_on_a_replayed_table_finds_the_cheapest_fleet(tmp_path):
    objective = recorded(tmp_path)
    goal = FleetGoal(30, ["itl_ms<=50"])
    report = Study(objective.domain, objective, goal, make_factory("exhaustive", 4), Budget(trials=4)).run()
    costs = {
        (o.candidate.arm[0], o.candidate["gpus"]): o.score.values[0] for o in report.observations if o.score.feasible
    }
    assert costs == {
        ("A", 1): 3 * math.ceil(30 / 4),
        ("A", 2): 7 * math.ceil(30 / (2 * 16)),
        ("B", 1): 2 * 30,  # four clients are too many, whatever sixteen say
    }
    assert report.incumbent.candidate["gpus"] == 2
    assert report.spent_usd == pytest.approx(sum(r.spent_usd for r in results(objective).values()))
    tokens = FleetGoal(slos=["itl_ms<=50"], tokens_per_s=900.0)
    assert tokens.score(results(objective)["A", 2]).values == (7.0,)
    assert tokens.score(results(objective)["A", 1]).values == (3.0 * math.ceil(900 / 140),)


def test_other_goals_judge_the_highest_load(tmp_path):
    assert SLOGoal("itl_ms").score(results(recorded(tmp_path))["A", 1]).values == (60,)


def test_the_price_is_what_was_paid_where_no_fact_says_it(tmp_path):
    plain = MANIFEST.replace('price_usd_per_h = "price"\nengines = "engines"', "")
    one = results(recorded(tmp_path, plain))["A", 1]
    assert one.metrics["price_usd_per_h"] == pytest.approx((0.5 + 0.5 + 0.7 + 0.5) / 260 * 3600)
    assert "engines" not in one.metrics


def test_each_load_is_drawn_from_its_repeats(tmp_path):
    objective = recorded(tmp_path, MANIFEST + '[replay]\nrepeats = "draw"\n')
    candidate = next(c for c in objective.domain.candidates if c.arm == ("A",) and c["gpus"] == 1)
    quote = objective.quote(candidate)
    assert (quote.usd, quote.seconds) == (pytest.approx(0.5 + 0.7 + 0.5), 60 + 80 + 60)
    seen = set()
    for seed in range(20):
        drawn = objective.evaluate(Trial(0, candidate, seed), None)
        assert drawn == objective.evaluate(Trial(0, candidate, seed), None)
        assert drawn.spent_usd <= quote.usd
        seen.add((drawn.rows[1]["itl_ms"], drawn.seconds))
    assert seen == {(30, 180), (50, 200)}
    first = recorded(tmp_path, MANIFEST + '[replay]\nrepeats = "first"\n')
    assert first.true_result(candidate).rows[1]["itl_ms"] == 30


def test_recorded_failures_count_with_their_values(tmp_path):
    rows = (
        ROWS.replace("B,1,4,,,,2", "B,1,4,99,1,0,2")
        .replace("B,2,1,,,,5", "B,2,1,9,1,0,5")
        .replace("B,2,4,,,,5", "B,2,4,9,1,0,5")
    )
    found = results(recorded(tmp_path, rows=rows, failures="recorded"))
    assert found["B", 1].rows[1]["itl_ms"] == 99
    assert found["B", 2].status is Status.FAILED
    assert found["B", 2].metrics["itl_ms"] == 9


def test_what_check_counts_as_a_repeat(tmp_path):
    recorded(tmp_path)
    assert check_table(load_table(tmp_path)).repeats == 1


def test_wrong_loads(tmp_path):
    for bad in ("", "0", "1.5", "many"):
        with pytest.raises(TableError, match=r"line 2: table\.load \(column 'clients'\)"):
            recorded(tmp_path, rows=ROWS.replace("m,A,1,1,", f"m,A,1,{bad},", 1))
    with pytest.raises(TableError, match=r"no column 'users', which table\.load names"):
        recorded(tmp_path, MANIFEST.replace('load = "clients"', 'load = "users"'))
    with pytest.raises(TableError, match="column 'clients' is a parameter and has another role too"):
        recorded(tmp_path, MANIFEST.replace('gpus = "int"', 'gpus = "int"\nclients = "int"'))
