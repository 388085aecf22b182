"""CSV and JSON Lines: the right cells exactly as they were written, and a sentence for everything that is wrong."""

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from training import files
from training.corpus import Corpus, CorpusError, Preview, preview, read_corpus
from training.tables import csv_documents

HOSTILE = [
    "<script>alert(1)</script>",
    "=cmd|'/C calc'!A0, \"quoted\"; semicolon\ttab | bar",
    "${window.f()} {{value}} {% raw %} `rm -rf /`",
    "line one\nline two\n\nline four",
    "' OR 1=1 --",
    "\u202egnp.exe\u200b",
    'ends with a quote"',
]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_csv(rows: list[list[str]], delimiter: str = ",") -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()


def seen(path: Path) -> Preview:
    look = preview(path)
    assert look is not None
    return look


def refused(path: Path, **options: str | bool) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        read_corpus(path, **options)  # type: ignore[arg-type]
    return caught.value


def refusal(path: Path, **options: str | bool) -> str:
    sentence = str(refused(path, **options))
    assert path.name in sentence
    assert sentence.isprintable()
    return sentence


# --- CSV -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_cells_come_back_exactly_whatever_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    rows = [["id", "text", "date"]] + [[str(i), cell, "2022-07-05"] for i, cell in enumerate(HOSTILE)]
    path = write(tmp_path, "rows.csv", as_csv(rows, delimiter))
    corpus = read_corpus(path, column="text")
    assert corpus.documents == tuple(HOSTILE)
    assert corpus.text == "\n".join(HOSTILE)
    assert f"Documents: {len(HOSTILE)}." in corpus.notes


def test_the_tweets(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("elon_musk_tweets.csv")
    look = seen(path)
    assert len(look.columns) == 16
    assert look.columns[:2] == ("id", "user_name")
    assert look.guess == "text"
    assert look.layout == "comma"
    assert len(look.rows) == 5
    corpus = read_corpus(path, column="text")
    assert corpus.documents is not None
    assert len(corpus.documents) == 5888
    assert sum("\n" in document for document in corpus.documents) == 388
    assert corpus.documents[1] == "Sock Con, the conference for socks"
    guessed = read_corpus(path)
    assert guessed.documents == corpus.documents
    assert 'The text was taken from column "text".' in guessed.notes


def test_pandas_reads_the_same_cells(shared_data: Callable[[str], Path]) -> None:
    pandas = pytest.importorskip("pandas", reason="an independent reader of the same file")
    path = shared_data("elon_musk_tweets.csv")
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    assert read_corpus(path, column="text").documents == tuple(
        cell.replace("\r\n", "\n").replace("\r", "\n") for cell in frame["text"]
    )


def test_a_missing_column_lists_the_columns_there_are(tmp_path: Path) -> None:
    header = ["id", "tweet", "\x1b[31mred\u202e", *(f"c{i}" for i in range(40))]
    path = write(tmp_path, "t.csv", as_csv([header, ["1", "hello there", *["x"] * 41]]))
    sentence = refusal(path, column="text")
    assert 'no column "text"' in sentence
    assert '"id", "tweet"' in sentence
    assert "and 23 more" in sentence


def test_a_column_of_numbers_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "n.csv", "text,likes\n" + "".join(f"a tweet {i},{i}.5\n" for i in range(50)))
    assert refusal(path, column="likes").endswith('holds numbers, not text. Choose another: "text".')


def test_a_table_of_numbers_alone_leads_to_another_file(tmp_path: Path) -> None:
    """No column is offered that would be refused in its turn."""
    for header, row in (("likes", "1"), ("a,b", "1,2"), ("a,b", "1,")):
        path = write(tmp_path, "n.csv", f"{header}\n" + f"{row}\n" * 9)
        assert seen(path).texts == ()
        said = 'No column of "n.csv" holds text. Take a file with a column of texts.'
        assert refusal(path) == said
        assert [refusal(path, column=column) for column in header.split(",")] == [said] * len(header.split(","))
    path = write(tmp_path, "m.csv", "a,b,note\n" + "1,2,\n" * 60 + "1,2,x\n" * 40)
    assert refusal(path, column="a").endswith('Choose another: "note".')
    halves = write(tmp_path, "h.csv", "a,b\n" + "1,2\n" * 60 + "1,word\n" * 40)
    assert refusal(halves) == 'No column of "h.csv" looks like text. Say which one to use: "b".'
    assert len(read_corpus(halves, column="b").documents or ()) == 100


