"""What was asked for, by options and a file, and what it comes to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudbandit.core.errors import UsageError
from cloudbandit.core.trial import Config
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.sections import TuneSection
from cloudbandit.live.studyfile import LiveStudy, load
from cloudbandit.providers.local import describe_machine
from cloudbandit.providers.registry import DEFAULT, PROVIDERS
from cloudbandit.tables.registry import table_names
from cloudbandit.tune.subject import Subject, live_subject, recorded_subject
from cloudbandit.tune.tuning import METHOD, Tuning

WORKLOADS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chat": (
        {"lengths": "lognormal", "input_tokens": 96, "output_tokens": 32, "sigma": 0.5},
        {"users": 16, "requests": 64},
    ),
    "prefix": (
        {"lengths": "fixed", "input_tokens": 320, "output_tokens": 16, "shared_prefix_tokens": 256},
        {"users": 8, "requests": 48},
    ),
    "code": (
        {"lengths": "lognormal", "input_tokens": 512, "output_tokens": 64, "sigma": 0.7},
        {"users": 4, "requests": 32},
    ),
}
"""Workloads by name: requests and load, as in a study file."""


@dataclass(frozen=True)
class Request:
    """Options of ``cloudbandit tune``; what is None, or empty, is the file's, or usual."""

    file: Path | None = None
    engine: str | None = None
    model: str | None = None
    workload: str | None = None
    slos: Sequence[str] = ()
    minimize: Sequence[str] = ()
    maximize: Sequence[str] = ()
    trials: int | None = None
    usd: float | None = None
    repeats: int | None = None
    parallel: int = 1
    on: str | None = None
    method: str | None = None
    default: Config | None = None
    reference: Sequence[float] | None = None
    seed: int = 0

    def made(self) -> tuple[Subject, Tuning, dict[str, Any]]:
        """What is tuned, how, and what is known of the machine. Whatever would stop every trial is said here.

        Raises:
            UsageError: something makes no sense, or something is missing; the message says what.
        """
        if self.file is None and self.on is not None and self._is_table(self.on):
            return self._recorded(self.on), self._tuning(TuneSection(), None, None, None), {}
        spec = load(self.file) if self.file is not None else self._spec()
        if self.file is not None:
            spec = self._over(spec)
        study = LiveStudy.of(spec)
        section = study.spec.get("tune") or {}
        tune = TuneSection(**section)
        subject = live_subject(study, self.default or tune.default or None)
        self._check_parallel(subject)
        version = study.engine_version()
        _check_flags(study, subject)
        own = spec["study"]
        tuning = self._tuning(tune, own.get("trials"), own.get("usd"), own.get("seconds"))
        return subject, tuning, {**describe_machine(), "engine": version}

    def _tuning(self, tune: TuneSection, trials: int | None, usd: float | None, seconds: float | None) -> Tuning:
        usd = self.usd if self.usd is not None else usd
        trials = self.trials if self.trials is not None else trials
        return Tuning(
            self.method or tune.method or METHOD,
            30 if trials is None and usd is None and seconds is None else trials,
            usd,
            seconds,
            tune.repeats if self.repeats is None else self.repeats,
            tune.finalists,
            tune.hopeless,
            self.seed,
            self.reference if self.reference is not None else tune.reference,
        )

    @staticmethod
    def _is_table(name: str) -> bool:
        return name not in PROVIDERS.known() and (name in table_names() or (Path(name) / "table.toml").is_file())

    def _recorded(self, table: str) -> Subject:
        if self.workload is None or not (self.minimize or self.maximize):
            raise UsageError(f"tuning on the table {table} needs --workload, and --minimize or --maximize")
        return recorded_subject(
            table,
            self.workload,
            self.minimize,
            self.maximize,
            self.slos,
            engine=self.engine,
            default=self.default,
        )

    def _spec(self) -> dict[str, Any]:
        """As a study file would say it."""
        if self.engine is None:
            raise UsageError(
                "nothing to tune; cure: a study file, or --engine NAME, or --on TABLE with --workload and --minimize"
            )
        requests, load_ = self._named_workload()
        study: dict[str, Any] = {"name": f"{self.engine}-{self.workload or 'chat'}", "slos": list(self.slos)}
        engine: dict[str, Any] = {"name": self.engine}
        if self.model is not None:
            engine["model"] = self.model
        where = self.on or DEFAULT
        spec = {"kind": "live", "study": study, "engine": engine, "workload": requests, "load": load_}
        return self._over({**spec, "provider": {"name": where}})

    def _named_workload(self) -> tuple[dict[str, Any], dict[str, Any]]:
        name = self.workload or "chat"
        if name not in WORKLOADS:
            raise UsageError(
                f"the workload is {name!r}; allowed: {', '.join(WORKLOADS)}, or a study file that describes another"
            )
        requests, load_ = WORKLOADS[name]
        return dict(requests), dict(load_)

    def _over(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Options stand above what the file says."""
        study, engine = dict(spec["study"]), dict(spec["engine"])
        given = {"trials": self.trials, "usd": self.usd}
        study |= {key: value for key, value in given.items() if value is not None}
        if not any(key in study for key in ("trials", "usd", "seconds")):
            study["trials"] = 30
        if self.minimize or self.maximize:
            study |= {"minimize": list(self.minimize), "maximize": list(self.maximize)}
            study = {k: v for k, v in study.items() if v != [] or k == "slos"}
        if self.slos:
            study["slos"] = list(self.slos)
        if self.engine is not None:
            engine["name"] = self.engine
        if self.model is not None:
            engine["model"] = self.model
        changed = {**spec, "study": study, "engine": engine}
        if self.file is not None and self.workload is not None:
            changed["workload"], changed["load"] = self._named_workload()
        if self.file is not None and self.on is not None:
            changed["provider"] = {"name": self.on}
            changed.pop("providers", None)
        return changed

    def _check_parallel(self, subject: Subject) -> None:
        if self.parallel > 1 and _here(subject):
            raise UsageError(
                f"--parallel {self.parallel} on this machine: engines beside one another would measure each other. "
                "Cure: --parallel 1, or a provider with machines of its own"
            )


def _here(subject: Subject) -> bool:
    """Whether engines run on this machine."""
    objective = subject.objective
    return isinstance(objective, LiveObjective) and any(p.name == DEFAULT for p in objective.by_arm.values())


def _check_flags(study: LiveStudy, subject: Subject) -> None:
    """Raise where the program that is installed lacks a flag, before any trial is paid for."""
    engine, model = study.objective.engine, study.objective.benchmark.model
    for provider in study.objective.by_arm.values():
        free_host = getattr(provider, "free_host", None)
        if free_host is None or subject.default is None:
            continue
        host = free_host()
        try:
            lacking = engine.unknown_flags(host, subject.default.config, model)
        finally:
            host.close()
        if lacking:
            raise UsageError(
                f"the installed {engine.name} does not know {', '.join(lacking)}. Cure: another version of it, or other knobs"
            )


@contextmanager
def alone_on_this_machine(subject: Subject) -> Iterator[None]:
    """For as long as engines run here, no other tuning study's do.

    Raises:
        UsageError: another one is running.
    """
    from filelock import FileLock, Timeout

    if not _here(subject):
        yield
        return
    lock = FileLock(Path(tempfile.gettempdir()) / f"cloudbandit-tune-{os.getuid()}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            "another tuning study is running engines on this machine; both would measure each other. "
            f"Cure: wait until it has finished ({lock.lock_file})"
        ) from None
    try:
        yield
    finally:
        lock.release()
