"""The recommender without training: models, hardware, load tests, decisions, answers from measurements."""

import json
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit import Budget, Study
from cloudbandit.catalogue.models import GIB
from cloudbandit.catalogue.offers import fitting, lacking_gib
from cloudbandit.cli import main
from cloudbandit.core.curve import max_users
from cloudbandit.core.errors import DataError, PriceError, UnknownNameError, UsageError
from cloudbandit.core.fleet import FleetGoal, metric_name, parse_slos
from cloudbandit.core.goal import SLO
from cloudbandit.core.offer import Offer
from cloudbandit.core.trial import Result, Status
from cloudbandit.optimizers.registry import make_factory
from cloudbandit.recommend import (
    LoadTest,
    ModelSpec,
    Profile,
    Recommender,
    RequestLengths,
    ServingOffer,
    catalogue_offers,
    find_gpu,
    llm_pilot,
    load_gpus,
    paper_offers,
    read_measurements,
)
from cloudbandit.recommend import (
    recommend as recommend_for,
)
from cloudbandit.recommend.decision import Choices, choose, expected_regret, true_costs, utilities, worth_of_measuring
from cloudbandit.recommend.study import RecordedSweeps, load_tests
from cloudbandit.surrogate.loads import LOADS, merged, with_stand_ins

PAPER = ["nttft_ms<=100", "itl_ms<=50"]
recommend = partial(recommend_for, engine="tgis")
LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}


# ── models ──


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("google/flan-t5-xl", 3),
        ("google/flan-t5-xxl", 11),
        ("google/flan-ul2", 20),
        ("ibm/mpt-7b-instruct2", 6.7),
        ("bigscience/mt0-xxl", 13),
        ("Salesforce/codegen2-16B", 16),
        ("llama-7b", 7),
        ("llama-13b", 13),
        ("EleutherAI/gpt-neox-20b", 20.6),
        ("bigcode/starcoder", 15.5),
    ],
)
def test_parameters_are_counted_from_the_shapes(name, billions):
    assert llm_pilot().models[name].parameters / 1e9 == pytest.approx(
        billions, rel=0.06
    )  # published figures are rounded


def test_a_config_with_grouped_queries_experts_and_quantized_weights():
    spec = ModelSpec.from_config(LLAMA, "llama-3.1-8b")
    assert spec.parameters / 1e9 == pytest.approx(8.03, rel=0.01)
    assert spec.kv_bytes_per_token == 2 * 2 * 32 * 8 * 128
    mixtral = {**LLAMA, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000}
    moe = ModelSpec.from_config(mixtral, "mixtral-8x7b")
    assert moe.parameters / 1e9 == pytest.approx(46.7, rel=0.01)
    assert moe.active_parameters / 1e9 == pytest.approx(12.9, rel=0.01)
    assert moe.decode_parameters == moe.active_parameters
    int4 = ModelSpec.from_config({**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4}})
    matrices = spec.parameters - 2 * 128256 * 4096  # embedding and output matrix stay in 16 bits
    assert int4.weights_gib * GIB == pytest.approx(matrices * (4 + 16 / 128) / 8 + 2 * 2 * 128256 * 4096)


def test_a_multimodal_config_is_read_from_its_text_part():
    assert ModelSpec.from_config({"text_config": LLAMA, "model_type": "llava"}).layers == 32


def test_a_config_without_the_needed_fields_names_them(tmp_path):
    with pytest.raises(DataError, match=r"lacks layers \(num_hidden_layers or .*heads .*vocab"):
        ModelSpec.from_config({"hidden_size": 4096}, "odd")
    with pytest.raises(DataError, match=r"no config\.json at"):
        ModelSpec.load(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(DataError, match="holds a list"):
        ModelSpec.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        ModelSpec.load(tmp_path / "config.json")
    with pytest.raises(DataError, match="layers = 0"):
        ModelSpec("x", 1e9, 0, 1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (None, "llama-8.0B"),
        ("org/model", "org/model"),
        ("/home/someone/checkpoints/model/", "model"),
        ("./model", "model"),
        ("model", "model"),
    ],
)
def test_a_model_is_named_by_its_config_not_its_folder(tmp_path, said, name):
    folder = tmp_path / "3f8a9c"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**LLAMA, **({"_name_or_path": said} if said else {})}))
    assert ModelSpec.load(folder).name == name
    assert ModelSpec.load(folder / "config.json", flash=False).flash is False
    (folder / "mine.json").write_text(json.dumps(LLAMA))
    assert ModelSpec.load(folder / "mine.json").name == "mine"


