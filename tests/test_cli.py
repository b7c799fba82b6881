"""The command line as others script against it: keys, exit codes, streams."""

import inspect
import io
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from rich.console import Console

from cloudbandit import Result, Status, Store, minimize
from cloudbandit.cli import main
from cloudbandit.cli.compare import compare
from cloudbandit.cli.grid import Column, print_table
from cloudbandit.cli.replay import replay
from cloudbandit.optimizers import DEFAULT

WORKLOAD = "llama-3.1-70b|chat|2000tok|spot"
DEMO = ["replay", "llm-serving", "--workload", WORKLOAD, "--minimize", "usd_per_h", "--slo", "ttft_ms<=1000"]


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return call


@pytest.fixture
def json_of(run):
    def call(*arguments, code=0):
        exit_code, out, err = run(*arguments, "--json")
        assert exit_code == code, err
        assert out.count("\n") == 1, "one object on one line"
        return json.loads(out)

    return call


def test_replay_json(json_of):
    found = json_of(*DEMO, "--budget", 11, "--seed", 1)
    assert list(found) == [
        "table",
        "workload",
        "optimizer",
        "budget",
        "evaluations",
        "restored",
        "incumbent",
        "regret_percent",
        "random_feasible_regret_percent",
        "max_failure_rate",
        "spent_usd",
        "believed",
        "stop_reason",
    ]
    assert (found["table"], found["budget"], found["evaluations"]) == ("llm-serving", 11, 11)
    assert set(found["incumbent"]) == {"arm", "config", "metrics"}
    assert found["incumbent"]["metrics"]["ttft_ms"] <= 1000
    assert found["regret_percent"] >= 0
    assert found["random_feasible_regret_percent"] > found["regret_percent"]
    assert found["spent_usd"] > 0
    assert found == json_of(*DEMO, "--budget", 11, "--seed", 1)


def test_replay_for_people(run):
    code, out, err = run(*DEMO, "--budget", 22, "--optimizer", "cloudbandit:gp-ard")
    assert code == 0
    for word in (
        "recommended",
        "usd_per_h",
        "ttft_ms<=1000",
        "price",
        "regret",
        "feasible configs",
        "22 run, ",
        "567",
        "estimates",
    ):
        assert word in out, word
    assert "schedule" in err
    assert "round 1: 3 arms × 2" in err


BOTH = [*DEMO[:4], "--minimize", "usd_per_h,ttft_ms", "--slo", "tpot_ms<=50", "--optimizer", "random-wor"]


def test_a_front_in_json_and_for_people(json_of, run, tmp_path):
    found = json_of(*BOTH, "--budget", 44)
    assert list(found) == [
        "table",
        "workload",
        "optimizer",
        "budget",
        "evaluations",
        "restored",
        "front",
        "hypervolume_share",
        "max_failure_rate",
        "spent_usd",
        "believed",
        "stop_reason",
    ]
    assert 0 < found["hypervolume_share"] <= 1
    points = [(o["metrics"]["usd_per_h"], o["metrics"]["ttft_ms"]) for o in found["front"]]
    assert len(points) >= 2
    assert points == sorted(points)
    assert [p[1] for p in points] == sorted((p[1] for p in points), reverse=True), "dearer is faster"
    assert all(o["metrics"]["tpot_ms"] <= 50 for o in found["front"])
    code, out, _ = run(*BOTH, "--budget", 44, "--plot", tmp_path / "front.png")
    assert code == 0
    assert (tmp_path / "front.png").read_bytes()[:4] == b"\x89PNG"
    for usd, ms in points:
        assert any(f"{usd:.4g}" in line and f"{ms:.4g}" in line for line in out.splitlines())
    assert f"{found['hypervolume_share']:.3f} of the true front's" in out
    nothing = json_of(*[a.replace("<=50", "<=0.001") for a in BOTH], "--budget", 3, code=3)
    assert (nothing["front"], nothing["hypervolume_share"]) == ([], None)


