"""``plan.toml`` → a problem: demand read and forecast, offers from a catalogue, capacity from what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.catalogue.offers import select, serving_offers
from cloudbandit.catalogue.prices import load_offers
from cloudbandit.core.bundled import bundled
from cloudbandit.core.curve import LoadCurve
from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.core.fleet import parse_slos
from cloudbandit.core.offer import Offer
from cloudbandit.core.schema import convert, parse
from cloudbandit.plan.capacity import CapacityTable, FirstOf, MeasuredCapacity, RecordedCapacity, kind_of
from cloudbandit.plan.demand import Demand, read_demand
from cloudbandit.plan.forecast import forecast_demand
from cloudbandit.plan.predicted import PredictedCapacity
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.sections import NetworkSection, OffersSection, PlanFile, PlanSection, WorkloadSection
from cloudbandit.plan.terms import RESERVED, Network, Policy, Quota, Rental
from cloudbandit.plan.workload import Workload
from cloudbandit.surrogate.loads import LoadTest, read_measurements
from cloudbandit.surrogate.served import Served
from cloudbandit.surrogate.training import measured_models


@dataclass(frozen=True)
class PlanRequest:
    """A plan file, read: the problem, how it is to be solved, and what the reader must know of how it was read."""

    problem: Problem
    how: PlanSection
    notes: Sequence[str] = ()


def read_planfile(path: str | Path) -> PlanRequest:
    """Read ``plan.toml``; files it names lie beside it.

    Raises:
        UsageError: a section, key or value is wrong, or the problem contradicts itself.
        DataError: a file it names is.
        UnknownNameError: a model, method, provider, region or machine is not known.
    """
    path = Path(path)
    file = convert(parse(path, f"there is no plan at {path}", UsageError), PlanFile, path, UsageError)
    if not file.workloads:
        raise UsageError(f"{path}: there are no workloads; cure: a section [workloads.NAME] for each")
    notes: list[str] = []
    demand = _demand(path, file)
    workloads = [_workload(path, name, w) for name, w in file.workloads.items()]
    rentals = _rentals(path, file.offers, notes)
    capacity = _capacity(path, file, workloads, [r.machine for r in rentals])
    running = None if file.running is None else {(w, m): n for w, of in file.running.items() for m, n in of.items()}
    _known(path, running or {}, workloads, rentals)
    problem = Problem(
        workloads,
        rentals,
        demand,
        capacity,
        _network(path, file.network, demand, rentals),
        [Quota(q.name, q.most, q.provider, q.region, q.accelerator, q.purchase, q.counts) for q in file.quotas],
        Policy(file.policy.survive, file.policy.spare, file.policy.spot_share, file.policy.most_kinds),
        running,
    )
    for quota in problem.quotas:
        if not any(quota.weight(r.machine) for r in rentals):
            raise UsageError(
                f"{path}: the quota {quota.name} matches no offer; cure: leave it out, or look at its names"
            )
    return PlanRequest(problem, file.plan, notes)


def _beside(path: Path, name: str) -> Path:
    given = Path(name).expanduser()
    return given if given.is_absolute() else path.parent / given


def _demand(path: Path, file: PlanFile) -> Demand:
    section = file.demand
    demand = read_demand(_beside(path, section.file), section.gaps).scaled(section.scale)
    strange = sorted(set(demand.workloads) - set(file.workloads))
    if strange:
        raise UnknownNameError(
            "workload in the demand", strange[0], file.workloads, "Cure: a section [workloads.NAME]."
        )
    if section.step_h is not None:
        demand = demand.coarser(section.step_h * 3600)
    steps = None if section.hours is None else round(section.hours / demand.step_h)
    if steps is not None and steps < 1:
        raise UsageError(f"{path}: demand.hours is {section.hours:g}, less than a step of {demand.step_h:g} h")
    if section.kind == "history":
        day = round(24 / demand.step_h)
        return forecast_demand(demand, steps or day, method=section.method, quantile=section.quantile)
    if steps is not None and steps > len(demand):
        raise UsageError(
            f"{path}: demand.hours is {section.hours:g}, and the demand has {len(demand) * demand.step_h:g} h"
        )
    return demand if steps is None else demand.part(0, steps)


def _workload(path: Path, name: str, section: WorkloadSection) -> Workload:
    try:
        return Workload(
            name,
            parse_slos(section.slos),
            section.unit,
            section.model,
            section.tier,
            section.input_tokens,
            section.output_tokens,
            section.deadline_h,
            section.unmet_usd_per_unit_h,
            section.egress_gb_per_unit_h,
        )
    except UsageError as error:
        raise UsageError(f"{path}: workloads.{name}: {error}") from None


def _rentals(path: Path, section: OffersSection, notes: list[str]) -> list[Rental]:
    """What may be rented.

    Raises:
        UsageError: nothing is left, or a machine that is named has no such price.
        UnknownNameError: a machine is named that no offer is of.
    """
    catalogue = (
        bundled() / "prices" / "offers.csv" if section.catalogue == "catalogue" else _beside(path, section.catalogue)
    )
    every = select(load_offers(catalogue), section.providers, section.regions)
    types = {o.instance_type for o in every}
    for name in section.machines:
        if name not in types:
            raise UnknownNameError("machine", name, types)
    chosen = [o for o in every if not section.machines or o.instance_type in section.machines]
    machines = list(dict.fromkeys((o.provider, o.region, o.instance_type) for o in chosen))
    out = []
    for purchase in dict.fromkeys(section.purchases):
        priced = [o for o in chosen if o.purchase == purchase]
        lacking = [m for m in machines if m not in {(o.provider, o.region, o.instance_type) for o in priced}]
        if lacking and (section.machines or not priced):
            raise UsageError(
                f"{path}: {'/'.join(filter(None, lacking[0]))} has no {purchase} price; cure: a catalogue that has one, or leave "
                f"{purchase} out of offers.purchases"
            )
        if lacking:
            notes.append(f"{len(lacking)} machines have no {purchase} price and are left out")
        out += [
            Rental(
                o,
                section.start_s,
                section.min_bill_s,
                0,
                section.most,
                section.spot_reclaimed if purchase == "spot" else 0.0,
            )
            for o in priced
        ]
    known = {"/".join((o.provider, o.region, o.instance_type)): o for o in every}
    for r in section.reserved:
        if r.machine not in known:
            raise UnknownNameError("machine", r.machine, known)
        machine = replace(known[r.machine], usd_per_h=r.usd_per_h, purchase=RESERVED, source="plan file")
        out.append(Rental(machine, section.start_s, 0.0, r.least, r.most))
    return out


def _capacity(path: Path, file: PlanFile, workloads: Sequence[Workload], machines: Sequence[Offer]) -> CapacityTable:
    """Recorded before measured before predicted.

    Raises:
        UsageError: none of them is given.
    """
    section = file.capacity
    tables: list[CapacityTable] = []
    if section.file is not None:
        tables.append(RecordedCapacity.load(_beside(path, section.file)))
    curves: dict[tuple[str, str], Sequence[LoadCurve]] = {}
    for workload in workloads:
        given = file.workloads[workload.name].measured
        if given is not None:
            tests = read_measurements(_beside(path, given), workload.model or workload.name)
            curves |= measured_curves(workload, tests, machines)
    if curves:
        tables.append(MeasuredCapacity(curves))
    if section.surrogate:
        models = {w.name: _model(path, w) for w in workloads if w.model}
        if models:
            tables.append(PredictedCapacity(models, Served(section.engine, section.precision), section.probability))
    if not tables:
        raise UsageError(
            f"{path}: nothing says what a machine serves; cure: capacity.file, workloads.NAME.measured, or workloads.NAME.model"
        )
    return FirstOf(tables)


def measured_curves(
    workload: Workload, tests: Sequence[LoadTest], machines: Sequence[Offer]
) -> dict[tuple[str, str], Sequence[LoadCurve]]:
    """The load curves of load tests on every machine that runs the profile they were made on."""
    rows: dict[tuple[str, int], list[dict[str, float]]] = {}
    for test in tests:
        rows.setdefault(test.profile.key, []).append({"users": float(test.users), **test.metrics})
    out: dict[tuple[str, str], list[LoadCurve]] = {}
    for machine in {kind_of(m): m for m in machines}.values():
        for layout in serving_offers([machine])[0]:
            if layout.profile.key in rows:
                curve = LoadCurve.of_rows(rows[layout.profile.key], machine.usd_per_h, layout.engines)
                out.setdefault((workload.name, kind_of(machine)), []).append(curve)
    return dict(out)


def _model(path: Path, workload: Workload) -> ModelSpec:
    known = measured_models()[0]
    short = [spec for name, spec in known.items() if name.rpartition("/")[2].lower() == workload.model.lower()]
    if workload.model in known or len(short) == 1:
        return known.get(workload.model) or short[0]
    file = _beside(path, workload.model)
    if file.exists():
        return ModelSpec.load(file)
    raise UnknownNameError("model", workload.model, known, "Any other is described by its config.json: give its path.")


def _network(path: Path, section: NetworkSection, demand: Demand, rentals: Sequence[Rental]) -> Network:
    places = {r.place for r in rentals}
    for what, given in (("rtt_ms", section.rtt_ms), ("egress_usd_per_gb", section.egress_usd_per_gb)):
        for source, of in given.items():
            if source not in demand.sources:
                raise UnknownNameError(f"source in network.{what}", source, demand.sources)
            for place in of:
                if place.partition("/")[0] not in {p.partition("/")[0] for p in places}:
                    raise UnknownNameError(f"place in network.{what}", place, places)
    return Network(
        {(s, place): v for s, of in section.rtt_ms.items() for place, v in of.items()},
        {(s, place): v for s, of in section.egress_usd_per_gb.items() for place, v in of.items()},
        section.default_rtt_ms,
        section.default_egress_usd_per_gb,
    )


def _known(
    path: Path, running: Mapping[tuple[str, str], int], workloads: Sequence[Workload], rentals: Sequence[Rental]
) -> None:
    for workload, machine in running:
        if workload not in {w.name for w in workloads}:
            raise UnknownNameError("workload in [running]", workload, [w.name for w in workloads])
        if machine not in {r.machine.name for r in rentals}:
            raise UnknownNameError("offer in [running]", machine, [r.machine.name for r in rentals])
