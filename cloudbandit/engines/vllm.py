"""vLLM: on GPUs, and on CPUs where such a build is installed on the host.

The command line and endpoints are those of ``vllm serve`` (0.32, 0.33). This adapter's commands are tested; an engine was not
started with it by this project's tests, which have no GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cloudbandit.engines.engine import Engine, Knob
from cloudbandit.errors import UsageError
from cloudbandit.protocols import Host
from cloudbandit.trial import Config, Value


class VLLM(Engine):
    """``vllm serve``. Models: a folder or name the host can load.

    Source of the knobs and known constraints: SCOOT (Cheng et al., WWW 2025), as far as today's vLLM still has them; block
    sizes below 32 are a hidden constraint on CPUs, tensor parallelism beyond the GPUs on any machine.

    Args:
        dummy: random weights instead of the model's own: speed without a download.
        max_model_len: context length; None: the model's.
        fixed: see `Engine`.
    """

    name = "vllm"
    knobs: ClassVar[Sequence[Knob]] = (
        Knob("max_num_seqs", (4, 16, 64, 128, 256, 512, 1024), 256),
        Knob("max_num_batched_tokens", (64, 256, 512, 1024, 2048, 4096, 8192, 16384), 2048),
        Knob("enable_chunked_prefill", (True, False), True),
        Knob("enable_prefix_caching", (True, False), True),
        Knob("block_size", (16, 32, 64, 128), 32),
        Knob("tensor_parallel_size", (1, 2, 4, 8), 1),
        Knob("enforce_eager", (False, True), False),
    )
    at_most: ClassVar[Sequence[tuple[str, str]]] = (("max_num_seqs", "max_num_batched_tokens"),)
    start_timeout_s = 900.0
    vocabulary = (100, 30_000)
    extra: ClassVar[Mapping[str, Any]] = {"ignore_eos": True, "temperature": 0}

    def __init__(
        self, *, dummy: bool = False, max_model_len: int | None = None, **fixed: Value | Sequence[Value]
    ) -> None:
        super().__init__(**fixed)
        self.dummy, self.max_model_len = dummy, max_model_len

    def argv(self, host: Host, config: Config, port: int, model: str) -> list[str]:
        out = ["vllm", "serve", model, "--served-model-name", model, "--host", "127.0.0.1", "--port", str(port)]
        for knob in self.knobs:
            value = config.get(knob.name, knob.default)
            flag = knob.name.replace("_", "-")
            if isinstance(value, bool):
                if knob.name == "enforce_eager":
                    out += ["--enforce-eager"] if value else []
                else:
                    out.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                out += [f"--{flag}", str(value)]
        if self.dummy:
            out += ["--load-format", "dummy"]
        if self.max_model_len is not None:
            out += ["--max-model-len", str(self.max_model_len)]
        return out

    def env(self, config: Config) -> Mapping[str, str]:
        return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}

    def version(self, host: Host) -> str:
        done = host.run(["vllm", "--version"], timeout_s=120)
        if done.code != 0:
            raise UsageError("the engine vllm needs the program vllm on the host. Cure: pip install vllm there")
        return f"vllm {done.output.strip().splitlines()[-1]}"