# ── hardware ──


def test_gpus_are_found_by_part_and_alias_and_the_unknown_lists_the_known():
    assert find_gpu("h100").part == "H100-SXM5-80GB"
    assert find_gpu("A100-pcie-80gb").memory_gib == 80
    with pytest.raises(UnknownNameError, match=r"known: .*H100-SXM5-80GB.*write a row"):
        find_gpu("TPU-v6e")


def test_a_gpu_table_with_a_wrong_number_names_the_line(tmp_path):
    path = tmp_path / "gpus.csv"
    header = "part,aliases,architecture,compute_capability,memory_gib,bandwidth_gb_per_s,fp16_dense_tflops,link_gb_per_s,source"
    path.write_text(f"{header}\nX,,New,9,0,1,1,1,a datasheet\n")
    with pytest.raises(DataError, match="line 2"):
        load_gpus(path)
    with pytest.raises(DataError, match="no table of GPUs"):
        load_gpus(tmp_path / "none.csv")


def test_what_was_measured_fits_by_the_memory_model():
    tests = llm_pilot()
    pairs = {(t.model, t.profile.key): t for t in tests.tests}
    assert len(pairs) == 66
    for t in pairs.values():
        assert lacking_gib(tests.models[t.model], t.profile, tests.workload.longest) <= 0, (t.model, str(t.profile))


def test_a_model_too_large_for_every_offer_says_by_how_much():
    spec = ModelSpec("huge", 405e9, 126, 16384, 128, 8, 128, 128256)
    with pytest.raises(UsageError, match=r"huge is too large for every offer.*lacks 46[67]\.\d GiB, 116\.\d per GPU"):
        fitting(spec, paper_offers(), 1000)
    with pytest.raises(UsageError, match="no offers"):
        fitting(spec, [], 1000)


def test_catalogue_offers_lay_out_each_machine_and_charge_it_whole():
    offers, left_out = catalogue_offers()
    mine = {o.profile.gpus: o for o in offers if o.name == "aws/us-east-1/p4d.24xlarge"}
    assert {n: o.engines for n, o in mine.items()} == {1: 8, 2: 4, 4: 2, 8: 1}
    assert len({o.usd_per_h for o in mine.values()}) == 1
    assert any("unspecified" in text for text in left_out)
    spot, missing = catalogue_offers(purchase="spot")
    assert len(spot) < len(offers)
    assert any("no spot price" in text for text in missing)
    with pytest.raises(UsageError, match="allowed: on-demand, spot"):
        catalogue_offers(purchase="free")


def test_an_offer_without_a_price_or_an_engine_is_refused():
    with pytest.raises(PriceError, match="must be a finite number > 0"):
        Offer("aws", "", "x", math.nan)
    with pytest.raises(UsageError, match="runs 0 engines"):
        ServingOffer(Offer("aws", "", "x", 1.0), Profile(find_gpu("T4"), 1), 0)


# ── load tests and SLOs ──


def test_metrics_may_be_named_without_statistic_and_ttft_is_what_it_says():
    assert metric_name("itl_ms") == "itl_p50_ms"
    assert metric_name("ttft_ms") == "ttft_p50_ms"
    assert metric_name("ttft_p95_ms") == "ttft_p95_ms"
    with pytest.raises(UnknownNameError, match="itl_p42_ms"):
        metric_name("itl_p42_ms")


