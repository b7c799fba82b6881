"""Every block of code in README.md and docs/ is executed, or, where it needs an engine, other people's libraries or many minutes,
parsed by what it is written for.

Python: run, page by page in order, in a temporary folder; what a page leaves to the reader stands in `GIVEN`, and what would take
too long is shortened by `SHORTER`. Commands of `cloudbandit`: parsed by the command line's own parser, and run but for those in
`ONLY_PARSED`. Other commands: their scripts, options, targets and extras must exist. TOML: read by the reader it is for.
"""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import typer

from cloudbandit.cli import main
from cloudbandit.cli.common import app

ROOT = Path(__file__).parent.parent
PAGES = {p.name: p.read_text(encoding="utf-8") for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.S | re.M)
INDENTED = re.compile(r"(?:^    .*\n)+", re.M)


def fenced(page, language):
    return [body for found, body in FENCE.findall(PAGES[page]) if found == language]


def commands(page):
    """Every command line of a page: comments off, continued lines joined."""
    blocks = fenced(page, "sh") + INDENTED.findall(FENCE.sub("", PAGES[page]))
    for block in blocks:
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            words = (
                shlex.split(line, comments=True) if re.match(r"\s*(cloudbandit|python|make|pip|taskset) ", line) else []
            )
            if words:
                yield words


COMMANDS = [(page, words) for page in PAGES for words in commands(page)]
OWN = [(page, words[1:]) for page, words in COMMANDS if words[0] == "cloudbandit" and "…" not in words]
OTHER = [(page, words) for page, words in COMMANDS if words[0] != "cloudbandit"]


def _id(case):
    return " ".join(case) if isinstance(case, list) else case


# ── commands ──


@pytest.mark.parametrize(("page", "words"), OWN, ids=_id)
def test_commands_are_what_the_command_line_takes(page, words):
    command, context, rest = typer.main.get_command(app), None, list(words)
    while hasattr(command, "commands"):
        context = command.make_context("cloudbandit", [], parent=context, resilient_parsing=True)
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[0], rest, parent=context)  # raises where an option or an argument is not known


ONLY_PARSED = {
    "compare multicloud": "other people's data, and minutes",
    "compare llm-serving --minimize usd_per_h --slo ttft_ms<=1000 --budgets 11,22,44": "minutes",
    "compare llm-serving --minimize usd_per_h --optimizers random,mine.py": "81 workloads: a minute",
    "run llama-8b.toml": "accounts at clouds; tests/test_whole_study.py runs such files",
    "hosts": "accounts at clouds",
    "reap": "accounts at clouds",
    "offers --provider aws --check": "an account at a cloud",
    "prices check my-prices.csv": "a catalogue of the reader's own",
    "run study.toml": "an engine; tests/test_live.py runs such files",
    "export --store openvino-chat.db": "an engine's store",
    "show --store openvino-chat.db": "an engine's store",
    "show --store fleet.db": "an engine's store",
    "resume --store openvino-chat.db": "an engine's store",
    "compare my-table": "that table is exported from an engine's store",
    "tune --engine openvino": "an engine; tests/test_cli_tune.py starts one",
    "tune study.toml": "the same",
    "predict": "configs and points of the reader's own; tests/test_serving.py asks such questions",
    "plan": "a minute of solving; tests/test_plan_cli.py runs such files",
    "recommend": "a model of the reader's own; the same question is asked below, in Python",
}


def _runs(words):
    return not any(" ".join(words).startswith(start) for start in ONLY_PARSED)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({page for page, words in OWN if _runs(words)}))
def test_commands_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_table("my-table", "w")
    Path("runs.csv").write_text("job,provider,nodes,runtime_s\nj,a,1,3.5\nj,a,2,2.5\nj,b,1,4.5\n")
    call(
        [
            "replay",
            "llm-serving",
            "--workload",
            "qwen3-32b|rag|2000tok|spot",
            "--minimize",
            "usd_per_h",
            "--store",
            "study.db",
        ]
    )
    for words in [w for p, w in OWN if p == page and _runs(w)]:
        call(words)


