"""Arrows point down: applications → plug-ins → the core, in the order in which it is read."""

import ast
from pathlib import Path

import cloudbandit

ROOT = Path(cloudbandit.__file__).parent
CORE = [
    "errors",
    "trial",
    "space",
    "_configspace",
    "goal",
    "protocols",
    "base",
    "bandit",
    "budget",
    "store",
    "pools",
    "study",
]
PLUGINS = ["optimizers", "tables", "providers", "engines", "loadgen", "objectives"]
APPLICATIONS = ["api", "recommend", "replay", "studyfile", "testing", "analysis", "cli", "__main__"]
RANK = {"__init__": -1} | {name: i for i, name in enumerate(CORE)}
RANK |= {name: len(CORE) for name in PLUGINS} | {name: len(CORE) + 1 + i for i, name in enumerate(APPLICATIONS)}
MAY = {("objectives", name) for name in ("tables", "providers", "engines", "loadgen")}  # the one sibling exception
LAZY = {("space", "_configspace")}  # ConfigSpace is imported only when one is used


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("cloudbandit."):
                yield name.split(".")[1], node.lineno


def test_every_module_has_a_place():
    found = {
        p.stem if p.is_file() else p.name for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()
    }
    assert found <= set(RANK), found - set(RANK)


def test_arrows_point_down():
    wrong = []
    for path in ROOT.rglob("*.py"):
        here = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for there, line in _imports(path):
            down = RANK[there] < RANK[here] or there == here or here == "__init__"
            if not down and (here, there) not in MAY | LAZY:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {there}")
    assert not wrong, wrong


def test_only_the_cli_imports_analysis_and_nobody_imports_the_cli():
    for path in ROOT.rglob("*.py"):
        here = path.relative_to(ROOT).parts[0].removesuffix(".py")
        imported = {there for there, _ in _imports(path)}
        assert "cli" not in imported or here in ("__main__", "cli"), path
        assert "analysis" not in imported or here in ("cli", "analysis"), path
