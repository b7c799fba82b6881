"""What is known beforehand, as hypotheses: closed forms, who wins the evidence, bad input, resume."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit import Domain, Listing, Observation, Problem, Result, SLOGoal, Status, Trial, make_factory
from cloudbandit.core.errors import UsageError
from cloudbandit.core.known import History, no_facts
from cloudbandit.core.stop import Believer
from cloudbandit.optimizers.claims import Claims, Target
from cloudbandit.optimizers.columns import Columns
from cloudbandit.optimizers.hypotheses import _JITTER, HypothesesGP
from cloudbandit.optimizers.joint import Joint
from cloudbandit.optimizers.kernels import Kernels
from cloudbandit.optimizers.recall import MeanShape, Remembered

DOMAIN = Domain(
    {
        "a": Listing([{"nodes": n, "a_kind": k} for n in (1, 2, 4, 8) for k in "xy"]),
        "b": Listing([{"nodes": n, "b_size": s} for n in (1, 2, 4, 8) for s in (1, 2, 3)]),
    }
)
GOAL = SLOGoal("cost_usd")
PRICE = {"a": 1.0, "b": 3.0}


def truth(c):
    return 5.0 * PRICE[c.arm[0]] * c["nodes"] ** -0.3 * (1.5 if c.config.get("a_kind") == "x" else 1.0)


def facts(c):
    return {"price_usd_per_h": PRICE[c.arm[0]] * c["nodes"], "cores": 4.0 * c["nodes"], "part": c.arm[0].upper()}


def observe(c, i, value=truth):
    result = Result(metrics={"cost_usd": value(c)})
    return Observation(Trial(i, c), result, GOAL.score(result))


def drive(optimizer, trials, value=truth):
    told = []
    for i in range(trials):
        asked = optimizer.ask()
        if not asked:
            break
        told.append(observe(asked[0], i, value))
        optimizer.tell(told[-1:])
    return told


def problem(**more):
    return Problem(DOMAIN, GOAL, 3, **more)


# ── the model ──


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_every_kernel_is_a_correlation(seed):
    rng = np.random.default_rng(seed)
    columns = Columns(DOMAIN, facts)
    points = columns.known[1].at(rng.choice(len(DOMAIN), 8, replace=False))
    kernels = Kernels(columns, len(DOMAIN))
    k = kernels.between(points, points)
    np.testing.assert_allclose(np.einsum("sii->si", k), 1.0, atol=1e-9)
    np.testing.assert_allclose(k, k.transpose(0, 2, 1), atol=1e-12)
    assert np.linalg.eigvalsh(k).min() > -1e-8
    chosen = np.array([1, 7, len(kernels) - 1])
    np.testing.assert_allclose(kernels.between(points, points, chosen), k[chosen], atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.booleans())
def test_weights_and_predictions_equal_the_closed_form(seed, n, noisy):
    """From dense matrices: generalised least squares with a flat mean (RW eqs. 2.41, 2.42), for every pair that is kept."""
    rng = np.random.default_rng(seed)
    columns = Columns(DOMAIN, facts)
    kernels, (_, everything) = Kernels(columns, len(DOMAIN)), columns.known
    observed = rng.choice(len(DOMAIN), n, replace=noisy)
    noise = rng.uniform(0.01, 1.0, n) if noisy else np.zeros(n)
    y, prior = rng.normal(size=n), np.array([0.5, 0.3, 0.2])
    offsets = np.vstack([np.zeros(len(DOMAIN)), rng.normal(size=(2, len(DOMAIN)))])
    model = HypothesesGP(kernels, capacity=4)
    for i, share in zip(observed.tolist(), noise.tolist(), strict=True):
        model.add(everything.at([i]), share)
    fit = model.fit(y, prior, offsets[:, observed], len(DOMAIN))
    (p,) = model.predict(everything, [fit], [offsets])
    k = kernels.between(everything.at(observed), everything.at(observed)) + (_JITTER + noise) * np.eye(n)
    scale, centre, one = y.std(), y.mean(), np.ones(n)
    inverse = np.linalg.inv(k)
    left = np.array(
        [
            [k[s, i, i] - k[s, i, :i] @ np.linalg.solve(k[s, :i, :i], k[s, :i, i]) for i in range(n)]
            for s in range(len(k))
        ]
    )
    news = np.minimum(left / (1 + noise), 1).sum(axis=1)
    evidence = np.empty((len(k), 3))
    for s in range(len(k)):
        precision = one @ inverse[s] @ one
        for h in range(3):
            r = (y - centre - offsets[h, observed]) / scale
            rest = r - one @ inverse[s] @ r / precision
            square = rest @ inverse[s] @ rest
            likelihood = -0.5 * (np.linalg.slogdet(k[s])[1] + math.log(precision))
            evidence[s, h] = likelihood - (1 + 0.5 * (n - 1)) * math.log(1 + 0.5 * square)
    evidence = np.log(prior) + evidence * news.mean() / n
    kept = np.exp(evidence[fit.kernel, fit.offset] - evidence.max())
    assert evidence[fit.kernel, fit.offset].max() == pytest.approx(evidence.max(), abs=1e-6)
    np.testing.assert_allclose(fit.weight, kept / kept.sum(), atol=1e-5)
    s, h = int(fit.kernel[0]), int(fit.offset[0])
    cross = kernels.between(everything.at(observed), everything)[s]
    r = (y - centre - offsets[h, observed]) / scale
    precision = one @ inverse[s] @ one
    level = one @ inverse[s] @ r / precision
    mean = centre + scale * (level + cross.T @ inverse[s] @ (r - level)) + offsets[h]
    np.testing.assert_allclose(p.mean[0], mean, atol=1e-5)
    square = (r - level) @ inverse[s] @ (r - level)
    gap = 1 - one @ inverse[s] @ cross
    share = 1 - np.einsum("ij,ik,kj->j", cross, inverse[s], cross) + gap**2 / precision
    variance = (1 + 0.5 * square) / (2 + 0.5 * (news[s] - 1))
    np.testing.assert_allclose(p.sd[0] ** 2, scale**2 * variance * np.maximum(share, 1e-12), atol=1e-5)


def test_what_is_forgotten_leaves_no_trace():
    columns = Columns(DOMAIN, facts)
    points = columns.known[1]
    one, other = HypothesesGP(Kernels(columns, 20), capacity=2), HypothesesGP(Kernels(columns, 20))
    for i in (3, 11, 17):
        one.add(points.at([i]))
        other.add(points.at([i]))
    one.add(points.at([5]))
    one.pop()
    y, offsets = np.array([1.0, 2.0, 4.0]), np.zeros((1, len(DOMAIN)))
    fits = [m.fit(y, np.ones(1), offsets[:, :3], 20) for m in (one, other)]
    for a, b in zip(fits[0], fits[1], strict=True):
        np.testing.assert_array_equal(a, b)


# ── hypotheses ──


def weight_of_claims(optimizer):
    """How much weight the offsets other than none have."""
    outlook = optimizer._model.outlook(optimizer._whole, np.arange(len(DOMAIN)))
    fit = outlook.fits[0]
    return float(fit.weight[fit.offset > 0].sum())


def test_a_true_claim_is_believed_and_a_false_one_dropped():
    lie = np.random.default_rng(0).permutation([truth(c) for c in DOMAIN.candidates])
    claims = {
        "true": lambda c: {"cost_usd": truth(c)},
        "false": lambda c: {"cost_usd": float(lie[DOMAIN.index[c.key]]) ** 3},
    }
    found = {}
    for name, estimate in claims.items():
        optimizer = Joint(problem(estimates={name: estimate}))
        told = drive(optimizer, 10)
        found[name] = weight_of_claims(optimizer)
        if name == "true":
            assert truth(told[0].candidate) == min(map(truth, DOMAIN.candidates))
    assert found["true"] > 0.9
    assert found["false"] < 0.5


@pytest.mark.slow
def test_a_false_claim_costs_little():
    """Mean regret after 8 trials on random additive problems: a lie's, beside that of knowing nothing and of the truth."""
    regret = {"nothing": [], "lie": [], "truth": []}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        effect = dict(zip("ab", rng.normal(size=2), strict=True))
        own = {key: float(rng.normal()) for key in (1, 2, 3, 4, 8, "x", "y")}

        def value(c, effect=effect, own=own):
            parts = [own[c["nodes"]], own.get(c.config.get("a_kind"), 0.0), own.get(c.config.get("b_size"), 0.0)]
            return math.exp(effect[c.arm[0]] + sum(parts))

        lies = rng.permutation([value(c) for c in DOMAIN.candidates])
        for name, estimates in (
            ("nothing", {}),
            ("lie", {"e": lambda c, lies=lies: {"cost_usd": float(lies[DOMAIN.index[c.key]])}}),
            ("truth", {"e": lambda c, value=value: {"cost_usd": value(c)}}),
        ):
            told = drive(Joint(Problem(DOMAIN, GOAL, seed, estimates=estimates)), 8, value)
            found = min(value(o.candidate) for o in told)
            regret[name].append(math.log(found / min(map(value, DOMAIN.candidates))))
    nothing, lie, told_truth = (np.array(regret[name]) for name in ("nothing", "lie", "truth"))
    assert told_truth.max() == 0
    difference = lie - nothing
    assert difference.mean() - 1.96 * difference.std() / math.sqrt(len(difference)) <= 0


