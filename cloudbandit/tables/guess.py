"""What the columns of a table seem to be, with the reason for each guess."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cloudbandit.core import metrics
from cloudbandit.core.errors import TableError
from cloudbandit.tables.columns import Column, Flags, numbers

Role = Literal["arm", "workload", "parameter", "metric", "status", "reason", "load", "price", "ignored"]

_ARM = {"provider", "cloud", "vendor", "arm", "platform", "machine", "cluster", "cloudprovider"}
_WORKLOAD = {"workload", "job", "task", "model", "dataset", "benchmark", "application", "app", "query", "scenario"}
_STATUS = {"status", "state", "outcome", "result", "success", "succeeded", "ok", "exitstatus", "exitcode", "returncode"}
_REASON = {"reason", "error", "message", "errormessage", "why"}
_LOAD = {"users", "concurrentusers", "concurrency"}
_PRICE = {"price", "hourlyprice", "priceperhour", "usdperhour", "priceusdperh", "listprice"}
_IGNORED = {
    "id",
    "runid",
    "uuid",
    "index",
    "timestamp",
    "date",
    "time",
    "datetime",
    "order",
    "replicate",
    "repeat",
    "seed",
    "run",
}
_MEASURED = {
    *(
        "cost",
        "runtime",
        "duration",
        "elapsed",
        "latency",
        "ttft",
        "tpot",
        "itl",
        "e2e",
        "throughput",
        "goodput",
        "makespan",
    ),
    *("wall", "spent", "paid", "usd", "eur", "dollars", "energy", "kosten", "laufzeit"),
}
_UNITS = {"usd": "USD", "$": "USD", "us$": "USD", "dollars": "USD", "s": "s", "sec": "s", "secs": "s", "seconds": "s", "ms": "ms",
          "milliseconds": "ms"}  # fmt: skip
_GOOD = {
    "ok",
    "success",
    "succeeded",
    "successful",
    "done",
    "finished",
    "completed",
    "complete",
    "passed",
    "true",
    "1",
    "yes",
}
_TIMEOUT = re.compile(r"time[d]?[ _-]*out", re.IGNORECASE)
_NUMBER = re.compile(r"\d")
_FEW = 20  # a column of labels with more is no arm


@dataclass(frozen=True, slots=True)
class Guess:
    """One column: what it seems to be, why, and under which name and type, or unit, the manifest has it."""

    column: str
    role: Role
    why: str
    name: str = ""
    kind: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Guesses:
    """Every column's guess, in the order of the file, and which texts of the status column seem to mean what."""

    columns: tuple[Guess, ...]
    ok: Sequence[str] = ()
    timeout: Sequence[str] = ()

    def of(self, role: Role) -> tuple[Guess, ...]:
        return tuple(guess for guess in self.columns if guess.role == role)


def guess(columns: Mapping[str, Column], decimal: str = ".") -> Guesses:
    """Guess by names first, then by values.

    Raises:
        TableError: no column seems to be a metric, or none a parameter.
    """
    found = {name: _by_name(name, column, decimal) for name, column in columns.items()}
    for role in ("arm", "status", "reason", "load"):
        for g in [g for g in found.values() if g.role == role][1:]:
            found[g.column] = _parameter(g.column, columns[g.column], decimal)
    varied = {n: g for n, g in found.items() if g.role == "parameter"}
    if not any(g.role == "metric" for g in found.values()):
        for name in [n for n, g in varied.items() if g.kind in ("int", "float")][-1:]:
            found[name] = Guess(name, "metric", "the last column of numbers, and none has a metric's name", _name(name))
    if not any(g.role == "arm" for g in found.values()):
        labels = [n for n, g in varied.items() if g.kind == "choice" and _few(columns[n])]
        if labels and len(varied) > 1:
            found[labels[0]] = Guess(labels[0], "arm", "the first column of a few labels, and none is called provider")
    status = next((g.column for g in found.values() if g.role == "status"), None)
    ok, timeout = _statuses(status, columns[status]) if status else ([], [])
    succeeded = np.ones(len(next(iter(columns.values())).codes), dtype=bool)
    if status:
        succeeded = np.array([text in ok for text in columns[status].texts], dtype=bool)[columns[status].codes]
    for g in list(found.values()):
        if g.role == "metric":
            found[g.column] = _usable(g, columns[g.column], decimal, succeeded)
    for needed, what, such in (
        ("metric", "numbers that were measured", "cost_usd"),
        ("parameter", "what was varied", "nodes"),
    ):
        if not any(g.role == needed for g in found.values()):
            raise TableError(
                f"no column looks like a {needed} ({what}): "
                + "; ".join(f"{g.column}: {g.role}, {g.why}" for g in found.values())
                + f". Cure: a column such as {such}, or a table.toml written by hand (docs/tables.md)"
            )
    return Guesses(tuple(found.values()), ok, timeout)


