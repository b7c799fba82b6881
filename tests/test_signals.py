"""SIGTERM and SIGHUP end a study as Ctrl-C does: recorded, resumable, exit code 130."""

import signal
import subprocess
import sys
import time

import pytest

from cloudbandit import Store

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
