"""Where the benches keep their figures, and what they were measured on.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any, Sequence

RESULTS = Path(__file__).resolve().parent / "results"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def keep(name: str, title: str, found: dict[str, Any], text: str) -> None:
    """Writes NAME.json and NAME.md into results/."""
    where = {"date": time.strftime("%Y-%m-%d"), "cpus": os.cpu_count(),
             "kernel": platform.release()}
    how = ", at real-time priority" if found.get("fifo") else ""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(
        json.dumps({**where, **found}, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(
        f"# {title}\n\n{text}\n\n{where['date']}, {where['cpus']} CPUs, "
        f"kernel {where['kernel']}{how}.\n")
