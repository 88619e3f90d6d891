"""Runs a program in a container: namespaces and a root of its own.

SPDX-License-Identifier: GPL-2.0-or-later

    contain.py [--uid UID] [--chroot] ROOT PROGRAM [ARGUMENT]...

New user, mount and pid namespaces; pivot_root into the folder ROOT, where
nothing but it is left to be seen (--chroot: the old root stays mounted), with
/proc in its folder proc.
PROGRAM, a path inside, is pid 1 there and ends with this one.  With --uid it
is that user's outside, as a container that no root has made.  Exit status 77
when the kernel refuses; the reason stands on stderr.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
SYS_PIVOT_ROOT = 155
REFUSED = 77

LIBC = ctypes.CDLL(None, use_errno=True)


def call(what: str, result: int) -> None:
    """Ends with status 77 and the reason unless `result` is 0."""
    if result:
        reason = os.strerror(ctypes.get_errno())
        print(f"{what}: {reason}", file=sys.stderr)
        os._exit(REFUSED)


def write(path: str, text: str) -> None:
    """Writes one of the files that set a namespace up."""
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        os._exit(REFUSED)


def enter_namespaces(uid: int) -> None:
    """This process, and as pid 1 its next child."""
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    call("unshare", LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID))
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"0 {uid} 1")
    write("/proc/self/gid_map", f"0 {uid} 1")


def enter_root(root: bytes, pivot: bool) -> None:
    """Has nothing but `root` left, or a chroot into it."""
    call("mount", LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    call("mount --bind", LIBC.mount(root, root, None, MS_BIND | MS_REC, None))
    call("mount /proc", LIBC.mount(b"proc", root + b"/proc", b"proc", 0, None))
    if not pivot:
        os.chroot(root)
        os.chdir("/")
        return
    os.chdir(root)
    call("pivot_root", LIBC.syscall(SYS_PIVOT_ROOT, b".", b"."))
    call("umount", LIBC.umount2(b".", MNT_DETACH))
    os.chdir("/")


def main() -> int:
    """Command line: the program's status, or 77."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--uid", type=int, default=0)
    parser.add_argument("--chroot", action="store_true")
    parser.add_argument("root")
    parser.add_argument("argv", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    enter_namespaces(args.uid)
    child = os.fork()
    if not child:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        enter_root(os.fsencode(args.root), not args.chroot)
        os.execv(args.argv[0], args.argv)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) & 0xff


if __name__ == "__main__":
    sys.exit(main())
