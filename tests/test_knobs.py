"""Knob spaces against brute force; domains too large to list."""

import itertools
import pickle
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit import Budget, Candidate, Domain, Listing, Quote, Result, SLOGoal, Study, make_factory
from cloudbandit.core.errors import SpaceError
from cloudbandit.core.listing import ENUMERABLE_LIMIT, Space
from cloudbandit.engines.knobs import Knob, KnobSpace, conflict


@st.composite
def spaces(draw):
    """Numbers, labels and switches; conditions on earlier knobs, some of which are conditional themselves."""
    knobs = []
    for i in range(draw(st.integers(1, 4))):
        values = draw(st.sampled_from([(1, 2, 4), (False, True), ("a", "b", "c"), (0.5, 2), (8,), (True,)]))
        when = None
        if knobs and draw(st.booleans()):
            parent = draw(st.sampled_from(knobs))
            when = (parent.name, draw(st.sampled_from(parent.values)))
        knobs.append(Knob(f"{'zyxw'[i]}{i}", values, values[0], when))
    numbers = [k.name for k in knobs if not isinstance(k.values[0], str)]
    at_most = (
        draw(st.lists(st.tuples(st.sampled_from(numbers), st.sampled_from(numbers)), max_size=2)) if numbers else []
    )
    forbidden = []
    if draw(st.booleans()):
        some = draw(st.lists(st.sampled_from(knobs), min_size=1, max_size=2, unique_by=lambda k: k.name))
        forbidden.append({k.name: (draw(st.sampled_from(k.values)),) for k in some})
    return knobs, at_most, forbidden


def brute_force(knobs, at_most, forbidden):
    """Every cell of the grid, inactive knobs dropped; the first knob's values outermost."""
    found = []
    for cell in itertools.product(*(k.values for k in knobs)):
        config = {}
        for knob, value in zip(knobs, cell, strict=True):
            if knob.when is None or config.get(knob.when[0]) == knob.when[1]:
                config[knob.name] = value
        if conflict(config, at_most, forbidden) is None and Candidate("", config) not in found:
            found.append(Candidate("", config))
    return found


@settings(max_examples=80, deadline=None)
@given(spaces(), st.integers(0, 99))
def test_a_knob_space_is_what_brute_force_finds_in_that_order(made, seed):
    wanted = brute_force(*made)
    if not wanted:
        with pytest.raises(SpaceError, match="meets the known constraints"):
            KnobSpace(*made)
        return
    space = KnobSpace(*made)
    assert isinstance(space, Space)
    listed = [Candidate("", c) for c in space.configs()]
    assert [c.key for c in listed] == [c.key for c in wanted]
    assert len(listed) <= space.size
    assert space.enumerable
    for config in space.sample(np.random.default_rng(seed), 5):
        assert Candidate("", config) in listed
        assert space.why_not(config) is None
    members = {c.key for c in listed}
    for keep in itertools.product((False, True), repeat=len(made[0])):
        for cell in itertools.product(*(k.values for k in made[0])):
            config = {k.name: v for k, v, on in zip(made[0], cell, keep, strict=True) if on}
            assert (space.why_not(config) is None) == (Candidate("", config).key in members)
    assert {p.name for p in space.parameters} >= {name for c in listed for name in c.config}
    assert 0 < space.weights().sum() <= 1 + 1e-9
    assert pickle.loads(pickle.dumps(space)).describe() == space.describe()
    bridge = Domain({"a": space.to_configspace()})
    assert {c.key for c in bridge.candidates} == {Candidate("a", c.config).key for c in listed}


def test_draws_follow_the_weights():
    knobs = [Knob("a", (1, 2), 1), Knob("b", (1, 2, 3, 4), 1, when=("a", 2))]
    space = KnobSpace(knobs, at_most=[("b", "a")])
    weights = space.weights() / space.weights().sum()
    np.testing.assert_allclose(weights, [2 / 3, 1 / 6, 1 / 6])
    drawn = Counter(Candidate("", c) for c in space.sample(np.random.default_rng(0), 6000))
    np.testing.assert_allclose([drawn[Candidate("", c)] / 6000 for c in space.configs()], weights, atol=0.03)


