"""Tables of texts: which column of a CSV, or which field of a JSON Lines file, holds the documents of a corpus.

Works on text that `encodings.decode` has read: line ends are `\\n`, NUL bytes are gone. The csv module does the
parsing because it is exact about quoted line breaks and never turns a cell into a number or a date.

Does not know: a CSV without a header line. Its first row is taken for the names of the columns, as the preview shows.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from training.encodings import tidy, tidy_notes
from training.files import CorpusError, shown, shown_list

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_NO_DELIMITER = "\x1f"  # for a file of one column: a character that no line holds, so that commas stay text
_SAMPLE_ROWS = 200
_PREVIEW_ROWS = 5
_PREVIEW_CELL = 200  # characters of a cell in a preview
_TEXT_NAMES = re.compile(
    r"text|content|body|tweet|message|lyrics?|quote|story|poem|comment|review|sentence|article|abstract|line", re.I
)
_NUMBER = re.compile(r"[+-]?[.,]?\d[\d.,\xa0\u202f _]*([eE][+-]?\d+)?%?|[+-]?(nan|inf)", re.I)


class Documents(NamedTuple):
    """The texts of a table in their order, and what is to be said about the reading."""

    texts: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """What a table holds, to choose from: `columns` are the columns of a CSV or the fields of a JSON Lines file.

    `rows` are its first rows, a cell for each column, long cells shortened. `guess` is the column that looks most like
    text, None when none does. `layout` says how the file is laid out ("comma", "one JSON object a line").
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    guess: str | None
    layout: str
    notes: tuple[str, ...]


# --- CSV -----------------------------------------------------------------------------------------------------------


def csv_preview(text: str, name: str, notes: tuple[str, ...] = ()) -> Preview:
    """The columns of a CSV text and its first rows. Raises CorpusError when it has no rows or an unclosed quote."""
    columns, rows, delimiter = _open_csv(text, name)
    sample = [_fitted(row, len(columns)) for row in islice(rows, _SAMPLE_ROWS)]
    layout = _DELIMITERS.get(delimiter, "one column")
    return Preview(tuple(columns), _shortened(sample), _guess(columns, sample), layout, notes)


def csv_documents(text: str, name: str, column: str | None) -> Documents:
    """The non-empty cells of `column` (None: the column that looks most like text), one document each.

    Raises CorpusError when the column is not there or holds numbers.
    """
    notes: list[str] = []
    preview = csv_preview(text, name)
    if not preview.rows:
        raise CorpusError(f'"{name}" has a header line but no rows below it. Upload a CSV that holds some texts.')
    if column is None:
        if preview.guess is None:
            raise CorpusError(
                f'No column of "{name}" looks like text. Say which one to use: {shown_list(preview.columns)}.'
            )
        column = preview.guess
        if len(preview.columns) > 1:
            notes.append(f'The text was taken from column "{shown(column)}".')
    columns, rows, _ = _open_csv(text, name)
    index = _find(column, columns, name, "column")
    cells: list[str] = []
    ragged = 0
    for row in rows:
        ragged += len(row) != len(columns)
        cells.append(row[index] if index < len(row) else "")
    if ragged:
        notes.append(f"Rows with more or fewer cells than the header: {ragged:,}. Check that the quotes are right.")
    return _kept(cells, "column", columns[index], columns, name, notes)


def _open_csv(text: str, name: str) -> tuple[list[str], Iterator[list[str]], str]:
    if csv.field_size_limit() < len(text):  # a limit of the whole process, 131,072 by default: raised, never lowered
        csv.field_size_limit(len(text))
    delimiter = _sniff(text)
    rows = _csv_rows(text, delimiter, name)
    header = next(rows, None)
    if header is None:
        raise CorpusError(f'"{name}" has no rows. A CSV needs a header line with the column names, and rows below it.')
    return _unique(header), rows, delimiter


