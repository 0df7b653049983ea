"""`read`: a path in, a `Dataset` out, or one sentence that says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.datasets.archives import plain
from audit.datasets.digests import digest
from audit.datasets.masks import part
from audit.datasets.raw import Raw
from audit.datasets.types import Dataset, Feature, Inputs
from audit.errors import DataError, nearest
from audit.subject import Modality

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

LABELS = ("label", "labels", "y", "target", "targets")
INPUTS = ("images", "image", "x", "inputs", "data", "features")
#: mean number of words from which a column of strings is taken for texts
WORDS = 3.0


@dataclass(frozen=True)
class _Options:
    """What the caller declared."""

    label: str | None
    protected: tuple[str, ...]
    classes: tuple[str, ...] | None
    text: str | None
    encoder: Path | None
    immutable: tuple[str, ...]
    constraints: tuple[str, ...]
    bounds: tuple[float, float] | None
    favourable: str | None
    modality: Modality | None
    masks: str | None
    #: columns of a table without an encoder, in the order of the training data
    order: tuple[str, ...] = ()


def read(
    path: str | Path,
    *,
    label: str | None = None,
    train: str | Path | None = None,
    protected: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    text: str | None = None,
    encoder: str | Path | None = None,
    immutable: Sequence[str] = (),
    constraints: Sequence[str] = (),
    bounds: tuple[float, float] | None = None,
    favourable: str | None = None,
    modality: str | None = None,
    masks: str | None = None,
    smallest_group: int = 0,
    split: str = "test",
) -> Dataset:
    """Read one split, and the training split where `train` is given (as `.train`).

    Args:
        path: parquet, CSV, JSON lines, npz, a folder of images or a saved Hugging Face data set.
        label: column with the truth; may be left out where one is called label, labels, y, target or targets.
        train: the data the model was trained on; may be the same path where that holds splits.
        protected: columns that define groups.
        classes: class names in the order of the model's scores; the values found, sorted, where left out.
        text: column with the texts.
        encoder: `encoder.json` of a table (see `audit.datasets.encoding`); without one, numbers are passed as they are.
        immutable: features of a table that no attack may change.
        constraints: what must hold between numeric features of a table, such as "education-num + 6 <= age".
        bounds: smallest and largest value of an input; (0, 1) for images.
        favourable: the class people want.
        modality: "tabular", "image" or "text"; by looking where left out.
        masks: for pictures in an npz archive, the array that marks what the answer is about, (n, height, width).
        smallest_group: rows below which no table may tell how many a group or an intersection has; 0: all may.
        split: which split of `path`.

    Raises:
        DataError: anything is missing, damaged, empty, out of its range or misnamed.
    """
    from audit.datasets.sources import open_split

    if modality is not None and modality not in list(Modality):
        raise DataError(f"Expected a modality, found {modality!r}{nearest(modality, Modality)}")
    options = _Options(
        label=label,
        protected=tuple(protected),
        classes=None if classes is None else tuple(str(c) for c in classes),
        text=text,
        encoder=None if encoder is None else Path(encoder),
        immutable=tuple(immutable),
        constraints=tuple(constraints),
        bounds=None if bounds is None else (float(bounds[0]), float(bounds[1])),
        favourable=favourable,
        modality=None if modality is None else Modality(modality),
        masks=masks,
    )
    places = {split: Path(path)} | ({} if train is None else {"train": Path(train)})
    if train is not None and split == "train":
        raise DataError("Expected a split other than 'train' beside the training data, found 'train'; try 'test'.")
    opened = {name: part(open_split(place, name), masks, name, place, name == split) for name, place in places.items()}
    raws = {name: raw for name, (raw, _) in opened.items()}
    column = _label(raws[split], options, split, places[split])
    for name, raw in raws.items():
        _require(raw, column, "label", places[name])
    names = _classes(list(raws.values()), column, options)
    if "train" in raws:  # the model reads columns in the order it was trained on
        order = tuple(str(c) for c in _frame(raws["train"], column).columns if c != column)
        options = replace(options, order=order)
    built = {name: _build(raw, places[name], name, column, names, options) for name, raw in raws.items()}
    if "train" in built and split != "train":
        if built["train"].modality is not built[split].modality:
            raise DataError(f"Expected {built[split].modality} training data, found {built['train'].modality} data.")
        built[split] = replace(built[split], train=built["train"])
    return replace(built[split], masks=opened[split][1], smallest_group=smallest_group)


def _label(raw: Raw, options: _Options, split: str, path: Path) -> str:
    columns = [str(c) for c in raw.frame.columns]
    if options.label is not None:
        return options.label if options.label in columns else plain(options.label, split)
    found = [c for c in columns if c.lower() in LABELS]
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"Expected the name of the label column, found {'several' if found else 'none'} that could be it in {path}; "
        f"try label= one of {', '.join(repr(c) for c in (found or columns)[:12])}."
    )


def _require(raw: Raw, column: str, role: str, path: Path) -> None:
    columns = [str(c) for c in raw.frame.columns]
    if column not in columns:
        raise DataError(f"Expected a {role} column {column!r} in {path}, found none{nearest(column, columns)}")


def _classes(raws: list[Raw], column: str, options: _Options) -> tuple[str, ...]:
    from audit.datasets.labels import derive_classes

    if options.classes is not None:
        if len(set(options.classes)) < len(options.classes) or not options.classes:
            raise DataError(f"Expected distinct classes, found {list(options.classes)}; try naming each once.")
        return options.classes
    declared = raws[0].names.get(column)
    return declared if declared else derive_classes([raw.frame[column] for raw in raws], column)


def _build(raw: Raw, path: Path, split: str, label: str, classes: tuple[str, ...], options: _Options) -> Dataset:
    import torch

    from audit.datasets.labels import group_values, match_labels

    for name in options.protected:
        _require(raw, name, "protected", path)
        if name == label:
            raise DataError(f"Expected protected columns other than the label, found {name!r}; try removing it.")
    if options.favourable is not None and str(options.favourable) not in classes:
        raise DataError(
            f"Expected a favourable class, found {options.favourable!r}{nearest(options.favourable, classes)}"
        )
    labels = torch.from_numpy(match_labels(raw.frame[label], classes, label))
    modality = options.modality or _modality(raw, label, options)
    inputs, features, bounds = _inputs(raw, path, label, modality, options)
    if len(inputs) != len(labels):
        raise DataError(f"Expected one label an input in {path}, found {len(labels)} and {len(inputs)}.")
    return Dataset(
        inputs=inputs,
        labels=labels,
        classes=classes,
        modality=modality,
        groups={name: group_values(raw.frame[name], name) for name in options.protected},
        label=label,
        split=split,
        source=str(path),
        digest=digest(path),
        features=features,
        frame=_frame(raw, label) if modality is Modality.TABULAR else None,
        bounds=bounds,
        favourable=None if options.favourable is None else classes.index(str(options.favourable)),
        constraints=options.constraints,
        missing={str(c): int(raw.frame[c].isna().sum()) for c in raw.frame.columns},
    )


def _modality(raw: Raw, label: str, options: _Options) -> Modality:
    if options.text is not None:
        return Modality.TEXT
    if any(array.ndim > 2 for array in raw.arrays.values()):
        return Modality.IMAGE
    if options.encoder is None and not raw.arrays:
        others = [c for c in raw.frame.columns if c != label and c not in options.protected]
        if any(is_text(raw.frame[c]) for c in others):
            return Modality.TEXT
    return Modality.TABULAR


def is_text(column: pd.Series[Any]) -> bool:
    """Whether the column holds strings of several words, most of them different."""
    import pandas as pd

    present = column.dropna().head(1000)
    if present.empty or pd.api.types.is_numeric_dtype(present) or not all(isinstance(v, str) for v in present):
        return False
    words = float(np.mean([len(v.split()) for v in present]))
    return words >= WORDS and int(present.nunique()) > len(present) / 2


def _inputs(
    raw: Raw, path: Path, label: str, modality: Modality, options: _Options
) -> tuple[Inputs, tuple[Feature, ...], tuple[float, float] | None]:
    import torch

    for what, given in (("immutable columns", options.immutable), ("constraints", options.constraints)):
        if given and modality is not Modality.TABULAR:
            raise DataError(f"Expected {what} for tables only, found {given[0]!r} for {modality} data.")
    if modality is Modality.TEXT:
        return _texts(raw, path, label, options), (), None
    if modality is Modality.IMAGE:
        from audit.datasets.images import to_tensor

        name = _array(raw, path)
        bounds = options.bounds or (0.0, 1.0)
        images = to_tensor(raw.arrays[name], name, bounds)
        _check_bounds(images.numpy(), bounds)
        return images, (), bounds
    values, features = _table(raw, path, label, options)
    if options.bounds is not None:
        _check_bounds(values, options.bounds)
    return torch.from_numpy(values), features, options.bounds


def _array(raw: Raw, path: Path) -> str:
    if len(raw.arrays) == 1:
        return next(iter(raw.arrays))
    named = [name for name in raw.arrays if name.lower() in INPUTS]
    if len(named) == 1:
        return named[0]
    found = ", ".join(repr(n) for n in raw.columns()[:12])
    raise DataError(f"Expected one array of inputs in {path}, found {found}; try naming it 'images' or 'x'.")


def _texts(raw: Raw, path: Path, label: str, options: _Options) -> list[str]:
    column = options.text
    if column is None:
        others = [str(c) for c in raw.frame.columns if c != label and c not in options.protected]
        strings = [c for c in others if is_text(raw.frame[c])] or [c for c in others if raw.frame[c].dtype.kind == "O"]
        if len(strings) != 1:
            raise DataError(
                f"Expected one column of texts in {path}, found {len(strings)}; "
                f"try text= one of {', '.join(repr(c) for c in others[:12])}."
            )
        column = strings[0]
    _require(raw, column, "text", path)
    # a missing text stays a row, as an empty text; `missing` counts it
    texts = raw.frame[column].fillna("").tolist()
    wrong = next((row for row, value in enumerate(texts) if not isinstance(value, str)), None)
    if wrong is not None:
        raise DataError(f"Expected texts in {column!r}, found {texts[wrong]!r} in row {wrong}; try another column.")
    return texts


def _frame(raw: Raw, label: str) -> pd.DataFrame:
    """The columns of a table; a matrix gives one column a position, `x[0]`, `x[1]`, ..."""
    import pandas as pd

    wide = [
        pd.DataFrame(array, columns=[f"{name}[{i}]" for i in range(array.shape[1])])
        for name, array in raw.arrays.items()
        if array.ndim == 2
    ]
    return pd.concat([*wide, raw.frame], axis=1) if wide else raw.frame


def _table(raw: Raw, path: Path, label: str, options: _Options) -> tuple[NDArray[np.float32], tuple[Feature, ...]]:
    from audit.datasets.encoding import check_constraints, encode, plain_encoder, read_encoder

    frame = _frame(raw, label)
    others = [str(c) for c in frame.columns if c != label]
    if options.encoder is None and options.order:
        differ = sorted(set(others) ^ set(options.order))
        if differ:
            raise DataError(
                f"Expected the same columns in the test and the training data, found {differ[0]!r} in one of them only; "
                "try an encoder, which names the columns the model reads."
            )
        others = list(options.order)
    encoder = read_encoder(options.encoder) if options.encoder else plain_encoder(frame, others)
    for name in options.immutable:
        if name not in others:
            raise DataError(f"Expected an immutable column {name!r} in {path}, found none{nearest(name, others)}")
    values, features = encode(frame, encoder, label, options.immutable)
    check_constraints(options.constraints, features)
    return values, features


def _check_bounds(values: NDArray[Any], bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not low < high:
        raise DataError(f"Expected bounds with low < high, found {bounds}; try (0, 1).")
    unsound = int(values.size - np.isfinite(values).sum())
    if unsound:
        raise DataError(f"Expected finite inputs, found {unsound} values that are NaN or infinite; try mending them.")
    # float32 cannot hold every bound; a rounding error is not a violation
    outside = (values < low - 1e-6) | (values > high + 1e-6)
    if outside.any():
        worst = float(values[outside][np.abs(values[outside] - (low + high) / 2).argmax()])
        raise DataError(
            f"Expected inputs between {low} and {high}, found {int(outside.sum())} values outside, the furthest "
            f"{worst:g}; try dividing pixels of 0..255 by 255, leaving normalisation to the model's mean and std, or "
            f"declaring other bounds."
        )
