"""The load-generating client: one file, standard library only, so that a bare machine with Python 3.11 can run it as it is.

    python client.py plan.json records.jsonl

A plan (see `workloads.plan`) says what to send and when; one JSON record per request comes back (see `metrics`). In a closed loop
so many users have one request in flight each. An open loop sends at the plan's times, however busy the server is: what could not
be sent in time still counts from its scheduled time (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import re
import ssl
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

OK = "ok"
LIMITED, LIMIT_EXIT = "client_limit", 3
"""A request's status, and the program's exit code, where this machine could open no more connections. See `run`."""
HEAD_BYTES, EVENT_BYTES = 1 << 16, 1 << 20  # the longest headers and the longest server-sent event that are read
_ERROR_BYTES = 2000
_GRACE_S = 0.05  # after a stream's last word, for the answer's own end, so that the connection can be kept
_OWN_LIMITS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
_GOOD_ENDS = ("stop", "length", "tool_calls", "eos_token", "stop_sequence")
_TEXTS = ("content", "reasoning_content", "reasoning")
_USAGE = (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"))
_ONE_EVENT = re.compile(rb"data: ([^\r\n]{1,65535})\n\n")
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\n|\r\n?)")
_STATUS = re.compile(rb"HTTP/1\.(\d) ([1-9]\d\d)(?: .*)?\n")
_HEADER = re.compile(rb"\n(transfer-encoding|content-encoding|content-length|connection)[ \t]*:([^\n]*)")
_CHUNK_SIZE = re.compile(rb"([0-9a-f]{1,15})[ \t]*(?:;.*)?", re.IGNORECASE)


class Answer:
    """One HTTP/1 answer with a stream of server-sent events, read into a request's record as its bytes arrive.

    It takes time linear in the bytes, and holds at most `HEAD_BYTES` of headers and `EVENT_BYTES` of one event. However the bytes
    are split into packets, the record is the same but for its times (and the words of an error).
    """

    def __init__(self, record: dict[str, Any]) -> None:
        self.record, self.now = record, 0.0
        self.over = False  # nothing that follows matters: the stream said its last word, or enough of an error is known
        self.complete = False  # it ended as its headers said it would
        self.until_close = False  # it ends when the connection does
        self.keep = False  # the connection can be used again
        self._raw, self._body, self._seen = bytearray(), bytearray(), 0
        self._reading = self._read()

    def feed(self, data: bytes, now: float) -> None:
        """Read a packet that arrived at ``now``. A ValueError says how it is not the protocol's."""
        self.now = now
        self._raw += data
        try:
            next(self._reading, None)
        except ValueError:
            self.keep = False
            if not self.over:
                raise

    def _read(self) -> Iterator[None]:
        """HTTP. A yield waits for more bytes."""
        status = 100
        while status in (100, 102, 103):  # words before the answer
            head = b""
            while (line := self._line()) != b"" and len(head) < HEAD_BYTES:
                head += line + b"\n" if line else b""
                if not b"HTTP/1.".startswith((head or self._raw)[:7]):
                    break
                if line is None:
                    yield
            if line != b"" or (found := _STATUS.match(head)) is None:
                raise ValueError(f"not HTTP/1: {bytes(head + self._raw)[:80]!r}")
            reason, version, status = found[0], int(found[1]), int(found[2])
        self.record["http_status"] = status
        if status != 200:
            self.record |= {"status": "http", "error": reason.decode("latin-1").strip()[:_ERROR_BYTES]}
        headers: defaultdict[bytes, set[bytes]] = defaultdict(set)
        for name, value in _HEADER.findall(head.lower()):
            headers[name] |= {v.strip() for v in value.split(b",")} - {b"", b"identity"}
        chunked, sizes, options = headers[b"transfer-encoding"], headers[b"content-length"], headers[b"connection"]
        if chunked - {b"chunked"} or headers[b"content-encoding"]:
            raise ValueError("an encoding that nobody asked for")
        self.keep = b"close" not in options and (version > 0 or b"keep-alive" in options)
        if chunked:
            yield from self._chunks()
        else:
            size = b",".join(sorted(sizes)) or (b"0" if status in (204, 304) else b"%d" % sys.maxsize)
            if len(size) > 19 or not size.isdigit():
                raise ValueError(f"the content length is {size[:80]!r}")
            self.until_close = not sizes and status not in (204, 304)
            left = int(size)
            while left := left - self._take(left):
                yield
        self.complete, self.keep = True, self.keep and not self._raw

    def _chunks(self) -> Iterator[None]:
        size = 1
        while size:
            while (line := self._line()) is None:
                yield
            if (found := _CHUNK_SIZE.fullmatch(line)) is None:
                raise ValueError(f"not a chunk's size: {line[:80]!r}")
            size = left = int(found[1], 16)
            while left := left - self._take(left):
                yield
            while (line := self._line()) != b"":
                if line is None:
                    yield
                elif size:
                    raise ValueError("a chunk without its end")  # after the last one there may be trailers

    def _line(self) -> bytes | None:
        """The next line without its end; None: it has not come yet."""
        end = self._raw.find(b"\n", 0, HEAD_BYTES + 1)
        if end < 0 and len(self._raw) > HEAD_BYTES:
            raise ValueError(f"a line of more than {HEAD_BYTES} bytes")
        if end < 0:
            return None
        line = bytes(self._raw[:end])
        del self._raw[: end + 1]
        return line.removesuffix(b"\r")

    def _take(self, most: int) -> int:
        piece = self._raw[:most]
        del self._raw[:most]
        if self.over or not piece:
            pass
        elif not self._body and (one := _ONE_EVENT.fullmatch(piece)) and self.record["http_status"] == 200:
            self._event(one[1])  # the common case
        else:
            self._body += piece
            self._events()
        return len(piece)

    def _events(self) -> None:
        """Server-sent events, see WHATWG HTML, section 9.2."""
        if self.record["http_status"] != 200:
            self.over = len(self._body) >= _ERROR_BYTES
            self.record["error"] = self._body[:_ERROR_BYTES].decode("utf-8", "replace")
            return
        while not self.over:
            found = _EVENT_END.search(self._body, self._seen)
            if (found.start() if found else len(self._body) - 3) > EVENT_BYTES:
                raise ValueError(f"an event of more than {EVENT_BYTES} bytes")
            if found is None:
                self._seen = max(0, len(self._body) - 3)
                return
            lines = bytes(self._body[: found.start()]).removeprefix(b"\xef\xbb\xbf").splitlines()
            del self._body[: found.end()]
            self._seen = 0
            if data := [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]:
                self._event(b"\n".join(data))

    def _event(self, payload: bytes) -> None:
        record = self.record
        if payload.strip() == b"[DONE]":
            self.over, record["end_s"] = True, self.now
            return
        try:
            message = _typed(json.loads(payload.decode()), dict, "a message")
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}; {payload[:200]!r}") from None
        if message.get("error") or message.get("object") == "error":
            raise ValueError(f"the stream says: {message.get('error') or message}")
        if usage := _typed(message.get("usage"), dict, "the usage"):
            for ours, theirs in _USAGE:
                tokens = usage.get(theirs)
                if type(tokens) is not int or not 0 <= tokens < 1 << 31:
                    raise ValueError(f"the usage says that {theirs} is {tokens!r}")
                record[ours] = tokens
        for choice in _typed(message.get("choices"), list, "choices"):
            text = (choice := _typed(choice, dict, "a choice")).get("text")
            if text is None and (delta := _typed(choice.get("delta"), dict, "a delta")):
                text = next((delta[name] for name in _TEXTS if delta.get(name)), None)
            if _typed(text, str, "a text"):
                record["chunk_s"].append(self.now)
            if finish := _typed(choice.get("finish_reason"), str, "a finish_reason"):
                record["finish_reason"] = finish[:200]
        if len(record["chunk_s"]) > 1000 + 16 * record["max_tokens"]:  # no usage could make this right
            record |= {"status": "overrun", "error": f"endless; {record['max_tokens']} tokens were asked for"}
            self.over, self.keep = True, False


