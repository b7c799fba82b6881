import itertools
import pickle

import ConfigSpace as CS
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit import Candidate, Domain, Listing
from cloudbandit.core.errors import SpaceError, UnknownNameError


def hierarchical():
    space = CS.ConfigurationSpace()
    provider = CS.CategoricalHyperparameter("provider", ["A", "B"])
    nodes = CS.UniformIntegerHyperparameter("nodes", 2, 5)
    a = CS.CategoricalHyperparameter("a", [0, 1, 2])
    b = CS.OrdinalHyperparameter("b", ["small", "large"])
    space.add([provider, nodes, a, b])
    space.add(CS.EqualsCondition(a, provider, "A"))
    space.add(CS.EqualsCondition(b, provider, "B"))
    space.add(CS.ForbiddenAndConjunction(CS.ForbiddenEqualsClause(a, 1), CS.ForbiddenEqualsClause(nodes, 3)))
    return space


# ── random ConfigSpaces, checked against ConfigSpace itself ──


@st.composite
def config_spaces(draw):
    """Up to five parameters, with conditions (equals, in, and, or) on earlier ones and forbidden clauses."""
    space = CS.ConfigurationSpace()
    count = draw(st.integers(2, 5))
    parameters = [CS.CategoricalHyperparameter("provider", ["A", "B", "C"][: draw(st.integers(1, 3))])]
    for i in range(1, count):
        kind = draw(st.sampled_from(["choice", "int", "ordinal", "constant"]))
        name = f"p{i}"
        if kind == "choice":
            parameters.append(CS.CategoricalHyperparameter(name, ["x", "y", "z"][: draw(st.integers(1, 3))]))
        elif kind == "int":
            parameters.append(
                CS.UniformIntegerHyperparameter(name, 1, draw(st.integers(2, 3)), log=draw(st.booleans()))
            )
        elif kind == "ordinal":
            parameters.append(CS.OrdinalHyperparameter(name, [1, 2, 4][: draw(st.integers(2, 3))]))
        else:
            parameters.append(CS.Constant(name, "fixed"))
    space.add(parameters)

    def values(hp):
        if isinstance(hp, CS.Constant):
            return [hp.value]
        if hasattr(hp, "choices"):
            return list(hp.choices)
        return list(hp.sequence) if hasattr(hp, "sequence") else list(range(hp.lower, hp.upper + 1))

    def atom(child, parent):
        some = values(parent)
        if draw(st.booleans()):
            return CS.EqualsCondition(child, parent, draw(st.sampled_from(some)))
        return CS.InCondition(child, parent, draw(st.lists(st.sampled_from(some), min_size=1, unique=True)))

    always, joined = {parameters[0].name}, False
    for position in range(1, count):
        child = parameters[position]
        if not draw(st.booleans()):
            always.add(child.name)
            continue
        parents = draw(
            st.lists(st.sampled_from(parameters[:position]), min_size=1, max_size=2, unique_by=lambda h: h.name)
        )
        # ConfigSpace 1.2.2 contradicts itself on several conjunctions, and on one whose parents are conditional
        if joined or not {parent.name for parent in parents} <= always:
            parents = parents[:1]
        atoms = [atom(child, parent) for parent in parents]
        if len(atoms) == 1:
            space.add(atoms[0])
        else:
            joined = True
            space.add(draw(st.sampled_from([CS.AndConjunction, CS.OrConjunction]))(*atoms))
    default = dict(space.get_default_configuration())
    for _ in range(draw(st.integers(0, 2))):
        some = draw(st.lists(st.sampled_from(parameters), min_size=1, max_size=3, unique_by=lambda h: h.name))
        pairs = [(hp, draw(st.sampled_from(values(hp)))) for hp in some]
        if all(default.get(hp.name) == value for hp, value in pairs):
            continue  # ConfigSpace insists on a legal default
        clauses = [CS.ForbiddenEqualsClause(hp, value) for hp, value in pairs]
        space.add(CS.ForbiddenAndConjunction(*clauses) if len(clauses) > 1 else clauses[0])
    return space, {hp.name: values(hp) for hp in parameters}


