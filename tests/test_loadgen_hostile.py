"""The client against servers that break the rules: every request ends in a stated status, within its timeout."""

import asyncio
import contextlib
import errno
import itertools
import json
import socket
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit.core.errors import UsageError
from cloudbandit.loadgen import Closed, Fixed, Open, Workload, client, metrics, plan, summarize

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


@pytest.mark.slow
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


# ── connections ──


def test_a_server_that_does_not_take_connections_is_a_timeout():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        queue = [socket.socket() for _ in range(4)]  # more than it lets wait: the next hear nothing
        with contextlib.ExitStack() as stack:
            for waiting in queue:
                stack.enter_context(waiting).setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    waiting.connect(server.getsockname())
            records = client.run(made(f"http://127.0.0.1:{server.getsockname()[1]}", 2, Closed(2), timeout_s=0.2))
    assert [(r["status"], r["error"]) for r in records] == [("timeout", "no connection in time")] * 2


@pytest.mark.parametrize(
    ("scheme", "first", "statuses"),
    [
        ("http", b"", {"truncated"}),  # it hangs up
        ("http", b"220 mail server\r\n", {"truncated", "garbage"}),  # before or after the request was sent
        ("https", b"", {"refused", "truncated"}),
        ("https", b"220 mail server\r\n", {"refused"}),  # no TLS
    ],
)
def test_a_server_of_another_kind(scheme, first, statuses):
    async def greet(_, writer):
        writer.write(first)
        writer.close()

    async def go():
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await client.Client(made(f"{scheme}://127.0.0.1:{port}", 3)).run()

    records = asyncio.run(go())
    assert len(records) == 3
    assert {r["status"] for r in records} <= statuses, records


def test_a_kept_connection_that_was_closed_meanwhile_costs_no_request():
    async def go():
        async with answering(GOOD) as url:  # it says that it keeps the connection, and closes it
            return await client.Client(made(url, 3, Closed(1, think_s=0.02))).run()

    assert [r["status"] for r in asyncio.run(go())] == ["ok"] * 3


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
    assert json.loads(done.stdout) == {"requests": 60, "ok": 60, "client_limit": 0}
    assert {r["status"] for r in records} == {"ok"}


def test_where_it_cannot_it_says_so_and_blames_nobody_else(patient, tmp_path):
    done, records = alone(patient, tmp_path, (30, 30))
    assert done.returncode == client.LIMIT_EXIT
    limited = [r for r in records if r["status"] == client.LIMITED]
    assert limited
    assert all("Too many open files" in r["error"] for r in limited)
    assert {r["status"] for r in records} == {"ok", client.LIMITED}
    ok = len(records) - len(limited)
    assert json.loads(done.stdout) == {"requests": len(records), "ok": ok, "client_limit": len(limited)}
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


# ── bytes ──

BIG = b"x" * (client.EVENT_BYTES + 10)
SPLIT = [CHUNKED, chunk(event("é")), chunk(usage(1)), chunk(DONE), b"0\r\n\r\n"]
WHOLE = event() + event() + usage(2) + DONE
MANY = b"".join(chunk(event()) for _ in range(3))


def length(body, size=None):
    return HEAD + b"Content-Length: %d\r\n\r\n" % (len(body) if size is None else size) + body


def windows(data):
    return data.replace(b"\n", b"\r\n")


