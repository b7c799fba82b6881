"""``transformers serve --continuous-batching``: Hugging Face's own server, on CPUs and GPUs.

The command line is that of transformers 5.23, with which it was started for real on a CPU (docs/live.md says how).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloudbandit.core.protocols import Host
from cloudbandit.core.trial import Config, Value
from cloudbandit.engines import hugging_face
from cloudbandit.engines.engine import Engine
from cloudbandit.engines.knobs import Knob


class Transformers(Engine):
    """Models: a folder, or a hub's ``owner/name`` that the host can load. Prompts are text, because this server takes no token
    ids; output may end early, because it takes no ``ignore_eos``.

    The number of KV blocks is always given: left to itself the server takes most of the machine's memory.

    Args:
        program: where the command ``transformers`` is; it may be in an environment of its own.
        device: ``cpu``, ``cuda``, …
        fixed: see `Engine`.
    """

    name = "transformers"
    knobs: Sequence[Knob] = (
        Knob("num_blocks", (16, 64, 256, 1024), 64),
        Knob("block_size", (16, 32, 64), 32),
        Knob("max_batch_tokens", (64, 128, 256, 512, 1024), 512),
    )
    start_timeout_s = 300.0
    text_prompts = True

    def __init__(self, *, program: str = "transformers", device: str = "cpu", **fixed: Value | Sequence[Value]) -> None:
        super().__init__(**fixed)
        self.program, self.device = program, device

    def find(self, model: str) -> str:
        return hugging_face.folder_or_name(model)

    def prepare(self, host: Host, model: str) -> str:
        return hugging_face.prepare(host, model)

    def argv(self, host: Host, config: Config, port: int, model: str) -> list[str]:
        out = [self.program, "serve", model, "--host", "127.0.0.1", "--port", str(port), "--device", self.device]
        out.append("--continuous-batching")
        for knob in self.knobs:
            out += [f"--cb-{knob.name.replace('_', '-')}", str(config.get(knob.name, knob.default))]
        return out

    def env(self, config: Config, model: str) -> Mapping[str, str]:
        return hugging_face.environment(model)

    def version(self, host: Host) -> str:
        cure = "pip install 'transformers[serving]' torch accelerate there"
        return f"transformers {hugging_face.version(host, [self.program, 'version'], cure)}"