def test_the_first_trial_follows_the_price_and_says_so_to_none_but_costs():
    assert drive(Joint(problem(facts=facts)), 1)[0].candidate["nodes"] == 1
    columns = Columns(DOMAIN, facts)
    claims = Claims(problem(facts=facts), columns, Kernels(columns, 20))
    assert [s.name for s in claims.sources(Target("cost_usd", 1.0, True))] == ["price"]
    assert claims.sources(Target("runtime_s", 1.0, True)) == []
    assert claims.sources(Target("cost_usd", 1.0, False)) == []


def test_a_history_leads_to_the_optimum_of_alike_workloads():
    """Its workloads are ten and a hundred times dearer, and it tried other configs in each: levels are their own."""
    rng = np.random.default_rng(1)
    history = {}
    for w, factor in enumerate((10.0, 100.0, 1.0)):
        some = [DOMAIN.candidates[i] for i in rng.choice(len(DOMAIN), 14, replace=False)]
        history[f"w{w}"] = History([observe(c, i, lambda c, f=factor: f * truth(c)) for i, c in enumerate(some)])
    told = drive(Joint(problem(history=history)), 2)
    assert min(truth(o.candidate) for o in told) == min(map(truth, DOMAIN.candidates))


def test_a_history_of_another_space_is_mapped_by_shared_facts():
    other = Domain({"c": Listing([{"machine": m} for m in "pqrs"])})
    cores = dict(zip("pqrs", (4.0, 8.0, 16.0, 32.0), strict=True))
    told = [observe(c, i, lambda c: 100.0 / cores[c["machine"]]) for i, c in enumerate(other.candidates)]
    history = {"w": History(told, lambda c: {"cores": cores[c["machine"]]})}
    found = drive(Joint(problem(facts=lambda c: {"cores": 4.0 * c["nodes"]}, history=history)), 1)
    assert found[0].candidate["nodes"] == 8


