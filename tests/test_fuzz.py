"""Whatever stands in a file of ours, the reader's answer is a value or an error of ours: never another traceback."""

import contextlib
import copy
import csv
import io
import json
import math
import tomllib
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_live import STUDY

from cloudbandit import Candidate, Result, Store, Trial, read_measurements
from cloudbandit.catalogue import gpus as gpus_module
from cloudbandit.catalogue.gpus import load_gpus
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.catalogue.offers import serving_offers
from cloudbandit.catalogue.prices import load_offers
from cloudbandit.core import store_schema as schema
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import CloudBanditError, DataError, PriceError, StoreCorruptError
from cloudbandit.live.studyfile import load
from cloudbandit.loadgen.workloads import Empirical, Trace
from cloudbandit.tables.check import check_table
from cloudbandit.tables.table import Table

FUZZ = settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
DEEP = "[" * 100_000
ODD = [
    *(math.inf, -math.inf, math.nan, 1e300, -1e300, 5e-324, 0, -1, 1, 0.5, 7, 2**70, -(2**70), 10**400),
    *("", " ", "x", "NaN", "Infinity", "-inf", "1e400", "1e300", "0.5", "-1", "7", "2**70", "\x00", "\ud800", "ä😀"),
    *("9" * 5000, "*", "local", "../..", "/", "2026-13-45", "ttft_ms<=nan", "a<=b<=c", "all"),
    *(True, False, None, [], {}, [[]], [None], {"": {}}, [1, "x"], {"a": 1}),
]
odd = st.sampled_from(ODD)
wrongs = st.one_of(
    st.sampled_from([b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"a,a\n1,2\n", b'"', b"\r\r\r", b"{}", b"[]"]),
    st.binary(max_size=40),
)


def tried(read):
    with contextlib.suppress(CloudBanditError):
        read()


