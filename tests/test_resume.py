"""``resume`` runs no code that a store names, counts a larger budget, and says what was taken from the store."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_live import STUDY

from cloudbandit import Store
from cloudbandit.cli import main
from cloudbandit.core.errors import StudyMismatchError, UsageError
from cloudbandit.core.outputs import check_file, check_folder
from cloudbandit.live.studyfile import LiveStudy, load

WORKLOAD = "llama-3.1-70b|chat|2000tok|spot"
REPLAY = ["replay", "llm-serving", "--workload", WORKLOAD, "--minimize", "usd_per_h", "--study", "s"]
CODE = """
from pathlib import Path
Path({marker!r}).write_text("ran")
from cloudbandit.optimizers.random_search import RandomWithoutReplacement as Mine
"""


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), " ".join(out.split()), " ".join(err.split())

    return call


def changed(path, change):
    """The stored spec as somebody else may have written it."""
    with Store(path) as store:
        (name,) = store.studies()
        spec = store.spec(name)
        change(spec)
        store.open(name, store.identity(name), spec).close()


def hostile(tmp_path):
    code, marker = tmp_path / "evil.py", tmp_path / "ran"
    code.write_text(CODE.format(marker=str(marker)))
    return f"{code}:Mine", marker


@pytest.mark.parametrize("around", ["", "cloudbandit:", "cloudbandit:cloudbandit:"])
def test_code_named_in_a_store_is_not_run(tmp_path, run, around):
    path = tmp_path / "s.db"
    name, marker = hostile(tmp_path)
    assert run(*REPLAY, "--optimizer", "random-wor", "--budget", 11, "--store", path)[0] == 0
    changed(path, lambda spec: spec.update(optimizer=around + name))
    code, _, err = run("resume", "--store", path)
    assert code == 2
    assert "a file that the store names" in err
    assert f"--optimizer {around}{name}" in err
    assert run("show", "--store", path)[0] == 0
    assert not marker.exists()
    code, _, err = run("resume", "--store", path, "--optimizer", "random-wor")
    assert (code, marker.exists()) == (2, False)
    assert "was run with the optimizer" in err
    run("resume", "--store", path, "--optimizer", around + name)
    assert marker.exists()


def test_an_installed_optimizer_needs_no_naming(tmp_path, run):
    path = tmp_path / "s.db"
    assert run(*REPLAY, "--optimizer", "random-wor", "--budget", 11, "--store", path)[0] == 0
    assert run("resume", "--store", path)[0] == 0
    assert run("resume", "--store", path, "--optimizer", "random-wor")[0] == 0


def live_store(tmp_path, **changes):
    (tmp_path / "study.toml").write_text(STUDY)
    spec = load(tmp_path / "study.toml")
    for section, more in changes.items():
        spec[section] = {**spec[section], **more}
    path = tmp_path / "live.db"
    with Store(path) as store:
        store.open("tiny", {}, spec).close()
    return path


def test_code_and_programs_named_in_a_live_study_are_not_run(tmp_path, run):
    name, marker = hostile(tmp_path)
    path = live_store(tmp_path, study={"optimizer": f"cloudbandit:{name}"})
    code, _, err = run("resume", "--store", path)
    assert (code, marker.exists()) == (2, False)
    assert "a file that the store names" in err
    program = tmp_path / "evil"
    program.write_text(f"#!/bin/sh\ntouch {marker}\n")
    program.chmod(0o700)
    for part in ("options", "knobs"):
        (tmp_path / part).mkdir()
        engine = {"name": "vllm", "knobs": {}, "options": {}, part: {"program": str(program), "device": "cpu"}}
        path = live_store(tmp_path / part, engine=engine)
        code, _, err = run("resume", "--store", path)
        assert (code, marker.exists()) == (2, False)
        assert f"add --program {program}" in err


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "replay"},
        {"kind": "replay", "table": 3},
        {"kind": "live"},
        {"kind": "live", "study": "x"},
        {"kind": "live", "study": {}, "engine": [], "workload": {}, "load": {}},
        {"kind": ["live"]},
        {"study": 5},
    ],
)
def test_a_spec_that_makes_no_sense_is_an_error_of_ours(tmp_path, run, spec):
    path = tmp_path / "s.db"
    with Store(path) as store:
        store.open("s", {}, spec).close()
    for command in (["resume"], ["show"], ["show", "--minimize", "x"], ["show", "--json"]):
        assert run(*command, "--store", path)[0] in (0, 2, 3)


@pytest.mark.slow
def test_a_larger_budget_goes_on_and_what_was_taken_is_said(tmp_path, run):
    path = tmp_path / "s.db"
    assert run(*REPLAY, "--budget", 11, "--store", path)[0] == 0
    code, out, err = run("resume", "--store", path, "--budget", 14)
    assert code == 0, err
    assert f"11 trials taken from {path}, 3 run" in out
    assert run("resume", "--store", path)[1].count("14 trials taken from") == 1, "the latest budget is kept"
    code, out, _ = run(*REPLAY, "--budget", 15, "--store", path, "--json")
    found = json.loads(out)
    assert (found["restored"], found["evaluations"]) == (14, 15)
    assert run("resume", "--store", path, "--usd", 3)[0] == 2
    once = tmp_path / "once.db"
    assert run(*REPLAY, "--budget", 11, "--store", once, "--seed", 3)[0] == 0
    with Store(path) as store:
        assert len(store.trials("s")) == 15


def test_a_live_study_knows_its_machine_and_engine(tmp_path, monkeypatch):
    (tmp_path / "study.toml").write_text(STUDY)
    spec = load(tmp_path / "study.toml")
    machine = {"cpu": "one", "cores": 2, "accelerators": [], "engine": "openvino 1"}
    ran = []
    monkeypatch.setattr("cloudbandit.core.study.Loop.run", lambda loop: ran.append(loop.budget.trials))
    with Store(tmp_path / "s.db") as store:
        for trials in (6, 9):  # a larger budget is the same study
            more = {**spec, "study": {**spec["study"], "trials": trials}, "machine": machine}
            LiveStudy.of(more).run(store)
            assert store.spec("tiny")["study"]["trials"] == trials
        LiveStudy.of({**spec, "machine": {}}).run(store)  # nothing is known of where it runs
        for other in ({"cpu": "two"}, {"cores": 4}, {"engine": "openvino 2"}, {"accelerators": ["GPU"]}):
            with pytest.raises(StudyMismatchError, match=next(iter(other))):
                LiveStudy.of({**spec, "machine": {**machine, **other}}).run(store)
    assert ran == [6, 9, 6]


# ── where results will go ──


@pytest.mark.slow
def test_outputs_are_checked_before_the_work(tmp_path, run, monkeypatch):
    def worked(*_, **__):
        raise AssertionError("work was begun")

    for target in ("replay.task.replay", "replay.cells.Cell.run", "core.study.Loop.run", "tables.export.write_table"):
        monkeypatch.setattr(f"cloudbandit.{target}", worked)
    file = tmp_path / "file"
    file.write_text("x")
    store = tmp_path / "s.db"
    with Store(store) as opened:
        opened.open("s", {}, {"kind": "x"}).close()
    compare = ["compare", "llm-serving", "--minimize", "usd_per_h", "--optimizers", "random", "--workloads", WORKLOAD]
    for arguments, why in (
        ([*REPLAY, "--plot", tmp_path / "no" / "x.png"], "cannot be written"),
        ([*REPLAY, "--plot", tmp_path / "x.jpeg2"], "ends in .png, .svg, .pdf"),
        ([*REPLAY, "--plot", tmp_path], "ends in .png"),
        ([*REPLAY, "--store", tmp_path], "is a folder"),
        ([*REPLAY, "--store", file / "s.db"], "cannot"),
        ([*compare, "--plot", tmp_path / "no" / "x.png"], "cannot be written"),
        ([*compare, "--rank-plot", tmp_path / "x.txt"], "--rank-plot is"),
        ([*compare, "--checkpoint", tmp_path], "no checkpoint"),
        ([*compare, "--checkpoint", file / "x"], "cannot be written"),
        (["recommend", "--model", "x", "--users", 1, "--plot", "x.y"], "ends in .png"),
        (["export", "--store", store, "--to", file], "cannot be written"),
        (["export", "--store", store, "--to", file / "x"], "cannot be written"),
    ):
        code, _, err = run(*arguments)
        assert (code, why in err) == (2, True), (arguments, err)
    (tmp_path / "study.toml").write_text(STUDY.replace("seed = 1", f'seed = 1\nkeep_records = "{file}/records"'))
    with pytest.raises(UsageError, match="keep_records cannot be written"):
        LiveStudy.of(load(tmp_path / "study.toml")).run(None)
    check_folder(tmp_path / "a" / "b", "x")
    check_file(tmp_path / "a" / "b" / "c", "x")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_closed_pipe_is_no_traceback(tmp_path):
    path = tmp_path / "s.db"
    argv = [sys.executable, "-m", "cloudbandit", *REPLAY, "--optimizer", "random-wor", "--budget", "11", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(
            [*argv, "--store", str(path)], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert "Traceback" not in done.stderr, done.stderr
    with Store(Path(path)) as store:
        assert len(store.trials("s")) == 11
