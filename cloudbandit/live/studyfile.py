"""``study.toml``: a live study as a file. The format is documented in docs/live.md.

The parsed file is plain data and goes into the store, so that a study can be continued from its store alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudbandit.core.budget import Budget
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.core.fleet import USD_PER_H, FleetGoal
from cloudbandit.core.goal import MAX_FAILURE_RATE, SLO, Goal, SLOGoal
from cloudbandit.core.known import Estimate
from cloudbandit.core.metrics import resolve_metric
from cloudbandit.core.outputs import check_folder
from cloudbandit.core.pools import Serial, Threads
from cloudbandit.core.profit import Profit, rule
from cloudbandit.core.report import Report
from cloudbandit.core.schema import convert, parse
from cloudbandit.core.store import Store
from cloudbandit.core.study import Study
from cloudbandit.core.trial import Observation
from cloudbandit.engines.engine import Engine
from cloudbandit.engines.registry import ENGINES
from cloudbandit.live.estimates import serving
from cloudbandit.live.memory import remember
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.providing import made_providers, named_providers
from cloudbandit.live.sections import EngineSection, LoadSection, StudyFile, StudySection, WorkloadSection
from cloudbandit.live.trial import METRICS, Benchmark, Load
from cloudbandit.loadgen.workloads import Closed, Empirical, Fixed, LogNormal, Open, Trace, Workload
from cloudbandit.optimizers.registry import make_factory
from cloudbandit.replay.believers import naming_believers

KIND = "live"
_LOAD_KEYS = {
    "users": ("think_s", "ramp_s"),
    "rate_per_s": ("burstiness", "ramp_from_per_s", "ramp_s"),
    "trace": ("speed",),
}
_DEFAULT_METRIC, _GOODPUT = "tpot_p50_ms", "goodput_requests_per_s"


def load(path: str | Path) -> dict[str, Any]:
    """Read and check a ``study.toml``; what is wrong is told before anything starts.

    Raises:
        DataError: no such file, or no TOML.
        UsageError: unknown or missing keys, or values that make no sense.
    """
    path = Path(path).expanduser()
    raw = parse(path, f"there is no study at {path}; docs/live.md shows one", DataError)
    convert(raw, StudyFile, path, UsageError)
    raw["study"].setdefault("name", path.stem)
    spec = {"kind": KIND, **raw}
    LiveStudy.of(spec)
    return spec


@dataclass(frozen=True)
class LiveStudy:
    """A study made from a file."""

    spec: Mapping[str, Any]
    objective: LiveObjective
    goal: Goal
    optimizer: str
    budget: Budget
    seed: int
    stop: Profit | None = None

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> LiveStudy:
        """From `load`'s data.

        Raises:
            UsageError: a value makes no sense; the message names its key.
        """
        file = convert(_sections(spec), StudyFile, "the study", UsageError)
        study = file.study
        budget = Budget(study.trials, study.usd, study.seconds)
        loads = _loads(file.load)
        goal = _goal(study, loads, file.load.request_slos)
        make_factory(study.optimizer, budget.trials)
        stop = rule(study.stop, study.production_runs, study.production_hours)
        benchmark = Benchmark(
            file.engine.model,
            _workload(file.workload),
            loads,
            requests=file.load.requests,
            warmup_s=file.load.warmup_s,
            limit_s=file.load.trial_limit_s,
            timeout_s=file.load.timeout_s,
            slos=[SLO.parse(text) for text in file.load.request_slos],
            keep=None if study.keep_records is None else Path(study.keep_records).expanduser(),
        )
        needs = () if isinstance(goal, FleetGoal) else goal.metrics
        objective = LiveObjective(made_providers(file), _engine(file.engine), benchmark, run=study.name, needs=needs)
        objective.domain()
        here = [arm for arm, one in objective.by_arm.items() if not getattr(one, "elsewhere", False)]
        if study.parallel > 1 and here:
            raise UsageError(
                f"study.parallel is {study.parallel}, and trials of {', '.join(here)} run on this machine, where they would "
                "measure one another. Cure: parallel = 1"
            )
        made = cls(spec, objective, goal, study.optimizer, budget, study.seed, stop)
        made.estimates()
        return made

    @property
    def name(self) -> str:
        return str(self.spec["study"].get("name", "study"))

    def identity(self) -> str:
        """What makes two runs the same study: everything but how long it may go on, and where it is kept."""
        return _stable(self.spec)

    def estimates(self) -> dict[str, Estimate]:
        """What claims to predict metrics beforehand.

        Raises:
            UsageError: the study has nothing that it could predict; see `cloudbandit.live.estimates.serving`.
        """
        return {name: serving(self.objective) for name in self.spec["study"].get("estimates", ())}

    @property
    def elsewhere(self) -> bool:
        """Whether no trial runs on this machine."""
        return all(getattr(provider, "elsewhere", False) for provider in self.objective.by_arm.values())

    def engine_version(self) -> str:
        """What is installed where trials will run, as far as that can be asked free of charge; else empty. What would stop every
        trial is told here, before the first one.

        Raises:
            UsageError: the engine is not installed; the message holds the cure.
            DataError: there is no such model.
        """
        engine = self.objective.engine
        engine.find(self.objective.benchmark.model)
        for provider in self.objective.by_arm.values():
            free_host = getattr(provider, "free_host", None)
            if free_host is not None:
                host = free_host()
                try:
                    return engine.version(host)
                finally:
                    host.close()
        return ""

    def run(self, store: Store | None, on_trial: Callable[[Observation], None] | None = None) -> Report:
        """Run, or go on where the store says it stopped."""
        if self.objective.benchmark.keep is not None:
            check_folder(self.objective.benchmark.keep, "study.keep_records")
        if store is not None:
            self.objective.store_id, self.objective.book = store.id, store.leases
        parallel = int(self.spec["study"].get("parallel", 1))
        pool = Serial() if parallel == 1 else Threads(parallel)
        try:
            itself = None if store is None else (store.url, self.name)
            history = remember(self.spec["study"].get("history", ()), self.goal, study=itself)
            with naming_believers():
                study = Study(
                    self.objective.domain(),
                    self.objective,
                    self.goal,
                    make_factory(self.optimizer, self.budget.trials),
                    self.budget,
                    pool=pool,
                    store=store,
                    name=self.name,
                    seed=self.seed,
                    history=history,
                    estimates=self.estimates(),
                    stop=self.stop,
                    wait_s=float(self.spec["study"].get("wait_s", 60.0)),
                    identity={"optimizer": self.optimizer, "spec": _stable(self.spec)},
                    where_known=_where_known(self.spec.get("machine", {})),
                    spec=dict(self.spec),
                    on_trial=on_trial,
                )
            return study.run()
        finally:
            pool.close()


def _sections(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec without what was added to the file."""
    return {name: content for name, content in spec.items() if name in StudyFile.__struct_fields__}


