"""``cloudbandit plan``: a file in, a fleet out; what is wrong said once, in one line."""

import json

import pytest

pytest.importorskip("linopy")
pytest.importorskip("highspy")

from cloudbandit.cli import main
from cloudbandit.plan.planfile import read_planfile

OFFERS = """provider,region,instance_type,accelerator,accelerators,vcpu,memory_gib,on_demand_usd_per_h,spot_usd_per_h,as_of,source
aws,us,small,L4-24GB,1,8,32,1.0,0.4,2026-11-01,test
aws,us,large,L4-24GB,4,32,128,3.6,,2026-11-01,test
gcp,eu,small,L4-24GB,1,8,32,1.1,0.5,2026-11-01,test
"""
CAPACITY = "workload,machine,machines,max_load,rtt_ms\n" + "".join(
    f"chat,{m},1,{load},{rtt}\n"
    for m, load in (("aws/small", 5), ("aws/large", 22), ("gcp/small", 5))
    for rtt in (0, 50)
)
PLAN = """
[plan]
gap = 1e-6
[demand]
file = "demand.csv"
[workloads.chat]
slos = ["ttft_p95_ms<=500"]
[offers]
catalogue = "offers.csv"
[capacity]
file = "capacity.csv"
[network]
rtt_ms = { us = { "aws/us" = 10, "gcp/eu" = 45 } }
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "offers.csv").write_text(OFFERS)
    (tmp_path / "capacity.csv").write_text(CAPACITY)
    rows = [f"2026-11-02T{h:02d}:00Z,chat,us,{4 + 16 * (8 <= h < 18)}" for h in range(24)]
    (tmp_path / "demand.csv").write_text("time,workload,source,load\n" + "\n".join(rows) + "\n")
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def call(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([str(w) for w in words])
    return end.value.code, *capsys.readouterr()


def test_a_plan(folder, capsys):
    code, out, _ = call(capsys, "plan", folder / "plan.toml", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["outcome"] == "optimal"
    # ten hours a large one and fourteen a small one (0.3 and 1/12 USD to start them, once each)
    assert found["usd"] == pytest.approx(10 * 3.6 + 14 * 1.0 + 0.3 + 2 / 12, abs=1e-3)
    assert found["slack"]["chat"] == pytest.approx([1.0] * 8 + [2.0] * 10 + [1.0] * 6)


@pytest.mark.slow
def test_exports_and_the_figure(folder, capsys):
    arguments = ["--csv", folder / "out", "--kubernetes", folder / "k.json", "--plot", folder / "plan.png"]
    code, out, _ = call(capsys, "plan", folder / "plan.toml", *arguments)
    assert code == 0
    assert "aws/us/large" in out
    assert (folder / "out" / "fleet.csv").read_text().startswith("time,workload,provider,region,instance_type,purchase")
    assert (folder / "plan.png").stat().st_size > 10_000
    items = json.loads((folder / "k.json").read_text())["items"]
    jobs = [i for i in items if i["kind"] == "CronJob"]
    assert [j["spec"]["schedule"] for j in jobs if j["metadata"]["name"].startswith("chat-aws-us-large")] == [
        "55 7 * * *",
        "0 18 * * *",
    ]
    validate = pytest.importorskip("kubernetes_validate")
    for item in items:
        validate.validate(item, "1.34", strict=True)
    jobs[0]["spec"]["schedul"] = "0 0 * * *"
    with pytest.raises(validate.ValidationError):
        validate.validate(jobs[0], "1.34", strict=True)


@pytest.mark.slow
def test_infeasible_exits_3_and_says_what_would_cure_it(folder, capsys):
    (folder / "plan.toml").write_text(PLAN + '[[quotas]]\nname = "l4"\nmost = 3\n')
    code, out, _ = call(capsys, "plan", folder / "plan.toml")
    assert code == 3
    assert "raise the quota l4 from 3 to 4 accelerators" in out
    code, out, _ = call(capsys, "plan", folder / "plan.toml", "--json", "--what-if", "quota=2,price:gcp=1.5")
    found = json.loads(out)
    assert (code, found["outcome"]) == (3, "infeasible")
    assert [c["limit"] for c in found["cures"]] == ["quota l4", "unmet"]
    assert found["what_if"][0]["outcome"] == "optimal"


@pytest.mark.slow
def test_what_limits_cost(folder, capsys):
    (folder / "plan.toml").write_text(PLAN + '[policy]\nsurvive = "machine"\n')
    code, out, _ = call(capsys, "plan", folder / "plan.toml", "--json", "--limits")
    (limit,) = json.loads(out)["limits"]
    assert code == 0
    assert limit["limit"] == "survive"
    assert limit["least_usd"] - 1e-6 <= limit["usd"] <= limit["most_usd"] + 1e-6
    assert limit["usd"] > 5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('file = "demand.csv"', 'file = "none.csv"', "there is no demand at"),
        ("[workloads.chat]", "[workloads.chats]", "Did you mean 'chats'"),
        ("slos = [", "slo = [", "did you mean 'slos'"),
        ('["ttft_p95_ms<=500"]', '["ttfd_p95_ms<=500"]', "unknown metric"),
        ('file = "capacity.csv"', "surrogate = true", "nothing says what a machine serves"),
        (
            'catalogue = "offers.csv"',
            'catalogue = "offers.csv"\nmachines = ["large"]\npurchases = ["spot"]',
            "no spot price",
        ),
        ('catalogue = "offers.csv"', 'catalogue = "offers.csv"\nmachines = ["huge"]', "unknown machine 'huge'"),
        ('"aws/us" = 10', '"aws/us" = 60', "too far (60 ms)"),
        ("[network]", '[[quotas]]\nname = "q"\nmost = 0\n[network]', "none may be rented"),
        ("[network]", '[[quotas]]\nname = "q"\nmost = 9\nprovider = "ibm"\n[network]', "matches no offer"),
        (
            "[network]",
            '[[offers.reserved]]\nmachine = "aws/us/small"\nusd_per_h = 0.6\nleast = 3\nmost = 2\n[network]',
            "contradict",
        ),
        ('file = "demand.csv"', 'file = "demand.csv"\nhours = 48', "the demand has 24 h"),
        ('file = "demand.csv"', 'file = "demand.csv"\nkind = "history"', "needs 7 days of history"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, capsys, old, new, said):
    assert old in PLAN
    text = PLAN.replace(old, new)
    if new.endswith("60"):
        text = text.replace('"gcp/eu" = 45', '"gcp/eu" = 60')
    (folder / "plan.toml").write_text(text)
    code, out, err = call(capsys, "plan", folder / "plan.toml", "--json")
    assert code == 2
    assert not out
    assert said in " ".join(err.split())
    assert "Traceback" not in err


def test_changes_are_checked_before_anything_is_solved(folder, capsys):
    wrong = {"prize=2": "is not understood", "price:ibm=2": "names nothing", "quota=2": "no quota", "spot=x": "≥ 0"}
    for change, said in wrong.items():
        code, _, err = call(capsys, "plan", folder / "plan.toml", "--what-if", change)
        assert code == 2
        assert said in " ".join(err.split())


def test_a_history_is_forecast_with_its_buffer(folder):
    rows = [f"2026-10-{5 + d:02d}T{h:02d}:00Z,chat,us,{4 + 16 * (8 <= h < 18)}" for d in range(21) for h in range(24)]
    (folder / "demand.csv").write_text("time,workload,source,load\n" + "\n".join(rows) + "\n")
    (folder / "plan.toml").write_text(
        PLAN.replace('file = "demand.csv"', 'file = "demand.csv"\nkind = "history"\nhours = 12')
    )
    demand = read_planfile(folder / "plan.toml").problem.demand
    assert (demand.time(0), len(demand)) == ("2026-10-26T00:00Z", 12)
    assert demand.load["chat", "us"].tolist() == [4.0] * 8 + [20.0] * 4
