"""Forces interleavings in a real QEMU, with gdb's machine interface.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from .forced import (ERASED, GRAPH, HANG, INTERLEAVINGS, SURVIVES,
                     WAKE_BEFORE_ARM, ForcedRace, RaceError, Unreached)

__all__ = ["ERASED", "GRAPH", "HANG", "INTERLEAVINGS", "SURVIVES",
           "WAKE_BEFORE_ARM", "ForcedRace", "RaceError", "Unreached"]
