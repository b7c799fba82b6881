"""``transformers serve --continuous-batching``: Hugging Face's own server, on CPUs and GPUs.

The command line is that of transformers 5.23. This adapter's commands are tested; an engine was not started with it by this
project's tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from cloudbandit.engines.engine import Engine, Knob
from cloudbandit.errors import UsageError
from cloudbandit.protocols import Host
from cloudbandit.trial import Config, Value


class Transformers(Engine):
    """Models: a folder or name the host can load. Prompts are text, on the chat endpoint; output may end early, because this
    server takes no ``ignore_eos``.

    The number of KV blocks is always given: left to itself the server takes most of the machine's memory.

    Args:
        device: ``cpu``, ``cuda``, …
        fixed: see `Engine`.
    """

    name = "transformers"
    knobs: ClassVar[Sequence[Knob]] = (
        Knob("num_blocks", (16, 64, 256, 1024), 64),
        Knob("block_size", (16, 32, 64), 32),
        Knob("max_batch_tokens", (64, 128, 256, 512, 1024), 512),
    )
    start_timeout_s = 300.0
    text_prompts = True

    def __init__(self, *, device: str = "cpu", **fixed: Value | Sequence[Value]) -> None:
        super().__init__(**fixed)
        self.device = device

    def argv(self, host: Host, config: Config, port: int, model: str) -> list[str]:
        out = ["transformers", "serve", model, "--host", "127.0.0.1", "--port", str(port), "--device", self.device]
        out.append("--continuous-batching")
        for knob in self.knobs:
            out += [f"--cb-{knob.name.replace('_', '-')}", str(config.get(knob.name, knob.default))]
        return out

    def env(self, config: Config) -> Mapping[str, str]:
        return {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}

    def version(self, host: Host) -> str:
        done = host.run(["transformers", "version"], timeout_s=120)
        if done.code != 0:
            raise UsageError(
                "the engine transformers needs the program transformers on the host. "
                "Cure: pip install 'transformers[serving]' torch accelerate there"
            )
        return f"transformers {done.output.strip().splitlines()[-1]}"
