"""When two rows are the same: fingerprints, equal exactly where the model, or a reader, sees no difference."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from audit.datasets import Dataset, Inputs


def fingerprints(inputs: Inputs) -> NDArray[np.uint64]:
    """One number a row (n,), equal for equal inputs; texts are equal up to case and white space.

    64 bits of BLAKE2b: among a million rows two different ones collide with a probability below 1e-7.
    """
    if isinstance(inputs, list):
        rows = [plain(text).encode() for text in inputs]
    else:
        # adding 0.0 turns -0.0 into 0.0, which equals it but has other bytes
        values = np.ascontiguousarray(inputs.flatten(1).numpy() + np.float32(0.0))
        rows = [row.tobytes() for row in values]
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, dtype=np.uint64)


def records(frame: pd.DataFrame) -> NDArray[np.uint64]:
    """One number a row (n,) of a table as read, label included; a number is the same however it is stored."""
    import pandas as pd

    plain_types = {
        name: frame[name].astype("float64") if pd.api.types.is_numeric_dtype(frame[name]) else frame[name].astype(str)
        for name in sorted(frame.columns, key=str)
    }
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(plain_types), index=False), dtype=np.uint64)


def plain(text: str) -> str:
    """The text in one case, with single spaces."""
    return " ".join(text.casefold().split())


def distinct(data: Dataset) -> int:
    """Number of different inputs."""
    return len(np.unique(fingerprints(data.inputs)))


def repeated(prints: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which rows have a twin elsewhere in the array."""
    _, inverse, counts = np.unique(prints, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > 1)


def conflicting(prints: NDArray[np.uint64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows have a twin with another label."""
    _, inverse = np.unique(prints, return_inverse=True)
    low, high = np.full(inverse.max() + 1, labels.max()), np.full(inverse.max() + 1, labels.min())
    np.minimum.at(low, inverse, labels)
    np.maximum.at(high, inverse, labels)
    return np.asarray((low < high)[inverse])


def splits(data: Dataset) -> dict[str, Dataset]:
    """The test split and, where it was given, the training split."""
    return {"test": data} if data.train is None else {"test": data, "train": data.train}


def excerpt(data: Dataset, row: int, length: int = 100) -> str:
    """A few words that let a person recognise a row."""
    if isinstance(data.inputs, list):
        text = data.inputs[row]
    elif data.frame is not None:
        names = [f.name for f in data.features][:8]
        text = ", ".join(f"{n}={data.frame[n].iloc[row]}" for n in names if n in data.frame.columns)
    else:
        text = f"row {row}"
    return text if len(text) <= length else text[: length - 1] + "…"
