"""What is rented. An offer is a whole machine: it may run several engines side by side (``engines``), and its whole price is
charged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cloudbandit.catalogue.gpus import GPU, Profile, find_gpu
from cloudbandit.catalogue.models import GIB, ModelSpec
from cloudbandit.catalogue.prices import Offer, load_offers
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import PriceError, UnknownNameError, UsageError

USABLE_MEMORY = 0.90
"""Share of a GPU's memory that weights and KV cache may take: the default of vLLM's ``gpu_memory_utilization``, and what
served in the LLM-Pilot measurements does not exceed."""
_MAX_ENGINE_GPUS = 8


@dataclass(frozen=True, slots=True)
class ServingOffer:
    """A machine that can be rented: ``engines`` engines of ``profile`` each, for ``usd_per_h`` in all."""

    name: str
    profile: Profile
    engines: int
    usd_per_h: float
    provider: str = ""
    region: str = ""
    as_of: str = ""
    """Date of the price, ``YYYY-MM-DD``; empty: unknown."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.usd_per_h) and self.usd_per_h > 0):
            raise PriceError(f"the offer {self.name!r} costs {self.usd_per_h!r} USD/h; it must be a finite number > 0")
        if self.engines < 1 or self.profile.gpus < 1:
            raise UsageError(
                f"the offer {self.name!r} runs {self.engines} engines on {self.profile.gpus} GPUs each; both must be ≥ 1"
            )


PAPER_PROFILES = (
    *(("V100", n, p) for n, p in ((1, 3.06), (2, 6.12), (4, 12.24))),
    *(("A100", n, p) for n, p in ((1, 4.09625), (2, 8.1925), (4, 16.385))),
    *(("H100", n, p) for n, p in ((1, 12.29), (2, 24.58), (4, 49.16))),
    *(("A10", n, p) for n, p in ((1, 2.448), (2, 4.896))),
    *(("T4", n, p) for n, p in ((1, 2.176), (2, 2.754666667), (4, 3.912))),
)
"""LLM-Pilot's fourteen GPU profiles with the prices it used (AWS on-demand, by GPU; undated)."""


def paper_offers() -> list[ServingOffer]:
    """The fourteen GPU profiles of LLM-Pilot, named as there, one engine each, sorted by name."""
    offers = [ServingOffer(f"{n} x {gpu}", Profile(find_gpu(gpu), n), 1, usd, "aws") for gpu, n, usd in PAPER_PROFILES]
    return sorted(offers, key=lambda o: o.name)


def catalogue_offers(
    path: str | Path | None = None,
    purchase: str = "on-demand",
    gpus: dict[str, GPU] | None = None,
) -> tuple[list[ServingOffer], list[str]]:
    """Every way to use every machine of a price catalogue: one engine per 1, 2, 4 or 8 GPUs.

    Of the regions that sell a machine at the same price one is kept, the first by name.

    Args:
        path: a catalogue with the columns of `cloudbandit.catalogue.prices.Offer`; by default the bundled one.
        purchase: ``"on-demand"`` or ``"spot"``.
        gpus: datasheets; by default the bundled ones.

    Returns:
        the offers, and what was left out with the reason (an unknown GPU, no such price).
    """
    if purchase not in ("on-demand", "spot"):
        raise UsageError(f"purchase is {purchase!r}; allowed: on-demand, spot")
    raw = load_offers(path or bundled() / "prices" / "offers.csv")
    return serving_offers(raw, purchase, gpus)


def serving_offers(
    raw: Sequence[Offer], purchase: str = "on-demand", gpus: dict[str, GPU] | None = None
) -> tuple[list[ServingOffer], list[str]]:
    """`catalogue_offers` for a catalogue already read."""
    cheapest: dict[tuple[str, str], Offer] = {}
    left_out: list[str] = []
    for offer in sorted(raw, key=lambda o: o.key):
        usd = offer.usd_per_h(purchase)
        if usd is None:
            left_out.append(f"{'/'.join(offer.key)}: no {purchase} price")
            continue
        best = cheapest.get((offer.provider, offer.instance_type))
        known = best.usd_per_h(purchase) if best else None
        if known is None or usd < known:
            cheapest[offer.provider, offer.instance_type] = offer
    out = []
    for offer in cheapest.values():
        try:
            gpu = find_gpu(offer.accelerator, gpus)
        except UnknownNameError:
            left_out.append(f"{'/'.join(offer.key)}: no datasheet for {offer.accelerator}; add it with --gpus")
            continue
        price = offer.usd_per_h(purchase)
        assert price is not None
        name = f"{offer.provider}/{offer.region}/{offer.instance_type}"
        whole = ServingOffer(
            name, Profile(gpu, 1), offer.accelerators, price, offer.provider, offer.region, offer.as_of
        )
        out += [
            replace(whole, profile=Profile(gpu, n), engines=offer.accelerators // n)
            for n in (1, 2, 4, 8)
            if n <= min(offer.accelerators, _MAX_ENGINE_GPUS) and offer.accelerators % n == 0
        ]
    return out, left_out


def lacking_gib(model: ModelSpec, profile: Profile, tokens: float) -> float:
    """By how many GiB an engine is too small: for the weights and the KV cache of one request of so many tokens; ≤ 0: it fits."""
    return model.weights_gib + tokens * model.kv_bytes_per_token / GIB - USABLE_MEMORY * profile.memory_gib


def fitting(model: ModelSpec, offers: Iterable[ServingOffer], tokens: float) -> list[ServingOffer]:
    """The offers whose engines hold the model.

    Raises:
        UsageError: none does; the message says by how many GiB the largest is too small.
    """
    offers = list(offers)
    if not offers:
        raise UsageError("there are no offers to choose from; cure: name a catalogue that holds some (--offers)")
    fits = [o for o in offers if lacking_gib(model, o.profile, tokens) <= 0]
    if not fits:
        largest = min(offers, key=lambda o: lacking_gib(model, o.profile, tokens))
        raise UsageError(
            f"{model.name} is too large for every offer: its weights take {model.weights_gib:.1f} GiB, and the roomiest, "
            f"{largest.name} ({largest.profile}, {USABLE_MEMORY:.0%} of {largest.profile.memory_gib:g} GiB usable), lacks "
            f"{lacking_gib(model, largest.profile, tokens):.1f} GiB. Cure: offer larger machines, or serve it with fewer bytes "
            "per parameter"
        )
    return fits
