"""A server with scripted timings and scripted misbehaviour, to test what measures servers.

    python -m cloudbandit.testing.stub_engine --port 8000 --ttft 0.05 --itl 0.02

It speaks OpenAI-compatible streaming completions and chat. It is a script, not an engine: token k of a request leaves at
``ttft + k · itl`` after the request arrived, whatever the load; nothing can be learned about engines from it. How it
misbehaves is the name of the model asked for, one of `SCRIPTS`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

SCRIPTS = (
    "good",
    "die",  # closes the connection in the middle of a token
    "cut",  # ends the stream properly, without a last word
    "hang",  # never answers
    "stall",  # stops after the first token
    "garbage",  # an event that is no JSON
    "binary",  # not HTTP at all
    "half-chunk",  # announces a chunk and sends half of it
    "empty",  # ends without a token
    "429",
    "500",
    "overrun",  # twice as many tokens as asked for
    "no-usage",
    "pairs",  # two tokens in one chunk
    "error",  # an error inside the stream
    "crumbs",  # every byte in a packet of its own
)


@dataclass(frozen=True)
class Script:
    """When tokens leave, in seconds after the request arrived."""

    ttft_s: float
    itl_s: float

    def at(self, k: int) -> float:
        return self.ttft_s + k * self.itl_s


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(message: object) -> bytes:
    return _chunk(b"data: " + json.dumps(message).encode() + b"\n\n")


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_DONE = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def _serve(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await _exchange(script, reader, writer):
            pass
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # the client went away
    finally:
        writer.close()


async def _exchange(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """One request; returns whether the connection goes on."""
    head = await reader.readuntil(b"\r\n\r\n")
    arrived = asyncio.get_running_loop().time()
    length = next((int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length")), 0)
    body = json.loads(await reader.readexactly(length)) if length else {}
    if head.startswith(b"GET"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        return True
    how = str(body.get("model", "good"))
    if how in ("429", "500"):
        text = b'{"error": "busy"}'
        writer.write(b"HTTP/1.1 %b no\r\nContent-Length: %d\r\n\r\n%b" % (how.encode(), len(text), text))
        await writer.drain()
        return True
    if how == "hang":
        await asyncio.sleep(3600)
    if how == "binary":
        writer.write(b"\x00\x01\x02\x03\x04\x05 no HTTP")
        await writer.drain()
        await asyncio.sleep(0.05)
        return False
    return await _stream(script, how, body, arrived, writer)


async def _stream(
    script: Script, how: str, body: dict[str, object], arrived: float, writer: asyncio.StreamWriter
) -> bool:
    wanted = int(str(body.get("max_tokens", 16)))
    tokens = 0 if how == "empty" else 2 * wanted if how == "overrun" else wanted
    chat = "messages" in body
    prompt = body.get("prompt") or body.get("messages") or ""
    n_in = len(prompt) if isinstance(prompt, list) and not chat else len(str(prompt).split())
    loop = asyncio.get_running_loop()

    async def send(data: bytes) -> None:
        pieces = [bytes([b]) for b in data] if how == "crumbs" else [data]
        for piece in pieces:
            writer.write(piece)
            if how == "crumbs":
                await asyncio.sleep(0)
        await writer.drain()

    kind = "chat.completion.chunk" if chat else "text_completion"
    about: dict[str, object] = {"id": "stub", "object": kind, "created": 0, "model": how}
    await send(_HEAD)
    step = 2 if how == "pairs" else 1
    for k in range(0, tokens, step):
        last = min(k + step, tokens)
        late = arrived + script.at(last - 1) - loop.time()
        if late > 0:
            await asyncio.sleep(late)
        if how == "garbage" and k:
            await send(_chunk(b"data: {not json\n\n"))
        if how == "error" and k:
            await send(_event({"error": {"message": "out of cache"}}))
        if how == "half-chunk" and k:
            await send(b"400\r\ndata: {")
            return False
        text = "x " * (last - k)
        said: dict[str, object] = {"delta": {"content": text}} if chat else {"text": text}
        choice = {"index": 0, "finish_reason": None, **said}
        event = _event({**about, "choices": [choice]})
        if how == "die" and k:
            writer.write(event[: len(event) // 2])
            await writer.drain()
            return False
        await send(event)
        if how == "stall":
            await asyncio.sleep(3600)
    if how == "cut":
        await send(b"0\r\n\r\n")
        return True
    last_word: dict[str, object] = {"delta": {}} if chat else {"text": ""}
    finish = {"index": 0, "finish_reason": "length", **last_word}
    await send(_event({**about, "choices": [finish]}))
    if how != "no-usage":
        usage = {"prompt_tokens": n_in, "completion_tokens": tokens, "total_tokens": n_in + tokens}
        await send(_event({**about, "choices": [], "usage": usage}))
    await send(_DONE)
    return True


async def serve(port: int, script: Script) -> None:
    """Serve on loopback until cancelled; port 0: any free one. Prints ``ready PORT``."""
    server = await asyncio.start_server(lambda r, w: _serve(script, r, w), "127.0.0.1", port, backlog=1024)
    sys.stdout.write(f"ready {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A server with scripted timings.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ttft", type=float, default=0.05, metavar="SECONDS")
    parser.add_argument("--itl", type=float, default=0.02, metavar="SECONDS")
    args = parser.parse_args(argv)
    asyncio.run(serve(args.port, Script(args.ttft, args.itl)))


if __name__ == "__main__":
    main()
