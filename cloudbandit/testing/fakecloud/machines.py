"""The machines of a fake cloud: a real SSH server each, at an address of loopback of its own, set up as its user data says."""

from __future__ import annotations

import itertools
import json
import re
import socket
from collections.abc import Mapping
from typing import Any

from cloudbandit.core.errors import need
from cloudbandit.testing.fakecloud.cloud import MACHINE, FakeCloud, Resource
from cloudbandit.testing.sshd import SSHMachine

_numbers = itertools.count(2)


def told(user_data: str) -> dict[str, Any]:
    """A cloud-config that is JSON.

    Raises:
        ValueError: it is none.
    """
    head, _, body = user_data.partition("\n")
    if head.strip() != "#cloud-config":
        raise ValueError("the user data is no cloud-config")
    found: dict[str, Any] = json.loads(body)
    return found


def power_off_s(user_data: str) -> float | None:
    """When the machine's own timer powers it off; None: it has none."""
    try:
        boot = json.dumps(told(user_data).get("bootcmd", []))
    except ValueError:
        return None
    found = re.search(r"--on-active=(\d+)", boot)
    return float(found[1]) if found else None


class Machines:
    """Powers a cloud's machines on and off.

    Args:
        cloud: whose.
        environment: of everything that runs on them.
        answer: machines that boot and answer; else they stand and never do.

    Attributes:
        port: of SSH, the same on all of them.
    """

    def __init__(self, cloud: FakeCloud, environment: Mapping[str, str] | None = None, *, answer: bool = True) -> None:
        self._environment, self.answer = dict(environment or {}), answer
        self.up: dict[str, SSHMachine] = {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        cloud.on_made, cloud.on_gone = self._on, self._off

    def _on(self, one: Resource) -> None:
        if one.kind != MACHINE or "user_data" not in one.extra:
            return
        number = next(_numbers)
        one.extra["address"] = f"127.42.{number // 250}.{number % 250 + 2}"
        if not self.answer:
            return
        config = told(one.extra["user_data"])
        key = need("asyncssh", "ssh", "a machine of the fake cloud").import_private_key(
            config["ssh_keys"]["ed25519_private"]
        )
        authorized = "\n".join(config["ssh_authorized_keys"]) + "\n"
        self.up[one.id] = SSHMachine(
            authorized, key, address=one.extra["address"], port=self.port, environment=self._environment
        )

    def _off(self, one: Resource) -> None:
        machine = self.up.pop(one.id, None)
        if machine is not None:
            machine.off()

    def close(self) -> None:
        for id in list(self.up):
            self.up.pop(id).off()
