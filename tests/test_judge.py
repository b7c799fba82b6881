"""Stored trials judged again: nothing is run for it."""

import json

import pytest
from typer.testing import CliRunner

from cloudbandit import Budget, Candidate, Domain, Result, SLOGoal, Status, Store, Study, Trial, make_factory
from cloudbandit.cli import app
from cloudbandit.core.errors import UsageError
from cloudbandit.core.fleet import FleetGoal
from cloudbandit.live.studyfile import LiveStudy, load

SPEC = {"kind": "live", "study": {"name": "s", "minimize": "tpot_ms", "slos": ["failure_rate<=0"]}}
ROWS = [  # per trial: price, then per load users and the p95 of the time to first token
    (1.0, [(1, 50.0), (8, 90.0), (64, 400.0)]),
    (3.0, [(1, 20.0), (8, 30.0), (64, 80.0)]),
]


def _result(price, loads, tpot):
    rows = tuple({"users": float(u), "ttft_p95_ms": t, "failure_rate": 0.0} for u, t in loads)
    metrics = {
        "ttft_p95_ms": loads[-1][1],
        "tpot_p50_ms": tpot,
        "failure_rate": 0.0,
        "output_tok_per_s": 100 * price,
        "price_usd_per_h": price,
        "engines": 1.0,
    }
    return Result(metrics=metrics, rows=rows, spent_usd=0.25, hosts_usd=0.125)


@pytest.fixture
def url(tmp_path):
    path = str(tmp_path / "s.db")
    with Store(path) as store:
        record = store.open("s", {}, SPEC)
        results = [_result(*ROWS[0], 5.0), Result(Status.FAILED, reason="start_crash"), _result(*ROWS[1], 9.0)]
        for number, result in enumerate(results):
            trial = Trial(number, Candidate(("here", "m"), {"batch": 2**number}))
            record.start(trial, 1.0)
            record.finish(trial, result, float(number))
        record.close()
    return path


def show(url, *options):
    return CliRunner().invoke(app, ["show", "--store", url, *options])


def test_another_slo_has_another_answer_and_the_best_comes_first(url):
    own = json.loads(show(url, "--minimize", "tpot_ms", "--json").stdout)
    assert [t["trial"] for t in own["trials"]] == [0, 2, 1]
    assert own["goal"] == {"metrics": ["tpot_p50_ms"], "slos": ["failure_rate<=0"]}  # its own SLO stays
    strict = json.loads(show(url, "--slo", "ttft_p95_ms<=100", "--json").stdout)
    assert strict["incumbent"]["trial"] == 2
    assert [t["feasible"] for t in strict["trials"]] == [True, False, False]
    assert strict["incumbent"]["hosts_usd"] == 0.125
    most = json.loads(show(url, "--maximize", "output_tok_per_s", "--json").stdout)
    assert most["incumbent"]["values"] == {"output_tok_per_s": 300.0}
    text = show(url, "--slo", "ttft_p95_ms<=100").stdout
    assert "trial 2 is best for tpot_p50_ms, ttft_p95_ms<=100" in text
    assert "start_crash" in text


def test_a_load_curve_is_judged_as_a_fleet(url):
    fleet = json.loads(show(url, "--slo", "ttft_p95_ms<=100", "--for-users", "200", "--json").stdout)
    # 8 users a machine at 1 USD/h: 25; 64 at 3 USD/h: 4 machines
    assert [t["values"] for t in fleet["trials"]] == [
        {"usd_per_h": 12.0, "machines": 4.0},
        {"usd_per_h": 25.0, "machines": 25.0},
        {},
    ]
    assert fleet["incumbent"]["trial"] == 2
    few = json.loads(show(url, "--slo", "ttft_p95_ms<=100", "--for-users", "8", "--json").stdout)
    assert few["incumbent"]["values"] == {"usd_per_h": 1.0, "machines": 1.0}
    said = show(url, "--slo", "ttft_p95_ms<=100", "--for-users", "200", "--minimize", "usd_per_h").stdout
    assert said == show(url, "--slo", "ttft_p95_ms<=100", "--for-users", "200").stdout
    assert "machines" in said


def test_where_nothing_is_feasible_the_exit_code_says_so(url):
    for options in (["--slo", "ttft_p95_ms<=1"], ["--slo", "ttft_p95_ms<=1", "--for-users", "9"]):
        done = show(url, *options)
        assert done.exit_code == 3
        assert "no trial is feasible" in done.stdout
    assert show(url, "--slo", "ttft_p95_ms<=100").exit_code == 0
    assert show(url).exit_code == 0
    assert "0.25 USD for hosts" in show(url).stdout


def test_a_goal_that_makes_no_sense_is_refused(url, tmp_path):
    for options, why in (
        (["--minimize", "output_tok_per_s"], "cure: maximize it"),
        (["--minimize", "speed"], "unknown metric 'speed'"),
        (["--for-users", "9", "--minimize", "tpot_ms"], "its usd_per_h is minimised, nothing else"),
        (["--for-users", "0", "--slo", "ttft_ms<=1"], "must be at least 1"),
    ):
        assert why in str(show(url, *options).exception)
    with Store(tmp_path / "p.db") as store:
        record = store.open("python", {})
        record.start(Trial(0, Candidate("a", {"x": 1})), 0.0)
        record.finish(Trial(0, Candidate("a", {"x": 1})), Result(metrics={"loss": 1.0}), 0.0)
        record.close()
    assert "what it aims at" in str(show(str(tmp_path / "p.db"), "--slo", "loss<=2").exception)
    assert show(str(tmp_path / "p.db"), "--slo", "loss<=2", "--minimize", "loss").exit_code == 0


