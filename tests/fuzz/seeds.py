#!/usr/bin/env python3
"""First inputs for the fuzzers: small, valid, one of each kind.

SPDX-License-Identifier: GPL-2.0-or-later

usage: seeds.py FOLDER

Writes FOLDER/core, FOLDER/handed, FOLDER/memory and FOLDER/verify. The corpus
that is kept in tests/fuzz/corpus grew out of these.
"""

from __future__ import annotations

import json
import shlex
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
CFIX = CHECKOUT / "cfix"
LARGE = CHECKOUT / "tests/fuzz/large.h"

PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_GNU_STACK = 1, 2, 4, 0x6474E551
ET_CORE, EM_X86_64 = 4, 62
NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE = 1, 3, 6, 0x46494C45
NT_GNU_BUILD_ID = 3
AT_PHDR, AT_ENTRY, AT_SYSINFO_EHDR = 3, 9, 33
TEXT, STACK, VDSO = 0x555555554000, 0x7FFFF7000000, 0x7FFFF7FFE000


def elf_header(kind: int, phdrs: int) -> bytes:
    """Elf64_Ehdr of a file whose program headers follow at once."""
    return struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", kind,
                       EM_X86_64, 1, TEXT, 64, 0, 0, 64, 56, phdrs, 64, 0, 0)


def phdr(kind: int, flags: int, offset: int, address: int, in_file: int,
         in_memory: int) -> bytes:
    """Elf64_Phdr."""
    return struct.pack("<IIQQQQQQ", kind, flags, offset, address, 0, in_file,
                       in_memory, 4096)


def note(kind: int, desc: bytes, name: bytes = b"CORE\0") -> bytes:
    """A note, padded to 4."""
    return (struct.pack("<III", len(name), len(desc), kind)
            + name + bytes(-len(name) % 4) + desc + bytes(-len(desc) % 4))


def prstatus(tid: int, rip: int, rsp: int) -> bytes:
    """struct elf_prstatus of x86-64: pr_pid at 32, pr_reg at 112."""
    regs = [0] * 27
    regs[15], regs[16], regs[19] = 202, rip, rsp
    return note(NT_PRSTATUS, bytes(32) + struct.pack("<i", tid) + bytes(76)
                + struct.pack("<27Q", *regs) + bytes(8))


def prpsinfo(pid: int, name: bytes) -> bytes:
    """struct elf_prpsinfo: pr_pid at 24, pr_fname at 40."""
    return note(NT_PRPSINFO, bytes(24) + struct.pack("<i", pid) + bytes(12)
                + name.ljust(16, b"\0") + bytes(80))


def files(*entries: tuple[int, int, int, bytes]) -> bytes:
    """NT_FILE: start, end, page offset and path of each."""
    return note(NT_FILE, struct.pack("<QQ", len(entries), 4096)
                + b"".join(struct.pack("<QQQ", *e[:3]) for e in entries)
                + b"".join(e[3] + b"\0" for e in entries))


def auxv(*pairs: tuple[int, int]) -> bytes:
    """NT_AUXV."""
    return note(NT_AUXV, b"".join(struct.pack("<QQ", *p) for p in pairs)
                + bytes(16))


def capture_notes() -> bytes:
    """The two notes of `qhang capture`, docs/capture.md."""
    facts = {
        "format": "qhang-capture/1", "tool_version": "0.1.0",
        "exe": "/bin/true", "monotonic_ns": 5, "realtime_ns": 6,
        "pause_ns": 1,
        "threads": [
            {"tid": 7, "name": "a\x1b", "state": "S", "wchan": "ep_poll",
             "stopped": True, "registers": 131071, "last_ran_ns": 4},
            {"tid": 9, "name": "b", "state": "D", "wchan": "",
             "stopped": False, "registers": 0, "last_ran_ns": 0}],
        "eventfds": [{"fd": 5, "count": 1}],
        "left_out": [{"start": hex(STACK + 512), "end": hex(STACK + 1024),
                      "why": "shared"}],
    }
    maps = (f"{TEXT:x}-{TEXT + 4096:x} r-xp 00000000 08:01 5   /bin/true\n"
            f"{STACK:x}-{STACK + 4096:x} rw-p 00000000 00:00 0   [stack]\n")
    return (note(0x51480001, json.dumps(facts).encode() + b"\0", b"QHANG\0")
            + note(0x51480002, maps.encode() + b"\0", b"QHANG\0"))


