"""This machine as a provider: hosts are folders, processes are guarded."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from cloudbandit.core.errors import HostLost, UsageError
from cloudbandit.core.offer import Offer
from cloudbandit.core.protocols import Finished
from cloudbandit.core.rented import Receipt
from cloudbandit.providers import guard
from cloudbandit.providers.standing import StandingMachines

_GUARD = Path(guard.__file__)
_TAIL_BYTES = 200_000
_LARGE_BYTES, _COPIED_BYTES = 64 * 2**20, 16 * 2**20
_RUN_GRACE_S = 1.0  # of a program that is run to its end, and took too long
_GUARD_S, _KILL_S = guard.KILL_S + 0.5, 1.0  # a guard that is not done so long after the grace is killed
_PREFIX, _OWNED = "cloudbandit-", ".owned"


def accelerators() -> list[str]:
    """NVIDIA's GPUs here, as their driver names them; none where it is not installed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    argv = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def describe_machine() -> dict[str, object]:
    """This machine, for whoever reads what was measured on it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((line.split(":")[1].strip() for line in lines if "model name" in line), ""),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "accelerators": accelerators(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _own(folder: Path) -> int:
    """A lock that ends with this process, whatever way that is. It has its name only once it is held, so that a folder with a
    free lock is nobody's."""
    part = folder / f"{_OWNED}.part"
    lock = os.open(part, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    part.rename(folder / _OWNED)
    return lock


def remove_abandoned() -> int:
    """Remove the folders of hosts whose process was killed; how many. Models lie in them, so that they are not small."""
    count = 0
    for owned in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_OWNED}"):
        with contextlib.suppress(OSError):  # another user's, still owned, or just removed
            with owned.open("r+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(owned.parent)
            count += 1
    return count


def _read(file: BinaryIO, size: int) -> bytes:
    return file.read(size)


class LocalProcess:
    """A guarded process: it ends with `stop`, and within seconds of this process's end, however that comes."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], folder: Path, log: Path, grace_s: float, expires: float
    ) -> None:
        self.log = log
        self._grace_s = grace_s
        with log.open("ab") as out:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), *argv],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **env, "GUARD_GRACE_S": str(grace_s), "GUARD_EXPIRES": str(expires)},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the guard; the program is its child."""
        return self._guard.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._guard.poll()

    def tail(self, lines: int = 30) -> str:
        """The last lines of its output."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
        return ""

    def stop(self) -> int:
        """Interrupt, wait for the grace, kill; idempotent. It returns within the grace and 3.5 s: what the kernel cannot kill (a
        process in a driver's call) is left to it."""
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it has ended by itself
                self._guard.stdin.write(b".")
            self._guard.stdin.close()
        try:
            return self._guard.wait(self._grace_s + _GUARD_S)
        except subprocess.TimeoutExpired:
            below = guard.descendants(self.pid)
            self._guard.kill()
            guard.signal_all(below, signal.SIGKILL)
        try:
            return self._guard.wait(_KILL_S)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL


class LocalHost:
    """A folder on this machine. Paths are relative to it; closing it stops what runs there and removes it. What runs there is
    stopped at ``expires`` (seconds since 1970) too."""

    def __init__(self, folder: Path | None = None, expires: float = math.inf) -> None:
        self._expires = expires
        self.name = "local"
        self.python = sys.executable
        self._lock: int | None = None
        if folder is None:
            remove_abandoned()
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock = _own(self.folder)
        else:
            self.folder = folder
            self.folder.mkdir(parents=True, exist_ok=True)
        self._processes: list[LocalProcess] = []
        self.closed = False

    def path(self, remote: str) -> Path:
        """Where a path of this host lies.

        Raises:
            HostLost: the host's folder was removed.
            UsageError: the path leaves it.
        """
        if not self.closed and not self.folder.is_dir():
            raise HostLost(f"the folder {self.folder} of a host was removed while a trial used it")
        path = (self.folder / remote).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise UsageError(f"{remote!r} leaves the host's folder")
        return path

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Finished:
        """Run to the end; a program that takes longer is stopped, and its code is None."""
        log = f"run-{len(self._processes)}.log"
        process = self.start(argv, env=env, log=log, grace_s=_RUN_GRACE_S)
        try:
            code: int | None = process._guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            process.stop()
        self.path(log)  # a program whose folder is gone has failed for that
        return Finished(code, process.tail(200))

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: str = "engine.log",
        grace_s: float = 5.0,
    ) -> LocalProcess:
        """Start in the background; see `cloudbandit.core.protocols.Host.start`."""
        self._check_open()
        process = LocalProcess(argv, env or {}, self.folder, self.path(log), grace_s, self._expires)
        self._processes.append(process)
        return process

    def put(self, local: Path, remote: str) -> None:
        """Copies a file or a folder; a large file is linked where the disk allows, since a model of many GB is put for every
        trial."""
        if local.is_dir():
            self.path(remote).mkdir(parents=True, exist_ok=True)
            for entry in sorted(local.iterdir()):
                self.put(entry, f"{remote}/{entry.name}")
            return
        self._check_open()
        target = self.path(remote)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if local.stat().st_size >= _LARGE_BYTES:
            with contextlib.suppress(OSError):
                os.link(local.resolve(), target)
                return
        with local.open("rb") as source, target.open("wb") as copy:
            while data := _read(source, _COPIED_BYTES):
                self._check_open()  # the trial that wanted it may be over
                copy.write(data)

    def get(self, remote: str, local: Path) -> None:
        shutil.copyfile(self.path(remote), local)

    def _check_open(self) -> None:
        if self.closed:
            raise UsageError("the host is closed")

    def free_port(self) -> int:
        """A port nobody listens on just now."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def forward(self, port: int) -> str:
        """The address under which this process reaches a port of the host."""
        return f"http://127.0.0.1:{port}"

    def close(self) -> None:
        """Idempotent."""
        self.closed = True
        for process in self._processes:
            process.stop()
        if self._lock is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = None


class LocalProvider(StandingMachines[LocalHost]):
    """This machine, as one offer, billed by the time that its hosts are up.

    Args:
        usd_per_h: what an hour of it is worth; budgets in USD count it.

    Raises:
        UsageError: the price is not a finite number > 0.
    """

    name = "local"
    boot_s = 0.0

    def __init__(self, usd_per_h: float = 0.05) -> None:
        number = isinstance(usd_per_h, int | float) and not isinstance(usd_per_h, bool)
        if not (number and math.isfinite(usd_per_h) and usd_per_h > 0):
            raise UsageError(f"usd_per_h of this machine is {usd_per_h!r}; it must be a finite number > 0")
        super().__init__()
        self.usd_per_h = float(usd_per_h)

    def offers(self) -> list[Offer]:
        """This machine."""
        found = accelerators()
        return [
            Offer(
                "local",
                "",
                "this-machine",
                self.usd_per_h,
                accelerator=found[0].split(",")[0] if found else "",
                accelerators=len(found),
                vcpus=len(os.sched_getaffinity(0)),
                memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
                source="this machine",
            )
        ]

    def free_host(self) -> LocalHost:
        """For asking what is installed here."""
        return LocalHost()

    def launch(self, offer: Offer, *, run: str, key: str, expires: float) -> Receipt:
        """A host per key; launching a key again gives the host it already has."""
        if self.held(key) is None:
            self.hold(key, LocalHost(expires=expires), run, offer, expires)
        return Receipt(key)

    def connect(self, receipt: Receipt, *, timeout_s: float) -> LocalHost:
        """The host of that key."""
        host = self.held(receipt.key)
        if host is None:
            raise HostLost(f"nothing is held under {receipt.key}")
        return host
