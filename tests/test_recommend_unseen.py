"""The recommender where it has to predict: laws of the surrogate, few-shot measuring, the command line."""

import json
import math

import numpy as np
import pytest
import scipy.optimize
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal
from typer.testing import CliRunner

from cloudbandit import Budget, Store, Study
from cloudbandit.cli import app
from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.core.fleet import FleetGoal
from cloudbandit.recommend import LoadTest, LoadTests, Recommender, RequestLengths, llm_pilot, paper_offers
from cloudbandit.recommend.assess.baselines import complete
from cloudbandit.recommend.study import RecordedSweeps, few_shot_factory
from cloudbandit.surrogate.loads import LOADS
from cloudbandit.surrogate.means import LatencyGP, components, isotonic, training_set
from cloudbandit.surrogate.model import Surrogate
from cloudbandit.surrogate.physics import FEATURES, GROWING, features
from cloudbandit.surrogate.residuals import Belief, Covariance, condition, fit_covariance, grid

PAPER = ["nttft_ms<=100", "itl_ms<=50"]
PROFILES = [o.profile for o in paper_offers()]


# ── parts, against closed forms ──


def test_isotonic_is_monotone_and_leaves_the_monotone_alone():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 8))
    out = isotonic(values)
    assert (np.diff(out, axis=-1) >= 0).all()
    assert np.array_equal(isotonic(out), out)


def test_features_grow_with_users_where_they_say_so():
    tests = llm_pilot()
    for model in tests.models.values():
        for profile in PROFILES:
            x = features(model, profile, LOADS, tests.workload)
            assert x.shape == (len(LOADS), len(FEATURES))
            assert np.isfinite(x).all()
            assert (np.diff(x[:, :GROWING], axis=0) >= 0).all()
            assert (np.diff(x[:, GROWING:], axis=0) == 0).all()


THETA = np.log([0.3, 0.2, 0.15, 0.25, 0.2, 0.1, 1.0, 2.0])


def test_conditioning_is_that_of_a_joint_normal():
    points = grid(PROFILES[:2], (1, 4, 16))
    covariance = Covariance(THETA)
    k = covariance.between(points, points) + covariance.noise * np.eye(6)
    prior, known, values = np.arange(6.0), np.array([1, 4]), np.array([1.7, 3.2])
    belief = condition(prior, covariance, points, known, values)
    rest = np.array([0, 2, 3, 5])
    solved = np.linalg.solve(k[np.ix_(known, known)] + 1e-4 * np.eye(2), np.eye(2))
    mean = prior[rest] + k[np.ix_(rest, known)] @ solved @ (values - prior[known])
    left = k[np.ix_(rest, rest)] - k[np.ix_(rest, known)] @ solved @ k[np.ix_(known, rest)]
    assert belief.mean[rest] == pytest.approx(mean)
    assert belief.covariance[np.ix_(rest, rest)] == pytest.approx(left)
    assert belief.mean[known] == pytest.approx(values, abs=0.01)
    assert np.diag(belief.covariance)[known] == pytest.approx(1e-4, rel=0.1)


def test_samples_have_the_belief_as_moments():
    belief = Belief(np.array([1.0, -1.0]), np.array([[2.0, 0.5], [0.5, 1.0]]))
    drawn = belief.samples(np.random.default_rng(0).standard_normal((200_000, 2)))
    assert drawn.mean(0) == pytest.approx(belief.mean, abs=0.02)
    assert np.cov(drawn.T) == pytest.approx(belief.covariance, abs=0.03)


def _caught(monkeypatch):
    """The loss that is minimised, with its gradient."""
    seen = []
    original = scipy.optimize.minimize

    def spy(loss, start, **options):
        seen.append((loss, start))
        return original(loss, start, **options)

    monkeypatch.setattr(scipy.optimize, "minimize", spy)
    return seen


