"""Machines that the user already has, by SSH: a list in study.toml, with a price each.

Nothing is created or destroyed, and nothing is left running, or lying, on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cloudbandit.core.errors import CredentialsError, HostLost, UsageError, hint
from cloudbandit.core.offer import Offer
from cloudbandit.core.rented import Receipt
from cloudbandit.providers.ssh_connect import ANSWER_S, Address, open_host
from cloudbandit.providers.ssh_host import SSHHost
from cloudbandit.providers.standing import StandingMachines

_TEXTS = ("host", "user", "key", "host_key", "known_hosts", "python", "folder", "region", "accelerator")
_COUNTS = ("port", "accelerators", "vcpus")
_AMOUNTS = ("usd_per_h", "memory_gib")


class SSHProvider(StandingMachines[SSHHost]):
    """Machines to log in to, each an offer, one lease at a time on each.

    Args:
        machines: tables with ``host`` (a name that ``ssh`` knows, or an address) and ``usd_per_h``, and as needed ``user``,
            ``port``, ``key`` (a file), ``host_key`` (pinned), ``known_hosts`` (a file), ``python`` (with the engine; there),
            ``folder`` (with room for weights; there), ``region``, ``accelerator``, ``accelerators``, ``vcpus``,
            ``memory_gib``.

    Raises:
        UsageError: there is none, or a key of one makes no sense.
    """

    name = "ssh"
    boot_s = ANSWER_S + 10.0
    elsewhere = True

    def __init__(self, machines: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        if not isinstance(machines, list | tuple) or not machines:
            raise UsageError('machines of the provider ssh is a list, e.g. [{ host = "gpu1", usd_per_h = 2.5 }]')
        self._machines: dict[str, Mapping[str, Any]] = {}
        self._offers: list[Offer] = []
        for number, machine in enumerate(machines):
            _check(machine, f"machine {number} of the provider ssh")
            offer = Offer(
                self.name,
                machine.get("region", ""),
                machine["host"],
                float(machine["usd_per_h"]),
                accelerator=machine.get("accelerator", ""),
                accelerators=machine.get("accelerators", 0),
                vcpus=machine.get("vcpus"),
                memory_gib=machine.get("memory_gib"),
                source="study",
            )
            self._machines[offer.label] = machine
            self._offers.append(offer)

    def offers(self) -> list[Offer]:
        """One per machine."""
        return list(self._offers)

    def free_host(self) -> SSHHost:
        """The first machine: for asking what is installed.

        Raises:
            UsageError: it cannot be used; the message says why.
        """
        offer = self._offers[0]
        try:
            return self._open(offer, alone=False)
        except (HostLost, CredentialsError) as error:
            raise UsageError(f"the machine {offer.label} cannot be used: {error}") from error

    def launch(self, offer: Offer, *, run: str, key: str, expires: float) -> Receipt:
        """Log in; a key that is held is found again.

        Raises:
            NoCapacity: somebody measures there, or it cannot be reached.
            CredentialsError: it does not let us in, or is not the machine it should be.
        """
        if self.held(key) is None:
            self.hold(key, self._open(offer, expires=expires, alone=True), run, offer, expires)
        return Receipt(key, offer.instance_type)

    def connect(self, receipt: Receipt, *, timeout_s: float) -> SSHHost:
        """The host of that key."""
        host = self.held(receipt.key)
        if host is None:
            raise HostLost(f"nothing is held under {receipt.key}")
        return host

    def _open(self, offer: Offer, *, alone: bool, expires: float = math.inf) -> SSHHost:
        machine = self._machines[offer.label]
        address = Address(
            machine["host"],
            machine.get("port"),
            machine.get("user"),
            pinned=machine.get("host_key", ""),
            key_file=machine.get("key", ""),
            known_hosts=machine.get("known_hosts", ""),
        )
        python, folder = machine.get("python", "python3"), machine.get("folder", "")
        return open_host(address, offer.instance_type, python=python, where=folder, expires=expires, alone=alone)


def _check(machine: Any, where: str) -> None:
    if not isinstance(machine, Mapping):
        raise UsageError(f"{where} is {machine!r}; it must be a table with host and usd_per_h")
    known = (*_TEXTS, *_COUNTS, *_AMOUNTS)
    for key, value in machine.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if key not in known:
            raise UsageError(f"unknown key {key!r} in {where}{hint(key, known)}; it takes: {', '.join(known)}")
        if key in _TEXTS and not (isinstance(value, str) and value and not value.startswith("-")):
            raise UsageError(f"{key} of {where} is {value!r}; it must be a text")
        if key in _COUNTS and not (number and value % 1 == 0 and value >= 0):
            raise UsageError(f"{key} of {where} is {value!r}; it must be a whole number")
        if key in _AMOUNTS and not (number and value > 0):
            raise UsageError(f"{key} of {where} is {value!r}; it must be a finite number > 0")
    for key in ("host", "usd_per_h"):
        if key not in machine:
            raise UsageError(f"{where} lacks {key!r}")
