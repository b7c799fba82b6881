"""Plans at the edges: work that piles up, starts longer than a step, windows without a way out, names that are cut short."""

import pytest
from planning import demand_of, machine

pytest.importorskip("linopy")
pytest.importorskip("highspy")

from cloudbandit.plan.capacity import RecordedCapacity
from cloudbandit.plan.planner import make_plan
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.solve import Outcome
from cloudbandit.plan.terms import Quota, Rental
from cloudbandit.plan.workload import Workload


def chat_and_batch(chat, batch, quota, deadline_h=12.0):
    """Two workloads under one quota; a machine takes 10 of the one and 2 of the other."""
    return Problem(
        [Workload("chat"), Workload("batch", deadline_h=deadline_h)],
        [Rental(machine())],
        demand_of({("chat", "us"): chat, ("batch", "us"): batch}),
        RecordedCapacity({("chat", "aws/small", 1, 0.0): 10.0, ("batch", "aws/small", 1, 0.0): 2.0}),
        quotas=[Quota("q", quota)],
    )


def test_work_that_waited_is_done_by_more_machines_than_its_largest_hour_asks_for():
    found = make_plan(chat_and_batch([30, 30, 30, 30, 30, 0], [2, 2, 2, 0, 0, 0], quota=3))
    assert found.outcome is Outcome.OPTIMAL
    assert found.groups[1, 0].tolist() == [0, 0, 0, 0, 0, 3]
