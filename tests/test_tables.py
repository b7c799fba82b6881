import functools
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit import Candidate, Status, Trial, load_table
from cloudbandit.core.errors import DatasetError, TableError, UnknownNameError
from cloudbandit.core.goal import SLO
from cloudbandit.replay.compare import compare_rows
from cloudbandit.replay.task import Task, replay, task_seed
from cloudbandit.tables import registry
from cloudbandit.tables.check import check_table
from cloudbandit.tables.recorded import Recorded

MANIFEST = """
[table]
file = "runs.csv"
context = ["job", "size"]
arm = "cloud"
[params]
nodes = "int"
"X_*" = { type = "choice", arm = "X" }
spot = { type = "bool", arm = "Y" }
[metrics]
cost_usd = { column = "cost", unit = "USD" }
speed = "speed"
[spent]
usd = "paid"
seconds = "took"
[status]
column = "state"
ok = ["ok", "fine*"]
timeout = ["Timed out*"]
otherwise = "failed"
[replay]
failed_seconds = 600
"""
ROWS = """cloud,nodes,X_kind,X_disk,spot,job,size,cost,speed,paid,took,state
X,2,a,1,,j,big,4,10,0.4,100,ok
X,2,a,1,,j,big,6,20,0.6,150,fine then
X,4,b,0,,j,big,1,,0.3,100,Timed out.
X,4,a,0,,j,big,5,15,0.5,100,ok
X,4,a,0,,j,big,2,,0.5,100,crash
Y,2,,,true,j,big,7,30,0.7,100,ok
Y,2,,,true,j,small,3,5,0.3,100,ok
X,2,a,1,,k,big,9,,0.9,100,crash
"""


@functools.cache
def llm_serving():
    return load_table("llm-serving")


def write(tmp_path, manifest=MANIFEST, rows=ROWS):
    (tmp_path / "table.toml").write_text(manifest)
    (tmp_path / "runs.csv").write_text(rows)
    return tmp_path


@pytest.fixture
def table(tmp_path):
    return load_table(write(tmp_path))


def test_what_a_table_holds(table):
    found = check_table(table).to_dict()
    warnings = found.pop("warnings")
    assert found == {
        "rows": 8,
        "workloads": ["j|big", "j|small", "k|big"],
        "arms": ["X", "Y"],
        "configs": 4,
        "repeats": 2,
        "failures": 3,
        "missing": 6,
        "metrics": ["cost_usd", "speed"],
        "facts": ["price_usd_per_h"],
    }
    text = "\n".join(warnings)
    assert "1 workloads never succeed" in text
    assert "cost_usd: the least value is a failed run's in 2 of 3 workloads" in text
    assert "arm 'Y' has a single config" in text
    assert "lack an arm entirely" in text
    assert "nominal grid" in text


def test_check_warns_of_columns_without_a_role_and_of_repeats_that_disagree(tmp_path):
    """The cost hangs on a region that the manifest forgot: a mean of 0.5 and 2.5 is the cost of neither."""
    rows = "cloud,nodes,region,cost\na,2,east,0.5\na,2,west,2.5\na,4,east,1\na,4,west,1.1\nb,2,east,3\n"
    manifest = '[table]\nfile = "runs.csv"\narm = "cloud"\n[params]\nnodes = "int"\n[metrics]\ncost_usd = "cost"\n'
    table = load_table(write(tmp_path, manifest, rows))
    assert table.workloads == ("all",), "one workload needs no context column"
    unused, repeats, spent, *_ = check_table(table).warnings
    assert "1 columns have no role" in unused
    assert unused.endswith("region")
    assert (
        "cost_usd differs by a factor of 5 within one config (0.5 … 2.5; workload 'all', Candidate(a: nodes=2))"
        in repeats
    )
    assert "there is no [spent]" in spent
    told = load_table(write(tmp_path, manifest.replace("[metrics]", 'region = "choice"\n[metrics]'), rows))
    assert not [w for w in check_table(told).warnings if "role" in w or "disagree" in w]


