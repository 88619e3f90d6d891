"""A small NBD client: many requests at once, on many connections.

SPDX-License-Identifier: GPL-2.0-or-later

Fixed newstyle negotiation with NBD_OPT_GO, then simple replies only (NBD's
doc/proto.md).  Negotiation waits for the server; from then on a connection
never blocks, and one Clients object waits for all of them together.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

READ, WRITE, FLUSH = 0, 1, 3

_OPTION_MAGIC = b"IHAVEOPT"
_OPTION_REPLY_MAGIC = 0x3E889045565A9
_REQUEST_MAGIC = 0x25609513
_REPLY_MAGIC = 0x67446698
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_OPT_GO = 7
_REP_ACK, _REP_INFO, _REP_ERROR = 1, 3, 1 << 31
_INFO_EXPORT = 0
_REPLY = struct.Struct(">IIQ")
_REQUEST = struct.Struct(">IHHQQI")
_LARGEST_REPLY = 1 << 20


class NbdError(Exception):
    """The server refused, answered with an error, or is no NBD server."""


@dataclass(frozen=True)
class Request:
    """What was asked of the server; offset and length in bytes."""

    kind: int
    offset: int
    length: int
    sent_at: float


class Client:
    """One connection to an export over a unix socket.

    It never sends more than the caller submits: keeping requests in flight
    is Clients' part.
    """

    def __init__(self, path: "Path | str", export: str,
                 timeout_s: float = 30.0) -> None:
        """Connects and negotiates; NbdError when there is no such export."""
        self.size = 0
        self.replies = 0
        self.slowest_s = 0.0
        # By cookie, the oldest first.
        self.pending: dict[int, Request] = {}
        self._cookie = 0
        self._out = bytearray()
        self._in = bytearray()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.settimeout(timeout_s)
            self.socket.connect(str(path))
            self._negotiate(export)
        except BaseException:
            self.socket.close()
            raise
        self.socket.setblocking(False)

    def fileno(self) -> int:
        """For selectors."""
        return self.socket.fileno()

    def submit(self, kind: int, offset: int, length: int) -> None:
        """Queues a request; it leaves with the next exchange()."""
        self._cookie += 1
        self.pending[self._cookie] = Request(kind, offset, length,
                                             time.monotonic())
        self._out += _REQUEST.pack(_REQUEST_MAGIC, 0, kind, self._cookie,
                                   offset, length)
        if kind == WRITE:
            self._out += bytes([self._cookie % 255 + 1]) * length

    def wants(self) -> int:
        """What to wait for, as selectors has it."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out
                                       else 0)

    def exchange(self) -> list[Request]:
        """Sends and takes what can be without waiting.

        Returns the requests that were answered; NbdError when one was
        refused, or the server has gone.
        """
        try:
            while self._out:
                del self._out[:self.socket.send(self._out)]
        except BlockingIOError:
            pass
        try:
            while True:
                got = self.socket.recv(_LARGEST_REPLY)
                if not got:
                    raise NbdError("the server closed the connection with "
                                   f"{len(self.pending)} requests pending")
                self._in += got
        except BlockingIOError:
            pass
        return list(self._answered())

    def close(self) -> None:
        """Ends the connection; what is pending is given up."""
        self.socket.close()

    def _answered(self) -> Iterator[Request]:
        while len(self._in) >= _REPLY.size:
            magic, error, cookie = _REPLY.unpack_from(self._in)
            if magic != _REPLY_MAGIC or cookie not in self.pending:
                raise NbdError(f"reply {magic:#x} to request {cookie}")
            request = self.pending[cookie]
            if error:
                raise NbdError(f"{request}: error {error}")
            whole = _REPLY.size + (request.length if request.kind == READ
                                   else 0)
            if len(self._in) < whole:
                return
            del self._in[:whole]
            del self.pending[cookie]
            self.replies += 1
            self.slowest_s = max(self.slowest_s,
                                 time.monotonic() - request.sent_at)
            yield request

    def _take(self, length: int) -> bytes:
        """So many bytes, in negotiation."""
        told = b""
        while len(told) < length:
            got = self.socket.recv(length - len(told))
            if not got:
                raise NbdError("the server closed while negotiating")
            told += got
        return told

    def _negotiate(self, export: str) -> None:
        magic, option, flags = struct.unpack(">8s8sH", self._take(18))
        if (magic, option) != (b"NBDMAGIC", _OPTION_MAGIC):
            raise NbdError(f"no NBD server, or one of old: {magic!r}")
        if not flags & _FIXED_NEWSTYLE:
            raise NbdError("the server has no fixed newstyle negotiation")
        name = export.encode()
        data = struct.pack(f">I{len(name)}sH", len(name), name, 0)
        self.socket.sendall(
            struct.pack(">I8sII", _FIXED_NEWSTYLE | flags & _NO_ZEROES,
                        _OPTION_MAGIC, _OPT_GO, len(data)) + data)
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self._take(20))
            if magic != _OPTION_REPLY_MAGIC:
                raise NbdError(f"option reply {magic:#x}")
            data = self._take(length)
            if kind == _REP_ACK:
                return
            if kind & _REP_ERROR:
                raise NbdError(f"export {export!r}: "
                               + (data.decode(errors="replace")
                                  or f"refused with {kind:#x}"))
            if (kind == _REP_INFO and length >= 10
                    and struct.unpack_from(">H", data)[0] == _INFO_EXPORT):
                self.size = struct.unpack_from(">Q", data, 2)[0]


class Clients:
    """Connections to one export, each with requests in flight."""

    def __init__(self, path: "Path | str", export: str, count: int = 1
                 ) -> None:
        self.all: list[Client] = []
        self._selector = selectors.DefaultSelector()
        try:
            for _ in range(count):
                client = Client(path, export)
                self.all.append(client)
                self._selector.register(client, client.wants(), client)
        except BaseException:
            self.close()
            raise

    def submit(self, requests: Sequence[tuple[int, int, int]]) -> None:
        """The same requests (kind, offset, length), on each connection."""
        for client in self.all:
            for kind, offset, length in requests:
                client.submit(kind, offset, length)

    @property
    def pending(self) -> int:
        """Requests without an answer, those not yet sent among them."""
        return sum(len(client.pending) for client in self.all)

    @property
    def replies(self) -> int:
        """Answers so far."""
        return sum(client.replies for client in self.all)

    def exchange(self, timeout_s: float) -> list[tuple[Client, Request]]:
        """Waits once until something can be sent or taken, and does it."""
        for client in self.all:
            self._selector.modify(client, client.wants(), client)
        answered = []
        for key, _ in self._selector.select(timeout_s):
            answered += [(key.data, request)
                         for request in key.data.exchange()]
        return answered

    def send(self) -> None:
        """Until all that was submitted is with the server."""
        while any(client.wants() & selectors.EVENT_WRITE
                  for client in self.all):
            self.exchange(1.0)

    def drain(self, limit_s: float) -> bool:
        """Whether all pending requests are answered within the limit."""
        end = time.monotonic() + limit_s
        while self.pending:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.exchange(left)
        return True

    def keep_going(self, seconds: float) -> int:
        """Each answer is followed by the same request again, for so long.

        Returns how many answers there were; the last requests stay pending.
        """
        before = self.replies
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for client, request in self.exchange(end - time.monotonic()):
                client.submit(request.kind, request.offset, request.length)
        return self.replies - before

    def close(self) -> None:
        """Ends all connections."""
        self._selector.close()
        for client in self.all:
            client.close()

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
