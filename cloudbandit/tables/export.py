"""Turn finished trials into a recorded table that anyone can replay: ``runs.csv`` and ``table.toml``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cloudbandit.core.errors import TableError, need
from cloudbandit.core.masking import masked, masked_data
from cloudbandit.core.metrics import unit
from cloudbandit.core.trial import Result, Trial, Value

_RESERVED = ("workload", "arm", "status", "reason", "replicate", "order", "seconds", "spent_usd", "hosts_usd")
_KINDS: Mapping[type, str] = {bool: "bool", int: "int", float: "float", str: "choice"}


def _kind(name: str, values: Iterable[Value]) -> str:
    types = {type(v) for v in values}
    if types == {int, float}:
        return "float"
    if len(types) != 1:
        raise TableError(f"the parameter {name!r} has values of several types: {sorted(t.__name__ for t in types)}")
    return _KINDS[types.pop()]


def write_table(
    folder: Path,
    runs: Mapping[str, Sequence[tuple[Trial, Result]]],
    *,
    licence: str = "",
    source: str = "",
    facts: Mapping[str, object] | None = None,
) -> int:
    """Write a folder that `cloudbandit.tables.registry.load_table` reads.

    A failed trial is a row too. Inactive parameters are empty. Trials that say nothing about their config (the cloud's doing)
    are left out.

    Args:
        runs: per workload its trials, in the order they ran. Their column ``order`` counts within the workload.
        facts: of the machine, versions, …; written to ``machine.json``, passwords masked.

    Returns:
        the number of rows.

    Raises:
        TableError: nothing to write, or names that a table cannot hold.
    """
    finished = {workload: [(t, r) for t, r in trials if r.status.informative] for workload, trials in runs.items()}
    for workload, trials in finished.items():
        if not trials:
            raise TableError(f"there is no finished trial of {workload!r} to export")
    kept = [pair for trials in finished.values() for pair in trials]
    if not kept:
        raise TableError("there is no workload to export")
    params = sorted({name for t, _ in kept for name in t.candidate.config})
    metrics = sorted({name for _, r in kept for name in r.metrics})
    clash = [name for name in (*params, *metrics) if name in _RESERVED] or sorted(set(params) & set(metrics))
    if clash:
        raise TableError(f"{clash[0]!r} is a parameter or metric, and a column of the table too; rename it")
    if not params or not metrics:
        raise TableError(
            "a table needs at least one parameter and one metric; no trial succeeded, or nothing was varied"
        )
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "runs.csv.part"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        money = ["spent_usd", "hosts_usd"] if any(r.hosts_usd for _, r in kept) else ["spent_usd"]
        writer.writerow(
            ["workload", "arm", *params, "status", "reason", "replicate", "order", "seconds", *money, *metrics]
        )
        for workload, trials in finished.items():
            for order, (t, r) in enumerate(trials):
                config = [_text(t.candidate.config.get(p)) for p in params]
                row = ["/".join(t.candidate.arm), *config, str(r.status), r.reason, t.replicate, order]
                values = [f"{r.metrics[m]:.6g}" if m in r.metrics else "" for m in metrics]
                paid = [f"{getattr(r, name):.6g}" for name in money]
                writer.writerow([workload, *row, f"{r.seconds:.6g}", *paid, *values])
    partial.replace(folder / "runs.csv")
    kinds = {p: _kind(p, [t.candidate.config[p] for t, _ in kept if p in t.candidate.config]) for p in params}
    (folder / "table.toml").write_text(
        _manifest(folder.name, kinds, metrics, licence, masked(source)), encoding="utf-8"
    )
    if facts:
        (folder / "machine.json").write_text(json.dumps(masked_data(facts), indent=1) + "\n", encoding="utf-8")
    return len(kept)


def write_records(records: Mapping[str, Path], folder: Path) -> int:
    """All requests of all trials as ``records.parquet``, one row each.

    Args:
        records: per workload the folder a live study kept them in.

    Returns:
        the number of requests.

    Raises:
        TableError: there are none.
        MissingExtraError: pyarrow is not installed.
    """
    need("pyarrow", "parquet", "writing Parquet")
    import pandas as pd

    rows = []
    for workload, kept in records.items():
        found = sorted(kept.glob("trial-*.jsonl"))
        if not found:
            raise TableError(f"there are no records of requests in {kept}; a study keeps them where keep_records says")
        for path in found:
            _, trial, replicate, load = path.stem.split("-")
            about = {"workload": workload, "trial": int(trial), "replicate": int(replicate), "load": int(load)}
            rows += [{**about, **json.loads(line)} for line in path.read_text(encoding="utf-8").splitlines()]
    pd.DataFrame(rows).to_parquet(folder / "records.parquet", index=False)
    return len(rows)


def _text(value: Value | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _manifest(name: str, kinds: Mapping[str, str], metrics: Sequence[str], licence: str, source: str) -> str:
    lines = ["[table]", f"name = {json.dumps(name)}", 'file = "runs.csv"', f"licence = {json.dumps(licence)}"]
    lines += [f"source = {json.dumps(source)}", 'context = ["workload"]', 'arm = "arm"', "", "[params]"]
    lines += [f"{json.dumps(p)} = {json.dumps(kind)}" for p, kind in kinds.items()]
    lines += ["", "[metrics]"]
    lines += [f"{json.dumps(m)} = {{ column = {json.dumps(m)}, unit = {json.dumps(unit(m))} }}" for m in metrics]
    lines += ["", "[spent]", 'usd = "spent_usd"', 'seconds = "seconds"', ""]
    lines += ["[status]", 'column = "status"', 'ok = ["ok"]', 'timeout = ["timeout"]', 'stopped = ["stopped"]']
    lines += [
        'otherwise = "failed"',
        'reason = "reason"',
        "",
        "[replay]",
        'repeats = "mean"',
        'missing = "exclude"',
        "",
    ]
    return "\n".join(lines)