def mapped_elf() -> bytes:
    """What the first page of a program with a build-id looks like."""
    build_id = note(NT_GNU_BUILD_ID, bytes(range(20)), b"GNU\0")
    return (elf_header(3, 2) + phdr(PT_LOAD, 5, 0, 0, 512, 512)
            + phdr(PT_NOTE, 4, 176, 176, len(build_id), len(build_id))
            + build_id)


def core(notes: bytes, *loads: tuple[int, int, bytes, int]) -> bytes:
    """A core; of each mapping: address, flags, bytes and size in memory."""
    at = 64 + 56 * (1 + len(loads))
    headers = phdr(PT_NOTE, 4, at, 0, len(notes), 0)
    body = notes
    for address, flags, data, in_memory in loads:
        headers += phdr(PT_LOAD, flags, at + len(body), address, len(data),
                        in_memory)
        body += data
    return elf_header(ET_CORE, 1 + len(loads)) + headers + body


def capture(facts: bytes, *maps: tuple[int, int, bytes, bytes]) -> bytes:
    """A core of `qhang capture` with these facts and this map; of the stack
    only the end is stored."""
    text = b"".join(b"%x-%x %s 00000000 00:00 0 %s\n" % line for line in maps)
    own = (note(0x51480001, facts + b"\0", b"QHANG\0")
           + note(0x51480002, text + b"\0", b"QHANG\0"))
    return core(prpsinfo(7, b"qemu-img") + prstatus(7, TEXT + 64, STACK + 5000)
                + auxv((AT_PHDR, TEXT + 64)) + own,
                (TEXT, 5, mapped_elf(), 4096), (STACK, 6, b"", 4096),
                (STACK + 4096, 6, b"stack" * 100, 4096))


def captures() -> dict[str, bytes]:
    """One as it should be, and two that lie."""
    facts = (b'{"format":"qhang-capture/1","monotonic_ns":9,"realtime_ns":8,'
             b'"threads":[{"tid":7,"name":"qemu","state":"S","wchan":"poll",'
             b'"stopped":true,"registers":131071,"last_ran_ns":5}],'
             b'"eventfds":[{"fd":3,"count":1}],"left_out":'
             b'[{"start":"0x7ffff6000000","end":"0x7ffff6001000","why":"x"}]}')
    maps = [(TEXT, TEXT + 8192, b"r-xp", b"/bin/true"),
            (0x7FFFF6000000, 0x7FFFF6002000, b"rw-p", b""),
            (STACK, STACK + 8192, b"rw-p", b"[stack]")]
    endless = [(4096, TEXT, b"rw-p", b"[heap]"), *maps]
    return {"capture": capture(facts, *maps),
            "capture-endless": capture(facts, *endless),
            "capture-disordered": capture(facts.replace(b'"0x7ffff6000000"',
                                                        b'"0x1"'),
                                          *reversed(maps))}


def zstd(data: bytes, checksum: bool = False) -> bytes:
    """A frame of one raw block (RFC 8878): what is in it can be changed."""
    size = struct.pack("<I", len(data))
    block = struct.pack("<I", 1 | len(data) << 3)[:3]
    return (b"\x28\xb5\x2f\xfd" + bytes([0xA0 | (4 if checksum else 0)])
            + size + block + data)


def cores() -> dict[str, bytes]:
    """Kernel's and gcore's, whole, cut and packed."""
    threads = prstatus(7, TEXT + 64, STACK + 256) + prstatus(
        9, TEXT + 65, STACK + 512)
    about = (prpsinfo(7, b"qemu-img")
             + auxv((AT_PHDR, TEXT + 64), (AT_ENTRY, TEXT),
                    (AT_SYSINFO_EHDR, VDSO))
             + files((TEXT, TEXT + 4096, 0, b"/bin/true"),
                     (TEXT + 4096, TEXT + 8192, 1, b"/bin/true")))
    text = (TEXT, 5, mapped_elf(), 4096)
    kernel = core(threads + about, text, (TEXT + 4096, 4, b"", 4096),
                  (STACK, 6, b"stack" * 100, 4096), (VDSO, 5, mapped_elf(),
                                                     4096))
    captured = core(threads + about + capture_notes(), text,
                    (STACK, 6, b"stack" * 100, 4096))
    gcore = core(about + threads, (STACK, 6, b"stack" * 100, 4096))
    return {
        "kernel": kernel,
        "capture": captured,
        "capture-zstd": zstd(captured),
        "gcore": gcore,
        "cut": kernel[:-700],
        "cut-in-notes": kernel[:500],
        "no-thread": core(about, text),
        "overlap": core(threads, text, (TEXT + 512, 6, b"x" * 64, 8192)),
        "zstd": zstd(kernel),
        "zstd-twice": zstd(kernel[:300]) + zstd(kernel[300:]),
        "zstd-cut": zstd(gcore)[:-100],
        "gzip": b"\x1f\x8b\x08" + bytes(20),
        "empty": b"",
        **captures(),
    }


