"""How live trials end where a server, a host or the study itself gets in the way: in time, within what was held, truly named."""

import contextlib
import inspect
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from scripted_engine import ROOT, Scripted

from cloudbandit import Budget, Result, SLOGoal, Status, Study, make_factory
from cloudbandit.core.errors import UsageError
from cloudbandit.core.protocols import Finished
from cloudbandit.core.trial import Candidate, Trial
from cloudbandit.engines import listener
from cloudbandit.engines.running import _answers
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.trial import STOP_S, Benchmark, Unattended
from cloudbandit.loadgen.workloads import Closed, Fixed, Workload
from cloudbandit.providers import local
from cloudbandit.providers.local import LocalHost, LocalProvider

HERE = ("local", "this-machine")
TRIAL = Trial(0, Candidate(HERE, {"itl_ms": 1, "start": "ready", "batch": 1}))

DIES = """
import os, sys
from cloudbandit.testing import stub_engine as stub
answered, real = [], stub._stream
async def some(*request):
    answered.append(1)
    return os._exit(9) if len(answered) > 4 else await real(*request)
stub._stream = some
stub.main(["--port", sys.argv[1], "--ttft", "0.005", "--itl", "0.001"])
"""


class Program(Scripted):
    """Runs a text instead of the scripted server."""

    def __init__(self, text, **fixed):
        super().__init__(**fixed)
        self.text = text

    def argv(self, host, config, port, model):
        return [host.python, "-c", self.text, str(port)]


def _objective(engine=None, model="good", **options):
    defaults = {"loads": [Closed(2)], "requests": 4, "timeout_s": 0.5}
    return LiveObjective(
        LocalProvider(3600.0),
        engine or Scripted(),
        Benchmark(model, Workload(Fixed(5, 4)), **(defaults | options)),
        run="tests",
    )


# ── who answers ──


@pytest.mark.slow
def test_an_engine_that_exits_under_load_died_whatever_it_had_answered():
    result = _objective(Program(DIES), requests=12).evaluate(TRIAL, Unattended())
    assert (result.status, result.reason) == (Status.FAILED, "engine_died")
    assert "of 12 requests were answered" in result.error
    assert not result.error.startswith("0 of")


@pytest.mark.slow
def test_an_engine_that_exits_at_the_end_of_the_load_died_too():
    result = _objective(Program(DIES.replace("> 4 else", ">= 5 else")), requests=4).evaluate(TRIAL, Unattended())
    assert (result.status, result.reason) == (Status.FAILED, "engine_died")


@pytest.mark.slow
def test_whoever_answers_must_be_our_child(monkeypatch):
    """Ours is alive, says nothing, and never listens; somebody else answers every request on its port."""
    argv = [sys.executable, "-m", "cloudbandit.testing.stub_engine", "--ttft", "0.005", "--itl", "0.001"]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as other:
        port = int(other.stdout.readline().split()[1])
        monkeypatch.setattr(LocalHost, "free_port", lambda self: port)
        sleeps = Program("import time; time.sleep(60)")
        result = _objective(sleeps).evaluate(TRIAL, Unattended())
        monkeypatch.setattr("cloudbandit.engines.running._LISTENER", "")  # where it cannot be told, nothing is said
        unknown = _objective(sleeps).evaluate(TRIAL, Unattended())
        other.kill()
    assert (result.status, result.reason) == (Status.FAILED, "engine_died")
    assert "something else has its port" in result.error
    assert unknown.status is Status.OK


def test_listeners_are_told_apart():
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); "
        "sys.stdin.read()"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as mine,
        subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as child,
        subprocess.Popen(["sleep", "60"]) as stranger,
    ):
        port, theirs = mine.getsockname()[1], int(child.stdout.readline())
        assert listener.who(port, os.getpid()) == "ours"
        assert listener.who(theirs, os.getpid()) == "ours", "a descendant's"
        assert listener.who(theirs, stranger.pid) == "another"
        stranger.kill()
    assert listener.who(theirs, os.getpid()) == "nobody"


