"""kick: what it did is on record.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Iterator

import pytest
from conftest import CLEAN, LIMIT_S, QHANG, Victim
from kicking import assert_goes_on, dry


@pytest.fixture(name="journal")
def fixture_journal(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a journal would listen, inside a mount namespace of its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.settimeout(10)
        yield listener


def test_journal(journal: socket.socket, tmp_path: Path) -> None:
    """Before and after are in the journal, with fields of their own."""
    with Victim("erased") as victim:
        shown = dry(victim)
        script = (f"mount -t tmpfs none /run && mkdir -p /run/systemd/journal "
                  f"&& touch /run/systemd/journal/socket "
                  f"&& mount --bind {tmp_path}/socket "
                  f"/run/systemd/journal/socket "
                  f"&& exec {QHANG} kick --yes {victim.pid}")
        done = subprocess.run(["unshare", "-m", "--propagation", "private",
                               "sh", "-c", script], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False,
                              timeout=LIMIT_S)
        assert done.returncode == CLEAN, done.stdout + done.stderr
        assert done.stderr == ""
        entries = [dict(line.split("=", 1) for line in
                        journal.recv(65536).decode().splitlines())
                   for _ in range(2)]
        for entry in entries:
            assert entry["SYSLOG_IDENTIFIER"] == "qhang"
            assert entry["QHANG_PID"] == str(victim.pid)
            assert entry["QHANG_RULE"] == "sleep.erased"
        assert entries[0]["QHANG_WRITES"] == " ".join(
            f"{at:#x}={old:#x}->{new:#x}" for at, old, new in shown)
        assert entries[1]["QHANG_OUTCOME"] == "unstuck"
        assert_goes_on(victim, "erased")