def test_slos_limit_failures_unless_they_say_so_themselves():
    assert [str(s) for s in parse_slos(["itl_ms<=50"])] == ["itl_p50_ms<=50", "failure_rate_excess<=0.01"]
    assert [s.metric for s in parse_slos(["itl_ms<=50", "failure_rate<=0.5"])] == ["itl_p50_ms", "failure_rate"]
    assert len(parse_slos(["itl_ms<=50"], None)) == 1
    for bad, why in (
        (["itl_ms<=0"], "never be met"),
        (["itl_ms>=5"], "asks for a worse service"),
        (["output_tok_per_s<=5"], "asks for a worse service"),
        ([], "no SLO"),
    ):
        with pytest.raises(UsageError, match=why):
            parse_slos(bad)


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_max_users_is_the_last_load_before_the_first_violation(ok):
    loads = LOADS[: len(ok)]
    expected = 0
    for load, fine in zip(loads, ok, strict=True):
        if not fine:
            break
        expected = load
    assert int(max_users(np.array(ok), loads)) == expected


def test_measurements_are_read_and_contradictions_named(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("gpu,gpus,users,itl_ms,ttft_p95_ms,note\nH100,1,1,10,100,a\nH100,1,1,12,110,b\nH100,1,2,14,,c\n")
    one, two = read_measurements(path, "mine")
    assert one.metrics == {"itl_p50_ms": 11.0, "ttft_p95_ms": 105.0}
    assert (two.users, two.metrics) == (2, {"itl_p50_ms": 14.0})
    for text, why in (
        ("gpu,gpus,users,itl_ms\nH100,1,1,10\nH100,1,1,30\n", "contradict each other: itl_p50_ms is 10 and 30"),
        ("gpu,gpus,users,itl_ms,itl_p95_ms\nH100,1,1,10,5\n", "itl p50 is 10 ms, p95 5 ms"),
        ("gpu,users,itl_ms\nH100,1,10\n", "lacks gpus"),
        ("gpu,gpus,users,speed\nH100,1,1,10\n", "has no metric"),
        ("gpu,gpus,users,itl_ms\nH100,1,0,10\n", "line 2"),
        ("gpu,gpus,users,itl_ms\nH100,1,1,-10\n", "negative"),
        ("gpu,gpus,users,itl_ms\nRX,1,1,10\n", "unknown GPU"),
    ):
        path.write_text(text)
        with pytest.raises((DataError, UnknownNameError), match=why):
            read_measurements(path, "mine")
    (tmp_path / "m.json").write_text(json.dumps([{"gpu": "T4", "gpus": 2, "users": 4, "nttft_p50_ms": 3.0}]))
    assert read_measurements(tmp_path / "m.json", "mine")[0].profile.gpus == 2
    with pytest.raises(DataError, match="no measurements at"):
        read_measurements(tmp_path / "none.csv", "mine")


def test_excess_failures_are_those_beyond_a_single_users():
    profile = Profile(find_gpu("T4"), 1)
    low, high = merged([LoadTest("m", profile, u, {"failure_rate": f}) for u, f in ((1, 0.25), (8, 0.40))])
    assert low.metrics["failure_rate_excess"] == 0
    assert high.metrics["failure_rate_excess"] == pytest.approx(0.15)


def test_without_a_single_users_rate_every_failure_is_for_want_of_capacity():
    profile = Profile(find_gpu("T4"), 1)
    first = merged([LoadTest("m", profile, 8, {"failure_rate": 0.40})])
    assert first[0].metrics["failure_rate_excess"] == pytest.approx(0.40)
    later = merged([*first, LoadTest("m", profile, 1, {"failure_rate": 0.25})])
    assert {t.users: t.metrics["failure_rate_excess"] for t in later} == {1: 0, 8: pytest.approx(0.15)}


def test_what_stands_for_another_metric_is_bounded_by_it():
    profile = Profile(find_gpu("T4"), 1)
    both = LoadTest("m", profile, 1, {"ttft_p50_ms": 90.0, "ttft_excl_accept_p50_ms": 70.0, "itl_p50_ms": 5.0})
    only = LoadTest("m", profile, 2, {"ttft_p50_ms": 99.0})
    first, second = with_stand_ins([both, only])
    assert first.metrics == both.metrics
    assert second.metrics == {"ttft_p50_ms": 99.0, "ttft_excl_accept_p50_ms": 99.0}


def test_load_tests_are_curves_that_a_fleet_goal_judges_as_the_recommender_does():
    tests, goal = llm_pilot(), FleetGoal(200, PAPER)
    for model in ("llama-13b", "bigcode/starcoder"):
        curves = tests.curves(model, paper_offers())
        scores = {
            o.name: goal.score(Result(metrics={"price_usd_per_h": c.usd_per_h}, rows=c.rows()))
            for o, c in curves.items()
        }
        answer = recommend(model, slo=PAPER, users=200)
        assert {n: s.values[0] for n, s in scores.items() if s.feasible} == {
            r.offer.name: pytest.approx(r.usd_per_h) for r in answer.ranking
        }
    assert set(curves) == {o for o in paper_offers() if o.profile.key in {t.profile.key for t in tests.of(model)}}
    machine = ServingOffer(Offer("x", "", "big", 9.0), next(iter(curves)).profile, 4)
    (curve,) = tests.curves(model, [machine]).values()
    assert (curve.usd_per_h, curve.engines) == (9.0, 4)


# ── decisions, against brute force ──

ROWS, COLUMNS = 3, 4
curves = st.lists(
    st.lists(st.integers(0, COLUMNS), min_size=ROWS, max_size=ROWS), min_size=1, max_size=6
)  # per sample and profile: how many of the loads are ok
machines = st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(1, 4), st.integers(1, 50)), min_size=1, max_size=5)
GRID = (1, 2, 4, 8)