def test_a_replay_says_once_that_repeats_disagree(tmp_path, caplog):
    rows = ROWS.replace("j,big,6,20", "j,big,60,50")
    table = load_table(write(tmp_path, rows=rows))
    for seed in range(2):
        replay(Task(table, "j|big", "cost_usd"), "random", 3, seed)
    compare_rows(table, "cost_usd", ["random"], 3, 1)
    (said,) = caplog.messages
    assert "cost_usd differs by a factor of 15 within one config (4 … 60;" in said
    caplog.clear()
    replay(Task(table, "j|big", maximize="speed"), "random", 3)
    drawn = load_table(write(tmp_path, MANIFEST + 'repeats = "draw"\n', rows))
    replay(Task(drawn, "j|big", "cost_usd"), "random", 3)
    assert len(caplog.messages) == 1, "of another metric, once; a table whose repeats are drawn averages nothing"


def test_parameters_are_active_in_their_arm_only(table):
    domain = table.workload("j|big").domain
    assert [c for c in domain.candidates if c.arm == ("Y",)] == [Candidate("Y", {"nodes": 2, "spot": True})]
    assert Candidate("X", {"nodes": 2, "X_kind": "a", "X_disk": "1"}) in domain, "labels stay text"
    nominal = {p.name: p.values for p in domain.leaves[("X",)].parameters}
    assert nominal == {"nodes": (2, 4), "X_kind": ("a", "b"), "X_disk": ("0", "1")}


def results(table, workload, failures):
    objective = Recorded(table, workload, ["cost_usd"], failures)
    return {c.key: objective.evaluate(Trial(0, c), None) for c in objective.domain.candidates}


def test_strict_failures_are_charged_at_their_price_and_mixed_cells_use_what_succeeded(table):
    strict = results(table, "j|big", "strict")
    mean = strict[Candidate("X", {"nodes": 2, "X_kind": "a", "X_disk": "1"}).key]
    assert (mean.status, mean.metrics) == (Status.OK, {"cost_usd": 5.0, "speed": 15.0})
    timed_out = strict[Candidate("X", {"nodes": 4, "X_kind": "b", "X_disk": "0"}).key]
    assert (timed_out.status, timed_out.metrics, timed_out.reason) == (Status.TIMEOUT, {}, "Timed out.")
    assert (timed_out.seconds, timed_out.spent_usd) == (600.0, pytest.approx(0.3 / 100 * 600))
    mixed = strict[Candidate("X", {"nodes": 4, "X_kind": "a", "X_disk": "0"}).key]
    assert (mixed.status, mixed.metrics["cost_usd"]) == (Status.OK, 5.0)


def test_recorded_failures_count_like_any_other_value(table):
    recorded = results(table, "j|big", "recorded")
    timed_out = recorded[Candidate("X", {"nodes": 4, "X_kind": "b", "X_disk": "0"}).key]
    assert (timed_out.status, timed_out.metrics) == (Status.TIMEOUT, {"cost_usd": 1.0})
    mixed = recorded[Candidate("X", {"nodes": 4, "X_kind": "a", "X_disk": "0"}).key]
    assert mixed.metrics["cost_usd"] == 3.5
    task = Task(table, "j|big", "cost_usd", failures="recorded")
    assert task.best_value == 1.0, "the crash is the optimum, as published comparisons have it"
    report = replay(task, "exhaustive", 9)
    assert report.incumbent.result.status is Status.OK, "and never the answer"
    assert task.best_tried_value(report.observations) == 1.0
    assert task.answer_value(report.observations) == 3.5


def test_recorded_failures_need_values(table):
    with pytest.raises(TableError, match=r"failed run in line 4 has no value for 'speed'.*failures='strict'"):
        Recorded(table, "j|big", ["speed"], "recorded")


