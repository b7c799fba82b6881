"""Flags of today's engines, and our command lines held against them."""

import pytest

from cloudbandit.core.errors import UnknownNameError
from cloudbandit.engines.flags import RETIRED, of_help, recorded, unknown
from cloudbandit.engines.vllm import VLLM
from cloudbandit.tune.subject import _Anywhere


def test_every_flag_of_vllms_command_is_one():
    for options in ({}, {"device": "cpu"}, {"dummy": True, "max_model_len": 4096}):
        engine = VLLM(**options)
        for config in ({}, {k.name: k.values[0] for k in engine.knobs}, {k.name: k.values[-1] for k in engine.knobs}):
            argv = engine.argv(_Anywhere(), config, 8000, "model")
            assert unknown(argv, recorded("vllm")["flags"]) == []


def test_the_knobs_values_are_of_the_flags_types_and_choices():
    flags = recorded("vllm")["flags"]
    for knob in VLLM().knobs:
        about = flags[f"--{knob.name.replace('_', '-')}"]
        kind = {"bool": bool, "int": int, "float": float, "str": str}[about["type"]]
        assert all(isinstance(v, kind) for v in knob.values), knob.name
        assert set(knob.values) <= set(about.get("choices", knob.values)), knob.name


def test_retired_knobs_are_gone_from_vllm_and_from_what_is_searched():
    flags = recorded("vllm")["flags"]
    for name in RETIRED:
        assert f"--{name.replace('_', '-')}" not in flags
        assert name not in {k.name for k in VLLM().knobs}
    assert "--disable-custom-all-reduce" in flags


def test_what_was_recorded_is_plausible():
    for engine, least in {"vllm": 200, "sglang": 400}.items():
        found = recorded(engine)
        assert found["version"]
        assert len(found["flags"]) >= least
        assert all(about["type"] in ("bool", "int", "float", "str", "other") for about in found["flags"].values())
    assert "fp8" in recorded("vllm")["flags"]["--kv-cache-dtype"]["choices"]
    assert recorded("sglang")["flags"]["--schedule-policy"]["default"] == "fcfs"
    with pytest.raises(UnknownNameError, match="sglang, vllm"):
        recorded("tgi")


def test_help_texts_and_unknown_flags():
    text = "  --max-num-seqs MAX_NUM_SEQS\n  --enable-x, --no-enable-x\n  --[no-]eager  say --not--this\n"
    flags = of_help(text)
    assert {"--max-num-seqs", "--enable-x", "--no-enable-x", "--eager", "--no-eager"} <= flags
    argv = ["vllm", "serve", "--max-num-seqs", "4", "--no-enable-x", "--speed=3", "--no-eager", "--gone"]
    assert unknown(argv, flags) == ["--speed", "--gone"]
