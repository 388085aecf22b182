"""Tables of texts: which column of a CSV, or which field of a JSON Lines file, holds the documents of a corpus.

Works on text that `encodings.decode` has read: line ends are `\\n`, NUL bytes are gone. The csv module does the
parsing because it is exact about quoted line breaks and never turns a cell into a number or a date.

A CSV needs a header line: its first row is taken for the names of the columns, as the preview shows. Where that looks
like a row of texts, a note says so.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from training.encodings import tidy, tidy_notes
from training.files import MAX_LINE, CorpusError, shown, shown_list

#: What parts the cells of a CSV, by the words that it can be chosen with.
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
_NO_DELIMITER = "\x1f"  # for a file of one column: a character that no line holds, so that commas stay text
#: What helps against rows and lines that do not fit; the page has a box for it, the command line --keep-good-lines.
GOOD_ONLY = "keep the good lines only"
SAMPLE_ROWS = 200
PREVIEW_ROWS = 5
_PREVIEW_CELL = 200  # characters of a cell in a preview
_TEXT_NAMES = re.compile(
    r"text|content|body|tweet|message|lyrics?|quote|story|poem|comment|review|sentence|article|abstract|line", re.I
)
_MOST_RAGGED = 0.25  # of the rows; a table with more of them than this was taken apart wrongly
_LONGEST_NAME = 5  # words of a column's name; a longer one is rather a text
_DEEPEST = 4  # objects of a JSON Lines file that a text may be nested in
_MOST_NESTED = 100  # fields inside objects that are offered; more of them are names that change from line to line
_NUMBER = re.compile(r"[+-]?[.,]?\d[\d.,\xa0\u202f _]*([eE][+-]?\d+)?%?|[+-]?(nan|inf)", re.I)


Lines = Callable[[], Iterator[str]]
"""The lines of a text, each with its line end, from the beginning at each call."""


class Documents(NamedTuple):
    """The texts of a table in their order, and what is to be said about the reading."""

    texts: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """What a table holds, to choose from: `columns` are the columns of a CSV or the fields of a JSON Lines file.

    `rows` are its first rows, a cell for each column, long cells shortened. `guess` is the column that looks most like
    text, None when none does; `texts` are those that can be chosen, as far as the first SAMPLE_ROWS show: neither
    numbers nor empty. `layout` says how the file is laid out ("comma", "one JSON object a line").
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    guess: str | None
    texts: tuple[str, ...]
    layout: str
    notes: tuple[str, ...]


# --- CSV -----------------------------------------------------------------------------------------------------------


def csv_preview(lines: Lines, name: str, notes: tuple[str, ...] = (), delimiter: str | None = None) -> Preview:
    """The columns of a CSV text and its first rows. delimiter: a word out of DELIMITERS; None: the one that fits best.

    Raises CorpusError when it has no rows or an unclosed quote, or when there is no such delimiter.
    """
    columns, rows, cut = _open_csv(lines, name, delimiter)
    sample = [_fitted(row, len(columns)) for _, row in islice(rows, SAMPLE_ROWS)]
    layout = next((word for word, character in DELIMITERS.items() if character == cut), "one column")
    guess, texts = guessed(columns, sample), with_text(columns, sample)
    return Preview(tuple(columns), shortened(sample), guess, texts, layout, notes)