def _ok(counts):
    return np.arange(COLUMNS) < np.array(counts)[:, :, None]


def _choices(offers):
    row, engines, price = (np.array(column) for column in zip(*offers, strict=True))
    return Choices(row, engines, price.astype(float))


def _most(count):
    return 0 if count == 0 else GRID[count - 1]


@given(curves, machines, st.integers(1, 40))
def test_costs_and_utilities_agree_with_brute_force(counts, offers, users):
    ok, choices = _ok(counts), _choices(offers)
    costs = true_costs(ok, choices, GRID, users)
    value = utilities(ok, choices, GRID, users)
    for o, (row, engines, price) in enumerate(offers):
        for s, sample in enumerate(counts):
            capacity = engines * _most(sample[row])
            assert costs[s, o] == (math.ceil(users / capacity) * price if capacity else math.inf)
        for j, load in enumerate(GRID):
            n = math.ceil(users / (engines * load))
            total = 0.0
            for s, sample in enumerate(counts):
                best = costs[s].min()
                if n * engines * _most(sample[row]) >= users:
                    total += min(1.0, max(0.0, 2 - n * price / best))
            assert value[o, j] == pytest.approx(total / len(counts))


@given(curves, machines, st.integers(1, 40), st.sampled_from([0.5, 0.8, "utility"]))
def test_the_choice_is_the_best_by_its_rule(counts, offers, users, rule):
    ok, choices = _ok(counts), _choices(offers)
    decision = choose(ok, choices, GRID, users, rule)
    regret = expected_regret(ok, choices, GRID, users, decision)
    assert 0 <= regret <= 1
    if rule == "utility":
        best = utilities(ok, choices, GRID, users).max()
        assert (decision is None) == (best == 0)
        assert 1 - regret == pytest.approx(best)
        return
    options = []
    for row, engines, price in offers:
        sure = [u for j, u in enumerate(GRID) if np.mean([sample[row] > j for sample in counts]) >= rule]
        if sure:
            options.append(math.ceil(users / (engines * sure[-1])) * price)
    assert (decision is None) == (not options)
    if decision is not None:
        assert decision[1] * offers[decision[0]][2] == min(options)


@given(curves, machines, st.integers(1, 40))
def test_measuring_never_promises_less_than_what_is_known(counts, offers, users):
    ok, choices = _ok(counts), _choices(offers)
    nothing = worth_of_measuring(ok, choices, GRID, users, [])
    first = worth_of_measuring(ok, choices, GRID, users, [0])
    assert (first >= nothing - 1e-12).all()
    assert (first >= first[0] - 1e-12).all()
    assert ((nothing >= 0) & (first <= 1 + 1e-12)).all()


# ── answers from measurements ──


def test_a_measured_model_is_answered_from_its_measurements():
    answer = recommend("llama-13b", slo=PAPER, users=200)
    assert [r.source for r in answer.ranking] == ["measured"] * len(answer.ranking)
    assert all(r.p_meets_slo == 1 for r in answer.ranking)
    costs = [r.usd_per_h for r in answer.ranking]
    assert costs == sorted(costs)
    for r in answer.ranking:
        assert r.usd_per_h == pytest.approx(r.replicas * r.offer.usd_per_h)
        assert r.replicas == math.ceil(200 / r.users_per_replica)
        low, high = r.intervals["itl_p50_ms"]
        assert low == high == r.medians["itl_p50_ms"] <= 50
    assert answer.expected_regret == 0


