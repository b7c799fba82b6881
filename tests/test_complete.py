"""Shell completion: what a shell is offered at the end of a line."""

import pytest

from cloudbandit import minimize
from cloudbandit.cli import main


@pytest.fixture
def offered(monkeypatch, capsys):
    def call(line, shell="zsh"):
        monkeypatch.setenv("_CLOUDBANDIT_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        with pytest.raises(SystemExit):
            main([])
        out = capsys.readouterr().out
        return out.replace('"', "").split("\n") if shell == "zsh" else out.splitlines()

    return call


@pytest.mark.parametrize(
    ("line", "expected", "not_expected"),
    [
        ("cloudbandit replay llm", "llm-serving", "multicloud"),
        ("cloudbandit replay llm-serving --optimizer cherry", "cherrypick-x3", "gp"),
        ("cloudbandit compare llm-serving --optimizers random,gp-a", "random,gp-ard", "gp-ard"),
        ("cloudbandit compare llm-serving --optimizers gp,g", "gp,gp-ard", "gp,gp"),
        ("cloudbandit compare llm-serving --minimize usd_per_h,ttft", "usd_per_h,ttft_ms", "ttft_ms"),
        ("cloudbandit replay llm-serving --slo ttft", "ttft_ms", "tpot_ms"),
    ],
)
def test_names_are_completed_alone_and_in_lists(offered, line, expected, not_expected):
    found = " ".join(offered(line)).replace("_arguments '*: :((", " ").replace("))'", " ").split()
    assert expected in found
    assert not_expected not in found


def test_a_pipe_in_a_workload_is_quoted_where_the_shell_would_take_it(offered):
    line = "cloudbandit replay llm-serving --workload llama-3.1-70b"
    assert r"llama-3.1-70b\|chat\|2000tok\|spot" in offered(line, "bash")


def test_studies_and_metrics_of_a_store_are_completed_and_no_store_is_made(offered, tmp_path):
    store = tmp_path / "s.db"
    minimize(lambda c: {"loss": 1.0, "ttft_ms": 2.0}, [{"x": 1}], 1, goal="loss", store=str(store), name="mine")
    assert "mine" in " ".join(offered(f"cloudbandit show --store {store} --study m"))
    assert "ttft_ms" in " ".join(offered(f"cloudbandit show --store {store} --metrics t"))
    offered(f"cloudbandit show --store {tmp_path / 'none.db'} --study m")
    assert not (tmp_path / "none.db").exists()


def test_what_cannot_be_read_offers_nothing_and_says_nothing(offered, tmp_path):
    (tmp_path / "bad.db").write_text("no store")
    for line in (
        f"cloudbandit show --store {tmp_path / 'bad.db'} --study m",
        "cloudbandit replay nowhere --minimize u",
    ):
        assert "".join(offered(line)) == "_files", "the shell's own"
