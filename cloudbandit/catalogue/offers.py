"""What is rented: a whole machine at its whole price, laid out as one engine or as several side by side (``engines``)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudbandit.catalogue.gpus import GPU, Profile, find_gpu
from cloudbandit.catalogue.models import GIB, ModelSpec
from cloudbandit.catalogue.prices import load_offers
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import NoOfferError, UnknownNameError, UsageError
from cloudbandit.core.offer import ON_DEMAND, SPOT, Offer

USABLE_MEMORY = 0.90
"""Share of a GPU's memory that weights and KV cache may take: the default of vLLM's ``gpu_memory_utilization``, and what
served in the LLM-Pilot measurements does not exceed."""
_MAX_ENGINE_GPUS = 8


@dataclass(frozen=True, slots=True)
class ServingOffer:
    """An engine layout on an offer: its machine runs ``engines`` engines of ``profile`` each.

    Args:
        machine: the offer, priced as a whole.
        profile: what one engine runs on.
        engines: side by side on the machine.
        name: by default the offer's.

    Raises:
        UsageError: no engine, or one without a GPU.
    """

    machine: Offer
    profile: Profile
    engines: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.machine.name)
        if self.engines < 1 or self.profile.gpus < 1:
            raise UsageError(
                f"the offer {self.name!r} runs {self.engines} engines on {self.profile.gpus} GPUs each; both must be ≥ 1"
            )

    @property
    def usd_per_h(self) -> float:
        """Of the whole machine."""
        return self.machine.usd_per_h


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
    out = []
    for alias, gpus, usd_per_h in PAPER_PROFILES:
        gpu, name = find_gpu(alias), f"{gpus} x {alias}"
        machine = Offer(
            "aws", "", name, usd_per_h, accelerator=gpu.part, accelerators=gpus, source="LLM-Pilot (SC 2024)"
        )
        out.append(ServingOffer(machine, Profile(gpu, gpus), 1, name))
    return sorted(out, key=lambda o: o.name)


def catalogue_offers(
    path: str | Path | None = None,
    purchase: str = ON_DEMAND,
    gpus: dict[str, GPU] | None = None,
    *,
    providers: Collection[str] = (),
    regions: Collection[str] = (),
) -> tuple[list[ServingOffer], list[str]]:
    """Every way to use every machine of a price catalogue, in every region: one engine per 1, 2, 4 or 8 GPUs.

    Args:
        path: a catalogue with the columns of `cloudbandit.catalogue.prices.PriceRow`; by default the bundled one.
        purchase: ``"on-demand"`` or ``"spot"``.
        gpus: datasheets; by default the bundled ones.
        providers, regions: only theirs; empty: all.

    Returns:
        the offers, and what was left out with the reason (an unknown GPU, no such price).

    Raises:
        UsageError: another purchase; or nothing is of a provider, or in a region, that is named.
        PriceError: see `cloudbandit.catalogue.prices.load_offers`.
    """
    if purchase not in (ON_DEMAND, SPOT):
        raise UsageError(f"purchase is {purchase!r}; allowed: {ON_DEMAND}, {SPOT}")
    every = select(load_offers(path or bundled() / "prices" / "offers.csv"), providers, regions)
    mine = [o for o in every if o.purchase == purchase]
    out, left_out = serving_offers(mine, gpus)
    priced = {(o.provider, o.region, o.instance_type) for o in mine}
    others = {(o.provider, o.region, o.instance_type) for o in every} - priced
    return out, [*(f"{'/'.join(key)}: no {purchase} price" for key in sorted(others)), *left_out]


def select(offers: Sequence[Offer], providers: Collection[str] = (), regions: Collection[str] = ()) -> list[Offer]:
    """The offers of some providers in some regions; empty: of all.

    Raises:
        UsageError: nothing is of a provider, or in a region, that is named; the message lists the known.
    """
    known = sorted({o.provider for o in offers})
    wrong = next((p for p in providers if p not in known), None)
    if wrong is not None:
        raise UsageError(f"no offer is of provider {wrong!r}; known: {', '.join(known)}")
    mine = [o for o in offers if not providers or o.provider in providers]
    known = sorted({o.region for o in mine if o.region})
    wrong = next((r for r in regions if r not in known), None)
    if wrong is not None:
        raise UsageError(f"no offer is in region {wrong!r}; known: {', '.join(known) or 'none, these have no region'}")
    return [o for o in mine if not regions or o.region in regions]


def serving_offers(offers: Iterable[Offer], gpus: dict[str, GPU] | None = None) -> tuple[list[ServingOffer], list[str]]:
    """The layouts of some offers, by provider, region and instance type; and what was left out with the reason."""
    out, left_out = [], []
    for machine in sorted(offers, key=lambda o: (o.provider, o.region, o.instance_type, o.purchase)):
        try:
            gpu = find_gpu(machine.accelerator, gpus)
        except UnknownNameError:
            left_out.append(f"{machine.name}: no datasheet for {machine.accelerator or 'it'}; add it with --gpus")
            continue
        out += [
            ServingOffer(machine, Profile(gpu, n), machine.accelerators // n)
            for n in (1, 2, 4, 8)
            if n <= min(machine.accelerators, _MAX_ENGINE_GPUS) and machine.accelerators % n == 0
        ]
    return out, left_out


def lacking_gib(model: ModelSpec, profile: Profile, tokens: float) -> float:
    """By how many GiB an engine is too small: for the weights and the KV cache of one request of so many tokens; ≤ 0: it fits."""
    return model.weights_gib + model.cache_bytes(tokens) / GIB - USABLE_MEMORY * profile.memory_gib


def fitting(model: ModelSpec, offers: Iterable[ServingOffer], tokens: float) -> list[ServingOffer]:
    """The offers whose engines hold the model.

    Raises:
        NoOfferError: none does; the message says by how many GiB the largest is too small.
    """
    offers = list(offers)
    if not offers:
        raise NoOfferError("there are no offers to choose from; cure: name a catalogue that holds some (--offers)")
    fits = [o for o in offers if lacking_gib(model, o.profile, tokens) <= 0]
    if not fits:
        largest = min(offers, key=lambda o: lacking_gib(model, o.profile, tokens))
        lacks = lacking_gib(model, largest.profile, tokens)
        raise NoOfferError(
            f"{model.name} is too large for every offer: its weights take {model.weights_gib:.1f} GiB, and the roomiest, "
            f"{largest.name} ({largest.profile}, {USABLE_MEMORY:.0%} of {largest.profile.memory_gib:g} GiB usable), lacks "
            f"{lacks:.1f} GiB, {lacks / largest.profile.gpus:.1f} per GPU. Cure: offer larger machines, or serve it with fewer "
            "bytes per parameter"
        )
    return fits
