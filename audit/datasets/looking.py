"""`look`: what a data set seems to hold, reading little, so that a plan can be proposed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.datasets.archives import SPLITS, headers, members, open_npz, plain
from audit.datasets.formats import Format, is_gzip, sniff
from audit.datasets.labels import key
from audit.datasets.reading import LABELS, is_text
from audit.errors import DataError
from audit.subject import Modality

if TYPE_CHECKING:
    import pandas as pd

HEAD = 2000
CLASSES = 50
LIKELY_LABELS = (*LABELS, "class", "outcome", "salary", "income", "sentiment", "diagnosis", "default")
PROTECTED = re.compile(
    r"(^|[^a-z])(sex|gender|race|ethnicity|ethnic|age|religion|disability|nationality|national[-_ ]origin"
    r"|native[-_ ]country|marital[-_ ]status)($|[^a-z])"
)


@dataclass(frozen=True)
class DataFacts:
    """What a data set seems to hold; guesses to be confirmed, from its first rows.

    Attributes:
        format: how it is stored.
        columns: name -> "integer", "number", "boolean", "string", "date", "image" or "array".
        label: likeliest label column; None where there is no guess.
        classes: the label's values in order, where there are at most 50; empty otherwise.
        text: likeliest column of texts.
        protected: columns whose names tell of protected attributes.
        modality: what one input seems to be.
        splits: names of the splits; empty where the format has none.
    """

    format: str
    columns: Mapping[str, str]
    label: str | None
    classes: tuple[str, ...]
    text: str | None
    protected: tuple[str, ...]
    modality: Modality
    splits: tuple[str, ...] = ()


def look(path: str | Path) -> DataFacts:
    """Look at a data set.

    Raises:
        DataError: it is missing, damaged or of an unknown format.
    """
    place = Path(path)
    form = sniff(place)
    if form is Format.IMAGES:
        return _look_images(place)
    if form is Format.NPZ:
        return _look_npz(place)
    if form is Format.SAVED:
        return _look_saved(place)
    frame = _head(place, form)
    label = _likely_label([str(c) for c in frame.columns])
    return _facts(form, frame, label, {}, (), _label_column(place, form, label) if label else None)


def _look_images(path: Path) -> DataFacts:
    from audit.datasets.images import listing

    splits = listing(path)
    classes = tuple(sorted({name for files in splits.values() for _, name in files}))
    columns = {"image": "image", "label": "string"}
    names = tuple(s for s in splits if s)
    return DataFacts(Format.IMAGES, columns, "label", classes, None, (), Modality.IMAGE, names)


def _look_npz(path: Path) -> DataFacts:
    import numpy as np

    found = headers(path)
    splits = tuple(s for s in SPLITS if any(plain(name, s) != name for name in found))
    split = "test" if "test" in splits or not splits else splits[0]
    chosen = members(list(found), split, path)
    arrays = {name: "image" if len(found[m][0]) > 2 else "array" for name, m in chosen.items() if len(found[m][0]) > 1}
    if not arrays:
        raw = open_npz(path, split)
        return _facts(Format.NPZ, raw.frame, _likely_label(raw.columns()), {}, splits)
    import pandas as pd

    with np.load(path, allow_pickle=False) as archive:  # members are read one by one: the inputs stay unread
        vectors = {name: pd.Series(archive[m]) for name, m in chosen.items() if len(found[m][0]) == 1}
    label = _likely_label(list(vectors))
    frame = pd.DataFrame({name: values.head(HEAD) for name, values in vectors.items()})
    return _facts(Format.NPZ, frame, label, arrays, splits, vectors[label] if label else None)


def _look_saved(path: Path) -> DataFacts:
    from datasets import ClassLabel, Image, Value

    from audit.datasets.sources import saved_splits, to_raw

    found = saved_splits(path)
    table = found.get("test", next(iter(found.values())))
    # images are told by their type; only scalars are read
    arrays = {
        name: "image" if isinstance(kind, Image) or len(getattr(kind, "shape", ())) > 1 else "array"
        for name, kind in table.features.items()
        if not isinstance(kind, Value | ClassLabel)
    }
    scalars = table.select_columns([name for name in table.features if name not in arrays])
    raw = to_raw(scalars.select(range(min(HEAD, len(scalars)))), path)
    label = _likely_label([str(c) for c in raw.frame.columns])
    values = to_raw(scalars.select_columns([label]), path).frame[label] if label else None
    facts = _facts(Format.SAVED, raw.frame, label, arrays, tuple(s for s in found if s), values)
    if label in raw.names:
        return DataFacts(**{**vars(facts), "classes": raw.names[str(label)]})
    return facts


def _head(path: Path, form: Format) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.parquet as pq

    from audit.datasets.sources import open_split, separator

    try:
        if form is Format.PARQUET:
            batch = next(pq.ParquetFile(path).iter_batches(batch_size=HEAD), None)
            return pd.DataFrame() if batch is None else batch.to_pandas()
        if form is Format.CSV:
            compression: Any = "gzip" if is_gzip(path) else None
            return pd.read_csv(path, sep=separator(path), nrows=HEAD, compression=compression)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"Expected a readable data set, found {path} damaged ({error}); try a fresh copy.") from None
    return open_split(path, "test").frame.head(HEAD)


def _label_column(path: Path, form: Format, label: str) -> pd.Series[Any] | None:
    """The whole label column, where a format gives one column without reading all."""
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=[label])[label].to_pandas() if form is Format.PARQUET else None


def _likely_label(columns: list[str]) -> str | None:
    by_name = [name for likely in LIKELY_LABELS for name in columns if name.lower() == likely]
    return by_name[0] if by_name else columns[-1] if columns else None


def _facts(
    form: Format,
    frame: pd.DataFrame,
    label: str | None,
    arrays: Mapping[str, str],
    splits: tuple[str, ...],
    values: pd.Series[Any] | None = None,
) -> DataFacts:
    import pandas as pd

    if frame.empty and not arrays:
        raise DataError("Expected rows, found an empty data set; try another file.")
    columns = dict(arrays) | {str(c): _word(frame[c]) for c in frame.columns}
    classes: tuple[str, ...] = ()
    if label is not None:
        distinct = (frame[label] if values is None else values).dropna().drop_duplicates()
        if len(distinct) <= CLASSES:
            numeric = pd.api.types.is_numeric_dtype(distinct)
            classes = tuple(key(v) for v in (distinct.sort_values() if numeric else sorted(distinct, key=str)))
    texts = [str(c) for c in frame.columns if c != label and is_text(frame[c])]
    named = [str(c) for c in frame.columns if c != label and PROTECTED.search(str(c).lower())]
    # an age in years makes a group of every year; groups are what a person would compare
    protected = tuple(name for name in named if frame[name].nunique() <= CLASSES)
    modality = Modality.IMAGE if "image" in arrays.values() else Modality.TABULAR
    if texts and not arrays:
        modality = Modality.TEXT
    return DataFacts(form, columns, label, classes, texts[0] if texts else None, protected, modality, splits)


def _word(column: pd.Series[Any]) -> str:
    import pandas as pd

    kinds = {
        "boolean": pd.api.types.is_bool_dtype,
        "integer": pd.api.types.is_integer_dtype,
        "number": pd.api.types.is_float_dtype,
        "date": pd.api.types.is_datetime64_any_dtype,
    }
    return next((word for word, test in kinds.items() if test(column)), "string")
