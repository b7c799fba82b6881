"""The rank-one updates against the textbook's closed form, computed from scratch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit.optimizers import gaussian_process
from cloudbandit.optimizers.gaussian_process import _JITTER, LENGTH_SCALES, CandidateGP, relevance_scales


def matern(a, b, scale):
    r = np.sqrt(5.0 * ((a[:, None] - b[None]) ** 2).sum(-1)) / scale
    return (1 + r + r * r / 3) * np.exp(-r)


def closed_form(features, observed, y, scale, noise=0.0):
    """Universal kriging with a constant mean (Rasmussen & Williams, eqs. 2.41, 2.42), from dense matrices."""
    x = features[observed]
    k = matern(x, x, scale) + (_JITTER + noise) * np.eye(len(x))
    cross = matern(x, features, scale)
    one = np.ones(len(x))
    inverse = np.linalg.inv(k)
    precision = one @ inverse @ one
    mean = one @ inverse @ y / precision
    prediction = mean + cross.T @ inverse @ (y - mean)
    gap = 1 - one @ inverse @ cross
    unexplained = 1 - np.einsum("ij,ik,kj->j", cross, inverse, cross) + gap**2 / precision
    fit = (y - mean) @ inverse @ (y - mean)
    evidence = -0.5 * np.linalg.slogdet(k)[1] - 0.5 * np.log(precision)
    shape = 1 + 0.5 * (len(x) - 1)
    return prediction, unexplained * (1 + 0.5 * fit) / (shape + 1), evidence - shape * np.log(1 + 0.5 * fit)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 24), st.booleans())
def test_updates_equal_the_closed_form(seed, n, noisy):
    """Without noise, and with noise of its own for each observation, where candidates repeat."""
    rng = np.random.default_rng(seed)
    features = rng.random((40, 3))
    observed = rng.choice(40 if not noisy else 6, n, replace=noisy)
    noise = rng.uniform(0.01, 2.0, n) if noisy else np.zeros(n)
    y = rng.normal(size=n)
    y = (y - y.mean()) / y.std()
    model = CandidateGP(features, capacity=4)
    for i, share in zip(observed, noise, strict=True):
        model.add(int(i), float(share))
    p = model.posterior(y)
    evidence = []
    for s, scale in enumerate(LENGTH_SCALES):
        mean, variance, log_evidence = closed_form(features, observed, y, scale, noise)
        np.testing.assert_allclose(p.mean[s], mean, atol=1e-5)
        np.testing.assert_allclose(p.sd[s] ** 2, np.maximum(variance, 0), atol=1e-5)
        evidence.append(log_evidence)
    weight = np.exp(np.array(evidence) - max(evidence))
    np.testing.assert_allclose(p.weight, weight / weight.sum(), atol=1e-5)


def test_a_length_scale_per_group_is_a_scaled_column():
    rng = np.random.default_rng(2)
    features, y = rng.random((20, 4)), rng.normal(size=6)
    scales = relevance_scales(3, 20)
    grouped = CandidateGP(features, scales, np.array([0, 1, 1, 2]))
    for i in range(6):
        grouped.add(i)
    p = grouped.posterior(y)
    assert len(p.weight) == len(scales) > len(LENGTH_SCALES)
    for s in (0, len(LENGTH_SCALES), len(scales) - 1):
        single = CandidateGP(features / scales[s][[0, 1, 1, 2]], (1.0,))
        for i in range(6):
            single.add(i)
        np.testing.assert_allclose(p.mean[s], single.posterior(y).mean[0], atol=1e-6)
        np.testing.assert_allclose(p.sd[s], single.posterior(y).sd[0], atol=1e-6)


def test_relevance_is_seen_in_the_weights():
    """Of two columns only the first matters: scales that are short on it and long on the other explain the targets better."""
    rng = np.random.default_rng(3)
    features = rng.random((60, 2))
    model = CandidateGP(features, ((0.3, 10.0), (10.0, 0.3), (0.3, 0.3)), np.array([0, 1]))
    for i in range(25):
        model.add(i)
    weight = model.posterior(np.sin(6 * features[:25, 0])).weight
    assert weight[0] > 0.9


def test_repeats_make_a_model_sure_of_what_it_has_not_seen_unless_plateaus_are_allowed_for():
    features = np.array([[0.0], [5.0], [10.0], [15.0]])  # far apart: each is news

    def ratio(observed):
        models = [CandidateGP(features, (0.3,), plateaus=plateaus) for plateaus in (False, True)]
        for model, i in itertools.product(models, observed):
            model.add(i)
        y = np.array([0.0, 1.0, 0.5])[observed]
        counted, allowed = (model.posterior(y).sd[0, 3] for model in models)
        return allowed / counted

    assert ratio([0, 1, 2]) == pytest.approx(1.0, abs=1e-3)
    assert ratio([0, 1] + [2] * 12) > 1.5


def test_pop_undoes_add():
    rng = np.random.default_rng(0)
    features, y = rng.random((20, 2)), rng.normal(size=3)
    model = CandidateGP(features, capacity=2)
    for i in (3, 7, 11):
        model.add(i)
    before = model.posterior(y)
    for i in (1, 2):
        model.add(i, 0.5)
    model.pop()
    model.pop()
    assert model.noise == [0.0] * 3
    for a, b in zip(before, model.posterior(y), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_one_observation_and_repeats_are_fine():
    model = CandidateGP(np.array([[0.0], [0.5], [1.0]]))
    model.add(0)
    p = model.posterior(np.array([2.0]))
    assert np.isfinite(p.mean).all()
    for _ in range(3):
        model.add(0)
    p = model.posterior(np.array([2.0, 2.1, 1.9, 2.0]))
    assert np.isfinite(p.mean).all()
    assert p.mean[:, 0] == pytest.approx(2.0, abs=0.05)


def test_a_noisy_trial_is_believed_less_and_repeats_of_it_more():
    features = np.array([[0.0], [5.0], [10.0]])
    y = [1.0, 0.0, 0.5]

    def expected(*noise):
        model = CandidateGP(features, (0.5,))
        targets = [*y, *[y[0]] * (len(noise) - 3)]
        for i, share in zip([0, 1, 2, *[0] * (len(noise) - 3)], noise, strict=True):
            model.add(i, share)
        return model.posterior(np.array(targets)).expected()[0]

    assert expected(0.0, 0.0, 0.0) == pytest.approx(1.0, abs=1e-3)
    assert expected(1.0, 0.0, 0.0) < expected(1.0, 0.0, 0.0, 1.0, 1.0) < 0.99


@pytest.mark.parametrize("plateaus", [False, True])
def test_noise_of_nothing_is_no_noise_to_the_last_digit(plateaus):
    rng = np.random.default_rng(4)
    features, y = rng.random((20, 2)), rng.normal(size=5)
    models = [CandidateGP(features, plateaus=plateaus) for _ in range(2)]
    for i in range(5):
        models[0].add(i)
        models[1].add(i, 0.0)
    for a, b in zip(*(model.posterior(y) for model in models), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_large_listing_is_modelled_in_single_precision_and_believes_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    features, targets = rng.random((300, 4)), rng.normal(size=40)
    scales = np.exp(rng.uniform(-1, 1, (6, 2)))

    def posterior():
        model = CandidateGP(features, scales, np.array([0, 0, 1, 1]))
        for i in range(40):
            model.add(i, 0.01 * (i % 2))
        model.add(50)
        model.pop()
        return model.posterior(targets)

    exact = posterior()
    monkeypatch.setattr(gaussian_process, "_LARGE", 100)
    quick = posterior()
    assert quick.mean.dtype == np.float32
    assert len(quick.weight) <= len(exact.weight)
    np.testing.assert_allclose(quick.expected(), exact.expected(), atol=0.01)
    np.testing.assert_allclose(quick.weight @ quick.sd, exact.weight @ exact.sd, rtol=0.02)