def test_a_column_that_is_empty_at_first_may_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, "s.csv", "a,note\n" + "1,\n" * 300 + "1,a late remark\n2,and another\n")
    assert refusal(path) == 'No column of "s.csv" looks like text. Say which one to use: "note".'
    assert read_corpus(path, column="note").documents == ("a late remark", "and another")


def test_case_and_blanks_of_a_column_name_do_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "Id, Text \n1,hello\n2,world\n")
    assert read_corpus(path, column="text").documents == ("hello", "world")


def test_one_column_with_commas_in_its_texts(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", 'text\nHello, world\n"quoted, too"\n\nsay "hi", she said\n')
    assert read_corpus(path).documents == ("Hello, world", "quoted, too", 'say "hi", she said')


def test_nameless_and_repeated_columns_get_their_place(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", ",text,text\n1,first words,second words\n2,more of it,and more\n")
    assert seen(path).columns == ("column 1", "text", "text (column 3)")
    assert read_corpus(path, column="text (column 3)").documents == ("second words", "and more")


def test_short_rows_and_empty_cells_are_left_out_and_counted(tmp_path: Path) -> None:
    good = "".join(f"{i},good one {i}\n" for i in range(6))
    path = write(tmp_path, "t.csv", f"id,text\n{good}7\n8,\n9,another good one,extra\n10,spreadsheet,,\n")
    corpus = read_corpus(path, column="text")
    assert corpus.documents == (*(f"good one {i}" for i in range(6)), "another good one", "spreadsheet")
    assert 'Rows left out because their column "text" is empty: 2.' in corpus.notes
    said = "Rows with more or fewer cells than the header: 2 (lines 8 and 10); their texts may be torn. "
    said += "Check that the quotes are right, or keep the good lines only."
    assert said in corpus.notes
    kept = read_corpus(path, column="text", keep_good_lines=True)
    assert kept.documents == (*(f"good one {i}" for i in range(6)), "spreadsheet")
    assert "Left out: lines 8 and 10 are without the 2 cells that the header has." in kept.notes


def test_a_ragged_table_is_refused_and_its_good_rows_can_be_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "r.csv", "id,text\n1,one of the good\n2,well, it goes on\n3,no, yes\n4,and a last good\n")
    sentence = refusal(path, column="text")
    assert (
        '"r.csv" is ragged: 2 of its 4 rows have more or fewer cells than the 2 of the header (lines 3 and 4)'
        in sentence
    )
    assert "quotes" in sentence
    assert "keep the good lines" in sentence
    assert read_corpus(path, column="text", keep_good_lines=True).documents == ("one of the good", "and a last good")
    path = write(tmp_path, "r.csv", "id,text\n" + "1,no, no\n" * 3)
    for keep in (False, True):  # there are no good lines to keep
        assert "save it again, or choose another delimiter." in refusal(path, keep_good_lines=keep)


def test_an_unknown_delimiter_is_said(tmp_path: Path) -> None:
    corpus = read_corpus(write(tmp_path, "d.csv", "id^text\n1^the first words\n2^and the second\n"))
    assert corpus.documents == ("1^the first words", "2^and the second")
    assert any(
        note.startswith("No comma, semicolon, tab or vertical bar parts the header line") for note in corpus.notes
    )


def test_a_line_that_is_no_line_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINE", 1_000_000)
    for name, head in (("l.csv", "id,text\n1,"), ("l.jsonl", '{"text": "a"}\n{"text": "'), ("l.tsv", "a\tb\n")):
        sentence = refusal(write(tmp_path, name, head + "word " * 300_000))
        assert f'Line 2 of "{name}" is longer than 1 million characters' in sentence
        assert "rename it to .txt" in sentence
    text = "word " * 300_000
    assert read_corpus(write(tmp_path, "l.txt", text)).text == text


@pytest.mark.parametrize("content", ["id,text\n", "id,text"])
def test_a_header_alone(tmp_path: Path, content: str) -> None:
    assert "no rows below it" in refusal(write(tmp_path, "h.csv", content), column="text")


def test_a_column_without_any_text(tmp_path: Path) -> None:
    path = write(tmp_path, "e.csv", "id,text,note\n1,, a\n2,, b\n")
    assert 'column "text" of "e.csv" is empty' in refusal(path, column="text")


def test_a_quote_that_never_closes_names_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "q.csv", 'id,text\n1,fine\n2,"two\nlines"\n3,"open\n4,swallowed\n5,swallowed too\n')
    assert "opened in line 5" in refusal(path, column="text")