def test_the_mean_shape_equals_generalised_least_squares():
    """m = K·A(AᵀKA + r·AᵀA)⁻¹Aᵀy-like from dense matrices, with the levels projected out."""
    rng = np.random.default_rng(0)
    columns = Columns(DOMAIN, no_facts)
    kernels, points = Kernels(columns, 20), columns.known[1].at(np.arange(9))
    config, study = rng.integers(9, size=25), rng.integers(4, size=25)
    y = rng.normal(size=25) + 5.0 * study
    shape = MeanShape(kernels, Remembered(points, config, study, y, [{}] * 25))
    k = kernels.between(points, points, shape._kernel)[0]
    levels = np.eye(4)[study]
    project = np.eye(25) - levels @ np.linalg.pinv(levels)
    z = np.eye(9)[config]
    candidates = []
    for error in (0.1, 0.4, 1.5):
        inverse = np.linalg.pinv(project @ (z @ k @ z.T + error * np.eye(25)) @ project)
        candidates.append(k @ z.T @ inverse @ y)
    assert min(np.abs(shape.at(points) - m).max() for m in candidates) < 1e-6


# ── bad input ──


@pytest.mark.parametrize(
    ("estimate", "says"),
    [
        (lambda c: {"cost_usd": math.nan}, "estimate 'e' says that cost_usd .* is nan"),
        (lambda c: {"cost_usd": math.inf}, "estimate 'e' says that cost_usd .* is inf"),
    ],
)
def test_an_estimate_is_a_finite_number(estimate, says):
    with pytest.raises(UsageError, match=says):
        Joint(problem(estimates={"e": estimate})).ask()


