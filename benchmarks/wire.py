"""A neutral observer: time to first token and time per token as the loopback interface saw them, stamped by the kernel.

Needs Linux and the right to open packet sockets (root, or CAP_NET_RAW). Not a program of its own; loadgen_accuracy.py uses it.
"""

import socket
import struct
import threading
from contextlib import contextmanager

_SO_TIMESTAMPNS = 35
_OUTGOING = 4  # every loopback packet is seen twice; this is the first time


class Wire:
    """Requests between any client and a server's port, while watched."""

    def __init__(self, port):
        self.port = port
        self.timings = []  # (seconds to the first token, seconds to the last one, events)
        self._open = {}  # client port → [request, first event, last event, events]

    def see(self, at, frame):
        """One Ethernet frame."""
        if frame[12:14] != b"\x08\x00" or frame[23] != 6:
            return
        tcp = 14 + 4 * (frame[14] & 15)
        source, target = struct.unpack("!HH", frame[tcp : tcp + 4])
        payload = frame[tcp + 4 * (frame[tcp + 12] >> 4) :]
        if target == self.port and payload.startswith(b"POST"):
            self._open[source] = [at, None, None, 0]
        elif source == self.port and target in self._open and payload:
            request = self._open[target]
            tokens = payload.count(b'"finish_reason": null')  # as our two servers write their chunks
            if tokens:
                request[1] = request[1] or at
                request[2] = at
                request[3] += tokens
            if b"[DONE]" in payload:
                began, first, last, events = self._open.pop(target)
                if first is not None:
                    self.timings.append((first - began, last - began, events))


@contextmanager
def watched(port):
    """A `Wire` that is filled until the block ends; None where packets may not be watched."""
    try:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    except (OSError, AttributeError):
        yield None
        return
    wire, stop = Wire(port), threading.Event()

    def listen():
        while not stop.is_set():
            try:
                frame, extra, _, address = raw.recvmsg(1 << 16, 64)
            except TimeoutError:
                continue
            if address[2] != _OUTGOING:
                seconds, nanoseconds = struct.unpack("qq", extra[0][2][:16])
                wire.see(seconds + nanoseconds / 1e9, frame)

    with raw:
        raw.bind(("lo", 0))
        raw.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        raw.settimeout(0.2)
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield wire
        finally:
            stop.set()
            thread.join()