def _by_name(name: str, column: Column, decimal: str) -> Guess:
    plain = re.sub(r"[^a-z0-9]", "", _bare(name).lower())
    values, empty = numbers(column, decimal)
    numeric = bool((empty | np.isfinite(values)).all()) and not empty.all()
    texts = [text.strip() for text in column.texts]
    if not any(texts):
        return Guess(name, "ignored", "it is empty")
    if plain in _IGNORED or not plain or plain.startswith("unnamed"):
        return Guess(name, "ignored", "its name is that of a running number, a seed or a time")
    if plain in _STATUS and not (numeric and plain == "result"):
        return Guess(name, "status", "its name")
    if plain in _REASON and not numeric:
        return Guess(name, "reason", "its name")
    if plain in _ARM:
        return Guess(name, "arm", "its name")
    if plain in _WORKLOAD:
        return Guess(name, "workload", "its name")
    called, unit, why = _measured(name)
    if why and (numeric or 2 * sum(bool(_NUMBER.search(text)) for text in texts) >= len(texts)):
        return Guess(name, "price" if plain in _PRICE else "metric", why, called, unit=unit)
    if numeric:
        if plain in _LOAD and bool(np.all((values >= 1) & (values == np.floor(values)))):
            return Guess(name, "load", "its name")
        if plain in _PRICE:
            return Guess(name, "price", "its name", "price_usd_per_h")
    if len(texts) == 1 and "" not in texts:
        return Guess(name, "ignored", "it is the same in every row")
    return _parameter(name, column, decimal)


def _parameter(name: str, column: Column, decimal: str) -> Guess:
    """A parameter with its type; numbers that hardly ever repeat are a metric."""
    values, empty = numbers(column, decimal)
    if {text.strip().lower() for text in column.texts} - {""} <= {"true", "false"}:
        return Guess(name, "parameter", "true and false", kind="bool")
    if not (empty | np.isfinite(values)).all():
        return Guess(name, "parameter", "labels", kind="choice")
    if bool(np.all(empty | (values == np.floor(values)))):
        return Guess(name, "parameter", "whole numbers", kind="int")
    if len(column.texts) > max(_FEW, len(column.codes) / 2):
        return Guess(name, "metric", "numbers that hardly ever repeat", _name(name))
    return Guess(name, "parameter", "numbers", kind="float")


def _bare(name: str) -> str:
    """Without a unit in brackets."""
    return re.sub(r"\s*[\[(].*?[\])]\s*$", "", name).strip()


def _name(column: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", column).strip("_") or "metric"


def _measured(column: str) -> tuple[str, str, str]:
    """A metric's name and unit, and why it seems to be one; no reason: it is none."""
    bracketed = re.search(r"[\[(]\s*(.*?)\s*[\])]\s*$", column)
    unit = _UNITS.get(bracketed.group(1).lower(), bracketed.group(1)) if bracketed else ""
    name = _name(_bare(column)).lower()
    if bracketed and unit in ("USD", "s", "ms") and not name.endswith(f"_{unit.lower()}"):
        name = f"{name}_{unit.lower()}"
    known = metrics.unit(name)
    if metrics.entry(name) is not None:
        return name, unit or known, "a known metric"
    words = name.split("_")
    if not _MEASURED.isdisjoint(words):
        ending = _UNITS.get(words[-1], "")
        return name, unit or known or ending, "its name is that of something measured"
    if unit in ("USD", "s", "ms", "EUR", "€", "GBP", "£", "min", "h") or unit.endswith("/s"):
        return name, unit, "its unit"
    if known in ("USD", "s", "ms"):
        return name, known, "its name ends in a unit"
    return name, "", ""


def _few(column: Column) -> bool:
    return 2 <= len(column.texts) <= _FEW and "" not in column.texts


def _usable(g: Guess, column: Column, decimal: str, succeeded: Flags) -> Guess:
    """A metric that the table could not hold is left out."""
    values, empty = numbers(column, decimal)
    if bool((empty[column.codes] & succeeded).any()):
        return Guess(g.column, "ignored", "a metric, but empty in runs that succeeded")
    if bool((values < 0).any()) and ({g.unit, metrics.unit(g.name)} & {"USD", "s", "ms"}):
        return Guess(g.column, "ignored", "money or time, but negative somewhere")
    return g


def _statuses(name: str, column: Column) -> tuple[list[str], list[str]]:
    """The texts that seem to mean ok, and those that seem to mean timeout."""
    texts = sorted(column.texts)
    good = {"0"} if re.match("exit|return", name.lower()) else _GOOD
    ok = [t for t in texts if t.strip().lower() in good]
    if not ok:
        counts = np.bincount(column.codes, minlength=len(column.texts))
        ok = [column.texts[int(np.argmax(counts))]]
    return ok, [t for t in texts if t not in ok and _TIMEOUT.search(t)]
