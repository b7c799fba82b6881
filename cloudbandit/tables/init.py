"""``table init``: a first ``table.toml`` for a file of runs, with a comment per guess."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloudbandit.core.errors import TableError
from cloudbandit.core.metrics import charge
from cloudbandit.tables.columns import Column
from cloudbandit.tables.guess import Guess, Guesses, guess
from cloudbandit.tables.manifest import read_manifest
from cloudbandit.tables.sniff import Format, sniff
from cloudbandit.tables.table import Table
from cloudbandit.tables.text import CSV, read

NAME = "table.toml"
_WALL = ("runtime", "duration", "elapsed", "makespan", "wall")


def init_table(file: str | Path) -> Path:
    """Write a first ``table.toml`` beside a file of runs, one line per run.

    Separator, encoding and decimal sign are detected; what the columns mean is guessed from their names and values. What is
    written was loaded once, so it works as it is, but it is a guess: every line says why.

    Returns:
        the path of the ``table.toml``.

    Raises:
        TableError: there is a ``table.toml`` already, the file cannot be read, or it holds what a table cannot.

    Examples:
        >>> init_table("runs.csv")  # doctest: +SKIP
        PosixPath('table.toml')
    """
    file = Path(file).expanduser()
    target = file.parent / NAME
    if target.exists():
        raise TableError(f"{target} is there already, and is never overwritten. Cure: edit it, or move it away")
    form = sniff(file) if file.name.endswith(CSV) else Format()
    texts = read(file, form.separator, form.encoding)
    if not len(texts):
        raise TableError(f"{file} holds no rows; cure: a line per run below the header")
    columns = {str(c): Column.of(texts[c]) for c in texts.columns}
    content = "\n".join(_lines(file.name, form, guess(columns, form.decimal)))
    draft = target.with_name(f".{NAME}.part")
    draft.write_text(content, encoding="utf-8")
    try:
        Table(file.name, read_manifest(draft, file), texts)
        with target.open("x", encoding="utf-8") as out:
            out.write(content)
    finally:
        draft.unlink()
    return target


def _lines(file: str, form: Format, guesses: Guesses) -> Iterator[str]:
    yield "# A first guess: read each line, and correct what is wrong. Keys: docs/tables.md"
    yield from ("[table]", f"file = {_text(file)}")
    plain = Format()
    for key in ("separator", "decimal", "encoding"):
        if getattr(form, key) != getattr(plain, key):
            yield f"{key} = {_text(getattr(form, key))}  # as found in the file"
    workloads = guesses.of("workload")
    if workloads:
        yield f"context = [{', '.join(_text(g.column) for g in workloads)}]  # one study per value: {workloads[0].why}"
    else:
        yield "# context: no column seems to name workloads, so there is one, called all"
    arms = guesses.of("arm")
    yield from [f"arm = {_text(g.column)}  # {g.why}" for g in arms] or ["# arm: no column seems to name providers"]
    yield from (f"load = {_text(g.column)}  # concurrent users: {g.why}" for g in guesses.of("load"))
    yield from ("", "[params]")
    yield from (f"{_key(g.column)} = {_text(g.kind)}  # {g.why}" for g in guesses.of("parameter"))
    yield from ("", "[metrics]")
    names: set[str] = set()
    for g in guesses.of("metric"):
        name = g.name if g.name not in names else g.column
        names.add(name)
        yield f"{_key(name)} = {{ column = {_text(g.column)}, unit = {_text(g.unit)} }}  # {g.why}"
    yield from _spent(guesses.of("metric"))
    yield from _status(guesses)
    prices = guesses.of("price")[:1]
    if prices:
        yield from ("", "[facts]  # known before a trial")
        yield from (f"{g.name} = {_text(g.column)}  # {g.why}; in USD per hour?" for g in prices)
    ignored = guesses.of("ignored") + guesses.of("price")[1:] + (() if guesses.of("status") else guesses.of("reason"))
    if ignored:
        yield from ("", "# Without a role:")
        yield from (f"#   {_text(g.column)}: {g.why}" for g in ignored)
    yield ""


def _spent(metrics: Sequence[Guess]) -> Iterator[str]:
    money = [g for g in metrics if g.unit == "USD" and "_per_" not in g.name]
    usd = [g for g in money if "spent" in g.name or "paid" in g.name] or money
    lasted = [g for g in metrics if g.unit == "s" and charge(g.name) == "seconds"]
    seconds = [g for g in lasted if any(word in g.name for word in _WALL)] or lasted
    if usd or seconds:
        yield from ("", "[spent]  # what a trial costs whoever runs it")
        yield from (f"usd = {_text(g.column)}  # a metric in USD" for g in usd[:1])
        yield from (f"seconds = {_text(g.column)}  # how long a run takes" for g in seconds[:1])


def _status(guesses: Guesses) -> Iterator[str]:
    for g in guesses.of("status"):
        yield from ("", "[status]", f"column = {_text(g.column)}  # {g.why}")
        yield f"ok = {_patterns(guesses.ok)}  # these texts seem to mean success"
        if guesses.timeout:
            few = len(guesses.timeout) <= 8
            yield "timeout = " + (_patterns(guesses.timeout) if few else '["*[Tt]ime*[Oo]ut*"]')
        yield 'otherwise = "failed"'
        yield from (f"reason = {_text(r.column)}  # {r.why}" for r in guesses.of("reason"))


def _patterns(texts: Sequence[str]) -> str:
    return "[" + ", ".join(_text(glob.escape(text)) for text in texts) + "]"


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _text(text)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
