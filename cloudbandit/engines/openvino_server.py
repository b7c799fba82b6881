"""A small OpenAI-compatible front for OpenVINO GenAI's continuous batching, which has no HTTP server of its own.

    python openvino_server.py MODEL --port 8000 --knobs '{"max_num_batched_tokens": 256}'

Prompts are token ids (or text, one token per word); answers stream one event per engine step and request, with the usage in the
last one. The engine's step holds the interpreter, so it runs in the event loop, with a few turns for the sockets after each. One
file: it is copied to a host and run.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import zlib
from typing import Any

_TURNS = 3
_LAST_WORDS_S = 0.3


class Front:
    """The pipeline, and the requests in flight."""

    def __init__(self, model: str, knobs: dict[str, Any]) -> None:
        import openvino_genai as genai

        self._genai = genai
        scheduler = genai.SchedulerConfig()
        properties = {}
        for name, value in knobs.items():
            if name in ("INFERENCE_NUM_THREADS", "KV_CACHE_PRECISION"):
                properties[name] = value
            else:
                setattr(scheduler, name, value)
        self._pipeline = genai.ContinuousBatchingPipeline(model, scheduler, "CPU", properties)
        self._numbers = itertools.count()
        self._active: dict[int, tuple[Any, asyncio.Queue[tuple[list[int], str]]]] = {}
        self._work = asyncio.Event()

    def add(self, prompt: list[int], max_tokens: int) -> tuple[int, asyncio.Queue[tuple[list[int], str]]]:
        """A request; its queue yields token ids and, at the end, a reason."""
        import numpy as np
        import openvino as ov

        config = self._genai.GenerationConfig()
        config.max_new_tokens = max_tokens
        config.ignore_eos = True
        config.do_sample = False
        number = next(self._numbers)
        handle = self._pipeline.add_request(number, ov.Tensor(np.array([prompt], np.int64)), config)
        queue: asyncio.Queue[tuple[list[int], str]] = asyncio.Queue()
        self._active[number] = handle, queue
        self._work.set()
        return number, queue

    def drop(self, number: int) -> None:
        """The client went away."""
        found = self._active.pop(number, None)
        if found is not None:
            found[0].cancel()

    async def loop(self) -> None:
        """Step while there is work."""
        while True:
            if not self._pipeline.has_non_finished_requests():
                self._work.clear()
                self._deliver()
                await self._work.wait()
            try:
                self._pipeline.step()
            except RuntimeError as error:  # what the engine says of a config it cannot run
                sys.stderr.write(f"step failed: {error}\n")
                sys.stderr.flush()
                for number in list(self._active):
                    self._active.pop(number)[1].put_nowait(([], f"error: {error}"))
                await asyncio.sleep(_LAST_WORDS_S)
                return
            self._deliver()
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def _deliver(self) -> None:
        finished = self._genai.GenerationStatus
        for number, (handle, queue) in list(self._active.items()):
            ids: list[int] = []
            while handle.can_read():
                for output in handle.read().values():
                    ids += output.generated_ids
            status = handle.get_status()
            reason = "" if status == finished.RUNNING else "length" if status == finished.FINISHED else "ignored"
            if ids or reason:
                queue.put_nowait((ids, reason))
            if reason:
                del self._active[number]


def _ids(prompt: Any) -> Any:
    """Token ids as they are; of a text one plain token per word: the model is random, so that only their number matters."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return [10 + zlib.crc32(word.encode()) % 240 for word in prompt.split()]
    return prompt


def _chunk(message: object) -> bytes:
    data = message if isinstance(message, bytes) else b"data: " + json.dumps(message).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _exchange(front: Front, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length")), 0)
    raw = await reader.readexactly(length) if length else b"{}"
    if not head.startswith(b"POST /v1/completions"):
        found = head.startswith((b"GET /health", b"GET /v1/models"))
        answer = b'{"data": [{"id": "tiny"}]}' if found else b'{"error": "POST /v1/completions, or GET /health"}'
        writer.write(
            b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (b"200 OK" if found else b"404 no", len(answer), answer)
        )
        await writer.drain()
        return
    number = -1
    try:
        body = json.loads(raw)
        prompt, limit = _ids(body["prompt"]), int(body.get("max_tokens", body.get("max_completion_tokens", 16)))
        if not (isinstance(prompt, list) and prompt and all(isinstance(t, int) for t in prompt)):
            raise ValueError("the prompt must be a list of token ids")
        number, queue = front.add(prompt, limit)
    except (ValueError, KeyError, RuntimeError) as error:
        why = json.dumps({"error": str(error)}).encode()
        writer.write(b"HTTP/1.1 400 no\r\nContent-Length: %d\r\n\r\n%b" % (len(why), why))
        await writer.drain()
        return
    try:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        about = {"id": f"cmpl-{number}", "object": "text_completion", "created": 0, "model": str(body.get("model", ""))}
        total, reason = 0, ""
        while not reason:
            ids, reason = await queue.get()
            total += len(ids)
            if reason.startswith("error"):
                writer.write(_chunk({"error": {"message": reason}}))
            elif ids:
                words = "".join(f" {t}" for t in ids)
                writer.write(_chunk({**about, "choices": [{"index": 0, "text": words, "finish_reason": None}]}))
            await writer.drain()
        writer.write(_chunk({**about, "choices": [{"index": 0, "text": "", "finish_reason": reason}]}))
        usage = {"prompt_tokens": len(prompt), "completion_tokens": total, "total_tokens": len(prompt) + total}
        writer.write(_chunk({**about, "choices": [], "usage": usage}) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()
    finally:
        front.drop(number)


async def serve(model: str, port: int, knobs: dict[str, Any]) -> None:
    """Until interrupted."""
    front = Front(model, knobs)

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await _exchange(front, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the engine gave up
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", port, backlog=1024, limit=2**22)
    async with server:
        await front.loop()
    raise SystemExit(3)  # the engine gave up


def main() -> None:
    parser = argparse.ArgumentParser(description="OpenVINO GenAI behind completions.")
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--knobs", type=json.loads, default={})
    args = parser.parse_args()
    try:
        asyncio.run(serve(args.model, args.port, args.knobs))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
