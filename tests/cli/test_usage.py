"""The command line: help, version, wrong usage, output that goes nowhere.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from conftest import (BUILD, CLEAN, FAILED, FINDING, QHANG, USAGE, Victim,
                      qhang, refuses, under)

HELPS = [("--help",), ("diagnose", "--help"), ("capture", "--help"),
         ("explain", "--help"), ("kick", "--help"), ("watch", "--help")]
WRONG = [
    (("diagnose",), "PID"),
    (("diagnose", "foo"), "pgrep"),
    (("diagnose", "12x"), "pgrep"),
    (("diagnose", "0"), "PID"),
    (("diagnose", "99999999999999999999"), "PID"),
    (("diagnose", "1", "2"), "one PID"),
    (("diagnose", "--core", "x", "1"), "--core"),
    (("diagnose", "--exe", "x", "1"), "--exe"),
    (("diagnose", "--registers", "x", "--core", "x"), "--registers"),
    (("diagnose", "--registers", "x"), "PID"),
    (("diagnose", "--no-stop", "--core", "x"), "--no-stop"),
    (("diagnose", "--no-stop", "--registers", "x", "1"), "--no-stop"),
    (("diagnose", "--no-stop"), "PID"),
    (("diagnose", "--core"), "--core"),
    (("diagnose", "--json=yes", "1"), "--json"),
    (("diagnose", "--nonsense", "1"), "no such option: --nonsense"),
    (("diagnose", "--d", "1"), "more than one option: --d"),
    (("diagnose", "--core="), "--core: its argument is empty"),
    (("diagnose", "--html", "", "1"), "--html: its argument is empty"),
    (("diagnose", "--stop-bound", "1", "--core", "x"), "--stop-bound"),
    (("diagnose", "--stop-bound", "1", "--no-stop", "1"), "--stop-bound"),
    (("coroutines", "--stop-bound", "0", "1"), "seconds, 0.001 to 10"),
    (("diagnose", "/dev/null"), "diagnose --core /dev/null"),
    (("coroutines", "/dev/null"), "coroutines --core /dev/null"),
    (("diagnose", "-x", "1"), "-x"),
    (("diagnose", "--", "-1"), "-1"),
    (("explain", "nonsense"), "no such rule"),
    (("explain", "sleep.erased", "more"), "one RULE"),
    (("explain", "--json"), "--json"),
    (("capture",), "PID"),
    (("capture", "1"), "-o FILE"),
    (("capture", "1", "-o"), "-o"),
    (("capture", "1", "-o", ""), "--output: its argument is empty"),
    (("capture", "foo", "-o", "x"), "pgrep"),
    (("capture", "1", "2", "-o", "x"), "one PID"),
    (("capture", "1", "-o", "x", "--kill-after=NONE"), "NONE"),
    (("capture", "1", "-o", "x", "--kill-after=0"), "signal"),
    (("capture", "1", "-o", "x", "--kill-after=65"), "signal"),
    (("capture", "1", "-o", "x", "--stop-bound", "50ms"), "seconds"),
    (("kick", "--yes", "--stop-bound", "-1", "1"), "seconds"),
    (("kick", "--yes"), "PID"),
    (("kick", "--yes", "foo"), "pgrep"),
    (("kick", "--yes", "1", "2"), "one PID"),
    (("kick", "1"), "--yes"),
    (("kick", "--yes", "--wait", "soon", "1"), "seconds"),
    (("kick", "--yes", "--wait", "1e9", "1"), "seconds"),
    (("kick", "--yes", "--wait", "nan", "1"), "seconds"),
    (("kick", "--core", "x"), "--core"),
    (("nonsense",), "nonsense"),
    (("",), "command"),
    (("--nonsense",), "--nonsense"),
    (("diagnose", "\x1b[31m\n\x9b"), "\\x1b"),
]


@pytest.mark.parametrize("args", HELPS, ids=" ".join)
def test_help(args: tuple[str, ...]) -> None:
    """Help goes to stdout, has an example, and fits a terminal."""
    done = qhang(*args)
    assert done.returncode == CLEAN
    assert done.stderr == ""
    assert done.stdout.startswith("usage: qhang ")
    assert "Example: " in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert not re.search(r"[ \t]$", done.stdout, re.MULTILINE)


def test_version() -> None:
    """--version names the version of the build."""
    project = json.loads(
        (BUILD / "meson-info/intro-projectinfo.json").read_text())
    done = qhang("--version")
    assert done.returncode == CLEAN
    assert done.stdout == f"qhang {project['version']}\n"


@pytest.mark.parametrize("args, word", WRONG, ids=lambda v: repr(v))
def test_wrong_usage(args: tuple[str, ...], word: str) -> None:
    """Wrong usage exits 64 and says what is wrong, escaped."""
    told = refuses(USAGE, *args, words=(word,))
    assert told.isprintable() or not told.replace("\n", "").strip() or \
        all(c.isprintable() or c == "\n" for c in told)


def test_no_arguments() -> None:
    """Without arguments the help goes to stderr."""
    done = qhang()
    assert done.returncode == USAGE
    assert done.stdout == ""
    assert done.stderr.startswith("usage: qhang ")


@pytest.mark.parametrize("args", [("--help",), ("--version",)], ids=" ".join)
def test_full_disk(args: tuple[str, ...]) -> None:
    """Output that cannot be written is no success."""
    with Path("/dev/full").open("wb") as full:
        done = qhang(*args, stdout=full)
    assert done.returncode == FAILED
    assert "cannot write" in done.stderr


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_report_to_nobody(json_option: list[str]) -> None:
    """A report that nobody takes is no verdict; the target goes on."""
    with Victim("wake-lost") as victim:
        with Path("/dev/full").open("wb") as full:
            done = qhang("diagnose", *json_option, str(victim.pid),
                         stdout=full)
        assert done.returncode == FAILED
        assert "cannot write" in done.stderr
        reader, writer = os.pipe()
        os.close(reader)
        done = qhang("diagnose", *json_option, str(victim.pid), stdout=writer)
        os.close(writer)
        assert done.returncode == FAILED
        assert done.stderr.count("cannot write") == 1
        assert "Broken pipe" in done.stderr
        assert qhang("diagnose", str(victim.pid)).returncode == FINDING


def on_terminal(*args: str, env: dict[str, str]) -> bytes:
    """What qhang writes to a terminal."""
    ours, theirs = pty.openpty()
    argv = [*under(), str(QHANG), *args]
    with subprocess.Popen(argv, stdout=theirs, stderr=theirs,
                          stdin=subprocess.DEVNULL, env=env) as child:
        os.close(theirs)
        told = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            told += piece
        child.wait(60)
    os.close(ours)
    return told


def test_colour() -> None:
    """Colours on a terminal only, and not with NO_COLOR."""
    plain = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    with Victim("wake-lost") as victim:
        pid = str(victim.pid)
        assert b"\033[1;31mHANG\033[0m" in on_terminal("diagnose", pid,
                                                       env=plain)
        told = on_terminal("diagnose", pid, env={**plain, "NO_COLOR": "1"})
        assert b"HANG" in told and b"\033" not in told
        # An empty one does not count (no-color.org).
        assert b"\033" in on_terminal("diagnose", pid,
                                      env={**plain, "NO_COLOR": ""})
        assert "\033" not in qhang("diagnose", pid, env=plain).stdout


def test_errors_on_a_terminal_fit_it() -> None:
    """Errors are wrapped at 80 columns for a terminal."""
    told = on_terminal("diagnose", str(os.getpid()), env=dict(os.environ))
    lines = told.decode(errors="replace").splitlines()
    assert len(lines) > 3
    assert all(len(line) <= 80 for line in lines)
