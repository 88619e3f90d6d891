"""Takes away what tells a coroutine's stack from its upper end.

SPDX-License-Identifier: GPL-2.0-or-later

gcc keeps a pointer to the CoroutineUContext in coroutine_trampoline()'s
frame; clang keeps it in a register, so that whether the stack holds it depends
on what runs there.  To have the worst case at will, the copies are wiped out,
and so are those of the register that makecontext() leaves a stack address in,
whose place differs by compiler too; in a process that is to be killed anyway:
no coroutine in it may end any more.
"""

from __future__ import annotations

import struct
from typing import Any

TOP_BYTES = 256
# Where makecontext() of glibc puts uc_link; it sets rbx to this address.
LINK_BELOW_TOP = 0x10
WORD = struct.Struct("<Q")


def _wipe(memory: Any, top: int, value: int) -> int:
    """Wipes the words with this value; how many they were."""
    wiped = 0
    for at in range(top - TOP_BYTES, top, WORD.size):
        memory.seek(at)
        if WORD.unpack(memory.read(WORD.size))[0] == value:
            memory.seek(at)
            memory.write(WORD.pack(0))
            wiped += 1
    return wiped


def _blind_stack(memory: Any, top: int, context: int) -> bool:
    """Whether this stack did name its context."""
    _wipe(memory, top, top - LINK_BELOW_TOP)
    return _wipe(memory, top, context) > 0


def blind(report: dict[str, Any]) -> int:
    """No stack of the coroutines in a live process's report names its
    CoroutineUContext any more, whose first member the coroutine is.

    Returns how many stacks did.
    """
    with open(f"/proc/{report['target']['pid']}/mem", "r+b",
              buffering=0) as memory:
        tops = [(int(c["stack_start"], 16) + c["stack_bytes"],
                 int(c["address"], 16)) for c in report["coroutines"]]
        return sum(_blind_stack(memory, *top) for top in tops)
