"""The client against servers that break the rules: every request ends in a stated status, within its timeout."""

import asyncio
import contextlib
import errno
import json
import socket
import subprocess
import sys

import pytest

from cloudbandit.core.errors import UsageError
from cloudbandit.loadgen import Closed, Fixed, Open, Workload, client, plan, summarize

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSED = HEAD + b"Connection: close\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(text="x", finish=None, **more):
    """One event of a completion."""
    message = {"choices": [{"index": 0, "text": text, "finish_reason": finish}], **more}
    return b"data: " + json.dumps(message).encode() + b"\n\n"


def usage(output_tokens, input_tokens=3):
    return event("", "stop", usage={"prompt_tokens": input_tokens, "completion_tokens": output_tokens})


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


GOOD = CHUNKED + chunk(event()) + chunk(event()) + chunk(usage(2)) + chunk(DONE) + b"0\r\n\r\n"


@contextlib.asynccontextmanager
async def answering(pieces, hold=False):
    """A server that answers every request with these bytes (or an async function of the writer), then closes or holds on."""
    serving = {}

    async def serve(reader, writer):
        serving[writer] = asyncio.current_task()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.startswith(b"Content-Length"))
                await reader.readexactly(length)
                if callable(pieces):
                    await pieces(writer)
                else:
                    writer.write(pieces)
                    await writer.drain()
                if not hold:
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in serving:
            writer.transport.abort()
        await asyncio.wait([asyncio.create_task(asyncio.sleep(0)), *serving.values()])


def made(url, n=1, load=None, outputs=2, **options):
    options = {"timeout_s": 5.0, **options}
    return plan(Workload(Fixed(3, outputs)), load or Closed(1), url=url, model="m", seed=0, requests=n, **options)


def asked(pieces, *, hold=False, kind=client.Client, **options):
    """The records of a plan sent to a server that answers so."""

    async def go():
        async with answering(pieces, hold) as url:
            return await kind(made(url, **options)).run()

    return asyncio.run(go())


# ── time ──


def test_the_timeout_covers_connecting():
    class Slow(client.Client):
        """Connecting takes an hour on its clock."""

        lost_s = 0.0

        def clock(self):
            return super().clock() + self.lost_s

        async def _connect(self):
            exchange = await super()._connect()
            self.lost_s += 3600.0
            return exchange

    (record,) = asked(GOOD, kind=Slow)
    assert record["status"] == "timeout"
    assert not record["chunk_s"]


def test_a_request_that_is_too_late_to_be_sent_is_not_sent():
    class Late(client.Client):
        def clock(self):
            return super().clock() + 3600.0

    (record,) = asked(GOOD, kind=Late, load=Open(1.0))
    assert record["status"] == "timeout"
    assert "sent_s" not in record


def test_bytes_after_the_timeout_do_not_count():
    # whatever holds up the timer, an endless stream ends with the first bytes after the deadline
    now = 0.0
    exchange = client._Exchange(lambda: now)

    async def go():
        nonlocal now
        record = {"chunk_s": [], "max_tokens": 2}
        left, right = socket.socketpair()
        with right:
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: exchange, sock=left)
            task = asyncio.create_task(exchange.send(b"", record, 60.0))
            await asyncio.sleep(0)
            exchange.data_received(CHUNKED + chunk(event()))
            now = 61.0
            exchange.data_received(chunk(event()))
            await task
            transport.abort()
        return record

    record = asyncio.run(go())
    assert record["status"] == "timeout"
    assert record["chunk_s"] == [0.0]


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 20", HEAD, CHUNKED + b"5", CHUNKED + b"5\r\nda", CLOSED + event()],
    ids=["nothing", "status line", "headers", "chunk size", "chunk", "body"],
)
def test_whatever_is_dribbled_the_timeout_holds(start):
    async def dribble(writer):
        writer.write(start)
        while not writer.transport.is_closing():
            writer.write(b"0")
            await asyncio.sleep(0.02)

    (record,) = asked(dribble, timeout_s=0.15)
    assert record["status"] in ("timeout", "garbage")
    assert record["end_s"] - record["scheduled_s"] >= 0.15 or record["status"] == "garbage"


# ── the client's own limits ──


def alone(url, tmp_path, files, *, n=60, load=None):
    """The client as a program of its own that may open so many files (soft and hard limit)."""
    (tmp_path / "plan.json").write_text(json.dumps(made(url, n, load or Closed(n))))
    limits = f'ulimit -S -n {files[0]} && ulimit -H -n {files[1]} && exec "$@"'
    argv = [sys.executable, "-I", "-S", client.__file__, str(tmp_path / "plan.json"), str(tmp_path / "records.jsonl")]
    done = subprocess.run(["sh", "-c", limits, "sh", *argv], capture_output=True, text=True, check=False, timeout=30)
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    return done, [json.loads(line) for line in lines]


@pytest.fixture
def patient():
    """A server in a process of its own that takes 0.3 s for a token."""
    argv = [sys.executable, "-m", "cloudbandit.testing.stub_engine", "--ttft", "0.3", "--itl", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        yield f"http://127.0.0.1:{server.stdout.readline().split()[1]}"
        server.kill()


def test_the_client_raises_its_own_limit_of_open_files(patient, tmp_path):
    done, records = alone(patient, tmp_path, (30, 400))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"requests": 60, "ok": 60}
    assert {r["status"] for r in records} == {"ok"}


def test_where_it_cannot_it_says_so_and_blames_nobody_else(patient, tmp_path):
    done, records = alone(patient, tmp_path, (30, 30))
    assert done.returncode == client.LIMIT_EXIT
    limited = [r for r in records if r["status"] == client.LIMITED]
    assert limited
    assert all("Too many open files" in r["error"] for r in limited)
    assert {r["status"] for r in records} == {"ok", client.LIMITED}
    assert json.loads(done.stdout) == {"requests": len(records), "ok": len(records) - len(limited)}
    assert "Too many open files" in done.stderr
    with pytest.raises(UsageError, match="load generator ran into a limit of its own"):
        summarize(records)


@pytest.mark.parametrize("load", [Closed(2), Open(100.0)], ids=["closed", "open"])
def test_a_client_at_its_limit_starts_no_more_requests(monkeypatch, load):
    async def out(self):
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(client.Client, "_connect", out)
    records = client.run(made("http://127.0.0.1:9", 50, load))
    assert {r["status"] for r in records} == {client.LIMITED}
    assert len(records) < 25
