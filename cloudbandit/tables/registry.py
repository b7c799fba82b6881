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

from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import DatasetError, UnknownNameError
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
    table: bool = False
    """Whether it is a recorded table, with a manifest."""


_LLM_PILOT = (
    "Lazuka, Anghel, Parnell: LLM-Pilot: Characterize and Optimize Performance of your LLM Inference Services. SC 2024"
)
_LLM_PILOT_FILES = {
    "llm-features": ("llm_features.csv", "182cea6c74a82cc9f428c2d47afce596255d6d077e722f8e006b8428b7aa8779"),
    "gpu-features": ("gpu_features.csv", "0d75a30f536d19a0f3344acdecab010bf7bbd59ca53c2e8a326105b5ac29be77"),
    "prices": ("prices.csv", "2e3c94317e9e619cf30996738b518f3e3a7376c0f5ce818c6c323043090eca0a"),
    "aggregate": ("aggregate.csv", "c135a21e84409a864f8c1628e5dfe641d563324bb8fbc8d6fd4bc8f0f099b34f"),
    "scores": (
        "expected/expected_recommendation_scores.csv",
        "11290f76ca42f12543ee88cefd911aa4908e8c9893da091895179ee5629a2198",
    ),
    "static-scores": (
        "expected/expected_recommendation_scores_static_policies.csv",
        "cd5d9103e83b2254fb6312f251e0ce97df076f9b8dbb8d3176d1b1aabd605557",
    ),
    **{
        f"predictions-{name}": (f"expected/expected_predictions_{name}.csv", sha256)
        for name, sha256 in {
            "LLM-Pilot": "9007b6d2465752aeb8fb3d06a32afe32a0b5f89d34e4f9847ec073f7631feffd",
            "Morphling": "8d48adcd9d0aabf01294f5c787947bf53cf5e2381daeb44e4f7b00f2d3d72129",
            "PARIS": "87178904d1e0feb025cc8e3cd56cf99959fee6689574272d7b901394a2fbe766",
            "PerfNet": "f7fe091ee12514c1bebf6d6d99c2d8a491253c03f13119f4bad88030b1d9e36c",
            "PerfNetV2": "58400a3e77b44f9062ef6262b1f223ce769a25b481a34ff95d819b91cda1c12d",
            "RF": "3d8bca46000833bdd0240c8fc7a621640d7d0518db426a8216ca532e7f4fef2a",
            "Selecta": "96d9c930a526cdd90f6ca6f6a09ab7047f0bc7df80d0fe0194ad3c4d11c1f1c6",
        }.items()
    },
}


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
            table=True,
        ),
        Dataset(
            "silicon",
            "silicon",
            "silicon_sample.csv",
            "https://raw.githubusercontent.com/ai-dynamo/aiconfigurator/095f58a51c4ca8e61b66ec108d86f223f8d559ce/"
            "aic-core/src/aiconfigurator_core/systems/silicon_sample.csv",
            "095f58a51c4ca8e61b66ec108d86f223f8d559ce",
            "4240bfaf555b6f8b2c62512074e5efbb7791cdbb0344b068408f397588499adb",
            "Apache-2.0",
            "ai-dynamo/aiconfigurator: silicon_sample.csv, as in aiconfigurator-core 0.12.0. NVIDIA 2026",
        ),
        *(
            Dataset(
                f"azure-llm-2023/{name}",
                "azure-llm-2023",
                f"AzureLLMInferenceTrace_{short}.csv",
                "https://raw.githubusercontent.com/Azure/AzurePublicDataset/b469a113cedca53ddc3bdea71a143dc4b7d8700c/data/"
                f"AzureLLMInferenceTrace_{short}.csv",
                "b469a113cedca53ddc3bdea71a143dc4b7d8700c",
                sha256,
                "CC-BY-4.0",
                "Patel et al.: Splitwise: Efficient Generative LLM Inference Using Phase Splitting. ISCA 2024",
            )
            for name, short, sha256 in (
                ("code", "code", "54e9a6d2a4bd06ba1e060304b900abbc74cbea53de96506e60fe5bb4f2277fb6"),
                ("conversation", "conv", "2f1e5b666d4e3055fdbba98598ce2ec307767b9064e03e2fa46676dbcc7d0bf8"),
            )
        ),
        *(
            # The artifact's own layout is not known here, so there is no address of single files to download.
            Dataset(
                f"llm-pilot/{name}",
                "llmpilot",
                file,
                "",
                "3c66483f55d7a55e03410880c33c098c6233f892",
                sha256,
                "CDLA-Permissive-2.0 (data), Apache-2.0 (code)",
                _LLM_PILOT,
            )
            for name, (file, sha256) in _LLM_PILOT_FILES.items()
        ),
    ]
}


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
    if not dataset.url:
        cached = _cache() / dataset.folder / dataset.file
        if cached.is_file():
            return _checked(dataset, cached)
        raise DatasetError(
            f"the data set {dataset.name!r} is not in ${VARIABLE} ({os.environ.get(VARIABLE) or 'not set'}), and it has no "
            f"address to download it from. Cure: take {Path(dataset.file).name} (sha256 {dataset.sha256[:12]}…) from the "
            f"artifact IBM/LLM-performance-prediction at commit {dataset.commit[:12]}, and put it at "
            f"{dataset.folder}/{dataset.file} of a folder that {VARIABLE} names"
        )
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
    return sorted({*(name for name, d in DATASETS.items() if d.table), *_bundled_tables()})


def load_table(name: str | Path) -> Table:
    """A table by registered name, or from a folder with a ``table.toml``; with ``:stress`` behind it, its stress variant.

    Raises:
        UnknownNameError: neither.
        TableError, DatasetError: it cannot be read.
    """
    text = str(name)
    if text.endswith(SUFFIX):
        return stressed(load_table(text.removesuffix(SUFFIX)))
    if text in DATASETS and DATASETS[text].table:
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