def test_the_covariance_is_fitted_by_marginal_likelihood(monkeypatch):
    seen = _caught(monkeypatch)
    rng = np.random.default_rng(1)
    points = grid(PROFILES[:5], LOADS)
    true = Covariance(THETA)
    root = np.linalg.cholesky(true.between(points, points) + true.noise * np.eye(40))
    blocks = [(points, root @ rng.standard_normal(40)) for _ in range(12)]
    found = fit_covariance(blocks)
    loss, start = seen[0]
    k = true.between(points, points) + (true.noise + 1e-6) * np.eye(40)
    exact = -sum(multivariate_normal(np.zeros(40), k).logpdf(r) for _, r in blocks) - 12 * 20 * math.log(2 * math.pi)
    pull = THETA - start
    assert loss(THETA)[0] == pytest.approx(exact + 0.5 * pull @ pull)
    assert loss(THETA)[1] == pytest.approx(approx_fprime(THETA, lambda t: loss(t)[0], 1e-6), abs=0.02)
    total = np.exp(2 * found.theta[:6]).sum()
    assert total == pytest.approx(np.exp(2 * THETA[:6]).sum(), rel=0.5)


def _training(n=40):
    tests = [t for t in llm_pilot().tests if t.model in ("llama-7b", "llama-13b") and "itl_p50_ms" in t.metrics][::3][
        :n
    ]
    models = llm_pilot().models
    x = np.stack([features(models[t.model], t.profile, [t.users], llm_pilot().workload)[0] for t in tests])
    y = np.log([[t.metrics["itl_p50_ms"]] for t in tests])
    return training_set(x, y, [t.model for t in tests], [(t.model, t.profile.key) for t in tests], [True])


def test_the_gaussian_process_has_the_right_gradient_and_takes_hyperparameters_over(monkeypatch):
    seen = _caught(monkeypatch)
    training = _training()
    one = LatencyGP(training)
    loss, start = seen[0]
    at = start + 0.1
    assert loss(at)[1] == pytest.approx(approx_fprime(at, lambda t: loss(t)[0], 1e-6), abs=0.02)
    again = LatencyGP(training, one.thetas)
    assert len(seen) == 1
    assert again(training.x) == pytest.approx(one(training.x))


def test_matrix_completion_recovers_additive_effects():
    rng = np.random.default_rng(0)
    table = 3 + rng.normal(size=(8, 1)) + rng.normal(size=(1, 6))
    holes = table.copy()
    holes[rng.random(table.shape) < 0.2] = np.nan
    filled = complete(holes, 1, 1e-3, steps=200)
    assert np.abs(filled - table)[np.isfinite(holes)].max() < 0.05
    guess = np.nanmean(holes)
    assert np.abs(filled - table)[np.isnan(holes)].mean() < 0.5 * np.abs(guess - table)[np.isnan(holes)].mean()


def test_unknown_surrogates_list_the_known():
    with pytest.raises(UnknownNameError, match="boosted, extra-trees, gp"):
        components("boosted+magic")


def test_one_model_alone_is_not_enough_to_learn_from():
    tests = llm_pilot()
    alone = LoadTests(tests.of("llama-7b"), tests.models)
    with pytest.raises(UsageError, match="can be predicted from two or more"):
        Surrogate(alone, "extra-trees").fit(["itl_p50_ms"])


# ── trained ──


@pytest.fixture(scope="module")
def recommender():
    return Recommender(
        mean="boosted+extra-trees", engine="tgis"
    )  # the Gaussian process has tests of its own; this one is quick


@pytest.mark.slow
def test_samples_obey_the_order_of_loads_and_percentiles(recommender):
    surrogate = recommender.surrogate("llama-13b")
    model = recommender.tests.models["llama-13b"]
    metrics = ["itl_p50_ms", "itl_p90_ms", "itl_p99_ms", "failure_rate_excess"]
    drawn = surrogate.samples(model, PROFILES, LOADS, metrics, size=64)
    for name in metrics:
        assert (np.diff(drawn[name], axis=-1) >= 0).all(), name
    assert (drawn["itl_p50_ms"] <= drawn["itl_p90_ms"]).all()
    assert (drawn["itl_p90_ms"] <= drawn["itl_p99_ms"]).all()
    assert ((drawn["failure_rate_excess"] >= 0) & (drawn["failure_rate_excess"] <= 1)).all()
    again = Surrogate(recommender.tests.without("llama-13b"), "boosted+extra-trees").samples(
        model, PROFILES, LOADS, metrics[:1], size=64
    )
    assert np.array_equal(
        again["itl_p50_ms"], drawn["itl_p50_ms"]
    )  # a seed determines everything, whatever was fitted before


