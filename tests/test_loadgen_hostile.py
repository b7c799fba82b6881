"""The client against servers that break the rules: every request ends in a stated status, within its timeout."""

import asyncio
import contextlib
import json
import socket

import pytest

from cloudbandit.loadgen import Closed, Fixed, Open, Workload, client, plan

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