LINE = "  0: {address}:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  {user}  0 {inode} 1 0\n"


def _proc(tmp_path, *sockets, tcp6=()):
    for name, some in (("tcp", sockets), ("tcp6", tcp6)):
        lines = [LINE.format(address=a, user=u, inode=i) for a, u, i in some]
        (tmp_path / "net").mkdir(exist_ok=True)
        (tmp_path / "net" / name).write_text("header\n" + "".join(lines))
    return tmp_path


def test_the_kernel_prefers_the_more_specific_address(tmp_path):
    proc = _proc(tmp_path, ("00000000", 0, 1), ("0100007F", 7, 2), ("0500000A", 0, 3), tcp6=[("0" * 32, 0, 4)])
    assert listener.listeners(8080, proc) == [(2, 7)]
    assert listener.listeners(8081, proc) == []
    assert listener.listeners(8080, _proc(tmp_path, ("00000000", 0, 1), tcp6=[("0" * 32, 0, 4)])) == [(1, 0), (4, 0)]


def test_where_it_cannot_be_told_nothing_is_said(monkeypatch):
    monkeypatch.setattr(listener, "listeners", lambda port: [(1, os.getuid() + 1)])
    assert listener.who(1, os.getpid()) == "", "another user's"
    monkeypatch.setattr(listener, "listeners", lambda port: [(1, os.getuid())])
    assert listener.who(1, os.getpid()) == "another"

    def not_this_system(port):
        raise FileNotFoundError("/proc/net/tcp")

    monkeypatch.setattr(listener, "listeners", not_this_system)
    assert listener.who(1, os.getpid()) == ""


