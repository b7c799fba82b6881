"""What others wrote reaches a terminal as text: no control sequence, no markup of ours."""

import csv
import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table as Grid

from cloudbandit import Candidate, Result, Status, Store, Trial
from cloudbandit.cli import main
from cloudbandit.cli.text import SafeConsole, plain, shown

EVIL = "\x1b]0;owned\x07\x1b[2J[bold red]x[/] \x9b31m \u202egpj :warning: [link=http://x]"
OURS = re.compile(r"\x1b\[[0-9;]*m")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@settings(derandomize=True, max_examples=80)
@given(st.text(st.characters(), max_size=40), st.booleans())
def test_no_control_character_gets_through(text, cell):
    file = io.StringIO()
    console = SafeConsole(file=file, width=200, force_terminal=True, emoji=False, color_system="truecolor")
    if cell:
        grid = Grid(shown(text), title=shown(text))
        grid.add_row(shown(text))
        console.print(grid)
    else:
        console.print(text, markup=False)  # somebody forgot `plain`
    assert not CONTROLS.search(OURS.sub("", file.getvalue()))
    assert not CONTROLS.search(plain(text))


def test_text_stays_readable_and_markup_stays_text():
    file = io.StringIO()
    console = SafeConsole(file=file, width=200, emoji=False)
    console.print(f"[bold]{shown(EVIL)}[/]")
    assert file.getvalue() == "␛]0;owned␇␛[2J[bold red]x[/] \ufffd31m \ufffdgpj :warning: [link=http://x]\n"


@pytest.fixture
def evil_store(tmp_path):
    path = tmp_path / "s.db"
    with Store(path) as store:
        record = store.open(EVIL, {}, {"kind": "x"})
        for i in range(2):
            trial = Trial(i, Candidate(f"{EVIL}{i}", {f"knob{EVIL}": EVIL if i else "[/]"}))
            record.start(trial, 1.0)
            metrics = {f"loss{EVIL}": float(i), "loss": 1.0 + i}
            record.finish(trial, Result(metrics=metrics, artifacts={EVIL: EVIL}, error=EVIL), 1.0)
        failed = Trial(2, Candidate("a", {"other": EVIL}))
        record.start(failed, 1.0)
        record.finish(failed, Result(Status.FAILED, reason=EVIL, error=f"log: {EVIL}"), 1.0)
        record.close()
    return path


@pytest.fixture
def evil_table(tmp_path):
    folder = tmp_path / "evil"
    folder.mkdir()
    with (folder / "runs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["w", "arm", f"k{EVIL}", "cost", "label"])
        for i in range(6):
            writer.writerow(["w" + EVIL, f"arm{EVIL}{i % 2}", f"{EVIL}{i}", i + 1, EVIL])
    escaped = EVIL.encode("unicode_escape").decode().replace("\\x", "\\u00")
    (folder / "table.toml").write_text(
        f'[table]\nfile = "runs.csv"\ncontext = "w"\narm = "arm"\n[params]\n"k{escaped}" = "choice"\n'
        '[metrics]\nloss = "cost"\n[facts]\nlabel = "label"\n'
    )
    return folder


def said_by(capsys, *arguments):
    with pytest.raises(SystemExit):
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert not CONTROLS.search(OURS.sub("", out + err)), repr(out + err)
    return out + err


def test_a_hostile_store(evil_store, capsys):
    for extra in ([], ["--trial", 0], ["--trial", 2], ["--minimize", "loss"], ["--trial", 9], ["--study", EVIL + "x"]):
        said = said_by(capsys, "show", "--store", evil_store, *extra)
        assert "[bold red]x[/]" in said.replace("\n", ""), said
    said_by(capsys, "resume", "--store", evil_store)
    said_by(capsys, "export", "--store", evil_store, "--to", evil_store.parent / EVIL.replace("/", ""))


def test_a_hostile_table(evil_table, capsys):
    said_by(capsys, "table", "check", evil_table)
    replay = ["replay", evil_table, "--workload", f"w{EVIL}", "--minimize", "loss", "--budget", "4"]
    assert "[bold red]x[/]" in said_by(capsys, *replay, "--optimizer", "random-wor")
    assert "[bold red]x[/]" in said_by(capsys, *replay, "--optimizer", "cloudbandit:random-wor")
    said_by(capsys, *replay, "--optimizer", EVIL)
    said_by(capsys, "replay", evil_table, "--workload", "x", "--minimize", "loss")
    said_by(
        capsys, "compare", evil_table, "--minimize", "loss", "--optimizers", "random-wor", "--budgets", 2, "--seeds", 2
    )


def test_show_tells_of_the_latest_trials_and_counts_all(tmp_path, capsys):
    path = tmp_path / "s.db"
    with Store(path) as store:
        record = store.open("s", {}, {"kind": "x"})
        for i in range(7):
            trial = Trial(i, Candidate("a", {"x": f"config{i}"}))
            record.start(trial, 1.0)
            record.finish(trial, Result(metrics={"loss": float(i)}, spent_usd=0.5, hosts_usd=0.25), 1.0)
        record.close()
        assert [t.trial.number for t in store.trials("s", last=2)] == [5, 6]
        assert list(store.each_trial("s")) == store.trials("s")
        totals = store.totals("s")
        assert (totals.trials, totals.spent_usd, totals.hosts_usd) == (7, 3.5, 1.75)
    some = said_by(capsys, "show", "--store", path, "--rows", 2)
    assert "the latest 2 of 7 trials" in some
    assert "7 trials, 0 in flight; 3.5 USD and 1.75 USD for hosts" in some
    assert ["config4" in some, "config5" in some, "config6" in some] == [False, True, True]
    best = said_by(capsys, "show", "--store", path, "--rows", 2, "--minimize", "loss")
    assert "the best 2 of 7 trials" in best
    assert ["config0" in best, "config1" in best, "config2" in best] == [True, True, False]
    assert "config0" in said_by(capsys, "show", "--store", path, "--rows", 2, "--all")
    shown_as_json = json.loads(said_by(capsys, "show", "--store", path, "--rows", 2, "--json"))
    assert [t["trial"] for t in shown_as_json["trials"]] == list(range(7))
    assert shown_as_json["in_flight"] == []
