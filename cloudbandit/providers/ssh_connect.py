"""How a machine is reached by SSH: by the user's own keys and known hosts, or by a key pair and a host key of ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudbandit.core.errors import CredentialsError, HostLost, need
from cloudbandit.providers.ssh_host import SSHHost, wait

ANSWER_S = 20.0
"""For a machine that is up to take a connection."""
_KEEPALIVE_S, _KEEPALIVES = 15, 4
_PAUSE_S = 1.0


def asyncssh() -> Any:
    """The package, or the cure."""
    return need("asyncssh", "ssh", "a host reached by SSH")


@dataclass(frozen=True, repr=False)
class KeyPair:
    """A fresh pair that lives in this process's memory alone: nothing to protect on disk, nothing to delete.

    Attributes:
        private: an ``asyncssh.SSHKey``.
        public: a line for ``authorized_keys``, or for pinning.
    """

    private: Any
    public: str

    @classmethod
    def new(cls) -> KeyPair:
        private = asyncssh().generate_private_key("ssh-ed25519", comment="cloudbandit")
        return cls(private, private.export_public_key().decode().strip())

    def private_text(self) -> str:
        """In OpenSSH's format."""
        return str(self.private.export_private_key().decode())


@dataclass(frozen=True)
class Address:
    """Where a machine is, and how it is known to be the one.

    Args:
        host: an address, or a name of the user's ``~/.ssh/config``.
        port, user: None: as in that file, or 22 and this user.
        pinned: its host key (``ssh-ed25519 AAAA…``); empty: it must be among the user's known hosts.
        keys: ``asyncssh.SSHKey`` alone to log in with; none: the user's own (agent, ``~/.ssh``).
        key_file: one more, of the user's.
        known_hosts: a file instead of ``~/.ssh/known_hosts``.
    """

    host: str
    port: int | None = None
    user: str | None = None
    pinned: str = ""
    keys: tuple[Any, ...] = ()
    key_file: str = ""
    known_hosts: str = ""

    def options(self) -> dict[str, Any]:
        """For ``asyncssh.connect``.

        Raises:
            CredentialsError: a key cannot be read.
        """
        ssh = asyncssh()
        options: dict[str, Any] = {"port": self.port, "username": self.user}
        options = {name: value for name, value in options.items() if value is not None}
        if self.pinned:
            options["known_hosts"] = ([ssh.import_public_key(self.pinned)], [], [])
        elif self.known_hosts:
            options["known_hosts"] = str(Path(self.known_hosts).expanduser())
        if self.keys:  # ours: nothing of the user's is offered to a machine in a cloud
            return {**options, "client_keys": list(self.keys), "agent_path": None, "config": None}
        if self.key_file:
            try:
                options["client_keys"] = [ssh.read_private_key(str(Path(self.key_file).expanduser()))]
            except (OSError, ssh.KeyImportError, ssh.KeyEncryptionError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                raise CredentialsError(
                    "key", f"the key {self.key_file} cannot be read ({why}). Cure: name another, or use ssh-agent"
                ) from None
        return options


def open_connection(
    address: Address, *, until: float, patient: bool = False, go_on: Callable[[], None] = lambda: None
) -> Any:
    """An ``asyncssh.SSHClientConnection``.

    Args:
        until: on the monotonic clock.
        patient: the machine is booting: refusals of every kind may be over in a moment.
        go_on: called before each attempt; raises where there is no point in it any more.

    Raises:
        HostLost: it cannot be reached in time.
        CredentialsError: it does not let us in, or is not the machine it should be.
    """
    ssh = asyncssh()
    options = address.options()
    while True:
        go_on()
        left = min(ANSWER_S, until - time.monotonic())
        try:
            return wait(_connect(address, options, left), max(0.1, left) + 1.0)
        except (ssh.PermissionDenied, ssh.HostKeyNotVerifiable) as error:
            refused: Exception = _refused(address, error, isinstance(error, ssh.PermissionDenied))
            if not patient:
                raise refused from None
        except (OSError, ssh.Error) as error:
            name = f"{address.host}{f':{address.port}' if address.port else ''}"
            refused = HostLost(f"{name} cannot be reached by SSH ({error or type(error).__name__})")
            if not patient:
                raise refused from None
        if time.monotonic() + _PAUSE_S >= until:
            raise refused
        time.sleep(_PAUSE_S)


async def _connect(address: Address, options: dict[str, Any], left: float) -> Any:
    connecting = asyncssh().connect(
        address.host,
        **options,
        connect_timeout=max(0.1, left),
        login_timeout=max(0.1, left),
        keepalive_interval=_KEEPALIVE_S,
        keepalive_count_max=_KEEPALIVES,
        preferred_auth="publickey",
    )
    return await asyncio.wait_for(connecting, max(0.1, left))


def _refused(address: Address, error: Exception, us: bool) -> CredentialsError:
    if us:
        user = f" as {address.user}" if address.user else ""
        return CredentialsError(
            "permission_denied", f"{address.host} does not let us in{user} ({error}). Cure: see that `ssh` does, by key"
        )
    return CredentialsError(
        "host_key",
        f"{address.host} shows a host key that is not the known one ({error}). "
        f"Cure: log in once with `ssh` and check it, or pin it with host_key",
    )


def open_host(address: Address, name: str, **options: Any) -> SSHHost:
    """A host that is up, at that address; see `SSHHost` for the options."""
    return SSHHost(open_connection(address, until=time.monotonic() + ANSWER_S), name, **options)
