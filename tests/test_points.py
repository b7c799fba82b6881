"""Measured points: the format and its faults, what reads as points, and what is bundled."""

import contextlib
import importlib.util
import itertools
import json
import lzma
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit import (
    Budget,
    Candidate,
    Domain,
    Point,
    Points,
    Quote,
    RequestLengths,
    Result,
    SLOGoal,
    Status,
    Store,
    Study,
    llm_pilot,
    llm_pilot_points,
    make_factory,
    points_of_loads,
    points_of_study,
    read_measurements,
    read_points,
    silicon_points,
    write_points,
)
from cloudbandit.catalogue.gpus import Profile, find_gpu, load_gpus
from cloudbandit.catalogue.precision import PRECISIONS, find_precision
from cloudbandit.core.errors import DataError, UnknownNameError, UsageError
from cloudbandit.core.fleet import SERVING
from cloudbandit.core.metrics import DICTIONARY, FAILURES, STATISTICS
from cloudbandit.surrogate.points import OPTIONAL, REQUIRED, users_by_littles_law
from cloudbandit.tables.registry import dataset_path

ROOT = Path(__file__).parent.parent
HEAD = "model,gpu,gpus,engine,precision,input_tokens,output_tokens,users,ttft_p50_ms,tpot_p50_ms"
ROW = "mine,H100-SXM5-80GB,2,vllm,bf16,512,128,8,90,12"
H100 = Profile(find_gpu("H100"), 1)


