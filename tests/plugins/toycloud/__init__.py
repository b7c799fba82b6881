"""Somebody else's package: a provider whose machines are folders here, and an engine that only pretends to serve."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import cloudbandit
from cloudbandit.core.errors import NoCapacity
from cloudbandit.core.offer import Bill, Offer, Tariff
from cloudbandit.core.rented import Fate, Receipt, Rented
from cloudbandit.engines.engine import Engine
from cloudbandit.engines.knobs import Knob
from cloudbandit.providers.local import LocalHost


class ToyCloud:
    """One instance type with two accelerators, in two regions, on demand and spot.

    Args:
        usd_per_h: on demand in the first region; spot is a quarter of it, the second region twice as dear.
        boot_s: how long every launch takes.
        minimum_s, granularity_s, storage_usd_per_h: the tariff.
        no_capacity: labels of offers that are never to be had.
        refusal_s: a launch that is refused is billed so long all the same.
    """

    name = "toy"
    clock: Any = time
    lag_s = gone_s = 0.0

    def __init__(
        self,
        usd_per_h: float = 2.0,
        boot_s: float = 0.0,
        minimum_s: float = 0.0,
        granularity_s: float = 1.0,
        storage_usd_per_h: float = 0.0,
        no_capacity: Sequence[str] = (),
        refusal_s: float = 0.0,
    ) -> None:
        self.usd_per_h, self.boot_s, self.refusal_s = usd_per_h, boot_s, refusal_s
        self.tariff = Tariff(granularity_s, minimum_s, storage_usd_per_h)
        self.no_capacity = set(no_capacity)
        self.launched: list[str] = []
        self.destroyed: list[str] = []
        self.bills: dict[str, Bill] = {}
        self._up: dict[str, tuple[str, LocalHost, float, float]] = {}

    def offers(self) -> list[Offer]:
        prices = [
            ("us-east", "on-demand", self.usd_per_h),
            ("us-east", "spot", self.usd_per_h / 4),
            ("eu-west", "on-demand", self.usd_per_h * 2),
        ]
        return [
            Offer("toy", region, "toy.2x", usd, purchase, "Toy-1", accelerators=2) for region, purchase, usd in prices
        ]

    def quote(self, offer: Offer, seconds: float) -> float:
        return self.tariff.usd(offer.usd_per_h, max(seconds, self.refusal_s))

    def launch(self, offer: Offer, *, run: str, key: str, expires: float) -> Receipt:
        self.launched.append(key)
        if offer.label in self.no_capacity:
            self.bills[key] = self._bill(offer.usd_per_h, self.refusal_s)
            raise NoCapacity("InsufficientInstanceCapacity", f"there is no {offer.label} now")
        began = self.clock.monotonic()
        self._up[key] = (run, LocalHost(expires=expires), offer.usd_per_h, began)
        return Receipt(key)

    def connect(self, receipt: Receipt, *, timeout_s: float) -> LocalHost:
        self.clock.sleep(self.boot_s)
        return self._up[receipt.key][1]

    def destroy(self, key: str) -> Fate:
        self.destroyed.append(key)
        if key in self._up:
            _, host, usd_per_h, began = self._up.pop(key)
            host.close()
            self.bills[key] = self._bill(usd_per_h, self.clock.monotonic() - began)
        return Fate.GONE

    def bill(self, key: str) -> Bill:
        return self.bills.get(key, Bill())

    def rented(self, run: str | None = None) -> list[Rented]:
        return [Rented(self.name, key, owner) for key, (owner, *_) in self._up.items() if run in (None, owner)]

    def _bill(self, usd_per_h: float, seconds: float) -> Bill:
        return Bill(self.tariff.usd(usd_per_h, seconds), seconds)


class ToyEngine(Engine):
    """The stub server of `cloudbandit.testing`, slower with a larger batch."""

    name = "toy"
    knobs: ClassVar = (Knob("gpus", (1, 2, 4), 1), Knob("batch", (1, 2, 4), 1))

    def accelerators(self, config):
        return int(config.get("gpus", 1))

    def argv(self, host, config, port, model):
        itl_s = str(0.001 * int(config["batch"]))
        return [
            host.python,
            "-m",
            "cloudbandit.testing.stub_engine",
            "--port",
            str(port),
            "--ttft",
            "0.001",
            "--itl",
            itl_s,
        ]

    def env(self, config, model):
        return {"PYTHONPATH": str(Path(cloudbandit.__file__).parent.parent)}

    def version(self, host):
        return "toy 1.0"
