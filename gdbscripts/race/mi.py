"""Drives gdb through its machine interface (MI3), in non-stop mode.

SPDX-License-Identifier: GPL-2.0-or-later

The grammar is that of gdb's manual, "GDB/MI Output Syntax".  Values are
plain Python: c-strings are str, tuples dict, lists list.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Optional

REPLY_TIMEOUT_S = 30.0
GDB_ARGV = ("gdb", "-nx", "-q", "-iex", "set debuginfod enabled off",
            "-iex", "set auto-load off", "--interpreter=mi3")


class MiError(Exception):
    """gdb refused a command, said nothing in time, or is gone."""


@dataclass(frozen=True)
class Record:
    """One result or asynchronous record."""

    token: Optional[int]
    mark: str
    name: str
    values: dict[str, Any]


_RECORD = re.compile(r"^(\d*)([\^*=])([a-z-]+)(?:,(.*))?$", re.DOTALL)
_NAME = re.compile(r"([A-Za-z_][\w-]*)=")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class _Parser:
    """Recursive descent over one line of MI output."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def results(self, end: str) -> dict[str, Any]:
        """name=value pairs up to `end`, which is taken ("" is line end)."""
        found: dict[str, Any] = {}
        while self._more(end):
            match = _NAME.match(self.text, self.at)
            if not match:
                raise MiError(f"no MI result at column {self.at}: "
                              f"{self.text!r}")
            self.at = match.end()
            found[match.group(1)] = self._value()
        return found

    def _more(self, end: str) -> bool:
        if self.text[self.at:self.at + 1] == ",":
            self.at += 1
        if self.at >= len(self.text):
            if end:
                raise MiError(f"MI line ends early: {self.text!r}")
            return False
        if end and self.text[self.at] == end:
            self.at += 1
            return False
        return True

    def _value(self) -> Any:
        opening = self.text[self.at:self.at + 1]
        if opening == '"':
            return self._string()
        self.at += 1
        if opening == "{":
            return self.results("}")
        if opening == "[":
            return self._list()
        raise MiError(f"no MI value at column {self.at}: {self.text!r}")

    def _list(self) -> list[Any]:
        """Elements are values, or results whose names say nothing new."""
        found = []
        while self._more("]"):
            match = _NAME.match(self.text, self.at)
            if match:
                self.at = match.end()
            found.append(self._value())
        return found

    def _string(self) -> str:
        out = bytearray()
        self.at += 1
        while self.text[self.at:self.at + 1] != '"':
            char = self.text[self.at:self.at + 1]
            if not char:
                raise MiError(f"MI string without end: {self.text!r}")
            if char != "\\":
                out += char.encode()
                self.at += 1
                continue
            octal = re.match(r"\\([0-7]{3})", self.text[self.at:])
            if octal:
                out.append(int(octal.group(1), 8) & 0xFF)
                self.at += 4
                continue
            char = self.text[self.at + 1:self.at + 2]
            out += _ESCAPES.get(char, char).encode()
            self.at += 2
        self.at += 1
        return out.decode(errors="replace")


def parse(line: str) -> Optional[Record]:
    """One line of MI output; None for streams, prompts and other noise."""
    match = _RECORD.match(line)
    if not match:
        return None
    token, mark, name, rest = match.groups()
    return Record(int(token) if token else None, mark, name,
                  _Parser(rest or "").results(""))


