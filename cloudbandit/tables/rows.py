"""From the texts of a file to typed columns, checked on the way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cloudbandit.core.errors import TableError
from cloudbandit.core.metrics import unit
from cloudbandit.core.parameter import Parameter
from cloudbandit.core.trial import Candidate, Status, Value
from cloudbandit.tables.columns import Array, Codes, Column, Flags, grouped, numbers
from cloudbandit.tables.facts import check_repeats, known_facts
from cloudbandit.tables.manifest import Manifest, Metric, ParameterRule
from cloudbandit.tables.records import Records
from cloudbandit.tables.text import number_cure, to_number

if TYPE_CHECKING:
    import pandas as pd


ONE = "all"
"""The only arm, or workload, where no column tells."""


class Rows:
    """The text cells of a table under its manifest.

    Raises:
        TableError: a column is lacking, or a cell holds what the manifest rules out.
    """

    def __init__(self, manifest: Manifest, frame: pd.DataFrame) -> None:
        self.manifest, self.path = manifest, manifest.file
        self.columns: dict[str, Column] = {str(c): Column.of(frame[c]) for c in frame.columns}
        self.count = len(frame)
        self.rules = self._expand()
        self._check_columns()
        arm = self._arm = self.columns[manifest.arm] if manifest.arm else Column([ONE], np.zeros(self.count, np.intp))
        self.arms = tuple(sorted(arm.texts))
        if "" in self.arms:
            line = arm.row_of(arm.texts.index("")) + 2
            raise TableError(f"{self.path} line {line}: the arm column {self.manifest.arm!r} is empty")
        for rule in self.manifest.params:
            if rule.arm is not None and rule.arm not in self.arms:
                raise TableError(
                    f"{self.path}: params.{rule.pattern} belongs to arm {rule.arm!r}, and the arms are {', '.join(self.arms)}"
                )
        self.parameters: dict[str, list[Parameter]] = {}
        used = {*self._roles().values(), *self._read_too().values()}
        self.unused = tuple(c for c in self.columns if c not in self.rules and c not in used)

    def _expand(self) -> dict[str, ParameterRule]:
        """Column → rule. An exact name beats a prefix, and a prefix never takes a column that has another role."""
        taken = {column for column in self._roles().values() if column}
        exact = {rule.pattern for rule in self.manifest.params if not rule.pattern.endswith("*")}
        out: dict[str, ParameterRule] = {}
        for rule in self.manifest.params:
            if rule.pattern.endswith("*"):
                begun = [c for c in self.columns if c.startswith(rule.pattern[:-1])]
                hits = [c for c in begun if c not in taken and c not in exact]
                if begun and not hits:
                    raise TableError(
                        f"{self.path}: params.{rule.pattern} covers only columns that have another role, or a rule of their own: "
                        f"{', '.join(begun)}; cure: leave it out"
                    )
            else:
                hits = [c for c in self.columns if c == rule.pattern]
            if not hits:
                raise TableError(
                    f"{self.path} has no column for params.{rule.pattern!s}; its columns: {', '.join(self.columns)}"
                )
            for column in hits:
                if column in out:
                    raise TableError(
                        f"{self.path}: column {column!r} is covered by params.{out[column].pattern} and by "
                        f"params.{rule.pattern}; cure: longer prefixes, or a rule of its own, {column} = …"
                    )
                out[column] = rule
        return {c: out[c] for c in self.columns if c in out}

    def _roles(self) -> dict[str, str]:
        """The manifest's key → the column it names; empty where it names none."""
        m = self.manifest
        wanted = {"table.arm": m.arm, "table.load": m.load, "spent.usd": m.spent_usd, "spent.seconds": m.spent_seconds}
        wanted |= {f"table.context[{i}]": c for i, c in enumerate(m.context)}
        wanted |= {f"metrics.{k}": v.column for k, v in m.metrics.items()}
        wanted |= {f"facts.{k}": c for k, c in m.facts.items() if isinstance(c, str)}
        if m.status:
            wanted |= {"status.column": m.status.column, "status.reason": m.status.reason}
        return wanted

    def _read_too(self) -> dict[str, str]:
        """What facts read beside roles: such a column may be a parameter."""
        m = self.manifest
        several = {k: c for k, c in m.facts.items() if not isinstance(c, str)}
        wanted = {f"facts.{k}[{i}]": column for k, some in several.items() for i, column in enumerate(some)}
        if m.catalogue is not None:
            wanted |= {
                f"facts.catalogue.{k}": getattr(m.catalogue, k) for k in ("on", "provider", "region", "purchase")
            }
        return wanted

    def _check_columns(self) -> None:
        for key, column in (self._roles() | self._read_too()).items():
            if column and column not in self.columns:
                raise TableError(
                    f"{self.path} has no column {column!r}, which {key} names; its columns: {', '.join(self.columns)}"
                )

    def records(self) -> Records:
        """All runs; also fills ``parameters``, arm → its parameters."""
        m = self.manifest
        contexts = [self.columns[c] for c in m.context]
        workload, first = grouped([c.codes for c in contexts], self.count)
        names = ["|".join(c.texts[c.codes[i]] for c in contexts) if contexts else ONE for i in first.tolist()]
        candidates, candidate = self._candidates()
        statuses, reasons = self._statuses()
        facts, fact = known_facts(m, self.columns, self._arm)
        cell = workload * max(1, len(candidates)) + candidate
        check_repeats(self.path, facts, fact, cell, candidate, candidates)
        ok = np.array([status is Status.OK for status in statuses], dtype=bool)
        return Records(
            names,
            workload,
            candidates,
            candidate,
            statuses,
            reasons,
            {name: self._metric(name, metric, ok) for name, metric in m.metrics.items()},
            self._spent(m.spent_usd, "spent.usd", ok),
            self._spent(m.spent_seconds, "spent.seconds", ok),
            self._load(),
            facts,
            fact,
        )

    def _candidates(self) -> tuple[list[Candidate], Codes]:
        """What was run, in the order of the first runs, and each run's position in it."""
        arms = self._arm
        typed = {c: self._typed(c, rule) for c, rule in self.rules.items()}
        for column, rule in self.rules.items():
            if rule.arm is not None:
                self._check_arm(column, rule.arm, typed[column])
        position, first = grouped([arms.codes, *(codes for _, codes in typed.values())], self.count)
        out = []
        by_arm: dict[str, dict[str, dict[Value, None]]] = {arm: {} for arm in self.arms}
        levels = [(column, values, codes[first].tolist()) for column, (values, codes) in typed.items()]
        for n, arm in enumerate(arms.texts[code] for code in arms.codes[first].tolist()):
            seen, config = by_arm[arm], {}
            for column, values, codes in levels:
                value = values[codes[n]]
                if value is not None:
                    config[column] = value
                    seen.setdefault(column, {})[value] = None
            out.append(Candidate(arm, config))
        self.parameters = {
            arm: [Parameter.listed(c, seen, self.rules[c].kind) for c, seen in by_column.items()]
            for arm, by_column in by_arm.items()
        }
        return out, position

    def _typed(self, column: str, rule: ParameterRule) -> tuple[list[Value | None], Codes]:
        """The distinct values of a parameter, and each row's position among them: ``2`` and ``2.0`` are one number."""
        given = self.columns[column]
        position: dict[Value | None, int] = {}
        again = [
            position.setdefault(self._value(column, rule, code), len(position)) for code in range(len(given.texts))
        ]
        return list(position), np.array(again, dtype=np.intp)[given.codes]

    def _check_arm(self, column: str, arm: str, typed: tuple[list[Value | None], Codes]) -> None:
        values, codes = typed
        arms = self._arm
        elsewhere = np.array([text != arm for text in arms.texts], dtype=bool)[arms.codes]
        wrong = np.flatnonzero(elsewhere & np.array([v is not None for v in values], dtype=bool)[codes])
        if len(wrong):
            i = int(wrong[0])
            raise TableError(
                f"{self.path} line {i + 2}: {column!r} belongs to arm {arm!r} and is {values[codes[i]]!r} in a row of arm "
                f"{arms.texts[arms.codes[i]]!r}; it must be empty there"
            )

    def _value(self, column: str, rule: ParameterRule, code: int) -> Value | None:
        text = self.columns[column].texts[code].strip()
        if not text:
            return None
        try:
            if rule.kind == "choice":
                return text
            if rule.kind == "bool":
                return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
            number = to_number(text, self.manifest.decimal)
            if not math.isfinite(number) or (rule.kind == "int" and number != int(number)):
                raise ValueError
            return int(number) if rule.kind == "int" else number
        except (KeyError, ValueError):
            line = self.columns[column].row_of(code) + 2
            raise TableError(
                f"{self.path} line {line}: parameter {column!r} is {text!r}, and its type is {rule.kind!r}; "
                f"cure: {number_cure(text, self.manifest.decimal) or 'correct the value'}, or declare the column as 'choice'"
            ) from None

    def _numbers(self, column: str, role: str, *, signed: bool = False) -> Array:
        """A column of numbers ≥ 0, ``(n,)``; an empty field is NaN."""
        given = self.columns[column]
        values, empty = numbers(given, self.manifest.decimal)
        i = given.first(~empty & ~(np.isfinite(values) & (signed | (values >= 0))))
        if i is not None:
            text = given.texts[given.codes[i]].strip()
            cure = number_cure(text, self.manifest.decimal)
            raise TableError(
                f"{self.path} line {i + 2}: {role} (column {column!r}) is {text!r}; "
                f"it must be a finite number{'' if signed else ' ≥ 0'}, or empty where the run failed"
                + (f". Cure: {cure}" if cure else "")
            )
        return values[given.codes]

    def _metric(self, name: str, metric: Metric, ok: Flags) -> Array:
        values = self._numbers(metric.column, f"metric {name!r}", signed=True)
        i = _first(ok & np.isnan(values))
        if i is not None:
            raise TableError(f"{self.path} line {i + 2}: an ok run has no value for metric {name!r}")
        if metric.unit.upper() in ("USD", "S") or unit(name) in ("USD", "s", "ms"):
            i = _first(values < 0)
            if i is not None:
                raise TableError(
                    f"{self.path} line {i + 2}: metric {name!r} is {float(values[i])!r}; money and time cannot be negative"
                )
        return values

    def _spent(self, column: str, role: str, ok: Flags) -> Array | None:
        if not column:
            return None
        values = self._numbers(column, role)
        i = _first(ok & np.isnan(values))
        if i is not None:
            raise TableError(f"{self.path} line {i + 2}: {role} (column {column!r}) is empty in an ok run")
        return values

    def _load(self) -> Array | None:
        column = self.manifest.load
        if not column:
            return None
        loads = self._numbers(column, "table.load")
        i = _first(~((loads >= 1) & (loads == np.floor(loads))))
        if i is not None:
            raise TableError(
                f"{self.path} line {i + 2}: table.load (column {column!r}) must be a whole number of users ≥ 1"
            )
        return loads

    def _statuses(self) -> tuple[list[Status], list[str]]:
        rule = self.manifest.status
        if rule is None:
            return [Status.OK] * self.count, [""] * self.count
        column = self.columns[rule.column]
        found = [rule.status(text) for text in column.texts]
        i = column.first([status is None for status in found])
        if i is not None:
            patterns = [p for some in rule.patterns.values() for p in some]
            raise TableError(
                f"{self.path} line {i + 2}: unknown status {column.texts[column.codes[i]]!r}; [status] covers {patterns}. "
                'Cure: add a pattern, or otherwise = "failed"'
            )
        known = [status for status in found if status is not None]
        statuses = [known[code] for code in column.codes.tolist()]
        why = self.columns[rule.reason or rule.column]
        reasons = [why.texts[code] for code in why.codes.tolist()]
        return statuses, ["" if s is Status.OK else t for s, t in zip(statuses, reasons, strict=True)]


def _first(flags: Flags) -> int | None:
    found = np.flatnonzero(flags)
    return int(found[0]) if len(found) else None
