"""What earlier searches paid for, as histories: from stores of trials, and from recorded tables."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudbandit.catalogue.facts import facts as facts_of
from cloudbandit.core.errors import CloudBanditError, UnknownNameError, UsageError
from cloudbandit.core.goal import Goal
from cloudbandit.core.known import Fact, Facts, History, check_histories, no_facts
from cloudbandit.core.schema import convert
from cloudbandit.core.store import Store
from cloudbandit.core.trial import Candidate, Observation, Result, Status, Trial
from cloudbandit.live.providing import made_providers
from cloudbandit.live.sections import StudyFile
from cloudbandit.tables.recorded import Recorded
from cloudbandit.tables.registry import load_table
from cloudbandit.tables.stress import SUFFIX

log = logging.getLogger("cloudbandit")


def remember(
    sources: Sequence[str],
    goal: Goal,
    units: Mapping[str, str] | None = None,
    *,
    study: tuple[str, str] | None = None,
    task: tuple[str, str] | None = None,
) -> dict[str, History]:
    """Histories for `Study`, by name: ``STORE/study`` or ``TABLE/workload``, judged by ``goal``.

    Args:
        sources: each a store (a file, or a server's address; ``STORE#study`` for one study of it), or a table's name or folder
            (``TABLE#workload``).
        units: metric → unit in the study that will learn from them.
        study: that study's store and name: it is no history of its own.
        task: the table and workload that are searched: what the table recorded of it is the answer, and left out.

    Raises:
        UsageError: a source is neither, holds nothing, or is about other metrics or units.
        CloudBanditError: it cannot be read.
    """
    found: dict[str, History] = {}
    for source in sources:
        path, one = _split(source)
        read = _of_store(path, one, study) if _is_store(path) else _of_table(path, one, goal, task)
        if not read:
            raise UsageError(f"the history {source!r} holds no other trial that says something; cure: leave it out")
        found |= read
    check_histories(found, goal, units or {})
    return {name: History(_judged(h.observations, goal), h.facts, h.units) for name, h in found.items()}


def _split(source: str) -> tuple[str, str | None]:
    if "#" not in source or ("://" not in source and Path(source).expanduser().exists()):
        return source, None
    path, _, one = source.rpartition("#")
    return path, one


def _is_store(path: str) -> bool:
    return "://" in path or (Path(path).expanduser().is_file() and Path(path).suffix != ".toml")


def _judged(observations: Sequence[Observation], goal: Goal) -> list[Observation]:
    """Without those that ran and did not measure what is aimed at."""
    known = [o for o in observations if o.result.status is not Status.OK or _measured(o.result, goal)]
    return [Observation(o.trial, o.result, goal.score(o.result)) for o in known]


def _measured(result: Result, goal: Goal) -> bool:
    return bool(result.rows) or all(metric in result.metrics for metric in goal.metrics)


def _of_store(url: str, one: str | None, study: tuple[str, str] | None) -> dict[str, History]:
    out = {}
    with Store(url) as store:
        itself = study[1] if study is not None and _same(study[0], url) else None
        for name in store.studies() if one is None else [one]:
            trials = [t for t in store.trials(name) if t.result.status.informative]
            if trials and name != itself:
                told = [Observation(t.trial, t.result, None) for t in trials]
                out[f"{url}/{name}"] = History(told, *_known_of(f"{url}/{name}", store.spec(name)))
    return out


def _same(a: str, b: str) -> bool:
    if "://" in a or "://" in b:
        return a.removeprefix("sqlite:///") == b.removeprefix("sqlite:///")
    return Path(a).expanduser().resolve() == Path(b).expanduser().resolve()


def _known_of(name: str, spec: Mapping[str, Any]) -> tuple[Facts, Mapping[str, str]]:
    """Facts and units of a stored study, as far as what it was run with can still be read."""
    try:
        if spec.get("kind") == "replay":
            recorded = Recorded(load_table(spec["table"]), spec["workload"], ())
            return recorded.facts, recorded.units
        if spec.get("kind") == "live":
            return _of_offers(spec), {}
    except CloudBanditError as error:
        log.warning("facts of the history %s are not known any more (%s); it is told without them", name, error)
    return no_facts, {}


def _of_offers(spec: Mapping[str, Any]) -> Facts:
    """Of the machines that the study's providers rent out; nothing that the store names is run for it."""
    sections = {name: content for name, content in spec.items() if name in StudyFile.__struct_fields__}
    providers = made_providers(convert(sections, StudyFile, "the stored study", UsageError))
    rented = {(arm, offer.label): facts_of(offer) for arm, p in providers.items() for offer in p.offers()}

    def facts(candidate: Candidate) -> Mapping[str, Fact]:
        return rented.get((candidate.arm[0], candidate.arm[-1]), {})

    return facts


def _of_table(name: str, one: str | None, goal: Goal, task: tuple[str, str] | None) -> dict[str, History]:
    try:
        table = load_table(name)
    except UnknownNameError as unknown:
        raise UsageError(f"the history {name!r} is neither a store's file nor a table: {unknown}") from None
    mine = None if task is None or _plain(load_table(task[0]).name) != _plain(table.name) else task[1]
    out = {}
    for workload in table.workloads if one is None else [one]:
        recorded = Recorded(table, workload, ())
        if workload != mine and recorded.workload.ever_succeeds:
            results = [(c, recorded.true_result(c)) for c in recorded.domain.candidates]
            told = [Observation(Trial(i, c), r, None) for i, (c, r) in enumerate(results) if r.status.informative]
            out[f"{name}/{workload}"] = History(told, recorded.facts, recorded.units)
    return out


def _plain(name: str) -> str:
    """A table's stress variant is the same workloads."""
    return name.removesuffix(SUFFIX)
