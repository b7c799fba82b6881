"""Whether a provider does on a real account what it does on the fakes: one machine, launched, reached, given back and seen gone.

    python benchmarks/live_smoke.py --provider aws --max-usd 1

It spends real money, at most ``--max-usd``: the offer is the cheapest one whose worst case fits, and nothing is launched where
none does. Prints one JSON object: what was rented, how long each step took, the bill by our clock, and what is left. Exits with 0
only if nothing is. Settings of the provider are given as in study.toml: ``--set 'regions=["us-east-1"]'``.
"""

import argparse
import json
import secrets
import sys
import time

from cloudbandit.core.errors import CloudBanditError
from cloudbandit.live.giving_back import reap
from cloudbandit.live.lease import Lease, lease_key
from cloudbandit.providers.registry import PROVIDERS

ON_HOST_S = 120.0
RUN = "live-smoke"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", required=True)
    parser.add_argument("--max-usd", type=float, required=True)
    parser.add_argument("--offer", help="its label; by default the cheapest")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    options = parser.parse_args(argv)
    settings = {key: json.loads(value) for key, _, value in (one.partition("=") for one in options.set)}
    told = {"provider": options.provider, "verified": False}
    try:
        code = smoke(PROVIDERS.make(options.provider, settings, "--set"), options, told)
    except CloudBanditError as error:
        told["error"], code = str(error), 1
    sys.stdout.write(json.dumps(told) + "\n")
    return code


def smoke(provider, options, told):
    seconds = provider.boot_s + ON_HOST_S
    fits = [
        o
        for o in provider.offers()
        if options.offer in (None, o.label) and provider.quote(o, seconds) <= options.max_usd
    ]
    if not fits:
        told["error"] = f"no offer's worst case is at most {options.max_usd:g} USD"
        return 2
    offer = min(fits, key=lambda o: provider.quote(o, seconds))
    key = lease_key(secrets.token_hex(4), RUN, offer, 0)
    told |= {"offer": offer.name, "key": key, "worst_case_usd": provider.quote(offer, seconds)}
    lease = Lease(provider, offer, RUN, key, seconds)
    began = time.monotonic()
    try:
        with lease.host() as host:
            told["launch_s"] = time.monotonic() - began
            told["system"] = host.run(["uname", "-a"], timeout_s=60).output
            told["gpus"] = host.run(["nvidia-smi", "-L"], timeout_s=60).output
            told["listed"] = [one.kind for one in provider.rented(RUN)]
    finally:
        swept = reap(provider, run=RUN, wanted=lambda one: one.key == key)
        told |= {
            "whole_s": time.monotonic() - began,
            "bill_usd": lease.bill.usd,
            "left": [f"{one.kind} {one.id} in {one.where}" for one in swept.left],
            "reaped": [f"{one.kind} {one.id}" for one in swept.gone],
            "errors": swept.errors,
        }
    told["verified"] = lease.stuck is None and not swept.left and not swept.errors and "machine" in told["listed"]
    return 0 if told["verified"] else 4


if __name__ == "__main__":
    sys.exit(main())