def test_a_replayed_study_is_judged_again_too(tmp_path):
    url, spec = str(tmp_path / "r.db"), {"kind": "replay", "minimize": "loss", "slo": ["loss>=2"]}
    with Store(url) as store:
        from cloudbandit.objectives.function import FunctionObjective

        objective = FunctionObjective(lambda c: {"loss": float(c["x"]), "other": float(-c["x"])})
        Study(
            Domain({"a": [{"x": x} for x in (1, 2, 3)]}),
            objective,
            SLOGoal("loss", ["loss>=2"]),
            make_factory("exhaustive"),
            Budget(3),
            store=store,
            spec=spec,
        ).run()
    best = json.loads(show(url, "--minimize", "loss", "--json").stdout)["incumbent"]
    assert best["config"] == {"x": 2}
    best = json.loads(show(url, "--minimize", "other", "--slo", "loss<=9", "--json").stdout)["incumbent"]
    assert best["config"] == {"x": 3}
    front = json.loads(show(url, "--minimize", "loss,other", "--json").stdout)
    assert front["incumbent"]["values"] == {"loss": 2.0, "other": -2.0}


def test_a_fleet_is_a_goal_of_a_study_file(tmp_path):
    fleet = """
[study]
goal = "fleet"
for_users = 200
slos = ["ttft_p95_ms<=300"]
trials = 2
[engine]
name = "openvino"
[workload]
[load]
users = [1, 4, 16]
"""
    path = tmp_path / "study.toml"
    path.write_text(fleet)
    live = LiveStudy.of(load(path))
    assert live.goal == FleetGoal(200, ["ttft_p95_ms<=300"])
    assert live.name == "study"
    for change, why in (
        (("for_users = 200", ""), "needs study.for_users"),
        (('goal = "fleet"', ""), "goes with"),
        (("users = [1, 4, 16]", "users = [4, 4]"), "different numbers of users"),
        (("users = [1, 4, 16]", "rate_per_s = [4]"), "different numbers of users"),
        (("trials = 2", 'trials = 2\nminimize = "tpot_ms"'), "leave minimize out"),
        (('slos = ["ttft_p95_ms<=300"]', ""), "there is no SLO"),
        (('"fleet"', '"fleets"'), "study.goal is 'fleets'; allowed: slo, fleet"),
        (("for_users = 200", "for_users = 0"), "study.for_users is 0; allowed: a whole number ≥ 1"),
    ):
        path.write_text(fleet.replace(*change))
        with pytest.raises(UsageError, match=why):
            load(path)
    path.write_text(
        fleet.replace('goal = "fleet"\nfor_users = 200', 'minimize = ["tpot_ms"]\nmaximize = "output_tok_per_s"')
    )
    goal = LiveStudy.of(load(path)).goal
    assert (goal.metrics, goal.signs) == (("tpot_p50_ms", "output_tok_per_s"), (1.0, -1.0))


FLEET = """
[study]
name = "fleet"
goal = "fleet"
for_users = 200
slos = ["ttft_p95_ms<=1000", "failure_rate<=0.1"]
optimizer = "random-wor"
trials = 3

[engine]
name = "openvino"
knobs = { threads = 2, kv_cache_precision = "u8", num_kv_blocks = 256, dynamic_split_fuse = true }

[workload]
input_tokens = 48
output_tokens = 12

[load]
users = [1, 4, 16]
requests = 16
"""


@pytest.mark.slow
def test_a_real_engine_answers_in_usd_per_hour_of_a_fleet_and_is_judged_again(tmp_path):
    pytest.importorskip("openvino_genai")
    (tmp_path / "study.toml").write_text(FLEET)
    url = str(tmp_path / "s.db")
    ran = CliRunner().invoke(
        app, ["run", str(tmp_path / "study.toml"), "--store", url, "--json", "--plot", str(tmp_path / "fleet.png")]
    )
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    machines = answer["incumbent"]["values"]["machines"]
    assert answer["incumbent"]["values"]["usd_per_h"] == pytest.approx(machines * 0.05)
    assert 200 / 16 <= machines <= 200
    assert (tmp_path / "fleet.png").stat().st_size > 10_000
    with Store(url) as store:
        kept = store.trials("fleet")
    assert [[row["users"] for row in t.result.rows] for t in kept] == [[1, 4, 16]] * 3
    again = json.loads(show(url, "--slo", "ttft_p95_ms<=1000", "--minimize", "tpot_ms", "--json").stdout)
    assert again["incumbent"]["values"]["tpot_p50_ms"] == min(t.result.metrics["tpot_p50_ms"] for t in kept)
    fewer = json.loads(show(url, "--for-users", "16", "--json").stdout)
    assert fewer["incumbent"]["values"]["usd_per_h"] <= answer["incumbent"]["values"]["usd_per_h"]
    assert show(url, "--slo", "ttft_p95_ms<=0.001").exit_code == 3
    with Store(url) as store:
        assert store.trials("fleet") == kept  # nothing was run
    text = CliRunner().invoke(app, ["resume", "--store", url]).stdout
    assert "machines" in text
    assert "usd_per_h" in text