@pytest.mark.slow
def test_unseen_forgets_every_row_and_says_predicted(recommender):
    answer = recommender.recommend("llama-13b", None, PAPER, 200, unseen=True)
    assert {r.source for r in answer.ranking} == {"predicted"}
    assert all(0 <= r.p_meets_slo <= 1 for r in answer.ranking)
    assert all(r.p_meets_slo >= 0.5 for r in answer.ranking)
    poisoned = LoadTests(
        [
            LoadTest(t.model, t.profile, t.users, {k: 7.0 * v for k, v in t.metrics.items()})
            if t.model == "llama-13b"
            else t
            for t in recommender.tests.tests
        ],
        recommender.tests.models,
    )
    same = Recommender(poisoned, mean=recommender.mean).recommend("llama-13b", None, PAPER, 200, unseen=True)
    assert same.to_dict() == answer.to_dict()


@pytest.mark.slow
def test_another_slo_trains_nothing(recommender):
    recommender.recommend("llama-13b", None, PAPER, 200, unseen=True)
    fits = []
    surrogate = recommender.surrogate("llama-13b")
    surrogate._fitter._progress = fits.append
    recommender.recommend("llama-13b", None, ["nttft_ms<=20", "itl_ms<=30"], 1000, unseen=True, risk="utility")
    assert not fits
    recommender.recommend("llama-13b", None, ["itl_p95_ms<=30"], 1000, unseen=True)
    assert fits


@pytest.mark.slow
def test_the_risk_knob_sorts_and_is_cautious(recommender):
    def ask(risk):
        return recommender.recommend("google/flan-t5-xxl", None, PAPER, 200, unseen=True, risk=risk)

    bold, median, careful = ask(0.2), ask("median"), ask(0.9)
    for answer, p in ((bold, 0.2), (median, 0.5), (careful, 0.9)):
        costs = [r.usd_per_h for r in answer.ranking]
        assert costs == sorted(costs)
        assert all(r.p_meets_slo >= p for r in answer.ranking)
    assert bold.best.usd_per_h <= median.best.usd_per_h <= careful.best.usd_per_h
    assert ask("utility").expected_regret <= min(a.expected_regret for a in (bold, median, careful)) + 1e-9


@pytest.mark.slow
def test_a_measurement_is_taken_as_it_is_and_changes_its_neighbours(recommender):
    advisor = recommender.advise("llama-13b", None, PAPER, 200, unseen=True)
    before = advisor.regret_left
    wanted = advisor.next_measurement()
    assert wanted.loads == LOADS
    assert 0 < wanted.regret_left == before
    rows = [t for t in recommender.tests.of("llama-13b") if t.profile.key == wanted.profile.key]
    near = next(p for p in PROFILES if p.gpu == wanted.profile.gpu and p.gpus != wanted.profile.gpus)
    prior = advisor.band(near, "itl_p50_ms")[1]
    advisor.update(rows)
    known = advisor.beliefs.known("itl_p50_ms")[[p.key for p in advisor.profiles].index(wanted.profile.key)]
    assert known.tolist() == [t.metrics["itl_p50_ms"] for t in rows]
    assert not np.allclose(advisor.band(near, "itl_p50_ms")[1], prior)
    assert advisor.next_measurement() is None or advisor.next_measurement().profile.key != wanted.profile.key
    point = recommender.advise("llama-13b", None, PAPER, 200, unseen=True).next_measurement("point")
    assert len(point.loads) == 1
    assert {r.source for r in advisor.recommend().ranking} <= {"measured", "predicted"}


