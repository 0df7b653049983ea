"""Evidence on disk: one file a unit, named by the unit's key. Resuming is asking which keys are missing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from audit.errors import OutputError
from reports.record import Entry, Failed


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
        """The entry of this key; None where there is none that can be read."""
        try:
            entry = Entry.model_validate_json((self.evidence / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError):
            return None
        return entry if entry.unit.key == key else None

    def put(self, entry: Entry) -> None:
        """Keep an entry. A failure is not kept: the same command tries it again."""
        if isinstance(entry.evidence, Failed):
            return
        part = self.evidence / f".{entry.unit.key}.{os.getpid()}"
        part.write_text(entry.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(self.evidence / f"{entry.unit.key}.json")