def test_a_server_that_trickles_does_not_extend_the_time():
    over = threading.Event()

    def trickle(server):
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            while not over.wait(0.05):
                connection.send(b"H")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=trickle, args=(server,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert not _answers(url, "/health", 0.3)
        over.set()
        thread.join()
    assert not _answers(url, "/health", 0.3)


# ── what is not measured ──


@pytest.mark.parametrize(
    ("needs", "metrics", "reason"),
    [
        (None, {"failure_rate": 1.0}, "not_measured"),
        (None, {"failure_rate": 0.9, "ttft_p50_ms": 1.0}, ""),
        (("ttft_p50_ms",), {"failure_rate": 1.0}, "not_measured"),
        (("tpot_p50_ms",), {"failure_rate": 0.0, "ttft_p50_ms": 1.0}, "not_measured"),  # one token each
        ((), {"failure_rate": 1.0}, ""),  # a fleet's curve is judged row by row
    ],
)
def test_a_metric_that_nothing_measured_is_a_failed_trial(monkeypatch, needs, metrics, reason):
    measured = Result(metrics=metrics, rows=({"users": 2.0, **metrics},))
    monkeypatch.setattr("cloudbandit.live.objective.measure", lambda *_: measured)
    objective = _objective()
    objective.needs = needs
    result = objective.evaluate(TRIAL, Unattended())
    assert (result.status, result.reason) == ((Status.FAILED if reason else Status.OK), reason)
    assert result.rows == measured.rows
    if reason:
        assert f"{metrics['failure_rate']:.0%} failed" in result.error
        assert SLOGoal("tpot_p50_ms").score(result).rank == 1


@pytest.mark.slow
def test_a_study_whose_requests_all_time_out_after_the_warm_up_goes_on():
    slow_later = DIES.replace("os._exit(9) if", "await __import__('asyncio').sleep(9) if").replace("> 4", "> 3")
    objective = _objective(Program(slow_later, start="ready", itl_ms=[2, 5]), requests=12, warmup_s=0.2, timeout_s=0.3)
    domain = objective.domain()
    report = Study(domain, objective, SLOGoal("ttft_p50_ms"), make_factory("random-wor", 2), Budget(2)).run()
    assert [o.result.reason for o in report.observations] == ["not_measured"] * 2
    assert report.incumbent is None


@pytest.mark.slow
def test_a_client_out_of_files_gives_the_trial_back(monkeypatch):
    real = LocalHost.run

    def run(self, argv, **options):
        return Finished(3, "{}") if argv[-1] == "load-0.jsonl" else real(self, argv, **options)

    monkeypatch.setattr(LocalHost, "run", run)
    result = _objective().evaluate(TRIAL, Unattended())
    assert (result.status, result.reason) == (Status.UNAVAILABLE, "client_limit")


# ── time and money ──


class Cancelled(Unattended):
    def __init__(self, after_s):
        self.at = time.monotonic() + after_s

    @property
    def cancelled(self):
        return time.monotonic() > self.at


@pytest.mark.parametrize("start", ["crash", "never"])
def test_cancelled_while_starting_is_interrupted(start):
    config = {"itl_ms": 1, "start": start}
    result = _objective().evaluate(Trial(0, Candidate(HERE, config)), Cancelled(0.05))
    assert (result.status, result.reason) == (Status.INTERRUPTED, "cancelled")


@pytest.mark.parametrize("slow", ["prepare", "put"])
def test_preparing_is_under_the_trials_time(monkeypatch, slow):
    def slowly(*_):
        time.sleep(30.0)

    monkeypatch.setattr(*((Scripted, "prepare") if slow == "prepare" else (LocalHost, "put")), slowly)
    objective = _objective(limit_s=0.3)
    late = objective.evaluate(TRIAL, Unattended())
    assert (late.status, late.reason) == (Status.UNAVAILABLE, "prepare_timeout")
    assert late.spent_usd + late.hosts_usd <= objective.quote(TRIAL.candidate).usd
    assert late.seconds <= objective.quote(TRIAL.candidate).seconds
    cancelled = _objective(limit_s=20.0).evaluate(TRIAL, Cancelled(0.1))
    assert (cancelled.status, cancelled.reason) == (Status.INTERRUPTED, "cancelled")


def test_a_copy_ends_when_its_host_is_closed(tmp_path, monkeypatch):
    (tmp_path / "model").write_bytes(bytes(3 * 2**20))
    host = LocalHost()
    monkeypatch.setattr(local, "_COPIED_BYTES", 2**20)
    real = local._read

    def closing(file, size):
        host.close()
        return real(file, size)

    monkeypatch.setattr(local, "_read", closing)
    with pytest.raises(UsageError, match="closed"):
        host.put(tmp_path / "model", "model")
    assert not host.folder.exists()


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(2, signal.SIG_IGN)
code = "import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
open("pids", "w").write(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


def _gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [False, True])
def test_stopping_has_a_bound_even_where_the_guard_itself_is_frozen(frozen, monkeypatch):
    monkeypatch.setattr(local, "_GUARD_S", 1.0 if frozen else 30.0)
    host = LocalHost()
    try:
        process = host.start([host.python, "-c", STUBBORN], grace_s=0.5)
        while not (host.folder / "pids").exists() or not (host.folder / "pids").read_text():
            time.sleep(0.02)
        time.sleep(0.1)
        pids = [int(p) for p in (host.folder / "pids").read_text().split()]
        if frozen:
            os.kill(process.pid, signal.SIGSTOP)
        process.stop()
        until = time.monotonic() + 2.0
        while not all(map(_gone, pids)) and time.monotonic() < until:
            time.sleep(0.02)
        assert all(map(_gone, pids))
    finally:
        host.close()


def test_what_is_held_for_stopping_covers_the_client_and_the_engine():
    after = local._GUARD_S + local._KILL_S
    assert (
        local._RUN_GRACE_S + after + inspect.signature(LocalHost.start).parameters["grace_s"].default + after <= STOP_S
    )