def test_a_cell_larger_than_the_csv_module_allows_by_default(tmp_path: Path) -> None:
    long = "word " * 100_000
    path = write(tmp_path, "l.csv", f'id,text\n1,"{long}"\n2,short\n')
    assert read_corpus(path, column="text").documents == (long, "short")


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "cp1252"])
def test_csv_in_other_encodings(tmp_path: Path, codec: str) -> None:
    path = write(tmp_path, "t.csv", "id;text\r\n1;Größe, Höhe\r\n2;déjà vu, café\r\n".encode(codec))
    corpus = read_corpus(path, column="text")
    assert corpus.documents == ("Größe, Höhe", "déjà vu, café")
    assert seen(path).columns == ("id", "text")


def test_preview_cells_are_shortened(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "id,text\n" + f"1,{'x' * 10_000}\n" * 50)
    look = seen(path)
    assert len(look.rows) == 5
    assert all(len(cell) <= 200 for row in look.rows for cell in row)


# --- JSON Lines ----------------------------------------------------------------------------------------------------


def as_jsonl(rows: list[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_json_lines_come_back_exactly(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", as_jsonl([{"id": i, "text": text} for i, text in enumerate(HOSTILE)]))
    corpus = read_corpus(path, field="text")
    assert corpus.documents == tuple(HOSTILE)
    assert read_corpus(path).documents == tuple(HOSTILE)


def test_fields_of_json_lines(tmp_path: Path) -> None:
    rows: list[object] = [{"quote": f"words number {i} of it", "author": "A", "tags": ["x"], "n": i} for i in range(9)]
    look = seen(write(tmp_path, "q.jsonl", as_jsonl(rows)))
    assert look.columns == ("quote", "author", "tags", "n")
    assert look.guess == "quote"
    assert look.rows[0] == ("words number 0 of it", "A", '["x"]', "0")


def broken_jsonl(folder: Path) -> Path:
    lines = ['{"text": "one of the good ones"}', "{broken", "", "[1, 2]", '{"text": 5}', '{"other": "x"}']
    return write(folder, "b.jsonl", "\n".join([*lines, '{"text": "two of them"}', "[" * 200_000]))


def test_broken_lines_are_named(tmp_path: Path) -> None:
    sentence = refusal(broken_jsonl(tmp_path), field="text")
    assert "lines 2, 4 and 8 are no JSON object" in sentence
    assert 'lines 5 and 6 are without a text in "text"' in sentence
    assert "keep the good lines" in sentence


def test_good_lines_can_be_kept(tmp_path: Path) -> None:
    corpus = read_corpus(broken_jsonl(tmp_path), field="text", keep_good_lines=True)
    assert corpus.documents == ("one of the good ones", "two of them")
    assert any(note.startswith("Left out: lines 2, 4 and 8 are no JSON object;") for note in corpus.notes)


def test_many_broken_lines_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "b.jsonl", '{"text": "good"}\n' + "broken\n" * 1000)
    assert "lines 2, 3, 4, 5, 6 and 995 more are no JSON object" in refusal(path)


def test_a_missing_field_lists_the_fields_there_are(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", as_jsonl([{"quote": "a b", "author": "c"}] * 3))
    sentence = refusal(path, field="text")
    assert 'no field "text"' in sentence
    assert '"quote", "author"' in sentence


def test_a_field_of_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", as_jsonl([{"text": "a b", "n": 1}] * 3))
    assert refusal(path, field="n") == 'The field "n" of "t.jsonl" holds no text. Choose another: "text".'


def test_texts_inside_objects_are_fields_by_their_paths(tmp_path: Path) -> None:
    rows: list[object] = [
        {"id": f"i{i}", "data": {"text": f"words number {i} of it", "n": i, "more": {"title": f"title {i}"}}}
        for i in range(9)
    ]
    path = write(tmp_path, "t.jsonl", as_jsonl(rows))
    look = seen(path)
    assert look.columns == ("id", "data", "data.text", "data.more.title")
    assert (look.guess, look.texts) == ("data.text", ("id", "data.text", "data.more.title"))
    assert look.rows[0][2] == "words number 0 of it"
    corpus = read_corpus(path)
    assert corpus.documents == tuple(f"words number {i} of it" for i in range(9))
    assert 'The text was taken from field "data.text".' in corpus.notes
    assert read_corpus(path, field="data.more.title").documents == tuple(f"title {i}" for i in range(9))
    assert refusal(path, field="data").endswith('Choose another: "id", "data.text", "data.more.title".')
    named = write(tmp_path, "n.jsonl", as_jsonl([{"a": {"b": "from inside"}, "a.b": "from its own name"}] * 3))
    assert seen(named).columns == ("a", "a.b")
    assert read_corpus(named, field="a.b").documents == ("from its own name",) * 3


def test_objects_without_end_and_names_that_change(tmp_path: Path) -> None:
    """They do not grow into thousands of columns."""
    deep = '{"a": ' * 30 + '"text"' + "}" * 30 + "\n"
    assert seen(write(tmp_path, "d.jsonl", deep)).columns == ("a",)
    rows: list[object] = [
        {"text": f"post {i} here", "votes": {f"v{i}-{j}": "yes" for j in range(90)}} for i in range(9)
    ]
    path = write(tmp_path, "v.jsonl", as_jsonl(rows))
    assert len(seen(path).columns) == 102
    assert read_corpus(path).documents == tuple(f"post {i} here" for i in range(9))


def test_json_lines_without_a_text_say_what_to_take(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", as_jsonl([{"id": 1, "talk": [{"says": "hello"}]}] * 3))
    said = (
        'No field of "t.jsonl" holds text; texts in lists are not read. Take a file with a text in each line, like '
        '{"text": "..."}.'
    )
    assert [refusal(path), refusal(path, field="id"), refusal(path, field="talk")] == [said] * 3


def test_a_json_list_and_no_json_at_all(tmp_path: Path) -> None:
    rows = json.dumps([{"text": "a"}, {"text": "b"}], indent=1)
    assert "one JSON list" in refusal(write(tmp_path, "t.json", rows))
    assert "No line" in refusal(write(tmp_path, "t.jsonl", "just some text\n"))


def test_what_json_escapes_can_smuggle_in(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", '{"text": "a\\u0000b\\r\\nc\\ud800d \\ud83d\\ude00"}\n{"text": "e"}\n')
    corpus = read_corpus(path)
    assert corpus.documents == ("ab\nc\ufffdd 😀", "e")
    assert {
        "NUL bytes taken out, because text has none: 1.",
        "Halves of characters (lone surrogates) replaced by U+FFFD: 1.",
    } < set(corpus.notes)


def test_any_table_gives_a_corpus_or_a_sentence_and_nothing_else(tmp_path: Path) -> None:
    draw = random.Random(0)
    alphabet = 'ab1,;\t|"\n\r\\{}[]: \x00é'
    read = refused = 0
    for trial in range(400):
        kind = draw.choice(["csv", "tsv", "jsonl"])
        text = draw.choice(["id,text\n", "", '{"text": "a b"}\n']) + "".join(
            draw.choices(alphabet, k=draw.randrange(60))
        )
        path = write(tmp_path, f"{trial}.{kind}", text)
        try:
            corpus = read_corpus(path, keep_good_lines=True)
        except CorpusError:
            refused += 1
            continue
        read += 1
        assert isinstance(corpus, Corpus)
        assert corpus.documents
        assert corpus.text == "\n".join(corpus.documents)
    assert read > 40
    assert refused > 40


# --- the delimiter, and what sentences say of the options -----------------------------------------------------------


def test_a_delimiter_can_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.csv", "name;text\n" + "a;one, two\n" * 3)
    assert seen(path).layout == "semicolon"
    assert read_corpus(path, delimiter="semicolon", column="text").documents == ("one, two",) * 3
    assert read_corpus(path, delimiter="tab").documents == ("a;one, two",) * 3
    look = preview(path, delimiter="bar")
    assert look is not None
    assert (look.columns, look.layout) == (("name;text",), "bar")
    assert '"x" is no delimiter' in str(refused(path, delimiter="x"))
    with pytest.raises(CorpusError, match="comma"):
        preview(path, delimiter=";")
    plain = write(tmp_path, "plain.txt", "a text")
    assert "not a CSV" in refusal(plain, delimiter="comma")


def test_where_another_delimiter_than_the_chosen_one_fits_it_is_named(tmp_path: Path) -> None:
    rows = [f"{i};a text of row {i}{', and more' * (i % 3)};2024" for i in range(50)]
    path = write(tmp_path, "s.csv", "\n".join(["id;text;when", *rows]) + "\n")
    fits = "A semicolon fits: choose it, or leave the delimiter to be found."
    assert fits in refusal(path, delimiter="comma", column="text")
    assert read_corpus(path, delimiter="semicolon").documents == read_corpus(path).documents
    few = [note for note in read_corpus(path, delimiter="comma", keep_good_lines=True).notes if fits in note]
    assert few == [f"No comma parts the header line, so that each line is one text. {fits}"]
    path = write(tmp_path, "a.csv", "id;text;when\n" + "1;one, two, three;2024\n" * 50)
    for keep in (False, True):
        error = refused(path, delimiter="comma", keep_good_lines=keep)
        assert str(error).startswith('"a.csv" is ragged: 50 of its 50 rows')
        assert str(error).endswith(fits)
        assert error.console.endswith("(See --delimiter.)")
    plain = write(tmp_path, "p.csv", "text\n" + "one; two\n" * 9)
    assert not any("fits" in note for note in read_corpus(plain, delimiter="comma").notes)


def test_sentences_are_right_on_the_page_and_at_the_console(tmp_path: Path) -> None:
    """They name no page and no flag; the command line adds its own options."""
    ragged = write(tmp_path, "ragged.csv", "id,text\n" + "1,the cat, the dog\n" * 3 + "2,the hen\n")
    lines = write(tmp_path, "lines.jsonl", '{"text": "a good one"}\nno json\n')
    for path, options, flags in (
        (ragged, {}, "(See --delimiter or --keep-good-lines.)"),
        (lines, {}, "(See --keep-good-lines.)"),
        (ragged, {"column": "nowhere"}, "(See --column.)"),
    ):
        error = refused(path, **options)
        assert error.console == f"{error} {flags}"
        assert "--" not in str(error)
    gone = refused(tmp_path / "gone.txt")
    assert gone.console == str(gone)
    for path in (
        tmp_path / "gone.txt",
        tmp_path,
        write(tmp_path, "none.txt", ""),
        write(tmp_path, "a.txt", "%PDF-1.7"),
    ):
        said = refusal(path)
        assert not any(word in said.lower() for word in ("upload", "paste", "page"))


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("0,this is a post of several words more", True),
        ("17,text", True),
        ("id,text", False),
        ("id,text of a post", False),
    ],
)
def test_a_first_line_that_looks_like_a_row_is_told(first: str, said: bool) -> None:
    rows = "\n".join(f"{i},this is post number {i} ok" for i in range(1, 30))
    notes = csv_documents(lambda: iter(f"{first}\n{rows}\n".splitlines(keepends=True)), "x.csv", None).notes
    assert any("taken for the names of the columns" in note for note in notes) == said