def at_odds(data, draw):
    """Some values of nested data replaced, left out, or renamed."""
    changed = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, 3))):
        inner, keys = changed, []
        while isinstance(inner, dict | list) and inner:
            keys = sorted(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key = draw(st.sampled_from(keys))
            if not isinstance(inner[key], dict | list) or draw(st.integers(0, 3)) == 0:
                break
            inner = inner[key]
        if not keys or not inner:
            continue
        what = draw(st.integers(0, 5))
        if what == 0:
            del inner[key]
        elif what == 1 and isinstance(inner, dict):
            inner[str(draw(odd))] = inner.pop(key)
        else:
            inner[key] = copy.deepcopy(draw(odd))
    return changed


def as_toml(value):
    """A value in TOML; None has none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {as_toml(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(as_toml(v) for v in value if v is not None) + "]"
    if isinstance(value, float):
        return (
            repr(value)
            if math.isfinite(value)
            else {True: "inf", False: "-inf"}[value > 0]
            if value == value
            else "nan"
        )
    return json.dumps(value) if isinstance(value, str) else str(value)


def write_toml(path, data):
    path.write_text(
        "".join(f"{json.dumps(str(k))} = {as_toml(v)}\n" for k, v in data.items() if v is not None), "utf-8", "replace"
    )


def csv_at_odds(text, draw):
    rows = list(csv.reader(io.StringIO(text)))
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.integers(0, len(rows) - 1))
        what = draw(st.integers(0, 7))
        if what == 0:
            rows[row] = rows[row][: draw(st.integers(0, len(rows[row])))]
        elif what == 1:
            rows[row] = [*rows[row], str(draw(odd))]
        elif rows[row]:
            rows[row][draw(st.integers(0, len(rows[row]) - 1))] = str(draw(odd))
    made = io.StringIO()
    csv.writer(made).writerows(rows)
    return made.getvalue().encode("utf-8", "replace")


TABLE = {
    "table": {"file": "runs.csv", "context": ["w"], "arm": "arm", "load": "users", "licence": "x"},
    "params": {"n": "int", "x*": {"type": "float", "arm": "a"}, "on": "bool", "c": "choice"},
    "metrics": {"cost_usd": {"column": "cost", "unit": "USD"}, "failure_rate": "fail"},
    "spent": {"usd": "cost", "seconds": "s"},
    "status": {"column": "status", "ok": ["ok"], "timeout": "T*", "otherwise": "failed", "reason": "status"},
    "replay": {"repeats": "mean", "missing": "exclude", "failed_seconds": 600},
    "facts": {"price_usd_per_h": "s"},
}
RUNS = """w,arm,n,x1,on,c,cost,fail,s,status,users
u,a,1,0.5,true,l,1.5,0,3,ok,1
u,a,1,0.5,true,l,1.5,0.5,3,ok,2
u,b,2,,false,m,2.5,0,4,ok,1
v,b,2,,false,m,,,4,Timed,1
"""
CONFIG = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 14336,
    "vocab_size": 32000,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 100,
    "expansion_ratio": 4,
    "is_encoder_decoder": True,
    "encoder_layers": 3,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "quantization_config": {"bits": 4, "quant_method": "gptq"},
    "text_config": {"hidden_size": 100},
    "_name_or_path": "x",
}
OFFERS = """provider,region,instance_type,accelerator,accelerators,vcpu,memory_gib,\
on_demand_usd_per_h,spot_usd_per_h,as_of,source,note
aws,us,p5,H100-SXM5-80GB,8,192,2048,98.3,40.1,2026-01-01,x,
gcp,eu,a3,H100-SXM5-80GB,4,96,,49,,,y,z
"""
MEASURED = [
    {"gpu": "H100", "gpus": 1, "users": 1, "ttft_p50_ms": 20.0, "ttft_p95_ms": 30.0, "failure_rate": 0.0},
    {"gpu": "A100", "gpus": 2, "users": 4, "ttft_p50_ms": 25.0, "ttft_p95_ms": 35.0, "failure_rate": 0.1},
]
MEASURED_CSV = "gpu,gpus,users,ttft_p50_ms,failure_rate\nH100,1,1,20,0\nA100,2,4,25,0.1\n"
LENGTHS = "at_s,input_tokens,output_tokens\n0,5,6\n1.5,7,8\n2026-01-01 00:00:01,7,8\n"


def read_table(folder):
    check_table(Table.load(folder))


def read_offers(path):
    serving_offers(load_offers(path))


def read_gpus(path):
    gpus_module._read.cache_clear()
    load_gpus(path)


READERS = {
    "offers.csv": (OFFERS, read_offers),
    "gpus.csv": ((bundled() / "gpus" / "gpus.csv").read_text(), read_gpus),
    "measured.csv": (MEASURED_CSV, lambda path: read_measurements(path, "m")),
    "lengths.csv": (LENGTHS, Empirical.load),
    "trace.csv": (LENGTHS, Trace.load),
    "config.json": (json.dumps(CONFIG), ModelSpec.load),
    "measured.json": (json.dumps(MEASURED), lambda path: read_measurements(path, "m")),
    "study.toml": (STUDY, load),
    "runs.csv": (RUNS, lambda path: read_table(path.parent)),
}


@pytest.mark.parametrize("name", READERS)
def test_files_that_are_no_text_or_no_files(tmp_path, name):
    text, read = READERS[name]
    write_toml(tmp_path / "table.toml", TABLE)
    path = tmp_path / name
    path.write_text(text)
    read(path)  # as it should be
    for content in (
        text.encode("utf-16"),
        text.encode()[: len(text) // 2],
        b"\xff",
        DEEP.encode(),
        b"",
        b"\n\n",
        b"null",
    ):
        path.write_bytes(content)
        tried(lambda: read(path))
    path.unlink()
    with pytest.raises(CloudBanditError):
        read(path)
    path.mkdir()
    with pytest.raises(CloudBanditError):
        read(path)


@pytest.mark.parametrize("name", [n for n in READERS if n.endswith(".csv")])
@FUZZ
@given(st.data())
def test_csv(tmp_path, name, data):
    text, read = READERS[name]
    write_toml(tmp_path / "table.toml", TABLE)
    content = data.draw(wrongs) if data.draw(st.integers(0, 9)) == 0 else csv_at_odds(text, data.draw)
    (tmp_path / name).write_bytes(content)
    tried(lambda: read(tmp_path / name))


@pytest.mark.parametrize(("name", "content"), [("config.json", CONFIG), ("measured.json", MEASURED)])
@FUZZ
@given(st.data())
def test_json(tmp_path, name, content, data):
    (tmp_path / name).write_text(json.dumps(at_odds(content, data.draw)))
    tried(lambda: READERS[name][1](tmp_path / name))


@FUZZ
@given(st.data())
def test_table_toml(tmp_path, data):
    (tmp_path / "runs.csv").write_text(RUNS)
    write_toml(tmp_path / "table.toml", at_odds(TABLE, data.draw))
    tried(lambda: read_table(tmp_path))


@FUZZ
@given(st.data())
def test_study_toml(tmp_path, data):
    content = tomllib.loads(STUDY)
    content["load"] |= data.draw(
        st.sampled_from([{}, {"think_s": 1.0, "ramp_s": 2.0}, {"request_slos": ["ttft_ms<=5"]}])
    )
    content["engine"] |= {"options": {}}
    write_toml(tmp_path / "study.toml", at_odds(content, data.draw))
    tried(lambda: load(tmp_path / "study.toml"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    trial = Trial(0, Candidate("a", {"x": 1}))
    with Store(tmp_path_factory.mktemp("store") / "s.db") as opened:
        record = opened.open("s", {}, {})
        record.start(trial, 1.0)
        record.finish(trial, RESULT, 1.0)
        record.close()
        yield opened


RESULT = Result(metrics={"loss": 1.0}, rows=[{"users": 1.0}], artifacts={"a": "b"}, error="x")
KEY = [["a"], {"x": 1}]


def read_back(store, result, key):
    with store._database.write() as connection:
        connection.execute(sa.update(schema.trials).values(result=result, candidate=key))
    with contextlib.suppress(StoreCorruptError):
        (found,) = store.trials("s")
        assert isinstance(found.result, Result)
        assert hash(found.trial.candidate)


@FUZZ
@given(st.data())
def test_rows_of_a_store(store, data):
    result = RESULT.to_dict() if data.draw(st.booleans()) else at_odds(RESULT.to_dict(), data.draw)
    read_back(store, json.dumps(result), json.dumps(at_odds(KEY, data.draw)))


@pytest.mark.parametrize("text", ["", "nul", "null", "[]", "3", DEEP])
def test_rows_of_a_store_that_are_no_json(store, text):
    read_back(store, text, json.dumps(KEY))
    read_back(store, json.dumps(RESULT.to_dict()), text)


def test_what_odd_values_are_told(tmp_path):
    path = tmp_path / "x"
    half = OFFERS.replace(",8,192", ",0.5,192")
    for text, why in (
        (half, "accelerators is '0.5'"),
        (OFFERS.replace(",8,192", ",1e300,192"), "accelerators"),
        (OFFERS + OFFERS.splitlines()[1].replace("98.3", "97") + "\n", "two prices for aws/us/p5: 98.3 and 97"),
        (OFFERS.replace("98.3", "Infinity"), "finite number > 0"),
    ):
        path.write_text(text)
        with pytest.raises(PriceError, match=why):
            load_offers(path)
    for change, why in (
        ({"num_attention_heads": 0.5}, "whole number"),
        ({"num_attention_heads": math.inf}, "num_attention_heads"),
        ({"hidden_size": 1e300}, "hidden_size"),
    ):
        path.write_text(json.dumps({k: v for k, v in CONFIG.items() if k != "text_config"} | change))
        with pytest.raises(DataError, match=why):
            ModelSpec.load(path)
    json_file = Path(tmp_path / "m.json")
    json_file.write_text(json.dumps([{**MEASURED[0], "failure_rate": 7}]))
    with pytest.raises(DataError, match=r"failure_rate is 7.*at most 1"):
        read_measurements(json_file, "m")
