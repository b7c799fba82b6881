"""What ``run --dry-run`` prints."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING

from cloudbandit.catalogue.prices import MAX_AGE_DAYS
from cloudbandit.cli.common import out, print_json
from cloudbandit.cli.grid import Column, pairs, print_table
from cloudbandit.cli.text import shown

if TYPE_CHECKING:
    from cloudbandit.live.forecast import Forecast
    from cloudbandit.live.studyfile import LiveStudy

_MINUTE_S = 60.0


def print_forecast(live: LiveStudy, json_: bool) -> None:
    """Offers, the worst case, where prices come from, and what the accounts have to allow."""
    from cloudbandit.live.forecast import forecast

    told = forecast(live, date.today())
    if json_:
        print_json(
            {
                "study": live.name,
                "offers": [
                    {
                        "arm": p.arm,
                        "trial_usd": p.trial_usd,
                        "trial_s": p.trial_s,
                        "age_days": p.age_days,
                        **asdict(p.offer),
                    }
                    for p in told.offers
                ],
                "rounds": [asdict(one) for one in told.rounds],
                "cap_usd": told.cap_usd,
                "trials_usd": told.trials_usd,
                "permissions": told.permissions,
                "quotas": told.quotas,
            }
        )
        return
    _print(live, told)


def _print(live: LiveStudy, told: Forecast) -> None:
    shown_offers = told.offers
    print_table(
        f"{live.name}: what may be launched, and the most that one trial may cost",
        [
            Column("arm", [p.arm for p in shown_offers], text=True),
            Column("offer", [p.offer.label for p in shown_offers], text=True),
            Column("USD/h", [f"{p.offer.usd_per_h:.4g}" for p in shown_offers]),
            Column("trial_usd", [f"{p.trial_usd:.4g}" for p in shown_offers]),
            Column("trial_min", [f"{p.trial_s / _MINUTE_S:.0f}" for p in shown_offers]),
            Column("price of", [_age(p.offer.as_of, p.age_days) for p in shown_offers], text=True),
            Column("source", [p.offer.source for p in shown_offers], text=True, spare=1),
        ],
    )
    grid = pairs()
    for one in told.rounds:
        grid.add_row(f"round {one.number}", f"{one.arms} arms × {one.pull} trials")
    trials = live.budget.trials
    if told.trials_usd is not None:
        grid.add_row("trials", f"{trials}; at most {told.trials_usd:.4g} USD, and what is given back")
    cap = "none; cure: study.usd"
    if told.cap_usd is not None:
        cap = f"{told.cap_usd:.4g} USD; a trial whose worst case exceeds what is left is not begun"
    grid.add_row("cap", cap)
    for arm, quotas in told.quotas.items():
        for quota in quotas:
            grid.add_row(f"quota of {shown(arm)}", shown(quota))
    for arm, permissions in told.permissions.items():
        grid.add_row(f"rights at {shown(arm)}", shown(", ".join(permissions)))
    out.print(grid)
    out.print("nothing was launched, and no provider was asked")


def _age(as_of: str, days: int | None) -> str:
    if days is None:
        return "unknown date"
    return f"{as_of}{f' ({days} days old)' if days > MAX_AGE_DAYS else ''}"
