"""Runs the program qhang on what gdb looks at, and keeps its report.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from typing import Any, Iterator, Optional

import gdb

REGISTERS = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8",
             "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "fs_base")
# What qhang diagnose ends with when it has a report.
REPORTED = (0, 1, 2)


class ProgramParameter(gdb.Parameter):
    """Path of the program qhang that the qhang commands run.

    Empty: $QHANG, else the one that is installed beside these scripts, else
    the one on the PATH."""

    set_doc = "Set the program qhang that the qhang commands run."
    show_doc = "Show the program qhang that the qhang commands run."

    def __init__(self) -> None:
        super().__init__("qhang-program", gdb.COMMAND_FILES,
                         gdb.PARAM_OPTIONAL_FILENAME)
        self.value = ""

    def get_set_string(self) -> str:
        """gdb prints what this returns."""
        forget()
        return ""

    def get_show_string(self, value: str) -> str:
        """The answer of `show qhang-program`."""
        return value or f"{find_program()} (found by itself)"


_parameter: Optional[ProgramParameter] = None
# What was said of an inferior, by its number in gdb.
_reports: dict[int, dict[str, Any]] = {}


def load() -> None:
    """Registers the parameter, and when the report is out of date."""
    global _parameter
    _parameter = ProgramParameter()
    for event in (gdb.events.cont, gdb.events.exited, gdb.events.new_objfile,
                  gdb.events.memory_changed, gdb.events.register_changed,
                  gdb.events.clear_objfiles):
        event.connect(forget)


def forget(_event: Any = None) -> None:
    """The next question is asked anew."""
    _reports.clear()


class Command(gdb.Command):
    """What is told when a command fails is what went wrong, and no more."""

    def invoke(self, argument: str, from_tty: bool) -> None:
        """gdb calls this."""
        try:
            self.run(argument)
        except gdb.error as error:
            raise gdb.GdbError(str(error)) from error

    def run(self, argument: str) -> None:
        """What the command does."""
        raise gdb.GdbError(f"{argument}: no such command")


def printable(text: str) -> str:
    """A name from the program, fit for a terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}"
                   for char in text)


def find_program() -> str:
    """Path of qhang; GdbError when there is none."""
    here = os.path.dirname(os.path.realpath(__file__))
    installed = os.path.join(here, "../../../../bin/qhang")
    named = (_parameter.value if _parameter else "") or os.environ.get("QHANG")
    # One that is named is the one that is meant.
    for path in (named,) if named else (installed, shutil.which("qhang")):
        if path and os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.realpath(path)
    raise gdb.GdbError((f"{named} is no program" if named else
                        "qhang is not installed")
                       + ": `set qhang-program PATH` names another"
                       + ("" if named else ", or put it on the PATH"))


def check_stopped(thread: Optional[gdb.InferiorThread]) -> None:
    """GdbError, with what to do about it, unless its registers are there."""
    if not thread:
        raise gdb.GdbError("no thread is selected: `attach PID`, `core-file "
                           "FILE`, or `thread 1`")
    if thread.is_running():
        how = "interrupt -a" if gdb.parameter("non-stop") else "interrupt"
        raise gdb.GdbError(f"thread {thread.num} (LWP {thread.ptid[1]}) is "
                           f"running: `{how}` first")


@contextmanager
def kept_selection() -> Iterator[None]:
    """Thread and frame are afterwards what they were."""
    thread = gdb.selected_thread()
    frame = None
    try:
        frame = gdb.selected_frame()
    except gdb.error:
        pass
    try:
        yield
    finally:
        if thread and thread.is_valid():
            thread.switch()
        if frame and frame.is_valid():
            frame.select()


def _registers() -> dict[str, dict[str, Any]]:
    """Of every thread, as `qhang diagnose --registers` reads them."""
    found = {}
    with kept_selection():
        for thread in gdb.selected_inferior().threads():
            check_stopped(thread)
            thread.switch()
            frame = gdb.newest_frame()
            values: dict[str, Any] = {}
            for name in REGISTERS:
                values[name] = hex(int(frame.read_register(name))
                                   & 0xffffffffffffffff)
            values["orig_rax"] = int(frame.read_register("orig_rax"))
            found[str(thread.ptid[1])] = values
    return found


def _core_path() -> Optional[str]:
    """The core that gdb looks at, or None.

    gdb 13 has no other way to ask for it than this."""
    told = gdb.execute("info target", to_string=True)
    match = re.search(r"core dump file:\n\t`(.*)', file type", told)
    return match.group(1) if match else None


def _question() -> tuple[list[str], Optional[str]]:
    """Arguments for qhang diagnose, and what it reads."""
    inferior = gdb.selected_inferior()
    connection = inferior.connection
    kind = connection.type if connection else None
    if kind == "core":
        exe = gdb.current_progspace().filename
        return (["--core", _core_path() or ""]
                + (["--exe", exe] if exe else []), None)
    if not inferior.pid:
        raise gdb.GdbError("no process and no core: `attach PID`, or "
                           "`core-file FILE`")
    if kind != "native":
        raise gdb.GdbError(f"this process is behind a {kind} target, where "
                           "its memory can't be read: `qhang diagnose PID` "
                           "on that machine, or `generate-core-file` and "
                           "`core-file` here")
    return [str(inferior.pid), "--registers", "-"], json.dumps(_registers())


def ask(*options: str) -> str:
    """What qhang diagnose prints; GdbError with its message when it can't."""
    arguments, told = _question()
    program = find_program()
    try:
        done = subprocess.run([program, "diagnose", *options, *arguments],
                              check=False, text=True, input=told,
                              errors="surrogateescape",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise gdb.GdbError(f"{program} does not run: {error.strerror}; `set "
                           "qhang-program PATH` names another") from error
    if done.returncode not in REPORTED:
        raise gdb.GdbError(done.stderr.strip() or
                           f"{program} ended with status {done.returncode}")
    return done.stdout


def report() -> dict[str, Any]:
    """The JSON report (docs/qhang-report-1.json) on this very state."""
    number = gdb.selected_inferior().num
    if number not in _reports:
        told = ask("--json")
        try:
            _reports[number] = json.loads(told)
        except ValueError as error:
            raise gdb.GdbError(
                f"{find_program()} gives no report: `set qhang-program "
                "PATH` names another") from error
    return _reports[number]