def a_file(folder, text, name="points.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def a_point(**change):
    fields = {
        "model": "mine",
        "profile": H100,
        "engine": "vllm",
        "precision": "bf16",
        "input_tokens": 512,
        "output_tokens": 128,
        "users": 8,
        "metrics": {"tpot_p50_ms": 12.0},
    }
    return Point(**(fields | change))


# ── the format ──


def test_a_file_reads_as_it_is_written_down(tmp_path):
    text = (
        f"{HEAD},e2e_ms,failure_rate,date,prefix_cached_share,tensor_parallel\n"
        f"{ROW},1600,0,2026-07,0.25,2\n"
        "mine,rtx-pro-6000,1,SGLang,FP4,512,128,1,,9.5,,,,,\n"
    )
    two, one = points = read_points(a_file(tmp_path, text))
    assert points.warnings == ()
    assert two.metrics == {"ttft_p50_ms": 90, "tpot_p50_ms": 12, "e2e_p50_ms": 1600, "failure_rate": 0}
    assert (two.gpu.part, two.gpus, two.date, two.prefix_cached_share) == ("H100-SXM5-80GB", 2, "2026-07", 0.25)
    assert (two.tensor_parallel, two.data_parallel) == (2, None)
    assert (one.gpu.part, one.engine, one.precision, one.metrics) == (
        "RTX-PRO-6000-Server-96GB",
        "sglang",
        "nvfp4",
        {"tpot_p50_ms": 9.5},
    )
    assert (one.source, one.prefix_cached_share) == ("", None)


def test_the_documentations_example_is_a_points_file(tmp_path):
    text = (ROOT / "docs" / "points.md").read_text(encoding="utf-8").partition("    model,")[2].partition("\n\n")[0]
    points = read_points(a_file(tmp_path, "\n".join(line.strip() for line in ("model," + text).splitlines())))
    assert points.warnings == ()
    assert points.column("users").tolist() == [1, 64]
    for column in (*REQUIRED, *OPTIONAL):
        assert f"`{column}`" in (ROOT / "docs" / "points.md").read_text(encoding="utf-8")


def test_points_are_a_list_with_columns():
    points = Points((a_point(users=8, source="a"), a_point(users=2, metrics={"ttft_p50_ms": 50.0})))
    assert points.column("users").tolist() == [8, 2]
    assert points.column("source").tolist() == ["a", ""]
    assert points.column("gpu").tolist() == ["H100-SXM5-80GB"] * 2
    assert np.array_equal(points.column("tpot_p50_ms"), [12, np.nan], equal_nan=True)
    assert np.isnan(points.column("tensor_parallel")).all()
    assert points.metrics == ("ttft_p50_ms", "tpot_p50_ms")
    assert [p.users for p in points[1:] + points] == [2, 8, 2]
    assert len(points.where(lambda p: p.users > 2)) == 1
    with pytest.raises(UnknownNameError, match=r"'user'.*Did you mean 'users'"):
        points.column("user")


def test_json_and_compressed_files_read_the_same(tmp_path):
    read = read_points(a_file(tmp_path, f"{HEAD}\n{ROW}\n"))
    cells = dict(zip(HEAD.split(","), ROW.split(","), strict=True))
    typed = {k: float(v) if v.isdecimal() else v for k, v in cells.items()}
    assert read_points(a_file(tmp_path, json.dumps([{**typed, "source": None}]), "points.json")) == read
    write_points(read, tmp_path / "again.csv.xz")
    assert read_points(tmp_path / "again.csv.xz") == read
    (tmp_path / "points.csv.xz").write_bytes(lzma.compress(f"\ufeff{HEAD}\r\n{ROW}\r\n".encode()))
    assert read_points(tmp_path / "points.csv.xz") == read


def test_ones_own_load_tests_of_one_model_are_points_too(tmp_path):
    path = a_file(
        tmp_path, "gpu,gpus,users,ttft_p50_ms,tpot_p50_ms,failure_rate\nL40S,1,1,40,21,0\nL40S,1,8,60,29,0.25\n"
    )
    about = {"model": "mine", "engine": "vllm", "precision": "fp16", "input_tokens": 512, "output_tokens": 128}
    points = read_points(path, given=about)
    tests = read_measurements(path, "mine")
    again = points_of_loads(tests, RequestLengths.fixed(512, 128), engine="vllm", precision="fp16")
    assert [p.users for p in points] == [p.users for p in again] == [1, 8]
    for a, b in zip(points, again, strict=True):
        assert a.metrics.items() <= b.metrics.items()  # load tests know the excess of failures too
    with pytest.raises(UnknownNameError, match="column 'modle'"):
        read_points(path, given={"modle": "mine"})


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp", "Cs"]), min_size=1, max_size=8)
numbers = st.floats(1e-3, 1e9)


@st.composite
def drawn_points(draw):
    metrics = {}
    for entry in DICTIONARY.values():
        if entry.statistics:
            some = draw(st.sets(st.sampled_from(STATISTICS), max_size=3))
            values = iter(sorted(draw(numbers) for _ in some))
            metrics |= {f"{entry.name}_{s}_{entry.unit}": next(values) for s in STATISTICS if s in some}
    metrics |= draw(st.dictionaries(st.sampled_from(FAILURES), st.floats(0, 1)))
    metrics |= {"output_tok_per_s": draw(numbers)}
    tensor, data = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    told = draw(st.booleans())
    return Point(
        draw(words),
        Profile(draw(st.sampled_from(list(load_gpus().values()))), tensor * data),
        draw(words.map(str.lower).filter(lambda w: w == w.lower())),
        draw(st.sampled_from(sorted(PRECISIONS))),
        draw(numbers),
        draw(numbers),
        draw(numbers),
        metrics,
        draw(words | st.just("")),
        draw(st.dates().map(str) | st.just("")),
        draw(words | st.just("")),
        draw(st.none() | st.floats(0, 1)),
        *((tensor, data, draw(st.integers(1, 8))) if told else (None, None, None)),
    )


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(drawn_points(), min_size=1, max_size=4))
def test_what_is_written_reads_as_the_same(tmp_path_factory, some):
    path = tmp_path_factory.mktemp("points") / "points.csv"
    write_points(Points(tuple(some)), path)
    assert list(read_points(path)) == some


