"""Columns from parquet, or from batches, a block at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from audit.errors import DataError, nearest
from audit.fairness.counting.encoding import Column, column
from audit.fairness.counting.tally import Tally

#: rows that are read at a time
BATCH = 1 << 16
#: bytes of a column that are read from a file at a time
READ = 1 << 20


def fill(
    tally: Tally,
    source: Any,
    label: str,
    prediction: str,
    groups: Sequence[str],
    weights: str | None,
    clusters: str | None,
    rows: int,
) -> None:
    """Add every row of a source, see `Cube.scan`.

    Raises:
        DataError: as for `Tally.add` and `batches`.
    """
    optional = [name for name in (weights, clusters) if name is not None]
    for batch in batches(source, tuple(dict.fromkeys([label, prediction, *groups, *optional])), rows):
        tally.add(
            batch[label],
            batch[prediction],
            [batch[name] for name in groups],
            None if weights is None else batch[weights].data,
            None if clusters is None else batch[clusters],
        )


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
        source = (
            _files(source, names, rows) if _parquet(source) else source.to_batches(columns=list(names), batch_size=rows)
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


def _parquet(source: ds.Dataset) -> bool:
    return isinstance(source, ds.FileSystemDataset) and isinstance(source.format, ds.ParquetFileFormat)


def _files(source: ds.FileSystemDataset, names: Sequence[str], rows: int) -> Iterator[pa.Table]:
    """File by file through a buffered stream; a scan of the data set would hold whole row groups."""
    for fragment in source.get_fragments():
        folder = ds.get_partition_keys(fragment.partition_expression)
        with source.filesystem.open_input_file(fragment.path) as handle:
            found = pq.ParquetFile(handle, pre_buffer=False, buffer_size=READ)
            inside = [name for name in names if name not in folder]
            _known(inside, found.schema_arrow.names)
            for batch in found.iter_batches(rows, columns=inside):
                table = pa.Table.from_batches([batch])
                for name in names:
                    if name in folder:
                        table = table.append_column(name, pa.array([folder[name]] * len(batch)))
                yield table


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
