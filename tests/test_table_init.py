"""`table init`: a first table.toml for files as people have them; what it writes loads and can be checked without an edit."""

import gzip
import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit import load_table
from cloudbandit.cli import main
from cloudbandit.core.errors import TableError
from cloudbandit.replay.task import Task, replay
from cloudbandit.tables.check import check_table
from cloudbandit.tables.init import init_table
from cloudbandit.tables.sniff import Format, sniff

PLAIN = """provider,nodes,instance,workload,runtime_s,cost_usd,status
aws,2,m5.large,sort,120.5,0.42,ok
aws,4,m5.large,sort,70,0.50,ok
gcp,2,n2,sort,,,OOM
gcp,4,n2,join,99,0.61,ok
aws,2,m5.large,join,300,0.11,Timed out after 300 s
"""
GERMAN = """Anbieter;Knoten;Größe;Kosten (EUR);Laufzeit [s]
aws;2;klein;0,50;1200,5
gcp;4;groß;1,25;800,0
aws;4;groß;0,75;900,5
"""
UNITS = """Cloud,vCPUs,Memory (GiB),Runtime (ms),Cost [USD],Tokens [tok/s]
aws,2,8,1200,0.5,100
azure,4,16,800,0.7,200
"""
NO_ARM = "threads,batch,ttft_p95_ms,output_tok_per_s\n1,8,100.5,10\n2,8,80.25,20\n"
UNNAMED = "family,size,n,y\na,1,1,3.5\nb,2,1,4.25\nb,1,2,9.75\n"
FLAGS = "cloud,spot,exit code,seed,duration (s)\naws,True,0,1,5\naws,False,137,2,\ngcp,True,0,3,7\n"
LOADS = "cloud,gpu,users,ttft_p95_ms,price\naws,L4,1,50,0.7\naws,L4,8,90,0.7\ngcp,T4,1,80,0.4\n"


def write(tmp_path, text, encoding="utf-8", name="runs.csv"):
    data = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return tmp_path / name


@pytest.mark.parametrize(
    ("text", "encoding", "rows", "arms", "metrics"),
    [
        (PLAIN, "utf-8", 5, ("aws", "gcp"), {"runtime_s", "cost_usd"}),
        (PLAIN, "utf-8-sig", 5, ("aws", "gcp"), {"runtime_s", "cost_usd"}),
        (PLAIN, "utf-16", 5, ("aws", "gcp"), {"runtime_s", "cost_usd"}),
        (PLAIN, "utf-16-le", 5, ("aws", "gcp"), {"runtime_s", "cost_usd"}),
        (PLAIN.replace(",", "\t"), "utf-8", 5, ("aws", "gcp"), {"runtime_s", "cost_usd"}),
        (PLAIN.replace(",", "|"), "utf-8", 5, ("aws", "gcp"), {"runtime_s", "cost_usd"}),
        (PLAIN.replace("\n", "\r\n"), "utf-8", 5, ("aws", "gcp"), {"runtime_s", "cost_usd"}),
        (GERMAN, "latin-1", 3, ("aws", "gcp"), {"kosten", "laufzeit_s"}),
        (GERMAN, "utf-16", 3, ("aws", "gcp"), {"kosten", "laufzeit_s"}),
        (UNITS, "utf-8", 2, ("aws", "azure"), {"runtime_ms", "cost_usd", "tokens"}),
        (NO_ARM, "utf-8", 2, ("all",), {"ttft_p95_ms", "output_tok_per_s"}),
        (UNNAMED, "utf-8", 3, ("a", "b"), {"y"}),
        (FLAGS, "utf-8", 3, ("aws", "gcp"), {"duration_s"}),
        (LOADS, "utf-8", 3, ("aws", "gcp"), {"ttft_p95_ms"}),
    ],
)
def test_what_it_writes_loads_and_is_checked_as_it_is(tmp_path, text, encoding, rows, arms, metrics):
    written = init_table(write(tmp_path, text, encoding))
    assert written == tmp_path / "table.toml"
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["runs.csv", "table.toml"]
    table = load_table(tmp_path)
    assert (table.rows, table.arms, set(table.metrics)) == (rows, arms, metrics)
    assert check_table(table).rows == rows


