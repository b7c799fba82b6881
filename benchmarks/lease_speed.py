"""What a lease costs us: time beside the cloud's own, and memory of many at once.

    python benchmarks/lease_speed.py --leases 100

Time: the whole cycle of a lease (row, launch, row, destroy, listings, row) on an in-memory cloud that answers at once, with a
real store, so that all of it is ours. Memory: hosts behind SSH held at the same time by this process, on a machine of another
process. Prints one JSON object.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloudbandit.core.store import Store
from cloudbandit.live.lease import Lease
from cloudbandit.providers.ssh_connect import Address, KeyPair, open_host
from cloudbandit.testing.fakecloud import FakeCloud, FakeProvider

MACHINE = """
import sys, time
from cloudbandit.testing.sshd import SSHMachine
machine = SSHMachine(sys.argv[1])
print(machine.port, flush=True); print(machine.host_key, flush=True)
sys.stdin.read(); machine.off()
"""


def cycle_ms(n):
    """Until the host is there, and in all."""
    launches, times = [], []
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "s.db") as store:
        provider = FakeProvider(FakeCloud())
        offer = provider.offers()[0]
        for i in range(n):
            began = time.perf_counter()
            with Lease(provider, offer, "r", f"cb-s-{i}", 60.0, store.leases).host():
                launches.append((time.perf_counter() - began) * 1e3)
            times.append((time.perf_counter() - began) * 1e3)
    return launches, times


def rss_mib():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leases", type=int, default=100)
    leases = parser.parse_args().leases
    launches, times = cycle_ms(leases)
    keys = KeyPair.new()
    argv = [sys.executable, "-c", MACHINE, keys.public]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as machine:
        port, pinned = int(machine.stdout.readline()), machine.stdout.readline().strip()
        address = Address("127.0.0.1", port, "me", pinned=pinned, keys=(keys.private,))
        before = rss_mib()
        with ThreadPoolExecutor(8) as pool:
            hosts = list(pool.map(lambda i: open_host(address, f"m{i}"), range(leases)))
            grown = rss_mib() - before
            list(pool.map(lambda host: host.close(), hosts))
        machine.stdin.close()
    found = {
        "leases": leases,
        "launch_ms_median": statistics.median(launches),
        "launch_ms_p95": statistics.quantiles(launches, n=20)[-1],
        "cycle_ms_median": statistics.median(times),
        "ssh_hosts_mib": grown,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
