"""What a path holds, by its content first and its name second."""

from __future__ import annotations

import zipfile
from enum import StrEnum
from pathlib import Path

from audit.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
READABLE = "parquet, CSV, JSON lines, an npz archive, a folder of images or a saved Hugging Face data set"


class Format(StrEnum):
    """How data is stored."""

    PARQUET = "parquet"
    CSV = "csv"
    JSON = "json"
    NPZ = "npz"
    IMAGES = "image folder"
    SAVED = "hugging face"


def sniff(path: Path) -> Format:
    """Return what `path` holds.

    Raises:
        DataError: there is nothing, it cannot be read, or it is of no format known here.
    """
    if not path.exists():
        known = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"Expected a data set, found nothing at {path}{_beside(path.name, known)}")
    try:
        return _sniff_folder(path) if path.is_dir() else _sniff_file(path)
    except OSError as error:
        raise DataError(f"Expected a readable data set, found {path} ({error.strerror}); try another path.") from None


def _beside(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "; try the path of a file or folder that exists."


def _sniff_folder(path: Path) -> Format:
    if any((path / name).is_file() for name in ("dataset_dict.json", "state.json", "dataset_info.json")):
        return Format.SAVED
    if any(p.suffix.lower() in IMAGE_SUFFIXES for p in path.rglob("*")):
        return Format.IMAGES
    raise DataError(
        f"Expected images in one folder a class, or a saved Hugging Face data set, found neither in {path}; "
        f"try the path of a file, or of a folder that holds one of them."
    )


def _sniff_file(path: Path) -> Format:
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise DataError(f"Expected rows, found an empty file at {path}; try another file.")
    if head.startswith(b"PAR1"):
        return Format.PARQUET
    if head.startswith(b"PK\x03\x04"):
        return _sniff_zip(path)
    if is_gzip(path):
        head = _unzipped(path)
    if head.startswith(b"\x93NUMPY"):
        raise DataError(
            f"Expected inputs and labels, found a single array in {path}; try `numpy.savez` with arrays named "
            f"test_images and test_labels."
        )
    if head.startswith(b"\x80") or b"\x00" in head:
        raise DataError(
            f"Expected {READABLE}, found another binary format in {path}; try converting it (pickles are never opened)."
        )
    text = head.decode("utf-8", errors="ignore").lstrip("\ufeff \t\r\n")
    return Format.JSON if text.startswith(("{", "[")) else Format.CSV


def _sniff_zip(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        raise DataError(
            f"Expected an npz archive, found a truncated or damaged zip at {path}; try a fresh copy of the file."
        ) from None
    if names and all(name.endswith(".npy") for name in names):
        return Format.NPZ
    raise DataError(f"Expected arrays in an npz archive, found other files in the zip {path}; try unpacking it first.")


def is_gzip(path: Path) -> bool:
    """Whether the file's content is compressed by gzip."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _unzipped(path: Path) -> bytes:
    import gzip

    try:
        with gzip.open(path) as file:
            return file.read(4096)
    except (OSError, EOFError):
        raise DataError(f"Expected gzip, found a truncated or damaged file at {path}; try a fresh copy.") from None