def test_kinds_are_not_confused_and_thin_spaces_say_so():
    space = KnobSpace([Knob("n", (0, 1), 0), Knob("on", (False, True), False)])
    assert "not one of" in space.why_not({"n": True, "on": True})
    assert "not one of" in space.why_not({"n": 1, "on": 1})
    assert "'on' is missing" in space.why_not({"n": 1})
    many = [Knob(f"k{i}", tuple(range(10)), 0) for i in range(8)]
    thin = KnobSpace(many, forbidden=[{k.name: tuple(range(1, 10))} for k in many])
    assert not thin.enumerable
    with pytest.raises(SpaceError, match="narrow the knobs"):
        thin.sample(np.random.default_rng(0))


def test_accelerators_rule_out_what_does_not_fit():
    knobs = [Knob("tp", (1, 2, 4), 1), Knob("pp", (1, 2), 1)]
    space = KnobSpace(knobs, taken=lambda c: c["tp"] * c["pp"], accelerators=2)
    assert [tuple(c.values()) for c in space.configs()] == [(1, 1), (1, 2), (2, 1)]
    assert "more than 2 accelerators" in space.why_not({"tp": 2, "pp": 2})
    assert all(c["tp"] * c["pp"] <= 2 for c in space.sample(np.random.default_rng(0), 50))


# ── domains by their total ──


def _fifty_thousand():
    return KnobSpace(
        [
            *(Knob(f"n{i}", tuple(2**k for k in range(10)), 1) for i in range(4)),
            Knob("label", ("a", "b", "c", "d", "e"), "a"),
        ]
    )


def _offers(arms):
    return {f"us-{i}/big": _fifty_thousand() for i in range(arms)}


def test_a_domain_is_listed_while_its_total_is_within_the_limit():
    assert Domain({"a": Domain(_offers(4))}).enumerable
    assert Domain({"a": Domain(_offers(4))}).size == ENUMERABLE_LIMIT == 200_000
    assert not Domain({"a": Domain(_offers(4)), "b": [{"x": 1}]}).enumerable
    listed = Domain({"a": Listing({"x": i} for i in range(3)), "b": [{"x": 1}]}, limit=4)
    assert listed.enumerable
    assert listed.only("a").enumerable
    assert not Domain({"a": Listing({"x": i} for i in range(4)), "b": [{"x": 1}]}, limit=4).enumerable
    assert "not enumerable" in repr(Domain(_offers(8)))


def test_the_arms_of_a_domain_that_is_not_listed_are_not_listed_either():
    domain = Domain({**_offers(8), "small": [{"x": 1}]})
    arms = [domain.only(name) for name in domain.names]
    assert [arm.enumerable for arm in arms] == [False] * 8 + [True]
    again = pickle.loads(pickle.dumps(arms[0]))
    assert not again.enumerable
    assert sum(len(arm) for arm in arms if arm.enumerable) <= ENUMERABLE_LIMIT


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("optimizer", ["random", "random-wor", "gp", "gp-ard", "cloudbandit:gp-ard"])
def test_eight_offers_of_fifty_thousand_settings_are_never_listed(optimizer, nested, monkeypatch):
    offers = _offers(8)
    domain = Domain(
        {"p": Domain(dict([*offers.items()][:4])), "q": Domain(dict([*offers.items()][4:]))} if nested else offers
    )

    class Sum:
        def quote(self, candidate):
            return Quote()

        def evaluate(self, trial, run):
            return Result(
                metrics={"loss": float(sum(v for v in trial.candidate.config.values() if isinstance(v, int)))}
            )

    monkeypatch.setattr(KnobSpace, "configs", lambda self: pytest.fail("listed"))
    tracemalloc.start()
    try:
        report = Study(domain, Sum(), SLOGoal("loss"), make_factory(optimizer, 9), Budget(9)).run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.evaluations == 9
    assert all(o.candidate in domain for o in report.observations)
    assert peak < 60e6  # 400,000 candidates alone take hundreds of MB