# ── faults ──


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{HEAD}\n{ROW.replace(',8,', ',0,')}\n", r"line 2: users is 0; allowed: a finite number > 0"),
        (f"{HEAD}\n{ROW.replace(',8,', ',,')}\n", r"line 2: users is empty; cure: .*requests_per_s and e2e_p50_ms"),
        (f"{HEAD}\n{ROW}\n{ROW.replace(',90,', ',-90,')}\n", r"line 3: ttft_p50_ms is -90; allowed"),
        (f"{HEAD}\n{ROW.replace(',90,', ',nan,')}\n", r"line 2: ttft_p50_ms is 'nan'; .*an empty cell: not measured"),
        (f"{HEAD}\n{ROW.replace(',90,', ',1e999,')}\n", r"ttft_p50_ms is '1e999'"),
        (f"{HEAD}\n{ROW.replace(',90,', ',N/A,')}\n", r"ttft_p50_ms is 'N/A'"),
        (f"{HEAD}\n{ROW.replace(',90,', ',1_0,')}\n", r"ttft_p50_ms is '1_0'"),
        (f"{HEAD}\n{ROW.replace(',2,', ',1.5,')}\n", r"gpus is 1.5; allowed: a whole number ≥ 1"),
        (f"{HEAD}\n{ROW.replace('bf16', 'fp7')}\n", r"line 2: unknown precision 'fp7'.*Did you mean"),
        (f"{HEAD}\n{ROW.replace('H100-SXM5-80GB', 'H900')}\n", r"line 2: unknown GPU 'H900'.*write a row"),
        (
            f"{HEAD}\n{ROW.replace('H100-SXM5-80GB', 'a100')}\n",
            r"A100-PCIe-40GB, A100-SXM4-40GB, .*A100-SXM4-80GB. Cure: name the part",
        ),
        (f"{HEAD}\n{ROW.replace('mine', '')}\n", r"line 2: model is empty"),
        (f"{HEAD}\n{ROW},7\n", r"line 2 has 11 cells, and there are 10 columns"),
        (f"{HEAD}\n", r"has no rows"),
        ("", r"lacks model, gpu.*its columns: none"),
        (f"{HEAD.replace('users,', '')}\n", r"lacks users; .*requests_per_s in place"),
        (f"{HEAD.replace('ttft_p50_ms,tpot_p50_ms', 'source,date')}\n{ROW}\n", r"has no metric"),
        (
            f"{HEAD.replace('ttft_p50_ms', 'ttft_p50_s')}\n{ROW}\n",
            r"'ttft_p50_s' is no metric.*ttft is in ms: ttft_mean_ms",
        ),
        (f"{HEAD.replace('tpot_p50_ms', 'tpot')}\n{ROW}\n", r"'tpot' is no metric"),
        (f"{HEAD.replace('tpot_p50_ms', 'ttft_ms')}\n{ROW}\n", r"'ttft_p50_ms' and 'ttft_ms' are one metric"),
        (f"{HEAD.replace('tpot_p50_ms', 'ttft_p50_ms')}\n{ROW}\n", r"two columns 'ttft_p50_ms'"),
        (f"{HEAD},ttft_p95_ms\n{ROW},89\n", r"line 2: ttft_p50_ms is 90 and ttft_p95_ms only 89"),
        (f"{HEAD},failure_rate\n{ROW},20\n", r"failure_rate is 20; allowed: a share"),
        (f"{HEAD},prefix_cached_share\n{ROW},-0.1\n", r"prefix_cached_share is -0.1; allowed: a share"),
        (f"{HEAD},date\n{ROW},July\n", r"date is 'July'; allowed: YYYY"),
        (f"{HEAD},date\n{ROW},2026-13\n", r"date is '2026-13'"),
        (f"{HEAD},tensor_parallel,data_parallel\n{ROW},2,2\n", r"2 × data_parallel 2 are 4 GPUs, and gpus is 2"),
        (f'{HEAD}\n{ROW}\n"mine', r"cannot be read"),
    ],
)
def test_a_fault_is_told_by_its_line_and_cure(tmp_path, text, why):
    with pytest.raises(DataError, match=why) as told:
        read_points(a_file(tmp_path, text))
    assert str(tmp_path) in str(told.value)


