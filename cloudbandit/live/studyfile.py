"""``study.toml``: a live study as a file. The format is documented in docs/live.md.

The parsed file is plain data and goes into the store, so that a study can be continued from its store alone.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudbandit.core.budget import Budget
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import DataError, UnknownNameError, UsageError, hint
from cloudbandit.core.goal import SLO, SLOGoal
from cloudbandit.core.metrics import resolve_metric
from cloudbandit.core.pools import Serial
from cloudbandit.core.report import Report
from cloudbandit.core.store import Store
from cloudbandit.core.study import Study
from cloudbandit.core.trial import Observation
from cloudbandit.engines.engine import Engine
from cloudbandit.live.trial import LiveObjective
from cloudbandit.loadgen.workloads import Closed, Empirical, Fixed, LogNormal, Open, Trace, Workload
from cloudbandit.optimizers import DEFAULT
from cloudbandit.optimizers.registry import make_factory
from cloudbandit.providers.local import LocalHost, LocalProvider

KIND = "live"


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


_Kind = tuple[Callable[[Any], bool], str]
_TEXT: _Kind = (_text, "a text")
_TEXTS: _Kind = (lambda v: isinstance(v, list) and all(map(_text, v)), "a list of texts")
_TABLE: _Kind = (lambda v: isinstance(v, dict), "a table")
_COUNT: _Kind = (lambda v: _whole(v, 1), "a whole number ≥ 1")
_COUNT0: _Kind = (lambda v: _whole(v, 0), "a whole number ≥ 0")
_AMOUNT: _Kind = (lambda v: _number(v) and v > 0, "a number > 0")
_AMOUNT0: _Kind = (_number, "a number ≥ 0")


def _one_or_more(kind: _Kind) -> _Kind:
    good, text = kind
    return lambda v: all(map(good, v)) and bool(v) if isinstance(v, list) else good(v), f"{text}, or a list of such"


_KEYS: Mapping[str, Mapping[str, _Kind]] = {
    "study": {
        **dict.fromkeys(("name", "minimize", "optimizer", "store", "keep_records"), _TEXT),
        "slos": _TEXTS,
        "trials": _COUNT,
        **dict.fromkeys(("usd", "seconds"), _AMOUNT),
        "seed": _COUNT0,
    },
    "provider": {"name": _TEXT, "usd_per_h": _AMOUNT},
    "engine": {"name": _TEXT, "model": _TEXT, "knobs": _TABLE, "options": _TABLE},
    "workload": {
        "lengths": _TEXT,
        **dict.fromkeys(("input_tokens", "output_tokens"), _AMOUNT),
        "sigma": _AMOUNT0,
        "shared_prefix_tokens": _COUNT0,
        "prefixes": _COUNT,
    },
    "load": {
        "users": _one_or_more(_COUNT),
        "rate_per_s": _one_or_more(_AMOUNT),
        "trace": _one_or_more(_TEXT),
        **dict.fromkeys(("think_s", "ramp_s", "ramp_from_per_s", "burstiness", "warmup_s"), _AMOUNT0),
        **dict.fromkeys(("speed", "timeout_s", "trial_limit_s"), _AMOUNT),
        "requests": _COUNT,
        "request_slos": _TEXTS,
    },
}
"""Section → key → what its value must be."""
_LOAD_KEYS = {
    "users": ("think_s", "ramp_s"),
    "rate_per_s": ("burstiness", "ramp_from_per_s", "ramp_s"),
    "trace": ("speed",),
}
_STATISTICS = ("mean", "p50", "p90", "p95", "p99")
METRICS = (
    *(f"{m}_{s}_ms" for m in ("ttft", "nttft", "itl", "tpot", "e2e") for s in _STATISTICS),
    "output_tok_per_s",
    "requests_per_s",
    "failure_rate",
    "goodput_requests_per_s",
    "start_s",
    "usd_per_million_output_tokens",
)
"""What a live trial measures."""


def _openvino(**knobs: Any) -> Engine:
    from cloudbandit.engines.openvino import OpenVINO

    return OpenVINO(**knobs)


def _vllm(**knobs: Any) -> Engine:
    from cloudbandit.engines.vllm import VLLM

    return VLLM(**knobs)


def _transformers(**knobs: Any) -> Engine:
    from cloudbandit.engines.transformers import Transformers

    return Transformers(**knobs)


ENGINES: Mapping[str, Callable[..., Engine]] = {"openvino": _openvino, "vllm": _vllm, "transformers": _transformers}


def load(path: str | Path) -> dict[str, Any]:
    """Read and check a ``study.toml``; what is wrong is told before anything starts.

    Raises:
        DataError: no such file, or no TOML.
        UsageError: unknown or missing keys, or values that make no sense.
    """
    path = Path(path).expanduser()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"there is no study at {path}; docs/live.md shows one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not TOML: {error}") from None
    for section, content in raw.items():
        if section not in _KEYS or not isinstance(content, dict):
            raise UsageError(f"{path}: unknown section [{section}]{hint(section, _KEYS)}; known: {', '.join(_KEYS)}")
        for key in content:
            if key not in _KEYS[section]:
                known = ", ".join(sorted(_KEYS[section]))
                raise UsageError(
                    f"{path}: unknown key {key!r} in [{section}]{hint(key, _KEYS[section])}; known: {known}"
                )
            good, kind = _KEYS[section][key]
            if not good(content[key]):
                raise UsageError(f"{path}: {section}.{key} is {content[key]!r}; it must be {kind}")
    missing = [s for s in ("study", "engine", "workload", "load") if s not in raw]
    if missing:
        raise UsageError(f"{path} lacks [{missing[0]}]; a study needs [study], [engine], [workload] and [load]")
    spec = {"kind": KIND, **raw}
    spec["study"].setdefault("name", path.stem)
    LiveStudy.of(spec)
    return spec


@dataclass(frozen=True)
class LiveStudy:
    """A study made from a file."""

    spec: Mapping[str, Any]
    objective: LiveObjective
    goal: SLOGoal
    optimizer: str
    budget: Budget
    seed: int

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> LiveStudy:
        """From `load`'s data.

        Raises:
            UsageError: a value makes no sense; the message names its key.
        """
        study = spec["study"]
        budget = Budget(study.get("trials"), study.get("usd"), study.get("seconds"))
        slos = []
        for text in study.get("slos", []):
            slo = SLO.parse(text)
            slos.append(SLO(resolve_metric(slo.metric, METRICS), slo.limit, slo.at_most))
        goal = SLOGoal(resolve_metric(study.get("minimize", "tpot_p50_ms"), METRICS), slos)
        optimizer = study.get("optimizer", DEFAULT)
        make_factory(optimizer, budget.trials)
        return cls(spec, _objective(spec), goal, optimizer, budget, study.get("seed", 0))

    @property
    def name(self) -> str:
        return str(self.spec["study"]["name"])

    def engine_version(self) -> str:
        """What is installed here. What would stop every trial is told here, before the first one.

        Raises:
            UsageError: the engine is not installed; the message holds the cure.
            DataError: there is no such model.
        """
        self.objective.engine.find(self.objective.model)
        host = LocalHost()
        try:
            return self.objective.engine.version(host)
        finally:
            host.close()

    def run(self, store: Store | None, on_trial: Callable[[Observation], None] | None = None) -> Report:
        """Run, or go on where the store says it stopped."""
        pool = Serial()
        try:
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
                identity={"optimizer": self.optimizer, "spec": _stable(self.spec)},
                spec=dict(self.spec),
                on_trial=on_trial,
            )
            return study.run()
        finally:
            pool.close()


def _stable(spec: Mapping[str, Any]) -> str:
    """What makes two runs the same study: everything but how long it may go on, and where it is kept."""
    loose = {"trials", "usd", "seconds", "store", "keep_records"}
    sections = {s: c for s, c in spec.items() if s in _KEYS}
    kept = {s: {k: v for k, v in c.items() if s != "study" or k not in loose} for s, c in sections.items()}
    return repr(sorted((s, sorted(c.items(), key=lambda i: i[0])) for s, c in kept.items()))


def _objective(spec: Mapping[str, Any]) -> LiveObjective:
    study, engine, load_ = spec["study"], spec["engine"], spec["load"]
    if "name" not in engine:
        raise UsageError(f"[engine] lacks its name; allowed: {', '.join(ENGINES)}")
    if engine["name"] not in ENGINES:
        raise UnknownNameError("engine", engine["name"], ENGINES)
    provider = spec.get("provider", {})
    if provider.get("name", "local") != "local":
        raise UnknownNameError("provider", str(provider["name"]), ("local",))
    keep = study.get("keep_records")
    return LiveObjective(
        LocalProvider(float(provider.get("usd_per_h", 0.05))),
        ENGINES[engine["name"]](**engine.get("options", {}), **engine.get("knobs", {})),
        str(engine.get("model", "tiny-llama")),
        _workload(spec["workload"]),
        _loads(load_),
        requests=int(load_.get("requests", 64)),
        warmup_s=float(load_.get("warmup_s", 0.0)),
        limit_s=float(load_.get("trial_limit_s", 180.0)),
        timeout_s=float(load_.get("timeout_s", 30.0)),
        slos=[SLO.parse(text) for text in load_.get("request_slos", [])],
        keep=None if keep is None else Path(keep).expanduser(),
        run=str(study["name"]),
    )


def _workload(section: Mapping[str, Any]) -> Workload:
    lengths = section.get("lengths", "lognormal")
    inputs, outputs = section.get("input_tokens", 128), section.get("output_tokens", 32)
    drawn: Any
    if lengths == "fixed":
        drawn = Fixed(int(inputs), int(outputs))
    elif lengths == "lognormal":
        sigma = float(section.get("sigma", 0.5))
        drawn = LogNormal(float(inputs), float(outputs), sigma, sigma)
    elif lengths == "llm-pilot":
        drawn = Empirical.load(bundled() / "llm-pilot" / "requests.csv")
    elif str(lengths).endswith(".csv"):
        drawn = Empirical.load(lengths)
    else:
        raise UsageError(
            f"workload.lengths is {lengths!r}; allowed: fixed, lognormal, llm-pilot, or a CSV file of lengths"
        )
    return Workload(drawn, int(section.get("shared_prefix_tokens", 0)), int(section.get("prefixes", 1)))


def _loads(section: Mapping[str, Any]) -> list[Closed | Open | Trace]:
    kinds = [k for k in ("users", "rate_per_s", "trace") if k in section]
    if len(kinds) != 1:
        raise UsageError(f"[load] needs one of users, rate_per_s and trace, got {', '.join(kinds) or 'none'}")
    own = _LOAD_KEYS[kinds[0]]
    foreign = [k for keys in _LOAD_KEYS.values() for k in keys if k in section and k not in own]
    if foreign:
        raise UsageError(f"load.{foreign[0]} does not go with {kinds[0]}, which takes {', '.join(own)}")
    options = {k: float(section[k]) for k in own if k in section}
    value = section[kinds[0]]
    several: Sequence[Any] = value if isinstance(value, list) else [value]
    if kinds[0] == "users":
        return [Closed(int(v), **options) for v in several]
    if kinds[0] == "rate_per_s":
        return [Open(float(v), **options) for v in several]
    return [Trace.load(v, **options) for v in several]


@contextmanager
def opened(url: str | None) -> Iterator[Store | None]:
    """A store for as long as it is needed."""
    store = Store(url) if url else None
    try:
        yield store
    finally:
        if store is not None:
            store.close()
