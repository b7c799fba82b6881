"""Pages of the reference, one a module, made while the documentation is built (a hook of MkDocs; see mkdocs.yml)."""

from pathlib import Path

from mkdocs.structure.files import File

import cloudbandit

ROOT = Path(__file__).parent.parent / "cloudbandit"
HIDDEN = {"cli", "__main__"}
INDEX = "reference.md"


def modules():
    """Every module but the private ones and the command line, by its dotted name: the highest layer last."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] not in HIDDEN and not any(part.startswith("_") for part in parts):
            yield ".".join(("cloudbandit", *parts))


def page_of(module):
    return "reference/" + module.removeprefix("cloudbandit.").replace(".", "/") + ".md"


def on_config(config):
    """Hang the pages below the reference, in folders as in the package."""
    for section in config.nav:
        if isinstance(section, dict) and "Reference" in section:
            section["Reference"] += _tree()
    return config


def _tree():
    tops, folders = [], {}
    for module in modules():
        folder = module.split(".")[1]
        entry = {module.removeprefix("cloudbandit."): page_of(module)}
        if module.count(".") == 1:
            tops.append(entry)
        else:
            folders.setdefault(folder, []).append(entry)
    return [*tops, *({folder: pages} for folder, pages in folders.items())]


def on_files(files, config):
    for module in modules():
        text = f"# {module.removeprefix('cloudbandit.')}\n\n::: {module}\n"
        files.append(File.generated(config, page_of(module), content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """What can be imported from the package itself, and where it is explained."""
    if page.file.src_uri != INDEX:
        return markdown
    rows = [
        f"| [`{name}`][cloudbandit.{where}.{name}] | [`{where}`]({page_of(f'cloudbandit.{where}')}) |"
        for name, where in sorted(cloudbandit._WHERE.items(), key=lambda item: item[0].lower())
    ]
    return "\n".join([markdown, "", "| name | module |", "|---|---|", *rows, ""])


SHIM = "https://unpkg.com/iframe-worker/shim"


def on_post_page(output, page, config):
    """The theme would fetch what makes search work without a server from the network; it lies beside the pages."""
    return output.replace(SHIM, "../" * page.url.count("/") + "offline_search.js")


def on_post_template(output_content, template_name, config):
    return output_content.replace(SHIM, "/offline_search.js")
