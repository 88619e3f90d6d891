"""kick: what it did is on record.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Iterator

import pytest
from conftest import CLEAN, LIMIT_S, QHANG, Victim, report
from kicking import assert_goes_on, dry


@pytest.fixture(name="journal")
def fixture_journal(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a journal would listen, inside a mount namespace of its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.settimeout(10)
        yield listener


def kick_logged(journal: socket.socket, folder: Path, entries: int,
                *args: str) -> list[dict[str, str]]:
    """What a kick that goes well has told the journal."""
    script = (f"mount -t tmpfs none /run && mkdir -p /run/systemd/journal "
              f"&& touch /run/systemd/journal/socket "
              f"&& mount --bind {folder}/socket "
              f"/run/systemd/journal/socket "
              f"&& exec {QHANG} kick --yes {' '.join(args)}")
    done = subprocess.run(["unshare", "-m", "--propagation", "private",
                           "sh", "-c", script], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False,
                          timeout=LIMIT_S)
    assert done.returncode == CLEAN, done.stdout + done.stderr
    assert done.stderr == ""
    return [dict(line.split("=", 1) for line in
                 journal.recv(65536).decode().splitlines())
            for _ in range(entries)]


def test_journal(journal: socket.socket, tmp_path: Path) -> None:
    """Before and after are in the journal, with fields of their own."""
    with Victim("erased") as victim:
        shown = dry(victim)
        entries = kick_logged(journal, tmp_path, 2, str(victim.pid))
        for entry in entries:
            assert entry["SYSLOG_IDENTIFIER"] == "qhang"
            assert entry["QHANG_PID"] == str(victim.pid)
            assert entry["QHANG_RULE"] == "sleep.erased"
        assert entries[0]["QHANG_WRITES"] == " ".join(
            f"{at:#x}={old:#x}->{new:#x}" for at, old, new in shown)
        assert entries[1]["QHANG_OUTCOME"] == "unstuck"
        assert_goes_on(victim, "erased")


def test_journal_of_notify_only(journal: socket.socket,
                                tmp_path: Path) -> None:
    """So is whom it has notified, without any hang to name."""
    with Victim("graph-unkicked") as victim:
        fds = [context["event_fd"]
               for context in report(str(victim.pid))["contexts"]]
        before, after = kick_logged(journal, tmp_path, 2, "--notify-only",
                                    str(victim.pid))
        for entry in (before, after):
            assert entry["QHANG_PID"] == str(victim.pid)
            assert "QHANG_RULE" not in entry
        assert sorted(map(int, before["QHANG_EVENTFDS"].split())) == \
            sorted(fds)
        assert after["QHANG_OUTCOME"] == "notified"
        assert_goes_on(victim, "graph-unkicked")
