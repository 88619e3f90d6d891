"""gdbscripts/qhang-gdb.py where something is missing, or is not as expected.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, Optional

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "tests/cli")]

# pylint: disable=wrong-import-position
from conftest import QHANG, VICTIMS, Victim
import gdbrun


# A command that lets the process go on for a moment.
GO_ON = """
class GoOn(gdb.Command):
    def __init__(self):
        super().__init__("go-on", gdb.COMMAND_USER)
    def invoke(self, argument, from_tty):
        os.kill(gdb.selected_inferior().pid, signal.SIGINT)
        gdb.execute("continue")
GoOn()
"""


def gdb(*target: "str | Path", commands: list[str],
        qhang: "Optional[str | Path]" = None, python: str = "") -> list[str]:
    """What each command printed."""
    return gdbrun.gdb(*target, commands=commands, qhang=qhang or QHANG,
                      python=python)


@pytest.fixture(name="hung", scope="module")
def fixture_hung() -> Iterator[Victim]:
    """A victim whose wake-up was lost."""
    with Victim("wake-lost") as victim:
        yield victim


def report_is_of(pid: int) -> str:
    """The command that tells of whom the report is."""
    return ("python import qhang_gdb.program; print(qhang_gdb.program"
            f".report()['target']['pid'] == {pid})")


def test_several_inferiors(hung: Victim) -> None:
    """Each inferior has its own report, and a view only in its own."""
    with Victim("erased") as other:
        told = gdb("-p", str(hung.pid), commands=[
            "qhang sleepers", "add-inferior", "inferior 2",
            "qhang sleepers", f"attach {other.pid}", "qhang sleepers",
            report_is_of(other.pid), "qhang coroutine 1", "bt",
            "inferior 1", report_is_of(hung.pid), "bt", "qhang sleepers"])
    assert " armed " in told[0]
    assert "attach PID" in told[3]
    assert " erased " in told[5]
    assert "[coroutine " in told[8]
    assert told[6].strip() == told[10].strip() == "True"
    assert "[coroutine " not in told[11] and "#0 " in told[11]
    assert told[12] == told[0] or " armed " in told[12]


@pytest.mark.parametrize("mode, way", [
    (["set non-stop on"], "`interrupt -a` first"),
    ([], "`interrupt` first")])
def test_running(mode: list[str], way: str) -> None:
    """A process that runs is not looked at; what to do is said."""
    looks = ["qhang diagnose", "qhang threads", "qhang coroutine 1",
             "qhang coroutine apply all bt", "qhang thread"]
    with Victim("wake-lost") as victim:
        told = gdb(VICTIMS / "victim", commands=[
            *mode, f"attach {victim.pid}", "continue &", *looks])
    for line in told[-len(looks):]:
        assert way in line, line


def test_goes_on_under_apply() -> None:
    """A command that lets the process go on ends the round over the
    coroutines: none of them is where it was."""
    with Victim("wake-lost") as victim:
        told, bt = gdb("-p", str(victim.pid), python=GO_ON, commands=[
            "qhang coroutine apply all go-on", "bt"])
    assert "let the process go on" in told
    assert "Coroutine 2" not in told
    assert "[coroutine" not in bt and "#0 " in bt


def test_no_process() -> None:
    """Without a process each command says how to get one."""
    told = gdb("/bin/true", commands=[
        "qhang diagnose", "qhang coroutine 1", "qhang coroutine apply all bt",
        "qhang thread", "print $qhang_coroutine(1)"])
    assert all("`attach PID`" in line for line in told), told


def test_no_qemu() -> None:
    """Something else is told from a QEMU."""
    with subprocess.Popen(["sleep", "600"]) as child:
        try:
            told, = gdb("-p", str(child.pid), commands=["qhang coroutines"])
        finally:
            child.kill()
    assert "is no QEMU by its name" in told and "try " in told


def test_no_debug_information(tmp_path: Path) -> None:
    """A stripped QEMU: what is missing is named, and nothing is shown."""
    bare = tmp_path / "qemu-storage-daemon"
    subprocess.run(["strip", "-o", bare, VICTIMS / "victim"], check=True)
    with Victim("wake-lost", executable=bare) as victim:
        told = gdb("-p", str(victim.pid), commands=[
            "qhang diagnose", "qhang coroutine 1"])
    for line in told:
        assert "no debug information" in line and "try " in line


def test_no_collector(hung: Victim, tmp_path: Path) -> None:
    """A program that is not there, is none, or is not qhang."""
    text, other = tmp_path / "text", tmp_path / "other"
    text.write_text("no program\n")
    text.chmod(0o755)
    other.write_text("#!/bin/sh\necho '{'\n")
    other.chmod(0o755)
    commands = ["qhang diagnose", "qhang sleepers"]
    for program, wanted in ((tmp_path / "none", "is no program"),
                            (tmp_path, "is no program"),
                            (text, "does not run"),
                            (other, "gives no report")):
        told = gdb("-p", str(hung.pid), commands=commands, qhang=program)
        assert wanted in told[1], told
        assert "`set qhang-program PATH`" in told[1]
    told = gdb("-p", str(hung.pid), qhang=tmp_path / "none", commands=[
        "qhang diagnose", f"set qhang-program {QHANG}", "qhang diagnose",
        "show qhang-program"])
    assert "is no program" in told[0] and "sleep.wake-lost" in told[2]
    assert told[3].strip() == str(QHANG)


def test_ctrl_c_while_the_program_runs(hung: Victim, tmp_path: Path) -> None:
    """The program is ended, and gdb is where it was."""
    slow = tmp_path / "qhang"
    # Once it has got the registers, gdb waits for it.
    slow.write_text("#!/bin/sh\ntrap '' INT\ncat > /dev/null\n"
                    f"echo $$ > {tmp_path}/pid\nkill -INT $PPID\n"
                    "exec sleep 600\n")
    slow.chmod(0o755)
    told, = gdb("-p", str(hung.pid), qhang=slow, commands=[
        "python tell(compare('qhang sleepers'))"])
    seen = json.loads(told)
    assert "KeyboardInterrupt" in seen["error"]
    assert seen["changed"] == []
    pid = (tmp_path / "pid").read_text().strip()
    # One that has ended and waits for its parent has no executable.
    assert not Path(f"/proc/{pid}/exe").exists()


def test_installed(tmp_path: Path) -> None:
    """What `meson install` puts there, gdb loads by itself for a QEMU that is
    installed beside it, and the program is found."""
    prefix = tmp_path / "usr"
    run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": CHECKOUT}
    subprocess.run(["meson", "setup", "--prefix", prefix, tmp_path / "build"],
                   **run)
    subprocess.run(["meson", "install", "-C", tmp_path / "build",
                    "--no-rebuild", "--tags", "gdb"], **run)
    (prefix / "bin").mkdir()
    (prefix / "bin/qhang").symlink_to(QHANG)
    daemon = prefix / "bin/qemu-storage-daemon"
    shutil.copy2(VICTIMS / "victim", daemon)
    with Victim("wake-lost", executable=daemon) as victim:
        done = subprocess.run(
            ["gdb", "-nx", "-q", "-batch",
             "-iex", "set debuginfod enabled off",
             "-iex", f"add-auto-load-scripts-directory {prefix}/share/gdb/"
             "auto-load",
             "-iex", f"add-auto-load-safe-path {prefix}/share",
             "-p", str(victim.pid),
             "-ex", "show qhang-program", "-ex", "qhang sleepers"],
            check=False, text=True, env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
    assert "(found by itself)" in done.stdout, done.stdout
    assert "qcow2.cache-clean-timer" in done.stdout, done.stdout
