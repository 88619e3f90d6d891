"""Sourced into gdb by the tests: what gdb itself sees, without qhang's scripts.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence

import gdb

KINDS = {gdb.NORMAL_FRAME: "normal", gdb.INLINE_FRAME: "inline",
         gdb.TAILCALL_FRAME: "tail"}
SCALARS = (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_INT, gdb.TYPE_CODE_ENUM,
           gdb.TYPE_CODE_BOOL, gdb.TYPE_CODE_CHAR)


def older() -> Iterator[gdb.Frame]:
    """The frames behind the thread's own, a viewed coroutine's."""
    frame: Optional[gdb.Frame] = gdb.newest_frame().older()
    while frame is not None and frame.is_valid():
        yield frame
        frame = frame.older()


def _value(frame: gdb.Frame, symbol: gdb.Symbol, block: gdb.Block) -> Any:
    """An int, or a text; None when the compiler has done away with it, which
    gdb says by an error where the address is what is gone (clang's code)."""
    try:
        value = frame.read_var(symbol, block)
    except gdb.error as error:
        if "optimized out" in str(error):
            return None
        raise
    if value.is_optimized_out:
        return None
    if value.type.strip_typedefs().code in SCALARS:
        return int(value)
    return str(value.type)


def variables(frame: gdb.Frame) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments and locals of a frame."""
    arguments: dict[str, Any] = {}
    local: dict[str, Any] = {}
    try:
        block: Optional[gdb.Block] = frame.block()
    except RuntimeError:  # no debug information there
        return arguments, local
    while block is not None:
        for symbol in block:
            if symbol.is_argument or symbol.is_variable:
                into = arguments if symbol.is_argument else local
                into.setdefault(symbol.name, _value(frame, symbol, block))
        if block.function:
            break
        block = block.superblock
    return arguments, local


def stack() -> list[dict[str, Any]]:
    """All that is to be seen of a viewed coroutine, innermost frame first,
    down to where coroutines begin."""
    told = []
    for frame in older():
        arguments, local = variables(frame)
        told.append({"pc": hex(frame.pc()), "function": frame.name(),
                     "kind": KINDS.get(frame.type(), "other"),
                     "args": arguments, "locals": local})
        if frame.name() == "coroutine_trampoline":
            break
    return told


def stacks(addresses: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Each of these coroutines, viewed."""
    told = {}
    for address in addresses:
        gdb.execute(f"qhang coroutine {address}", to_string=True)
        told[address] = stack()
    gdb.execute("qhang thread", to_string=True)
    return told


def _requests(node: gdb.Value) -> list[int]:
    """The coroutines of a node's requests."""
    told = []
    request = node["tracked_requests"]["lh_first"]
    while int(request):
        told.append(int(request["co"]))
        request = request["list"]["le_next"]
    return told


def nodes() -> dict[str, dict[str, Any]]:
    """Every BlockDriverState by its name, found through QEMU's own list."""
    told: dict[str, dict[str, Any]] = {}
    node = gdb.parse_and_eval("all_bdrv_states")["tqh_first"]
    while int(node):
        one = told[node["node_name"].string()] = {
            "bs": int(node), "opaque": int(node["opaque"]),
            "in_flight": int(node["in_flight"]),
            "requests": _requests(node)}
        if node["drv"]["format_name"].string() == "qcow2":
            state = node["opaque"].cast(
                gdb.lookup_type("struct BDRVQcow2State").pointer())
            lock = state["lock"]
            one["qcow2_lock"] = {"address": int(lock.address),
                                 "holder": int(lock["holder"]),
                                 "locked": int(lock["locked"])}
        node = node["bs_list"]["tqe_next"]
    return told


def homes() -> dict[str, int]:
    """The AioContext of each thread that has one, by its tid."""
    told = {}
    selected = gdb.selected_thread()
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        home = int(gdb.parse_and_eval("co_tls_my_aiocontext"))
        if home:
            told[str(thread.ptid[1])] = home
    selected.switch()
    return told


def _memory(pid: int) -> tuple[str, int]:
    """SHA-256 of all writable memory past gdb and its caches, and its size."""
    told = hashlib.sha256()
    size = 0
    with open(f"/proc/{pid}/maps", encoding="utf-8",
              errors="replace") as maps, \
            open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            told.update(line.encode())
            words = line.split()
            if not words[1].startswith("rw"):
                continue
            start, end = (int(word, 16) for word in words[0].split("-"))
            memory.seek(start)
            while start < end:
                got = memory.read(min(end - start, 1 << 20))
                assert got, f"{start:#x} of {line}"
                told.update(got)
                start += len(got)
                size += len(got)
    return told.hexdigest(), size


def _kernel(pid: int) -> list[str]:
    """What the kernel keeps of it: signals of each thread, and its files."""
    told = []
    for task in sorted(Path(f"/proc/{pid}/task").iterdir()):
        status = (task / "status").read_text(encoding="utf-8",
                                             errors="replace")
        # SigQ counts the signals of all processes of this user.
        told += [line for line in status.splitlines()
                 if line.startswith(("Pid:", "Sig", "Shd", "TracerPid"))
                 and not line.startswith("SigQ")]
    for entry in sorted(Path(f"/proc/{pid}/fd").iterdir()):
        info = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text(
            encoding="utf-8")
        told += [os.readlink(entry)]
        told += [line for line in info.splitlines()
                 if line.startswith(("pos:", "flags:", "eventfd-count:"))]
    return told


def _registers() -> dict[int, dict[str, str]]:
    """All registers of all threads, of the thread itself."""
    told = {}
    for thread in sorted(gdb.selected_inferior().threads(),
                         key=lambda thread: thread.num):
        thread.switch()
        frame = gdb.newest_frame()
        told[thread.num] = {
            register.name: frame.read_register(register).format_string(
                format="x", repeat_threshold=0)
            for register in frame.architecture().registers("all")}
    return told


def state(core: str = "") -> dict[str, Any]:
    """Everything that a command must leave as it was; `core` is the file, of
    which only the caller has the time to read all."""
    thread = gdb.selected_thread()
    frame = gdb.selected_frame()
    place = [thread.num, frame.level(), hex(frame.pc()), frame.name(),
             frame.read_register("rsp").format_string(format="x")]
    inferior = gdb.selected_inferior()
    if core:
        stat = os.stat(core)
        memory = f"{stat.st_ino} {stat.st_ctime_ns}", stat.st_size
        kernel: list[str] = []
    else:
        memory = _memory(inferior.pid)
        kernel = _kernel(inferior.pid)
    registers = _registers()
    thread.switch()
    frame.select()
    return {"place": place, "memory": memory, "kernel": kernel,
            "registers": registers,
            "convenience": [str(gdb.convenience_variable(name))
                            for name in ("_thread", "_inferior")]}


def compare(command: str, core: str = "") -> dict[str, Any]:
    """Runs a command, which may fail, between two looks at everything."""
    before = state(core)
    error = ""
    printed = ""
    try:
        printed = gdb.execute(command, to_string=True)
    except (gdb.error, KeyboardInterrupt) as caught:
        error = f"{type(caught).__name__}: {caught}"
    after = state(core)
    return {"command": command, "error": error, "printed": len(printed),
            "changed": [key for key, value in before.items()
                        if after[key] != value],
            "bytes": before["memory"][1],
            "registers": sum(map(len, before["registers"].values()))}


class CtrlC(gdb.Command):
    """A command in the middle of which the user types Ctrl-C."""

    def __init__(self) -> None:
        super().__init__("ctrl-c", gdb.COMMAND_USER)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """gdb looks whether it was typed as it prints."""
        os.kill(os.getpid(), signal.SIGINT)
        gdb.execute("bt", to_string=True)


CtrlC()


def tell(value: Any) -> None:
    """Prints it for the test."""
    print(json.dumps(value))
