"""Arrows point down: cli → report → applications → surrogate → plug-ins → catalogue → core; the core in its reading order."""

import ast
from pathlib import Path
from statistics import median

import cloudbandit

ROOT = Path(cloudbandit.__file__).parent
CORE = [
    "errors",
    "masking",
    "bundled",
    "files",
    "names",
    "outputs",
    "schema",
    "metrics",
    "offer",
    "rented",
    "trial",
    "parameter",
    "listing",
    "ranges",
    "space",
    "_configspace",
    "targets",
    "goal",
    "front",
    "curve",
    "fleet",
    "known",
    "protocols",
    "rest",
    "base",
    "bandit",
    "budget",
    "stop",
    "profit",
    "store_schema",
    "database",
    "leases",
    "record",
    "store",
    "pools",
    "report",
    "loop",
    "study",
]
LAYERS = [
    ["core"],
    ["catalogue"],
    ["optimizers", "objectives", "tables", "providers", "engines", "loadgen"],  # plug-ins: not one another
    ["testing"],
    ["surrogate"],
    ["replay"],
    ["live"],
    ["recommend"],
    ["plan"],
    ["tune"],
    ["report"],
    ["api"],
    ["cli"],
    ["__main__"],
]
RANK = {name: i for i, layer in enumerate(LAYERS) for name in layer}
LAZY = {
    ("listing", "_configspace"),
    ("space", "_configspace"),
}  # the one circle: imported only when a ConfigSpace is used

HOOKS = {(("core", "report"), "cloudbandit.api")}  # what is found by name because it lies above, and nothing else


def _modules():
    return sorted(ROOT.rglob("*.py"))


def _imports(path):
    """What a module imports of this package, as parts below the root."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
            if (ROOT.parent / node.module.replace(".", "/")).is_dir():
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("cloudbandit."):
                yield tuple(name.split(".")[1:]), node.lineno


def _place(path):
    return tuple(path.relative_to(ROOT).with_suffix("").parts)


def test_every_module_has_a_place():
    found = {p.stem for p in ROOT.glob("*.py")} | {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert found - {"__init__"} == set(RANK)
    assert {p.stem for p in (ROOT / "core").glob("*.py")} - {"__init__"} == set(CORE)


def test_arrows_point_down():
    wrong = []
    for path in _modules():
        here = _place(path)
        if here == ("__init__",):
            continue
        for there, line in _imports(path):
            if there[0] in RANK and there[0] != here[0] and RANK[there[0]] >= RANK[here[0]]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {'.'.join(there)}")
    assert not wrong, wrong


def test_nothing_above_is_found_by_name_but_what_is_stated():
    found = set()
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
                found |= {(_place(path), a.value) for a in node.args if isinstance(a, ast.Constant)}
    assert {(here, name) for here, name in found if name.startswith("cloudbandit")} == HOOKS


def test_the_core_is_read_in_order():
    wrong = []
    for path in sorted((ROOT / "core").glob("*.py")):
        for there, line in _imports(path):
            pair = (path.stem, there[1])
            if pair not in LAZY and CORE.index(pair[1]) >= CORE.index(pair[0]):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {pair[1]}")
    assert not wrong, wrong


def test_there_is_no_circle_within_a_folder():
    ties = {}
    for path in _modules():
        here = _place(path)
        ties[here] = {there for there, _ in _imports(path) if there != here}
    known = set(ties)
    graph = {
        a: {b[:n] for b in some for n in (len(b), len(b) - 1) if b[:n] in known and b[:n] != a}
        for a, some in ties.items()
    }
    for a, b in LAZY:
        graph["core", a].discard(("core", b))
    graph[("__init__",)] = set()
    done = set()
    while len(done) < len(graph):
        ready = {a for a, some in graph.items() if a not in done and some <= done}
        assert ready, f"a circle among {sorted('.'.join(a) for a in set(graph) - done)}"
        done |= ready


def test_modules_are_small_enough_to_read_at_once():
    lines = {str(_place(p)): len(p.read_text().splitlines()) for p in _modules()}
    assert not {name: n for name, n in lines.items() if n > 400}
    assert median(lines.values()) <= 150