def _stable(spec: Mapping[str, Any]) -> str:
    """What makes two runs the same study: everything but how long it may go on, and where it is kept."""
    loose = {"trials", "usd", "seconds", "store", "keep_records", "wait_s", "parallel"}
    sections = {s: dict(c) for s, c in _sections(spec).items()}
    default = ("max_failure_rate", MAX_FAILURE_RATE)  # written out or not, the study is the same
    sections.pop("tune", None)  # says how another command goes about it
    sections["study"] = {k: v for k, v in sections["study"].items() if k not in loose and (k, v) != default}
    return json.dumps(sections, sort_keys=True)


def _where_known(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Of what was described when the study ran: trials of another machine or engine are another study's."""
    known = {key: machine.get(key) for key in ("engine", "cpu", "cores", "accelerators")}
    return {key: value for key, value in known.items() if value not in (None, "")}  # no accelerators: that is known


def _goal(study: StudySection, loads: Sequence[Load], request_slos: Sequence[str]) -> Goal:
    """What is good: SLOs and metrics, or a fleet.

    Raises:
        UsageError: keys of the one go with the other, a load curve is judged that is none, or goodput without SLOs on requests.
    """
    minimize, maximize = _several(study.minimize), _several(study.maximize)
    if study.goal == "fleet":
        if study.for_users is None:
            raise UsageError('study.goal = "fleet" needs study.for_users, the concurrent users of the whole fleet')
        if maximize or any(name != USD_PER_H for name in minimize):
            raise UsageError(f'study.goal = "fleet" minimises {USD_PER_H}, the price of the fleet; leave minimize out')
        users = [load.users for load in loads if isinstance(load, Closed)]
        if len(users) < len(loads) or len(set(users)) < len(users):
            raise UsageError(
                'study.goal = "fleet" judges a load curve: load.users must list different numbers of users'
            )
        slos = [SLO.parse(text) for text in study.slos]
        return FleetGoal(study.for_users, slos, max_failure_rate=study.max_failure_rate)
    if study.for_users is not None:
        raise UsageError('study.for_users goes with study.goal = "fleet"')
    slos = []
    for text in study.slos:
        slo = SLO.parse(text)
        slos.append(SLO(resolve_metric(slo.metric, METRICS), slo.limit, slo.at_most))
    if not minimize and not maximize:
        minimize = (_DEFAULT_METRIC,)
    low, high = (tuple(resolve_metric(name, METRICS) for name in names) for names in (minimize, maximize))
    goal = SLOGoal(low[0] if len(low) == 1 else low, slos, maximize=high, max_failure_rate=study.max_failure_rate)
    if _GOODPUT in (*goal.metrics, *(slo.metric for slo in goal.slos)) and not request_slos:
        raise UsageError(f"{_GOODPUT} counts requests that meet load.request_slos, and there are none")
    return goal


def _several(names: str | list[str] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())


def providers_of(spec: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """See `cloudbandit.live.providing.named_providers`."""
    return named_providers(convert(_sections(spec), StudyFile, "the study", UsageError))


def _engine(section: EngineSection) -> Engine:
    if section.name is None:
        raise UsageError(f"[engine] lacks its name; allowed: {', '.join(ENGINES.known())}")
    twice = [key for key in section.options if key in section.knobs]
    if twice:
        raise UsageError(f"{twice[0]} is in engine.options and in engine.knobs; give it once")
    made: Engine = ENGINES.make(section.name, {**section.options, **section.knobs}, "[engine]")
    return made


def _workload(section: WorkloadSection) -> Workload:
    lengths, inputs, outputs = section.lengths, section.input_tokens, section.output_tokens
    drawn: Any
    if lengths == "fixed":
        drawn = Fixed(int(inputs), int(outputs))
    elif lengths == "lognormal":
        drawn = LogNormal(inputs, outputs, section.sigma, section.sigma)
    elif lengths == "llm-pilot":
        drawn = Empirical.load(bundled() / "llm-pilot" / "requests.csv")
    elif lengths.endswith(".csv"):
        drawn = Empirical.load(lengths)
    else:
        raise UsageError(
            f"workload.lengths is {lengths!r}; allowed: fixed, lognormal, llm-pilot, or a CSV file of lengths"
        )
    return Workload(drawn, section.shared_prefix_tokens, section.prefixes)


def _loads(section: LoadSection) -> list[Load]:
    given = {key: getattr(section, key) for key in section.__struct_fields__ if getattr(section, key) is not None}
    kinds = [kind for kind in _LOAD_KEYS if kind in given]
    if len(kinds) != 1:
        raise UsageError(f"[load] needs one of users, rate_per_s and trace, got {', '.join(kinds) or 'none'}")
    own = _LOAD_KEYS[kinds[0]]
    foreign = [key for keys in _LOAD_KEYS.values() for key in keys if key in given and key not in own]
    if foreign:
        raise UsageError(f"load.{foreign[0]} does not go with {kinds[0]}, which takes {', '.join(own)}")
    options = {key: given[key] for key in own if key in given}
    value = given[kinds[0]]
    several: Sequence[Any] = value if isinstance(value, list) else [value]
    if not several:
        raise UsageError(f"load.{kinds[0]} is an empty list; name at least one load")
    if kinds[0] == "users":
        return [Closed(users, **options) for users in several]
    if kinds[0] == "rate_per_s":
        return [Open(rate, **options) for rate in several]
    return [Trace.load(file, **options) for file in several]


@contextmanager
def opened(url: str | None) -> Iterator[Store | None]:
    """A store for as long as it is needed."""
    store = Store(url) if url else None
    try:
        yield store
    finally:
        if store is not None:
            store.close()
