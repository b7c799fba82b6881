"""The flags of serving engines, read from their wheels: names, types, choices and defaults, nothing else. Nothing is imported.

pip download --no-deps vllm==0.33.0 sglang==0.5.23 -d wheels
python benchmarks/engine_flags.py wheels/*.whl --to data/engine-flags
"""

import argparse
import ast
import json
import sys
import zipfile
from pathlib import Path


def literal(node, constants):
    """A default's value; None where it is no literal, or a constant that is one."""
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return constants.get(f"{node.value.id}.{node.attr}")
    if isinstance(node, ast.Call):  # Field(default=…)
        given = {k.arg: k.value for k in node.keywords}
        first = given.get("default", node.args[0] if node.args else None)
        return None if first is None else literal(first, constants)
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return None
    return value if isinstance(value, bool | int | float | str) else None


def fields_of(tree, constants):
    """class → field → (annotation, default node)."""
    out = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            own = out.setdefault(node.name, {})
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    own[line.target.id] = (line.annotation, line.value)
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and node.value is not None:
                constants.setdefault(target.id, literal(node.value, constants))
                if isinstance(node.value, ast.Subscript):
                    constants.setdefault(f"type {target.id}", node.value)
                if isinstance(node.value, ast.List):
                    constants.setdefault(f"list {target.id}", node.value)
    return out


def kind_of(annotation, constants):
    """``bool``, ``int``, ``float``, ``str`` or ``other``, and the choices where they are literal."""
    if annotation is None:
        return "other", []
    named = [f"type {node.id}" for node in ast.walk(annotation) if isinstance(node, ast.Name)]
    parts = [annotation, *(constants[name] for name in named if name in constants)]
    text = " ".join(map(ast.unparse, parts))
    choices = []
    for part in parts:
        for node in ast.walk(part):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal"):
                inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                choices += [e.value for e in inner if isinstance(e, ast.Constant)]
    for kind in ("bool", "int", "float", "str"):
        if kind in text.replace("|", " ").replace("[", " ").replace("]", " ").replace(",", " ").split():
            return kind, choices
    return ("str" if choices else "other"), choices


def vllm(wheel):
    constants, classes = {}, {}
    names = [n for n in wheel.namelist() if n.startswith("vllm/config/") and n.endswith(".py")]
    trees = [ast.parse(wheel.read(name)) for name in names]
    for tree in trees * 2:  # constants of one module are used in another
        classes |= fields_of(tree, constants)
    tree = ast.parse(wheel.read("vllm/engine/arg_utils.py"))
    groups = {}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func) == "get_kwargs"
        ):
            groups[node.targets[0].id] = ast.unparse(node.value.args[0])
    flags = {}
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument"
        ):
            continue
        said = [a.value for a in node.args if isinstance(a, ast.Constant) and str(a.value).startswith("--")]
        source = None
        for inner in ast.walk(node):
            if isinstance(inner, ast.Subscript) and isinstance(inner.value, ast.Name) and inner.value.id in groups:
                source = groups[inner.value.id], inner.slice.value
        annotation, default = classes.get(source[0], {}).get(source[1], (None, None)) if source else (None, None)
        kind, choices = kind_of(annotation, constants)
        actions = [ast.unparse(k.value) for k in node.keywords if k.arg == "action"]
        value = None if default is None else literal(default, constants)
        for flag in said:
            known = {"type": "bool" if any("store_true" in a for a in actions) else kind, "default": value}
            if choices:
                known["choices"] = choices
            if kind == "bool":
                known["negatable"] = True
            flags[flag] = known
    front = fields_of(ast.parse(wheel.read("vllm/entrypoints/common/cli_args.py")), constants)
    for own in (own for name, own in front.items() if name.endswith("Args")):
        for name, (annotation, default) in own.items():
            kind, choices = kind_of(annotation, constants)
            known = {"type": kind, "default": None if default is None else literal(default, constants)}
            flags["--" + name.replace("_", "-")] = known | ({"choices": choices} if choices else {})
    return flags


def sglang(wheel):
    constants, classes = {}, {}
    names = [n for n in wheel.namelist() if n.startswith("sglang/srt/arg_groups/") and n.endswith(".py")]
    for tree in [ast.parse(wheel.read(name)) for name in names] * 2:
        classes |= fields_of(tree, constants)
    flags = {}
    for own in classes.values():
        for name, (annotation, default) in own.items():
            if not (isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "A"):
                continue
            type_, *rest = annotation.slice.elts
            about = next((r for r in rest if isinstance(r, ast.Call) and ast.unparse(r.func) == "Arg"), None)
            given = {} if about is None else {k.arg: k.value for k in about.keywords}
            if about is None and not any(isinstance(r, ast.Constant | ast.JoinedStr | ast.BinOp) for r in rest):
                continue
            if "no_cli" in given and literal(given["no_cli"], constants):
                continue
            kind, choices = kind_of(type_, constants)
            listed = given.get("choices")
            if isinstance(listed, ast.Name):
                listed = constants.get(f"list {listed.id}")
            if isinstance(listed, ast.List):
                choices = [e.value for e in listed.elts if isinstance(e, ast.Constant)]
            cli = literal(given["cli_name"], constants) if "cli_name" in given else None
            aliases = given.get("aliases")
            also = [e.value for e in aliases.elts] if isinstance(aliases, ast.List) else []
            known = {"type": kind, "default": None if default is None else literal(default, constants)}
            if choices:
                known["choices"] = choices
            for flag in [cli or "--" + name.replace("_", "-"), *also]:
                flags[flag if flag.startswith("--") else f"--{flag}"] = known
    return flags


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--to", type=Path, default=Path("data/engine-flags"))
    arguments = parser.parse_args()
    for path in arguments.wheels:
        engine, version = path.name.split("-")[:2]
        with zipfile.ZipFile(path) as wheel:
            flags = {"vllm": vllm, "sglang": sglang}[engine](wheel)
        lines = [f"  {json.dumps(flag)}: {json.dumps(about)}" for flag, about in sorted(flags.items())]
        head = f'{{"engine": "{engine}", "version": "{version}", "flags": {{\n'
        (arguments.to / f"{engine}.json").write_text(head + ",\n".join(lines) + "\n}}\n")
        print(f"{engine} {version}: {len(flags)} flags", file=sys.stderr)


if __name__ == "__main__":
    main()