def _lines(text: str) -> Iterator[str]:
    """The lines of `text` with their `\\n`; unlike str.splitlines, nothing else ends a line."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _csv_rows(text: str, delimiter: str, name: str) -> Iterator[list[str]]:
    """Rows that are not blank. A quote that never closes would swallow the rest of the file: it is an error."""
    read: list[str] = []  # the lines of the row that is being read

    def listen() -> Iterator[str]:
        for line in _lines(text):
            read.append(line)
            yield line

    reader = csv.reader(listen(), delimiter=delimiter)
    lines_before = 0
    while True:
        read.clear()
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise CorpusError(
                f'"{name}" is not a readable CSV: line {reader.line_num:,} cannot be taken apart. '
                "Save it again as CSV with quotes around the texts."
            ) from error
        if row is None:
            return
        if len(read) > 1 and _never_closes(read, delimiter):
            raise CorpusError(
                f'In "{name}" a quote opened in line {lines_before + 1:,} never closes, so the rest of the file '
                'would become one cell. Close it, or double the quotes inside texts (""like this"").'
            )
        lines_before = reader.line_num
        if any(cell.strip() for cell in row):
            yield row


def _never_closes(lines: list[str], delimiter: str) -> bool:
    if lines[-1].count('"') and lines[-1].rstrip("\n").endswith('"'):
        return False  # cheap and right for nearly every row of several lines
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def _sniff(text: str) -> str:
    """The delimiter that cuts the header into several cells and most rows into as many; else one column.

    csv.Sniffer guesses letters as delimiters when texts are long, so only the four usual ones are tried.
    """
    best, best_score = _NO_DELIMITER, 0.0
    head = text[: 1 << 20]
    for delimiter in _DELIMITERS:
        widths = []
        try:
            for row in islice(csv.reader(_lines(head), delimiter=delimiter), _SAMPLE_ROWS):
                widths.append(len(row))
        except csv.Error:
            continue
        if not widths or widths[0] < 2:
            continue
        agree = sum(width == widths[0] for width in widths) / len(widths)
        if agree * (1 + 0.01 * min(widths[0], 50)) > best_score:  # of two that agree, the one with more columns
            best, best_score = delimiter, agree * (1 + 0.01 * min(widths[0], 50))
    return best


def _unique(header: Sequence[str]) -> list[str]:
    """Column names without surrounding blanks; nameless and repeated ones get their place as a name."""
    names: list[str] = []
    for place, cell in enumerate(header, 1):
        name = cell.strip() or f"column {place}"
        names.append(name if name not in names else f"{name} (column {place})")
    return names


def _fitted(row: list[str], width: int) -> list[str]:
    return (row + [""] * width)[:width]


# --- JSON Lines ----------------------------------------------------------------------------------------------------


def jsonl_preview(text: str, name: str, notes: tuple[str, ...] = ()) -> Preview:
    """The fields of the first objects of a JSON Lines text, in order of appearance, and the first rows.

    Broken lines are passed over here; `jsonl_documents` names them. Raises CorpusError when no line can be read.
    """
    fields: dict[str, None] = {}
    objects: list[dict[str, Any]] = []
    for _, row in islice(_json_lines(text), _SAMPLE_ROWS):
        if isinstance(row, dict):
            objects.append(row)
            fields.update(dict.fromkeys(row))
    if not objects:
        raise _no_objects(text, name)
    columns = list(fields)
    rows = [[_cell(row.get(field, "")) for field in columns] for row in objects]
    texts = [field for field in columns if any(isinstance(row.get(field), str) for row in objects)]
    sample = [[_cell(row.get(field, "")) for field in texts] for row in objects]
    return Preview(tuple(columns), _shortened(rows), _guess(texts, sample), "one JSON object a line", notes)


def jsonl_documents(text: str, name: str, field: str | None, keep_good_lines: bool = False) -> Documents:
    """The strings in `field` (None: the field that looks most like text), one document a line.

    A line is bad when it is no JSON, no object, or has no string in the field. Raises CorpusError naming the first bad
    lines, or, with `keep_good_lines`, leaves them out and says so in the notes.
    """
    notes: list[str] = []
    preview = jsonl_preview(text, name)
    if field is None:
        if preview.guess is None:
            raise CorpusError(
                f'No field of "{name}" looks like text. Say which one to use: {shown_list(preview.columns)}.'
            )
        field = preview.guess
        if len(preview.columns) > 1:
            notes.append(f'The text was taken from field "{shown(field)}".')
    field = preview.columns[_find(field, preview.columns, name, "field")]
    good, broken, without = [], [], []
    for number, row in _json_lines(text):
        if not isinstance(row, dict):
            broken.append(number)
        elif isinstance(row.get(field), str):
            good.append(row[field])
        else:
            without.append(number)
    _judge(broken, without, field, bool(good), name, keep_good_lines, notes)
    counts: Counter[str] = Counter()
    good = [tidy(document, counts) for document in good]  # JSON escapes can hold NUL, \r and half characters
    notes.extend(tidy_notes(counts))
    return _kept(good, "field", field, preview.columns, name, notes)


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """(line number from 1, parsed value or None when it is no JSON) of each line that is not blank."""
    for number, line in enumerate(_lines(text), 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):  # RecursionError: ten thousand opening brackets
            yield number, None


def _no_objects(text: str, name: str) -> CorpusError:
    if text.lstrip().startswith("["):
        return CorpusError(
            f'"{name}" is one JSON list. Save it as JSON Lines: one object a line, like {{"text": "..."}}.'
        )
    return CorpusError(f'No line of "{name}" is a JSON object. JSON Lines has one a line, like {{"text": "..."}}.')


def _judge(
    broken: list[int], without: list[int], field: str, any_good: bool, name: str, keep: bool, notes: list[str]
) -> None:
    """Raises for bad lines, or adds a note for those that are left out."""
    bad = []
    if broken:
        bad.append(f"{_some_lines(broken)} no JSON object")
    if without:
        bad.append(f'{_some_lines(without)} without a text in "{shown(field)}"')
    if not any_good and not broken:
        raise CorpusError(f'The field "{shown(field)}" of "{name}" holds no text. Choose a field that does.')
    if bad and not keep:
        raise CorpusError(
            f'"{name}" has bad lines: {"; ".join(bad)}. Repair them, or choose to keep the good lines only.'
        )
    if bad:
        notes.append(f"Left out: {'; '.join(bad)}.")


def _some_lines(numbers: list[int]) -> str:
    """'line 7 is', 'lines 2, 5 and 9 are', 'lines 1, 2, 3, 4, 5 and 40 more are'."""
    if len(numbers) == 1:
        return f"line {numbers[0]:,} is"
    first = [f"{number:,}" for number in numbers[:5]]
    last = f"{len(numbers) - 5:,} more" if len(numbers) > 5 else first.pop()
    return f"lines {', '.join(first)} and {last} are"


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# --- both ----------------------------------------------------------------------------------------------------------


def _find(wanted: str, columns: Sequence[str], name: str, what: str) -> int:
    """The place of a column: its exact name, or the only one that differs in case or surrounding blanks alone."""
    if wanted in columns:
        return columns.index(wanted)
    close = [place for place, column in enumerate(columns) if column.strip().lower() == wanted.strip().lower()]
    if len(close) == 1:
        return close[0]
    raise CorpusError(f'"{name}" has no {what} "{shown(wanted)}". Choose one of its {what}s: {shown_list(columns)}.')


def _kept(cells: list[str], what: str, column: str, columns: Sequence[str], name: str, notes: list[str]) -> Documents:
    """The cells that hold something. Raises CorpusError when they are empty or numbers."""
    where = f'{what} "{shown(column)}"'
    others = [other for other in columns if other != column]
    instead = f"Choose another: {shown_list(others)}." if others else "Upload a file with texts in it."
    texts = tuple(cell for cell in cells if cell and not cell.isspace())
    if not texts:
        raise CorpusError(f'The {where} of "{name}" is empty. {instead}')
    if sum(_is_number(cell) for cell in texts) >= 0.95 * len(texts):
        raise CorpusError(f'The {where} of "{name}" holds numbers, not text. {instead}')
    if len(texts) < len(cells):
        notes.append(f"Rows left out because their {where} is empty: {len(cells) - len(texts):,}.")
    return Documents(texts, tuple(notes))


def _is_number(cell: str) -> bool:
    return len(cell) < 40 and _NUMBER.fullmatch(cell.strip()) is not None


def _guess(columns: Sequence[str], rows: list[list[str]]) -> str | None:
    """The column that looks most like text: long, different from row to row, several words, a telling name."""
    best, best_score = None, 0.0
    for place, column in enumerate(columns):
        cells = [row[place] for row in rows if row[place].strip()]
        if not cells or sum(map(_is_number, cells)) > 0.5 * len(cells):
            continue
        length = sum(min(len(cell), 2_000) for cell in cells) / len(cells)
        different = len(set(cells)) / len(cells)
        worded = (1 + sum(" " in cell.strip() for cell in cells)) / (1 + len(cells))
        named = 4.0 if _TEXT_NAMES.fullmatch(column.strip()) else 2.0 if _TEXT_NAMES.search(column) else 1.0
        score = length * different * worded * named * len(cells) / len(rows)
        if score > best_score:
            best, best_score = column, score
    return best


def _shortened(rows: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(cell if len(cell) <= _PREVIEW_CELL else cell[: _PREVIEW_CELL - 1] + "…" for cell in row)
        for row in rows[:_PREVIEW_ROWS]
    )
