"""The scripted server as an engine, for tests."""

from pathlib import Path
from typing import ClassVar

from cloudbandit.engines.engine import Engine
from cloudbandit.engines.knobs import Knob

ROOT = Path(__file__).parent.parent


class Scripted(Engine):
    """The scripted server as an engine; how it misbehaves under requests is the model's name."""

    name = "scripted"
    knobs: ClassVar = (
        Knob("itl_ms", (1, 2, 5), 1),
        Knob("start", ("ready", "crash", "never"), "ready"),
        Knob("batch", (1, 2), 1, when=("start", "ready")),
    )
    at_most: ClassVar = (("batch", "itl_ms"),)

    def argv(self, host, config, port, model):
        if config["start"] == "crash":
            return [host.python, "-c", "print('no such device'); raise SystemExit(7)"]
        if config["start"] == "never":
            return [host.python, "-c", "import time; time.sleep(600)"]
        times = ["--ttft", "0.005", "--itl", str(int(config["itl_ms"]) / 1e3)]
        return [host.python, "-m", "cloudbandit.testing.stub_engine", "--port", str(port), *times]

    def env(self, config, model):
        return {"PYTHONPATH": str(ROOT)}

    def version(self, host):
        return "scripted"