def handed() -> dict[str, bytes]:
    """Registers: hex and integers, members that are passed over, nonsense."""
    return {
        "two": b'{"7": {"rip": "0x401000", "rsp": -16, "rbx": 5, "fs_base":'
               b' "0x7f00", "orig_rax": -1}, "9": {"eflags": [1, {"a": 2}]}}',
        "none": b"{}",
        "twice": b'{"7": {"rax": 1, "rax": 2}, "7": {}}',
        "escapes": b'{"\\u0037": {"r\\"x": "\\\\", "r8": "0xffffffffffffffff"'
                   b'}}',
        "large": b'{"2147483647": {"r15": 9223372036854775806}}',
    }


def unchanged() -> dict[str, bytes]:
    """Heads without changes (change.h): each victim as each kind of target,
    without a clock or eventfds to be read, too."""
    heads = {f"victim{base}-kind{kind}": bytes((base, kind, 0, 0))
             for base in range(12) for kind in range(3)}
    return {**heads, "no-clock": bytes((0, 128, 0, 0)),
            "unstopped": bytes((0, 64, 0, 0)),
            "no-eventfd": bytes((0, 1, 255, 0))}


def programs() -> dict[str, bytes]:
    """The fixture of tests/cli with each sleep, by both compilers, without
    what a linker adds for the loader's comfort."""
    built = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, compiler, sleep in (
                ("gcc-legacy", "gcc -O2", "legacy/co_sleep.c"),
                ("gcc-O0", "gcc -O0", "co_sleep.c"),
                ("gcc-large", f"gcc -O2 -include {LARGE}", "co_sleep.c"),
                ("gcc-fixed", "gcc -Os", "co_sleep.c"),
                ("clang-mark", "clang -O2", "legacy/co_sleep_mark.c")):
            program = Path(folder) / name
            subprocess.run(
                [*shlex.split(compiler), "-w", "-D_GNU_SOURCE", f"-I{CFIX}",
                 f"-I{CFIX}/qemu/host", "-fPIC", "-shared", "-nostdlib", "-s",
                 "-Wl,-z,noseparate-code,-z,norelro,--build-id=none",
                 "-Wl,--hash-style=gnu,-z,max-page-size=4096",
                 str(CFIX / sleep), str(CFIX / "graph_lock.c"),
                 str(CFIX / "runtime/aio_wait.c"), "-o",
                 str(program)], check=True)
            built[name] = program.read_bytes()
    return {**built, **damaged(built["gcc-legacy"])}


def program_headers(program: bytes) -> list[tuple[int, ...]]:
    """Where each Elf64_Phdr stands, and what is in it."""
    offset, count = (struct.unpack_from("<Q", program, 32)[0],
                     struct.unpack_from("<H", program, 56)[0])
    return [(offset + 56 * i,
             *struct.unpack_from("<IIQQQQQQ", program, offset + 56 * i))
            for i in range(count)]


def damaged(program: bytes) -> dict[str, bytes]:
    """Program headers that contradict each other, or the address space."""
    headers = program_headers(program)
    dynamic = next(h for h in headers if h[1] == PT_DYNAMIC)
    first = next(h for h in headers if h[1] == PT_LOAD)
    twice, high = bytearray(program), bytearray(program)
    for header in headers:
        if header[1] == PT_GNU_STACK:
            twice[header[0]:header[0] + 56] = program[dynamic[0]:
                                                      dynamic[0] + 56]
            high[header[0]:header[0] + 56] = phdr(
                PT_LOAD, 5, 0, 2**64 - 5, 4, 4)
    flat = bytearray(high)
    struct.pack_into("<I", flat, first[0] + 4, 4)
    return {"two-dynamics": bytes(twice), "at-the-top": bytes(high),
            "data-at-the-top": bytes(flat)}


def main(folder: Path) -> None:
    """Writes all of them."""
    for kind, inputs in (("core", cores()), ("handed", handed()),
                         ("memory", unchanged()), ("verify", programs())):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, data in inputs.items():
            (folder / kind / name).write_bytes(data)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