def test_the_cheapest_answer_that_fails_its_requests_is_none():
    """Judged by latency alone, one A100 with 64 users wins; 80 % of its requests fail."""
    careless = recommend("llama-13b", slo=PAPER, users=200, max_failure_rate=None).best
    assert (careless.offer.name, careless.users_per_replica, careless.usd_per_h) == ("1 x A100", 64, 16.385)
    lenient = recommend("llama-13b", slo=[*PAPER, "failure_rate_excess<=0.05"], users=200).best
    assert (lenient.offer.name, lenient.users_per_replica, lenient.usd_per_h) == (
        "1 x A100",
        16,
        pytest.approx(53.25125),
    )
    strict = recommend("llama-13b", slo=PAPER, users=200)
    a100 = next(r for r in strict.ranking if r.offer.name == "1 x A100")
    assert a100.binding == "failure_rate_excess<=0.01"
    assert strict.best.offer.name == "2 x A100"


@settings(max_examples=25)
@given(
    st.sampled_from(sorted(llm_pilot().names)),
    st.sampled_from([5, 20, 100, 200]),
    st.sampled_from([25, 40, 75]),
    st.integers(1, 2000),
)
def test_measured_answers_are_the_brute_force_optimum(model, nttft, itl, users):
    answer = recommend(model, slo=[f"nttft_ms<={nttft}", f"itl_ms<={itl}"], users=users, max_failure_rate=None)
    costs = {}
    for offer in paper_offers():
        most = 0
        for t in (t for t in llm_pilot().of(model) if t.profile.key == offer.profile.key):
            if t.metrics["nttft_p50_ms"] > nttft or t.metrics["itl_p50_ms"] > itl:
                break
            most = t.users
        if most:
            costs[offer.name] = math.ceil(users / most) * offer.usd_per_h
    assert {r.offer.name: pytest.approx(r.usd_per_h) for r in answer.ranking} == costs


def test_stricter_slos_never_cost_less():
    last = 0.0
    for itl in (100, 60, 50, 40, 30, 25):
        best = recommend("llama-7b", slo=[f"itl_ms<={itl}"], users=300).best
        assert best.usd_per_h >= last
        last = best.usd_per_h


def test_tail_percentiles_throughput_and_end_to_end_can_be_limited():
    plain = recommend("llama-13b", slo=["itl_ms<=50"], users=100).best
    for extra in (
        "itl_p99_ms<=80",
        "tpot_p95_ms<=50",
        "e2e_p95_ms<=3000",
        "ttft_p95_ms<=400",
        "output_tok_per_s>=3000",
    ):
        tight = recommend("llama-13b", slo=["itl_ms<=50", extra], users=100).best
        assert tight.usd_per_h >= plain.usd_per_h, extra
    fast = recommend("llama-13b", slo=["output_tok_per_s>=3000"], users=100).best
    rows = {(t.profile.key, t.users): t for t in llm_pilot().of("llama-13b")}
    load = rows[fast.offer.profile.key, fast.users_per_replica]
    assert load.metrics["output_tok_per_s"] * 100 / fast.users_per_replica >= 3000


def test_ttft_is_answered_without_the_accept_time_where_only_that_is_known_and_says_so():
    answer = recommend("llama-13b", slo=["ttft_p95_ms<=400"], users=100)
    plain = recommend("llama-13b", slo=["ttft_excl_accept_p95_ms<=400"], users=100)
    name = "ttft_excl_accept_p95_ms"
    assert [(r.offer, r.usd_per_h) for r in answer.ranking] == [(r.offer, r.usd_per_h) for r in plain.ranking]
    assert all(
        r.answered_by["ttft_p95_ms"] == name and set(r.medians) == {name, "failure_rate_excess"} for r in answer.ranking
    )
    assert answer.best.to_dict()["answered_by"]["ttft_p95_ms"] == name
    assert answer.best.stand_ins == [name]
    (note,) = (n for n in answer.notes if n.startswith("ttft"))
    assert note.startswith("ttft_p95_ms is answered by ttft_excl_accept_p95_ms: it leaves out the accept time")
    assert not any("answered by" in n for n in plain.notes)
    assert plain.best.stand_ins == []