def test_maximising_prints_the_metrics_own_sign(json_of, run):
    arguments = [*DEMO[:4], "--maximize", "output_tok_per_s", "--optimizer", "random-wor", "--budget", 33]
    found = json_of(*arguments)
    value = found["incumbent"]["metrics"]["output_tok_per_s"]
    assert value > 0
    assert found["regret_percent"] > 0
    out = run(*arguments)[1]
    assert f"{value:.4g}" in out
    assert f"{found['regret_percent']:.1f} % below the table's optimum" in out
    both = json_of(*DEMO[:6], "--maximize", "output_tok_per_s", "--optimizer", "random-wor", "--budget", 33)
    assert all(o["metrics"]["output_tok_per_s"] > 0 for o in both["front"])


def test_a_stored_replay_of_an_earlier_version_goes_on(json_of, run, tmp_path):
    """Its spec knows of no maximize, no facts."""
    from cloudbandit.cli.replay import _task
    from cloudbandit.replay.task import replay as run_replay

    spec = {
        "kind": "replay",
        "table": "llm-serving",
        "workload": WORKLOAD,
        "minimize": "usd_per_h",
        "slo": ["ttft_ms<=1000"],
        "optimizer": "random-wor",
        "budget": 12,
        "seed": 1,
        "failures": "strict",
        "workers": 1,
    }
    with Store(str(tmp_path / "s.db")) as store:
        done = run_replay(_task(spec), "random-wor", 12, 1, store=store, name="old", spec=spec)
    found = json_of("resume", "--store", tmp_path / "s.db")
    assert found["evaluations"] == 12
    assert found["spent_usd"] == done.spent_usd
    json_of(*BOTH, "--budget", 7, "--facts", "none", "--store", tmp_path / "s.db", "--study", "new")
    assert "front" in json_of("resume", "--store", tmp_path / "s.db", "--study", "new")
    code, _, err = run(*BOTH, "--budget", 7, "--store", tmp_path / "s.db", "--study", "new")
    assert code == 2
    assert "facts: stored ['none']" in err


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_narrow_terminal_cuts_no_number(width):
    file = io.StringIO()
    numbers = {f"some figure {i} %": [f"{1234.5 * i:.1f}", f"{i}.0 … 9{i}99.{i}"] for i in range(1, 7)}
    methods = Column("optimizer", ["random", "a/very/long/path/to/somebodys/own/file.py:Optimizer"], text=True)
    columns = [methods, *(Column(n, cells, spare=6 - i) for i, (n, cells) in enumerate(numbers.items(), start=1))]
    print_table("title", columns, console=Console(width=width, file=file))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = file.getvalue()
    said = text.partition("left out for want of width")[2]
    for name, cells in numbers.items():
        shown = all(cell in text for cell in cells)
        assert shown != (name in " ".join(said.split()))
    assert numbers["some figure 6 %"][1] in text
    assert bool(said) == (width < 140)


def test_where_nothing_may_be_left_out_rows_are_stacked_and_markup_is_text():
    file = io.StringIO()
    columns = [Column("trial", ["0", "1"]), *(Column(f"metric_{i}_ms", [f"{i}23456.5", "[b]"]) for i in range(5))]
    print_table("[red]title", columns, console=Console(width=40, file=file))
    lines = file.getvalue().splitlines()
    assert lines[0] == "[red]title"
    assert lines[1:3] == ["trial 0", "  metric_0_ms  023456.5"]
    assert lines[-1] == "  metric_4_ms  [b]"
    assert len(lines) == 1 + 2 * 6


