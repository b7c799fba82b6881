"""A password goes nowhere: not into a store, not into an export, not onto a terminal."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit import Candidate, Result, Status, Store, Trial
from cloudbandit.cli import main
from cloudbandit.cli.common import print_go_on
from cloudbandit.core.errors import StoreError
from cloudbandit.core.masking import masked, masked_data, masked_json

PASSWORD = "s3cr3t%2Fhush"
URL = f"postgresql://me:{PASSWORD}@127.0.0.1:1/db"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (URL, "postgresql://me:***@127.0.0.1:1/db"),
        (f"cannot reach {URL}; cure: see", "cannot reach postgresql://me:***@127.0.0.1:1/db; cure: see"),
        ("postgres://me:a b@c/d@host/db", "postgres://me:***@host/db"),
        ("postgresql+psycopg://:hush@host/db", "postgresql+psycopg://:***@host/db"),
        ("postgresql://host/db?user=me&password=hush&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("host=h user=me password='hush hush' port=1", "host=h user=me password=*** port=1"),
        ("PGPASSWORD=hush cloudbandit show", "PGPASSWORD=*** cloudbandit show"),
        ("https://me:hush@hub/x, http://other:80/a", "https://me:***@hub/x, http://other:80/a"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("http://127.0.0.1:8000/v1 answered me@host", "http://127.0.0.1:8000/v1 answered me@host"),
        ("input_tokens=128, password_length 5", "input_tokens=128, password_length 5"),
    ],
)
def test_what_is_masked(text, said):
    assert masked(text) == said
    assert masked(said) == said


@settings(derandomize=True, max_examples=60)
@given(st.text(st.characters(exclude_characters="\n*@", exclude_categories=["Cs"]), min_size=4))
def test_no_password_of_a_url_survives(password):
    text = f"postgresql://someone:{password}@host/db"
    assert masked(text) == "postgresql://someone:***@host/db"
    assert masked_data({"a": [text, 1, None], "db_password": password, "n": True}) == {
        "a": ["postgresql://someone:***@host/db", 1, None],
        "db_password": "***",
        "n": True,
    }
    assert json.loads(masked_json({"a": text})) == {"a": "postgresql://someone:***@host/db"}


def finished_study(path, spec):
    with Store(path) as store:
        record = store.open("study", {"objective": URL}, spec, {"machine": URL})
        for i in range(2):
            trial = Trial(i, Candidate("a", {"x": i}))
            record.start(trial, 1.0)
            record.finish(trial, Result(metrics={"loss": float(i)}), 1.0)
        trial = Trial(2, Candidate("a", {"x": 2}))
        record.start(trial, 1.0)
        record.finish(trial, Result(Status.FAILED, reason="bug", error=f"cannot reach {URL}"), 1.0)
        record.close()


def test_a_planted_password_is_found_nowhere(tmp_path, capsys):
    path = tmp_path / "s.db"
    finished_study(path, {"kind": "x", "study": {"store": URL, "name": "study"}, "engine": {"password": PASSWORD}})
    for arguments in (
        ["show", "--store", path],
        ["show", "--store", path, "--trial", 2],
        ["show", "--store", path, "--json"],
        ["show", "--store", path, "--json", "--minimize", "loss"],
        ["resume", "--store", path],
        ["show", "--store", URL],
        ["show", "--store", URL.replace("127.0.0.1:1", "127.0.0.1:1:1")],
        ["show", "--store", URL.replace("hush", "@hush")],
        ["export", "--store", path, "--to", tmp_path / "table"],
    ):
        with pytest.raises(SystemExit):
            main([str(a) for a in arguments])
    print_go_on(URL, "study")
    out, err = capsys.readouterr()
    assert "hush" not in out + err
    assert "cannot reach postgresql://me:***@" in out
    assert "--store 'postgresql://me:***@127.0.0.1:1/db' --study study" in err
    assert "hush" not in repr(Store(path).spec("study")) + repr(Store(path).identity("study"))
    for file in (*(tmp_path / "table").iterdir(), *tmp_path.glob("s.db*")):
        assert b"hush" not in file.read_bytes(), file


def test_errors_in_python_hold_no_password(tmp_path):
    for url in (URL, f"{URL}?password=hush", URL.replace(":1/", ":one/"), f"mysql://me:{PASSWORD}@host/db"):
        with pytest.raises(StoreError) as stopped:
            Store(url)
        assert "hush" not in str(stopped.value)
        assert "hush" not in str(stopped.value.__cause__)