@pytest.mark.slow
def test_a_measured_ttft_is_evidence_at_face_value_and_errs_on_the_slow_side(recommender):
    """It is an upper bound of the time without the wait for acceptance."""
    excl = "ttft_excl_accept_p50_ms"
    here, near = (next(o.profile for o in paper_offers() if o.name == name) for name in ("1 x A100", "2 x A100"))
    rows = [t for t in recommender.tests.of("llama-13b") if excl in t.metrics and t.profile.key == here.key]

    def believed(metric, accept_ms):
        measured = [
            LoadTest(t.model, t.profile, t.users, {"itl_p50_ms": 9.0, metric: t.metrics[excl] + accept_ms})
            for t in rows
        ]
        advisor = recommender.advise("llama-13b", None, ["ttft_ms<=500"], 50, unseen=True, measurements=measured)
        return advisor, advisor.band(near, "ttft_p50_ms")[1]

    advisor, with_accept = believed("ttft_p50_ms", 100.0)
    assert with_accept == pytest.approx(believed(excl, 100.0)[1]), "at face value"
    assert (with_accept >= believed(excl, 0.0)[1]).all(), "slower than it is, never faster"
    names = dict(zip((p.key for p in advisor.profiles), advisor.beliefs.answered_by("ttft_p50_ms"), strict=True))
    assert set(names.pop(here.key)) == {"ttft_p50_ms"}
    assert {name for row in names.values() for name in row} == {excl}
    (note,) = (n for n in advisor.recommend().notes if "answered by" in n)
    assert f"on {len(advisor.profiles) - 1} of {len(advisor.profiles)} GPU profiles" in note
    assert {r.answered_by["ttft_p50_ms"] for r in advisor.recommend().ranking} <= {"ttft_p50_ms", excl}


@pytest.mark.slow
def test_longer_requests_are_slower_and_say_that_they_are_extrapolated(recommender):
    short = recommender.recommend("llama-13b", None, ["ttft_ms<=500"], 50, unseen=True)
    long = recommender.recommend(
        "llama-13b", None, ["ttft_ms<=500"], 50, unseen=True, workload=RequestLengths.fixed(1500, 200)
    )
    assert any("extrapolated" in note for note in long.notes)
    assert not long.ranking or long.best.usd_per_h >= short.best.usd_per_h


@pytest.mark.slow
def test_few_shot_as_a_study_finds_the_optimum_and_resumes(recommender, tmp_path):
    objective = RecordedSweeps(llm_pilot().of("llama-7b"), paper_offers())

    def advise():
        return recommender.advise("llama-7b", list(objective.offers.values()), PAPER, 200, unseen=True)

    factory = few_shot_factory(advise, lambda c: objective.offer(c).profile)
    goal = FleetGoal(200, PAPER)

    def run(trials, store=None):
        return Study(
            objective.domain, objective, goal, factory, Budget(trials=trials), seed=0, store=store, name="x"
        ).run()

    whole = run(10)
    measured = recommender.recommend("llama-7b", None, PAPER, 200).best
    assert whole.incumbent.score.values[0] == pytest.approx(measured.usd_per_h)
    assert whole.stop_reason == "finished"  # the stop rule, before everything was measured
    assert whole.evaluations < len(objective.domain)
    with Store(tmp_path / "s.db") as store:
        run(1, store)
        resumed = run(10, store)
    assert [o.candidate for o in resumed.observations] == [o.candidate for o in whole.observations]


# ── the command line ──


def _slos(*slos):
    return [part for slo in slos for part in ("--slo", slo)]