def test_no_feasible_configuration_is_exit_3(json_of, run):
    impossible = [*DEMO[:-1], "ttft_ms<=0.001"]
    found = json_of(*impossible, "--budget", 11, code=3)
    assert found["incumbent"] is None
    assert found["regret_percent"] is None
    assert "no evaluated configuration meets ttft_ms<=0.001" in found["stop_reason"]
    code, out, _ = run(*impossible, "--budget", 11)
    assert code == 3
    assert "nearest miss (not an answer)" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: "llm-servin"}, "Did you mean 'llm-serving'"),
        ({3: "nope"}, "unknown workload 'nope'"),
        ({5: "usd_per_hour"}, "unknown metric 'usd_per_hour'"),
        ({7: "ttft<1"}, "METRIC<=LIMIT"),
        ({7: "tfft_ms<=1"}, "unknown metric 'tfft_ms'"),
        ({5: "output_tok_per_s"}, "better the higher it is, and it is to be minimised; cure: maximize it (--maximize"),
        ({4: "--maximize"}, "better the lower it is, and it is to be maximised; cure: minimize it"),
        ({5: ","}, "cure: --minimize METRIC, --maximize METRIC, or both"),
        ({5: "ttft_ms,ttft_p50_ms"}, "aims at each metric once"),
    ],
)
def test_unknown_names_are_exit_2(run, change, message):
    arguments = [change.get(i, a) for i, a in enumerate(DEMO)]
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err.replace("\n", " ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--optimizer", "gpp"], "unknown optimizer 'gpp'"),
        (["--budget", "2", "--optimizer", "cloudbandit:gp-ard"], "fewer than the 3 arms"),
        (["--budget", "0"], "budget of trials must be"),
        (["--seed", "-1"], "seed must be an int"),
        (["--failures", "lenient"], "unknown failure policy 'lenient'; known: recorded, strict"),
        (["--workers", "0"], "at least one worker"),
        (["--optimizer", "nowhere.py:Thing"], "does not exist"),
        (["--plot", "/nowhere/at/all.png", "--budget", "11"], "cannot be written"),
        (["--facts", "price"], "unknown fact 'price'; known: accelerator"),
        (["--facts", "none", "--optimizer", "price-order"], "needs the fact price_usd_per_h"),
        (
            ["--minimize", "usd_per_h,ttft_ms,tpot_ms", "--plot", "x.png"],
            "one objective or two, got usd_per_h, ttft_ms, tpot_ms",
        ),
    ],
)
def test_wrong_options_are_exit_2(run, more, message):
    code, _, err = run(*DEMO, *more)
    assert code == 2
    assert message in " ".join(err.split())


def test_an_unknown_command_or_option_is_exit_2(run):
    assert run("replya")[0] == 2
    assert run("replay", "--nope")[0] == 2
    assert run("--version")[1].strip().count(".") == 2


@pytest.mark.slow
def test_compare_json_is_the_same_whatever_the_jobs(json_of):
    arguments = [
        "compare",
        "llm-serving",
        "--minimize",
        "usd_per_h",
        "--workloads",
        f"{WORKLOAD},qwen3-32b|rag|500tok|spot",
    ]
    arguments += ["--optimizers", "random,cloudbandit:gp", "--budgets", "11,22", "--seeds", 2]
    one = json_of(*arguments)
    assert [(r["optimizer"], r["budget"], r["n"]) for r in one["rows"]] == [
        ("random", 11, 4),
        ("random", 22, 4),
        ("cloudbandit:gp", 11, 4),
        ("cloudbandit:gp", 22, 4),
    ]
    assert list(one["rows"][0]) == [
        "optimizer",
        "budget",
        "mean_regret_percent",
        "median_regret_percent",
        "mean_answer_regret_percent",
        "ci95",
        "mean_savings_percent",
        "savings_ci95",
        "suggest_ms_median",
        "n",
        "right_arm_percent",
        "near_percent",
        "median_evaluations_to_near",
        "median_usd_to_near",
        "mean_rank",
        "difference_percent",
        "difference_ci95",
        "mean_evaluations",
        "learns_from",
    ]
    two = json_of(*arguments, "--jobs", 2)
    for row in (*one["rows"], *two["rows"]):
        del row["suggest_ms_median"]
    assert one == two


def test_compare_agrees_with_replay(json_of):
    goal = ["--minimize", "usd_per_h"]
    swept = json_of(
        "compare",
        "llm-serving",
        *goal,
        "--workloads",
        WORKLOAD,
        "--optimizers",
        "random",
        "--budgets",
        11,
        "--seeds",
        2,
    )
    one = ["replay", "llm-serving", *goal, "--workload", WORKLOAD, "--optimizer", "random", "--budget", 11, "--seed"]
    single = [json_of(*one, seed)["regret_percent"] for seed in range(2)]
    assert swept["rows"][0]["mean_answer_regret_percent"] == pytest.approx(sum(single) / 2)