def csv_documents(
    lines: Lines, name: str, column: str | None, keep_good_lines: bool = False, delimiter: str | None = None
) -> Documents:
    """The non-empty cells of `column` (None: the column that looks most like text), one document each.

    A row is ragged when it has more or fewer cells than the header. Few of them are said in the notes; many mean that
    the texts were cut at their commas, and are refused, or, with `keep_good_lines`, left out. Where another delimiter
    than the chosen one fits, the sentences name it.
    Raises CorpusError when the column is not there or holds numbers.
    """
    notes: list[str] = []
    preview = csv_preview(lines, name, delimiter=delimiter)
    fits = _another_fits(lines, delimiter)
    if not preview.rows:
        raise CorpusError(f'"{name}" has a header line but no rows below it. Take a CSV that holds some texts.')
    column = chosen(column, preview, name, "column", notes)
    columns, rows, cut = _open_csv(lines, name, delimiter)
    index = find_column(column, columns, name, "column", fits)
    if len(columns) == 1 and (cut == _NO_DELIMITER or fits):
        parts = "comma, semicolon, tab or vertical bar" if cut == _NO_DELIMITER else delimiter
        notes.append(f"No {parts} parts the header line, so that each line is one text. {fits}".rstrip())
    if _looks_like_a_row(columns):
        notes.append(
            "The first line was taken for the names of the columns, and is no part of the text. If it is a row like "
            "the others, write a line with names above it."
        )
    cells: list[str] = []
    ragged: list[int] = []
    count = 0
    for line, row in rows:
        count += 1
        if len(row) != len(columns):
            ragged.append(line)
            if keep_good_lines:
                continue
        cells.append(row[index] if index < len(row) else "")
    _judge_ragged(ragged, count, len(columns), name, keep_good_lines, fits, notes)
    return kept(cells, "column", columns[index], preview, name, notes)


def _looks_like_a_row(columns: Sequence[str]) -> bool:
    """Whether there are numbers or sentences among the names of the columns."""
    return any(_NUMBER.fullmatch(name.strip()) or len(name.split()) > _LONGEST_NAME for name in columns)


def _judge_ragged(
    ragged: list[int], count: int, width: int, name: str, keep: bool, fits: str, notes: list[str]
) -> None:
    """Raises for a table with many rows that do not fit its header, or adds a note. fits: of another delimiter."""
    if not ragged:
        return
    where = _some_lines(ragged).rsplit(" ", 1)[0]
    if len(ragged) == count or (len(ragged) > _MOST_RAGGED * count and not keep):
        some_fit = len(ragged) < count and not fits
        quotes = "Put quotes around texts that hold the delimiter and save it again"
        last = f", choose another delimiter, or {GOOD_ONLY}." if some_fit else ", or choose another delimiter."
        raise CorpusError(
            f'"{name}" is ragged: {len(ragged):,} of its {count:,} rows have more or fewer cells than the {width} of '
            f"the header ({where}). {fits or quotes + last}",
            "delimiter",
            *(["keep-good-lines"] if some_fit else []),
        )
    if keep:
        notes.append(f"Left out: {_some_lines(ragged)} without the {width} cells that the header has.")
    else:
        said = f"Rows with more or fewer cells than the header: {len(ragged):,} ({where}); their texts may be torn."
        notes.append(f"{said} Check that the quotes are right, or {GOOD_ONLY}.")


def _another_fits(lines: Lines, wanted: str | None) -> str:
    """A sentence with the delimiter that fits where another one was chosen; "" where none does."""
    if wanted is None:
        return ""
    found, share = _sniff(lines)
    word = next((word for word, character in DELIMITERS.items() if character == found), wanted)
    fits = word != wanted and share >= 1 - _MOST_RAGGED
    return f"A {word} fits: choose it, or leave the delimiter to be found." if fits else ""


def _open_csv(lines: Lines, name: str, wanted: str | None) -> tuple[list[str], Iterator[tuple[int, list[str]]], str]:
    """The names of the columns, the rows below them, each with the number of its first line, and the delimiter."""
    if csv.field_size_limit() < MAX_LINE:  # a limit of the whole process, 131,072 by default: raised, never lowered
        csv.field_size_limit(MAX_LINE)
    if wanted is not None and wanted not in DELIMITERS:
        raise CorpusError(
            f'"{shown(wanted)}" is no delimiter. Choose one of these: {shown_list(tuple(DELIMITERS))}.', "delimiter"
        )
    delimiter = _sniff(lines)[0] if wanted is None else DELIMITERS[wanted]
    rows = _csv_rows(lines(), delimiter, name)
    header = next(rows, None)
    if header is None:
        raise CorpusError(f'"{name}" has no rows. A CSV needs a header line with the column names, and rows below it.')
    return _unique(header[1]), rows, delimiter