def call(words):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert not stopped.value.code, words


def test_nothing_is_excused_in_vain():
    every = [" ".join(words) for _, words in OWN]
    assert all(any(text.startswith(start) for text in every) for start in ONLY_PARSED)


@pytest.mark.parametrize(("page", "words"), OTHER, ids=_id)
def test_other_commands_name_what_exists(page, words):
    if words[0] == "taskset":
        words = words[3:]
    match words:
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
        case ["pip", "install", *what]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            for package in what:
                name, _, extras = package.rstrip("]").partition("[")
                assert name == project["name"]
                assert set(filter(None, extras.split(","))) <= set(project["optional-dependencies"])
        case ["python", script, *options]:
            text = (ROOT / script).read_text(encoding="utf-8")
            assert [o for o in options if o.startswith("--") and f'"{o}"' not in text] == []
        case _:
            pytest.fail(f"{page}: nobody knows how to check {words}")


@pytest.mark.slow
def test_the_readme_prints_what_the_demo_prints(tmp_path):
    """`make demo`'s command, at a width at which nothing is broken into lines."""
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)[1]
    words = shlex.split(recipe.strip().removeprefix("@$(BIN)/").replace("\\\n", " "))
    environment = os.environ | {"COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    printed = [line.rstrip() for line in (run.stderr + run.stdout).splitlines() if line.strip()]
    assert "\n".join(printed) + "\n" == fenced("README.md", "text")[0]


# ── Python ──


def write_table(folder, workload, load=False):
    """A small table with a price, a load or none, and a column for each metric that the pages use."""
    Path(folder).mkdir()
    where = ["workload,provider,price,nodes" + (",users" if load else "") + ",usd,usd_per_h,ttft,rate"]
    for provider, nodes in [(p, n) for p in "ab" for n in (1, 2, 4)]:
        for users in (1, 8, 64) if load else (1,):
            cost = nodes * (2 if provider == "a" else 1)
            row = [workload, provider, cost, nodes, *([users] if load else []), cost, cost, 100 * users / nodes, nodes]
            where.append(",".join(map(str, row)))
    (Path(folder) / "runs.csv").write_text("\n".join(where) + "\n")
    metrics = (
        'ttft_p95_ms = "ttft"'
        if load
        else 'cost_usd = "usd"\nusd_per_h = "usd_per_h"\nttft_ms = "ttft"\noutput_tok_per_s = "rate"'
    )
    (Path(folder) / "table.toml").write_text(
        '[table]\nfile = "runs.csv"\ncontext = ["workload"]\narm = "provider"\nlicence = "Apache-2.0"\n'
        + ('load = "users"\n' if load else "")
        + f'[params]\nnodes = "int"\n[metrics]\n{metrics}\n[spent]\nusd = "usd"\n[facts]\nprice_usd_per_h = "price"\n'
    )


MY_OPTIMIZER = """
from cloudbandit import BaseOptimizer
class MyOptimizer(BaseOptimizer):
    def _suggest(self):
        return self.domain.candidates[int(self.free[0])] if len(self.free) else None
"""
GIVEN = {
    "README.md": "def run_my_benchmark(provider, nodes, spot=False): return nodes * (0.5 if spot else 1.0)",
    "quickstart.md": MY_OPTIMIZER + "def run(provider, nodes): return 100.0 * nodes, 3.0 / nodes",
    "tables.md": MY_OPTIMIZER
    + """
import pandas as pd
runs = pd.DataFrame({"job": ["j"] * 6, "provider": list("aaabbb"), "nodes": [1, 2, 3] * 2, "runtime_s": [1.0] * 6})
runs["cost_usd"] = [3.0, 2.0, 4.0, 5.0, 6.0, 7.0]
""",
    "optimizers.md": "",
    "plan.md": "",
    "tune.md": "",
    "predict.md": "import pathlib; pathlib.Path('config.json').write_text(CONFIG)",
    "points.md": "from cloudbandit import silicon_points, write_points; write_points(silicon_points()[::200], 'points.csv')",
    "studies.md": """
from cloudbandit import Domain
from cloudbandit.core.errors import NoCapacity
domain = Domain({"a": [{"n": n} for n in range(20)], "b": [{"n": n} for n in range(20)]})
PRICE = {"a": 1.0, "b": 2.0}
class OutOfMemory(Exception): pass
def benchmark(candidate, stop): return {"cost_usd": 1.0 + candidate["n"], "ttft_p95_ms": 100.0}, 0.1, 60.0
""",
    "recommend.md": """
from pathlib import Path
from cloudbandit import read_measurements
Path("llama-3.1-8b").mkdir()
Path("llama-3.1-8b/config.json").write_text(CONFIG)
def run_load_test(profile, loads):
    rows = [f"{profile.gpu.part},{profile.gpus},{u},{20 + u},{40 + 2 * u},{5 + u / 10},{40 * u}" for u in loads]
    Path("tests.csv").write_text(HEAD + "\\n" + "\\n".join(rows) + "\\n")
    return read_measurements("tests.csv", "llama-3.1-8b")
""",
    "live.md": """
from scripted_engine import Scripted
from cloudbandit import Benchmark, LiveObjective, LocalProvider, loadgen
from cloudbandit.engines.knobs import Knob
class Batches(Scripted):
    knobs = (Knob("max_num_seqs", (1, 2, 4), 1), Knob("dynamic_split_fuse", (False, True), False))
    at_most = ()
    def argv(self, host, config, port, model):
        return super().argv(host, {"start": "ready", "itl_ms": 1}, port, model)
benchmark = Benchmark("good", loadgen.Workload(loadgen.Fixed(5, 4)), [loadgen.Closed(users=2)], requests=4)
objective = LiveObjective(LocalProvider(), Batches(), benchmark)
""",
}
SHORTER = {
    "quickstart.md": [("seeds=20)", 'seeds=1, workloads=["qwen3-32b|rag|2000tok|spot"])')],
    "live.md": [
        ("requests=300", "requests=20"),
        ("rate_per_s=5.0", "rate_per_s=100.0"),
        ("warmup_s=10.0", "warmup_s=0.0"),
    ],
}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", [page for page in PAGES if fenced(page, "python")])
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    blocks = fenced(page, "python")
    room = {"__name__": "page", "CONFIG": config_of_the_page(), "HEAD": measurements_of_the_page().splitlines()[0]}
    exec(GIVEN[page], room)
    if page == "tables.md":
        write_table("my-table", "llama-13b", load=True)
    server = None
    for block in blocks:
        for long, short in SHORTER.get(page, []):
            block = block.replace(long, short)
        if "http://127.0.0.1:8000" in block:
            server, port = serve()
            block = block.replace(":8000", f":{port}")
        if block.startswith("# mine.py"):
            (tmp_path / "mine.py").write_text(block)
        if "OptimizerLaws" in block:
            written = [b for b in blocks if b.startswith("# mine.py") or "class Nearest" in b]
            hold_to_the_laws(tmp_path, [*written, block])
        else:
            exec(compile(block, page, "exec"), room)
    if server is not None:
        server.kill()
        server.wait()


def serve():
    """The scripted server on a free port, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cloudbandit.testing.stub_engine",
            "--port",
            str(port),
            "--ttft",
            "0.01",
            "--itl",
            "0.001",
        ],
        cwd=ROOT,
    )
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server, port
        time.sleep(0.05)
    server.kill()
    pytest.fail("the scripted server does not answer")


def hold_to_the_laws(folder, blocks):
    """Both optimizers of the page under the suite that the page introduces."""
    mine, nearest, suite = blocks
    (folder / "mine.py").write_text(mine + "\n" + nearest)
    other = suite.replace("Cheapest", "Nearest").replace(
        "    listed_only = True\n", "    listed_only = True\n    trials = 10\n"
    )
    (folder / "test_mine.py").write_text(suite + "\n" + other)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]


# ── files ──


def config_of_the_page():
    (block,) = [b for b in INDENTED.findall(PAGES["recommend.md"]) if "config.json\n" in b]
    return block.split("\n", 1)[1]


def measurements_of_the_page():
    (block,) = [b for b in INDENTED.findall(PAGES["recommend.md"]) if b.lstrip().startswith("gpu,gpus")]
    return "".join(line.strip() + "\n" for line in block.splitlines())


def test_the_load_tests_of_the_page_are_read(tmp_path):
    from cloudbandit import read_measurements

    (tmp_path / "load-tests.csv").write_text(measurements_of_the_page())
    found = read_measurements(tmp_path / "load-tests.csv", "llama-3.1-8b")
    assert [(t.profile.gpu.part, t.users) for t in found] == [("H100-SXM5-80GB", u) for u in (1, 64, 128)]


def test_the_manifests_of_the_page_are_read(tmp_path):
    from cloudbandit.tables.manifest import read_manifest

    whole, catalogue, curves = fenced("tables.md", "toml")
    (tmp_path / "table.toml").write_text(whole)
    manifest = read_manifest(tmp_path / "table.toml")
    assert manifest.load == "users"
    rest = '[params]\nnodes = "int"\n'
    head = '[table]\nfile = "runs.csv"\ncontext = ["workload"]\narm = "provider"\n'
    (tmp_path / "table.toml").write_text(head + rest + '[metrics]\ncost_usd = "cost"\n' + catalogue)
    assert read_manifest(tmp_path / "table.toml").catalogue.on == "instance"
    (tmp_path / "table.toml").write_text(head + curves.removeprefix("[table]\n") + rest)
    assert set(read_manifest(tmp_path / "table.toml").metrics) == {"ttft_p95_ms", "failure_rate"}


def test_the_study_file_of_tune_md(tmp_path):
    from cloudbandit.tune.request import Request

    (block,) = fenced("tune.md", "toml")
    (tmp_path / "study.toml").write_text(block)
    subject, tuning, _ = Request(file=tmp_path / "study.toml").made()
    assert (tuning.trials, tuning.repeats, list(tuning.reference)) == (30, 8, [500.0, 40.0])
    assert subject.default["max_num_batched_tokens"] == 1024
    assert subject.fixed == {"threads": 2}


STUDIES = [b for b in fenced("live.md", "toml") if not b.startswith("[project")]


@pytest.mark.parametrize("number", range(len(STUDIES)))
def test_the_study_files_of_the_page_are_read(number, tmp_path, monkeypatch):
    """A block that shows some sections stands for the whole file with those in place."""
    from cloudbandit.live.studyfile import LiveStudy

    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").mkdir()
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "plugins"))
    spec = tomllib.loads(STUDIES[0])
    for section, values in tomllib.loads(STUDIES[number]).items():
        kept = spec["study"] if section == "study" and "name" not in values else {}
        spec[section] = {**{k: v for k, v in kept.items() if k != "minimize"}, **values}
    study = LiveStudy.of(spec)
    assert study.objective.domain().names


def test_the_plan_file_of_the_page_is_read(tmp_path):
    from cloudbandit.plan.planfile import read_planfile

    (tmp_path / "plan.toml").write_text(fenced("plan.md", "toml")[0])
    rows = [
        f"2026-11-{2 + h // 24:02d}T{h % 24:02d}:00Z,{workload},{source},{4 + h % 24}"
        for h in range(240)
        for workload in ("chat", "batch")
        for source in ("us", "eu")
    ]
    (tmp_path / "demand.csv").write_text("time,workload,source,load\n" + "\n".join(rows) + "\n")
    problem = read_planfile(tmp_path / "plan.toml").problem
    assert len(problem.demand) == 24
    assert problem.policy.survive == "machine"


def test_the_entry_points_of_the_pages_are_groups_that_are_read():
    source = "".join(p.read_text() for p in (ROOT / "cloudbandit").rglob("registry.py"))
    for page in PAGES:
        for block in fenced(page, "toml"):
            for group in tomllib.loads(block).get("project", {}).get("entry-points", {}):
                assert f'"{group}"' in source


def test_every_language_of_a_block_is_known():
    found = {language for text in PAGES.values() for language, _ in FENCE.findall(text)}
    assert found <= {"python", "sh", "toml", "text", "bibtex"}
