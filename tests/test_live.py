"""Live trials: every way they end on a scripted engine, and, marked slow, on a real one."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scripted_engine import ROOT, Scripted
from typer.testing import CliRunner

from cloudbandit import Budget, Domain, SLOGoal, Status, Study, load_table, make_factory
from cloudbandit.cli import app
from cloudbandit.core.errors import DataError, TableError, UsageError
from cloudbandit.core.goal import SLO
from cloudbandit.core.listing import Listing
from cloudbandit.core.store import Store
from cloudbandit.core.trial import Candidate, Result, Trial
from cloudbandit.engines.openvino import TINY, OpenVINO
from cloudbandit.live import studyfile
from cloudbandit.live import trial as live_trial
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.studyfile import LiveStudy, load
from cloudbandit.live.trial import METRICS, REASONS, Benchmark, Unattended
from cloudbandit.loadgen.metrics import summarize
from cloudbandit.loadgen.workloads import Closed, Fixed, LogNormal, Open, Trace, Workload
from cloudbandit.objectives.function import FunctionObjective
from cloudbandit.providers.local import LocalHost, LocalProvider
from cloudbandit.tables.export import write_table

HERE = ("local", "this-machine")


def _objective(model="good", **options):
    defaults = {"loads": [Closed(2)], "requests": 4, "timeout_s": 0.5}
    return LiveObjective(
        LocalProvider(), Scripted(), Benchmark(model, Workload(Fixed(5, 4)), **(defaults | options)), run="tests"
    )


def _trial(number=0, **config):
    return Trial(number, Candidate(HERE, {"itl_ms": 1, "start": "ready", "batch": 1} | config), seed=number)


# ── how trials end ──


def test_a_good_trial_has_metrics_money_and_rows(tmp_path):
    objective = _objective(keep=tmp_path, loads=[Closed(1), Closed(2)])
    result = objective.evaluate(_trial(), Unattended())
    assert result.status is Status.OK
    assert [row["users"] for row in result.rows] == [1, 2]
    assert result.metrics["failure_rate"] == 0
    assert {"ttft_p95_ms", "tpot_p50_ms", "output_tok_per_s", "start_s"} <= set(result.metrics)
    assert 0 < result.spent_usd <= objective.quote(_trial().candidate).usd
    records = [json.loads(line) for line in Path(result.artifacts["records_1"]).read_text().splitlines()]
    assert len(records) == 4
    assert objective.by_arm["local"].rented("tests") == []
    assert set(result.metrics) <= {*METRICS, "engines"}
    assert result.metrics["price_usd_per_h"] == 0.05
    assert result.hosts_usd == 0
    assert result.stderr["ttft_p50_ms"] >= 0
    assert set(result.stderr) <= set(result.metrics)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "model", "reason", "told"),
    [
        ({"start": "crash"}, "good", "start_crash", "no such device"),
        ({"start": "never"}, "good", "start_timeout", "not ready after"),
        ({"batch": 2}, "good", "known_constraint", "exceeds"),
        ({}, "empty", "empty_output", "without a token"),
        ({}, "hang", "request_timeout", "no end after"),
        ({}, "500", "request_error", "busy"),
        ({}, "garbage", "request_error", "JSONDecodeError"),
        ({}, "die", "request_error", "closed the connection"),
    ],
)
def test_every_bad_end_has_its_reason_and_leaves_nothing_running(config, model, reason, told, monkeypatch):
    monkeypatch.setattr(Scripted, "start_timeout_s", 0.7 if config.get("start") == "never" else 20.0)
    objective = _objective(model)
    config = config if config.get("start", "ready") == "ready" else {**config, "batch": None}
    trial = Trial(0, Candidate(HERE, {k: v for k, v in _trial(**config).candidate.config.items() if v is not None}))
    result = objective.evaluate(trial, Unattended())
    assert (result.status, result.reason) == (Status.FAILED, reason)
    assert reason in REASONS
    assert told in result.error
    assert objective.by_arm["local"].rented("tests") == []


def test_partial_failure_is_a_metric_not_a_failed_trial(monkeypatch):
    def summarized(records, **options):
        return summarize([{**records[0], "status": "truncated"}, *records[1:]], **options)

    monkeypatch.setattr(live_trial, "summarize", summarized)
    result = _objective().evaluate(_trial(), Unattended())
    assert result.status is Status.OK
    assert result.metrics["failure_rate"] == pytest.approx(0.25)


def test_a_trial_never_costs_more_than_was_held(monkeypatch):
    monkeypatch.setattr(Scripted, "start_timeout_s", 600.0)
    objective = _objective("hang", limit_s=0.8, timeout_s=60.0)
    hung = objective.evaluate(_trial(), Unattended())
    assert hung.reason == "request_timeout"
    never = objective.evaluate(Trial(1, Candidate(HERE, {"itl_ms": 1, "start": "never"})), Unattended())
    assert never.reason == "start_timeout"
    for result in (hung, never):
        assert result.seconds < objective.quote(_trial().candidate).seconds
        assert result.spent_usd <= objective.quote(_trial().candidate).usd


@pytest.mark.slow
def test_a_port_in_use_is_not_measured_as_the_engine(monkeypatch):
    argv = [sys.executable, "-m", "cloudbandit.testing.stub_engine", "--ttft", "1.5", "--itl", "0.001"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as other:
        port = int(other.stdout.readline().split()[1])
        monkeypatch.setattr(LocalHost, "free_port", lambda self: port)
        result = _objective(timeout_s=10.0).evaluate(_trial(), Unattended())  # the other one answers every request
        other.kill()
    assert (result.status, result.reason) == (Status.FAILED, "engine_died")
    assert "has its port" in result.error


def test_a_load_shorter_than_its_warm_up_is_a_failed_trial():
    result = _objective(warmup_s=30.0).evaluate(_trial(), Unattended())
    assert (result.status, result.reason) == (Status.FAILED, "too_short")


def test_a_full_disk_is_not_the_configs_fault_and_a_bug_is_raised(monkeypatch):
    def full(self, local, remote):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalHost, "put", full)
    result = _objective().evaluate(_trial(), Unattended())
    assert (result.status, result.reason) == (Status.UNAVAILABLE, "disk_full")

    def broken(self, local, remote):
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(LocalHost, "put", broken)
    with pytest.raises(PermissionError):
        _objective().evaluate(_trial(), Unattended())


@pytest.mark.parametrize("when", ["before the engine starts", "before the load", "under load"])
def test_a_host_whose_folder_is_removed_is_not_the_configs_fault(when, monkeypatch):
    put, start = LocalHost.put, LocalHost.start

    def removed(host, local, remote):
        if remote == {"before the engine starts": "client.py", "before the load": "load-0.json"}.get(when):
            shutil.rmtree(host.folder)
        return put(host, local, remote)

    def started(host, argv, **options):
        process = start(host, argv, **options)
        if when == "under load" and "load-0.json" in argv:
            shutil.rmtree(host.folder)
        return process

    monkeypatch.setattr(LocalHost, "put", removed)
    monkeypatch.setattr(LocalHost, "start", started)
    result = _objective().evaluate(_trial(), Unattended())
    assert (result.status, result.reason) == (Status.UNAVAILABLE, "host_lost"), result
    assert "was removed while a trial used it" in result.error


def test_a_cancelled_trial_is_given_back():
    class Cancelled(Unattended):
        cancelled = True

    result = _objective().evaluate(_trial(start="ready"), Cancelled())
    assert (result.status, result.reason) == (Status.INTERRUPTED, "cancelled")


@pytest.mark.slow
def test_a_hopeless_trial_is_stopped_with_the_rows_so_far():
    class Hopeless(Unattended):
        def __init__(self, after):
            self.told, self.after = [], after

        def report(self, partial):
            self.told.append(partial)
            return len(self.told) < self.after

    loads = [Closed(1), Closed(2), Closed(3)]
    run = Hopeless(2)
    result = _objective(loads=loads).evaluate(_trial(), run)
    assert (result.status, result.reason) == (Status.STOPPED, "hopeless")
    assert [row["users"] for row in result.rows] == [1, 2]
    assert [partial["users"] for partial in run.told] == [1, 2]
    assert result.metrics["tpot_p50_ms"] == run.told[-1]["tpot_p50_ms"] == result.rows[-1]["tpot_p50_ms"]
    assert result.metrics["price_usd_per_h"] == 0.05
    assert result.spent_usd > 0
    whole = Hopeless(3)
    assert _objective(loads=loads).evaluate(_trial(), whole).status is Status.OK  # nothing is left to be cut short
    assert len(whole.told) == 3


# ── studies, files, tables ──

STUDY = """
[study]
name = "tiny"
minimize = "tpot_ms"
slos = ["failure_rate<=0"]
optimizer = "random-wor"
trials = 6
seed = 1