def test_compare_for_people_with_a_plot(run, tmp_path):
    plot = tmp_path / "regret.png"
    arguments = ["--workloads", WORKLOAD, "--optimizers", "random,gp", "--budgets", "11,22", "--seeds", 1]
    code, out, _ = run("compare", "llm-serving", "--minimize", "usd_per_h", *arguments, "--plot", plot)
    assert code == 0
    assert "mean regret %" in out
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert run("compare", "llm-serving", "--minimize", "usd_per_h", "--budgets", "eleven")[0] == 2


def test_compare_of_fronts(json_of, run, tmp_path):
    goal = ["compare", "llm-serving", "--minimize", "usd_per_h,ttft_ms", "--workloads", WORKLOAD, "--seeds", 2]
    goal += ["--budgets", "5,11", "--optimizers", "random-wor,random"]
    found = json_of(*goal)
    assert list(found["rows"][0]) == [
        "optimizer",
        "budget",
        "mean_hypervolume_share",
        "median_hypervolume_share",
        "ci95",
        "mean_front_points",
        "mean_true_front_points",
        "suggest_ms_median",
        "n",
        "mean_rank",
        "difference",
        "difference_ci95",
        "learns_from",
    ]
    one = [*DEMO[:4], "--minimize", "usd_per_h,ttft_ms", "--optimizer", "random-wor", "--budget", 5, "--seed"]
    shares = [json_of(*one, seed)["hypervolume_share"] for seed in range(2)]
    assert found["rows"][0]["mean_hypervolume_share"] == pytest.approx(sum(shares) / 2)
    code, out, _ = run(*goal, "--plot", tmp_path / "f.png", "--rank-plot", tmp_path / "r.png", "--baseline", "random")
    assert code == 0
    assert "mean hypervolume" in out
    assert "baseline: random" in out
    assert (tmp_path / "f.png").read_bytes()[:4] == (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"


def test_table_commands(json_of, run):
    found = json_of("table", "check", "llm-serving")
    assert set(found) == {
        "rows",
        "workloads",
        "arms",
        "configs",
        "repeats",
        "failures",
        "missing",
        "metrics",
        "facts",
        "warnings",
    }
    names = {t["name"]: t["kind"] for t in json_of("table", "list")["tables"]}
    assert names["llm-serving"] == "bundled"
    assert names["multicloud"] == "registered"
    assert run("table", "check", "nope")[0] == 2


def test_optimizers_lists_every_name(json_of):
    names = [o["name"] for o in json_of("optimizers")["optimizers"]]
    assert names[0] == "cloudbandit:<inner>"
    assert {"random", "random-wor", "exhaustive", "coordinate", "gp", "skopt", "smac", "optuna"} <= set(names)


def test_one_default_everywhere():
    """The command line names it in letters: importing the optimizers for --help would take longer than the help."""
    assert inspect.signature(replay).parameters["optimizer"].default == DEFAULT
    assert DEFAULT in inspect.signature(compare).parameters["optimizers"].default.split(",")
    assert inspect.signature(minimize).parameters["optimizer"].default == DEFAULT


def test_an_optimizer_of_ones_own(json_of, run, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        textwrap.dedent(
            """
            from cloudbandit import BaseOptimizer

            class Last(BaseOptimizer):
                def _suggest(self):
                    free = self.free
                    return self.domain.candidates[int(free[-1])] if len(free) else None
            """
        )
    )
    plain = DEMO[:6]
    found = json_of(*plain, "--optimizer", f"{path}:Last", "--budget", 9)
    assert found["optimizer"] == f"{path}:Last"
    assert found["evaluations"] == 9
    assert json_of(*plain, "--optimizer", f"cloudbandit:{path}:Last", "--budget", 11)["evaluations"] == 11
    code, _, err = run(*DEMO, "--optimizer", f"{path}:First")
    assert code == 2
    assert "unknown class in mine.py 'First'; known: BaseOptimizer, Last" in err


def test_the_documented_optimizer_takes_part(json_of, tmp_path):
    text = (Path(__file__).parent.parent / "docs" / "optimizers.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    assert code.startswith("# mine.py")
    assert len(code.splitlines()) <= 20
    path = tmp_path / "mine.py"
    path.write_text(code, encoding="utf-8")
    arguments = ["--workloads", WORKLOAD, "--budgets", "11", "--seeds", "1", "--minimize", "usd_per_h"]
    name = f"{path}:Cheapest"
    rows = json_of("compare", "llm-serving", *arguments, "--optimizers", f"price-order,{name},cloudbandit:{name}")[
        "rows"
    ]
    assert rows[1]["mean_regret_percent"] == rows[0]["mean_regret_percent"], "it is price order"


def test_store_resume_show(json_of, run, tmp_path):
    store = tmp_path / "s.db"
    first = json_of(*DEMO, "--budget", 11, "--store", store)
    again = json_of("resume", "--store", store)
    assert first | {"restored": 11} == again, "nothing was left to do"
    shown = json_of("show", "--store", store)
    assert len(shown["trials"]) == 11
    assert shown["in_flight"] == []
    code, out, _ = run("show", "--store", store)
    assert code == 0
    failed = sum(t["status"] == "failed" for t in shown["trials"])
    assert f"11 run, {failed} failed (out_of_memory)" in out
    assert "usd_per_" in out
    assert "ttft_ms" in out, "the SLO's metric is shown"
    chosen = run("show", "--store", store, "--metrics", "tpot_ms")[1]
    assert "tpot_ms" in chosen
    assert "ttft_ms" not in chosen
    failed = next(t for t in shown["trials"] if t["status"] == "failed")
    one = run("show", "--store", store, "--trial", failed["trial"])[1]
    assert failed["reason"] in one
    assert "seed" in one
    code, _, err = run("show", "--store", store, "--trial", 99)
    assert code == 2
    assert "no finished trial 99" in err
    code, _, err = run("show", "--store", store, "--metrics", "speed")
    assert code == 2
    assert "unknown metric" in err
    json_of(*DEMO, "--budget", 11, "--seed", 5, "--store", store, "--study", "second")
    assert json_of("show", "--store", store)["studies"][1] == "second"
    code, _, err = run("resume", "--store", store)
    assert code == 2
    assert "--study" in err
    assert run("resume", "--store", store, "--study", "secnd")[0] == 2
    code, _, err = run("show", "--store", tmp_path / "nope.db")
    assert code == 2
    assert "there is no store" in err
    assert not (tmp_path / "nope.db").exists()
    code, _, err = run(*DEMO, "--budget", 11, "--seed", 6, "--store", store, "--study", "second")
    assert code == 2
    assert "seed: stored" in err


def test_show_of_a_study_from_python_and_of_failures_alone(run, tmp_path):
    store = tmp_path / "s.db"
    domain = {"a[b]": [{"x": "[1, 2]"}, {"x": "[/]"}]}
    minimize(lambda c: 1.0, domain, budget=2, store=str(store), optimizer="exhaustive")
    code, out, _ = run("show", "--store", store)
    assert code == 0
    for part in ("[1, 2]", "[/]", "a[b]", "2 run, 0 failed"):
        assert part in out
    assert run("show", "--store", store, "--trial", "1")[0] == 0
    failed = tmp_path / "failed.db"
    minimize(lambda c: Result(Status.FAILED, reason="no"), {"a": [{"x": 1}]}, budget=1, store=str(failed))
    code, out, _ = run("show", "--store", failed)
    assert code == 0
    assert "no" in out


@pytest.mark.slow
def test_the_same_everywhere():
    """Same seed, same result, across processes and hash seeds."""
    command = [sys.executable, "-m", "cloudbandit", *DEMO, "--budget", "22", "--json"]
    outs = {
        subprocess.run(
            command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": str(s), "PATH": ""}
        ).stdout
        for s in (0, 1, 2)
    }
    assert len(outs) == 1
