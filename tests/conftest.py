"""Nothing leaves loopback; dataset tests are skipped, and counted, where the data are not on this machine."""

import signal
import socket

import pytest
from hypothesis import settings

from cloudbandit.tables import registry

settings.register_profile("any machine", deadline=None)  # a busy one is no counterexample
settings.load_profile("any machine")
_NO_DATA = "no recorded data"
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # started in the background of a shell: programs under test would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch):
    connect = socket.socket.connect

    def guarded(self, address):
        local = (
            not isinstance(address, tuple) or str(address[0]).startswith("127.") or address[0] in ("::1", "localhost")
        )
        assert local, f"a test tried to reach {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def pytest_collection_modifyitems(items):
    for item in items:
        marker = item.get_closest_marker("dataset")
        name = marker.args[0] if marker and marker.args else "multicloud"
        if marker and not registry.available(name):
            item.add_marker(pytest.mark.skip(reason=_NO_DATA))


def pytest_terminal_summary(terminalreporter):
    skipped = sum(_NO_DATA in str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    if skipped:  # counted from reports: tests may run in processes of their own
        terminalreporter.write_line(
            f"{skipped} dataset tests skipped. Cure: set CLOUDBANDIT_DATA to a folder with multicloud/, llmpilot/ and silicon/ "
            "(`cloudbandit table check multicloud` downloads the first)"
        )
