"""SHA-256 of a checkpoint: of the file, or of every file in a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal; of a folder, over its sorted relative names and contents.

    Args:
        path: a file or a folder that exists.
    """
    if path.is_file():
        return _of_file(path).hexdigest()
    whole = hashlib.sha256()
    for name in sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()):
        # a NUL ends the name and the content's digest has a fixed length, so no two folders share a stream
        whole.update(name.encode() + b"\0" + _of_file(path / name).digest())
    return whole.hexdigest()


def _of_file(path: Path) -> hashlib._Hash:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256")