def _csv_rows(lines: Iterator[str], delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of each row that is not blank, without empty cells beyond the header's.

    A quote that never closes would swallow the rest of the file: it is an error.
    """
    read: list[str] = []  # the lines of the row that is being read
    width = 0  # of the header

    def listen() -> Iterator[str]:
        for line in lines:
            read.append(line)
            yield line

    reader = csv.reader(listen(), delimiter=delimiter)
    lines_before = 0
    while True:
        read.clear()
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "field larger" in str(error):
                raise _unclosed(name, lines_before + 1) from error
            raise CorpusError(
                f'"{name}" is not a readable CSV: line {reader.line_num:,} cannot be taken apart. '
                "Save it again as CSV with quotes around the texts."
            ) from error
        if row is None:
            return
        if len(read) > 1 and _never_closes(read, delimiter):
            raise _unclosed(name, lines_before + 1)
        begun, lines_before = lines_before + 1, reader.line_num
        if any(cell.strip() for cell in row):
            width = width or len(row)
            while len(row) > width and not row[-1].strip():  # as spreadsheets leave them behind a row
                row.pop()
            yield begun, row


def _unclosed(name: str, line: int) -> CorpusError:
    return CorpusError(
        f'In "{name}" a quote opened in line {line:,} never closes, so the rest of the file '
        'would become one cell. Close it, or double the quotes inside texts (""like this"").'
    )


def _never_closes(lines: list[str], delimiter: str) -> bool:
    if lines[-1].count('"') and lines[-1].rstrip("\n").endswith('"'):
        return False  # cheap and right for nearly every row of several lines
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def _sniff(lines: Lines) -> tuple[str, float]:
    """The delimiter that cuts the header into several cells and most rows into as many, and the share of those rows;
    else one column.

    csv.Sniffer guesses letters as delimiters when texts are long, so only the four usual ones are tried.
    """
    best, best_score, share = _NO_DELIMITER, 0.0, 1.0
    head, size = [], 0
    for line in lines():
        head.append(line)
        size += len(line)
        if size > 1 << 20:
            break
    for delimiter in DELIMITERS.values():
        widths = []
        try:
            for row in islice(csv.reader(head, delimiter=delimiter), SAMPLE_ROWS):
                widths.append(len(row))
        except csv.Error:
            continue
        if not widths or widths[0] < 2:
            continue
        agree = sum(width == widths[0] for width in widths) / len(widths)
        if agree * (1 + 0.01 * min(widths[0], 50)) > best_score:  # of two that agree, the one with more columns
            best, best_score, share = delimiter, agree * (1 + 0.01 * min(widths[0], 50)), agree
    return best, share


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


def jsonl_preview(lines: Lines, name: str, notes: tuple[str, ...] = ()) -> Preview:
    """The fields of the first objects of a JSON Lines text, in order of appearance, and the first rows. A text inside
    an object is a field too, by its path: "data.text".

    Broken lines are passed over here; `jsonl_documents` names them. Raises CorpusError when no line can be read.
    """
    fields: dict[str, None] = {}
    objects: list[dict[str, Any]] = []
    nested = 0
    for _, row in islice(_json_lines(lines()), SAMPLE_ROWS):
        if isinstance(row, dict):
            found = _fields(row)
            objects.append(found)
            new = [field for field in found if field not in fields and field not in row]
            left_out = set(new[max(0, _MOST_NESTED - nested) :])
            nested += len(new)
            fields.update(dict.fromkeys(field for field in found if field not in left_out))
    if not objects:
        raise _no_objects(next(lines(), ""), name)
    columns = list(fields)
    rows = [[_cell(row.get(field, "")) for field in columns] for row in objects[:PREVIEW_ROWS]]
    maybe = [field for field in columns if _may_be_text([row.get(field) for row in objects])]
    sample = [[value if isinstance(value := row.get(field), str) else "" for field in maybe] for row in objects]
    guess, texts = guessed(maybe, sample), with_text(maybe, sample)
    return Preview(tuple(columns), shortened(rows), guess, texts, "one JSON object a line", notes)


def _fields(row: dict[str, Any], deep: int = _DEEPEST) -> dict[str, Any]:
    """The fields of an object, each followed by the texts in the objects inside it, by their paths."""
    fields: dict[str, Any] = {}
    for name, value in row.items():
        fields[name] = value
        if deep and isinstance(value, dict):
            for path, inner in _fields(value, deep - 1).items():
                if isinstance(inner, str):
                    fields.setdefault(f"{name}.{path}", inner)
    return fields


def _value(row: dict[str, Any], field: str) -> Any:
    return row[field] if field in row else _fields(row).get(field) if "." in field else None


def _may_be_text(values: list[Any]) -> bool:
    return any(isinstance(value, str) for value in values) or all(value is None for value in values)


def jsonl_documents(lines: Lines, name: str, field: str | None, keep_good_lines: bool = False) -> Documents:
    """The strings in `field` (None: the field that looks most like text), one document a line.

    A line is bad when it is no JSON, no object, or has no string in the field. Raises CorpusError naming the first bad
    lines, or, with `keep_good_lines`, leaves them out and says so in the notes.
    """
    notes: list[str] = []
    preview = jsonl_preview(lines, name)
    field = chosen(field, preview, name, "field", notes)
    field = preview.columns[find_column(field, preview.columns, name, "field")]
    good, broken, without = [], [], []
    for number, row in _json_lines(lines()):
        if not isinstance(row, dict):
            broken.append(number)
        elif isinstance(text := _value(row, field), str):
            good.append(text)
        else:
            without.append(number)
    if not good and not broken:
        raise not_this_one("field", field, "holds no text", preview, name)
    _judge(broken, without, field, name, keep_good_lines, notes)
    counts: Counter[str] = Counter()
    good = [tidy(document, counts) for document in good]  # JSON escapes can hold NUL, \r and half characters
    notes.extend(tidy_notes(counts))
    return kept(good, "field", field, preview, name, notes)


def _json_lines(lines: Iterator[str]) -> Iterator[tuple[int, Any]]:
    """(line number from 1, parsed value or None when it is no JSON) of each line that is not blank."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):  # RecursionError: ten thousand opening brackets
            yield number, None


def _no_objects(first: str, name: str) -> CorpusError:
    if first.lstrip().startswith("["):
        return CorpusError(
            f'"{name}" is one JSON list. Save it as JSON Lines: one object a line, like {{"text": "..."}}.'
        )
    return CorpusError(f'No line of "{name}" is a JSON object. JSON Lines has one a line, like {{"text": "..."}}.')


def _judge(broken: list[int], without: list[int], field: str, name: str, keep: bool, notes: list[str]) -> None:
    """Raises for bad lines, or adds a note for those that are left out."""
    bad = []
    if broken:
        bad.append(f"{_some_lines(broken)} no JSON object")
    if without:
        bad.append(f'{_some_lines(without)} without a text in "{shown(field)}"')
    if bad and not keep:
        raise CorpusError(f'"{name}" has bad lines: {"; ".join(bad)}. Repair them, or {GOOD_ONLY}.', "keep-good-lines")
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


def chosen(column: str | None, preview: Preview, name: str, what: str, notes: list[str]) -> str:
    """The column that was asked for, or the one that looks most like text, which is then said."""
    if column is not None:
        return column
    if not preview.texts:
        raise _no_text(what, name)
    if preview.guess is None:
        raise CorpusError(
            f'No {what} of "{name}" looks like text. Say which one to use: {shown_list(preview.texts)}.', "column"
        )
    if len(preview.columns) > 1:
        notes.append(f'The text was taken from {what} "{shown(preview.guess)}".')
    return preview.guess


def find_column(wanted: str, columns: Sequence[str], name: str, what: str, advice: str = "") -> int:
    """The place of a column: its exact name, or the only one that differs in case or surrounding blanks alone."""
    if wanted in columns:
        return columns.index(wanted)
    close = [place for place, column in enumerate(columns) if column.strip().lower() == wanted.strip().lower()]
    if len(close) == 1:
        return close[0]
    advice = advice or f"Choose one of its {what}s: {shown_list(columns)}."
    raise CorpusError(f'"{name}" has no {what} "{shown(wanted)}". {advice}', "column")


def kept(cells: list[str], what: str, column: str, preview: Preview, name: str, notes: list[str]) -> Documents:
    """The cells that hold something. Raises CorpusError when they are empty or numbers."""
    texts = tuple(cell for cell in cells if cell and not cell.isspace())
    if not texts:
        raise not_this_one(what, column, "is empty", preview, name)
    if _are_numbers(texts):
        raise not_this_one(what, column, "holds numbers, not text", preview, name)
    if len(texts) < len(cells):
        notes.append(f'Rows left out because their {what} "{shown(column)}" is empty: {len(cells) - len(texts):,}.')
    return Documents(texts, tuple(notes))


def not_this_one(what: str, column: str, why: str, preview: Preview, name: str) -> CorpusError:
    """The sentence for a column that is no text: it names the others that are, or says that there is none."""
    others = [text for text in preview.texts if text != column]
    if not others:
        return _no_text(what, name)
    return CorpusError(
        f'The {what} "{shown(column)}" of "{name}" {why}. Choose another: {shown_list(others)}.', "column"
    )


def _no_text(what: str, name: str) -> CorpusError:
    if what == "column":
        return CorpusError(f'No column of "{name}" holds text. Take a file with a column of texts.')
    return CorpusError(
        f'No field of "{name}" holds text; texts in lists are not read. Take a file with a text in each line, like '
        '{"text": "..."}.'
    )


def _are_numbers(cells: Sequence[str]) -> bool:
    return sum(map(_is_number, cells)) >= 0.95 * len(cells)


def _is_number(cell: str) -> bool:
    return len(cell) < 40 and _NUMBER.fullmatch(cell.strip()) is not None


def with_text(columns: Sequence[str], rows: list[list[str]]) -> tuple[str, ...]:
    """The columns that a text can be taken from; one that is empty in these rows may hold some below them."""
    more, texts = len(rows) == SAMPLE_ROWS, list[str]()
    for place, column in enumerate(columns):
        cells = [row[place] for row in rows if row[place].strip()]
        if (cells and not _are_numbers(cells)) or (more and not cells):
            texts.append(column)
    return tuple(texts)


def guessed(columns: Sequence[str], rows: list[list[str]]) -> str | None:
    """The column that looks most like text: long, different from row to row, several words, a telling name."""
    best, best_score = None, 0.0
    for place, column in enumerate(columns):
        cells = [row[place] for row in rows if row[place].strip()]
        if not cells or sum(map(_is_number, cells)) > 0.5 * len(cells):
            continue
        length = sum(min(len(cell), 2_000) for cell in cells) / len(cells)
        different = len(set(cells)) / len(cells)
        worded = (1 + sum(" " in cell.strip() for cell in cells)) / (1 + len(cells))
        name = column.rpartition(".")[2].strip()  # of a path, its end
        named = 4.0 if _TEXT_NAMES.fullmatch(name) else 2.0 if _TEXT_NAMES.search(name) else 1.0
        score = length * different * worded * named * len(cells) / len(rows)
        if score > best_score:
            best, best_score = column, score
    return best


def shortened(rows: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(cell if len(cell) <= _PREVIEW_CELL else cell[: _PREVIEW_CELL - 1] + "…" for cell in row)
        for row in rows[:PREVIEW_ROWS]
    )
