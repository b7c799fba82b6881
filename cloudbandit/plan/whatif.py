"""What if: prices, quotas, shares and demand changed, and the plan made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cloudbandit.core.errors import UsageError
from cloudbandit.core.offer import PURCHASES
from cloudbandit.plan.problem import Problem

_FORM = "price=1.2, price:spot=0.5, price:gcp=0.9, quota=2, quota:NAME=16, spot=0.3, demand=1.5, survive=region"


def parse_change(text: str) -> dict[str, str]:
    """``price=1.2,quota:h100=16`` → its parts.

    Raises:
        UsageError: no such form.
    """
    out: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, sign, value = part.partition("=")
        if not sign or key.partition(":")[0] not in ("price", "quota", "spot", "demand", "survive") or key in out:
            raise UsageError(f"--what-if {part!r} is not understood; write e.g. {_FORM}")
        out[key.strip()] = value.strip()
    if not out:
        raise UsageError(f"--what-if is empty; write e.g. {_FORM}")
    return out


def changed(problem: Problem, change: Mapping[str, str]) -> Problem:
    """The problem as it would be.

    Raises:
        UsageError: a value that makes no sense, or a name that nothing has.
    """
    for key, text in change.items():
        what, _, of = key.partition(":")
        if what == "survive":
            problem = replace(problem, policy=replace(problem.policy, survive=text))
            continue
        value = _number(key, text)
        if what == "price":
            problem = _priced(problem, of, value)
        elif what == "quota":
            problem = _quota(problem, of, value)
        elif what == "spot":
            problem = replace(problem, policy=replace(problem.policy, spot_share=value))
        else:
            problem = replace(problem, demand=problem.demand.scaled(value))
    return problem


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (value == 0 and key.startswith(("price", "demand"))):
        raise UsageError(f"--what-if {key} is {text!r}; it must be a finite number{' > 0' if value == 0 else ' ≥ 0'}")
    return value


def _priced(problem: Problem, of: str, factor: float) -> Problem:
    known = {r.machine.provider for r in problem.rentals} | {r.machine.purchase for r in problem.rentals}
    if of and of not in known:
        also = " (there are no such offers)" if of in PURCHASES else ""
        raise UsageError(f"--what-if price:{of} names nothing{also}; known: {', '.join(sorted(known))}")
    rentals = [
        replace(r, machine=replace(r.machine, usd_per_h=r.machine.usd_per_h * factor))
        if not of or of in (r.machine.provider, r.machine.purchase)
        else r
        for r in problem.rentals
    ]
    return replace(problem, rentals=rentals)


def _quota(problem: Problem, of: str, value: float) -> Problem:
    names = [q.name for q in problem.quotas]
    if not names or (of and of not in names):
        raise UsageError(
            f"--what-if quota{':' + of if of else ''} names nothing; known: {', '.join(names) or 'no quota'}"
        )
    quotas = [
        replace(q, most=value) if q.name == of else replace(q, most=q.most * value) if not of else q
        for q in problem.quotas
    ]
    return replace(problem, quotas=quotas)