@pytest.mark.parametrize(
    ("name", "raw", "why"),
    [
        ("points.csv", b"\xff\xfe", "cannot be read"),
        ("points.csv.xz", b"no xz", "cannot be read"),
        ("points.csv.gz", b"no gz", "cannot be read"),
        ("points.json", b"{}", "a list of objects"),
        ("points.json", b"[[[", "cannot be read"),
        ("points.json", b"[" * 100_000, "cannot be read"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, name, raw, why):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=why):
        read_points(tmp_path / name)
    with pytest.raises(DataError, match="no points file at"):
        read_points(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_points(tmp_path)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.data())
def test_no_file_is_a_bug(tmp_path_factory, data):
    """Cells, columns and bytes of a good file changed at will: it reads, or it is refused as wrong data."""
    rows = [HEAD.split(","), ROW.split(","), ROW.split(",")]
    cell = st.sampled_from(["", "nan", "-1", "0", "1e400", "A100", "users", "e2e_s", '"', "\n", "\x00", "é"]) | st.text(
        max_size=4
    )
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.sampled_from(rows))
        row[data.draw(st.integers(0, len(row) - 1))] = data.draw(cell)
    raw = "\n".join(map(",".join, rows)).encode("utf-8", "surrogatepass")
    cut = data.draw(st.integers(0, len(raw)))
    raw = raw[:cut] + data.draw(st.binary(max_size=2)) + raw[cut:]
    path = tmp_path_factory.mktemp("fuzz") / data.draw(st.sampled_from(["points.csv", "points.json", "points.csv.gz"]))
    path.write_bytes(raw)
    with contextlib.suppress(DataError):
        assert all(p.users > 0 and p.metrics.keys() <= set(SERVING) for p in read_points(path))


def test_a_check_of_ones_own_is_told_by_its_line(tmp_path):
    def fp8_on_ampere(point):
        if point.precision == "fp8" and point.gpu.architecture == "Ampere":
            raise UsageError(f"{point.gpu.part} has no FP8")

    path = a_file(tmp_path, f"{HEAD}\n{ROW}\n{ROW.replace('H100-SXM5-80GB', 'A10').replace('bf16', 'fp8')}\n")
    assert len(read_points(path)) == 2
    with pytest.raises(DataError, match=r"line 3: A10-24GB has no FP8"):
        read_points(path, check=fp8_on_ampere)


def test_there_is_nothing_to_write_of_no_points(tmp_path):
    with pytest.raises(UsageError, match="no points to write"):
        write_points(Points(()), tmp_path / "points.csv")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("H100", "H100-SXM5-80GB"),
        ("a100-80gb", "A100-SXM4-80GB"),
        ("L40S", "L40S-48GB"),
        ("A10", "A10-24GB"),
        ("A100-PCIe-40GB", "A100-PCIe-40GB"),
    ],
)
def test_an_alias_that_leaves_no_doubt_is_a_part(name, part):
    assert find_gpu(name, strict=True).part == part


@pytest.mark.parametrize("name", ["A100", "V100"])
def test_an_alias_of_two_memories_is_refused_and_llm_pilots_own_stays(name):
    with pytest.raises(UsageError, match="name the part"):
        find_gpu(name, strict=True)
    assert find_gpu(name).part in {t.gpu.part for t in llm_pilot_points()}


def test_precisions_have_other_words():
    assert [find_precision(w).name for w in ("BF16", "half", "fp4", "AWQ")] == ["bf16", "fp16", "nvfp4", "int4"]


# ── units that do not go together ──