def test_regret_against_the_best_success(table):
    task = Task(table, "j|big", "cost_usd")
    assert task.best_value == 5.0
    assert task.random_value == pytest.approx((5 + 1.8 + 5 + 7) / 4)
    report = replay(task, "exhaustive", 9)
    assert task.regret_percent(task.answer_value(report.observations)) == 0.0
    assert task.best_tried_value(report.observations) == pytest.approx(1.8), "the charge counts among a run's trials"
    searched = 5 + 1.8 + 5 + 7
    saved = 64 * task.random_value - (searched + 64 * 1.8)
    assert task.savings_percent(report.observations) == pytest.approx(100 * saved / (64 * task.random_value))


def test_a_workload_that_never_succeeds(table):
    task = Task(table, "k|big", "cost_usd")
    assert not task.succeeds
    with pytest.raises(TableError, match=r"ever succeeded.*another workload"):
        _ = task.optimum
    assert replay(task, "random", 3).incumbent is None


def test_slos_move_the_optimum(table):
    task = Task(table, "j|big", "cost_usd", (SLO.parse("speed>=20"),))
    assert task.optimum.arm == ("Y",)
    feasible = [task.values[c] for c, score in task.scores.items() if score.feasible]
    assert 0 < len(feasible) < len(task.scores)
    assert task.random_feasible_value == pytest.approx(sum(feasible) / len(feasible))
    assert task.random_regret_percent == pytest.approx(task.regret_percent(task.random_feasible_value))
    with pytest.raises(TableError, match="looser SLO"):
        _ = Task(table, "j|big", "cost_usd", (SLO.parse("speed>=99"),)).optimum


def test_missing_cells_can_be_unavailable(tmp_path):
    table = load_table(write(tmp_path, MANIFEST + 'missing = "unavailable"\n'))
    domain = table.workload("j|small").domain
    assert len(domain) == 4
    report = replay(Task(table, "j|small", "cost_usd"), "exhaustive", 9)
    assert report.evaluations == 1
    assert {str(o.result.status) for o in report.observations} == {"ok", "unavailable"}


def test_repeats_can_be_drawn_or_first(tmp_path):
    candidate = Candidate("X", {"nodes": 2, "X_kind": "a", "X_disk": "1"})
    drawn = Recorded(load_table(write(tmp_path, MANIFEST + 'repeats = "draw"\n')), "j|big", ["cost_usd"])
    costs = [drawn.evaluate(Trial(0, candidate, seed), None).metrics["cost_usd"] for seed in range(20)]
    assert set(costs) == {4.0, 6.0}
    assert costs == [drawn.evaluate(Trial(0, candidate, seed), None).metrics["cost_usd"] for seed in range(20)]
    assert drawn.quote(candidate).usd == 0.6, "the worst of the rows"
    first = Recorded(load_table(write(tmp_path, MANIFEST + 'repeats = "first"\n')), "j|big", ["cost_usd"])
    assert first.evaluate(Trial(0, candidate), None).metrics["cost_usd"] == 4.0


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_means_nothing(tmp_path_factory, shuffler):
    lines = ROWS.splitlines()
    body = lines[1:]
    shuffler.shuffle(body)
    shuffled = load_table(write(tmp_path_factory.mktemp("t"), rows="\n".join([lines[0], *body]) + "\n"))
    straight = load_table(write(tmp_path_factory.mktemp("t")))
    one, two = (t.workload("j|big").domain for t in (straight, shuffled))
    assert one.candidates == two.candidates
    assert one.fingerprint == two.fingerprint


