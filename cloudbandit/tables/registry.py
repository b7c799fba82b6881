"""Tables and data sets by name.

A bundled table lies in the package. A registered data set is other people's: it is looked for in
``$CLOUDBANDIT_DATA/<folder>/<file>``, then in the user's cache, then downloaded; its sha256 is pinned. ``table.toml``
files of registered tables are part of this package (``manifests/``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloudbandit.errors import DatasetError, UnknownNameError
from cloudbandit.tables.manifest import Manifest, read_manifest
from cloudbandit.tables.stress import SUFFIX, stressed
from cloudbandit.tables.table import Table

VARIABLE = "CLOUDBANDIT_DATA"
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Dataset:
    """One file of other people's data."""

    name: str
    folder: str
    file: str
    url: str
    commit: str
    sha256: str
    licence: str
    citation: str


DATASETS: Mapping[str, Dataset] = {
    d.name: d
    for d in [
        Dataset(
            "multicloud",
            "multicloud",
            "multi-cloud-configuration.csv",
            "https://raw.githubusercontent.com/IBM/multi-cloud-configuration-dataset/"
            "9380be4a572de8b101ed1eea59279d2f2e567af0/multi-cloud-configuration.csv",
            "9380be4a572de8b101ed1eea59279d2f2e567af0",
            "6660f7e6ada40f4fbcf93402a1def96769e90fc384182b488241dc6e26341289",
            "Apache-2.0",
            "Lazuka, Parnell, Anghel, Pozidis: Search-based Methods for Multi-Cloud Configuration. IEEE CLOUD 2022",
        ),
    ]
}


def bundled() -> Path:
    """Where the project's own data lie: in the installed package, or in the working tree."""
    installed = _HERE.parent / "_data"
    return installed if installed.is_dir() else _HERE.parent.parent / "data"


def _bundled_tables() -> dict[str, Path]:
    return {path.parent.name: path.parent for path in sorted(bundled().glob("*/table.toml"))}


def dataset_path(name: str) -> Path:
    """The local file of a registered data set, downloaded if need be.

    Raises:
        UnknownNameError: no such data set.
        DatasetError: not found and not fetchable, or its sha256 is not the pinned one.
    """
    if name not in DATASETS:
        raise UnknownNameError("data set", name, DATASETS)
    dataset = DATASETS[name]
    given = os.environ.get(VARIABLE)
    if given:
        path = Path(given).expanduser() / dataset.folder / dataset.file
        if path.is_file():
            return _checked(dataset, path)
    return _fetch(dataset)


def available(name: str) -> bool:
    """Whether a data set can be read without a download."""
    dataset = DATASETS[name]
    given = os.environ.get(VARIABLE)
    places = [Path(given).expanduser() / dataset.folder] if given else []
    return any((place / dataset.file).is_file() for place in (*places, _cache() / dataset.folder))


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("cloudbandit"))


def _fetch(dataset: Dataset) -> Path:
    import logging

    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    try:
        path = pooch.retrieve(
            dataset.url, f"sha256:{dataset.sha256}", fname=dataset.file, path=_cache() / dataset.folder
        )
    except ValueError as error:  # pooch: the hash differs
        raise DatasetError(f"the download of {dataset.name!r} is not what was pinned: {error}") from error
    except Exception as error:  # whatever the network stack raises; nothing was measured here
        raise DatasetError(
            f"the data set {dataset.name!r} is neither in ${VARIABLE} ({os.environ.get(VARIABLE) or 'not set'}) nor in "
            f"{_cache() / dataset.folder}, and could not be downloaded ({_brief(error)}). Cure: put "
            f"{dataset.file} (sha256 {dataset.sha256[:12]}…) into {dataset.folder}/ of a folder, and set {VARIABLE} to it"
        ) from error
    return Path(path)


def _brief(error: BaseException) -> str:
    """The root of a chain of network errors: the rest repeats it."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}"


def _checked(dataset: Dataset, path: Path) -> Path:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != dataset.sha256:
        raise DatasetError(
            f"{path} has sha256 {found[:12]}…, and {dataset.name!r} is pinned to {dataset.sha256[:12]}…; "
            "cure: restore the original file, or point a table.toml of your own at it"
        )
    return path


def table_names() -> list[str]:
    """Every name `load_table` knows."""
    return sorted({*DATASETS, *_bundled_tables()})


def load_table(name: str | Path) -> Table:
    """A table by registered name, or from a folder with a ``table.toml``; with ``:stress`` behind it, its stress variant.

    Raises:
        UnknownNameError: neither.
        TableError, DatasetError: it cannot be read.
    """
    text = str(name)
    if text.endswith(SUFFIX):
        return stressed(load_table(text.removesuffix(SUFFIX)))
    if text in DATASETS:
        return _loaded(text, read_manifest(_HERE / "manifests" / f"{text}.toml", dataset_path(text)))
    folder = _bundled_tables().get(text)
    path = Path(text).expanduser()
    if folder is None and path.name == "table.toml":
        path = path.parent
    if folder is None and not path.is_dir():
        raise UnknownNameError("table", text, table_names(), "Or name a folder that holds a table.toml.")
    folder = folder or path
    return _loaded(folder.resolve().name, read_manifest(folder / "table.toml"))


_tables: dict[tuple[object, ...], Table] = {}


def _loaded(name: str, manifest: Manifest) -> Table:
    """A table is immutable, so the latest few are kept, for as long as manifest and file stay as they are."""
    try:
        stat = manifest.file.stat()
    except OSError:
        return Table(name, manifest)  # which says what is wrong
    key = (name, repr(manifest), stat.st_mtime_ns, stat.st_size)
    if key not in _tables:
        while len(_tables) >= 4:
            del _tables[next(iter(_tables))]
        _tables[key] = Table(name, manifest)
    return _tables[key]
