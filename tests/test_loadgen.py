"""The client against a server with scripted timings and misbehaviour; formulas against hand-made records; arrivals against
their laws."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.core.goal import SLO
from cloudbandit.loadgen import (
    Closed,
    Empirical,
    Fixed,
    LogNormal,
    Open,
    Trace,
    Workload,
    client,
    metrics,
    plan,
    run,
    summarize,
)

TTFT, ITL = 0.06, 0.02


@pytest.fixture(scope="module")
def stub():
    """A scripted server in a process of its own."""
    argv = [sys.executable, "-m", "cloudbandit.testing.stub_engine", "--ttft", str(TTFT), "--itl", str(ITL)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline().split()[1])
        yield f"http://127.0.0.1:{port}"
        server.kill()


def _plan(url, model="good", load=None, n=6, outputs=5, inputs=7, **options):
    options.setdefault("timeout_s", 5.0)
    return plan(
        Workload(Fixed(inputs, outputs)), load or Closed(2), url=url, model=model, seed=0, requests=n, **options
    )


# ── the client ──


def test_a_closed_loop_keeps_to_its_users_and_drops_nothing(stub):
    records = run(_plan(stub, n=9, load=Closed(3)))
    assert [r["id"] for r in records] == list(range(9))
    assert {r["status"] for r in records} == {"ok"}
    events = sorted(
        [(r["sent_s"], 1) for r in records] + [(r["end_s"], -1) for r in records], key=lambda e: (e[0], e[1])
    )
    assert max(np.cumsum([step for _, step in events])) == 3
    for r in records:
        assert (r["input_tokens"], r["output_tokens"], len(r["chunk_s"])) == (7, 5, 5)
        assert r["scheduled_s"] <= r["sent_s"] <= r["chunk_s"][0] <= r["chunk_s"][-1] <= r["end_s"]
        assert r["chunk_s"][0] - r["sent_s"] >= TTFT - 0.001  # never faster than the script
        assert r["chunk_s"][-1] - r["sent_s"] >= TTFT + 4 * ITL - 0.001


def test_an_open_loop_counts_from_the_scheduled_time(stub):
    # everything is scheduled at once: whatever the client needs to send it all is the request's own waiting time
    records = run(_plan(stub, n=20, load=Open(1e6)))
    assert all(r["scheduled_s"] < 0.001 for r in records)
    assert all(metrics.timing(r).ttft_ms == pytest.approx(1e3 * (r["chunk_s"][0] - r["scheduled_s"])) for r in records)
    assert max(r["sent_s"] for r in records) > max(r["scheduled_s"] for r in records)


def test_chat_streams_too(stub):
    text = plan(Workload(Fixed(4, 3), text=True), Closed(1), url=stub, model="good", seed=0, requests=2, chat=True)
    assert [(r["status"], r["output_tokens"]) for r in run(text)] == [("ok", 3)] * 2
    with pytest.raises(UsageError, match="takes text"):
        _plan(stub, chat=True)


@pytest.mark.parametrize(
    ("how", "status", "told"),
    [
        ("die", "truncated", "closed the connection"),
        ("cut", "truncated", r"without \[DONE\]"),
        ("half-chunk", "truncated", "closed the connection"),
        ("garbage", "garbage", "JSONDecodeError"),
        ("binary", "garbage", "not HTTP/1"),
        ("error", "garbage", "out of cache"),
        ("empty", "empty", "without a token"),
        ("429", "http", "busy"),
        ("500", "http", "busy"),
        ("overrun", "overrun", "10 tokens, and 5 were asked for"),
    ],
)
def test_failures_are_classified_and_never_dropped(stub, how, status, told):
    records = run(_plan(stub, how, n=3))
    assert len(records) == 3
    for r in records:
        assert r["status"] == status
        assert re.search(told, r["error"]), r["error"]
    if how in ("429", "500"):
        assert records[0]["http_status"] == int(how)
    found = summarize(records)
    assert found.failures == {status: 3}
    assert found.metrics["failure_rate"] == 1
    assert not any(name.endswith("_ms") for name in found.metrics)


@pytest.mark.parametrize("how", ["hang", "stall"])
def test_a_server_that_never_ends_is_a_timeout(stub, how):
    records = run(_plan(stub, how, n=2, timeout_s=0.3))
    assert [r["status"] for r in records] == ["timeout"] * 2
    assert all(0.3 <= r["end_s"] - r["scheduled_s"] < 2 for r in records)


def test_a_wrong_address_is_refused():
    records = run(_plan("http://127.0.0.1:9", n=2))
    assert [r["status"] for r in records] == ["refused"] * 2
    for url in ("localhost", "ftp://host", "http://", "http://host:0", "http://host:70000", "http://host:a"):
        with pytest.raises(UsageError, match="http://host:port"):
            _plan(url, n=1)


@pytest.mark.slow
def test_token_counts_are_the_servers_and_bytes_may_come_one_by_one(stub):
    pairs = run(_plan(stub, "pairs", n=2, outputs=6))
    assert all((r["output_tokens"], len(r["chunk_s"])) == (6, 3) for r in pairs)
    found = summarize(pairs)
    assert found.tokens_per_chunk == 2
    assert found.metrics["tpot_p50_ms"] == pytest.approx(found.metrics["itl_p50_ms"] * 2 / 5, rel=0.2)
    silent = summarize(run(_plan(stub, "no-usage", n=2)))
    assert "tpot_p50_ms" not in silent.metrics
    assert "output_tok_per_s" not in silent.metrics
    assert "ttft_p50_ms" in silent.metrics
    assert {r["status"] for r in run(_plan(stub, "crumbs", n=2))} == {"ok"}


def test_the_client_is_one_program_that_needs_nothing_but_python(stub, tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(_plan(stub, n=4)))
    alone = tmp_path / "client.py"
    alone.write_text(Path(client.__file__).read_text())
    argv = [sys.executable, "-I", "-S", str(alone), str(tmp_path / "plan.json"), str(tmp_path / "records.jsonl")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(done.stdout) == {"requests": 4, "ok": 4, "client_limit": 0}
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert summarize(records).requests == 4
    assert subprocess.run(argv[:4], capture_output=True, check=False).returncode == 2


# ── the formulas, by hand ──


def _record(i, scheduled, chunks, n_in=10, n_out=None, status="ok", sent=None):
    return {
        "id": i,
        "status": status,
        "scheduled_s": scheduled,
        "sent_s": scheduled if sent is None else sent,
        "chunk_s": chunks,
        "end_s": chunks[-1] if chunks else scheduled + 1.0,
        "input_tokens": n_in,
        "output_tokens": len(chunks) if n_out is None else n_out,
        "max_tokens": 99,
    }


def test_every_formula_on_one_request():
    t = metrics.timing(_record(0, 1.0, [1.5, 1.6, 1.8], n_in=20, n_out=5, sent=1.2))
    assert t.ttft_ms == pytest.approx(500)  # from the scheduled time, not from sending
    assert t.nttft_ms == pytest.approx(25)
    assert t.tpot_ms == pytest.approx(300 / 4)  # by usage, not by chunks
    assert t.e2e_ms == pytest.approx(800)
    assert t.itl_ms == pytest.approx((100, 200))
    assert metrics.timing(_record(0, 1.0, [1.5])).tpot_ms is None
    with pytest.raises(UsageError, match="only a successful one"):
        metrics.timing(_record(0, 0.0, [], status="timeout"))


def test_rates_windows_and_goodput():
    records = [_record(i, float(i), [i + 0.1, i + 0.2]) for i in range(10)] + [_record(10, 10.0, [], status="refused")]
    found = summarize(records, warmup_s=2.0, slos=[SLO("ttft_ms", 150), SLO("tpot_ms", 150)])
    assert found.window_s == (2.0, 10.0)
    assert found.requests == 9
    assert found.metrics["requests_per_s"] == pytest.approx(8 / 8)
    assert found.metrics["output_tok_per_s"] == pytest.approx(16 / 8)
    assert found.metrics["goodput_requests_per_s"] == pytest.approx(8 / 8)
    assert found.metrics["failure_rate"] == pytest.approx(1 / 9)
    assert found.failures == {"refused": 1}
    assert summarize(records, slos=[SLO("ttft_ms", 50)]).metrics["goodput_requests_per_s"] == 0
    with pytest.raises(UsageError, match="judges single requests"):
        summarize(records, slos=[SLO("ttft_p95_ms", 50)])
    with pytest.raises(UsageError, match="in the warm-up"):
        summarize(records, warmup_s=60)
    with pytest.raises(UsageError, match="no requests"):
        summarize([])


def test_the_failures_add_up_to_the_failure_rate():
    records = [_record(0, 0.0, [1.0]), _record(1, 0.0, [], n_out=3), _record(2, 0.5, [], status="timeout")]
    found = summarize(records)  # the second: tokens, and no text
    assert found.failures == {"empty": 1, "timeout": 1}
    assert found.metrics["failure_rate"] == pytest.approx(2 / 3)


def test_one_request_per_user_is_measured_to_its_end():
    found = summarize([_record(i, 0.0, [0.5, 1.0]) for i in range(4)])
    assert found.window_s == (0.0, 1.0)
    assert found.metrics["output_tok_per_s"] == pytest.approx(8)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=200), st.sampled_from([50, 90, 95, 99]))
def test_a_percentiles_interval_contains_it(values, q):
    low, high = metrics.percentile_interval(values, q)
    assert low <= np.percentile(values, q) <= high or np.isclose(low, high)


def test_percentile_intervals_cover():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        low, high = metrics.percentile_interval(rng.exponential(size=300), 90)
        hits += low <= np.log(10) <= high
    assert 0.92 <= hits / 400 <= 0.99


# ── workloads and arrivals ──


def test_a_seed_determines_a_plan():
    def made(seed):
        workload = Workload(LogNormal(50, 20), shared_prefix_tokens=8, prefixes=3)
        return plan(workload, Open(5.0, 2.0), url="http://127.0.0.1:1", model="m", seed=seed, requests=30)

    assert made(1) == made(1)
    assert made(1) != made(2)
    json.dumps(made(1))


def test_prompts_have_the_drawn_lengths_and_share_prefixes():
    rng = np.random.default_rng(0)
    requests = Workload(Fixed(20, 5), shared_prefix_tokens=12, prefixes=2).requests(50, rng)
    heads = {tuple(r["prompt"][:12]) for r in requests}
    assert len(heads) == 2
    assert len({tuple(r["prompt"][12:]) for r in requests}) == 50
    assert all(len(r["prompt"]) == 20 for r in requests)
    short = Workload(Fixed(5, 5), shared_prefix_tokens=12).requests(10, rng)
    assert len({tuple(r["prompt"]) for r in short}) > 1  # a prompt is never all prefix
    words = Workload(Fixed(5, 5), text=True).requests(1, rng)[0]["prompt"]
    assert len(words.split()) == 5


def test_empirical_lengths_are_drawn_in_pairs():
    lengths = Empirical.load(bundled() / "llm-pilot" / "requests.csv")
    pairs = {tuple(p) for p in lengths.pairs.tolist()}
    inputs, outputs = lengths.draw(5000, np.random.default_rng(0))
    assert set(zip(inputs.tolist(), outputs.tolist(), strict=True)) <= pairs
    assert np.mean(inputs) == pytest.approx(lengths.pairs[:, 0].mean(), rel=0.1)
    assert np.mean(outputs == 1) == pytest.approx(0.3, abs=0.03)  # 30 % of the outputs are one token


@pytest.mark.parametrize("burstiness", [0, 0.5, 1, 2])
def test_arrivals_have_their_rate_and_variation(burstiness):
    times = Open(20.0, burstiness).times(20_000, np.random.default_rng(0))
    gaps = np.diff(times)
    assert times[0] == 0
    assert (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(1 / 20, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness, abs=0.05)


def test_a_ramp_grows_linearly():
    times = Open(10.0, 0, ramp_from_per_s=0.0, ramp_s=20.0).times(300, np.random.default_rng(0))
    assert (np.diff(times) > 0).all()
    assert (times <= 20).sum() == pytest.approx(100, abs=1)  # half of 10 per second for 20 s
    assert (times <= 10).sum() == pytest.approx(25, abs=1)  # a quarter of that in the first half
    late = times[times > 20]
    assert np.diff(late) == pytest.approx(0.1)


def test_traces_are_replayed_with_their_times(tmp_path):
    path = tmp_path / "azure.csv"
    rows = [
        "2023-11-16 18:15:46.6805900,374,44",
        "2023-11-16 18:15:48.1805900,396,109",
        "2023-11-16 18:15:47.6805900,1,1",
    ]
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows))
    trace = Trace.load(path, speed=2.0)
    assert trace.at_s == pytest.approx([0, 1.0, 1.5], abs=1e-6)
    made = plan(Workload(Fixed(1, 1)), trace, url="http://127.0.0.1:1", model="m", seed=0, requests=9)
    assert [(len(r["body"]["prompt"]), r["max_tokens"]) for r in made["requests"]] == [(374, 44), (1, 1), (396, 109)]
    assert [r["at_s"] for r in made["requests"]] == pytest.approx([0, 0.5, 0.75], abs=1e-6)
    for text, why in (
        ("a,b\n1,2\n", "lacks at_s or TIMESTAMP"),
        ("at_s,input_tokens,output_tokens\nx,1,1\n", "line 2"),
        ("at_s,input_tokens,output_tokens\n1,0,1\n", "must be ≥ 1"),
        ("at_s,input_tokens,output_tokens\n", "holds no request"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=why):
            Trace.load(path)
    with pytest.raises(DataError, match="no file"):
        Trace.load(tmp_path / "none.csv")


def test_bad_workloads_are_refused():
    for make in (
        lambda: Fixed(0, 1),
        lambda: LogNormal(0.5, 1),
        lambda: Empirical(np.zeros((0, 2), int)),
        lambda: Closed(0),
        lambda: Open(0),
        lambda: Open(1, -1),
        lambda: Workload(Fixed(1, 1), vocabulary=(5, 5)),
        lambda: _plan("http://127.0.0.1:1", n=0),
        lambda: Trace.load("x", speed=0),
    ):
        with pytest.raises(UsageError):
            make()