def test_an_estimate_that_raises_is_a_bug_and_named():
    def broken(c):
        raise KeyError("nodes")

    with pytest.raises(KeyError) as raised:
        Joint(problem(estimates={"mine": broken})).ask()
    assert "raised by the estimate 'mine'" in raised.value.__notes__[0]


@pytest.mark.parametrize(
    "estimate", [lambda c: {"cost_usd": 7.0}, lambda c: {}, lambda c: {"other_usd": 1.0 * c["nodes"]}]
)
def test_an_estimate_that_says_nothing_changes_nothing(estimate):
    with_it, without = Joint(problem(estimates={"e": estimate})), Joint(problem())
    assert [o.candidate for o in drive(with_it, 6)] == [o.candidate for o in drive(without, 6)]


def test_facts_are_finite_numbers_or_labels():
    for bad, says in ((math.inf, "is inf of some candidate"), (math.nan, "is nan of some candidate")):
        with pytest.raises(UsageError, match=f"'speed' {says}"):
            Joint(problem(facts=lambda c, bad=bad: {"speed": bad if c["nodes"] == 4 else 1.0}))
    with pytest.raises(UsageError, match="'speed' is a text of some candidates and a number"):
        Joint(problem(facts=lambda c: {"speed": "fast" if c["nodes"] == 4 else 1.0}))
    with pytest.raises(UsageError, match="a price is a number ≥ 0"):
        Joint(problem(facts=lambda c: {"price_usd_per_h": -1.0 * c["nodes"]})).ask()


def test_facts_may_be_missing_or_all_equal_and_prices_nothing():
    columns = Columns(
        DOMAIN, lambda c: {"same": 1.0, "label": "x", **({"some": 1.0 * c["nodes"]} if c.arm == ("a",) else {})}
    )
    assert columns.facts == ("some",)
    assert not columns.known[1].active[-1, -1]
    free = {"facts": lambda c: {"price_usd_per_h": 0.0 if c.arm == ("a",) else 2.0 * c["nodes"]}}
    assert len(drive(Joint(problem(**free)), 5)) == 5


def test_a_history_of_other_metrics_or_units_is_refused_by_name():
    c = DOMAIN.candidates[0]
    other = Observation(
        Trial(0, c), Result(metrics={"runtime_s": 2.0}), SLOGoal("runtime_s").score(Result(metrics={"runtime_s": 2.0}))
    )
    with pytest.raises(UsageError, match=r"history 'old' has no cost_usd.*it has runtime_s"):
        Joint(problem(history={"old": History([other])}))
    with pytest.raises(UsageError, match="history 'old' has cost_usd in EUR, and this study in USD"):
        Joint(problem(history={"old": History([observe(c, 0)], units={"cost_usd": "EUR"})}))


