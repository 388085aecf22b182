"""Parquet tables: the column that holds the texts, read batch by batch through pyarrow.

A Parquet file is compressed and may say anything of its size, so what comes out is counted while it is read. pyarrow is
imported when such a file is met and not before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from training.encodings import tidy, tidy_notes
from training.files import CorpusError, Source, megabytes, shown, unreadable
from training.tables import (
    PREVIEW_ROWS,
    SAMPLE_ROWS,
    Documents,
    Preview,
    chosen,
    find_column,
    guessed,
    kept,
    not_this_one,
    shortened,
    with_text,
)

_BATCH = 1024  # rows
_WIDEST = 1000  # columns


def parquet_preview(source: Source) -> Preview:
    """The columns of a Parquet file, its first rows, and the column that looks most like text. Raises CorpusError."""
    with _opened(source) as table:
        columns = _columns(table, source.name)
        texts = [name for name, kind in columns.items() if _is_text(kind)]
        return _preview(source, table, tuple(columns), texts)


def parquet_documents(source: Source, column: str | None, max_bytes: int) -> Documents:
    """The texts of `column` (None: the one that looks most like text), one document each; empty cells are left out.

    max_bytes: the most that the texts may come to as UTF-8. Raises CorpusError when it is passed, when the column
    is not there, or when it holds something else than text.
    """
    notes: list[str] = []
    with _opened(source) as table:
        columns = _columns(table, source.name)
        names = list(columns)
        texts = [name for name in names if _is_text(columns[name])]
        preview = _preview(source, table, tuple(names), texts)
        column = chosen(column, preview, source.name, "column", notes)
        name = names[find_column(column, names, source.name, "column")]
        if name not in texts:
            raise not_this_one("column", name, f"holds {columns[name]}, not text", preview, source.name)
    counts: Counter[str] = Counter()
    cells: list[str] = []
    size = 0
    for cell in _cells(source, name):
        size += len(cell) if cell.isascii() else len(cell.encode("utf-8", errors="replace"))
        if size > max_bytes:
            raise CorpusError(
                f'The texts in column "{shown(name)}" of "{source.name}" are longer than the limit of '
                f"{megabytes(max_bytes)}. Take a smaller part of the data set."
            )
        cells.append(tidy(cell, counts))
    notes.extend(tidy_notes(counts))
    return kept(cells, "column", name, preview, source.name, notes)


def _preview(source: Source, table: Any, columns: tuple[str, ...], texts: list[str]) -> Preview:
    rows: list[dict[str, Any]] = []
    for batch in table.iter_batches(batch_size=SAMPLE_ROWS, use_threads=False):
        rows += batch.to_pylist()
        if len(rows) >= SAMPLE_ROWS:
            break
    rows = rows[:SAMPLE_ROWS]
    if not rows:
        raise CorpusError(f'"{source.name}" has columns but no rows. Take a Parquet file that holds some texts.')
    sample = [[_cell(row[name])[:5_000] for name in texts] for row in rows]
    shown_rows = [[_cell(row[name]) for name in columns] for row in islice(rows, PREVIEW_ROWS)]
    return Preview(columns, shortened(shown_rows), guessed(texts, sample), with_text(texts, sample), "Parquet", ())


def _cells(source: Source, column: str) -> Iterator[str]:
    """The texts of a column, empty ones for missing cells. Repeated values stay in their dictionary: a file of a
    kilobyte may otherwise become gigabytes."""
    with _opened(source, dictionary=[column]) as table:
        for batch in table.iter_batches(batch_size=_BATCH, columns=[column], use_threads=False):
            values = batch.column(0)
            if hasattr(values, "dictionary"):
                words = [_word(word) for word in values.dictionary.to_pylist()]
                yield from ("" if place is None else words[place] for place in values.indices.to_pylist())
            else:
                yield from (_word(value) for value in values.to_pylist())


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _cell(value: Any) -> str:
    """A cell as it may stand in a preview."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _columns(table: Any, name: str) -> dict[str, Any]:
    """Column names and pyarrow's types."""
    schema = table.schema_arrow
    if not schema.names:
        raise CorpusError(f'"{name}" has no columns. Take a Parquet file that holds some texts.')
    if len(schema.names) > _WIDEST:
        raise CorpusError(f'"{name}" has {len(schema.names):,} columns. Take one with at most {_WIDEST:,}.')
    if len(set(schema.names)) < len(schema.names):
        raise CorpusError(f'"{name}" has two columns of the same name. Rename one of them.')
    return {field.name: field.type for field in schema}


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view"


@contextmanager
def _opened(source: Source, dictionary: list[str] | None = None) -> Iterator[Any]:
    """pyarrow's ParquetFile. Raises CorpusError for what is none, and for what turns out to be damaged while read."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise CorpusError("Parquet files need pyarrow: pip install pyarrow. Or save the table as .csv.") from error
    with _sentences(source), source.open() as file:
        yield parquet.ParquetFile(
            file,
            read_dictionary=dictionary,
            memory_map=False,
            thrift_string_size_limit=50_000_000,
            thrift_container_size_limit=1_000_000,
            page_checksum_verification=True,
        )


@contextmanager
def _sentences(source: Source) -> Iterator[None]:
    """Turns what pyarrow raises for damaged files (its own errors, and Python's) into a sentence."""
    try:
        yield
    except CorpusError:
        raise
    except PermissionError as error:
        raise unreadable(source.name) from error
    except Exception as error:
        raise CorpusError(
            f'"{source.name}" is no readable Parquet file: it is damaged, cut short, encrypted, or of a kind '
            "that pyarrow does not know. Download it again, or save the table as .csv."
        ) from error