def test_parquet_and_compressed_tables(tmp_path):
    import gzip

    write(tmp_path, MANIFEST.replace("runs.csv", "runs.csv.gz"))
    (tmp_path / "runs.csv.gz").write_bytes(gzip.compress(ROWS.encode()))
    assert load_table(tmp_path).rows == 8
    write(tmp_path, MANIFEST.replace("runs.csv", "runs.parquet"))
    (tmp_path / "runs.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableError, match=r"cloudbandit\[parquet\]|cannot be read"):
        load_table(tmp_path)


PREFIX = MANIFEST.replace('"X_*" = { type = "choice", arm = "X" }', "{rule}").replace(', arm = "Y"', "")


def test_a_prefix_rule_takes_no_column_that_has_another_role(tmp_path):
    """Else the target is a parameter, and the optimizer reads it off the config."""
    everything = PREFIX.replace("{rule}", '"*" = "choice"') + '[facts]\nprice = "price"\n'
    rows = "\n".join(f"{line},{'price' if i == 0 else 7}" for i, line in enumerate(ROWS.splitlines())) + "\n"
    table = load_table(write(tmp_path, everything, rows))
    assert {name for c in table.candidates for name in c.config} == {"nodes", "X_kind", "X_disk", "spot"}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('"X_*" = "choice"\n"X_k*" = "choice"', r"column 'X_kind' is covered by params.X_\* and by params.X_k\*; cure"),
        ('"X_*" = "choice"\n"co*" = "float"', r"params.co\* covers only columns that have another role.*: cost;"),
        ('"X_*" = "choice"\npaid = "float"', r"column 'paid' is a parameter and has another role too"),
        ('"X_*" = "choice"\nstate = "choice"', r"column 'state' is a parameter and has another role too"),
        ('"X_*" = "choice"\n"Z_*" = "choice"', r"no column for params.Z_\*"),
    ],
)
def test_rules_that_overlap_are_refused_by_name(tmp_path, rule, message):
    with pytest.raises(TableError, match=message):
        load_table(write(tmp_path, PREFIX.replace("{rule}", rule)))


def test_an_exact_name_beats_a_prefix(tmp_path):
    table = load_table(write(tmp_path, PREFIX.replace("{rule}", '"X_*" = "choice"\nX_disk = "int"')))
    assert {type(c.config["X_disk"]) for c in table.candidates if "X_disk" in c.config} == {int}


# ── bad input: every message names what, got, allowed and cure ──


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[metrics]", "[metrcs]"), r"unknown section \[metrcs\] \(did you mean 'metrics'"),
        (('file = "runs.csv"', "file = 3"), r"table.file is 3; allowed: a text"),
        (('file = "runs.csv"', ""), r"\[table\] lacks 'file'"),
        (('context = ["job", "size"]', "context = 3"), r"table.context is 3; allowed: a text, or a list of texts"),
        (
            ('file = "runs.csv"', 'file = "runs.csv"\nseparator = ",,"'),
            "table.separator is ',,'; allowed: one character",
        ),
        (('file = "runs.csv"', 'file = "runs.csv"\ndecimal = ";"'), "table.decimal is ';'; allowed"),
        (
            ('file = "runs.csv"', 'file = "runs.csv"\nencoding = "utf-9"'),
            "'utf-9', which Python does not know; cure: utf-8",
        ),
        (("[table]", "[table"), "is not TOML"),
        (('nodes = "int"', 'nodes = "integer"'), "params.nodes is 'integer'; allowed: int, float, bool, choice"),
        (('nodes = "int"', 'nods = "int"'), r"no column for params.nods; its columns: cloud, nodes"),
        (('arm = "X" }', 'arm = "Z" }'), r"belongs to arm 'Z', and the arms are X, Y"),
        (('column = "cost"', 'column = "costs"'), r"no column 'costs', which metrics.cost_usd names"),
        (('otherwise = "failed"', ""), r"line 6: unknown status 'crash'.*otherwise = \"failed\""),
        (('ok = ["ok", "fine*"]', ""), r"\[status\] lacks 'ok'"),
        (
            ("failed_seconds = 600", "failed_seconds = -1"),
            "replay.failed_seconds is -1; allowed: a number of seconds > 0",
        ),
        (("failed_seconds = 600", 'repeats = "median"'), "replay.repeats is 'median'; allowed: mean, draw, first"),
        (("failed_seconds = 600", "fail_seconds = 600"), r"unknown key 'fail_seconds' in \[replay\] \(did you mean"),
        (('nodes = "int"', 'nodes = "int"\njob = "choice"'), "column 'job' is a parameter and has another role too"),
        (('speed = "speed"', "speed = { unit = 's' }"), "metrics.speed is"),
    ],
)
def test_a_wrong_manifest(tmp_path, change, message):
    with pytest.raises(TableError, match=message):
        load_table(write(tmp_path, MANIFEST.replace(*change, 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            (",0.4,100,ok", ",nan,100,ok"),
            r"line 2: spent.usd \(column 'paid'\) is 'nan'; it must be a finite number ≥ 0",
        ),
        ((",0.4,100,ok", ",,100,ok"), r"line 2: spent.usd \(column 'paid'\) is empty in an ok run"),
        (("big,4,10", "big,-4,10"), r"line 2: metric 'cost_usd' is -4.0; money and time cannot be negative"),
        (("big,4,10", "big,,10"), r"line 2: an ok run has no value for metric 'cost_usd'"),
        (("big,4,10", "big,four,10"), r"metric 'cost_usd' \(column 'cost'\) is 'four'"),
        (("X,2,a,1,,j", "X,2.5,a,1,,j"), r"line 2: parameter 'nodes' is '2.5', and its type is 'int'"),
        (("Y,2,,,true", "Y,2,a,,true"), r"line 7: 'X_kind' belongs to arm 'X' and is 'a' in a row of arm 'Y'"),
        (("Y,2,,,true", "Y,2,,,maybe"), r"parameter 'spot' is 'maybe', and its type is 'bool'"),
        (("X,2,a,1,,j", ",2,a,1,,j"), r"line 2: the arm column 'cloud' is empty"),
    ],
)
def test_wrong_rows(tmp_path, change, message):
    with pytest.raises(TableError, match=message):
        load_table(write(tmp_path, rows=ROWS.replace(*change, 1)))