def test_cli_answers_a_measured_model_in_json(tmp_path):
    result = CliRunner().invoke(
        app, ["recommend", "--model", "llama-13b", "--engine", "tgis", "--users", "200", *_slos(*PAPER), "--json"]
    )
    assert result.exit_code == 0
    (line,) = result.stdout.strip().splitlines()
    ranking = json.loads(line)["ranking"]
    keys = {"offer", "replicas", "users_per_replica", "usd_per_h", "p_meets_slo", "binding", "source"}
    assert keys <= set(ranking[0])
    assert all(r["usd_per_h"] == pytest.approx(r["replicas"] * r["price_usd_per_h"]) for r in ranking)


def test_cli_says_what_answered():
    args = ["recommend", "--model", "llama-13b", "--engine", "tgis", "--users", "20"]
    shown = CliRunner().invoke(app, [*args, *_slos("ttft_ms<=400")], env={"COLUMNS": "250"})
    assert shown.exit_code == 0, shown.output
    assert "answered by" in shown.stdout
    assert "ttft_p50_ms is answered by ttft_excl_accept_p50_ms: it leaves out the accept time" in shown.stdout
    assert "answered by" not in CliRunner().invoke(app, [*args, *_slos("itl_ms<=50")]).stdout


def test_cli_ends_with_three_where_nothing_meets_the_slos():
    result = CliRunner().invoke(
        app, ["recommend", "--model", "llama-13b", "--engine", "tgis", "--users", "9", *_slos("itl_ms<=1"), "--json"]
    )
    assert result.exit_code == 3
    assert json.loads(result.stdout)["ranking"] == []


def test_cli_lists_every_region_and_shows_what_is_equal_but_for_it_once(tmp_path):
    table = tmp_path / "offers.csv"
    row = "h100x1,H100-SXM5-80GB,1,26,200,{usd},,2026-07-20,test"
    prices = "on_demand_usd_per_h,spot_usd_per_h,as_of,source"
    head = f"provider,region,instance_type,accelerator,accelerators,vcpu,memory_gib,{prices}"
    where = [("a", "r1", 7), ("a", "r2", 7), ("a", "r3", 8), ("b", "r1", 9)]
    table.write_text("\n".join([head, *(f"{p},{r}," + row.format(usd=usd) for p, r, usd in where)]))
    args = [
        "recommend",
        "--model",
        "llama-13b",
        "--engine",
        "tgis",
        "--users",
        "20",
        *_slos(*PAPER),
        "--offers",
        str(table),
    ]
    shown = CliRunner().invoke(app, args)
    assert shown.exit_code == 0, shown.output
    assert "r1 +1" in shown.stdout
    data = json.loads(CliRunner().invoke(app, [*args, "--json"]).stdout)
    assert [(r["offer"], r["region"]) for r in data["ranking"]] == [
        ("a/r1/h100x1", "r1"),
        ("a/r2/h100x1", "r2"),
        ("a/r3/h100x1", "r3"),
        ("b/r1/h100x1", "r1"),
    ]
    some = json.loads(CliRunner().invoke(app, [*args, "--json", "--region", "r3", "--region", "r1"]).stdout)
    assert [r["region"] for r in some["ranking"]] == ["r1", "r3", "r1"]
    wrong = CliRunner().invoke(app, [*args, "--provider", "b", "--region", "r2"])
    assert wrong.exit_code != 0


@pytest.mark.slow
def test_cli_answers_a_config_that_is_not_in_the_table_with_a_figure(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                                  "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}))  # fmt: skip
    figure = tmp_path / "f.png"
    args = [
        "--model",
        str(config),
        "--engine",
        "tgis",
        "--users",
        "300",
        *_slos(*PAPER),
        "--offers",
        "catalogue",
        "--provider",
        "gcp",
    ]
    result = CliRunner().invoke(app, ["recommend", *args, "--plot", str(figure), "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert {r["source"] for r in data["ranking"]} == {"predicted"}
    assert all(r["offer"].startswith("gcp/") for r in data["ranking"])
    assert data["next_measurement"]["users"] == list(LOADS)
    assert figure.stat().st_size > 10_000
    table = CliRunner().invoke(app, ["recommend", *args])
    assert "worth measuring next" in table.stdout
    assert "extrapolated from datasheets" in table.stdout
