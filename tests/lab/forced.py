#!/usr/bin/python3
"""Forces one of the known interleavings on a QEMU of the lab.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "gdbscripts"))

# pylint: disable=wrong-import-position
import build as lab_build
from labapt import LabError, SourceMissing
from labqemu import Qemu
from race import HANG, INTERLEAVINGS, ForcedRace, RaceError


@contextmanager
def forced(build: str, interleaving: str, system: bool = False,
           interval_s: Optional[int] = None, lab: Optional[Path] = None
           ) -> Iterator[tuple[Qemu, str]]:
    """Yields a fresh QEMU after the forced race, and how it came out."""
    lab = lab or lab_build.lab_folder()
    with Qemu(lab, build, system) as qemu:
        qemu.cleaner_interval_s = interval_s
        qemu.to_iothread()
        race = ForcedRace(qemu.pid, interleaving, qemu.send_add,
                          qemu.qmp.answered)
        yield qemu, race.run()


def main() -> int:
    """Command line: 0 survives, 1 hang, 2 could not be forced, 77 no lab."""
    parser = argparse.ArgumentParser(
        description="Forces an interleaving on a QEMU of the lab with gdb.",
        epilog="example: tests/lab/forced.py --build graphfix erased --hold")
    parser.add_argument("interleaving", choices=INTERLEAVINGS)
    parser.add_argument("--build", default="graphfix",
                        help="which build of the lab (default: graphfix)")
    parser.add_argument("--system", action="store_true",
                        help="qemu-system-x86_64 -M none, not the daemon")
    parser.add_argument("--interval", type=int, metavar="SECONDS",
                        help="the cache cleaner's interval (default: 600)")
    parser.add_argument("--hold", action="store_true",
                        help="print the pid and wait to be interrupted")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    started = time.monotonic()
    try:
        lab_build.ensure([args.build, "stock"])
        with forced(args.build, args.interleaving, args.system,
                    args.interval) as (qemu, outcome):
            print(f"{qemu.pid} {qemu.exe} {args.interleaving} {outcome} "
                  f"after={time.monotonic() - started:.1f}s", flush=True)
            if args.hold:
                signal.pause()
            return 1 if outcome == HANG else 0
    except SourceMissing as missing:
        print(f"forced.py: skipped: {missing}", file=sys.stderr)
        return lab_build.EXIT_MISSING
    except (LabError, RaceError) as error:
        print(f"forced.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