def test_a_measured_ttft_answers_for_itself_on_its_row():
    rows = {t.users: t.metrics for t in llm_pilot().of("llama-13b") if t.profile.key == ("A100-PCIe-40GB", 1)}
    a100 = next(o for o in paper_offers() if o.name == "1 x A100").profile
    excl = "ttft_excl_accept_p50_ms"
    kept = {k: rows[1][k] for k in ("itl_p50_ms", "output_tok_per_s", "failure_rate")}
    mine = [LoadTest("llama-13b", a100, 1, {**kept, "ttft_p50_ms": rows[1][excl] + 50.0, excl: rows[1][excl]})]
    advisor = Recommender(engine="tgis").advise("llama-13b", None, ["ttft_ms<=1000"], 1, measurements=mine)
    answer = advisor.recommend()
    by = {r.offer.name: r for r in answer.ranking}
    assert by["1 x A100"].answered_by["ttft_p50_ms"] == "ttft_p50_ms"
    assert by["1 x A100"].medians["ttft_p50_ms"] == rows[1][excl] + 50.0
    assert by["2 x A100"].answered_by["ttft_p50_ms"] == excl
    curve = advisor.curve(by["1 x A100"].offer)
    assert curve.values("ttft_p50_ms").tolist() == [rows[1][excl] + 50.0, *(rows[u][excl] for u in LOADS[1:])]
    assert curve.metrics[excl][1:].tolist() == [rows[u][excl] for u in LOADS[1:]]
    limit = rows[1][excl] + 25.0  # the accept time decides
    strict = recommend("llama-13b", slo=[f"ttft_ms<={limit}"], users=1, measurements=mine)
    assert "1 x A100" not in {r.offer.name for r in strict.ranking}


def test_an_slo_on_what_nobody_measured_is_refused():
    with pytest.raises(UsageError, match=r"itl_mean_ms<=5: no load test has itl_mean_ms; .*Cure: measure it"):
        recommend("llama-13b", slo=["itl_mean_ms<=5"], users=1)


def test_the_advisors_curve_is_what_a_fleet_goal_judges():
    advisor = Recommender(engine="tgis").advise("llama-13b", None, PAPER, 200)
    goal = FleetGoal(200, PAPER)
    for r in advisor.recommend().ranking:
        curve = advisor.curve(r.offer)
        assert goal.replicas(curve) == r.replicas
        assert curve.engines == r.offer.engines
    small = next(o for o in paper_offers() if o.name == "1 x T4")
    with pytest.raises(UsageError, match=r"1 x T4 .*is not considered"):
        advisor.curve(small)


def test_a_choice_is_what_differs_in_more_than_the_region():
    """Everything was measured on these profiles, so that nothing is trained."""
    a100 = Profile(find_gpu("A100"), 1)
    machines = [("p", "r1", 2.0), ("p", "r2", 2.0), ("p", "r3", 2.5), ("q", "r1", 2.0)]
    offers = [ServingOffer(Offer(provider, region, "big", usd), a100) for provider, region, usd in machines]
    answer = recommend("llama-7b", offers, slo=["itl_ms<=50"], users=100)
    choices = [(r.offer.machine.provider, r.offer.machine.usd_per_h, regions) for r, regions in answer.choices()]
    assert choices == [("p", 2.0, ["r1", "r2"]), ("q", 2.0, ["r1"]), ("p", 2.5, ["r3"])]
    assert len(answer.ranking) == 4
    assert [r.to_dict()["region"] for r in answer.ranking] == ["r1", "r2", "r1", "r3"]


def test_an_unattainable_slo_names_itself_and_the_best_attainable():
    answer = recommend("llama-13b", slo=["itl_ms<=5", "nttft_ms<=100"], users=200)
    assert not answer.ranking
    assert answer.best is None
    assert (
        answer.explanation
        == "no offer meets itl_p50_ms<=5: the best attainable is 12 (4 x H100-SXM5-80GB at 1 users per engine)"
    )
    both = recommend("google/flan-ul2", slo=["itl_ms<=40", "output_tok_per_s>=4000"], users=100)
    assert both.explanation.startswith("each SLO can be met") or both.ranking


