"""Evidence on disk: one file a unit, named by the unit's key. Resuming is asking which keys are missing."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from audit.errors import IntegrityError, OutputError
from reports.record import Entry, Failed, Frozen


class Kept(Frozen):
    """An entry as it lies on disk; the digest tells a change by accident or by hand, it does not sign."""

    sha256: str
    entry: Entry


def _digest(entry: Entry) -> str:
    return hashlib.sha256(entry.model_dump_json().encode()).hexdigest()


class Store:
    """A run's folder.

    Args:
        folder: made if it is missing.

    Raises:
        OutputError: it cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.evidence = folder / "evidence"
        try:
            self.evidence.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.evidence):
                pass
        except OSError as error:
            raise OutputError(
                f"Expected a folder that can be written at {folder}, found {error.strerror or error}; try --out DIR."
            ) from None

    def get(self, key: str) -> Entry | None:
        """The entry of this key; None where there is none that can be read.

        Raises:
            IntegrityError: it was changed after it was written.
        """
        path = self.evidence / f"{key}.json"
        try:
            kept = Kept.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError):
            return None
        if kept.sha256 != _digest(kept.entry) or kept.entry.unit.key != key:
            raise IntegrityError(
                f"Expected {path} as it was written, found it changed since; try deleting it, and it is measured again."
            )
        return kept.entry

    def put(self, entry: Entry) -> None:
        """Keep an entry. A failure is not kept: the same command tries it again."""
        if isinstance(entry.evidence, Failed):
            return
        part = self.evidence / f".{entry.unit.key}.{os.getpid()}"
        part.write_text(Kept(sha256=_digest(entry), entry=entry).model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(self.evidence / f"{entry.unit.key}.json")
