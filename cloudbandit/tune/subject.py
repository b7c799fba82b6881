"""What is tuned: an engine on a machine, live, or a workload of a recorded table."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import SLO, Goal
from cloudbandit.core.parameter import Parameter
from cloudbandit.core.protocols import Host, Objective
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Config, Value
from cloudbandit.engines.registry import ENGINES
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.studyfile import LiveStudy
from cloudbandit.replay.task import Task
from cloudbandit.tables.registry import load_table

Command = Callable[[Candidate], tuple[list[str], Mapping[str, str]] | None]
"""A setting as a command line and environment variables; None where nobody knows it."""


def _no_command(candidate: Candidate) -> None:
    return None


@dataclass(frozen=True)
class Subject:
    """Everything `cloudbandit.tune.tuning.Tuning.run` needs to know of what it tunes.

    Attributes:
        default: what the engine is started with where nobody chose; None: nobody knows.
        live: whether trials start engines; else time is simulated.
    """

    name: str
    domain: Domain
    objective: Objective
    goal: Goal
    default: Candidate | None
    live: bool
    command: Command = _no_command
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def searched(self) -> list[Parameter]:
        """The knobs with several values."""
        return [p for p in self.domain.parameters if not p.finite or len(p.values) > 1]

    @property
    def fixed(self) -> dict[str, Value]:
        """Those with one."""
        return {p.name: p.values[0] for p in self.domain.parameters if p.finite and len(p.values) == 1}


def live_subject(study: LiveStudy, default: Config | None = None) -> Subject:
    """An engine as a study file describes it.

    Args:
        default: settings that differ from the engine's own defaults.

    Raises:
        UsageError: the default is no config of the engine.
    """
    objective = study.objective
    domain = objective.domain()
    own = _default_of(domain, default)
    return Subject(
        study.name, domain, objective, study.goal, own, True, _command(objective), {"spec": study.identity()}
    )


def recorded_subject(
    table: str,
    workload: str,
    minimize: Sequence[str],
    maximize: Sequence[str] = (),
    slos: Sequence[SLO | str] = (),
    *,
    engine: str | None = None,
    default: Config | None = None,
) -> Subject:
    """A workload of a recorded table.

    Args:
        engine: whose default configuration is looked for among what was recorded.
        default: the default configuration itself.

    Raises:
        UsageError: a default that was not recorded.
    """
    task = Task(load_table(table), workload, tuple(minimize), slos, maximize=tuple(maximize))
    domain = task.objective.domain
    found = None
    if default is not None:
        found = next((c for c in domain.candidates if dict(c.config) == dict(default)), None)
        if found is None:
            raise UsageError(
                f"the default {dict(default)} was not recorded in {table}, workload {workload}; "
                "cure: one of the recorded configs, or none, and nothing is compared with it"
            )
    elif engine is not None:
        space = ENGINES.make(engine, {}, "--engine").space()
        found = next((c for c in domain.candidates if dict(c.config) == space.default), None)
    _ = task.counting
    name = f"{task.table.name}/{workload}"
    return Subject(name, domain, task.objective, task.goal, found, False)


def _default_of(domain: Domain, changed: Config | None) -> Candidate | None:
    """Of the first arm whose engine has one."""
    for path, leaf in domain.leaves.items():
        config = getattr(leaf, "default", None)
        if config is not None:
            wanted = {**config, **(changed or {})}
            candidate = Candidate(path, wanted)
            why = domain.why_not(candidate)
            if why:
                raise UsageError(f"the default {wanted} is no setting of the engine: {why}")
            return candidate
    return None


class _Anywhere:
    """Enough of a host to say what would be run on it."""

    python = "python"


def _command(objective: LiveObjective) -> Command:
    engine, model = objective.engine, objective.benchmark.model

    def command(candidate: Candidate) -> tuple[list[str], Mapping[str, str]]:
        argv = engine.argv(cast(Host, _Anywhere()), candidate.config, 8000, model)
        return argv, engine.env(candidate.config, model)

    return command


def in_a_shell(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """A line to paste."""
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in env.items()), shlex.join(argv)])
