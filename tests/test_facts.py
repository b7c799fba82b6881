"""Facts of a table: of several columns, of the catalogue; what would tell the answer is refused, what tells nothing is said."""

import numpy as np
import pandas as pd
import pytest

from cloudbandit import Table, load_table
from cloudbandit.core.errors import TableError
from cloudbandit.tables.check import check_table
from cloudbandit.tables.recorded import Recorded

MANIFEST = """
[table]
file = "runs.csv"
context = ["job"]
arm = "cloud"
[params]
nodes = "int"
"A_*" = { type = "choice", arm = "A" }
"B_*" = { type = "choice", arm = "B" }
[metrics]
runtime_s = "seconds"
[facts]
"""
RUNS = """job,cloud,nodes,A_cpu,B_cpu,gpu,seconds,price,status
j,A,1,4,,T4,9,1.5,ok
j,A,2,8,,T4,7,3.0,ok
j,B,1,,8,L4,5,2.5,ok
j,B,1,,8,L4,6,2.5,ok
"""


def table(tmp_path, facts, runs=RUNS, more=""):
    (tmp_path / "runs.csv").write_text(runs)
    (tmp_path / "table.toml").write_text(MANIFEST + facts + more)
    return load_table(tmp_path)


def told(table, workload=None):
    recorded = Recorded(table, workload or table.workloads[0], [])
    return {c.arm[0] + str(c["nodes"]): recorded.facts(c) for c in recorded.domain.candidates}


def test_a_fact_that_arms_share_is_what_a_row_fills_and_its_columns_stay_parameters(tmp_path):
    made = table(tmp_path, 'vcpus = ["A_cpu", "B_cpu"]\ngpu = "gpu"\n')
    assert told(made) == {
        "A1": {"vcpus": 4.0, "gpu": "T4"},
        "A2": {"vcpus": 8.0, "gpu": "T4"},
        "B1": {"vcpus": 8.0, "gpu": "L4"},
    }
    assert {name for c in made.candidates for name in c.config} == {"nodes", "A_cpu", "B_cpu"}
    assert check_table(made).facts == ["gpu", "vcpus"]
    frame = pd.read_csv(tmp_path / "runs.csv").drop(columns=["status", "price"])
    facts = {"vcpus": ("A_cpu", "B_cpu"), "gpu": "gpu"}
    same = Table.from_frame(frame, arm="cloud", context="job", metrics={"runtime_s": "seconds"}, facts=facts)
    assert told(same) == told(made)


@pytest.mark.parametrize(
    ("facts", "runs", "said"),
    [
        ('vcpus = "seconds"\n', RUNS, "facts.vcpus is the column 'seconds', which trials measure"),
        (
            'how = ["gpu", "status"]\n[status]\ncolumn = "status"\nok = ["ok"]\n',
            RUNS,
            "facts.how is the column 'status'",
        ),
        ('price_usd_per_h = "price"\n', RUNS.replace("6,2.5", "6,2.6"), "2.5 in line 4 and 2.6 in line 5, repeats"),
        (
            'price_usd_per_h = "price"\n',
            RUNS.replace("9,1.5", "9,0"),
            r"line 2.*is '0.*'; it must be a finite number > 0",
        ),
        ('price_usd_per_h = "price"\n', RUNS.replace("9,1.5", "9,-1"), r"line 2.*is '-1.*'; it must be a finite"),
        (
            'vcpus = ["A_cpu", "B_cpu"]\n',
            RUNS.replace("1,4,,", "1,inf,,"),
            "line 2: fact 'vcpus'.*is 'inf'; it must be",
        ),
        ('vcpus = ["A_cpu", "nodes"]\n', RUNS, "line 2: fact 'vcpus' has a value in 'nodes' and in another"),
        ('vcpus = ["A_cpu", "cores"]\n', RUNS, r"no column 'cores', which facts.vcpus\[1\] names"),
        ("vcpus = []\n", RUNS, "allowed: a column, or a list of columns"),
        ('[facts.rented]\non = "gpu"\n', RUNS, "facts.rented is a table; only facts.catalogue may be one"),
        ('[facts.catalogue]\non = "kind"\n', RUNS, "no column 'kind', which facts.catalogue.on names"),
        ('[facts.catalogue]\non = "gpu"\n', RUNS, "line 2: no offer is of provider 'A'; known: aws"),
    ],
)
def test_what_tells_the_answer_or_nothing_at_all_is_refused(tmp_path, facts, runs, said):
    with pytest.raises(TableError, match=said):
        table(tmp_path, facts, runs)


RENTED = """job,cloud,kind,where,how,nodes,seconds
j,aws,p5.48xlarge,us-east-1,on-demand,1,9
j,aws,g6.xlarge,us-east-1,spot,1,8
"""
JOINED = MANIFEST.replace('"A_*" = { type = "choice", arm = "A" }\n', "").replace(
    '"B_*" = { type = "choice", arm = "B" }\n', 'kind = "choice"\n'
)


def joined(tmp_path, keys, runs=RENTED):
    (tmp_path / "runs.csv").write_text(runs)
    (tmp_path / "table.toml").write_text(JOINED + keys)
    return load_table(tmp_path)


