"""SIGTERM and SIGHUP end a study as Ctrl-C does: recorded, resumable, exit code 130."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from cloudbandit import Store
from cloudbandit.cli import main

PROGRAM = """
import sys, time
from cloudbandit.cli import main
from cloudbandit.tables.recorded import Recorded

looked_up = Recorded.evaluate
def slowly(self, trial, run):
    time.sleep(0.05)
    return looked_up(self, trial, run)
Recorded.evaluate = slowly
main(sys.argv[1:])
"""
WORKLOAD = "llama-3.1-70b|chat|2000tok|spot"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_study_that_goes_on_later(tmp_path, number):
    url = str(tmp_path / "s.db")
    arguments = [
        "replay",
        "llm-serving",
        "--workload",
        WORKLOAD,
        "--minimize",
        "usd_per_h",
        "--optimizer",
        "random-wor",
    ]
    argv = [sys.executable, "-c", PROGRAM, *arguments, "--budget", "99", "--store", url, "--study", "s"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        for _ in range(200):
            time.sleep(0.1)
            try:
                with Store(url) as store:
                    if len(store.trials("s")) >= 3:
                        break
            except LookupError:
                continue
        program.send_signal(number)
        _, err = program.communicate(timeout=20)
    assert program.returncode == 130, err
    assert f"cloudbandit resume --store {url} --study s" in err.replace("'", "")
    with Store(url) as store:
        done = store.trials("s")
        assert 3 <= len(done) < 99
        assert not store.in_flight("s")
    again = subprocess.run(
        [sys.executable, "-m", "cloudbandit", "resume", "--store", url, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"evaluations": 99' in again.stdout
    with Store(url) as store:
        trials = store.trials("s")
        assert [t.trial for t in trials[: len(done)]] == [t.trial for t in done]


def _running(group):
    """Processes of a group that have not ended."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = (line.split(None, 2) for line in listed.splitlines())
    return [row for row in rows if int(row[0]) == group and not row[1].startswith("Z")]


@pytest.mark.slow
def test_a_comparison_in_processes_ends_at_once_and_says_how_to_go_on(tmp_path):
    """Ctrl-C reaches the whole process group; what the processes compute takes minutes."""
    file = tmp_path / "my cells.jsonl"
    arguments = ["compare", "llm-serving", "--minimize", "usd_per_h", "--optimizers", "random-wor,smac"]
    arguments += ["--budgets", "66", "--seeds", "3", "--jobs", "2"]
    kept = [*arguments, "--checkpoint", str(file)]
    argv = [sys.executable, "-m", "cloudbandit", *kept]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, start_new_session=True) as program:
        for _ in range(600):
            time.sleep(0.1)
            if file.exists() and file.stat().st_size:
                break
        os.killpg(program.pid, signal.SIGINT)
        _, err = program.communicate(timeout=20)
    assert program.returncode == 130, err
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if "Go on with: " in line]
    assert shlex.split(line.partition("Go on with: ")[2]) == ["cloudbandit", *kept]
    for _ in range(50):
        if not _running(program.pid):
            break
        time.sleep(0.1)
    assert not _running(program.pid)


def test_without_a_checkpoint_it_says_that_one_would_keep_cells(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cloudbandit.replay.compare.compare_rows", interrupted)
    argv = ["compare", "llm-serving", "--minimize", "usd_per_h", "--workloads", "a|b"]
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 130
    said = capsys.readouterr().err.partition("keeps finished cells: ")[2].splitlines()[0]
    assert shlex.split(said) == ["cloudbandit", *argv, "--checkpoint", "cells.jsonl"]
