"""Published figures of LLM-Pilot, recomputed; the aggregate rebuilt from raw load tests; the evaluation protocol."""

import ast
import importlib.util
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cloudbandit.cli import app
from cloudbandit.core.errors import DatasetError
from cloudbandit.core.goal import SLO
from cloudbandit.recommend import llm_pilot, paper_offers
from cloudbandit.recommend.assess import baselines, published
from cloudbandit.recommend.assess.evaluation import (
    GRID,
    PAPER,
    Assessment,
    Graded,
    Setting,
    evaluate,
    from_samples,
    grade,
    so_score,
    static_policy,
    truths,
)
from cloudbandit.recommend.assess.nested import ENTRIES, Folds, coverage, few_shot_curve, nested
from cloudbandit.tables import registry

ROOT = Path(__file__).parent.parent
NTTFT, ITL = "nttft_p50_ms", "itl_p50_ms"


def _script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def truth():
    return truths(llm_pilot())


# ── scores ──


def test_the_score_is_a_harmonic_mean_of_success_and_thrift():
    def graded(success, over):
        return Graded("m", PAPER, success, over, False)

    s, o, so = so_score([graded(True, 0.0), graded(True, 0.5), graded(False, 9.0), graded(False, 0.0)])
    assert (s, o) == (50, 25)
    assert so == pytest.approx(2 * 0.5 * 0.75 / 1.25)
    assert so_score([graded(True, 3.0)])[2] == 0
    assert math.isnan(so_score([graded(False, 0.0)])[1])
    summary = Assessment([graded(True, 0.25), graded(False, 0.0), graded(True, 7.0)])
    assert summary.util == pytest.approx(0.25)


def test_the_truth_itself_scores_one(truth):
    samples = {t.model: t.metrics for t in truth}
    for rule in (0.5, "utility"):
        summary = evaluate(truth, GRID, from_samples(samples, rule))
        assert len(summary.graded) == len(GRID) * len(truth) == 1080
        assert summary.util == pytest.approx(1)
        assert summary.so_mean == pytest.approx(1)


def test_a_truth_that_nothing_meets_is_not_asked(truth):
    assert grade(truth[0], Setting(1e-6, 1e-6, 10), None) is None


def test_failures_change_the_oracle_of_one_model(truth):
    aware = {t.model: t for t in truths(llm_pilot(), failure_aware=True)}
    careless = {t.model: t for t in truth}
    one = static_policy("1 x A100", 4)
    assert grade(careless["llama-13b"], PAPER, one(careless["llama-13b"], PAPER)).optimal
    assert not grade(aware["llama-13b"], PAPER, one(aware["llama-13b"], PAPER)).success


@pytest.mark.dataset("llm-pilot/scores")
def test_published_scores_are_recomputed_from_published_predictions(truth):
    expected = pd.read_csv(registry.dataset_path("llm-pilot/scores"), index_col=0)
    for method in published.PUBLISHED:
        found = so_score(evaluate(truth, [PAPER], published.decider(method, truth)).graded)
        assert found == pytest.approx(tuple(expected.loc[method]), abs=1e-6), method
    for name, score in (("LLM-Pilot", 0.8007), ("PARIS", 0.6159), ("Morphling", 0.1667)):
        assert expected.loc[name, "so_score"] == pytest.approx(score, abs=5e-5)


@pytest.mark.dataset("llm-pilot/scores")
def test_every_static_policy_scores_as_published(truth):
    expected = pd.read_csv(registry.dataset_path("llm-pilot/static-scores"))
    assert len(expected) == 210
    for row in expected.itertuples():
        policy = ast.literal_eval(row.policy)
        found = so_score(evaluate(truth, [PAPER], static_policy(policy["gpu"], policy["n"])).graded)
        assert found == pytest.approx((row.success_rate, row.overspend, row.so_score), abs=1e-6, nan_ok=True), policy


@pytest.mark.dataset("llm-pilot/scores")
def test_prices_and_the_bundled_selection_are_the_published_ones():
    prices = pd.read_csv(registry.dataset_path("llm-pilot/prices")).set_index("GPU")["price"]
    assert {o.name: o.usd_per_h for o in paper_offers()} == pytest.approx(dict(prices))
    whole = pd.read_csv(registry.dataset_path("llm-pilot/aggregate")).set_index(["model", "gpu", "num_users"])
    mine = pd.read_csv(registry.bundled() / "llm-pilot" / "loads.csv").set_index(["model", "profile", "users"])
    for ours, theirs in (
        ("nttft_p95_ms", "nttft_ms_per_tok_p95"),
        ("e2e_p99_ms", "e2e_ms_p99"),
        ("failure_rate", "failure_rate"),
    ):
        assert np.allclose(mine[ours], whole.loc[mine.index, theirs], rtol=1e-5, atol=1e-6, equal_nan=True)
    features = pd.read_csv(registry.dataset_path("llm-pilot/llm-features")).set_index("model")
    for name, spec in llm_pilot().models.items():
        assert spec.parameters / 1e9 == pytest.approx(features.loc[name, "model_n_parameters"], rel=0.06)
        assert spec.flash == features.loc[name, "model_is_flash_attention"]
        assert spec.vocab == features.loc[name, "model_vocabulary_size"]