def scaled(folder, **factors):
    """A plausible file of 40 points with some columns in another unit."""
    rng = np.random.default_rng(7)
    columns = [*HEAD.split(","), "e2e_p50_ms", "output_tok_per_s"]
    lines = [",".join(columns)]
    for users, tokens in itertools.product((1, 8, 64, 256), range(10)):
        tpot = (8 + 0.2 * users) * rng.uniform(0.8, 1.2)
        ttft = tpot * rng.uniform(3, 40)
        e2e = ttft + tpot * (tokens * 50 + 99)
        rate = users * (tokens * 50 + 100) / e2e * 1000
        values = {"ttft_p50_ms": ttft, "tpot_p50_ms": tpot, "e2e_p50_ms": e2e, "output_tok_per_s": rate}
        measured = [repr(values[m] * factors.get(m, 1)) for m in columns[-4:]]
        lines.append(",".join([*ROW.split(",")[:6], str(tokens * 50 + 100), str(users), *measured]))
    return a_file(folder, "\n".join(lines))


def test_numbers_that_go_together_raise_no_doubt(tmp_path):
    assert read_points(scaled(tmp_path)).warnings == ()


@pytest.mark.parametrize(
    ("factors", "told"),
    [
        ({"ttft_p50_ms": 1e-3}, "'ttft_p50_ms'.*in seconds"),
        ({"tpot_p50_ms": 1e-3}, "'tpot_p50_ms'.*in seconds"),
        ({"ttft_p50_ms": 1e3}, "'e2e_p50_ms'"),
        ({"ttft_p50_ms": 1e4}, "'ttft_p50_ms'.*another unit"),
        ({"e2e_p50_ms": 1e-3}, "'e2e_p50_ms'"),
        ({"output_tok_per_s": 1 / 8}, "'output_tok_per_s'.*per GPU"),
    ],
)
def test_a_column_in_another_unit_is_named(tmp_path, factors, told):
    points = read_points(scaled(tmp_path, **factors))
    assert len(points) == 40
    assert re.search(told, "; ".join(points.warnings))


def test_numbers_of_any_size_are_read(tmp_path):
    points = read_points(a_file(tmp_path, f"{HEAD},output_tok_per_s\n{ROW.replace(',8,', ',1e308,')},1e-308\n"))
    assert points[0].users == 1e308


def test_one_odd_row_is_no_doubt(tmp_path):
    path = scaled(tmp_path)
    path.write_text(path.read_text() + "\n" + ROW.replace(",90,", ",0.09,") + ",,")
    assert read_points(path).warnings == ()


def test_a_column_of_ones_own_is_left_alone_and_named(tmp_path):
    points = read_points(a_file(tmp_path, f"{HEAD},engine_verison\n{ROW},1.0\n"))
    assert len(points.warnings) == 1
    assert "'engine_verison' is none of the format (did you mean 'engine_version'?)" in points.warnings[0]


# ── Little's law ──


@given(st.floats(0.01, 1e4), st.floats(1, 1e5), st.floats(0.1, 1e3), st.integers(1, 10_000))
def test_users_in_flight_are_the_rate_times_the_time(rate, ttft, tpot, tokens):
    e2e = ttft + tpot * (tokens - 1)
    parts = {"ttft_p50_ms": ttft, "tpot_p50_ms": tpot}
    assert users_by_littles_law(rate, parts, tokens) == pytest.approx(rate * e2e / 1000)
    assert users_by_littles_law(rate, {**parts, "e2e_p50_ms": 500.0}, tokens) == pytest.approx(rate / 2)
    assert users_by_littles_law(rate, {"e2e_p50_ms": 500.0, "e2e_mean_ms": 250.0}, tokens) == pytest.approx(rate / 4)
    assert users_by_littles_law(rate, {"tpot_p50_ms": tpot}, tokens) is None


