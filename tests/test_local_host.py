"""Hosts on this machine: what runs there ends with them, and with whoever started it, whatever way that ends."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cloudbandit.core.errors import UsageError
from cloudbandit.core.trial import Candidate, Trial
from cloudbandit.engines.vllm import VLLM
from cloudbandit.live.lease import Lease
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.trial import Benchmark, Unattended
from cloudbandit.loadgen.workloads import Closed, Fixed, Workload
from cloudbandit.providers import local
from cloudbandit.providers.local import LocalHost, LocalProvider

# the child says that it is there once it takes no notice of an interrupt
FAMILY = """
import os, subprocess, sys, time
code = "import os, signal, sys, time; signal.signal(2, signal.SIG_IGN);" \\
    "open('pids', 'w').write(sys.argv[1] + ' ' + str(os.getpid())); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", code, str(os.getpid())], start_new_session=True)
time.sleep(600)
"""


UNTIL_THERE = "while not os.path.exists('pids'): time.sleep(0.01)\n"


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait(condition, seconds=5.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not within the time allowed"
        time.sleep(0.02)


def _pids(folder):
    _wait(lambda: (folder / "pids").exists() and len((folder / "pids").read_text().split()) == 2)
    return [int(p) for p in (folder / "pids").read_text().split()]


@pytest.fixture
def host():
    host = LocalHost()
    yield host
    host.close()


def test_a_program_runs_to_its_end_or_to_its_time(host):
    done = host.run([host.python, "-c", "print('hello'); raise SystemExit(3)"], timeout_s=20)
    assert (done.code, done.output) == (3, "hello")
    assert host.run([host.python, "-c", "import time; time.sleep(60)"], timeout_s=0.3).code is None
    assert host.run(["no-such-program"], timeout_s=5).code == 127


def test_files_go_there_and_back_and_stay_inside(host, tmp_path):
    (tmp_path / "a").write_text("x")
    host.put(tmp_path / "a", "deep/b")
    host.get("deep/b", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "x"
    with pytest.raises(UsageError, match="leaves the host's folder"):
        host.put(tmp_path / "a", "../b")


def test_stopping_ends_descendants_that_left_their_group(host):
    process = host.start([host.python, "-c", FAMILY], grace_s=0.3)
    pids = _pids(host.folder)
    assert process.poll() is None
    process.stop()
    assert not any(map(_alive, pids))
    process.stop()


def test_a_program_that_ends_leaves_no_child_behind(host):
    host.start([host.python, "-c", FAMILY.replace("time.sleep(600)\n", UNTIL_THERE)], grace_s=0.2)
    _, child = _pids(host.folder)
    _wait(lambda: not _alive(child))


@pytest.mark.parametrize("victim", ["parent", "guard"])
def test_nothing_lives_on_after_a_kill(tmp_path, victim):
    code = (
        "import sys, time; from pathlib import Path; from cloudbandit.providers.local import LocalHost\n"
        f"p = LocalHost(Path({str(tmp_path)!r})).start([sys.executable, '-c', {FAMILY!r}], grace_s=60)\n"
        "print(p.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        guard = int(parent.stdout.readline())
        pids = _pids(tmp_path)
        os.kill(parent.pid if victim == "parent" else guard, signal.SIGKILL)
        # a killed guard takes the program with it; a grandchild in a session of its own is the init's then
        gone = [*pids, guard] if victim == "parent" else [pids[0], guard]
        if victim == "guard":
            os.kill(parent.pid, signal.SIGKILL)
        _wait(lambda: not any(map(_alive, gone)))
        for pid in pids:
            if _alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_a_killed_owners_folder_is_removed_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "cloudbandit-of-somebody").mkdir()  # no lock: perhaps one that is just being made
    code = "import time; from cloudbandit.providers.local import LocalHost; print(LocalHost().folder); time.sleep(600)"
    argv, env = [sys.executable, "-u", "-c", code], {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env) as owner:
        folder = Path(owner.stdout.readline().strip())
        mine = LocalHost()
        try:
            assert local.remove_abandoned() == 0
            owner.kill()
            owner.wait()
            assert folder.exists()
            LocalHost().close()
            assert sorted(tmp_path.iterdir()) == sorted([mine.folder, tmp_path / "cloudbandit-of-somebody"])
        finally:
            owner.kill()
            mine.close()
    mine.close()
    assert [p.name for p in tmp_path.iterdir()] == ["cloudbandit-of-somebody"]


def test_what_runs_on_a_host_ends_when_its_lease_does():
    host = LocalHost(expires=time.time() + 1.0)
    try:
        process = host.start([host.python, "-c", FAMILY], grace_s=0.2)
        pids = _pids(host.folder)
        _wait(lambda: process.poll() is not None)
        assert not any(map(_alive, pids))
    finally:
        host.close()


def test_a_lease_gives_back_whatever_happens():
    provider = LocalProvider()
    (offer,) = provider.offers()
    folders = []

    def work():
        with Lease(provider, offer, "r", "k", 60.0).host() as host:
            assert [one.key for one in provider.rented("r")] == ["k"]
            assert provider.rented("another") == []
            folders.append(host.folder)
            host.close()
            host.start(["true"])

    with pytest.raises(UsageError, match="closed"):
        work()
    assert provider.rented("r") == []
    assert not folders[0].exists()
    provider.destroy("k")


def test_large_files_are_linked_and_small_ones_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "_LARGE_BYTES", 10)
    (tmp_path / "small").write_text("x")
    (tmp_path / "large").write_text("x" * 10)
    (tmp_path / "link").symlink_to(tmp_path / "large")
    host = LocalHost()
    try:
        for name, links in (("small", 1), ("large", 2), ("link", 2), ("small", 1)):
            host.put(tmp_path / name, "it")
            put = host.path("it")
            assert put.read_text() == (tmp_path / name).read_text()
            assert put.stat().st_nlink == links
        host.put(tmp_path / "large", "it")
        host.put(tmp_path / "small", "it")  # replaces the link, not what it leads to
        assert (tmp_path / "large").read_text() == "x" * 10

        def refused(*_):
            raise OSError(errno.EXDEV, "another disk")

        monkeypatch.setattr(os, "link", refused)
        host.put(tmp_path / "large", "other")
        assert host.path("other").stat().st_nlink == 1
    finally:
        host.close()
    assert (tmp_path / "large").read_text() == "x" * 10


def test_gpus_are_those_the_driver_names(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"  # a model of the real one: two lines as the query prints them
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB, 580.65'\necho 'NVIDIA H200, 143771 MiB, 580.65'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (offer,) = LocalProvider().offers()
    assert (offer.accelerator, offer.accelerators) == ("NVIDIA H200", 2)
    engine = VLLM(dummy=True, max_num_seqs=64, max_num_batched_tokens=512, block_size=32)
    benchmark = Benchmark("/none", Workload(Fixed(5, 4)), [Closed(1)])
    objective = LiveObjective(LocalProvider(), engine, benchmark)
    assert {c.config["tensor_parallel_size"] for c in objective.domain().candidates} == {1, 2}
    config = {**engine.space().configs()[0], "tensor_parallel_size": 8}
    refused = objective.evaluate(Trial(0, Candidate(("local", "this-machine"), config)), Unattended())
    assert (refused.reason, refused.error) == (
        "known_constraint",
        "the config takes 8 accelerators; this-machine has 2",
    )
    with pytest.raises(UsageError, match="narrow its knobs"):
        LiveObjective(LocalProvider(), VLLM(tensor_parallel_size=8), benchmark).domain()
    program.write_text("#!/bin/sh\nexit 9\n")
    assert LocalProvider().offers()[0].accelerators == 0
