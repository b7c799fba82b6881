"""OpenVINO GenAI with continuous batching: the real engine that runs on a laptop."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.core.protocols import Host
from cloudbandit.core.trial import Config
from cloudbandit.engines import openvino_server, tiny_llama
from cloudbandit.engines.engine import Engine
from cloudbandit.engines.knobs import Knob

TINY = "tiny-llama"
_PROPERTIES = {"threads": "INFERENCE_NUM_THREADS", "kv_cache_precision": "KV_CACHE_PRECISION"}


class OpenVINO(Engine):
    """``openvino-genai`` behind a small server of ours.

    Models: ``tiny-llama`` (random weights, written locally), or the path of a GGUF file. ``max_num_seqs`` acts only without
    ``dynamic_split_fuse``; there the engine refuses more sequences than batched tokens, at the first request. With too few
    ``num_kv_blocks`` (of 32 tokens) it ignores requests that are too long: a hidden constraint that only a request shows.
    """

    name = "openvino"
    knobs: Sequence[Knob] = (
        Knob("max_num_batched_tokens", (32, 64, 128, 256, 512, 1024, 2048), 256),
        Knob("dynamic_split_fuse", (True, False), True),
        Knob("max_num_seqs", (2, 4, 8, 16, 32, 64, 128), 64, when=("dynamic_split_fuse", False)),
        Knob("enable_prefix_caching", (False, True), False),
        Knob("num_kv_blocks", (16, 32, 64, 128, 256, 512), 256),
        Knob("threads", (1, 2), 2),
        Knob("kv_cache_precision", ("u8", "f16"), "u8"),
    )
    at_most: ClassVar[Sequence[tuple[str, str]]] = (("max_num_seqs", "max_num_batched_tokens"),)
    start_timeout_s = 30.0
    vocabulary = (tiny_llama.FIRST_TOKEN, tiny_llama.LAST_TOKEN)

    def find(self, model: str) -> str:
        if model == TINY:
            return model
        path = Path(model).expanduser()
        if not path.is_file() or path.suffix != ".gguf":
            raise DataError(f"the model {model!r} is no GGUF file; allowed: {TINY}, or the path of a .gguf file")
        return str(path.resolve())

    def prepare(self, host: Host, model: str) -> str:
        host.put(Path(openvino_server.__file__), "openvino_server.py")
        if model != TINY:
            host.put(Path(self.find(model)), "model.gguf")
            return "model.gguf"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tiny.gguf"
            tiny_llama.write(path)
            host.put(path, "tiny.gguf")
        return "tiny.gguf"

    def argv(self, host: Host, config: Config, port: int, model: str) -> list[str]:
        chosen = {k.name: k.default for k in self.knobs if k.when is None} | dict(config)
        knobs = {_PROPERTIES.get(name, name): value for name, value in chosen.items()}
        return [host.python, "openvino_server.py", model, "--port", str(port), "--knobs", json.dumps(knobs)]

    def version(self, host: Host) -> str:
        done = host.run([host.python, "-c", "import openvino_genai; print(openvino_genai.__version__)"], timeout_s=60)
        if done.code != 0:
            raise UsageError(
                "the engine openvino needs openvino-genai on the host, which cannot be imported. "
                "Cure: pip install 'cloudbandit[openvino]'"
            )
        return f"openvino-genai {done.output.strip()}"
