"""Facts of a table's rows: what was known of a config before it was run, from columns and from the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cloudbandit.catalogue.facts import facts as facts_of
from cloudbandit.catalogue.prices import load_offers
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import TableError, hint
from cloudbandit.core.known import Fact
from cloudbandit.core.metrics import unit
from cloudbandit.core.offer import ON_DEMAND, Offer
from cloudbandit.core.trial import Candidate
from cloudbandit.tables.columns import Codes, Column, grouped, numbers
from cloudbandit.tables.manifest import CatalogueJoin, FactColumns, Manifest
from cloudbandit.tables.text import number_cure

Known = Mapping[str, Fact]


def known_facts(manifest: Manifest, columns: Mapping[str, Column], arm: Column) -> tuple[list[Known], Codes]:
    """The distinct sets of facts, and each row's position among them.

    Args:
        columns: of the file, by name.
        arm: each row's arm.

    Raises:
        TableError: a number is none, not finite, or a price that is not > 0; a row fills several columns of one fact; or
            rents what the catalogue does not know.
    """
    names: list[str] = []
    values: list[Sequence[Fact | None]] = []
    codes: list[Codes] = []
    for name, given in manifest.facts.items():
        column = _one_column(manifest.file, name, given, columns)
        names.append(name)
        values.append(_typed(manifest, name, given, column))
        codes.append(column.codes)
    offers: list[Known] = []
    if manifest.catalogue is not None:
        offers, offer = _joined(manifest.file, manifest.catalogue, columns, arm)
        codes.append(offer)
    group, first = grouped(codes, len(arm.codes))
    sets: list[Known] = []
    for row in first.tolist():
        own = {n: v[c[row]] for n, v, c in zip(names, values, codes, strict=False)}
        known: dict[str, Fact] = {n: v for n, v in own.items() if v is not None}
        rented = offers[codes[-1][row]] if offers else {}
        sets.append({**known, **{n: v for n, v in rented.items() if n not in own}})
    return sets, group


def check_repeats(
    path: Path, sets: Sequence[Known], fact: Codes, cell: Codes, candidate: Codes, candidates: Sequence[Candidate]
) -> None:
    """That repeats of a config agree in what was known of it; a repeat may know less.

    Args:
        sets, fact: of `known_facts`.
        cell: each row's (workload, config), numbered.
        candidates: what ``candidate``, each row's config, counts; for messages.

    Raises:
        TableError: they do not, so the fact was found out by running.
    """
    _, rows = grouped([cell, fact], len(fact))
    if len(rows) == len(np.unique(cell)):
        return
    first: dict[tuple[int, str], tuple[Fact, int]] = {}
    for row in rows.tolist():
        for name, value in sets[fact[row]].items():
            known, where = first.setdefault((int(cell[row]), name), (value, row))
            if known != value:
                raise TableError(
                    f"{path}: fact {name!r} is {known!r} in line {where + 2} and {value!r} in line {row + 2}, repeats of one "
                    f"config ({candidates[candidate[row]]!r}): what differs between them was measured, and would tell the "
                    "optimizer the answer. Cure: leave the fact out, or name the column that tells the rows apart in [params] "
                    "or table.context"
                )


def _one_column(path: Path, name: str, given: FactColumns, columns: Mapping[str, Column]) -> Column:
    """Of several columns the one that a row fills."""
    if isinstance(given, str):
        return columns[given]
    position: dict[str, int] = {"": 0}
    codes = np.zeros(len(columns[given[0]].codes), dtype=np.intp)
    for column in given:
        texts = [text.strip() for text in columns[column].texts]
        filled = np.array([position.setdefault(text, len(position)) for text in texts], np.intp)[columns[column].codes]
        both = np.flatnonzero((codes > 0) & (filled > 0))
        if len(both):
            raise TableError(
                f"{path} line {both[0] + 2}: fact {name!r} has a value in {column!r} and in another of its columns "
                f"({', '.join(given)}); a row may fill only one of them"
            )
        codes = np.where(filled > 0, filled, codes)
    return Column(list(position), codes)


def _typed(manifest: Manifest, name: str, given: FactColumns, column: Column) -> list[Fact | None]:
    """Per text its number; its label where one of them is no number, unless the fact's name tells its unit."""
    values, empty = numbers(column, manifest.decimal)
    money = unit(name).upper().startswith("USD")
    labels = bool((~empty & np.isnan(values)).any()) and not unit(name)
    good = np.full(len(values), True) if labels else ~np.isnan(values)
    wrong = column.first(~empty & (~good | np.isinf(values) | (money & (values <= 0))))
    if wrong is not None:
        text = column.texts[column.codes[wrong]].strip()
        cure = number_cure(text, manifest.decimal)
        of = repr(given) if isinstance(given, str) else ", ".join(given)
        raise TableError(
            f"{manifest.file} line {wrong + 2}: fact {name!r} (column {of}) is {text!r}; it must be a finite number"
            f"{' > 0' if money else ''}, or empty where it is not known" + (f". Cure: {cure}" if cure else "")
        )
    if labels:
        return [text.strip() or None for text in column.texts]
    return [None if np.isnan(value) else float(value) for value in values]


def _joined(path: Path, join: CatalogueJoin, columns: Mapping[str, Column], arm: Column) -> tuple[list[Known], Codes]:
    """Facts of what was rented, and each row's position among them."""
    offers = load_offers(join.offers or bundled() / "prices" / "offers.csv")
    keys = [columns[join.provider] if join.provider else arm, columns[join.on]]
    keys += [columns[name] for name in (join.region, join.purchase) if name]
    group, first = grouped([column.codes for column in keys], len(arm.codes))
    found: list[Known] = []
    for row in first.tolist():
        provider, instance, *rest = [column.texts[column.codes[row]].strip() for column in keys]
        region = rest[0] if join.region else None
        purchase = rest[-1] if join.purchase else ON_DEMAND
        try:
            found.append(facts_of(_offer(offers, provider, instance, region, purchase)))
        except _Unknown as unknown:
            raise TableError(
                f"{path} line {row + 2}: {unknown} (facts.catalogue, {join.offers or 'the bundled catalogue'}). Cure: correct "
                "the column, or write the missing rows into a catalogue of your own and name it: facts.catalogue.offers"
            ) from None
    return found, group


class _Unknown(Exception):
    pass


def _offer(offers: Sequence[Offer], provider: str, instance: str, region: str | None, purchase: str) -> Offer:
    mine = [o for o in offers if o.provider == provider]
    if not mine:
        known = sorted({o.provider for o in offers})
        raise _Unknown(f"no offer is of provider {provider!r}{hint(provider, known)}; known: {', '.join(known)}")
    same = [o for o in mine if o.instance_type == instance]
    if not same:
        raise _Unknown(f"{provider} has no instance {instance!r}{hint(instance, [o.instance_type for o in mine])}")
    here = [o for o in same if region is None or o.region == region]
    if not here:
        regions = ", ".join(sorted({o.region for o in same}))
        raise _Unknown(f"{provider} {instance} has no price in region {region!r}; it has one in {regions}")
    bought = [o for o in here if o.purchase == purchase]
    if not bought:
        ways = ", ".join(sorted({o.purchase for o in here}))
        raise _Unknown(f"{provider} {instance} has no price for purchase {purchase!r}; it has one for {ways}")
    if len({o.usd_per_h for o in bought}) > 1:
        regions = ", ".join(f"{o.region} ({o.usd_per_h:g} USD/h)" for o in bought)
        raise _Unknown(f"{provider} {instance} has several prices: {regions}; say which with facts.catalogue.region")
    return bought[0]