def test_predictions_that_are_nowhere_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    monkeypatch.setattr(registry, "_cache", lambda: tmp_path / "cache")
    with pytest.raises(
        DatasetError, match=r"expected_predictions_RF\.csv .*from the artifact IBM/LLM-performance-prediction"
    ):
        registry.dataset_path("llm-pilot/predictions-RF")


@pytest.mark.slow
@pytest.mark.dataset("llm-pilot/scores")
def test_the_aggregate_is_rebuilt_from_raw_load_tests():
    script = _script("prepare_llmpilot")
    folder = Path(os.environ[registry.VARIABLE]) / "llmpilot"
    files = sorted((folder / "raw-sample").glob("*.csv.gz"))
    assert len(files) == 32
    usd = script.prices(folder / "prices.csv")
    rebuilt = pd.DataFrame([script.aggregate(pd.read_csv(f), usd) for f in files])
    expected = pd.read_csv(folder / "aggregate.csv")
    assert set(rebuilt.columns) == set(expected.columns)
    keys = ["model", "gpu", "num_users"]
    rebuilt = rebuilt.set_index(keys)
    expected = expected.set_index(keys).loc[rebuilt.index]
    for column in expected.columns:
        if pd.api.types.is_numeric_dtype(expected[column]):
            assert np.allclose(rebuilt[column], expected[column], rtol=1e-6, atol=6e-5), column
        else:
            assert (rebuilt[column] == expected[column]).all(), column


# ── the nested protocol, in small ──


@pytest.mark.slow
def test_nested_choice_never_sees_the_held_out_model():
    """Scrambling a model's measurements changes nothing of what is believed of it."""
    tests = llm_pilot()
    few = type(tests)(
        [t for t in tests.tests if t.model in ("llama-7b", "llama-13b", "bigcode/starcoder")], tests.models
    )
    held = "llama-13b"
    scrambled = type(tests)(
        [
            type(t)(
                t.model, t.profile, t.users, {m: v * (9.0 if t.model == held else 1.0) for m, v in t.metrics.items()}
            )
            for t in few.tests
        ],
        tests.models,
    )
    beliefs = []
    for some in (few, scrambled):
        folds = Folds(some, size=32)
        mine = next(t for t in truths(some) if t.model == held)
        result = nested(folds, truths(some), GRID[::9], ENTRIES[:4])
        beliefs.append((folds.beliefs("boosted", mine, ITL).mean, result.chosen[held], result.inner_util[held]))
    assert np.array_equal(beliefs[0][0], beliefs[1][0])
    assert beliefs[0][1:] == beliefs[1][1:]


@pytest.mark.slow
def test_few_shot_measuring_helps_and_ends_at_the_truth():
    tests = llm_pilot()
    few = type(tests)(
        [t for t in tests.tests if t.model in ("llama-7b", "ibm/mpt-7b-instruct2", "bigcode/starcoder")], tests.models
    )
    truth = truths(few)
    folds = Folds(few, size=64)
    chosen = {t.model: ("extra-trees", "utility") for t in truth}
    steps = few_shot_curve(folds, truth, chosen, GRID[::6], steps=10)
    utils = [s.util for s in steps]
    assert utils[3] > utils[0]
    assert utils[-1] == pytest.approx(1)
    assert set(coverage(folds, truth, chosen, ITL)) == {t.model for t in truth}


@pytest.mark.slow
def test_baselines_predict_every_curve_and_two_shot_ones_know_their_references(truth):
    tests = llm_pilot()
    some = [t for t in truth if t.model in ("llama-7b", "google/flan-t5-xl")]
    found = baselines.predictions("Selecta", tests, some)
    for t in some:
        for metric in (NTTFT, ITL):
            assert np.isfinite(found[t.model][metric]).all()
        where = [o.name for o in t.offers].index("4 x H100")
        assert np.array_equal(found[t.model][ITL][0, where], t.metrics[ITL][0, where])


def test_settings_are_the_grid_of_the_study():
    assert len(GRID) == 108
    assert PAPER in GRID
    assert PAPER.slos == (SLO(NTTFT, 100), SLO(ITL, 50))


@pytest.mark.slow
@pytest.mark.dataset("llm-pilot/scores")
def test_the_command_line_evaluates_by_the_papers_protocol(monkeypatch):
    # two entries, chosen at one setting: the whole list on the grid takes minutes
    monkeypatch.setattr(
        "cloudbandit.recommend.assess.nested.nested", lambda folds, truth: nested(folds, truth, (PAPER,), ENTRIES[:2])
    )
    result = CliRunner().invoke(app, ["evaluate-recommender", "--protocol", "paper", "--json"])
    assert result.exit_code == 0, result.output
    rows = {r["method"]: r for r in json.loads(result.stdout)["rows"]}
    assert rows["LLM-Pilot (published)"]["so_score"] == pytest.approx(0.8007, abs=1e-4)
    assert 0 <= rows["nested choice"]["so_score"] <= 1
    low, high = rows["nested choice"]["so_ci95"]
    assert low <= rows["nested choice"]["so_score"] <= high
    assert CliRunner().invoke(app, ["evaluate-recommender", "--protocol", "all"]).exit_code != 0
