"""What people see in a terminal of 80 and of 100 columns: no number is cut."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

WORKLOAD = "llama-3.1-70b|chat|2000tok|spot"
GOAL = ["--minimize", "usd_per_h", "--slo", "ttft_ms<=1000"]
COMMANDS = {
    "compare": [
        "llm-serving",
        *GOAL,
        "--workloads",
        WORKLOAD,
        "--optimizers",
        "random-wor,random",
        "--budgets",
        "5,11",
    ],
    "replay": [
        "llm-serving",
        *GOAL,
        "--workload",
        WORKLOAD,
        "--optimizer",
        "random-wor",
        "--budget",
        "22",
        "--store",
        "S",
    ],
    "show": ["--store", "S"],
    "recommend": [
        *("--model", "flan-t5-xxl", "--users", "200", "--offers", "llm-pilot"),
        *("--slo", "nttft_ms<=100", "--slo", "itl_ms<=50"),
    ],
    "table": ["check", "llm-serving"],
    "optimizers": [],
}
PROGRAM = """
import json, sys
from cloudbandit.cli import main
for argv in json.loads(sys.argv[1]):
    print("COMMAND", argv[0])
    try:
        main(argv)
    except SystemExit as stopped:
        assert not stopped.code, argv
"""


def in_a_terminal(width, *argv):
    """What a program writes to a terminal of so many columns, without colours and cursor moves."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
            os.execve(argv[0], argv, {**environment, "TERM": "xterm", "NO_COLOR": "1"})
        finally:
            os._exit(1)
    written = b""
    while True:
        try:
            some = os.read(terminal, 1 << 16)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not some:
            break
        written += some
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())
    assert os.waitstatus_to_exitcode(status) == 0, text
    return text.replace("\r\n", "\n")


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    store = str(tmp_path_factory.mktemp("terminal") / "s.db")
    return [[name, *(store if a == "S" else a for a in rest)] for name, rest in COMMANDS.items()]


@pytest.fixture(scope="module")
def found(commands):
    """What the commands say to programs."""
    argv = [sys.executable, "-c", PROGRAM, json.dumps([[*command, "--json"] for command in commands])]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    return {command.split()[1]: json.loads(line) for command, line in zip(said[::2], said[1::2], strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 100])
def test_no_number_is_cut(commands, found, width):
    text = in_a_terminal(width, sys.executable, "-c", PROGRAM, json.dumps(commands))
    parts = dict(re.findall(r"COMMAND (\w+)\n(.*?)(?=COMMAND|\Z)", text, re.DOTALL))
    assert list(parts) == list(COMMANDS)
    for name, part in parts.items():
        lines = [line.rpartition("\r")[2] for line in part.splitlines()]
        assert not re.search(r"\w…", part), f"{name} cuts a word or a number"
        if name != "replay":  # its schedule is one line to be copied
            assert max(len(line) for line in lines) <= width, name

    for row in found["compare"]["rows"]:
        assert f"{row['mean_regret_percent']:.1f}" in parts["compare"]
        assert "{:.1f} … {:.1f}".format(*row["ci95"]) in parts["compare"]
    trials = found["show"]["trials"]
    lines = [line.split() for line in parts["show"].splitlines()]
    for t in trials:
        (line,) = [words for words in lines if words[:1] == [str(t["trial"])]]
        for metric in ("usd_per_h", "ttft_ms"):
            assert metric not in t["metrics"] or f"{t['metrics'][metric]:.4g}" in line, "show keeps its metrics"
    for r in found["recommend"]["ranking"]:
        line = next(line for line in parts["recommend"].splitlines() if line.startswith(r["offer"]))
        assert f"{r['usd_per_h']:.2f}" in line
        assert f" {r['replicas']} " in line
        assert r["source"] in line
    for key, value in found["table"].items():
        if isinstance(value, int):
            assert re.search(rf"{key}\s+{value}\s", parts["table"])
    for name in ("cloudbandit:<inner>", "cherrypick-stop", "gp-ard"):
        assert re.search(rf"^{re.escape(name)} ", parts["optimizers"], re.MULTILINE)