def brute_force(space, values):
    """Every partial assignment that ConfigSpace accepts."""
    names = list(values)
    legal = set()
    for cell in itertools.product(*([None, *values[n]] for n in names)):
        config = {n: v for n, v in zip(names, cell, strict=True) if v is not None}
        try:
            CS.Configuration(space, values=config)
        except ValueError:
            continue
        legal.add(frozenset(config.items()))
    return legal


@settings(max_examples=60, deadline=None)
@given(config_spaces())
def test_enumeration_membership_and_round_trip_agree_with_configspace(made):
    space, values = made
    legal = brute_force(space, values)
    domain = Domain.from_configspace(space)
    ours = {frozenset({"provider": c.arm[0], **c.config}.items()) for c in domain.candidates}
    assert ours == legal
    assert len(domain) == len(ours)
    names = list(values)
    for cell in itertools.product(*([None, *values[n]] for n in names[1:])):
        config = {n: v for n, v in zip(names[1:], cell, strict=True) if v is not None}
        for arm in domain.names:
            member = frozenset({"provider": arm, **config}.items()) in legal
            assert (Candidate(arm, config) in domain) == member, domain.why_not(Candidate(arm, config))
    again = Domain.from_configspace(domain.to_configspace())
    assert again.fingerprint == domain.fingerprint
    for drawn in domain.sample(np.random.default_rng(0), 5):
        assert drawn in domain
    assert domain.draw_weights.sum() == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(config_spaces())
def test_flattening_slices_of_different_origin_keeps_every_config(made):
    space, _ = made
    domain = Domain(
        {"one": Domain.from_configspace(space).arms[space["provider"].choices[0]], "two": [{"n": 1}, {"n": 3}]}
    )
    back = Domain.from_configspace(domain.to_configspace(arm="cloud"), arm="cloud")
    assert len(back) == len(domain)
    assert set(back.names) == set(domain.names)


# ── by hand ──


def test_from_configspace_by_hand():
    domain = Domain.from_configspace(hierarchical())
    assert domain.names == ("A", "B")
    assert len(domain) == 3 * 4 - 1 + 2 * 4
    assert Candidate("A", {"a": 1, "nodes": 2}) in domain
    assert "forbidden" in domain.why_not(Candidate("A", {"a": 1, "nodes": 3}))
    assert "no arm 'C'" in domain.why_not(Candidate("C", {}))
    assert "fixed by the arm" in domain.why_not(Candidate("A", {"provider": "A", "nodes": 2}))
    assert "wrong type" in domain.why_not(Candidate("A", {"a": True, "nodes": 2}))


def test_missing_arm_parameter_names_the_cure():
    with pytest.raises(SpaceError, match=r"no parameter 'cloud'.*provider.*from_configspace"):
        Domain.from_configspace(hierarchical(), arm="cloud")
    with pytest.raises(SpaceError, match="unconditional"):
        Domain.from_configspace(hierarchical(), arm="nodes")


def test_infinite_space_samples_members_and_refuses_to_enumerate():
    space = CS.ConfigurationSpace({"lr": CS.UniformFloatHyperparameter("lr", 1e-4, 1.0, log=True), "n": (1, 4)})
    domain = Domain({"all": space})
    assert not domain.enumerable
    drawn = domain.sample(np.random.default_rng(1), 20)
    assert all(c in domain for c in drawn)
    assert drawn == domain.sample(np.random.default_rng(1), 20), "the generator alone decides"
    assert ((domain.encode(drawn) >= 0) & (domain.encode(drawn) <= 1)).all()
    with pytest.raises(SpaceError, match="cannot be enumerated"):
        _ = domain.candidates
    assert pickle.loads(pickle.dumps(domain)).sample(np.random.default_rng(1), 20) == drawn


def test_nested_domains_give_longer_arms():
    domain = Domain({"aws": Domain({"p5": [{"tp": 1}, {"tp": 2}], "g6": [{"tp": 1}]}), "gcp": [{"tp": 4}]})
    assert [c.arm for c in domain.candidates] == [("aws", "p5"), ("aws", "p5"), ("aws", "g6"), ("gcp",)]
    assert domain.only("aws").names == ("aws",)
    np.testing.assert_allclose(domain.draw_weights, [1 / 8, 1 / 8, 1 / 4, 1 / 2])
    with pytest.raises(UnknownNameError, match="Did you mean"):
        domain.only("awss")
    flat = domain.to_configspace()
    assert set(flat["provider"].choices) == {"aws/p5", "aws/g6", "gcp"}


