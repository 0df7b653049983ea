"""Columns from parquet, or from batches, a block at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from audit.errors import DataError, nearest
from audit.fairness.encoding import Column, column

#: bytes of a column that are read from a file at a time
READ = 1 << 20


def batches(source: Any, names: Sequence[str], rows: int) -> Iterator[dict[str, Column]]:
    """The named columns, at most `rows` rows at a time.

    Args:
        source: a parquet file or a folder of them, a pyarrow data set, a table, or an iterable of tables, record
            batches, DataFrames or mappings of columns.
        names: columns to read; no others are.
        rows: rows of a batch. Batches that are given come as they are.

    Raises:
        DataError: the file is missing or is no parquet, or a column is unknown.
    """
    if isinstance(source, str | Path):
        source = _opened(Path(source))
    if isinstance(source, ds.Dataset):
        _known(names, source.schema.names)
        options = None
        if isinstance(source.format, ds.ParquetFileFormat):
            # without a buffered stream a whole row group's bytes are held
            options = ds.ParquetFragmentScanOptions(use_buffered_stream=True, buffer_size=READ, pre_buffer=False)
        source = source.to_batches(
            columns=list(names),
            batch_size=rows,
            batch_readahead=1,
            fragment_readahead=1,
            fragment_scan_options=options,
        )
    if isinstance(source, pd.DataFrame | pa.Table | pa.RecordBatch | Mapping):
        source = [source]
    if not isinstance(source, Iterable):
        raise DataError(f"Expected a parquet file, a folder or batches, found {type(source).__name__}.")
    for batch in source:
        yield {name: _column(batch, name) for name in _known(names, _names(batch))}


def _opened(path: Path) -> ds.Dataset:
    if not path.exists():
        raise DataError(f"Expected a parquet file or a folder of them, found nothing at {path}.")
    try:
        found = ds.dataset(path, format="parquet", partitioning="hive")
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"Expected parquet in {path}, found something else: {str(error).splitlines()[0]}.") from error
    if not found.files:
        raise DataError(f"Expected parquet files in {path}, found none.")
    return found


def _names(batch: Any) -> list[str]:
    if isinstance(batch, pa.Table | pa.RecordBatch):
        return list(batch.schema.names)
    if isinstance(batch, pd.DataFrame | Mapping):
        return [str(name) for name in batch]
    raise DataError(f"Expected batches with named columns, found {type(batch).__name__}; try DataFrames.")


def _known(names: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    for name in names:
        if name not in known:
            raise DataError(f"Expected the column {name!r}, found none of that name{nearest(name, known)}")
    return names


def _column(batch: Any, name: str) -> Column:
    if not isinstance(batch, pa.Table | pa.RecordBatch):
        return column(batch[name], name)
    found = batch.column(batch.schema.names.index(name))
    if pa.types.is_dictionary(found.type):  # how this batch is stored, not which categories there are
        found = found.cast(found.type.value_type)
    return column(found, name)
