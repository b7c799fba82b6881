"""A machine at the other end of an SSH connection, as a host: whatever runs there ends with the connection.

asyncssh carries it (docs/design.md says why), all connections of a process on one event loop in one thread. Every program is
started under the guard of `cloudbandit.providers.guard`, which holds the far end of its standard input; what it is asked to do,
secrets included, comes through that pipe, never through arguments.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from cloudbandit.core.errors import HostLost, NoCapacity, UsageError
from cloudbandit.core.protocols import Finished
from cloudbandit.providers import guard, remote
from cloudbandit.providers.ssh_loop import LoopThread

T = TypeVar("T")
_PROGRAM, _GUARD = Path(remote.__file__).read_bytes(), Path(guard.__file__).read_text()
_TAIL_BYTES, _TAIL_S = 200_000, 15.0
_ASK_S = 30.0
_COPY_S = 24 * 3600.0
_RUN_GRACE_S = 1.0
_GUARD_S, _KILL_S = guard.KILL_S + 1.5, 5.0
_CLOSE_S = remote.REMOVE_S + 2.0


_LOOP = LoopThread("cloudbandit-ssh")
wait = _LOOP.wait
"""On the event loop of all connections; see `LoopThread.wait`."""


class SSHProcess:
    """A guarded program on the host."""

    def __init__(self, host: SSHHost, process: Any, pid: int, log: str, grace_s: float) -> None:
        self._host, self._process, self.pid, self._log, self._grace_s = host, process, pid, log, grace_s
        self._over = _LOOP.begin(process.wait_closed())

    def poll(self) -> int | None:
        """The exit code, or None while it runs.

        Raises:
            HostLost: the connection is gone, so nobody knows.
        """
        code: int | None = self._process.returncode
        if code is None and self._over.done():
            raise HostLost(f"the connection to {self._host.name} broke while a program ran there")
        return code

    def wait(self, timeout_s: float) -> int | None:
        """The exit code; None where it still runs after that time."""
        with contextlib.suppress(TimeoutError):
            self._over.result(max(0.0, timeout_s))
        return self.poll()

    def tail(self, lines: int = 30) -> str:
        """The last lines of its output; nothing where the host is gone."""
        try:
            text = self._host._ask(f"tail -c {_TAIL_BYTES} {shlex.quote(str(self._host.path(self._log)))}", _TAIL_S)
        except (HostLost, UsageError):
            return ""
        return "\n".join(text.decode("utf-8", "replace").splitlines()[-lines:])

    def stop(self) -> int:
        """Interrupt, wait for the grace, kill; idempotent. Where the host is gone, its guard does the same there."""
        code: int | None = self._process.returncode
        if code is None and not self._over.done():
            wait(_say_stop(self._process), _ASK_S)
            with contextlib.suppress(TimeoutError):
                self._over.result(self._grace_s + _GUARD_S)
            if not self._over.done():
                with contextlib.suppress(HostLost):
                    self._host._ask(f"kill -9 {self.pid}", _KILL_S)
                with contextlib.suppress(TimeoutError):
                    self._over.result(_KILL_S)
            code = self._process.returncode
        return -9 if code is None else code


async def _say_stop(process: Any) -> None:
    with contextlib.suppress(BrokenPipeError, OSError):
        process.stdin.write(b".")
        process.stdin.write_eof()


class SSHHost:
    """See `cloudbandit.core.protocols.Host`. Paths are relative to a folder that is made for it and removed with it.

    Args:
        connection: an ``asyncssh.SSHClientConnection``, which the host closes.
        name: for messages.
        python: the interpreter there, for engines and the load generator.
        where: a folder to make the host's in; empty: the machine's own place for temporary files that are large.
        expires: seconds since 1970; what runs there ends then, connection or not. The machine's clock may differ from ours.
        alone: nobody else of this user may hold the machine at the same time.

    Raises:
        NoCapacity: it is to be had alone, and somebody holds it.
        HostLost: it does not answer, or has no such Python.
    """

    elsewhere = True

    def __init__(
        self,
        connection: Any,
        name: str,
        *,
        python: str = "python3",
        where: str = "",
        expires: float = math.inf,
        alone: bool = False,
    ) -> None:
        self.name, self.closed = name, False
        self._connection, self._bootstrap, self._expires = connection, python, expires
        self._processes: list[SSHProcess] = []
        self._forwards: list[Any] = []
        self._runs = 0
        self.python = python
        try:
            self._hold, told = self._begin("hold", guard=_GUARD, where=where, seconds=self._left_s(), alone=alone)
            if told.get("busy"):
                raise NoCapacity(
                    "busy", f"somebody else measures on {name}; two loads at once would measure each other"
                )
        except BaseException:
            self._disconnect()
            raise
        self.folder = PurePosixPath(told["folder"])
        self.free_bytes = int(told["free_bytes"])
        if "/" not in python:
            self.python = told["python"]

    def path(self, remote: str) -> PurePosixPath:
        """Where a path of this host lies there.

        Raises:
            UsageError: the path leaves its folder.
        """
        if remote.startswith("/") or ".." in PurePosixPath(remote).parts:
            raise UsageError(f"{remote!r} leaves the host's folder")
        return self.folder / remote

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Finished:
        """Run to the end; a program that takes longer is stopped, and its code is None."""
        self._runs += 1
        process = self.start(argv, env=env, log=f".run-{self._runs}.log", grace_s=_RUN_GRACE_S)
        try:
            code = process.wait(timeout_s)
        finally:
            process.stop()
        return Finished(code, process.tail(200))

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: str = "engine.log",
        grace_s: float = 5.0,
    ) -> SSHProcess:
        """Start in the background; see `cloudbandit.core.protocols.Host.start`."""
        self._check_open()
        self.path(log)
        asked = {"folder": str(self.folder), "argv": list(argv), "env": dict(env or {}), "log": log}
        channel, told = self._begin("start", **asked, grace_s=grace_s, seconds=self._left_s())
        process = SSHProcess(self, channel, int(told["pid"]), log, grace_s)
        self._processes.append(process)
        return process

    def put(self, local: Path, remote: str) -> None:
        """Copy a file, or a folder with all that is in it.

        Raises:
            OSError: no space is left there.
        """
        self._check_open()
        target = self.path(remote)
        size = sum(p.stat().st_size for p in (local.rglob("*") if local.is_dir() else [local]) if p.is_file())
        if size > self._free():
            raise OSError(errno.ENOSPC, f"no space left on {self.name}: {local.name} takes {size / 2**30:.1f} GiB")

        async def copy() -> None:
            async with self._connection.start_sftp_client() as sftp:
                await sftp.makedirs(str(target.parent), exist_ok=True)
                await sftp.put(str(local), str(target), recurse=local.is_dir(), follow_symlinks=True)

        with self._lost():
            wait(copy(), _COPY_S)

    def get(self, remote: str, local: Path) -> None:
        source = self.path(remote)

        async def copy() -> None:
            async with self._connection.start_sftp_client() as sftp:
                await sftp.get(str(source), str(local))

        with self._lost():
            wait(copy(), _COPY_S)

    def free_port(self) -> int:
        """A port nobody listens on there just now."""
        return int(self._begin("port")[1]["port"])

    def forward(self, port: int) -> str:
        """The address under which this process reaches a port of the host's loopback: a tunnel, for health checks."""
        with self._lost():
            opened = wait(self._connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", port), _ASK_S)
        self._forwards.append(opened)
        return f"http://127.0.0.1:{opened.get_port()}"

    def close(self) -> None:
        """Stop everything on it, remove its folder, disconnect; idempotent."""
        if self.closed:
            return
        self.closed = True
        try:
            for process in self._processes:
                with contextlib.suppress(TimeoutError):
                    process.stop()
            with contextlib.suppress(TimeoutError, HostLost), self._lost():
                wait(_end(self._hold), _CLOSE_S)
        finally:
            self._disconnect()

    # ── the connection ──

    def _disconnect(self) -> None:
        async def close() -> None:
            for opened in self._forwards:
                opened.close()
            self._connection.abort()

        wait(close(), _ASK_S)

    def _left_s(self) -> float:
        return self._expires - time.time() if math.isfinite(self._expires) else 10.0 * 365 * 86400

    def _free(self) -> int:
        text = self._ask(f"df -Pk {shlex.quote(str(self.folder))} | tail -n 1", _ASK_S).split()
        return int(text[3]) * 1024 if len(text) > 3 and text[3].isdigit() else self.free_bytes

    def _begin(self, do: str, **asked: object) -> tuple[Any, dict[str, Any]]:
        """Ask `cloudbandit.providers.remote` for something: its channel, still open, and what it said."""
        command = shlex.join([self._bootstrap, "-I", "-S", "-c", remote.LOADER.format(size=len(_PROGRAM))])

        async def begin() -> tuple[Any, bytes, bytes]:
            process = await self._connection.create_process(command, encoding=None)
            process.stdin.write(_PROGRAM + json.dumps({"do": do, **asked}).encode() + b"\n")
            line = await process.stdout.readline()
            return process, line, b"" if line else await process.stderr.read()

        with self._lost():
            process, line, said = wait(begin(), _ASK_S)
        if not line:
            why = said.decode("utf-8", "replace").strip().splitlines()
            raise HostLost(f"{self.name} could not run {self._bootstrap}: {why[-1] if why else 'it said nothing'}")
        told: dict[str, Any] = json.loads(line)
        return process, told

    def _ask(self, command: str, timeout_s: float) -> bytes:
        """The output of a shell's command that says nothing secret."""
        with self._lost():
            done = wait(self._connection.run(command, encoding=None, check=False), timeout_s)
        return bytes(done.stdout or b"")

    @contextlib.contextmanager
    def _lost(self) -> Iterator[None]:
        import asyncssh

        try:
            yield
        except asyncssh.SFTPNoSuchFile as error:
            raise FileNotFoundError(errno.ENOENT, f"{error.reason} on {self.name}") from error
        except asyncssh.SFTPPermissionDenied as error:
            raise PermissionError(errno.EACCES, f"{error.reason} on {self.name}") from error
        except asyncssh.SFTPFailure as error:  # OpenSSH says no more than that of a full disk
            if self._free() < 2**20:
                raise OSError(errno.ENOSPC, f"no space left on {self.name}") from error
            raise
        except (asyncssh.Error, ConnectionError, TimeoutError) as error:
            raise HostLost(f"{self.name} went away ({type(error).__name__}: {error})") from error

    def _check_open(self) -> None:
        if self.closed:
            raise UsageError("the host is closed")


async def _end(hold: Any) -> None:
    with contextlib.suppress(BrokenPipeError, OSError):
        hold.stdin.write_eof()
    await hold.wait_closed()
