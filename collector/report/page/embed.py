# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes a C header of the page's style and script: embed.py OUT CSS JS

With each goes its hash as a Content-Security-Policy has it, so that a browser
runs this script and uses this style and no other, whatever names the target
has given itself. Comments are left out.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from pathlib import Path


def literal(text: str) -> str:
    """As string literals of C, one a line."""
    quoted = re.sub(r'(["\\])', r"\\\1", text)
    return "\n".join(f'    "{line}\\n"' for line in quoted.splitlines())


def shorten(name: str) -> str:
    """The text of a file without comments and blank lines."""
    text = Path(name).read_text(encoding="ascii")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    lines = [line for line in text.splitlines()
             if line.strip() and not line.lstrip().startswith("// ")]
    return "\n".join(lines) + "\n"


def main(out: str, css: str, js: str) -> None:
    """Writes the header."""
    parts = ["/* Made by embed.py from page.css and page.js. */"]
    for name, text in (("style", shorten(css)), ("script", shorten(js))):
        assert "</" not in text
        # What stands between the tags, line feeds and all.
        digest = hashlib.sha256(f"\n{text}".encode()).digest()
        parts.append(f'#define QH_PAGE_{name.upper()}_HASH '
                     f'"sha256-{base64.b64encode(digest).decode()}"')
        parts.append(f"static const char page_{name}[] =\n"
                     f'    "\\n"\n{literal(text)};')
    Path(out).write_text("\n".join(parts) + "\n", encoding="ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
