"""A real SSH server on loopback: hosts behind SSH are tested without a second machine, without a network, and without root.

It logs in by key alone, runs what it is asked to as this user, in a folder of its own, copies files, and forwards to loopback. As
OpenSSH's, it closes a program's standard input when the connection goes, whatever way that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from typing import Any, TypeVar

from cloudbandit.core.errors import need
from cloudbandit.providers.ssh_loop import LoopThread

T = TypeVar("T")
_START_S = 20.0
_CHUNK = 65536


_LOOP = LoopThread("cloudbandit-sshd")


class SSHMachine:
    """A machine that is up.

    Args:
        host_key: an ``asyncssh.SSHKey``; None: a fresh one.
        authorized: lines as in ``authorized_keys``.
        address, port: of loopback; port 0: any that is free.
        environment: of everything that runs there, beside this process's own.

    Attributes:
        host_key: its public part, for pinning.
        folder: where its temporary files lie; gone once it is off.
        commands: what it was asked to run.
    """

    def __init__(
        self,
        authorized: str,
        host_key: Any = None,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        ssh = need("asyncssh", "ssh", "the SSH server for tests")
        key = host_key or ssh.generate_private_key("ssh-ed25519")
        self.host_key = key.export_public_key().decode().strip()
        self.folder = tempfile.mkdtemp(prefix="ssh-machine-")
        self.commands: list[str] = []
        self._environment = {**os.environ, "TMPDIR": self.folder, **(environment or {})}
        self._running: set[asyncio.subprocess.Process] = set()
        self._connections: set[Any] = set()
        machine = self

        class Server(ssh.SSHServer):  # type: ignore[misc, name-defined]
            def connection_made(self, connection: Any) -> None:
                self.connection = connection
                machine._connections.add(connection)

            def connection_lost(self, error: Exception | None) -> None:
                machine._connections.discard(self.connection)

            def connection_requested(self, host: str, port: int, *_: object) -> bool:
                return host in ("127.0.0.1", "localhost")

        async def serve() -> Any:
            return await ssh.create_server(
                Server,
                address,
                port,
                server_host_keys=[key],
                authorized_client_keys=ssh.import_authorized_keys(authorized),
                process_factory=self._run,
                sftp_factory=True,
                encoding=None,
            )

        self._server = _LOOP.wait(serve(), _START_S)
        self.address, self.port = address, int(self._server.get_port())

    async def _run(self, process: Any) -> None:
        self.commands.append(process.command)
        pipe = asyncio.subprocess.PIPE
        running = await asyncio.create_subprocess_shell(
            process.command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=self.folder,
            env=self._environment,
            start_new_session=True,
        )
        self._running.add(running)
        there = asyncio.ensure_future(_pump(process.stdin, running.stdin, close=True))
        back = [_pump(running.stdout, process.stdout), _pump(running.stderr, process.stderr)]
        await asyncio.gather(*back)
        code = await running.wait()
        self._running.discard(running)
        there.cancel()
        process.exit(code if code >= 0 else 128 - code)

    def cut(self) -> None:
        """Break every connection; the machine stays up."""

        async def abort() -> None:
            for connection in list(self._connections):
                connection.abort()

        _LOOP.wait(abort(), _START_S)

    def off(self) -> None:
        """Power off: nothing on it runs on; idempotent."""

        async def close() -> None:
            self._server.close()
            for connection in list(self._connections):
                connection.abort()
            for running in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)

        _LOOP.wait(close(), _START_S)
        shutil.rmtree(self.folder, ignore_errors=True)


async def _pump(source: Any, sink: Any, close: bool = False) -> None:
    """Until the source ends, or breaks; then the sink ends too, where it is the program's."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, *_broken()):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
    if close:
        sink.close()


def _broken() -> tuple[type[Exception], ...]:
    import asyncssh

    return (asyncssh.Error,)
