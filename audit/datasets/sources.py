"""Opening every format as `Raw`, through the `datasets` library where it reads it; never over the network.

The library's own entry points `from_parquet`, `from_csv`, `from_json` and `load_from_disk` run no remote code. Its cache
lives in a temporary folder, and the file is reached through a plain name there, because the library would read `[`,
`*` and `::` in a path as patterns.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from audit.datasets.archives import open_npz
from audit.datasets.formats import Format, is_gzip, sniff
from audit.datasets.images import decode, open_folder
from audit.datasets.raw import Raw
from audit.errors import DataError, nearest


def open_split(path: Path, split: str) -> Raw:
    """Read one split of whatever `path` holds; a format without splits gives all it has.

    Raises:
        DataError: it is missing, damaged, empty, of an unknown format, or without this split.
    """
    openers: dict[Format, Callable[[Path, str], Raw]] = {
        Format.NPZ: open_npz,
        Format.IMAGES: open_folder,
        Format.SAVED: _open_saved,
        Format.PARQUET: _open_table,
        Format.CSV: _open_table,
        Format.JSON: _open_table,
    }
    raw = openers[sniff(path)](path, split)
    if not len(raw):
        raise DataError(f"Expected rows, found an empty data set at {path}; try another file.")
    return raw


@contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """Progress bars and log lines off, every error of a parser told in one sentence, all restored at the end."""
    import datasets

    level, bars = datasets.logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        cause = error.__cause__ or error
        # the library's ways of saying that there are no rows: JSON, a saved set, CSV, parquet
        if (
            isinstance(cause, StopIteration | IndexError)
            or "corresponds to no data" in str(error)
            or "got 0" in str(cause)
        ):
            raise DataError(f"Expected rows, found an empty data set at {path}; try another file.") from None
        said = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise DataError(
            f"Expected a readable data set, found {path} truncated or damaged ({said}); try a fresh copy."
        ) from None
    finally:
        datasets.logging.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


def _open_table(path: Path, split: str) -> Raw:
    from datasets import Dataset

    form = sniff(path)
    with _quiet(path), tempfile.TemporaryDirectory(prefix="audit-") as folder:
        link = Path(folder) / "data"
        try:
            link.symlink_to(path.resolve())
        except OSError:  # a system that grants no links
            shutil.copyfile(path, link)
        options: dict[str, Any] = {"cache_dir": str(Path(folder) / "cache"), "keep_in_memory": True}
        if form is Format.CSV:
            table = Dataset.from_csv(str(link), sep=separator(path), **options)
        else:
            table = (Dataset.from_parquet if form is Format.PARQUET else Dataset.from_json)(str(link), **options)
        return to_raw(table, path)


def separator(path: Path) -> str:
    """The likeliest of comma, semicolon and tab, by the header line."""
    import gzip

    with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
        line = file.readline(65536).decode("utf-8", errors="ignore")
    return max(",;\t", key=line.count)


def saved_splits(path: Path) -> dict[str, Any]:
    """Split -> data set of a folder written by `save_to_disk`; the split is "" where the folder has none.

    Raises:
        DataError: the folder is damaged.
    """
    from datasets import DatasetDict, load_from_disk

    with _quiet(path):
        found = load_from_disk(str(path))
        return dict(found) if isinstance(found, DatasetDict) else {"": found}


def _open_saved(path: Path, split: str) -> Raw:
    splits = saved_splits(path)
    chosen = splits.get("", splits.get(split))
    if chosen is None:
        raise DataError(f"Expected a split {split!r} in {path}, found none{nearest(split, splits)}")
    with _quiet(path):
        return to_raw(chosen, path)


def to_raw(table: Any, path: Path) -> Raw:
    """Columns of a `datasets.Dataset`: images decoded, class numbers replaced by their names, lists stacked.

    Raises:
        DataError: an image that lies elsewhere than in the data set or on this machine, or lists of different length.
    """
    from datasets import ClassLabel, Image, Value

    scalars = [name for name, kind in table.features.items() if isinstance(kind, Value | ClassLabel)]
    frame = table.select_columns(scalars).to_pandas()
    names = {n: tuple(k.names) for n, k in table.features.items() if isinstance(k, ClassLabel) and k.names}
    for column, known in names.items():
        # -1 is the library's mark of a missing class
        frame[column] = [
            known[int(v)] if v == v and v is not None and 0 <= v < len(known) else None for v in frame[column]
        ]
    arrays = {}
    for name, kind in table.features.items():
        if isinstance(kind, Image):
            cells = table.cast_column(name, Image(decode=False))[name]
            arrays[name] = decode(_cell(cell, f"row {row} of {name!r}", path) for row, cell in enumerate(cells))
        elif name not in scalars:
            try:
                arrays[name] = np.stack([np.asarray(value) for value in table.select_columns([name])[:][name]])
            except ValueError:
                raise DataError(
                    f"Expected arrays of one shape in column {name!r} of {path}, found different ones; "
                    f"try padding or resizing them."
                ) from None
            if arrays[name].dtype.kind not in "uifb":
                del arrays[name]  # nested text or records: no input any reader here makes
    return Raw(frame, arrays, names)


def _cell(cell: dict[str, Any] | None, name: str, path: Path) -> tuple[str, bytes | Path]:
    if cell and cell.get("bytes"):
        return name, cell["bytes"]
    where = cell.get("path") if cell else None
    if not where or "://" in where or "::" in where:
        raise DataError(
            f"Expected an image stored in {path}, found {where or 'nothing'} in {name}; "
            f"try saving the data set with its images inside."
        )
    return name, Path(where)
