"""Percentiles and gaps between tokens by their ratio to a median: in order, learnt from groups alike, and said to be so."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit.catalogue.gpus import find_gpu
from cloudbandit.core.errors import UsageError
from cloudbandit.surrogate.deployment import Deployment
from cloudbandit.surrogate.question import predict
from cloudbandit.surrogate.ratios import NAMES, learn_ratios
from cloudbandit.surrogate.serving import bundled_serving
from cloudbandit.surrogate.training import measured_models

SPEC = measured_models()[0]["Llama-3.1-8B-Instruct"]

deployments = st.builds(
    Deployment,
    model=st.just(SPEC),
    gpu=st.sampled_from([find_gpu("H100"), find_gpu("MI300X")]),
    gpus=st.sampled_from([1, 4]),
    engine=st.sampled_from(["vllm", "another"]),
    precision=st.sampled_from(["bf16", "fp8"]),
    input_tokens=st.floats(16, 20_000),
    output_tokens=st.floats(2, 4_000),
)


@given(deployments, st.integers(1, 300), st.sampled_from(["ttft", "tpot", "e2e", "itl", "nttft"]))
@settings(max_examples=40)
def test_percentiles_are_in_order_and_never_fall_with_users(d, users, time):
    if d.capacity < 1:
        return
    names = [n for n in (f"{time}_p50_ms", *NAMES) if n.startswith(f"{time}_")]
    few, more = (bundled_serving().metric_draws([(d, float(u))], names) for u in (users, users + 7))
    for k in (0, 1):  # medians, and draws
        for low, high in itertools.pairwise(few[n][k] for n in names):
            assert (low <= high * (1 + 1e-9)).all()
    for n in names:
        assert (few[n][0] <= more[n][0] * (1 + 1e-9)).all()


def test_a_ratio_is_learnt_from_groups_that_count_alike():
    """Two groups of quite different size with constant ratios 2 and 8: in the middle lies 4, and each misses the other by 4."""
    users = np.array([4.0] * 90 + [4.0] * 10)
    logs = np.log([2.0] * 90 + [8.0] * 10)
    learnt = learn_ratios(users, {"ttft_p95_ms": logs}, ["large"] * 90 + ["small"] * 10)
    r = learnt.known["ttft_p95_ms"]
    assert np.exp(r.level + r.slope * np.log(4.0)) == pytest.approx(4.0)
    assert set(np.round(np.exp(r.errors), 6)) == {0.25, 4.0}
    middle, drawn = learnt.draws("ttft_p95_ms", 4.0, np.full(10, 3.0))
    assert sorted(set(np.round(drawn, 6))) == [
        3.0,
        48.0,
    ]  # 3 × max(1, 4/4), 3 × 16 × … : no percentile below the median
    assert middle >= 1


def test_a_metric_that_nothing_predicts_is_refused_and_one_by_ratio_says_so():
    with pytest.raises(UsageError, match=r"itl_mean_ms.*known: .*itl_p95_ms"):
        predict(SPEC, "H100", serving=bundled_serving(), metrics=["itl_mean_ms"])
    with pytest.raises(UsageError, match="failure_rate"):
        predict(SPEC, "H100", serving=bundled_serving(), metrics=["failure_rate"])
    found = predict(SPEC, "H100", serving=bundled_serving(), users=(8,), metrics=["itl_p95_ms", "tpot_ms"])
    assert list(found.ratios) == ["itl_p95_ms"]
    (row,) = found.to_dict()["rows"]
    assert "from its learned ratio to the median tpot_p50_ms" in row["sources"]["itl_p95_ms"]
    assert row["metrics"]["itl_p95_ms"]["high"] > row["metrics"]["tpot_p50_ms"]["high"]
