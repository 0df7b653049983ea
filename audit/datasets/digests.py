"""SHA-256 of what was read."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's file names and contents in sorted order, hexadecimal."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for name in sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()):
        # the zero byte cannot stand in a name, so no two folders give the same stream
        total.update(name.encode() + b"\0" + bytes.fromhex(digest(path / name)))
    return total.hexdigest()
