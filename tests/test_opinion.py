"""A second opinion on the time per token: what is learnt of it, how far it moves the formula, and the package that gives it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit.catalogue.gpus import find_gpu
from cloudbandit.surrogate import sources
from cloudbandit.surrogate.deployment import Deployment
from cloudbandit.surrogate.opinion import Opinion, Trust, learn_opinion
from cloudbandit.surrogate.serving import Serving, bundled_serving
from cloudbandit.surrogate.sources import serving_at_hand, what_was_asked
from cloudbandit.surrogate.training import measured_models, training_points

FAMILIES = np.repeat(["a", "b", "c", "d"], 50)
LLAMA = measured_models()[0]["Llama-3.1-70B"]
D = Deployment(LLAMA, find_gpu("H100"), 4, "vllm", "fp8", 1024.0, 256.0)


def noise(seed, sd):
    return np.random.default_rng(seed).normal(0.0, sd, len(FAMILIES))


def test_an_opinion_that_is_right_but_for_its_offset_is_taken_and_one_that_knows_nothing_is_not():
    wrong = 0.2 * np.repeat([1.0, -1.0, 1.0, -1.0], 50)  # of the formula, family by family
    right = learn_opinion(wrong, 0.5 + noise(0, 0.01), FAMILIES, ["vllm"] * 200).trust("vllm")
    assert right.offset == pytest.approx(0.5, abs=0.01)
    assert right.weight == pytest.approx(1.0, abs=0.02)
    assert right.share < 0.2
    good = noise(1, 0.05)
    useless = learn_opinion(good, noise(2, 1.0), FAMILIES, ["vllm"] * 200).trust("vllm")
    assert useless.weight < 0.1
    assert useless.share == pytest.approx(1.0, abs=0.05)
    assert learn_opinion(good[:100], good[:100], FAMILIES[:100], ["vllm"] * 100) is None  # two families are too few


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-1, 1), st.floats(0, 1))
def test_the_answer_lies_between_formula_and_estimate_and_moves_no_further_than_it_may(
    formula, estimate, offset, weight
):
    opinion = Opinion({"*": Trust(offset, weight, 0.3, 0.8)})
    (moved,), (share,) = opinion.moved(np.array([formula]), np.array([estimate]), ["mine"])
    low, high = sorted((formula, estimate + offset))
    assert low - 1e-9 <= moved <= high + 1e-9
    assert abs(moved - formula) <= 0.3 + 1e-9
    assert share == 0.8
    assert opinion.moved(np.array([formula]), np.array([np.nan]), ["mine"]) == (np.array([formula]), np.array([1.0]))
    assert Opinion.from_dict(opinion.to_dict()).moved(np.array([0.0]), np.array([0.1]), ["x"])[0] == pytest.approx(
        opinion.moved(np.array([0.0]), np.array([0.1]), ["x"])[0], abs=1e-3
    )


@given(st.lists(st.integers(1, 500), min_size=2, max_size=5, unique=True), st.floats(0.1, 100))
@settings(max_examples=20)
def test_more_users_never_make_a_moved_time_shorter_where_both_sources_agree_on_that(users, scale):
    """Estimates that grow with users, however far off."""
    serving = replace(bundled_serving(), estimates=lambda rows: np.log([[scale * (1 + u / 100), 1.0] for _, u in rows]))
    found = serving.predict([(D, float(u)) for u in sorted(users)])
    times = [f["tpot_p50_ms"].median for f in found]
    assert times == sorted(times)


def test_only_the_time_per_token_is_moved_and_a_measurement_corrects_what_was_moved():
    plain = bundled_serving()
    moved = replace(plain, estimates=lambda rows: np.full((len(rows), 2), math.log(1000.0)))
    before, after = (s.predict([(D, 8.0)])[0] for s in (plain, moved))
    weight = plain.opinion.trust("vllm").weight
    assert after["tpot_p50_ms"].median == pytest.approx(before["tpot_p50_ms"].median * math.exp(0.3 * weight))
    assert after["ttft_p50_ms"] == before["ttft_p50_ms"]
    width = [e["tpot_p50_ms"].high / e["tpot_p50_ms"].low for e in (before, after)]
    assert width[1] < width[0]


def test_without_the_package_the_answer_is_the_formulas_and_says_so(monkeypatch):
    monkeypatch.setattr(sources, "installed", lambda: False)
    serving_at_hand.cache_clear()
    assert serving_at_hand() == bundled_serving()
    assert "pip install 'cloudbandit[aiconfigurator]'" in what_was_asked(serving_at_hand(), [(D, 1.0)])
    serving_at_hand.cache_clear()
    silent = replace(bundled_serving(), estimates=lambda rows: np.full((len(rows), 2), np.nan))
    assert "no estimate of this" in what_was_asked(silent, [(D, 1.0)])
    assert silent.predict([(D, 8.0)]) == bundled_serving().predict([(D, 8.0)])
    half = replace(bundled_serving(), estimates=lambda rows: np.array([[np.nan, np.nan], [1.0, 1.0]]))
    assert "1 of 2 loads" in what_was_asked(half, [(D, 1.0), (D, 2.0)])
    assert isinstance(half, Serving)


@pytest.mark.slow
def test_the_package_estimates_as_written_beside_the_points():
    """Each in a process that estimated other models before: its cache does not mix them up."""
    pytest.importorskip("aiconfigurator_core", reason="x86-64 Linux only")
    from cloudbandit.surrogate.silicon import silicon_times

    points = training_points()
    some = [i for i, (d, _) in enumerate(points.rows) if d.gpu.part.startswith("H100") and d.engine != "sglang"][::80]
    found = np.log(silicon_times([points.rows[i] for i in some]))
    assert np.allclose(found, points.estimates[some], atol=1e-3, equal_nan=True)
    t4 = replace(D, gpu=find_gpu("T4"))
    assert np.isnan(silicon_times([(t4, 1.0), (replace(D, engine="mine"), 1.0)])).all()