# name: what comes, whether the server then holds the connection, the status, and a word of the error
ANSWERS = {
    # what is legal
    "good": (GOOD, True, "ok", ""),
    "a length": (length(WHOLE), True, "ok", ""),
    "until close": (HEAD + b"\r\n" + WHOLE, False, "ok", ""),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\n" + WHOLE, False, "ok", ""),
    "HTTP/1.0 kept": (length(WHOLE).replace(b"1.1", b"1.0"), True, "ok", ""),
    "no reason": (GOOD.replace(b"200 OK", b"200"), True, "ok", ""),
    "no headers": (b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE, False, "ok", ""),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: %d\n\n" % len(WHOLE) + WHOLE, True, "ok", ""),
    "names in capitals": (GOOD.replace(b"Transfer-Encoding: chunked", b"TRANSFER-ENCODING:CHUNKED"), True, "ok", ""),
    "words before": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + GOOD, True, "ok", ""),
    "trailers": (GOOD[:-2] + b"X-Took: 3\r\nX-Cost: 4\r\n\r\n", True, "ok", ""),
    "chunk extensions": (CHUNKED + b"%x ;a=b\r\n%b\r\n" % (len(WHOLE), WHOLE) + b"0;c\r\n\r\n", True, "ok", ""),
    "identity": (GOOD.replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\nContent-Encoding: identity"), True, "ok", ""),
    "both lengths": (GOOD.replace(b"Transfer", b"Content-Length: 7\r\nTransfer"), True, "ok", ""),
    "one length twice": (
        length(WHOLE).replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(WHOLE)),
        True,
        "ok",
        "",
    ),
    "no space": (length(WHOLE.replace(b"data: ", b"data:")), True, "ok", ""),
    "windows' ends": (length(windows(WHOLE)), True, "ok", ""),
    "old macs' ends": (length(WHOLE.replace(b"\n", b"\r")), True, "ok", ""),
    "comments": (length(b": hello\n\n" + WHOLE.replace(b"data:", b": ping\ndata:")), True, "ok", ""),
    "fields": (length(WHOLE.replace(b"data:", b"event: message\nid: 3\nretry: 9\ndata:")), True, "ok", ""),
    "several lines of data": (length(WHOLE.replace(b", ", b",\ndata: ")), True, "ok", ""),
    "a mark of byte order": (length(b"\xef\xbb\xbf" + WHOLE), True, "ok", ""),
    "blank lines": (length(b"\n\n\n" + WHOLE.replace(b"\n\n", b"\n\n\n\n\n")), True, "ok", ""),
    "[DONE] and no end": (CHUNKED + chunk(WHOLE), True, "ok", ""),
    "[DONE] and no end, by close": (HEAD + b"\r\n" + WHOLE, True, "ok", ""),
    "[DONE] short of the length": (length(WHOLE, 9999), True, "ok", ""),
    "[DONE], then rubbish": (CHUNKED + chunk(WHOLE) + b"zz\r\n", True, "ok", ""),
    "more than the length": (length(WHOLE) + b"HTTP/1.1 500 no\r\n\r\n", True, "ok", ""),
    "no [DONE], but a reason to finish": (length(event() + usage(1)), True, "ok", ""),
    "no usage": (length(event() + event("y", "stop") + DONE), True, "ok", ""),
    # what is not HTTP
    "nothing": (b"", False, "truncated", "closed the connection"),
    "half a status line": (b"HTTP/1.1 2", False, "truncated", "closed the connection"),
    "half the headers": (HEAD, False, "truncated", "closed the connection"),
    "headers alone, then closed": (CHUNKED, False, "truncated", "closed the connection"),
    "NUL bytes": (b"\x00" * 100, True, "garbage", "not HTTP/1"),
    "NUL bytes in the status": (b"HTTP/1.1 2\x000 OK\r\n\r\n", True, "garbage", "not HTTP/1"),
    "HTTP/2": (b"HTTP/2 200\r\n\r\n", True, "garbage", "not HTTP/1"),
    "a status of letters": (b"HTTP/1.1 two OK\r\n\r\n", True, "garbage", "not HTTP/1"),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n\r\n", True, "garbage", "not HTTP/1"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x46", True, "garbage", "not HTTP/1"),
    "an empty line first": (b"\r\n" + GOOD, True, "garbage", "not HTTP/1"),
    "endless headers": (HEAD + b"X: y\r\n" * 99999, True, "garbage", "not HTTP/1"),
    "a header of 1 MB": (HEAD + b"X: " + BIG, True, "garbage", "more than 65536 bytes"),
    "two lengths": (
        length(WHOLE).replace(b"Length: ", b"Length: 5\r\nContent-Length: "),
        True,
        "garbage",
        "content length",
    ),
    "a negative length": (length(WHOLE, -5), True, "garbage", "content length"),
    "a length of letters": (HEAD + b"Content-Length: ten\r\n\r\n", True, "garbage", "content length"),
    "an endless length": (HEAD + b"Content-Length: %b\r\n\r\n" % (b"9" * 5000), True, "garbage", "content length"),
    "gzip": (length(WHOLE).replace(b"Content-Type", b"Content-Encoding: gzip\r\nX"), True, "garbage", "encoding"),
    "gzip in transfer": (GOOD.replace(b": chunked", b": gzip, chunked"), True, "garbage", "encoding"),
    "a negative chunk": (CHUNKED + b"-5\r\n", True, "garbage", "chunk's size"),
    "an odd chunk size": (CHUNKED + b"0x5\r\n", True, "garbage", "chunk's size"),
    "an empty chunk size": (CHUNKED + b"\r\n", True, "garbage", "chunk's size"),
    "a huge chunk size": (CHUNKED + b"f" * 40 + b"\r\n", True, "garbage", "chunk's size"),
    "a chunk size without end": (CHUNKED + BIG, True, "garbage", "more than 65536 bytes"),
    "a chunk longer than it says": (CHUNKED + b"5\r\ndata: x\r\n", True, "garbage", "without its end"),
    "half a chunk": (CHUNKED + b"400\r\ndata: {", False, "truncated", "closed the connection"),
    "short of the length": (length(event(), 9999), False, "truncated", "closed the connection"),
    "the length cuts it": (length(WHOLE, 20), True, "truncated", "DONE"),
    # statuses
    "301": (b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", True, "http", "Moved"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", True, "http", "No Content"),
    "101": (b"HTTP/1.1 101 Switching\r\n\r\n", False, "http", "Switching"),
    "500 with an endless text": (b"HTTP/1.1 500 no\r\n\r\n" + b"sorry " * 9999, True, "http", "sorry"),
    "500 with half a text": (b"HTTP/1.1 500 no\r\nContent-Length: 99\r\n\r\nsorry", False, "http", "sorry"),
    "500 with a stream": (length(WHOLE).replace(b"200 OK", b"500 no"), True, "http", "data:"),
    "500 with gzip": (b"HTTP/1.1 500 no\r\nContent-Encoding: gzip\r\n\r\n\x1f", True, "http", "no"),
    # what is no stream of completions
    "a page": (length(b"<html>hello</html>"), True, "truncated", "DONE"),
    "no JSON": (length(b"data: {no\n\n" + WHOLE), True, "garbage", "JSONDecodeError"),
    "no UTF-8": (length(b'data: "\xff\xfe"\n\n' + WHOLE), True, "garbage", "UnicodeDecodeError"),
    "UTF-16": (
        length(b"data: " + '{"a": 1}'.encode("utf-16") + b"\n\n" + WHOLE),
        True,
        "garbage",
        "UnicodeDecodeError",
    ),
    "deep JSON": (length(b"data: " + b"[" * 200_000 + b"\n\n" + WHOLE), True, "garbage", "RecursionError"),
    "a list": (length(b"data: []\n\n" + WHOLE), True, "garbage", "a message is"),
    "choices of numbers": (length(b'data: {"choices": [1]}\n\n' + WHOLE), True, "garbage", "a choice is"),
    "choices of none": (length(b'data: {"choices": 5}\n\n' + WHOLE), True, "garbage", "choices is"),
    "a text of numbers": (length(event(5) + WHOLE), True, "garbage", "a text is"),
    "a delta of text": (length(b'data: {"choices": [{"delta": "x"}]}\n\n' + WHOLE), True, "garbage", "a delta is"),
    "an old error": (length(b'data: {"object": "error", "message": "oom"}\n\n' + WHOLE), True, "garbage", "oom"),
    "an event of 1 MB": (length(b"data: " + BIG + b"\n\n" + WHOLE), True, "garbage", "an event of more than"),
    "an event without end": (CHUNKED + chunk(b"data: " + BIG), True, "garbage", "an event of more than"),
    "many lines of data": (CHUNKED + chunk(b"data: x\n" * 200_000), True, "garbage", "an event of more than"),
    "an unfinished event": (length(event() + b"data: {"), True, "truncated", "DONE"),
    "[DONE] alone": (length(DONE), True, "empty", "without a token"),
    "an odd end": (length(event() + event("", "error") + DONE), True, "truncated", "ended the answer early"),
    # counts
    "too many": (length(event() + usage(3) + DONE), True, "overrun", "3 tokens, and 2"),
    "too many, and no usage": (CHUNKED + MANY + chunk(DONE) + b"0\r\n\r\n", True, "overrun", "3 tokens, and 2"),
    "far too many": (CHUNKED + MANY * 2000, True, "overrun", "endless"),
    "a negative usage": (length(event() + usage(-2) + DONE), True, "garbage", "completion_tokens is -2"),
    "a negative usage of inputs": (length(event() + usage(2, -2) + DONE), True, "garbage", "prompt_tokens is -2"),
    "half a token": (length(event() + usage(1.5) + DONE), True, "garbage", "completion_tokens is 1.5"),
    "a true usage": (length(event() + usage(True) + DONE), True, "garbage", "completion_tokens is True"),
    "a usage of text": (length(event() + usage("2") + DONE), True, "garbage", "completion_tokens is '2'"),
    "an unbounded usage": (length(event() + usage(1, float("inf")) + DONE), True, "garbage", "prompt_tokens is inf"),
    "a huge usage": (length(event() + usage(1, 10**30) + DONE), True, "garbage", "prompt_tokens is 1000"),
    "half a usage": (
        length(event("", usage={"prompt_tokens": 3}) + DONE),
        True,
        "garbage",
        "completion_tokens is None",
    ),
    "a usage that is a list": (length(event("", usage=[1]) + DONE), True, "garbage", "the usage is"),
    "a usage of nothing": (length(event() + usage(0) + DONE), True, "garbage", "no token"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_ends_in_a_stated_status(name):
    pieces, hold, status, told = ANSWERS[name]
    records = asked(pieces, hold=hold, n=2)  # the second: what is left of the first does not reach it
    assert [r["status"] for r in records] == [status] * 2, records
    assert status in {*metrics.FAILURES, client.OK}
    for r in records:
        assert told in r.get("error", "")
        assert len(r.get("error", "")) <= 2000
        assert r["scheduled_s"] <= r["end_s"] <= r["scheduled_s"] + 5.0
        if status == "ok":
            assert len(r["chunk_s"]) in (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [HEAD + b"\r\n", CHUNKED, CHUNKED + b"5\r\n", length(b"", 10**9)],
    ids=["until close", "chunks", "a chunk", "a length"],
)
def test_an_endless_answer_is_bounded_in_bytes_or_time(start):
    async def endless(writer):
        writer.write(start)
        while not writer.transport.is_closing():
            writer.write(b": ping\n\n" * 5000)
            await writer.drain()
            await asyncio.sleep(0)

    (record,) = asked(endless, timeout_s=0.1)
    assert record["status"] in ("timeout", "garbage")


@pytest.mark.slow
def test_large_chunks_are_not_held():
    # of a chunk of 100 MB no more is held than one event may take
    answer = client.Answer({"chunk_s": [], "max_tokens": 2})
    packet = b": a comment that goes on and on\n\n" * 8000
    tracemalloc.start()
    answer.feed(CHUNKED + b"5f5e100\r\n", 0.0)
    for _ in range(12):
        answer.feed(packet, 0.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 12 * len(packet) > 2.5 * client.EVENT_BYTES
    assert peak < 1.5 * client.EVENT_BYTES


def test_a_connection_is_kept_only_where_an_answer_ended_cleanly():
    connections = 0

    async def go(pieces):
        nonlocal connections
        connections = 0

        class Counting(client.Client):
            async def _connect(self):
                nonlocal connections
                connections += 1
                return await super()._connect()

        async with answering(pieces, hold=True) as url:
            return await Counting(made(url, 3)).run()

    for pieces, expected in (
        (GOOD, 1),
        (length(WHOLE), 1),
        (CLOSED + WHOLE, 3),
        (length(WHOLE).replace(b"1.1", b"1.0"), 3),
        (length(WHOLE) + b"x", 3),
        (CHUNKED + chunk(WHOLE), 3),
    ):
        assert [r["status"] for r in asyncio.run(go(pieces))] == ["ok"] * 3
        assert connections == expected


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_not_used(monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert [r["status"] for r in asked(GOOD)] == ["ok"]


# ── the parser, whatever arrives ──


def parsed(packets):
    """The record of an answer in these packets, but for the words of an error, and whether the stream said its last word."""
    record = {"chunk_s": [], "max_tokens": 4}
    answer = client.Answer(record)
    for packet in packets:
        try:
            answer.feed(packet, 1.0)
        except ValueError:
            record.setdefault("status", "garbage")
            break
        if answer.complete:
            break
    record.pop("error", None)
    return record, answer.over


def cut(data, places):
    edges = [0, *sorted({p % (len(data) + 1) for p in places}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


VALID = [
    data
    for data, _, status, _ in ANSWERS.values()
    if len(data) < 5000 and status in ("ok", "http", "garbage", "overrun", "truncated", "empty")
]
FRAGMENTS = [
    *(
        CHUNKED,
        HEAD,
        CLOSED,
        b"HTTP/1.1 100 x\r\n\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"\n\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"data:",
        DONE,
    ),
    *(
        b"data: {",
        b"}",
        b"[",
        b'"usage": ',
        b'"choices": ',
        b"Content-Length: 5\r\n",
        b"\x00",
        b"\xff",
        event(),
        usage(2),
    ),
    *(
        chunk(event()),
        chunk(usage(-1)),
        chunk(DONE),
        b"ffff\r\n",
        b"HTTP/1.1 500 x\r\n\r\n",
        b"\xef\xbb\xbf",
        b": x\n\n",
    ),
]
soup = st.lists(st.one_of(st.binary(max_size=20), st.sampled_from(FRAGMENTS)), max_size=15)
deterministic = settings(derandomize=True, max_examples=100, deadline=None)


@deterministic
@given(soup, st.sampled_from([b"", CHUNKED, HEAD + b"\r\n", length(b"", 500)]))
def test_the_parser_knows_one_way_to_refuse(packets, start):
    parsed([start, *packets])  # raises nothing but a ValueError, which `parsed` catches


@deterministic
@given(st.sampled_from(VALID), st.lists(st.integers(0, 5000), max_size=12))
def test_any_split_gives_the_same_record(data, places):
    assert parsed(cut(data, places)) == parsed([data])


@deterministic
@given(
    soup, st.sampled_from([b"", CHUNKED, HEAD + b"\r\n", length(b"", 500)]), st.lists(st.integers(0, 5000), max_size=8)
)
def test_any_split_of_rubbish_gives_the_same_record(packets, start, places):
    data = start + b"".join(packets)
    assert parsed(cut(data, places)) == parsed([data])


@deterministic
@given(st.data())
def test_any_mutation_of_a_stream_gives_the_same_record_however_it_is_split(data):
    text = bytearray(data.draw(st.sampled_from(VALID)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(text) - 1)))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.one_of(st.binary(max_size=3), st.sampled_from(FRAGMENTS))
        )
    text = bytes(text)
    whole = parsed([text])
    assert parsed([text[i : i + 1] for i in range(len(text))]) == whole
    assert parsed(cut(text, data.draw(st.lists(st.integers(0, 5000), max_size=8)))) == whole


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "error",
    "object",
    "usage",
    "choices",
    "text",
    "delta",
    "content",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
]
messages = st.recursive(
    json_values,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*NAMES, "completion_tokens"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@deterministic
@given(st.lists(messages, max_size=3))
def test_any_json_is_read_or_refused(some):
    record, _ = parsed([length(b"".join(b"data: " + json.dumps(m).encode() + b"\n\n" for m in some) + DONE)])
    assert all(type(record.get(k, 0)) is int and record.get(k, 0) >= 0 for k in ("input_tokens", "output_tokens"))
    assert isinstance(record.get("finish_reason", ""), str)
