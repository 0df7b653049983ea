"""npz archives: arrays by name, a split named before or after (`test_images`, `x_test`, or plain `images`).

Arrays of objects hold pickles, which run code when opened; they are refused by their header, unread.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.datasets.raw import Raw
from audit.errors import DataError

SPLITS = ("train", "test", "validation", "valid", "val", "dev")


def plain(name: str, split: str) -> str:
    """The array's name without its split: `test_labels` and `labels_test` are `labels`."""
    return name.removeprefix(f"{split}_").removesuffix(f"_{split}")


def headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and type of each array, nothing else read.

    Raises:
        DataError: an array of objects, or no array at all.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    version = np.lib.format.read_magic(file)
                    reader = np.lib.format.read_array_header_1_0
                    shape, _, dtype = (reader if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
                    found[member.removesuffix(".npy")] = (shape, dtype)
    except (ValueError, zipfile.BadZipFile, OSError) as error:
        raise DataError(f"Expected arrays in {path}, found a damaged archive ({error}); try a fresh copy.") from None
    for name, (_, dtype) in found.items():
        if dtype.hasobject:
            raise DataError(
                f"Expected numbers or strings in array {name!r} of {path}, found Python objects, which can run code "
                f"when opened; try saving it with a plain type such as uint8 or str."
            )
    return found


def members(names: list[str], split: str, path: Path) -> dict[str, str]:
    """Plain name -> stored name of the arrays of a split.

    Raises:
        DataError: the archive has splits, but not this one.
    """
    of_split = {plain(name, split): name for name in names if plain(name, split) != name}
    others = {s for s in SPLITS for name in names if s != split and plain(name, s) != name}
    if of_split:
        return of_split
    if others:
        raise DataError(
            f"Expected arrays named {split}_... or ..._{split} in {path}, found only {', '.join(sorted(others))}; "
            f"try one of these splits."
        )
    return {name: name for name in names}


def open_npz(path: Path, split: str) -> Raw:
    """Read the arrays of one split; matrices become columns, vectors a column each.

    Raises:
        DataError: a damaged archive, an array of objects, inputs and labels of different length.
    """
    import pandas as pd

    chosen = members(list(headers(path)), split, path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            read = {name: archive[stored] for name, stored in chosen.items()}
    except (ValueError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise DataError(f"Expected arrays in {path}, found a damaged archive ({error}); try a fresh copy.") from None
    vectors = {name: _text(array) for name, array in read.items() if array.ndim == 1}
    arrays = {name: array for name, array in read.items() if array.ndim > 1}
    lengths = Counter(len(array) for array in (arrays or vectors).values())
    if not lengths:
        raise DataError(f"Expected arrays with a row an example, found none in {path}; try inputs and labels.")
    n = lengths.most_common(1)[0][0]
    for name, array in vectors.items():
        if len(array) != n and name in ("label", "labels", "y", "target", "targets"):
            raise DataError(f"Expected {n} labels beside {n} inputs, found {len(array)} in {name!r} of {path}.")
    frame = pd.DataFrame({name: array for name, array in vectors.items() if len(array) == n}, index=range(n))
    return Raw(frame, {name: array for name, array in arrays.items() if len(array) == n})


def _text(array: NDArray[Any]) -> NDArray[Any]:
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
