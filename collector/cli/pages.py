# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the C table of the rules' pages: pages.py OUT PAGE...

A page is docs/rules/ID.md: the licence in a comment, "# ID", a blank line, one
line that says what the rule is about, and the sections. One whose ID has no dot
is about no rule, and has sections of its own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SECTIONS = ["Symptom", "How it is told", "What proves it", "How it ends",
            "Fix and versions"]
COLUMNS = 80
SUMMARY_COLUMNS = 75


def read(path: Path) -> tuple[str, str, str]:
    """Id, summary and text of a page; raises ValueError when it is none."""
    licence, *lines = path.read_text(encoding="ascii").splitlines()
    sections = [line[3:] for line in lines if line.startswith("## ")]
    if "SPDX-License-Identifier" not in licence:
        raise ValueError(f"{path}: no licence on top")
    if lines[:2] != [f"# {path.stem}", ""]:
        raise ValueError(f"{path}: does not begin with its own name")
    if "." in path.stem and sections != SECTIONS:
        raise ValueError(f"{path}: has the sections {sections}")
    if any(len(line) > COLUMNS for line in lines):
        raise ValueError(f"{path}: wider than {COLUMNS} columns")
    if len(lines[2]) > SUMMARY_COLUMNS or lines[3]:
        raise ValueError(f"{path}: its summary is not one short line")
    return path.stem, lines[2], "\n".join(lines) + "\n"


def literal(text: str) -> str:
    """As string literals of C, one a line."""
    quoted = re.sub(r'(["\\])', r"\\\1", text)
    return "\n".join(f'      "{line}\\n"' for line in quoted.splitlines())


def main(out: str, *pages: str) -> None:
    """Writes the table, in order of the ids."""
    rows = [f'    {{ "{rule}",\n      "{summary}",\n{literal(text)} }},\n'
            for rule, summary, text in sorted(map(read, map(Path, pages)))]
    Path(out).write_text(
        "/* Made by pages.py from docs/rules/. */\n"
        '#include "cli/pages.h"\n\n'
        "const struct qh_page qh_pages[] = {\n" + "".join(rows) + "};\n"
        "const size_t qh_page_count = "
        "sizeof(qh_pages) / sizeof(qh_pages[0]);\n", encoding="ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