[provider]
name = "local"
usd_per_h = 0.05

[engine]
name = "openvino"
model = "tiny-llama"
knobs = { threads = 2, kv_cache_precision = "u8", num_kv_blocks = 256 }

[workload]
lengths = "lognormal"
input_tokens = 48
output_tokens = 12

[load]
users = 4
requests = 12
"""


def test_a_study_file_is_checked_before_anything_starts(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    live = LiveStudy.of(load(path))
    assert live.goal == SLOGoal("tpot_p50_ms", [SLO("failure_rate", 0)])
    assert live.budget == Budget(trials=6)
    for change, why in (
        (("trials = 6", "trails = 6"), "did you mean 'trials'"),
        (("[load]", "[loads]"), "did you mean 'load'"),
        (("users = 4", ""), "one of users, rate_per_s and trace"),
        (("users = 4", "users = 0"), r"load\.users is 0; allowed: a whole number ≥ 1, or a list"),
        (("users = 4", "users = [1, true]"), "or a list"),
        (("requests = 12", 'requests = "many"'), r"load\.requests is 'many'"),
        (("trials = 6", 'trials = "x"'), r"study\.trials is 'x'"),
        (("trials = 6", ""), "a budget limits"),
        (('slos = ["failure_rate<=0"]', 'slos = "failure_rate<=0"'), "a list of texts"),
        (("users = 4", "users = 4\ntimeout_s = -1"), "a number > 0"),
        (('name = "openvino"', ""), "lacks its name; allowed: openvino"),
        (("users = 4", "users = 4\nburstiness = 2"), "burstiness does not go with users, which takes think_s, ramp_s"),
        (("users = 4", "users = 4\nrequest_slos = ['tokens>=1']"), "goodput judges single requests"),
        (('name = "openvino"', 'name = "vllmm"'), "unknown engine"),
        (("threads = 2", "threads = 64"), "allowed: 1, 2"),
        (('"tpot_ms"', '"speed"'), "unknown metric"),
        (("usd_per_h = 0.05", "usd_per_h = 0"), "number > 0"),
        (('"lognormal"', '"long"'), "allowed: fixed, lognormal"),
        (("seed = 1", "seed = -1"), "≥ 0"),
        (('"random-wor"', '"randomm"'), "unknown optimizer"),
        (("[study]", "[study"), "is not TOML"),
    ):
        path.write_text(STUDY.replace(*change))
        with pytest.raises((UsageError, DataError), match=why):
            load(path)
    with pytest.raises(DataError, match="no study at"):
        load(tmp_path / "none.toml")
    ramp = "rate_per_s = [2, 8]\nramp_from_per_s = 1\nramp_s = 5\nrequest_slos = ['ttft_ms<=500']"
    path.write_text(STUDY.replace("users = 4", ramp))
    objective = LiveStudy.of(load(path)).objective
    assert objective.benchmark.loads == [Open(2.0, 1.0, 1.0, 5.0), Open(8.0, 1.0, 1.0, 5.0)]
    assert objective.benchmark.slos == [SLO("ttft_ms", 500)]


def test_the_limit_on_failures_is_the_studys_own(tmp_path):
    path = tmp_path / "study.toml"

    def read(*changes):
        text = STUDY.replace('slos = ["failure_rate<=0"]', "")
        for change in changes:
            text = text.replace(*change)
        path.write_text(text)
        return LiveStudy.of(load(path))

    plain, said = read(), read(("seed = 1", "seed = 1\nmax_failure_rate = 0.01"))
    any_ = read(("seed = 1", "seed = 1\nmax_failure_rate = 1"))
    assert plain.goal.failure_slo == SLO("failure_rate_excess", 0.01)
    assert any_.goal.max_failure_rate == 1
    assert studyfile._stable(plain.spec) == studyfile._stable(said.spec) != studyfile._stable(any_.spec)
    assert plain.objective.needs == ("tpot_p50_ms",)
    fleet = (
        ('minimize = "tpot_ms"', 'goal = "fleet"\nfor_users = 9\nslos = ["ttft_ms<=9"]'),
        ("users = 4", "users = [1, 4]"),
    )
    assert read(*fleet).objective.needs == ()
    assert read(*fleet, ("seed = 1", "max_failure_rate = 0.2")).goal.slos[-1] == SLO("failure_rate_excess", 0.2)
    with pytest.raises(UsageError, match="max_failure_rate is 7"):
        read(("seed = 1", "max_failure_rate = 7"))
    with pytest.raises(UsageError, match="there are none"):
        read(('minimize = "tpot_ms"', 'maximize = "goodput_requests_per_s"'))


def test_the_documented_study_file_is_one(tmp_path):
    text = (ROOT / "docs" / "live.md").read_text()
    (tmp_path / "study.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    live = LiveStudy.of(load(tmp_path / "study.toml"))
    assert live.name == "openvino-chat"
    assert live.objective.domain().names == ("local",)


def test_an_engine_that_is_not_installed_is_told_before_the_first_trial(tmp_path):
    path = tmp_path / "study.toml"
    program = f'options = {{ program = "{tmp_path}/vllm" }}'
    path.write_text(STUDY.replace('"openvino"', '"vllm"').replace("knobs = {", f"{program}\nknobs = {{ }} #"))
    told = CliRunner().invoke(app, ["run", str(path), "--store", str(tmp_path / "s.db")])
    assert "no folder" in str(told.exception)  # the model
    (tmp_path / "config.json").write_text("{}")
    path.write_text(path.read_text().replace("tiny-llama", str(tmp_path)))
    told = CliRunner().invoke(app, ["run", str(path), "--store", str(tmp_path / "s.db")])
    assert "Cure: pip install vllm" in str(told.exception)
    assert not (tmp_path / "s.db").exists()


@pytest.mark.slow
def test_exported_trials_are_a_table_that_replays(tmp_path):
    goal = SLOGoal("tpot_p50_ms")
    objective = _objective()
    objective.engine = Scripted(start=["ready", "crash"], itl_ms=[1, 5])
    domain = objective.domain()
    report = Study(domain, objective, goal, make_factory("exhaustive", 9), Budget(trials=9)).run()
    trials = [(o.trial, o.result) for o in report.observations]
    assert write_table(tmp_path / "mine", {"w": trials}, licence="Apache-2.0", facts={"cpu": "x"}) == len(trials)
    table = load_table(tmp_path / "mine")
    assert len(table.candidates) == len(trials) == 5
    assert sum("batch" not in c.config for c in table.candidates) == 2  # inactive parameters stay absent
    cells = table.workload("w").cells
    failed = [cell for cell in cells.values() if not cell.succeeded]
    assert len(failed) == 2
    with pytest.raises(TableError, match="no finished trial"):
        write_table(tmp_path / "x", {"w": []})
    with pytest.raises(TableError, match="column of the table too"):
        write_table(tmp_path / "x", {"w": [(Trial(0, Candidate("a", {"status": 1})), Result(metrics={"m": 1.0}))]})


def test_several_studies_of_a_store_are_exported_as_one_table(tmp_path):
    store = tmp_path / "s.db"
    space = Listing([{"batch": k} for k in (1, 2, 3, 4)])
    for name, scale in (("chat", 1.0), ("code", 2.0)):

        def measured(candidate, scale=scale):
            return {"tpot_p50_ms": scale * candidate.config["batch"]}

        with Store(store) as opened:
            Study(
                Domain({"here": space}),
                FunctionObjective(measured),
                SLOGoal("tpot_p50_ms"),
                make_factory("exhaustive", 4),
                Budget(trials=4),
                store=opened,
                name=name,
            ).run()
        (tmp_path / name).mkdir()
        (tmp_path / name / "trial-0-0-0.jsonl").write_text('{"status": "ok"}\n')

    def export(*options):
        return CliRunner().invoke(app, ["export", "--store", str(store), "--to", str(tmp_path / "both"), *options])

    both = ["--study", "chat", "--study", "code"]
    kept = [text for name in ("chat", "code") for text in ("--records", str(tmp_path / name))]
    found = json.loads(export(*both, *kept, "--json").stdout)
    assert (found["rows"], found["requests"]) == (8, 2)
    table = load_table(tmp_path / "both")
    for name, best in (("chat", 1.0), ("code", 2.0)):
        values = [c.rows[0].metrics["tpot_p50_ms"] for c in table.workload(name).cells.values()]
        assert sorted(values) == [best * k for k in (1, 2, 3, 4)]
    assert set(json.loads((tmp_path / "both" / "machine.json").read_text())["studies"]) == {"chat", "code"}
    for options, why in (
        ([], "say which with --study"),
        (["--study", "chat", "--study", "chat"], "exported once"),
        ([*both, "--workload", "one"], "once per study"),
        ([*both, "--workload", "one", "--workload", "one"], "each different"),
        ([*both, *kept[:2]], "--records is given once per study"),
        (["--study", "nobody"], "nobody"),
    ):
        assert why in str(export(*options).exception)


# ── the real engine ──


def _measure(engine, config, workload, users, requests, seed=0):
    objective = LiveObjective(LocalProvider(), engine, Benchmark(TINY, workload, [Closed(users)], requests=requests))
    result = objective.evaluate(Trial(seed, Candidate(HERE, config), seed=seed), Unattended())
    assert result.status is Status.OK, result.error
    return result.metrics


@pytest.mark.slow
def test_prefix_caching_lowers_the_time_to_first_token_on_shared_prefixes():
    shared = Workload(Fixed(512, 8), shared_prefix_tokens=448)
    without, with_ = [], []
    for seed in range(3):  # interleaved
        without.append(_measure(OpenVINO(), {"enable_prefix_caching": False}, shared, 8, 32, seed)["ttft_p50_ms"])
        with_.append(_measure(OpenVINO(), {"enable_prefix_caching": True}, shared, 8, 32, seed)["ttft_p50_ms"])
    assert np.median(with_) < np.median(without)


@pytest.mark.slow
def test_a_small_batch_lowers_the_time_per_token_and_raises_the_time_to_the_first():
    mixed = Workload(LogNormal(96, 32, longest=512))
    free = {"dynamic_split_fuse": False, "max_num_batched_tokens": 2048}
    small, large = [], []
    for seed in range(3):
        small.append(_measure(OpenVINO(), {**free, "max_num_seqs": 2}, mixed, 16, 48, seed))
        large.append(_measure(OpenVINO(), {**free, "max_num_seqs": 64}, mixed, 16, 48, seed))
    for metric, sign in (("tpot_p50_ms", -1), ("ttft_p50_ms", 1)):
        assert sign * (np.median([m[metric] for m in small]) - np.median([m[metric] for m in large])) > 0, metric


@pytest.mark.slow
def test_a_real_engine_under_an_open_loop_and_a_trace_is_asked_when_the_plan_says(tmp_path):
    trace = tmp_path / "trace.csv"
    lines = [f"2023-11-16 18:00:{i / 10:09.6f},{40 + i},{4 + i % 5}" for i in range(30)]
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]) + "\n")
    loads = [Open(20.0, burstiness=0.5), Trace.load(trace, speed=2.0)]
    benchmark = Benchmark(TINY, Workload(Fixed(40, 8)), loads, requests=30, keep=tmp_path)
    objective = LiveObjective(LocalProvider(), OpenVINO(), benchmark)
    result = objective.evaluate(Trial(0, Candidate(HERE, {})), Unattended())
    assert result.status is Status.OK, result.error
    assert [r["failure_rate"] for r in result.rows] == [0, 0]
    assert result.rows[0]["rate_per_s"] == 20
    for i in (0, 1):
        records = [json.loads(line) for line in Path(result.artifacts[f"records_{i}"]).read_text().splitlines()]
        assert len(records) == 30
        assert all(r["sent_s"] >= r["scheduled_s"] for r in records)
        if i == 1:
            assert [r["output_tokens"] for r in records] == [4 + k % 5 for k in range(30)]
            assert [r["input_tokens"] for r in records] == [40 + k for k in range(30)]
            assert records[-1]["scheduled_s"] == pytest.approx(2.9 / 2)


@pytest.mark.slow
def test_an_infeasible_config_of_the_real_engine_is_classified(tmp_path):
    long = Workload(Fixed(700, 4))
    objective = LiveObjective(LocalProvider(), OpenVINO(), Benchmark(TINY, long, [Closed(2)], requests=4))
    few = objective.evaluate(Trial(0, Candidate(HERE, {"num_kv_blocks": 16})), Unattended())
    assert (few.status, few.reason) == (Status.FAILED, "empty_output")
    whole = {"dynamic_split_fuse": False, "max_num_seqs": 16, "max_num_batched_tokens": 64}
    refused = objective.evaluate(Trial(1, Candidate(HERE, whole)), Unattended())
    assert (refused.status, refused.reason) == (Status.FAILED, "request_error")
    assert "max_num_batched_tokens" in refused.error
    (tmp_path / "bad.gguf").write_text("no model")
    bad = LiveObjective(LocalProvider(), OpenVINO(), Benchmark(str(tmp_path / "bad.gguf"), long, [Closed(2)]))
    crashed = bad.evaluate(Trial(2, Candidate(HERE, {})), Unattended())
    assert (crashed.status, crashed.reason) == (Status.FAILED, "start_crash")
    assert crashed.error
    with pytest.raises(DataError, match="no GGUF file"):
        LiveObjective(LocalProvider(), OpenVINO(), Benchmark("nowhere.gguf", long, [Closed(2)])).evaluate(
            Trial(3, Candidate(HERE, {})), Unattended()
        )


def _engines_alive(folder):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                cwd = os.readlink(entry / "cwd")
            except OSError:
                continue
            if "openvino_server.py" in text and str(folder) in cwd:
                found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_a_live_study_survives_a_kill_and_is_exported(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY.replace("seed = 1", f'seed = 1\nkeep_records = "{tmp_path}/records"'))
    store = tmp_path / "study.db"
    # hosts are folders below TMPDIR, so that only this study's engines are looked for
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "cloudbandit", "run", str(tmp_path / "study.toml"), "--store", str(store)]
    with subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        for line in process.stderr:  # a line per trial
            if line.startswith("trial") and int(line.split()[1]) >= 1:
                break
        until = time.monotonic() + 30
        while not _engines_alive(tmp_path) and time.monotonic() < until:
            time.sleep(0.01)
        assert _engines_alive(tmp_path)
        process.send_signal(signal.SIGKILL)
    until = time.monotonic() + 5
    while _engines_alive(tmp_path):
        assert time.monotonic() < until, "an engine outlived the killed study"
        time.sleep(0.05)
    shown = CliRunner().invoke(app, ["show", "--store", str(store), "--json"])
    before = json.loads(shown.stdout)["trials"]
    assert len(before) >= 2
    resumed = CliRunner().invoke(app, ["resume", "--store", str(store), "--json"])
    assert resumed.exit_code == 0, resumed.output
    done = json.loads(resumed.stdout)
    assert done["evaluations"] == 6
    after = json.loads(CliRunner().invoke(app, ["show", "--store", str(store), "--json"]).stdout)["trials"]
    kept = {t["trial"]: t for t in after}
    assert all(kept[t["trial"]] == t for t in before)  # no finished trial was run again
    kept = ["--records", str(tmp_path / "records")]
    one = CliRunner().invoke(app, ["show", "--store", str(store), "--trial", "1"])
    assert "tpot_p50_ms" in one.stdout
    assert "status" in one.stdout
    figure = tmp_path / "study.png"
    again = CliRunner().invoke(app, ["resume", "--store", str(store), "--plot", str(figure)])
    assert "recommended" in again.stdout
    assert figure.stat().st_size > 10_000
    exported = CliRunner().invoke(
        app, ["export", "--store", str(store), "--to", str(tmp_path / "table"), *kept, "--json"]
    )
    found = json.loads(exported.stdout)
    assert found["rows"] == 6
    assert found["requests"] >= 6 * 12
    assert json.loads((tmp_path / "table" / "machine.json").read_text())["machine"]["cores"] >= 1
    checked = CliRunner().invoke(app, ["table", "check", str(tmp_path / "table"), "--json"])
    assert json.loads(checked.stdout)["rows"] == 6
