"""`source` this in gdb: brings the command `qhang`; `help qhang` tells more.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
if HERE not in sys.path:
    sys.path.insert(0, HERE)

import qhang_gdb  # pylint: disable=wrong-import-position

qhang_gdb.load()
