"""Changes files of a tree, all of them or none, and takes that back.

SPDX-License-Identifier: LGPL-2.1-or-later

What the files were is kept in .qhang-repair/ of the tree, with a manifest
that names both texts by their SHA-256.  The manifest is complete before the
first file changes, and each file changes in one step (rename).  So whenever
this is killed, every file is either as it was or as it shall be, and both are
known: applying again goes on, reverting takes back what was done.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Iterable

from parts import RepairError

FOLDER = ".qhang-repair"
MANIFEST = "manifest.json"
SCHEMA = 1


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Journal:
    """The kept originals of one tree."""

    def __init__(self, tree: Path) -> None:
        """Raises RepairError when what is kept there can't be read."""
        self.tree = tree
        self.folder = tree / FOLDER
        self.files: dict[str, dict[str, str]] = {}
        manifest = self.folder / MANIFEST
        try:
            told = json.loads(manifest.read_text())
            if told["schema"] != SCHEMA:
                raise ValueError(f"schema {told['schema']}")
            self.files = {str(name): {"was": str(of["was"]),
                                      "is": str(of["is"])}
                          for name, of in told["files"].items()}
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RepairError(f"{manifest}: not as this program writes it "
                              f"({error}); bring the files back by hand and "
                              f"remove {self.folder}") from error

    def _stage(self, target: Path, content: bytes) -> Path:
        """A file with the mode of `target`, to be renamed to it.

        It lies in the journal's folder, so that what a kill leaves behind
        goes with that.
        """
        new = self.folder / f"{target.name}.new"
        with new.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        if target.exists():
            shutil.copymode(target, new)
        return new

    def _write(self, target: Path, content: bytes) -> None:
        """Makes `target` hold `content` in one step; its mode stays."""
        os.replace(self._stage(target, content), target)

    def _write_all(self, contents: dict[Path, bytes]) -> None:
        """Likewise for many; whatever needs space comes before the first."""
        staged = {target: self._stage(target, content)
                  for target, content in contents.items()}
        for target, new in staged.items():
            os.replace(new, target)

    def _save(self) -> None:
        if not self.files:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        self._write(self.folder / MANIFEST, json.dumps(
            {"schema": SCHEMA, "files": self.files}, indent=1).encode())

    def _kept(self, name: str) -> Path:
        return self.folder / "was" / name

    def _keep(self, name: str, new: bytes) -> None:
        was = (self.tree / name).read_bytes()
        kept = self._kept(name)
        kept.parent.mkdir(parents=True, exist_ok=True)
        self._write(kept, was)
        shutil.copymode(self.tree / name, kept)
        self.files[name] = {"was": _digest(was), "is": _digest(new)}

    def change(self, new: dict[str, bytes]) -> None:
        """Makes each file of the tree hold its new content.

        On an OSError all are as before, and it is raised.
        """
        before = dict(self.files)
        try:
            self.folder.mkdir(exist_ok=True)
            # Whatever version control there is, this is not its business.
            self._write(self.folder / ".gitignore", b"*\n")
            for name, content in new.items():
                self._keep(name, content)
            self._save()
            self._write_all({self.tree / name: content
                        for name, content in new.items()})
        except OSError:
            self._bring_back(n for n in new if n in self.files)
            self.files = before
            self._save()
            raise

    def state(self, name: str) -> str:
        """Of a kept file: "was", "is", or "edited" since."""
        now = _digest((self.tree / name).read_bytes())
        return next((of for of in ("is", "was")
                     if self.files[name][of] == now), "edited")

    def take_back(self, names: Iterable[str]) -> list[str]:
        """Brings the named files back, all or none; which had changed.

        Files that were never changed are left alone.  Raises RepairError
        when one was edited since, or what is kept of it is damaged.
        """
        names = [name for name in names if name in self.files]
        changed = [name for name in names if self.state(name) != "was"]
        for name in changed:
            self._check_can_go_back(name)
        self._bring_back(changed)
        for name in names:
            del self.files[name]
        self._save()
        return changed

    def _bring_back(self, names: Iterable[str]) -> None:
        self._write_all({self.tree / name: self._kept(name).read_bytes()
                    for name in names if self.state(name) == "is"})

    def _check_can_go_back(self, name: str) -> None:
        kept = self._kept(name)
        if self.state(name) == "edited":
            raise RepairError(f"{self.tree / name} was edited since it was "
                              "repaired: nothing is taken back; what it was "
                              f"before stands in {kept}")
        if (not kept.is_file()
                or _digest(kept.read_bytes()) != self.files[name]["was"]):
            raise RepairError(f"{kept} is not what {self.tree / name} was: "
                              "nothing is taken back; bring it back from "
                              "where the tree came from")
