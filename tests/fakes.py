"""Providers of fake clouds by name, for study files: what they rent is in `CLOUDS`, which a test fills."""

from cloudbandit.providers.local import LocalHost
from cloudbandit.testing.fakecloud import FakeProvider

CLOUDS = {}


def fake(account="main", **options):
    return FakeProvider(CLOUDS[account], "fake", host=lambda machine: LocalHost(), **options)
