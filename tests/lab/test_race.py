"""The parts of the forcing driver that need no QEMU.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "gdbscripts"))

# pylint: disable=wrong-import-position
from race.forced import in_poll, is_store, operand_address
from race.mi import Gdb, MiError, Record, parse
from race.symbols import SymbolError, Symbols

SAYS = r'''
#include <stdio.h>
int main(void)
{
    printf("%p\n", (void *)main);
    fflush(stdout);
    return getchar() == EOF ? 0 : 1;
}
'''
REGISTERS = {"rdi": 0x7000, "rbp": 0x9000, "rax": 0x7000, "rcx": 2}


@pytest.mark.parametrize("line, wanted", [
    ("(gdb) ", None),
    ('~"some text\\n"', None),
    ("12^done", Record(12, "^", "done", {})),
    ('3^error,msg="No \\"x\\" \\303\\244"',
     Record(3, "^", "error", {"msg": 'No "x" ä'})),
    ('*stopped,reason="end",frame={addr="0x1",args=[]},stopped-threads='
     '["1","2"]',
     Record(None, "*", "stopped", {
         "reason": "end", "frame": {"addr": "0x1", "args": []},
         "stopped-threads": ["1", "2"]})),
    ('4^done,stack=[frame={level="0",func="f"},frame={level="1"}]',
     Record(4, "^", "done", {
         "stack": [{"level": "0", "func": "f"}, {"level": "1"}]})),
])
def test_parse(line: str, wanted: Optional[Record]) -> None:
    """Records of every shape that gdb's manual names."""
    assert parse(line) == wanted


@pytest.mark.parametrize("line", [
    '1^done,a=', '1^done,a="x', '1^done,a={b="c"', '1^done,a=[', '1^done,="'])
def test_parse_cut(line: str) -> None:
    """A line that ends early is an error, not half a record."""
    with pytest.raises(MiError):
        parse(line)


@pytest.mark.parametrize("text, address, store", [
    ("mov    (%rdi),%rdx", 0x7000, False),
    ("movq   $0x0,(%rdi)", 0x7000, True),
    ("mov    %rdi,-0x18(%rbp)", 0x8fe8, True),
    ("mov    -0x18(%rbp),%rax", 0x8fe8, False),
    ("cmpq   $0x0,0x10(%rax,%rcx,8)", 0x7020, False),
    ("xchg   %rax,(%rdi)", 0x7000, False),
    ("lock cmpxchg %rcx,(%rdi)", 0x7000, False),
    ("lea    (%rdi),%rax", None, False),
    ("lea    0x4ac25(%rip),%rcx        # 0x1dc850 <f>", None, False),
    ("mov    0x10(%rip),%rcx        # 0x1dc850 <f>", None, False),
    ("mov    %fs:0x28,%rax", None, False),
    ("push   %rbp", None, False),
    ("call   0x191d50 <f>", None, False),
])
def test_operand(text: str, address: Optional[int], store: bool) -> None:
    """What compilers put before and at the load of to_wake."""
    assert operand_address(text, REGISTERS.__getitem__) == address
    assert is_store(text) == store


@pytest.mark.parametrize("options", [["-pie", "-fPIE"], ["-no-pie"],
                                     ["-s", "-rdynamic"]])
def test_symbols(tmp_path: Path, options: list[str]) -> None:
    """The entry of a function, as the process itself sees it."""
    source = tmp_path / "says.c"
    source.write_text(SAYS)
    subprocess.run(["gcc", *options, "-o", tmp_path / "says", source],
                   check=True)
    with subprocess.Popen([tmp_path / "says"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        told = int(process.stdout.readline(), 16)
        symbols = Symbols(process.pid)
        assert symbols.entry("main") == told
        with pytest.raises(SymbolError, match="no_such_function"):
            symbols.entry("no_such_function")
        process.stdin.close()


def test_gdb_goes_with_a_clear_error() -> None:
    """A process that is not there; gdb is ended all the same."""
    with pytest.raises(MiError, match="target-attach"):
        with Gdb() as gdb:
            gdb.attach(2**22 + 1)


def test_in_poll() -> None:
    """A thread that sleeps in another call, or runs, is not in its poll."""
    with subprocess.Popen(["sleep", "60"]) as asleep:
        assert not in_poll(asleep.pid, asleep.pid)
        asleep.kill()
    assert not in_poll(os.getpid(), os.getpid())
