"""Runs a program under a seccomp filter that refuses one system call.

SPDX-License-Identifier: GPL-2.0-or-later

    without.py NUMBER[=ERROR] PROGRAM [ARGUMENT]...

The call with that number fails with ERROR, ENOSYS say, as in a sandbox; with
EPERM unless given.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
# linux/bpf_common.h, linux/seccomp.h: load the number, compare, return.
BPF_LD_W_ABS, BPF_JEQ_K, BPF_RET_K = 0x20, 0x15, 0x06
RET_ERRNO, RET_ALLOW = 0x00050000, 0x7fff0000


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def main() -> None:
    """Does not come back."""
    number, _, error = sys.argv[1].partition("=")
    failure = getattr(errno, error or "EPERM")
    code = b"".join(struct.pack("<HBBI", *line) for line in (
        (BPF_LD_W_ABS, 0, 0, 0),
        (BPF_JEQ_K, 0, 1, int(number)),
        (BPF_RET_K, 0, 0, RET_ERRNO | failure),
        (BPF_RET_K, 0, 0, RET_ALLOW)))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Program(4, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
            PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        sys.exit(os.strerror(ctypes.get_errno()))
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