def test_what_it_guesses(tmp_path):
    said = init_table(write(tmp_path, PLAIN)).read_text()
    manifest = tomllib.loads(said)
    assert manifest["table"] == {"file": "runs.csv", "context": ["workload"], "arm": "provider"}
    assert manifest["params"] == {"nodes": "int", "instance": "choice"}
    assert manifest["metrics"]["cost_usd"] == {"column": "cost_usd", "unit": "USD"}
    assert manifest["spent"] == {"usd": "cost_usd", "seconds": "runtime_s"}
    status = {"column": "status", "ok": ["ok"], "timeout": ["Timed out after 300 s"], "otherwise": "failed"}
    assert manifest["status"] == status
    guesses = [
        line for line in said.splitlines() if " = " in line and not line.startswith(("file", "otherwise", "timeout"))
    ]
    assert all("#" in line for line in guesses), "a comment per guess"
    table = load_table(tmp_path)
    assert check_table(table).failures == 2
    assert replay(Task(table, "sort", "cost_usd"), "exhaustive", 9).incumbent.result.metrics["cost_usd"] == 0.42


def test_what_it_guesses_of_units_flags_loads_and_decimal_commas(tmp_path):
    def guessed(text, **how):
        (tmp_path / "table.toml").unlink(missing_ok=True)
        return tomllib.loads(init_table(write(tmp_path, text, **how)).read_text())

    german = guessed(GERMAN, encoding="latin-1")
    assert {k: german["table"][k] for k in ("separator", "decimal", "encoding")} == {
        "separator": ";",
        "decimal": ",",
        "encoding": "cp1252",
    }
    assert german["metrics"]["laufzeit_s"] == {"column": "Laufzeit [s]", "unit": "s"}
    assert load_table(tmp_path).records.metrics["kosten"].tolist() == [0.5, 1.25, 0.75]
    assert {c.config["Größe"] for c in load_table(tmp_path).candidates} == {"klein", "groß"}
    units = guessed(UNITS)
    assert units["metrics"]["runtime_ms"] == {"column": "Runtime (ms)", "unit": "ms"}
    assert units["params"] == {"vCPUs": "int", "Memory (GiB)": "int"}
    flags = guessed(FLAGS)
    assert flags["params"] == {"spot": "bool"}
    assert flags["status"]["ok"] == ["0"]
    loads = guessed(LOADS)
    assert (loads["table"]["load"], loads["facts"]) == ("users", {"price_usd_per_h": "price"})


def test_compressed_and_without_a_status_a_metric_with_gaps_is_left_out(tmp_path):
    file = write(tmp_path, "cloud,n,cost_usd,speed (req/s)\na,1,2,\nb,2,3,5\n", name="runs.csv.gz")
    manifest = tomllib.loads(init_table(file).read_text())
    assert list(manifest["metrics"]) == ["cost_usd"]
    assert load_table(tmp_path).rows == 2


def test_it_never_overwrites(tmp_path):
    file = write(tmp_path, PLAIN)
    (tmp_path / "table.toml").write_text("mine")
    with pytest.raises(TableError, match=r"table.toml is there already, and is never overwritten. Cure"):
        init_table(file)
    assert (tmp_path / "table.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"runs.csv is empty; cure: a header line, and a line per run"),
        ("\n\n", r"runs.csv is empty; cure: a header line"),
        ("cloud,nodes,cost_usd\n", r"holds no rows; cure: a line per run below the header"),
        ("cloud,nodes,cost_usd\na,2,$0.50\nb,4,$0.75\n", r"line 2: .*'\$0.50'.*Cure: the number alone .*'0.50'"),
        ("cloud,nodes,cost_usd\na,2,0.5\nb,4,0.5 USD\n", r"line 3: .*'0.5 USD'.*Cure: the number alone"),
        ("cloud,nodes,cost_usd\na,2,NaN\nb,4,0.5\nb,5,0.5\n", r"line 2: .*'NaN'.*Cure: an empty field"),
        ('cloud,nodes,cost_usd\na,2,"1,200.50"\nb,4,"2,200.50"\n', r"'1,200.50'.*Cure: no signs between thousands"),
        ("cloud,nodes,cost_usd\na,2,0,50\nb,4,0,75\n", r"cannot be read: .*decimal signs \(0,50\).*decimal = \",\""),
        ("cloud,kind\na,x\nb,y\n", r"no column looks like a metric .*cloud: arm, its name; kind: parameter.*Cure"),
        ("cloud,cost_usd\na,1\nb,2\n", r"no column looks like a parameter .*Cure: a column such as nodes"),
    ],
)
def test_what_it_cannot_read_has_a_cure(tmp_path, text, message):
    file = write(tmp_path, text)
    with pytest.raises(TableError, match=message):
        init_table(file)
    assert [p.name for p in tmp_path.iterdir()] == ["runs.csv"], "nothing is left behind"


