#!/usr/bin/python3
"""What `qhang verify --race` and `--stress` run; see race/trial.py.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import sys

from race.trial import main

sys.exit(main())
