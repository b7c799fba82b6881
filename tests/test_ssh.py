"""Hosts behind SSH, on a real SSH server: what runs there ends with them, whatever way they end, and no secret shows."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from scripted_engine import Scripted
from typer.testing import CliRunner

from cloudbandit import Status, Store
from cloudbandit.cli import app
from cloudbandit.core.errors import CredentialsError, HostLost, NoCapacity, UsageError
from cloudbandit.core.trial import Candidate, Trial
from cloudbandit.engines import hugging_face
from cloudbandit.live.lease import Lease
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.trial import Benchmark, Unattended
from cloudbandit.loadgen.workloads import Closed, Fixed, Workload
from cloudbandit.providers import ssh_host
from cloudbandit.providers.ssh import SSHProvider
from cloudbandit.providers.ssh_connect import Address, KeyPair, open_host

pytest.importorskip("asyncssh")
from cloudbandit.testing.sshd import SSHMachine

FAMILY = """
import os, subprocess, sys, time
code = "import os, signal, sys, time; signal.signal(2, signal.SIG_IGN);" \\
    "open('pids', 'w').write(sys.argv[1] + ' ' + str(os.getpid())); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", code, str(os.getpid())], start_new_session=True)
time.sleep(600)
"""
KEYS = KeyPair.new()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds=10.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "not within the time allowed"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def machine():
    machine = SSHMachine(KEYS.public)
    yield machine
    machine.off()


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "id"
    path.write_text(KEYS.private_text())
    path.chmod(0o600)
    return str(path)


def address(machine):
    return Address("127.0.0.1", machine.port, "me", pinned=machine.host_key, keys=(KEYS.private,))


@pytest.fixture
def host(machine):
    host = open_host(address(machine), "there", python=sys.executable)
    yield host
    host.close()
    assert os.listdir(machine.folder) == []


def entry(machine, key_file, **more):
    told = {"host": "127.0.0.1", "port": machine.port, "user": "me", "host_key": machine.host_key, "key": key_file}
    return {**told, "usd_per_h": 2.0, "python": sys.executable, **more}


# ── a host ──


def test_programs_files_and_tunnels(host, machine, tmp_path):
    done = host.run(
        [host.python, "-c", "import os; print(os.environ['A']); raise SystemExit(3)"], timeout_s=20, env={"A": "a b'c"}
    )
    assert (done.code, done.output) == (3, "a b'c")
    assert host.run(["sleep", "60"], timeout_s=0.2).code is None
    assert host.run(["no-such-program"], timeout_s=5).code == 127
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "a").write_text("x")
    host.put(tmp_path / "tree", "models/m")
    host.get("models/m/deep/a", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "x"
    with pytest.raises(UsageError, match="leaves the host's folder"):
        host.put(tmp_path / "back", "../b")
    with pytest.raises(FileNotFoundError):
        host.get("none", tmp_path / "back")


def test_a_disk_that_is_too_small_is_told_before_anything_is_copied(host, tmp_path, monkeypatch):
    (tmp_path / "weights").write_text("x" * 100)
    monkeypatch.setattr(type(host), "_free", lambda self: 99)
    with pytest.raises(OSError, match="no space left on there"):
        host.put(tmp_path / "weights", "weights")


def test_a_model_folder_is_put_on_a_machine_elsewhere(host, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    there = hugging_face.prepare(host, str(tmp_path))
    assert there == f"{host.folder}/model"
    assert Path(there, "config.json").read_text() == "{}"  # this machine is that machine


def _pids(host):
    path = Path(str(host.folder), "pids")
    until(lambda: path.exists() and len(path.read_text().split()) == 2)
    return [int(p) for p in path.read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stop", "close", "cut"])
def test_descendants_end_with_the_program_the_host_and_the_connection(machine, how):
    host = open_host(address(machine), "there", python=sys.executable)
    process = host.start([host.python, "-c", FAMILY], grace_s=0.2)
    pids = _pids(host)
    assert process.poll() is None
    {"stop": process.stop, "close": host.close, "cut": machine.cut}[how]()
    until(lambda: not any(map(alive, pids)))
    if how == "cut":
        until(lambda: process._over.done())
        with pytest.raises(HostLost, match="there broke while"):
            process.poll()
        with pytest.raises(HostLost):
            host.run(["true"], timeout_s=5)
    host.close()
    until(lambda: os.listdir(machine.folder) == [])


@pytest.mark.slow
def test_what_runs_there_ends_with_its_lease_by_the_machines_own_clock(machine):
    host = open_host(address(machine), "there", python=sys.executable, expires=time.time() + 1.0)
    process = host.start([host.python, "-c", FAMILY], grace_s=0.2)
    until(lambda: process._over.done())
    until(lambda: os.listdir(machine.folder) == [])
    host.close()


@pytest.mark.slow
def test_nothing_lives_on_after_a_kill_of_whoever_asked(machine, key_file):
    code = (
        "import sys, time; from cloudbandit.providers.ssh import SSHProvider\n"
        f"p = SSHProvider([{entry(machine, key_file)!r}]); o = p.offers()[0]\n"
        "h = p.connect(p.launch(o, run='r', key='k', expires=time.time() + 60), timeout_s=9)\n"
        f"h.start([sys.executable, '-c', {FAMILY!r}], grace_s=60); print(h.folder, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        folder = Path(other.stdout.readline().strip())
        until(lambda: (folder / "pids").exists() and len((folder / "pids").read_text().split()) == 2)
        pids = [int(p) for p in (folder / "pids").read_text().split()]
        provider = SSHProvider([entry(machine, key_file)])
        with pytest.raises(NoCapacity, match="somebody else measures"):
            provider.launch(provider.offers()[0], run="r", key="mine", expires=time.time() + 60)
        os.kill(other.pid, signal.SIGKILL)
        until(lambda: not any(map(alive, pids)) and not folder.exists())


def test_no_secret_stands_in_a_process_list(host, machine):
    secret = "hf_" + "planted" * 4
    process = host.start(["sleep", "30"], env={"HF_TOKEN": secret})
    lists = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert process.poll() is None
    assert not [one for one in lists if secret.encode() in one]
    assert not [command for command in machine.commands if secret in command or "sleep" in command]


@pytest.mark.slow
def test_hosts_opened_by_several_threads_at_once_share_one_event_loop(machine, monkeypatch):
    monkeypatch.setattr(ssh_host._LOOP, "_loop", None)
    with ThreadPoolExecutor(4) as pool:
        hosts = list(pool.map(lambda i: open_host(address(machine), f"m{i}", python=sys.executable), range(4)))
        assert len({host.folder for host in hosts}) == 4
        list(pool.map(lambda host: host.close(), hosts))
    assert os.listdir(machine.folder) == []


# ── machines that the user has ──


def test_bad_machines_are_told_one_clear_error_each(machine, key_file, tmp_path):
    for machines, why in (
        ([], "is a list"),
        ([{"host": "a"}], "lacks 'usd_per_h'"),
        ([{"host": "a", "usd_per_hour": 2}], "did you mean 'usd_per_h'"),
        ([{"host": "a", "usd_per_h": 0}], "number > 0"),
        ([{"host": "-oProxyCommand=x", "usd_per_h": 1}], "must be a text"),
        ([{"host": "a", "usd_per_h": 1, "port": 1.5}], "whole number"),
    ):
        with pytest.raises(UsageError, match=why):
            SSHProvider(machines)
    (tmp_path / "bad").write_text("no key")
    other = KeyPair.new()
    (tmp_path / "other").write_text(other.private_text())
    for change, why in (
        ({"key": str(tmp_path / "none")}, "cannot be read"),
        ({"key": str(tmp_path / "bad")}, "cannot be read"),
        ({"key": str(tmp_path / "other")}, "does not let us in"),
        ({"host_key": other.public}, "not the known one"),
        ({"port": 1}, "cannot be reached"),
        ({"python": "no-such-python"}, "could not run no-such-python"),
    ):
        with pytest.raises(UsageError, match=why):
            SSHProvider([entry(machine, key_file, **change)]).free_host()
    provider = SSHProvider([entry(machine, key_file, host_key=other.public)])
    with pytest.raises(CredentialsError):
        provider.launch(provider.offers()[0], run="r", key="k", expires=time.time() + 60)


def _objective(provider, **options):
    benchmark = Benchmark("good", Workload(Fixed(5, 4)), [Closed(1), Closed(2)], requests=4, timeout_s=5.0, **options)
    return LiveObjective(provider, Scripted(), benchmark, run="tests")


def _trial(provider):
    config = {"itl_ms": 1, "start": "ready", "batch": 1}
    return Trial(0, Candidate(("ssh", provider.offers()[0].label), config), seed=0)


@pytest.mark.slow
def test_a_trial_there_measures_on_the_host_and_pays_its_time(machine, key_file):
    provider = SSHProvider([entry(machine, key_file)])
    objective = _objective(provider)
    result = objective.evaluate(_trial(provider), Unattended())
    assert result.status is Status.OK, result.error
    assert [row["users"] for row in result.rows] == [1, 2]
    assert result.metrics["failure_rate"] == 0
    bill = provider.bill(next(iter(provider._held)))
    assert result.spent_usd + result.hosts_usd == pytest.approx(bill.usd)
    assert provider.rented() == []
    until(lambda: os.listdir(machine.folder) == [])


@pytest.mark.slow
def test_a_machine_that_goes_away_keeps_what_was_measured(machine, key_file):
    class Cut(Unattended):
        def report(self, partial):
            machine.cut()
            return True

    provider = SSHProvider([entry(machine, key_file)])
    result = _objective(provider).evaluate(_trial(provider), Cut())
    assert (result.status, result.reason) == (Status.UNAVAILABLE, "host_lost")
    assert [row["users"] for row in result.rows] == [1]
    until(lambda: os.listdir(machine.folder) == [])


def test_a_lease_is_held_alone_and_given_back(machine, key_file):
    provider = SSHProvider([entry(machine, key_file)])
    (offer,) = provider.offers()
    with Lease(provider, offer, "r", "k", 60.0).host():
        assert [one.key for one in provider.rented("r")] == ["k"]
        with pytest.raises(NoCapacity, match="somebody else measures"):
            provider.launch(offer, run="r", key="k2", expires=time.time() + 60)
    assert provider.rented() == []


STUDY = """
[study]
name = "there"
minimize = "tpot_ms"
optimizer = "random-wor"
trials = {trials}
seed = 1
[providers.mine]
name = "ssh"
machines = [{machine}]
[engine]
name = "openvino"
model = "tiny-llama"
knobs = {{ threads = 2, kv_cache_precision = "u8", num_kv_blocks = 256, dynamic_split_fuse = true }}
[workload]
input_tokens = 48
output_tokens = 12
[load]
users = 4
requests = 12
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_study_with_a_real_engine_runs_there_and_goes_on(machine, key_file, tmp_path):
    pytest.importorskip("openvino_genai")
    told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in entry(machine, key_file).items())
    url, path = str(tmp_path / "s.db"), tmp_path / "study.toml"
    for trials in (1, 2):
        path.write_text(STUDY.format(trials=trials, machine=f"{{ {told} }}"))
        done = CliRunner().invoke(app, ["run", str(path), "--store", url, "--json"])
        assert done.exit_code == 0, (done.output, done.exception)
        report = json.loads(done.stdout)
        assert (report["evaluations"], report["restored"]) == (trials, trials - 1)
    with Store(url) as store:
        machine_kept = store.spec("there")["machine"]
        assert "openvino-genai" in machine_kept["engine"]
        assert "cpu" not in machine_kept  # this machine is not what was measured
    assert os.listdir(machine.folder) == []