@pytest.mark.parametrize(
    ("text", "encoding", "table", "message"),
    [
        (GERMAN, "utf-8", 'decimal = ","', r"no column for params.Knoten|cannot be read.*separator = ';'"),
        (GERMAN, "latin-1", 'separator = ";"', r'is not utf-8: .*Cure: encoding = "cp1252" in \[table\]'),
        (GERMAN, "utf-16", 'separator = ";"', r'is not utf-8: .*Cure: encoding = "utf-16" in \[table\]'),
        (GERMAN, "utf-8", 'separator = ";"', r"line 2: .*'0,50'.*Cure: decimal = \",\" in \[table\]"),
        (GERMAN.replace("0,50", "0.50"), "utf-8", 'separator = ";"\ndecimal = ","', r"'0.50'.*Cure: decimal = \"\.\""),
        ("", "utf-8", "", r"runs.csv is empty; cure"),
    ],
)
def test_a_wrong_format_in_a_manifest_has_a_cure(tmp_path, text, encoding, table, message):
    write(tmp_path, text, encoding)
    keys = f'[table]\nfile = "runs.csv"\n{table}\n[params]\nKnoten = "int"\n[metrics]\ncost = "Kosten (EUR)"\n'
    (tmp_path / "table.toml").write_text(keys, encoding="utf-8")
    with pytest.raises(TableError, match=message):
        load_table(tmp_path)


_NAMES = st.text("abcäß xyz_*[](){}\"'#=$", min_size=1, max_size=8).filter(str.strip)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_names_and_labels_survive(tmp_path_factory, data):
    import csv

    names = data.draw(st.lists(_NAMES, min_size=2, max_size=4, unique_by=str.strip))
    rows = data.draw(
        st.lists(st.tuples(*[st.sampled_from(["", "a", "b;c", "1", "2.5", '"q"'])] * len(names)), min_size=2)
    )
    folder = tmp_path_factory.mktemp("t")
    with (folder / "runs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "nodes", "cost_usd"])
        writer.writerows([*row, i, 1.5 + i] for i, row in enumerate(rows))
    init_table(folder / "runs.csv")
    assert check_table(load_table(folder)).rows == len(rows)


def test_formats_are_told_from_the_beginning(tmp_path):
    assert sniff(write(tmp_path, 'a,b\n"1,5","x;y"\n')) == Format("utf-8", ",", ",")
    assert sniff(write(tmp_path, "a;b\n1,5;2\n" * 50_000)) == Format("utf-8", ";", ",")
    assert sniff(write(tmp_path, "a\tb\n1.5\tü\n", "cp1252")) == Format("cp1252", "\t", ".")


def test_the_command(tmp_path, capsys):
    file = write(tmp_path, PLAIN)
    with pytest.raises(SystemExit, match="0"):
        main(["table", "init", str(file)])
    said = capsys.readouterr().out
    assert 'context = ["workload"]  # ' in said
    assert f"cloudbandit table check {tmp_path}" in said
    (tmp_path / "table.toml").unlink()
    with pytest.raises(SystemExit, match="0"):
        main(["table", "init", str(file), "--json"])
    assert json.loads(capsys.readouterr().out) == {"written": str(tmp_path / "table.toml")}
