"""How a table becomes numbers: `encoder.json`, its schema, and encoding by it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from audit.datasets.labels import key, keys, looks_like_identifier, show
from audit.datasets.types import Feature, FeatureKind
from audit.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas as pd


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Numeric(_Strict):
    """(x - mean) / std, both in the column's unit; a missing value becomes the mean."""

    name: str
    kind: Literal["numeric"] = "numeric"
    mean: float
    std: float = Field(gt=0)


class Categorical(_Strict):
    """One-hot in the order given; a missing or unknown value becomes all zeros."""

    name: str
    kind: Literal["categorical"] = "categorical"
    categories: tuple[str, ...] = Field(min_length=1)

    @field_validator("categories", mode="before")
    @classmethod
    def _as_text(cls, values: Any) -> Any:
        return [key(v) for v in values] if isinstance(values, list | tuple) else values

    @field_validator("categories")
    @classmethod
    def _distinct(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        twice = [v for v, n in Counter(values).items() if n > 1]
        if twice:
            raise ValueError(f"expected each category once, found {twice[0]!r} twice")
        return values


class Encoder(_Strict):
    """The encoded vector is the features' columns in this order."""

    version: Literal[1] = 1
    features: tuple[Annotated[Numeric | Categorical, Field(discriminator="kind")], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Encoder:
        twice = [name for name, n in Counter(f.name for f in self.features).items() if n > 1]
        if twice:
            raise ValueError(f"expected each feature once, found {twice[0]!r} twice")
        return self


def read_encoder(path: Path) -> Encoder:
    """Read and check an encoder file.

    Raises:
        DataError: the file is missing, no JSON, or breaks the schema; the message names the place.
    """
    try:
        return Encoder.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"Expected an encoder, found none at {path} ({error.strerror}); try another path.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise DataError(
            f"Expected a valid encoder in {path}, found at {place}: {first['msg']}; try mending it."
        ) from None
    except ValueError as error:
        raise DataError(f"Expected JSON in the encoder {path}, found {error}; try mending it.") from None


def propose_encoder(frame: pd.DataFrame, label: str) -> Encoder:
    """An encoder for all columns but the label: numbers standardised, the rest one-hot; identifiers left out.

    Raises:
        DataError: no column is left.
    """
    import pandas as pd

    features: list[Numeric | Categorical] = []
    for name in frame.columns:
        column = frame[name].dropna()
        if name == label or column.empty:
            continue
        if pd.api.types.is_numeric_dtype(column):
            values = column.to_numpy(np.float64)
            features.append(Numeric(name=str(name), mean=float(values.mean()), std=float(values.std()) or 1.0))
        elif not looks_like_identifier(column):
            features.append(Categorical(name=str(name), categories=tuple(sorted({key(v) for v in column.unique()}))))
    if not features:
        raise DataError(f"Expected a column to encode beside the label {label!r}, found none; try another data set.")
    return Encoder(features=tuple(features))


def write_encoder(frame: pd.DataFrame, label: str, path: Path) -> Encoder:
    """Write what `propose_encoder` proposes to `path`, and return it."""
    encoder = propose_encoder(frame, label)
    path.write_text(encoder.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return encoder


def plain_encoder(frame: pd.DataFrame, columns: Iterable[str]) -> Encoder:
    """The encoder that passes numbers as they are.

    Raises:
        DataError: a column that is no number, or that has missing values and so no stand-in.
    """
    import pandas as pd

    features = []
    for name in columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            raise DataError(
                f"Expected numbers in every column but the label, found {_word(frame[name])} in {name!r}; "
                f"try an encoder that says how the table becomes numbers, as the model was trained."
            )
        missing = int(frame[name].isna().sum())
        if missing:
            raise DataError(
                f"Expected a number in every row of {name!r}, found {missing} missing; try an encoder, whose mean "
                f"stands in for them, or filling them."
            )
        features.append(Numeric(name=name, mean=0.0, std=1.0))
    if not features:
        raise DataError("Expected at least one column beside the label, found none; try another data set.")
    return Encoder(features=tuple(features))


def _word(column: pd.Series[Any]) -> str:
    present = column.dropna()
    return show(present, 0) if len(present) else "only missing values"


def encode(
    frame: pd.DataFrame, encoder: Encoder, label: str, immutable: Iterable[str]
) -> tuple[NDArray[np.float32], tuple[Feature, ...]]:
    """Encode a table.

    Args:
        frame: the rows as read.
        encoder: how.
        label: the label column, which must be no feature.
        immutable: names of features that nobody can change.

    Returns:
        The vectors (n, columns) and where each feature stands in them.

    Raises:
        DataError: a column is missing or holds the wrong kind of value, or the label is a feature.
    """
    fixed, columns = set(immutable), [str(c) for c in frame.columns]
    blocks: list[NDArray[np.float32]] = []
    features: list[Feature] = []
    start = 0
    for feature in encoder.features:
        if feature.name == label:
            raise DataError(f"Expected inputs in the encoder, found the label {label!r} among them; try removing it.")
        if feature.name not in columns:
            raise DataError(
                f"Expected the encoder's column {feature.name!r} in the data, found none{nearest(feature.name, columns)}"
            )
        column, mutable = frame[feature.name], feature.name not in fixed
        if isinstance(feature, Numeric):
            blocks.append(_standardised(column, feature))
            at: tuple[int, ...] = (start,)
            features.append(Feature(feature.name, FeatureKind.NUMERIC, at, feature.mean, feature.std, (), mutable))
        else:
            blocks.append(_one_hot(column, feature))
            at = tuple(range(start, start + len(feature.categories)))
            features.append(
                Feature(feature.name, FeatureKind.CATEGORICAL, at, categories=feature.categories, mutable=mutable)
            )
        start += len(at)
    return np.concatenate(blocks, axis=1), tuple(features)


def check_constraints(constraints: Iterable[str], features: Iterable[Feature]) -> None:
    """Refuse constraints that cannot be read or that name no numeric feature.

    Raises:
        DataError: the message names the constraint.
    """
    from attacks.tabular.constraints import parse

    kinds = {f.name: f.kind for f in features}
    numbers = [name for name, kind in kinds.items() if kind is FeatureKind.NUMERIC]
    for text in constraints:
        try:
            parse(text, numbers, kinds.keys() - set(numbers))
        except ValueError as error:
            raise DataError(str(error)) from None


def _standardised(column: pd.Series[Any], feature: Numeric) -> NDArray[np.float32]:
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.flatnonzero((np.isnan(values) & column.notna().to_numpy()) | np.isinf(values))
    if len(wrong):
        raise DataError(
            f"Expected finite numbers in {feature.name!r}, found {show(column, int(wrong[0]))} in row {wrong[0]} (and "
            f"{len(wrong) - 1} more); try making it categorical in the encoder, or mending the data."
        )
    scaled = (values - feature.mean) / feature.std
    return np.nan_to_num(scaled, nan=0.0).astype(np.float32)[:, None]


def _one_hot(column: pd.Series[Any], feature: Categorical) -> NDArray[np.float32]:
    place = {category: i for i, category in enumerate(feature.categories)}
    codes = np.array([-1 if k is None else place.get(k, -1) for k in keys(column)], dtype=np.int64)
    out = np.zeros((len(column), len(place)), dtype=np.float32)
    known = np.flatnonzero(codes >= 0)
    out[known, codes[known]] = 1.0
    return out