def test_no_rows_no_file_no_table(tmp_path):
    any_arm = MANIFEST.replace(', arm = "X"', "").replace(', arm = "Y"', "")
    with pytest.raises(TableError, match="holds no rows"):
        load_table(write(tmp_path, any_arm, ROWS.splitlines()[0] + "\n"))
    (tmp_path / "runs.csv").unlink()
    with pytest.raises(TableError, match=r"does not exist; cure: correct table.file"):
        load_table(tmp_path)
    (tmp_path / "table.toml").unlink()
    with pytest.raises(TableError, match=r"a table is a folder with a table\.toml"):
        load_table(tmp_path)
    with pytest.raises(UnknownNameError, match=r"unknown table 'multicluod'.*Did you mean 'multicloud'.*folder"):
        load_table("multicluod")
    with pytest.raises(UnknownNameError, match="unknown workload"):
        llm_serving().workload("nope")


def test_datasets_are_pinned(tmp_path, monkeypatch):
    (tmp_path / "multicloud").mkdir()
    (tmp_path / "multicloud" / "multi-cloud-configuration.csv").write_text("tampered")
    monkeypatch.setenv("CLOUDBANDIT_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=r"pinned to 6660f7e6ada4"):
        load_table("multicloud")
    with pytest.raises(UnknownNameError, match="unknown data set"):
        registry.dataset_path("nope")


def test_a_data_set_that_cannot_be_fetched_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.delenv("CLOUDBANDIT_DATA", raising=False)
    monkeypatch.setattr(registry, "_cache", lambda: tmp_path)

    def no_network(*_, **__):
        raise OSError("network unreachable")

    monkeypatch.setattr("pooch.retrieve", no_network)
    with pytest.raises(
        DatasetError, match=r"could not be downloaded \(OSError.*Cure: put multi-cloud-configuration.csv"
    ):
        registry.dataset_path("multicloud")


# ── the tables that come with the project ──


@pytest.mark.slow
def test_the_bundled_table_is_what_its_readme_says():
    table = llm_serving()
    found = check_table(table)
    assert found.arms == ["aws", "azure", "gcp"]
    assert len(found.workloads) == 81
    assert found.failures > 0
    for name in found.workloads[::3]:
        task = Task(table, name, "usd_per_h", (SLO("ttft_ms", 1000.0),))
        assert task.best_value > 0, "every workload has configs with ttft_ms <= 1000"
        assert len(task.objective.domain.names) > 1, "and a choice of provider"
    cell = next(iter(table.workload(found.workloads[0]).cells.values())).rows[0]
    assert cell.reason in ("", "out_of_memory")


def test_the_fleets_price_follows_from_its_parts():
    """usd_per_h = ⌈demand / capacity⌉ × price, and the price of a million tokens, recomputed from other columns."""
    import math

    table = llm_serving()
    for name in table.workloads[::7]:
        demand = int(name.split("|")[2].removesuffix("tok"))
        for cell in table.workload(name).cells.values():
            (row,) = cell.rows
            if not row.ok:
                continue
            price, speed = row.facts["price_usd_per_h"], row.metrics["output_tok_per_s"]
            instances = row.metrics["usd_per_h"] / price
            assert instances == pytest.approx(round(instances), rel=1e-3)
            assert abs(round(instances) - math.ceil(demand / speed)) <= 1, "up to rounding of the speed"
            assert row.metrics["usd_per_million_output_tokens"] == pytest.approx(price / (speed * 0.0036), rel=1e-2)
            assert row.usd == pytest.approx(price / 4, rel=1e-3)


@pytest.mark.dataset
def test_multicloud_is_what_the_study_counted():
    found = check_table(load_table("multicloud"))
    assert (found.rows, found.configs, found.repeats, found.failures, found.missing) == (2507, 82, 105, 305, 58)
    assert len(found.workloads) == 30
    text = "\n".join(found.warnings)
    assert "2 workloads never succeed" in text
    assert "cost_usd: the least value is a failed run's in 4 of 30" in text
    assert "runtime_s: the least value is a failed run's in 6 of 30" in text
    assert "6 configs of the nominal grid" in text


@pytest.mark.dataset
def test_random_search_draws_providers_by_their_hit_rate():
    """24 of 24, 10 of 16 and 48 of 48 nominal cells are recorded, and a miss redraws the provider too."""
    domain = load_table("multicloud").workload("buzz-xgboost").domain
    share = {arm: domain.draw_weights[domain.arm_index == i].sum() for i, arm in enumerate(domain.names)}
    cells = {arm: int((domain.arm_index == i).sum()) for i, arm in enumerate(domain.names)}
    hits = {"A": cells["A"] / 24, "B": cells["B"] / 16, "C": cells["C"] / 48}
    for arm in domain.names:
        assert share[arm] == pytest.approx(hits[arm] / sum(hits.values()))


def test_seeds_differ_between_workloads():
    assert len({task_seed(0, w) for w in llm_serving().workloads}) == 81


def test_manifests_of_registered_tables_are_packaged():
    folder = Path(registry.__file__).parent / "manifests"
    assert {p.stem for p in folder.glob("*.toml")} == {name for name, d in registry.DATASETS.items() if d.table}


def test_a_copy_of_a_bundled_table_loads_by_path(tmp_path):
    copy = shutil.copytree(registry.bundled() / "llm-serving", tmp_path / "mine")
    one, two = load_table(copy), llm_serving()
    assert (one.rows, one.workloads, one.candidates) == (two.rows, two.workloads, two.candidates)


def test_the_recorded_engine_is_what_its_readme_says():
    table = load_table("openvino-cpu")
    assert table.workloads == ("chat", "prefix")
    assert len(table.candidates) >= 300
    rows = [row for w in table.workloads for cell in table.workload(w).cells.values() for row in cell.rows]
    failed = Counter(row.reason for row in rows if not row.ok)
    assert sum(count >= 0.05 * len(rows) for count in failed.values()) >= 2
    assert all(("max_num_seqs" in c.config) == (not c.config["dynamic_split_fuse"]) for c in table.candidates)
    assert table.rows > sum(len(table.workload(w).cells) for w in table.workloads)  # repeats
