"""A journal of a test's own, and a qhang that finds no other.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import shlex
import socket
import subprocess
from pathlib import Path

from conftest import LIMIT_S, QHANG

ANSWER_S = 30


class Journal:
    """Where a journal would listen, inside a mount namespace of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listener.bind(str(self.path))
        self.listener.settimeout(ANSWER_S)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def run(self, *args: str) -> subprocess.CompletedProcess:
        """qhang with that journal and no other, to its end."""
        script = ("mount -t tmpfs none /run && mkdir -p /run/systemd/journal "
                  "&& touch /run/systemd/journal/socket "
                  f"&& mount --bind {self.path} /run/systemd/journal/socket "
                  f"&& exec {shlex.join([str(QHANG), *args])}")
        return subprocess.run(["unshare", "-m", "--propagation", "private",
                               "sh", "-c", script], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False,
                              timeout=LIMIT_S)

    def entry(self) -> dict[str, str]:
        """The next one's fields."""
        return dict(line.split("=", 1) for line in
                    self.listener.recv(65536).decode().splitlines())
