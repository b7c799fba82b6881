"""The Dask pool on a real cluster of processes, with workers and clients killed in the middle."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import programs
import pytest
from test_store import _run_until_hanging, check_killed_and_resumed

from cloudbandit import Store
from cloudbandit.core.pools import Dask

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # distributed warns of ports, pids and its own shutdown
]


@pytest.fixture
def cluster():
    """A scheduler and two workers, each a process that can be killed."""
    code = (
        "from distributed import LocalCluster\n"
        "c = LocalCluster(n_workers=0, dashboard_address=None, host='127.0.0.1')\n"
        "print(c.scheduler_address, flush=True)\nimport time; time.sleep(600)"
    )
    scheduler = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    address = scheduler.stdout.readline().strip()
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": here}
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "distributed.cli.dask_worker",
                address,
                "--nthreads",
                "1",
                "--no-nanny",
                "--no-dashboard",
            ],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    yield address
    for process in [*workers, scheduler]:
        process.kill()
        process.wait()


def test_a_study_on_a_cluster(cluster, tmp_path):
    pool = Dask(cluster)
    try:
        assert pool.size == 2
        report = programs.run(str(tmp_path / "s.db"), programs.Paid(str(tmp_path / "log"), 0.01), pool)
    finally:
        pool.close()
    assert report.evaluations == 11
    assert len((tmp_path / "log").read_text().splitlines()) == 11


def test_a_killed_worker_loses_its_trial_and_nothing_else(cluster, tmp_path):
    import threading

    log = tmp_path / "log"

    def kill_the_hanging_worker():
        mark = Path(f"{log}.hanging")
        while not (mark.exists() and mark.read_text()):
            time.sleep(0.02)
        os.kill(int(mark.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill_the_hanging_worker, daemon=True)
    killer.start()
    pool = Dask(cluster, size=2)
    try:
        report = programs.run(str(tmp_path / "s.db"), programs.Paid(str(log), 0.05, hang_at=4), pool)
    finally:
        pool.close()
    killer.join(5)
    statuses = {o.trial.number: str(o.result.status) for o in report.observations}
    assert statuses[4] == "lost"
    assert report.evaluations == 11
    ran = [line.split(" ", 1)[0] for line in log.read_text().splitlines()]
    assert "4" not in ran, "it was not run a second time behind the study's back"
    assert len(ran) == len(set(ran))


def test_a_killed_client_then_resume(cluster, tmp_path):
    url = str(tmp_path / "s.db")
    program, log = _run_until_hanging(tmp_path, url, 5, cluster)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    Path(f"{log}.hanging").unlink()
    check_killed_and_resumed(url, log, 5)


def test_a_bug_on_a_worker_is_raised_here(cluster, tmp_path):
    pool = Dask(cluster)
    try:
        with pytest.raises(TypeError, match="not NoneType"):
            programs.run(str(tmp_path / "s.db"), programs.Paid(None, 0.01), pool)
    finally:
        pool.close()


def test_ctrl_c_reaches_the_trials_on_the_cluster(cluster, tmp_path):
    url = str(tmp_path / "s.db")

    def stop(observation):
        raise KeyboardInterrupt

    pool = Dask(cluster, size=3)  # one more than there are workers: it has not begun when it is cancelled
    try:
        with pytest.raises(KeyboardInterrupt):
            programs.run(url, programs.Patient(str(tmp_path / "log"), 0.0), pool, on_trial=stop)
    finally:
        pool.close()
    with Store(url) as store:
        ends = {(str(t.result.status), t.result.reason) for t in store.trials("study")}
        assert ("ok", "") in ends
        assert ("interrupted", "cancelled") in ends
        assert {status for status, _ in ends} == {"ok", "interrupted"}
        assert not store.in_flight("study")