# ── laws, with everything known at once ──


def everything():
    failing = Result(Status.FAILED, reason="out_of_memory")
    told = [observe(c, i, lambda c: 3 * truth(c)) for i, c in enumerate(DOMAIN.candidates[::2])]
    told.append(Observation(Trial(99, DOMAIN.candidates[1]), failing, GOAL.score(failing)))
    return problem(
        facts=facts,
        history={"w": History(told, facts)},
        estimates={"queue": lambda c: {"cost_usd": 1.0 + 1.0 / c["nodes"]}},
    )


def test_resume_is_exact_at_every_cut_point_with_all_that_is_known():
    whole = drive(Joint(everything()), 9)
    for cut in range(len(whole)):
        fresh = Joint(everything())
        fresh.tell(whole[:cut])
        assert fresh.ask() == [whole[cut].candidate]


def test_a_world_where_all_failed_so_far_looks_elsewhere():
    """Nothing has a value yet: what is unlike the failed comes first."""
    optimizer = Joint(problem())
    failed = Result(Status.FAILED, reason="out_of_memory")
    told = [Observation(Trial(i, c), failed, GOAL.score(failed)) for i, c in enumerate(DOMAIN.candidates[:8])]
    optimizer.tell(told)  # all of arm a
    assert optimizer.ask()[0].arm == ("b",)


def test_belief_is_a_distribution_and_sure_when_all_was_tried():
    optimizer = Joint(problem(facts=facts))
    assert isinstance(optimizer, Believer)
    assert optimizer.belief() is None
    drive(optimizer, 6)
    belief = optimizer.belief()
    assert sum(belief.p_best.values()) == pytest.approx(1.0)
    assert set(belief.p_best) == {"a", "b"}
    assert belief.expected_gain >= 0
    assert 0 <= belief.p_near <= 1
    drive(optimizer, 99)
    belief = optimizer.belief()
    assert (belief.p_near, belief.expected_gain) == (1.0, 0.0)
    assert belief.p_best["a"] == pytest.approx(1.0)
    values = np.array([truth(c) for c in belief.candidates])
    np.testing.assert_allclose(belief.mean, values, rtol=0.05)


def test_the_arms_of_a_bandit_share_one_model():
    """What an arm's optimizer asks depends on what the other arm showed."""
    asked = set()
    for slope in (1.0, -1.0):
        inner = Joint(replace(problem(), whole=None).within(DOMAIN.only("b"), 5))
        for i, c in enumerate(DOMAIN.only("a").candidates):
            inner.listen(observe(c, i, lambda c, slope=slope: 10.0 * c["nodes"] ** slope))
        asked.add(inner.ask()[0]["nodes"])
    assert asked == {1, 8}
    bandit = make_factory("cloudbandit:joint", 11)(problem())
    assert len(drive(bandit, 11)) == 11
    assert all(len(inner._model.told) == 11 for inner in bandit._inner.values())


def test_a_lucky_incumbent_is_measured_again_and_an_exact_one_never():
    rng = np.random.default_rng(0)

    def noisy(c, i):
        value = truth(c) * math.exp(0.4 * rng.normal())
        result = Result(metrics={"cost_usd": value}, stderr={"cost_usd": 0.4 * value})
        return Observation(Trial(i, c), result, GOAL.score(result))

    for of, repeated in ((noisy, True), (observe, False)):
        optimizer, told = Joint(problem()), []
        for i in range(16):
            told.append(of(optimizer.ask()[0], i))
            optimizer.tell(told[-1:])
        assert (len({o.candidate for o in told}) < len(told)) is repeated
        assert optimizer.repeats is repeated