CATALOGUE = '[facts.catalogue]\non = "kind"\nregion = "where"\npurchase = "how"\n'
OFFERS = """provider,region,instance_type,accelerator,accelerators,vcpu,memory_gib,on_demand_usd_per_h,spot_usd_per_h,as_of,source
aws,us-east-1,p5.48xlarge,H100,8,192,2048,55,,,mine
aws,us-west-2,p5.48xlarge,H100,8,192,2048,66,,,mine
aws,us-east-1,g6.xlarge,L4,1,4,16,1,0.5,,mine
"""


def test_the_catalogue_adds_the_machine_and_its_accelerator(tmp_path):
    (tmp_path / "offers.csv").write_text(OFFERS)
    made = joined(tmp_path, CATALOGUE + 'offers = "offers.csv"\n')
    recorded = Recorded(made, "j", [])
    h100, l4 = (recorded.facts(c) for c in sorted(recorded.domain.candidates, key=lambda c: c["kind"], reverse=True))
    assert (h100["price_usd_per_h"], h100["vcpus"], h100["accelerators"]) == (55.0, 192.0, 8.0)
    assert h100["accelerator_bandwidth_gb_per_s"] == 3350.0
    assert (l4["price_usd_per_h"], l4["purchase"], l4["accelerator"]) == (0.5, "spot", "L4-24GB")
    own = joined(tmp_path, 'vcpus = "nodes"\n' + CATALOGUE + 'offers = "offers.csv"\n')
    assert {f["vcpus"] for f in map(Recorded(own, "j", []).facts, own.candidates)} == {
        1.0
    }  # what the table says stands


@pytest.mark.parametrize(
    ("keys", "change", "said"),
    [
        (CATALOGUE, ("p5.48xlarge", "p5.48xlarg"), "line 2: aws has no instance 'p5.48xlarg'.*p5.48xlarge"),
        (
            CATALOGUE,
            ("us-east-1,on", "us-north-1,on"),
            "no price in region 'us-north-1'; it has one in us-east-1, us-west-2",
        ),
        (CATALOGUE, ("on-demand", "spot"), "p5.48xlarge has no price for purchase 'spot'; it has one for on-demand"),
        (CATALOGUE.replace('region = "where"\n', ""), ("", ""), r"several prices: us-east-1 \(55 USD/h\), us-west-2"),
        (CATALOGUE, ("aws,g6", "asw,g6"), "line 3: no offer is of provider 'asw'"),
    ],
)
def test_an_unknown_instance_is_an_error_that_says_where_and_what_is_known(tmp_path, keys, change, said):
    (tmp_path / "offers.csv").write_text(OFFERS)
    with pytest.raises(TableError, match=said):
        joined(tmp_path, keys + 'offers = "offers.csv"\n', RENTED.replace(*change))


def test_check_says_what_is_missing_equal_or_may_have_been_measured(tmp_path):
    spent = '[spent]\nusd = "price"\nseconds = "seconds"\n'
    runs = RUNS.replace("1,4,,T4", "1,,,T4").replace("L4", "T4").replace("9,1.5", "9,0").replace("2,8,", "2,16,")
    found = check_table(table(tmp_path, 'vcpus = ["A_cpu", "B_cpu"]\ngpu = "gpu"\n', runs, spent))
    assert found.facts == ["gpu", "price_usd_per_h", "vcpus"]
    said = "\n".join(found.warnings)
    assert "fact 'vcpus' is not known of 1 of 3 configs" in said
    assert "facts that are the same for every config of a workload tell nothing: gpu" in said
    assert "1 cells were run at a price ≤ 0" in said
    assert "spent.usd / spent.seconds differs between repeats in 1 cells" in said  # 2.5 USD for 5 s and for 6 s


def test_a_price_that_was_measured_is_not_told(tmp_path):
    spent = '[spent]\nusd = "price"\nseconds = "seconds"\n'
    assert "price_usd_per_h" not in told(table(tmp_path, "", RUNS, spent))["B1"]
    assert told(table(tmp_path, "", RUNS, spent))["A1"] == {"price_usd_per_h": 600.0}
    again = RUNS.replace("6,2.5", "6,3.0") + "k,A,1,4,,T4,9,1.6,ok\n"
    made = table(tmp_path, "", again, spent)
    assert told(made, "j")["B1"] == {"price_usd_per_h": 1800.0}
    assert any("differs between workloads for 1 configs" in w for w in check_table(made).warnings)


def test_the_bundled_table_knows_its_hardware():
    made = load_table("llm-serving")
    every = made.records.facts
    assert len(every) == 21
    assert all(
        {"accelerator", "accelerator_bandwidth_gb_per_s", "accelerators", "vcpus"} <= known.keys() for known in every
    )
    assert not any("not known of" in w for w in check_table(made).warnings if "fp4" not in w and "fp8" not in w)


@pytest.mark.dataset
def test_the_papers_table_shares_its_vcpu_class_and_knows_its_prices():
    made = load_table("multicloud")
    assert check_table(made).facts == ["price_usd_per_h", "vcpu_class"]
    assert not any(word in w for w in check_table(made).warnings for word in ("price_usd", "fact ", "facts"))
    recorded = Recorded(made, made.workloads[0], [])
    for c in recorded.domain.candidates:
        assert recorded.facts(c)["vcpu_class"] == float(c.config[f"{c.arm[0]}_vcpu"])
    two = [recorded.facts(c)["price_usd_per_h"] / c["nodes"] for c in recorded.domain.candidates if c.arm[0] == "A"]
    assert len({np.round(p, 4) for p in two}) <= 6  # per node, whatever their number