def test_a_file_may_tell_requests_per_second_in_place_of_users(tmp_path):
    head, row = HEAD.replace("users", "requests_per_s"), ROW.replace(",8,", ",4,")
    (point,) = read_points(a_file(tmp_path, f"{head},e2e_mean_ms\n{row},2500\n"))
    assert point.users == pytest.approx(10)
    assert point.metrics["requests_per_s"] == 4
    with pytest.raises(DataError, match="line 2: users is empty; cure"):
        read_points(a_file(tmp_path, f"{head}\n{row.replace(',90,', ',,')}\n"))


# ── what reads as points ──


class Sweep:
    """A closed loop of 1, 2 and 4 users, then an open one at 2 requests/s; the large batch fails."""

    def quote(self, candidate):
        return Quote(1.0, 1.0)

    def evaluate(self, trial, run):
        if trial.candidate.config["batch"] == 64:
            return Result(Status.FAILED, reason="out_of_memory", rows=[{"users": 1.0, "tpot_p50_ms": 9.0}])
        loops = [{"users": u, "tpot_p50_ms": 10.0 + u, "ttft_p50_ms": 50.0, "cost_usd": 1.0} for u in (1.0, 2.0, 4.0)]
        open_loop = {"rate_per_s": 2.0, "requests_per_s": 2.0, "e2e_mean_ms": 1500.0}
        return Result(metrics={"tpot_p50_ms": 14.0}, rows=[*loops, open_loop, {"users": 8.0}])


def test_a_live_study_is_points(tmp_path):
    with Store(tmp_path / "study.db") as store:
        domain = Domain({"here": [{"batch": b} for b in (8, 16, 64)]})
        goal = SLOGoal("tpot_p50_ms")
        Study(domain, Sweep(), goal, make_factory("exhaustive", 3), Budget(trials=3), store=store, name="mine").run()
        about = {"model": "m", "engine": "vllm", "precision": "fp8", "workload": RequestLengths.fixed(512, 128)}
        points = points_of_study(store, "mine", profile=H100, **about)
        assert [p.users for p in points] == [1, 2, 4, 3] * 2
        assert points[0].metrics == {"tpot_p50_ms": 11, "ttft_p50_ms": 50}
        assert set(points.column("source")) == {"mine"}

        def two(candidate):
            return Profile(H100.gpu, candidate.config["batch"] // 8)

        some = points_of_study(
            store, "mine", profile=two, only=lambda c: c == Candidate("here", {"batch": 16}), **about
        )
        assert set(some.column("gpus")) == {2}
        with pytest.raises(DataError, match="gives a point"):
            points_of_study(store, "mine", profile=H100, only=lambda c: False, **about)
        with pytest.raises(UnknownNameError, match="study 'other'"):
            points_of_study(store, "other", profile=H100, **about)


def test_llm_pilots_load_tests_are_points():
    points, tests = llm_pilot_points(), llm_pilot().tests
    assert len(points) == 528
    assert [(p.model, p.profile, p.users, dict(p.metrics)) for p in points] == [
        (t.model, t.profile, t.users, dict(t.metrics)) for t in tests
    ]
    assert set(points.column("engine")) == {"tgis"}
    assert "ttft_excl_accept_p50_ms" in points.metrics
    assert "ttft_p50_ms" not in points.metrics


def test_the_bundled_points_are_what_their_readme_counts():
    points = silicon_points()
    assert points.warnings == ()
    assert len(points) == 2709
    assert len(set(points.column("model"))) == 11
    assert len({(p.model, p.input_tokens, p.output_tokens) for p in points}) == 95
    assert {f"{p.gpu.part} {p.engine}" for p in points if p.engine == "trtllm"} == {
        "H100-SXM5-80GB trtllm",
        "H200-SXM5-141GB trtllm",
        "B200-SXM6-180GB trtllm",
    }
    assert Counter(points.column("gpu")).keys() == {
        "H100-SXM5-80GB",
        "H200-SXM5-141GB",
        "B200-SXM6-180GB",
        "B300-SXM6-288GB",
    }
    assert set(points.column("gpus")) == {1, 2, 4, 8}
    assert (points.column("tensor_parallel") * points.column("data_parallel") == points.column("gpus")).all()
    records = [(*(p.value(c) for c in (*REQUIRED, "date")), *p.metrics.values()) for p in points]
    assert len(set(records)) == len(records)


def test_the_weights_of_every_bundled_point_fit():
    """Repaired wrongly, a deployment has too few GPUs. Parameters in billions, from the models' cards."""
    billions = {"DeepSeek-R1": 671, "GLM-5": 744, "Kimi-K2.5": 1026, "Llama-3.1-70B": 70.6, "Qwen3-32B": 32.8}
    billions |= {"MiniMax-M2.5": 229, "Qwen3-235B-A22B-FP8": 235, "Qwen3.5-397B-A17B": 397, "gpt-oss-120b": 117}
    billions |= {"Llama-3.1-8B-Instruct": 8.03, "Llama-3.1-8B-Instruct-FP8": 8.03}
    width = {"bf16": 2, "fp8": 1, "nvfp4": 0.5, "mxfp4": 0.5, "int4": 0.5}
    for p in silicon_points():
        assert billions[p.model] * width[p.precision] < p.profile.memory_gib * 1.0737


# ── how they are made ──


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build_points", ROOT / "benchmarks" / "build_points.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("source", "stored", "found"),
    [
        ("InferenceX", (8, 1, 8, 1), (8, 8, 1, 1)),
        ("InferenceX", (64, 1, 8, 8), (8, 8, 1, 8)),
        ("InferenceX", (1, 64, 8, 8), (8, 1, 8, 8)),
        ("InferenceX", (4, 1, 2, 2), (2, 2, 1, 2)),
        ("gap-analysis", (4, "", 2, 2), (4, 4, 1, 2)),
        ("InferenceX", (4, 4, 1, 16), (4, 4, 1, 4)),
        ("InferenceX", (1, 8, 1, 8), (8, 1, 8, 8)),
        ("gap-analysis", (2, "", 1, 0), (2, 2, 1, 1)),
        ("gap-analysis", (1, "", 4, 1), None),
    ],
)
def test_parallelism_is_repaired(build, source, stored, found):
    names = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    told = build.parallelism({n: str(v) for n, v in zip(names, stored, strict=True)}, source)
    assert (told and told[:4]) == found


