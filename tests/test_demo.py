"""The README's demo, the wheel, the notebook: what a newcomer runs first."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from cloudbandit.core.goal import SLO
from cloudbandit.replay.task import Task, replay
from cloudbandit.tables import load_table

ROOT = Path(__file__).parent.parent
WORKLOAD = "llama-3.1-70b|chat|2000tok|spot"
SLOS = (SLO("ttft_ms", 1000.0), SLO("tpot_ms", 50.0))


@pytest.mark.slow
def test_the_demo_recommends_what_exhaustive_search_finds():
    task = Task(load_table("llm-serving"), WORKLOAD, "usd_per_h", SLOS)
    everything = replay(task, "exhaustive", len(task.objective.domain))
    found = replay(task, "joint", 22, seed=0)
    assert found.incumbent.result.metrics["usd_per_h"] == everything.incumbent.result.metrics["usd_per_h"]
    assert found.incumbent.candidate == task.optimum == everything.incumbent.candidate
    whole = replay(task, "cloudbandit:gp-ard", len(task.objective.domain), seed=0)
    assert whole.incumbent.candidate == everything.incumbent.candidate


def test_the_makefile_runs_that_demo():
    text = (ROOT / "Makefile").read_text()
    assert WORKLOAD in text
    assert all(str(slo) in text for slo in SLOS)
    assert "--budget 22 --seed 0" in text


@pytest.mark.slow
def test_the_main_job_runs_from_an_installed_wheel_in_an_empty_folder(tmp_path):
    """The wheel carries the data; dependencies come from this environment."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.stat().st_size < 2_000_000
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel],
        check=True,
    )
    dependencies = next(p for p in sys.path if p.endswith("site-packages"))
    (site / "dependencies.pth").write_text(dependencies)
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("CLOUDBANDIT_DATA", "PYTHONPATH")} | {
        "HOME": str(empty)
    }
    arguments = ["replay", "llm-serving", "--workload", WORKLOAD, "--minimize", "usd_per_h", "--budget", "11", "--json"]
    code = "import cloudbandit, sys; sys.stderr.write(cloudbandit.__file__); from cloudbandit.cli import main; main()"
    run = subprocess.run([python, "-c", code, *arguments], cwd=empty, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert str(site) in run.stderr, "the installed package, not the checkout"
    assert json.loads(run.stdout)["evaluations"] == 11


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "data").glob("*/README.md"))], ids=str)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda p: p.name)
def test_notebooks_run(notebook, tmp_path):
    run = subprocess.run([sys.executable, notebook], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_the_documentation_builds(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    site = tmp_path / "site"
    index = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="quickstart.html"' in index, "opens from a folder, without a server"
    assert (site / "search" / "search_index.js").is_file()
    pages = {str(p.relative_to(site)): p.read_text(encoding="utf-8") for p in site.rglob("*.html")}
    assert not [name for name, text in pages.items() if 'script src="http' in text], "nothing from the network"
    assert "seed" in pages["reference/api.html"]
    wanted = (
        "optimizers/registry",
        "tables/table",
        "report/plots",
        "report/compare_plot",
        "core/study",
        "core/metrics",
    )
    assert {f"reference/{name}.html" for name in wanted} <= set(pages)
