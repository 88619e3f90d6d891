"""Talks QMP over a unix socket.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from pathlib import Path
from typing import Any, Optional

# A guest with much RAM touches all of it before it answers.
START_TIMEOUT_S = 120.0
# What one message may take; a schema, the longest one, is far below.
MOST_BYTES = 16 << 20


class QmpError(Exception):
    """The peer answered with an error, or closed the connection."""


class QmpTimeout(QmpError):
    """No answer came in time; it may still come (see Qmp.answer)."""


class Qmp:
    """One QMP connection over a unix socket; events are dropped."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = b""
        # By its folder, for sun_path holds no long path (unix(7)).
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self._sock.connect(f"/proc/self/fd/{folder}/{path.name}")
        except OSError:
            self._sock.close()
            raise
        finally:
            os.close(folder)

    def handshake(self) -> None:
        """Takes the greeting and leaves capability negotiation."""
        deadline = time.monotonic() + START_TIMEOUT_S
        greeting = self._line(deadline)
        if "QMP" not in greeting:
            raise QmpError(f"no QMP greeting but {greeting}")
        self.execute("qmp_capabilities", timeout_s=START_TIMEOUT_S)

    def send(self, command: str, arguments: Optional[dict] = None) -> None:
        """Sends a command and does not wait."""
        message: dict[str, Any] = {"execute": command}
        if arguments:
            message["arguments"] = arguments
        self._sock.sendall(json.dumps(message).encode() + b"\n")

    def answer(self, timeout_s: float) -> Any:
        """The next answer's `return`; QmpTimeout when there is none yet."""
        deadline = time.monotonic() + timeout_s
        while True:
            message = self._line(deadline)
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise QmpError(str(message["error"]))

    def answered(self, timeout_s: float) -> bool:
        """Whether the answer that is awaited comes in time; it is taken."""
        try:
            self.answer(timeout_s)
            return True
        except QmpTimeout:
            return False

    def execute(self, command: str, arguments: Optional[dict] = None,
                timeout_s: float = 3.0) -> Any:
        """Sends a command and returns what it returns."""
        self.send(command, arguments)
        return self.answer(timeout_s)

    def close(self) -> None:
        """Ends the connection."""
        self._sock.close()

    def _line(self, deadline: float) -> dict:
        while b"\n" not in self._buffer:
            if len(self._buffer) > MOST_BYTES:
                raise QmpError("a QMP message without end")
            left = deadline - time.monotonic()
            ready = select.select([self._sock], [], [], max(left, 0))[0]
            if not ready:
                raise QmpTimeout("no answer in time")
            got = self._sock.recv(65536)
            if not got:
                raise QmpError("QEMU closed the QMP connection")
            self._buffer += got
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)
