"""Capacity by the surrogate: the load that meets the SLOs with a stated probability."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.gpus import GPU, Profile
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.catalogue.offers import ServingOffer, lacking_gib, serving_offers
from cloudbandit.core.curve import meets, prefix
from cloudbandit.core.errors import UsageError
from cloudbandit.core.fleet import parse_slos
from cloudbandit.core.offer import Offer
from cloudbandit.plan.capacity import nearer
from cloudbandit.plan.workload import Workload
from cloudbandit.surrogate.loads import RequestLengths
from cloudbandit.surrogate.served import ENGINE_LOADS, Served

Floats = npt.NDArray[np.float64]
P_MEETS = 0.7
"""With which probability the SLOs are met where nobody says otherwise; as `recommend`'s default."""


class PredictedCapacity:
    """By joint draws of load curves; of the layouts of a machine (one engine per 1, 2, 4 or 8 GPUs) the one that serves most. A
    pool of n serves n times what one machine does, each with its share of the users.

    Args:
        models: workload's name → the model it is served by.
        served: engine, precision, seed.
        probability: with which the SLOs are met at the load that is planned.
        gpus: datasheets; by default the bundled ones.

    Raises:
        UsageError: no probability.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSpec],
        served: Served | None = None,
        probability: float = P_MEETS,
        gpus: dict[str, GPU] | None = None,
    ) -> None:
        if not 0 < probability < 1:
            raise UsageError(f"probability is {probability!r}; it must be between 0 and 1, such as 0.9")
        self.models, self.served, self.probability, self.gpus = dict(models), served or Served(), probability, gpus
        self._known: dict[tuple[Workload, str, str, int, float], tuple[float, str]] = {}

    def max_load(self, workload: Workload, machine: Offer, n: int, rtt_ms: float = 0.0) -> float:
        """See `cloudbandit.plan.capacity.CapacityTable.max_load`."""
        return n * self._best(workload, machine, rtt_ms)[0]

    def basis(self, workload: Workload, machine: Offer) -> str:
        """See `cloudbandit.plan.capacity.CapacityTable.basis`."""
        load, layout = self._best(workload, machine, 0.0)
        return "missing" if math.isnan(load) else f"predicted, p {self.probability:g}{layout and ', '}{layout}"

    def _best(self, workload: Workload, machine: Offer, rtt_ms: float) -> tuple[float, str]:
        key = (workload, machine.provider, machine.accelerator, machine.accelerators, rtt_ms)
        if key not in self._known:
            self._known[key] = self._ask(workload, machine, rtt_ms)
        return self._known[key]

    def _ask(self, workload: Workload, machine: Offer, rtt_ms: float) -> tuple[float, str]:
        model = self.models.get(workload.name)
        layouts, _ = serving_offers([machine], self.gpus)
        if model is None or not layouts:
            return math.nan, ""
        lengths = RequestLengths.fixed(workload.input_tokens, workload.output_tokens)
        slos = nearer(parse_slos(workload.slos), rtt_ms)
        fit = [o for o in layouts if self._runs(model, o.profile, lengths)]
        if slos is None or not fit:
            return 0.0, ""
        wanted = list(
            dict.fromkeys([*(s.metric for s in slos), *([] if workload.unit == "users" else [workload.unit])])
        )
        unknown = [m for m in wanted if m not in self.served.metrics]
        if unknown:
            raise UsageError(
                f"{workload.name} limits {unknown[0]}, which is not predicted; known: {', '.join(sorted(self.served.metrics))}"
            )
        drawn = self.served.samples(model, [o.profile for o in fit], ENGINE_LOADS, wanted, (), lengths, 0)
        ok = prefix(np.logical_and.reduce([meets(s, drawn[s.metric], ENGINE_LOADS, np.inf) for s in slos]))
        enough = ok.mean(0) >= self.probability - 1e-12
        loads = [self._load(o, row, drawn, enough[row], workload.unit) for row, o in enumerate(fit)]
        best = int(np.argmax(loads))
        return loads[best], f"{fit[best].engines} × {fit[best].profile}"

    def _load(
        self, offer: ServingOffer, row: int, drawn: Mapping[str, Floats], enough: npt.NDArray[np.bool_], unit: str
    ) -> float:
        """Of one machine: users, or the throughput that so many users have with that probability."""
        last = int(enough.sum()) - 1
        if last < 0:
            return 0.0
        if unit == "users":
            return float(offer.engines * ENGINE_LOADS[last])
        return float(offer.engines * np.quantile(drawn[unit][:, row, last], 1 - self.probability))

    def _runs(self, model: ModelSpec, profile: Profile, lengths: RequestLengths) -> bool:
        as_served = self.served.as_served(model)
        return lacking_gib(as_served, profile, lengths.longest) <= 0 and not self.served.refusal(
            model, profile, lengths
        )