@pytest.mark.parametrize("users", [0, -1, 1.5])
def test_zero_users_are_refused(users):
    with pytest.raises(UsageError, match="whole number ≥ 1"):
        recommend("llama-13b", slo=PAPER, users=users)


def test_wrong_risk_loads_and_workloads_are_refused():
    with pytest.raises(UsageError, match="allowed: median, utility"):
        recommend("llama-13b", slo=PAPER, users=10, risk="bold")
    with pytest.raises(UsageError, match="increasing whole numbers"):
        Recommender(engine="tgis").advise("llama-13b", None, PAPER, 10, loads=(2, 1))
    with pytest.raises(UsageError, match="at least one input"):
        RequestLengths.fixed(0, 10)
    with pytest.raises(UnknownNameError, match=r"config\.json"):
        recommend("gpt-99", slo=PAPER, users=10)


def test_new_measurements_win_over_bundled_ones_and_foreign_ones_are_refused():
    advisor = Recommender(engine="tgis").advise("llama-13b", None, ["itl_ms<=50"], 200)
    before = advisor.recommend()
    a100 = next(o for o in paper_offers() if o.name == "1 x A100").profile
    with pytest.raises(DataError, match="the question is about 'llama-13b'"):
        advisor.update([LoadTest("llama-7b", a100, 1, {"itl_p50_ms": 1.0})])
    with pytest.raises(DataError, match="contradict"):
        advisor.update([LoadTest("llama-13b", a100, 1, {"itl_p50_ms": 1.0})])
    fresh = [
        LoadTest("llama-13b", a100, u, {"itl_p50_ms": 10.0, "failure_rate": 0.0, "output_tok_per_s": 10.0 * u})
        for u in LOADS
    ]
    after = recommend("llama-13b", slo=["itl_ms<=50"], users=200, measurements=fresh)
    assert after.best.offer.name == "1 x A100"
    assert after.best.usd_per_h < before.best.usd_per_h
    assert after.best.binding == "none up to 128 users"


def test_nothing_is_worth_measuring_once_everything_is_known():
    advisor = Recommender(engine="tgis").advise("llama-13b", None, PAPER, 200)
    assert advisor.regret_left == 0
    assert advisor.next_measurement() is None
    with pytest.raises(UsageError, match="allowed: sweep, point"):
        advisor.next_measurement("all")


# ── fleets as a study ──


def _curve(*itl, price=2.0, engines=1.0):
    rows = [
        {"users": float(u), "itl_p50_ms": float(v), "failure_rate_excess": 0.0}
        for u, v in zip((1, 2, 4, 8), itl, strict=True)
    ]
    return Result(metrics={"price_usd_per_h": price, "engines": engines}, rows=rows)


def test_a_fleet_goal_derives_replicas_and_cost_from_a_load_curve():
    goal = FleetGoal(10, ["itl_ms<=50"])
    assert goal.score(_curve(10, 20, 40, 60)).values == (6.0,)  # ⌈10 / 4⌉ machines at 2 USD/h
    assert goal.score(_curve(10, 20, 40, 60, engines=4.0)).values == (2.0,)
    assert goal.score(_curve(10, 60, 40, 45)).values == (20.0,)  # the prefix ends at the first violation
    hopeless = goal.score(_curve(75, 80, 90, 99))
    assert not hopeless.feasible
    assert hopeless.violation == pytest.approx(0.5)
    assert goal.score(Result(status=Status.FAILED)).rank == 1
    assert goal.score(Result(status=Status.LOST)) is None
    with pytest.raises(UsageError, match="one row per load"):
        goal.score(Result(metrics={"price_usd_per_h": 1.0}))
    with pytest.raises(UsageError, match="at least 1"):
        FleetGoal(0, ["itl_ms<=50"])


