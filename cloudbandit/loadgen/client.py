"""The load-generating client: one file, standard library only, so that a bare machine with Python can run it as it is.

    python client.py plan.json records.jsonl

A plan says what to send, where, and when; one JSON record per request comes back, in order of the requests' ids, none
dropped. All times are seconds on one monotonic clock that starts with the run. What the times mean is `metrics`' business.

A closed loop has so many users with one request in flight each. An open loop sends at the plan's times, however busy the
server is: a request that could not be sent in time still counts from its scheduled time (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

try:  # here, because without open files nothing can be imported
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

OK = "ok"
FAILURES = ("refused", "timeout", "truncated", "empty", "http", "garbage", "overrun")
"""How a request can fail: no connection; no end in time; the stream broke off; it ended without a token; another HTTP status
than 200; an answer that is not the protocol's; more tokens than were asked for."""
LIMITED = "client_limit"
"""Not sent, because this machine could open no more connections: no failure of the server's, and its load was not the plan's."""
LIMIT_EXIT = 3
"""The program's exit code where a request was `LIMITED`."""
_OWN_LIMITS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
_ERROR_BYTES = 2000
_GOOD_ENDS = ("stop", "length", "tool_calls", "eos_token", "stop_sequence")


class _Exchange(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.transport: asyncio.Transport | None = None
        self.open = True
        self._record: dict[str, Any] = {}
        self._ended: asyncio.Future[None] | None = None
        self._deadline_s = 0.0
        self._reset()

    def _reset(self) -> None:
        self._raw = bytearray()
        self._body = bytearray()
        self._in_body = self._chunked = self._complete = False
        self._left: int | None = None
        self._done = False
        self._heard = False

    # ── asyncio's side ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._ended is not None and not self._ended.done():
            whole = self._in_body and not self._chunked and self._left is None  # ended by closing
            if not whole and not self._done:
                self._record.setdefault("status", "truncated")
                self._record.setdefault(
                    "error", f"connection lost: {error}" if error else "the server closed the connection"
                )
            self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        now = self._clock()
        self._heard = True
        if self._ended is None or self._ended.done():
            return  # late bytes of a request that was given up
        if now >= self._deadline_s:  # the timer may be late on a busy machine; the bound is not
            return self._timed_out()
        self._raw += data
        try:
            self._parse(now)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            self._fail("garbage", f"{type(error).__name__}: {error}; {bytes(data[:200])!r}")

    # ── one request ──

    async def send(self, request: bytes, record: dict[str, Any], deadline_s: float) -> bool:
        """False: a kept connection had gone stale before a byte came back; try another."""
        assert self.transport is not None
        self._reset()
        self._record = record
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._deadline_s = deadline_s
        left = deadline_s - self._clock()
        if left > 0:
            self.transport.write(request)
        timer = loop.call_later(max(0.0, left), self._timed_out)
        try:
            await self._ended
        finally:
            timer.cancel()
        if not self._complete and self.open:
            self.close()
        return self._heard or record.get("status") != "truncated"

    def close(self) -> None:
        self.open = False
        if self.transport is not None:
            self.transport.abort()

    def _timed_out(self) -> None:
        self._fail("timeout", f"no end by {self._deadline_s:.3f} s of the run")

    def _fail(self, status: str, error: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._record.setdefault("status", status)
            self._record.setdefault("error", error)
            self._ended.set_result(None)

    # ── parsing ──

    def _parse(self, now: float) -> None:
        if not self._in_body:
            end = self._raw.find(b"\r\n\r\n")
            if end < 0:
                start = bytes(self._raw[:5])
                if len(self._raw) > 65536 or not b"HTTP/".startswith(start):
                    raise ValueError("not an HTTP response")
                return
            self._head(bytes(self._raw[:end]))
            del self._raw[: end + 4]
            self._in_body = True
        if self._chunked:
            self._unchunk()
        else:
            taken = len(self._raw) if self._left is None else min(self._left, len(self._raw))
            self._body += self._raw[:taken]
            del self._raw[:taken]
            if self._left is not None:
                self._left -= taken
                self._complete = self._left == 0
        self._events(now)
        if self._complete and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        version, status = first.split(b" ", 2)[:2]
        if not version.startswith(b"HTTP/1."):
            raise ValueError("not HTTP/1")
        headers = {
            name.strip().lower(): value.strip().lower() for name, _, value in (line.partition(b":") for line in lines)
        }
        self._chunked = b"chunked" in headers.get(b"transfer-encoding", b"")
        length = headers.get(b"content-length")
        self._left = None if length is None or self._chunked else int(length)
        self._keep = headers.get(b"connection") != b"close"
        self._record["http_status"] = int(status)

    def _unchunk(self) -> None:
        while True:
            end = self._raw.find(b"\r\n")
            if end < 0:
                return
            size = int(bytes(self._raw[:end]).split(b";")[0], 16)
            if size < 0:
                raise ValueError("negative chunk size")
            if len(self._raw) < end + 2 + size + 2:
                return
            self._body += self._raw[end + 2 : end + 2 + size]
            if self._raw[end + 2 + size : end + 4 + size] != b"\r\n":
                raise ValueError("a chunk without its end")
            del self._raw[: end + 4 + size]
            if size == 0:
                self._complete = True
                return

    def _events(self, now: float) -> None:
        if self._record["http_status"] != 200:
            self._record["status"] = "http"
            self._record["error"] = bytes(self._body[:_ERROR_BYTES]).decode("utf-8", "replace")
            return
        while not self._done:
            end, skip = self._body.find(b"\n\n"), 2
            windows = self._body.find(b"\r\n\r\n")
            if windows >= 0 and (end < 0 or windows < end):
                end, skip = windows, 4
            if end < 0:
                return
            event = bytes(self._body[:end])
            del self._body[: end + skip]
            for line in event.splitlines():
                if line.startswith(b"data:"):
                    self._event(line[5:].strip(), now)

    def _event(self, payload: bytes, now: float) -> None:
        record = self._record
        if payload == b"[DONE]":
            self._done = True
            return
        message = json.loads(payload)
        if message.get("error"):
            raise ValueError(f"the stream says: {message['error']}")
        usage = message.get("usage")
        if usage:
            record["input_tokens"] = int(usage["prompt_tokens"])
            record["output_tokens"] = int(usage["completion_tokens"])
        for choice in message.get("choices") or ():
            text = choice.get("text")
            if text is None:
                delta = choice.get("delta") or {}
                text = delta.get("content") or delta.get("reasoning_content")
            if text:
                record["chunk_s"].append(now)
            if choice.get("finish_reason"):
                record["finish_reason"] = choice["finish_reason"]

    @property
    def reusable(self) -> bool:
        """The response ended cleanly and the server keeps the connection."""
        return self.open and self._complete and self._keep

    @property
    def ended_by_protocol(self) -> bool:
        """``[DONE]`` was seen."""
        return self._done


class Client:
    """Sends the requests of a plan.

    Args:
        plan: ``url`` (base, e.g. ``http://127.0.0.1:8000``), ``path`` (``/v1/completions`` or ``/v1/chat/completions``),
            ``model``, ``requests`` (each with ``id``, ``prompt``: text or token ids, ``max_tokens``, and in an open loop
            ``at_s``), ``users`` (closed loop; absent: open loop), ``ramp_s`` (users start spread over it), ``think_s``,
            ``duration_s`` (no request is started later), ``timeout_s`` (of a request, from when it was scheduled to its end,
            connecting included), ``extra`` (fields of every request body), ``headers``.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        address = urlsplit(plan["url"])
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(f"the url is {plan['url']!r}; it must read http://host:port")
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._host, self._port = address.hostname, address.port or (443 if self._tls else 80)
        self._prefix = address.path.rstrip("/")
        self._idle: list[_Exchange] = []
        self._origin = 0.0
        self._limited = False
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
                exchange.close()
            self._idle.clear()
        return sorted(self.records, key=lambda r: (r["id"], r["scheduled_s"]))

    async def _closed(self) -> None:
        waiting = deque(self.plan["requests"])
        users, ramp = int(self.plan["users"]), float(self.plan.get("ramp_s", 0.0))
        think, limit = float(self.plan.get("think_s", 0.0)), self.plan.get("duration_s")

        async def user(number: int) -> None:
            await asyncio.sleep(ramp * number / users)
            while waiting and not self._limited and (limit is None or self.clock() < limit):
                request = waiting.popleft()
                await self._one(request, self.clock())
                if think:
                    await asyncio.sleep(think)

        await asyncio.gather(*(user(i) for i in range(users)))

    async def _open(self) -> None:
        limit = self.plan.get("duration_s")
        tasks = []
        for request in sorted(self.plan["requests"], key=lambda r: r["at_s"]):
            if limit is not None and request["at_s"] >= limit:
                break
            late = request["at_s"] - self.clock()
            if late > 0:
                await asyncio.sleep(late)
            if self._limited:
                break
            tasks.append(asyncio.create_task(self._one(request, request["at_s"])))
        await asyncio.gather(*tasks)

    def _bytes(self, request: dict[str, Any]) -> bytes:
        path = self.plan.get("path", "/v1/completions")
        prompt = request["prompt"]
        body: dict[str, Any] = {"model": self.plan["model"], "max_tokens": request["max_tokens"], "stream": True}
        body["stream_options"] = {"include_usage": True}
        if path.endswith("chat/completions"):
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            body["prompt"] = prompt
        text = json.dumps({**body, **self.plan.get("extra", {})}).encode()
        headers = {
            "Host": f"{self._host}:{self._port}",
            "Content-Type": "application/json",
            "Content-Length": str(len(text)),
        }
        lines = [
            f"POST {self._prefix}{path} HTTP/1.1",
            *(f"{k}: {v}" for k, v in {**headers, **self.plan.get("headers", {})}.items()),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + text

    async def _one(self, request: dict[str, Any], scheduled: float) -> None:
        data = self._bytes(request)
        deadline = scheduled + float(self.plan.get("timeout_s", 60.0))
        record: dict[str, Any] = {}
        while True:
            record = {"id": request["id"], "scheduled_s": scheduled, "max_tokens": request["max_tokens"], "chunk_s": []}
            kept = bool(self._idle)
            left = deadline - self.clock()
            try:
                if left <= 0:
                    raise TimeoutError
                exchange = self._idle.pop() if kept else await asyncio.wait_for(self._connect(), left)
            except TimeoutError:
                record |= {"status": "timeout", "error": "no connection in time"}
                break
            except OSError as error:
                self._limited |= error.errno in _OWN_LIMITS
                record |= {"status": LIMITED if error.errno in _OWN_LIMITS else "refused", "error": str(error)}
                break
            record["sent_s"] = self.clock()
            answered = exchange.open and await exchange.send(data, record, deadline)
            if not answered and kept:
                continue  # the server had closed a connection that was kept for reuse
            if exchange.reusable:
                self._idle.append(exchange)
            else:
                exchange.close()
            _judge(record, exchange)
            break
        record["end_s"] = self.clock()
        self.records.append(record)

    async def _connect(self) -> _Exchange:
        try:
            return await self._dial()
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
        _allow_open_files()
        return await self._dial()

    async def _dial(self) -> _Exchange:
        loop = asyncio.get_running_loop()
        _, exchange = await loop.create_connection(lambda: _Exchange(self.clock), self._host, self._port, ssl=self._tls)
        return exchange


def _allow_open_files() -> None:
    """As many as this process may allow itself."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _judge(record: dict[str, Any], exchange: _Exchange) -> None:
    """The status of a response that broke no rule of the protocol."""
    if "status" in record:
        return
    tokens = record.get("output_tokens")
    if not exchange.ended_by_protocol and "finish_reason" not in record:
        record |= {"status": "truncated", "error": "the stream ended without [DONE]"}
    elif not record["chunk_s"] and not tokens:
        record |= {"status": "empty", "error": "the stream ended without a token"}
    elif record.get("finish_reason", "stop") not in _GOOD_ENDS:
        record |= {"status": "truncated", "error": f"the engine ended the answer early: {record['finish_reason']}"}
    elif tokens is not None and tokens > record["max_tokens"]:
        record |= {"status": "overrun", "error": f"{tokens} tokens, and {record['max_tokens']} were asked for"}
    else:
        record["status"] = OK


def run(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Send a plan's requests; one record each.

    A client out of open files raises its own soft limit. Where it still cannot connect for want of something of its own (files,
    ports, memory) it starts no more requests, and those it could not send have the status `LIMITED`: the load was not the
    plan's, so the records say nothing about the server. The program writes them too, and exits with `LIMIT_EXIT`.

    A record has ``id``, ``status`` (``ok``, one of `FAILURES`, or `LIMITED`), ``scheduled_s``, ``sent_s``, ``chunk_s`` (arrival
    of each chunk with text), ``end_s``, ``input_tokens`` and ``output_tokens`` (of the server's usage; absent where it sent
    none), ``http_status``, ``error``.

    Raises:
        ValueError: the url is none.
    """
    return asyncio.run(Client(plan).run())


def main(argv: Sequence[str]) -> int:
    """Plan file in, records file out. Exit codes: 0; 2: wrong usage; `LIMIT_EXIT`: see `run`."""
    if len(argv) != 2:
        sys.stderr.write("usage: client.py plan.json records.jsonl\n")
        return 2
    plan = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    records = run(plan)
    partial = Path(argv[1] + ".part")
    with partial.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
    partial.replace(argv[1])
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps({"requests": len(records), "ok": sum(r["status"] == OK for r in records)}) + "\n")
    limited = [r for r in records if r["status"] == LIMITED]
    if limited:
        sys.stderr.write(
            f"client.py: no connection for {len(limited)} requests, by a limit of this machine: {limited[0]['error']}\n"
        )
    return LIMIT_EXIT if limited else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
