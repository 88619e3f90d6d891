"""cfix/qemu/repair.py without a QEMU: usage, and what is no tree.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPAIR = Path(__file__).resolve().parents[2] / "cfix/qemu/repair.py"


def run(*args: str) -> "subprocess.CompletedProcess[str]":
    """repair.py with these arguments."""
    return subprocess.run([sys.executable, str(REPAIR), *args], check=False,
                          text=True, stdin=subprocess.DEVNULL,
                          capture_output=True)


@pytest.mark.parametrize("command", ["apply", "check", "revert"])
def test_no_qemu(tmp_path: Path, command: str) -> None:
    """A folder that is no QEMU tree is named as that, and left alone."""
    done = run(command, str(tmp_path))
    assert done.returncode == 2
    assert "QEMU source tree" in done.stderr and str(tmp_path) in done.stderr
    assert not list(tmp_path.iterdir())
    assert run(command, str(tmp_path / "nothing")).returncode == 2


@pytest.mark.parametrize("args", [[], ["mend", "."], ["apply"],
                                  ["apply", ".", "--part", "other"]])
def test_usage(args: list[str]) -> None:
    """Wrong usage is 64, with the usage."""
    done = run(*args)
    assert done.returncode == 64
    assert done.stderr.startswith("usage: repair.py")


def test_help() -> None:
    """The statuses and an example."""
    done = run("--help")
    assert done.returncode == 0
    assert "exit status:" in done.stdout and "example:" in done.stdout