def test_one_record_of_each_measurement_is_kept(build):
    def row(**change):
        known = {"ttft_p50_ms": "231.848", "tpot_p50_ms": "8.06521", "date": "2026-04-03", "engine_version": ""}
        return dict.fromkeys(build.COLUMNS, 1) | known | change

    best = row(engine_version="0.5.9")
    rounded = row(ttft_p50_ms="231.85", tpot_p50_ms="8.07", date="")
    again = row(ttft_p50_ms="231.9")
    undated = row(ttft_p50_ms="300", date="")
    assert build.without_copies([row(), best, rounded, again, undated]) == [best, again, undated]


@pytest.mark.dataset("silicon")
def test_the_bundled_points_are_what_the_script_makes(build):
    points, dropped, facts = build.build(dataset_path("silicon"))
    folder = ROOT / "data" / "silicon-points"
    assert lzma.decompress((folder / "points.csv.xz").read_bytes()) == build.written(points, build.COLUMNS)
    assert (folder / "dropped.csv").read_bytes() == build.written(dropped, (*build.COLUMNS, "why", "id"))
    assert facts["aggregated"] == facts["kept"] + facts["copies"] + sum(facts["dropped"].values()) == 3619
    assert facts["repaired"] == {"parallelism": 426, "model": 255, "precision": 351}
    assert (*REQUIRED, *OPTIONAL)[:3] == build.COLUMNS[:3]
    assert not math.isnan(silicon_points().column("ttft_p50_ms").sum())