def test_a_bandit_over_gpus_finds_the_measured_optimum():
    objective = RecordedSweeps(llm_pilot().of("llama-7b"), paper_offers())
    goal = FleetGoal(200, PAPER)
    report = Study(objective.domain, objective, goal, make_factory("exhaustive", 20), Budget(trials=20), seed=0).run()
    best = recommend("llama-7b", slo=PAPER, users=200).best
    assert report.incumbent.score.values[0] == pytest.approx(best.usd_per_h)
    assert objective.offer(report.incumbent.candidate).name == best.offer.name
    assert report.spent_usd == pytest.approx(
        sum(o.usd_per_h * (300 + 8 * 120) / 3600 for o in objective.offers.values())
    )


def test_offers_of_one_profile_are_no_two_configs():
    t4 = Profile(find_gpu("T4"), 4)
    two = [ServingOffer(Offer("aws", region, "g4", 4.0), t4) for region in ("r1", "r2")]
    with pytest.raises(UsageError, match=r"aws/r1/g4 and aws/r2/g4 both run engines of 4 x T4-16GB"):
        RecordedSweeps(llm_pilot().of("llama-7b"), two)
    with pytest.raises(UsageError, match="measured on none"):
        RecordedSweeps(llm_pilot().of("llama-7b"), [])


def test_the_rows_of_a_live_trial_are_load_tests():
    rows = [{"users": 2.0, "ttft_p50_ms": 9.0, "failure_rate": 0.5, "start_s": 8.0}]
    profile = Profile(find_gpu("T4"), 1)
    assert load_tests("m", profile, rows) == [LoadTest("m", profile, 2, {"ttft_p50_ms": 9.0, "failure_rate": 0.5})]


def test_slos_keep_their_given_form():
    assert parse_slos([SLO("itl_p50_ms", 50.0)], None) == (SLO("itl_p50_ms", 50.0),)


# ── offers that fall away, and too many users ──


def test_a_fleet_nobody_rents_out_gets_a_remark():
    def notes(users):
        return " ".join(recommend("google/flan-t5-xxl", slo=PAPER, users=users).notes)

    assert "machines of one type" in notes(10**9)
    assert "machines of one type" not in notes(200)


def test_offers_unmeasured_to_the_last_say_so_and_how_to_go_on():
    small = [o for o in paper_offers() if o.profile.gpu.part.startswith("T4") and o.profile.gpus == 1]
    with pytest.raises(UsageError, match=r"was measured on none of the 1 offers.*--predict"):
        recommend("google/flan-t5-xxl", small, slo=PAPER, users=20, only_measured=True)


_HEADER = (
    "provider,region,instance_type,accelerator,accelerators,vcpu,memory_gib,"
    "on_demand_usd_per_h,spot_usd_per_h,as_of,source,note"
)


@pytest.mark.parametrize(
    ("rows", "purchase", "said"),
    [
        (["aws,r,a,Z9,1,4,16,1.0,,2026-07-20,s,"] * 1, "on-demand", ["1 machine (no datasheet for Z9", "--gpus FILE"]),
        (
            ["aws,r,a,T4-16GB,1,4,16,1.0,,2026-07-20,s,", "aws,r,b,T4-16GB,1,4,16,2.0,,2026-07-20,s,"],
            "spot",
            ["2 machines (no spot price)", "--purchase on-demand"],
        ),
        (
            ["aws,r,a,T4-16GB,1,4,16,1.0,,2026-07-20,s,", "aws,r,b,Z9,1,4,16,2.0,,2026-07-20,s,"],
            "on-demand",
            ["too large for every offer", "lacks", "1 machine (no datasheet for Z9"],
        ),
    ],
)
def test_offers_that_all_fall_away_say_why_and_how_to_go_on(tmp_path, capsys, rows, purchase, said):
    (tmp_path / "offers.csv").write_text("\n".join([_HEADER, *rows]) + "\n")
    config = {**LLAMA, "num_hidden_layers": 320, "_name_or_path": "org/huge"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    argv = ["recommend", "--model", str(tmp_path), "--users", "9", "--slo", "itl_ms<=50"]
    with pytest.raises(SystemExit) as stopped:
        main([*argv, "--offers", str(tmp_path / "offers.csv"), "--purchase", purchase])
    assert stopped.value.code == 2
    err = " ".join(capsys.readouterr().err.split())
    for part in said:
        assert part in err, err