def _typed(value: Any, kind: type, name: str) -> Any:
    """A value of this kind; absent and null are empty."""
    if value is not None and type(value) is not kind:
        raise ValueError(f"{name} is {value!r}")
    return kind() if value is None else value


class _Exchange(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._deadline_s = clock, 0.0
        self._timer: asyncio.TimerHandle
        self._ended: asyncio.Future[None] | None = None
        self.answer = Answer({})
        self.gone = ""  # why the connection is of no more use

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = self.gone or (f"connection lost: {error}" if error else "the server closed the connection")
        whole = self.answer.over or (self.answer.until_close and error is None)
        self._end(*(() if whole else ("truncated", self.gone)))

    def data_received(self, data: bytes) -> None:
        now, answer, was_over = self._clock(), self.answer, self.answer.over
        if self._ended is None or self._ended.done():
            return self.close("bytes came that no request had asked for")
        if now >= self._deadline_s and not was_over:  # the timer may be late on a busy machine; the bound is not
            return self._end("timeout", "no end after timeout_s")
        try:
            answer.feed(data, now)
        except ValueError as error:
            return self._end("garbage", str(error)[:_ERROR_BYTES])
        if answer.complete or (answer.over and not answer.keep):
            self._end()
        elif answer.over and not was_over:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(_GRACE_S, self._end)

    async def send(self, request: bytes, record: dict[str, Any], deadline_s: float) -> bool:
        """False: the connection was gone before a byte came back."""
        self.answer, self._deadline_s = Answer(record), deadline_s
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        now = self._clock()
        self._timer = loop.call_later(max(0.0, deadline_s - now), self._end, "timeout", "no end after timeout_s")
        if self.gone:
            self._end("truncated", self.gone)
        elif now < deadline_s:
            record["sent_s"] = now
            self._transport.write(request)
        await self._ended
        self._timer.cancel()
        if not (self.answer.complete and self.answer.keep):
            self.close("given up")
        return self.answer.now > 0 or record.get("status") != "truncated"

    def close(self, why: str) -> None:
        self.gone = self.gone or why
        self._transport.abort()

    def _end(self, status: str = "", error: str = "") -> None:
        if self._ended is not None and not self._ended.done():
            if status and "status" not in self.answer.record:
                self.answer.record |= {"status": status, "error": error}
            self._ended.set_result(None)


class Client:
    """Sends the requests of a plan."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        address = urlsplit(plan["url"])
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._address = address.hostname, address.port or (443 if self._tls else 80)
        self._idle: list[_Exchange] = []
        self._origin, self._limited, self._no_more_s = 0.0, False, plan.get("duration_s", float("inf"))
        self.records: list[dict[str, Any]] = []

    def clock(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._origin

    async def run(self) -> list[dict[str, Any]]:
        """Send everything; records in order of their ids."""
        self._origin = time.perf_counter()
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()  # a pause of the collector would look like the server's
        try:
            await (self._closed() if self.plan.get("users") else self._open())
        finally:
            if collecting:
                gc.enable()
            for exchange in self._idle:
                exchange.close("the end")
        return sorted(self.records, key=lambda r: (r["id"], r["scheduled_s"]))

    async def _closed(self) -> None:
        waiting, users = deque(self.plan["requests"]), int(self.plan["users"])

        async def user(number: int) -> None:
            await asyncio.sleep(self.plan["ramp_s"] * number / users)
            while waiting and not self._limited and self.clock() < self._no_more_s:
                await self._one(waiting.popleft(), self.clock())
                if self.plan["think_s"]:
                    await asyncio.sleep(self.plan["think_s"])

        await asyncio.gather(*(user(i) for i in range(users)))

    async def _open(self) -> None:
        tasks = []
        for request in sorted(self.plan["requests"], key=lambda r: r["at_s"]):
            if self._limited or request["at_s"] >= self._no_more_s:
                break
            await asyncio.sleep(request["at_s"] - self.clock())
            tasks.append(asyncio.create_task(self._one(request, request["at_s"])))
        await asyncio.gather(*tasks)

    def _bytes(self, request: dict[str, Any]) -> bytes:
        body = json.dumps({**request["body"], **self.plan["body"]}).encode()
        headers = {**self.plan["headers"], "Content-Length": len(body)}
        head = [f"POST {self.plan['path']} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*head, "", ""]).encode() + body

    async def _one(self, request: dict[str, Any], scheduled: float) -> None:
        data, deadline = self._bytes(request), scheduled + self.plan["timeout_s"]
        again = True
        while again:
            record = {"id": request["id"], "scheduled_s": scheduled, "max_tokens": request["max_tokens"], "chunk_s": []}
            kept, again = bool(self._idle), False
            try:
                exchange = (
                    self._idle.pop() if kept else await asyncio.wait_for(self._connect(), deadline - self.clock())
                )
                again = not await exchange.send(data, record, deadline) and kept  # it had gone stale
                if not exchange.gone:
                    self._idle.append(exchange)
                if "status" not in record:
                    _judge(record, exchange.answer)
            except TimeoutError:
                record |= {"status": "timeout", "error": "no connection in time"}
            except OSError as error:
                self._limited |= error.errno in _OWN_LIMITS
                record |= {"status": LIMITED if error.errno in _OWN_LIMITS else "refused", "error": str(error)}
        record.setdefault("end_s", self.clock())
        self.records.append(record)

    async def _connect(self) -> _Exchange:
        create = asyncio.get_running_loop().create_connection
        return (await create(lambda: _Exchange(self.clock), *self._address, ssl=self._tls))[1]


def _judge(record: dict[str, Any], answer: Answer) -> None:
    """The status of an answer that broke no rule of the protocol."""
    tokens, asked = record.get("output_tokens"), record["max_tokens"]
    least = len(record["chunk_s"]) if tokens is None else tokens
    if not answer.over and "finish_reason" not in record:
        record |= {"status": "truncated", "error": "the stream ended without [DONE]"}
    elif not record["chunk_s"] and not tokens:
        record |= {"status": "empty", "error": "the stream ended without a token"}
    elif record.get("finish_reason", "stop") not in _GOOD_ENDS:
        record |= {"status": "truncated", "error": f"the engine ended the answer early: {record['finish_reason']}"}
    elif least > asked:
        record |= {"status": "overrun", "error": f"{least} tokens, and {asked} were asked for"}
    elif tokens == 0:
        record |= {"status": "garbage", "error": "the usage says that there was no token"}
    else:
        record["status"] = OK


def run(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Send a plan's requests; one record each, as `metrics` describes them.

    The process raises its soft limit of open files to the hard one. Where it still cannot connect for want of something of its
    own (files, ports, memory), it starts no more requests, and those it could not send are `LIMITED`: the load was not the
    plan's, and the records say nothing about the server. The program writes them too, and exits with `LIMIT_EXIT`.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # Unix alone has it

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return asyncio.run(Client(plan).run())


def main(argv: Sequence[str]) -> int:
    """Plan file in, records file out. Exit codes: 0; 2: wrong usage; `LIMIT_EXIT`: see `run`."""
    if len(argv) != 2:
        sys.stderr.write("usage: client.py plan.json records.jsonl\n")
        return 2
    records = run(json.loads(Path(argv[0]).read_text(encoding="utf-8")))
    partial = Path(argv[1] + ".part")
    partial.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    partial.replace(argv[1])
    ok, limited = (sum(r["status"] == status for r in records) for status in (OK, LIMITED))
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps({"requests": len(records), OK: ok, LIMITED: limited}) + "\n")
    return LIMIT_EXIT if limited else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
