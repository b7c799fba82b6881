"""Nothing leaves loopback; dataset tests are skipped, and counted, where the data are not on this machine."""

import socket

import pytest

from cloudbandit.tables import registry

_skipped = []


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch):
    connect = socket.socket.connect

    def guarded(self, address):
        local = not isinstance(address, tuple) or str(address[0]) in ("127.0.0.1", "::1", "localhost")
        assert local, f"a test tried to reach {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def pytest_collection_modifyitems(items):
    for item in items:
        marker = item.get_closest_marker("dataset")
        name = marker.args[0] if marker and marker.args else "multicloud"
        if marker and not registry.available(name):
            item.add_marker(pytest.mark.skip(reason="no recorded data"))
            _skipped.append(item.nodeid)


def pytest_terminal_summary(terminalreporter):
    if _skipped:
        terminalreporter.write_line(
            f"{len(_skipped)} dataset tests skipped. Cure: set CLOUDBANDIT_DATA to a folder with multicloud/ and llmpilot/ "
            "(`cloudbandit table check multicloud` downloads the first)"
        )
