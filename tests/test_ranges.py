"""Spaces written as ranges and choices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit import Candidate, Domain, Observation, Problem, Result, SLOGoal, Trial, make_factory, minimize
from cloudbandit.core.errors import SpaceError


def test_ints_are_whole_floats_are_not_and_lists_are_choices():
    domain = Domain(
        {"a": {"x": (0.0, 1.0), "n": (2, 8), "lr": (1e-4, 1.0, "log"), "disk": ["hdd", "ssd"], "k": [8, 2]}}
    )
    kinds = {p.name: (p.kind, p.log) for p in domain.parameters}
    assert (kinds["x"], kinds["n"], kinds["lr"]) == (("float", False), ("int", False), ("float", True))
    assert kinds["disk"][0] in ("choice", "ordinal")
    drawn = [c.config for c in domain.sample(np.random.default_rng(0), 300)]
    assert {type(c["n"]) for c in drawn} == {int}
    assert {c["n"] for c in drawn} == set(range(2, 9))
    assert {(c["disk"], c["k"]) for c in drawn} == {(d, k) for d in ("hdd", "ssd") for k in (2, 8)}
    assert 0.3 < np.mean([c["lr"] < 0.01 for c in drawn]) < 0.7, "half of the decades"
    assert domain.parameters[[p.name for p in domain.parameters].index("k")].values == (2, 8)


def test_choices_alone_are_the_full_grid():
    domain = Domain({"aws": {"nodes": [2, 4, 8], "disk": ["hdd", "ssd"], "zone": "b"}, "gcp": [{"nodes": 3}]})
    assert len(domain) == 7
    assert Candidate("aws", {"nodes": 4, "disk": "ssd", "zone": "b"}) in domain


@given(st.integers(-50, 50), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_both_ends_of_a_range_of_ints_belong_to_it(low, width):
    domain = Domain({"a": {"n": (low, low + width)}})
    assert [c["n"] for c in domain.candidates] == list(range(low, low + width + 1))


@pytest.mark.parametrize(
    "wrong", [(1, 1), (2, 1), (0.0, 1.0, "log"), (1, 2, "linear"), (True, 3), ("a", "b"), (0.0, np.inf)]
)
def test_a_range_that_is_none_is_refused_by_name(wrong):
    with pytest.raises(SpaceError, match=r"the range of 'x' in arm 'a' is .*Cure"):
        Domain({"a": {"x": wrong}})


def test_what_is_neither_is_refused_with_the_forms():
    for wrong in ({"x": None}, {"x": []}, {}, 3):
        with pytest.raises(SpaceError, match="low, high"):
            Domain({"a": wrong})


def test_minimize_takes_ranges_for_one_space_and_arms_of_ranges():
    report = minimize(lambda c: (c["x"] - 0.3) ** 2 + c["n"], {"x": (0.0, 1.0), "n": (1, 4)}, 25, optimizer="gp")
    assert report.incumbent.arm == "all"
    assert report.incumbent.candidate["n"] == 1
    assert abs(report.incumbent.candidate["x"] - 0.3) < 0.2
    arms = {"aws": {"x": (0.0, 1.0)}, "gcp": {"x": (0.5, 1.0)}}
    report = minimize(lambda c: c["x"] + (c.arm[0] == "aws"), arms, 22, optimizer="cloudbandit:random")
    assert report.incumbent.arm == "gcp"


def test_ask_and_tell_without_a_study():
    problem = Problem(Domain({"all": {"x": (0.0, 1.0)}}), SLOGoal("loss"), seed=1)
    optimizer = make_factory("gp", 20)(problem)
    told = []
    for number in range(15):
        (candidate,) = optimizer.ask()
        result = Result(metrics={"loss": (candidate["x"] - 0.3) ** 2})
        told.append(Observation(Trial(number, candidate), result, problem.goal.score(result)))
        optimizer.tell(told[-1])
    assert min(o.result.metrics["loss"] for o in told) < 0.01
