"""A cloud that does what clouds do to people: for tests of whatever rents machines, without an account."""

from cloudbandit.testing.fakecloud.clock import VirtualClock
from cloudbandit.testing.fakecloud.cloud import FakeCloud, Fault, Resource, Trouble
from cloudbandit.testing.fakecloud.provider import FakeProvider

__all__ = ["FakeCloud", "FakeProvider", "Fault", "Resource", "Trouble", "VirtualClock"]