def test_listing_is_strict():
    with pytest.raises(SpaceError, match="there twice"):
        Listing([{"x": 1}, {"x": 1}])
    with pytest.raises(SpaceError, match="at least one config"):
        Listing([])
    with pytest.raises(SpaceError, match="mixes"):
        Listing([{"x": 1}, {"x": "1"}])
    listing = Listing([{"x": 1, "y": "a"}, {"x": 2}])
    assert "no parameter 'z'" in listing.why_not({"z": 1})
    assert "not one of" in listing.why_not({"x": 9})
    assert "not among the 2" in listing.why_not({"x": 1})
    assert listing.why_not({"x": True, "y": "a"}), "True is not 1"


def test_a_domain_is_strict():
    with pytest.raises(SpaceError, match="at least one arm"):
        Domain({})
    with pytest.raises(SpaceError, match="must be a ConfigurationSpace"):
        Domain({"a": 3})
    with pytest.raises(SpaceError, match="is int in one arm"):
        _ = Domain({"a": [{"x": 1}], "b": [{"x": "one"}]}).features


def test_encoding_distances():
    domain = Domain({"A": [{"f": "x", "n": 2}, {"f": "y", "n": 2}, {"f": "z", "n": 5}], "B": [{"n": 2}]})
    x = domain.features
    distance = np.linalg.norm(x[:, None] - x[None], axis=-1)
    assert distance[0, 1] == pytest.approx(1.0), "two labels lie at distance 1"
    assert distance[0, 2] == pytest.approx(np.sqrt(2)), "a label and the whole range of a number"
    assert distance[0, 3] > 1.0, "another arm, and an inactive parameter"


def test_listing_with_holes_becomes_a_configspace_with_forbidden_cells():
    domain = Domain({"A": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]})
    assert len(Domain.from_configspace(domain.to_configspace())) == 2


def test_candidate_is_content():
    one, two = Candidate("A", {"b": 1, "a": "x"}), Candidate(("A",), {"a": "x", "b": 1})
    assert one == two
    assert len({one, two, Candidate("A", {"a": "x", "b": 1.5})}) == 2
    assert Candidate.from_key(one.key) == one
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError, match="immutable"):
        one.arm = ("B",)


def test_feature_groups_say_which_columns_belong_together():
    inner = Domain({"k": [{"x": 1, "s": "u"}, {"x": 2, "s": "v"}], "l": [{"x": 3, "s": "w"}]})
    nested = Domain({"c": inner, "d": [{"x": 1, "s": "u"}]})
    groups = nested.feature_groups
    assert len(groups) == nested.features.shape[1]
    assert groups.tolist() == sorted(groups.tolist())
    first, other = nested.candidates[0], nested.candidates[1]
    assert first.arm == other.arm
    changed = {int(g) for g in groups[np.flatnonzero(np.diff(nested.encode([first, other]), axis=0)[0])]}
    assert len(changed) == 2  # x and s, though s has three columns
    assert len(set(groups.tolist())) == len(nested.parameters) + 2  # two levels of arms


def test_a_listing_of_candidates_is_the_listing_of_their_configs():
    configs = [{"n": 1, "kind": "a"}, {"n": 2}, {"n": 2, "kind": "b"}]
    plain = Listing(configs)
    candidates = [Candidate("x", c) for c in configs]
    quick = Listing.of(candidates, plain.parameters)
    one, two = Domain({"x": plain, "y": plain}), Domain({"x": quick, "y": quick})
    assert one.candidates == two.candidates
    assert two.candidates[0] is candidates[0], "made once"
    assert one.fingerprint == two.fingerprint
    assert (one.draw_weights == two.draw_weights).all()
    assert (one.features == two.features).all()
    assert two.why_not(Candidate("x", {"n": 1})) == "in arm 'x' this combination is not among the 3 listed configs"
    assert pickle.loads(pickle.dumps(two)).candidates == one.candidates