class Gdb:
    """A gdb process; attach() takes hold of one target."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            GDB_ARGV, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, bufsize=0)
        self._buffer = b""
        self._token = 0
        self._stops: deque[Record] = deque()
        self._attached = False

    def command(self, text: str, timeout_s: float = REPLY_TIMEOUT_S
                ) -> dict[str, Any]:
        """Sends one MI command and returns its results."""
        self._token += 1
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{self._token}{text}\n".encode())
        except BrokenPipeError as gone:
            raise MiError(f"gdb has ended; it was to do {text}") from gone
        deadline = time.monotonic() + timeout_s
        while True:
            record = self._next(deadline, text)
            if record.mark != "^" or record.token != self._token:
                continue
            if record.name == "error":
                raise MiError(f"{text}: {record.values.get('msg')}")
            return record.values

    def attach(self, pid: int) -> None:
        """Attaches in non-stop mode and waits until every thread stopped."""
        self.command("-gdb-set non-stop on")
        self.command("-gdb-set mi-async on")
        self.command("-gdb-set pagination off")
        self.command(f"-target-attach {pid}")
        self._attached = True
        deadline = time.monotonic() + REPLY_TIMEOUT_S
        while any(t["state"] != "stopped" for t in self.threads()):
            if time.monotonic() > deadline:
                raise MiError(f"not every thread of {pid} stopped")
            time.sleep(0.01)
        self._forget_stops()

    def threads(self) -> list[dict[str, Any]]:
        """What -thread-info lists: id, target-id, state, ..."""
        return self.command("-thread-info")["threads"]

    def ids_by_tid(self) -> dict[int, str]:
        """From kernel tid to gdb's number of a thread."""
        found = {}
        for thread in self.threads():
            match = re.search(r"LWP (\d+)", thread["target-id"])
            if match:
                found[int(match.group(1))] = thread["id"]
        return found

    def stopped(self, timeout_s: float,
                wanted: Callable[[Record], bool] = lambda _: True
                ) -> Optional[Record]:
        """The next stop that is `wanted`; others stay queued.

        None when there is none in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            # A reply may have come in together with what followed it.
            while self._pop_line():
                pass
            for stop in self._stops:
                if wanted(stop):
                    self._stops.remove(stop)
                    return stop
            if not self._wait_readable(deadline):
                return None
            self._fill()

    def evaluate(self, thread: str, expression: str) -> int:
        """An integer expression in the innermost frame of a thread."""
        text = self.command(f"-data-evaluate-expression --thread {thread} "
                            f"--frame 0 \"(unsigned long)({expression})\"")
        return int(text["value"].split()[0], 0)

    def read_word(self, address: int) -> int:
        """Eight bytes of the target, as an unsigned number."""
        got = self.command(f"-data-read-memory-bytes {address:#x} 8")
        return int.from_bytes(bytes.fromhex(got["memory"][0]["contents"]),
                              "little")

    def breakpoint(self, address: int, thread: Optional[str] = None) -> str:
        """A breakpoint at exactly this address; returns its number."""
        only = f"-p {thread} " if thread else ""
        return self.command(f"-break-insert {only}*{address:#x}"
                            )["bkpt"]["number"]

    def delete(self, *numbers: str) -> None:
        """Deletes breakpoints."""
        self.command("-break-delete " + " ".join(numbers))

    def _forget_stops(self, thread: Optional[str] = None) -> None:
        """Drops the stops that are over when a thread (or all) goes on."""
        while self._pop_line():
            pass
        self._stops = deque(
            stop for stop in self._stops
            if thread and stop.values.get("thread-id") != thread)

    def resume(self, thread: str) -> None:
        """Lets one thread run."""
        self._forget_stops(thread)
        self.command(f"-exec-continue --thread {thread}")

    def resume_all(self) -> None:
        """Lets every stopped thread run."""
        self._forget_stops()
        self.command("-exec-continue --all")

    def step_instruction(self, thread: str) -> None:
        """One machine instruction of one thread, all others as they are."""
        self._forget_stops(thread)
        self.command(f"-exec-step-instruction --thread {thread}")
        if not self.stopped(REPLY_TIMEOUT_S,
                            lambda s: s.values.get("thread-id") == thread):
            raise MiError(f"thread {thread} did not come back from a step")

    def functions(self, thread: str, depth: int) -> list[str]:
        """Function names of a stopped thread's frames, innermost first."""
        frames = self.command(f"-stack-list-frames --thread {thread} "
                              f"0 {depth - 1}")["stack"]
        return [frame.get("func", "") for frame in frames]

    def close(self) -> None:
        """Deletes every breakpoint, lets the target go and ends gdb."""
        try:
            if self._attached and self._process.poll() is None:
                self.command("-break-delete")
                self.command("-target-detach")
                self._attached = False
            if self._process.poll() is None:
                self.command("-gdb-exit", timeout_s=5.0)
        except MiError:
            # A gdb that does not even detach is ended below; the kernel
            # lets its tracees go.
            pass
        finally:
            self._end()

    def _end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "Gdb":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self, deadline: float, doing: str) -> Record:
        """The next record; stops are queued on the way as well."""
        while True:
            record = self._pop_line()
            if record:
                return record
            if not self._wait_readable(deadline):
                raise MiError(f"gdb gives no answer to {doing}")
            self._fill()

    def _pop_line(self) -> Optional[Record]:
        while b"\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\n", 1)
            record = parse(line.decode(errors="replace").rstrip("\r"))
            if record is None:
                continue
            if record.mark == "*" and record.name == "stopped":
                self._stops.append(record)
            return record
        return None

    def _wait_readable(self, deadline: float) -> bool:
        left = max(deadline - time.monotonic(), 0)
        return bool(select.select([self._process.stdout], [], [], left)[0])

    def _fill(self) -> None:
        assert self._process.stdout is not None
        got = os.read(self._process.stdout.fileno(), 65536)
        if not got:
            raise MiError(f"gdb ended, status {self._process.poll()}")
        self._buffer += got
