"""The Corpus tab's handlers: what a visitor brings becomes their text, and what cannot be read leaves it as it was."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gradio.data_classes import FileData, ListFiles

from explorer import corpora, text
from explorer.components import ASSETS
from explorer.server import Server, answering
from explorer.tabs.corpus import Uploads, choose, clean, functions, given, hub_files, hub_take, reading, state
from explorer.tabs.train import Look
from tests.explorer.tiny import TEXT, sentence, token, visitor
from training.config import Recipe
from training.corpus import from_text
from training.files import LONGEST_NAME

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
GOOD = '{"id": 1, "text": "the cat sat on the mat"}\n{"id": 2, "text": "the dog sat on the log"}\n'
BROKEN = GOOD + '{"id": 3, "text": \nno json\n{"id": 4}\n'


@pytest.fixture
def uploads(server: Server) -> Uploads:
    return Uploads(server)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, bytes | str], str]:
    """Writes a file as Gradio would have stored an upload; returns its path."""
    folder = tmp_path / "uploads"
    folder.mkdir()

    def write(name: str, content: bytes | str) -> str:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(folder / name)

    return write


Put = Callable[[str, bytes | str], str]


NO_TABLE: dict[str, Any] = {
    "columns": [], "rows": [], "column": None, "keep_good": False, "can_keep": False,
    "delimiter": None, "delimiters": [], "layout": None, "refused": None,
}  # fmt: skip


def choose_(server: Server, column: str | None = None, keep_good: bool = False, **more: Any) -> dict[str, Any]:
    """Read the last files in another way, as the page's script does."""
    request = {"session": token(1), "column": column, "keep_good": keep_good, **more}
    return answering(lambda raw: choose(server, raw))(request)


def test_a_plain_text_becomes_the_visitors_own(server: Server, uploads: Uploads, put: Put) -> None:
    card, table = uploads.read(token(1), put("book.txt", TEXT))
    corpus = visitor(server).corpus
    assert corpus is not None
    assert (corpus.text, corpus.name, corpus.source) == (TEXT, "book.txt", "file")
    assert card["ok"]
    assert (card["name"], card["characters"], card["encoding"]) == ("book.txt", len(TEXT), "UTF-8")
    assert dict(card["figures"]) == {
        "characters": f"{len(TEXT):,}",
        "distinct": str(len(set(TEXT))),
        "words": f"{len(TEXT.split()):,}",
        "lines": str(TEXT.count("\n")),
        "bytes as UTF-8": f"{len(TEXT.encode()):,}",
    }
    assert card["excerpt"] + TEXT[1500:] == TEXT
    assert card["more"] == len(TEXT) - 1500
    shares = dict(card["common"])
    assert next(iter(shares)) == max(set(TEXT), key=TEXT.count)
    assert all(share == TEXT.count(character) / len(TEXT) for character, share in shares.items())
    assert table == NO_TABLE | {"ok": True, "files": [["book.txt", len(TEXT.encode())]]}
    assert (card["left"], card["cleaned"]) == (len(TEXT), None)
    json.dumps(card, allow_nan=False)


@pytest.mark.parametrize("name", ["posts.csv", "posts.tsv"])
def test_a_table_offers_its_columns(server: Server, uploads: Uploads, put: Put, name: str) -> None:
    rows = [["id", "text", "place"], ["1", "the cat sat on the mat", "a mat"], ["2", "the dog sat on the log", "logs"]]
    path = put(name, "\n".join(("\t" if name.endswith("tsv") else ",").join(row) for row in rows))
    card, table = uploads.read(token(1), path)
    assert card["ok"]
    assert dict(card["figures"])["documents"] == "2"
    assert table == NO_TABLE | {
        "ok": True,
        "files": [[name, Path(path).stat().st_size]],
        "columns": rows[0],
        "rows": rows[1:],
        "column": "text",
        "delimiters": ["comma", "semicolon", "tab", "bar"],
        "layout": "tab" if name.endswith("tsv") else "comma",
    }
    corpus = visitor(server).corpus
    assert corpus is not None
    assert corpus.text == "the cat sat on the mat\nthe dog sat on the log"
    chosen = choose_(server, "place")
    assert chosen["ok"]
    assert chosen["corpus"] == state(server)({"session": token(1)})
    assert chosen["reading"] == {**table, "column": "place"}
    corpus = visitor(server).corpus
    assert corpus is not None
    assert corpus.text == "a mat\nlogs"
    assert "numbers" in sentence(choose_(server, "id"))
    assert 'no column "nowhere"' in sentence(choose_(server, "nowhere"))
    assert visitor(server).corpus is corpus
    assert reading(server, {"session": token(1)})["column"] == "place"  # a column that cannot be is forgotten


def test_parquet_and_archives(server: Server, uploads: Uploads, put: Put) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install -r requirements.txt")
    import pyarrow

    path = put("posts.parquet", b"")
    parquet.write_table(
        pyarrow.table({"id": [1, 2], "text": ["the cat sat", "the dog sat"], "tag": ["a b", "c d"]}), path
    )
    card, table = uploads.read(token(1), [path])
    assert dict(card["figures"])["documents"] == "2"
    assert (table["columns"], table["column"], table["can_keep"]) == (["id", "text", "tag"], "text", False)
    assert choose_(server, "tag")["corpus"]["excerpt"] == "a b\nc d"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "the first")
        archive.writestr("b.txt", "the second")
    card, table = uploads.read(token(1), put("texts.zip", buffer.getvalue()))
    assert card["excerpt"] == "the first\nthe second"
    assert table["columns"] == []
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../a.txt", "the first")
    before = visitor(server).corpus
    assert "leads out of its folder" in sentence(uploads.read(token(1), put("slip.zip", buffer.getvalue()))[0])
    assert visitor(server).corpus is before


def test_several_files(server: Server, uploads: Uploads, put: Put) -> None:
    paths = [put("a.csv", "id,text,more\n1,the cat sat,x y\n2,the dog sat,z w\n"), put("b.txt", "a text\n")]
    card, table = uploads.read(token(1), paths)
    assert card["name"] == "2 files: a.csv, b.txt"
    assert table["columns"] == ["id", "text", "more"]
    assert choose_(server, "more")["corpus"]["excerpt"] == "x y\nz w\na text"


def names(table: dict[str, Any]) -> list[str]:
    """The files in use, as the page lists them."""
    return [name for name, _ in table["files"]]


def test_of_a_selection_the_good_files_are_used(server: Server, uploads: Uploads, put: Put) -> None:
    """The others are named with their sentences, on the card too, and are not in the list."""
    paths = [put("empty.txt", b""), put("a.txt", "the cat\n"), put("picture.txt", PNG), put("b.txt", "the dog\n")]
    card, table = uploads.read(token(1), paths)
    assert (card["ok"], card["files"], names(table)) == (True, 2, ["a.txt", "b.txt"])
    assert card["excerpt"] == "the cat\nthe dog"
    assert ["empty.txt" in card["refused"][0], "picture.txt" in card["refused"][1], len(card["refused"])] == [1, 1, 2]
    assert any('Joined: 2 texts, one after the other: "a.txt", "b.txt"' in note for note in card["notes"])
    error = sentence(uploads.read(token(1), paths[::2])[0])
    assert "empty.txt" in error
    assert "picture.txt" in error
    assert names(reading(server, {"session": token(1)})) == ["a.txt", "b.txt"]


def test_after_a_refused_file_the_next_one_is_used(uploads: Uploads, put: Put) -> None:
    sentence(uploads.read(token(1), put("picture.txt", PNG))[0])
    card, table = uploads.read(token(1), put("a.txt", "the cat\n"))
    assert (card["ok"], card["name"], names(table), card["refused"]) == (True, "a.txt", ["a.txt"], [])


def test_a_selection_takes_the_place_of_the_former_one_or_joins_it(
    server: Server, uploads: Uploads, put: Put
) -> None:  # fmt: skip
    first, second, third = (
        put("bom.txt", "\ufeffthe cat\n"),
        put("latin1.txt", "caf\xe9".encode("latin-1")),
        put("c", PNG),
    )
    uploads.read(token(1), first)
    card, table = uploads.read(token(1), second)
    assert (card["name"], names(table)) == ("latin1.txt", ["latin1.txt"])
    card, table = uploads.read(token(1), [first, second], adding=True)  # one of them for the second time
    assert (card["files"], names(table), card["excerpt"]) == (2, ["latin1.txt", "bom.txt"], "caf\xe9\nthe cat")
    card, table = uploads.read(token(1), third, adding=True)
    assert (names(table), len(card["refused"])) == (["latin1.txt", "bom.txt"], 1)
    uploads.paste(token(1), "pasted before")
    assert names(uploads.read(token(1), first, adding=True)[1]) == ["bom.txt"]  # there was no file to add to


def test_another_source_puts_the_files_away(server: Server, uploads: Uploads, put: Put) -> None:
    """Pasted, from the list, or by the Train tab: no file is in use then, no table to choose from, no other choice."""
    need("tales.txt")
    taken = []
    for take in (
        lambda: uploads.paste(token(1), TEXT)[0],
        lambda: uploads.example(token(1), "tales")[0],
        lambda: Look(server).take(token(1), "tales"),
    ):
        card, table = uploads.read(token(1), put("table.csv", "id,text\n1,the cat sat\n2,the dog sat\n"))
        assert (card["files"], table["columns"], card["example"]) == (1, ["id", "text"], None)
        card = take()
        assert (card["ok"], card["files"]) == (True, 0)
        assert reading(server, {"session": token(1)}) == NO_TABLE | {"files": []}
        taken += [card["example"]]
    assert taken == [None, "tales", None]


def test_the_list_set_to_what_is_in_use_takes_nothing(server: Server, uploads: Uploads) -> None:
    need("tales.txt")
    uploads.example(token(1), "tales")
    before = visitor(server).corpus
    assert uploads.example(token(1), "tales")[0]["taken"] == 1
    assert visitor(server).corpus is before


def test_files_keep_the_names_that_the_visitor_gave_them(uploads: Uploads, put: Put) -> None:
    """Not those that Gradio stores them under."""
    name = "<img src=x onerror=alert(1)> ${alert(1)} {{x}}.txt"
    path = put("img srcx onerroralert1 alert1 x.txt", TEXT)
    pairs = given(ListFiles(root=[FileData(path=path, orig_name=name)]))
    assert pairs == given(FileData(path=path, orig_name=name)) == [(path, name)]
    assert given(None) is None
    card, table = uploads.read(token(1), pairs)
    assert (card["name"], names(table)) == (name, [name])
    card, table = uploads.read(token(1), [(path, "\u202egpj.txt"), (put("p.txt", PNG), "b\x1b.txt")])
    assert (card["name"], names(table)) == ("\ufffdgpj.txt", ["\ufffdgpj.txt"])
    assert '"b\ufffd.txt" is a PNG picture' in card["refused"][0]


COMMAS = "name;text\n" + "".join(f"fox {i};one, two, {'three, ' * (i % 3)}and a hen\n" for i in range(9))


def test_the_delimiter_can_be_chosen(server: Server, uploads: Uploads, put: Put) -> None:
    _, table = uploads.read(token(1), put("fox.csv", COMMAS))
    assert (table["layout"], table["delimiter"], table["columns"]) == ("semicolon", None, ["name", "text"])
    assert sentence(choose_(server, delimiter="comma")).endswith(
        "A semicolon fits: choose it, or leave the delimiter to be found."
    )
    assert reading(server, {"session": token(1)})["columns"] == ["name", "text"]
    chosen = choose_(server, delimiter="bar")
    assert (chosen["reading"]["delimiter"], chosen["reading"]["columns"]) == ("bar", [])
    assert chosen["corpus"]["excerpt"].startswith("fox 0;one, two")
    chosen = choose_(server, "name", delimiter="semicolon")
    assert chosen["corpus"]["excerpt"].startswith("fox 0\nfox 1")
    for bad in (",", "nothing", 7, ["comma"]):
        assert "delimiter" in sentence(choose_(server, delimiter=bad))


def test_a_refused_table_is_mended_while_the_former_text_stays(server: Server, uploads: Uploads, put: Put) -> None:
    uploads.read(token(1), put("fox.txt", TEXT))
    card, table = uploads.read(token(1), put("ragged.csv", "id,text\n" + "1,the cat, the dog\n" * 3 + "2,the hen\n"))
    assert "ragged" in sentence(card)
    assert (names(table), table["refused"], table["can_keep"]) == (["fox.txt"], "ragged.csv", True)
    assert state(server)({"session": token(1)})["name"] == "fox.txt"
    chosen = choose_(server, "text", keep_good=True)
    assert (chosen["corpus"]["excerpt"], chosen["reading"]["refused"]) == ("the hen", None)
    assert names(chosen["reading"]) == ["ragged.csv"]
    _, table = uploads.read(token(1), put("picture.csv", PNG))
    assert (names(table), table["refused"]) == (["ragged.csv"], None)  # nothing can be chosen about a picture


def test_another_way_of_reading_loses_no_file(server: Server, uploads: Uploads, put: Put) -> None:
    paths = [
        put("a.csv", "id,text,more\n1,the cat,x y\n"),
        put("b.csv", "id,text\n1,the dog\n"),
        put("c.jsonl", BROKEN),
    ]
    card, table = uploads.read(token(1), paths)
    assert (names(table), card["excerpt"]) == (["a.csv", "b.csv"], "the cat\nthe dog")
    assert "b.csv" in sentence(choose_(server, "more"))
    chosen = choose_(server, "text", keep_good=True)
    assert names(chosen["reading"]) == ["a.csv", "b.csv", "c.jsonl"]
    assert chosen["corpus"]["refused"] == []


def test_json_lines_offer_their_fields(server: Server, uploads: Uploads, put: Put) -> None:
    card, table = uploads.read(token(1), put("posts.jsonl", GOOD))
    assert card["ok"]
    assert (table["columns"], table["column"], table["can_keep"]) == (["id", "text"], "text", False)
    assert (table["layout"], table["delimiters"]) == ("one JSON object a line", [])
    corpus = visitor(server).corpus
    assert corpus is not None
    assert corpus.documents == ("the cat sat on the mat", "the dog sat on the log")


def test_texts_inside_objects_are_offered_by_their_paths(server: Server, uploads: Uploads, put: Put) -> None:
    lines = "".join(json.dumps({"id": f"i{i}", "data": {"text": f"the cat sat {i} times"}}) + "\n" for i in range(3))
    card, table = uploads.read(token(1), put("posts.jsonl", lines))
    assert (card["ok"], table["columns"], table["column"]) == (True, ["id", "data", "data.text"], "data.text")
    assert choose_(server, "id")["corpus"]["excerpt"] == "i0\ni1\ni2"
    assert choose_(server, "data.text")["corpus"]["excerpt"].startswith("the cat sat 0 times")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("numbers.csv", "a,b\n1,2\n3,4\n", "No column"),
        ("lists.jsonl", '{"n": 1, "talk": ["hello"]}\n' * 3, "No field"),
    ],
)
def test_a_table_without_texts_offers_nothing_to_choose(
    server: Server, uploads: Uploads, put: Put, name: str, content: str, said: str
) -> None:
    """So that one sentence stands on the page, and no way out that is none."""
    card, table = uploads.read(token(1), put(name, content))
    assert sentence(card).startswith(f'{said} of "{name}" holds text')
    assert (table["refused"], table["columns"], table["delimiters"]) == (None, [], [])
    card, table = uploads.read(token(1), [put("fox.txt", TEXT), put(name, content)])
    assert card["refused"][0].startswith(f'{said} of "{name}" holds text')
    assert table["columns"] == []


def test_broken_lines_are_named_and_can_be_left_out(server: Server, uploads: Uploads, put: Put) -> None:
    path = put("posts.jsonl", BROKEN)
    card, table = uploads.read(token(1), path)
    assert "lines 3 and 4 are no JSON object" in sentence(card)
    assert visitor(server).corpus is None
    assert table["can_keep"] is True  # the way out is offered
    assert table["column"] == "text"
    kept = choose_(server, "text", True)
    assert kept["ok"]
    assert any("Left out: lines 3 and 4" in note for note in kept["corpus"]["notes"])
    corpus = visitor(server).corpus
    assert corpus is not None
    assert corpus.text == "the cat sat on the mat\nthe dog sat on the log"
    sentence(choose_(server, "text", False))
    assert visitor(server).corpus is corpus


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("picture.txt", PNG, "PNG picture"),
        ("noise.txt", bytes(range(256)) * 20, "binary"),
        ("book.pdf", b"%PDF-1.7\n" + PNG, "PDF"),
        ("empty.txt", b"", "empty"),
        ("blank.md", b" \n \n", "only spaces"),
        ("one.txt", b"a", "one character long"),
        ("same.txt", b"aaaaaa", "repeats one character"),
        ("empty.csv", b"", "empty"),
        ("header.csv", b"id,text\n", "no rows"),
        ("quote.csv", b'id,text\n1,"the cat\n2,dog\n', "never closes"),
        ("list.jsonl", b'[{"text": "a"}]', "JSON"),
        ("none.jsonl", b"no json at all\n", "JSON"),
        ("picture.csv", PNG, "PNG picture"),
        ("picture.jsonl", PNG, "PNG picture"),
    ],
)
def test_what_is_no_text_keeps_the_former_one(
    server: Server, uploads: Uploads, put: Put, name: str, content: bytes, says: str
) -> None:
    assert uploads.paste(token(1), TEXT)[0]["ok"]
    before = visitor(server).corpus
    card, _ = uploads.read(token(1), put(name, content))
    error = sentence(card)
    assert says in error
    assert name in error
    assert visitor(server).corpus is before
    assert state(server)({"session": token(1)})["name"] == "pasted text"


@pytest.mark.parametrize("what", ["file", "csv", "paste"])
def test_too_much_is_refused_before_it_is_read(serve: Callable[..., Server], put: Put, what: str) -> None:
    server = serve(upload_bytes=1000)
    uploads = Uploads(server)
    long = "the cat\n" * 200
    if what == "paste":
        card, _ = uploads.paste(token(1), long)
    else:
        card = uploads.read(token(1), put("long.txt" if what == "file" else "long.csv", "text\n" + long))[0]
    assert "the limit is 1 kB" in sentence(card)
    assert uploads.paste(token(1), long[:1000])[0]["ok"]


HOSTILE = [
    "<img src=x onerror=alert(1)>.txt",
    "{{constructor}} ${alert(1)} `x`.txt",
    "..%2f..%2fetc%2fpasswd.txt",
    "..txt",
    "a\nb\r\x1b[31m.txt",
    "\u202egpj.txt",
    "\u2028\x7f\x85.txt",
    "ñ日本語😀.txt",
    "&lt;script&gt;.txt",
    "'; DROP TABLE runs;--.txt",
    "n" * 200 + ".txt",
    ".txt",
    " .txt",
    "no ending",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_a_name(server: Server, uploads: Uploads, put: Put, name: str) -> None:
    card, _ = uploads.read(token(1), put(name, TEXT))
    assert card["ok"]
    assert card["name"].isprintable()
    assert 0 < len(card["name"]) <= LONGEST_NAME
    if name.isprintable() and 4 < len(name) <= LONGEST_NAME:
        assert card["name"] == name.strip()
    error = sentence(uploads.read(token(1), put(name, PNG))[0])
    assert error.isprintable()


def test_a_name_that_is_no_utf8_does_no_harm(uploads: Uploads, tmp_path: Path) -> None:
    path = bytes(tmp_path) + b"/caf\xe9.txt"
    with open(path, "w") as file:
        file.write(TEXT)
    card, _ = uploads.read(token(1), path.decode(errors="surrogateescape"))
    assert card["ok"]
    json.dumps(card).encode("utf-8")
    assert card["name"].encode("utf-8").decode() == "caf\ufffd.txt"


def test_a_file_that_went_away_is_said(server: Server, uploads: Uploads, tmp_path: Path) -> None:
    assert "no file" in sentence(uploads.read(token(1), str(tmp_path / "gone.txt"))[0])
    assert "no file" in sentence(choose_(server, None))
    assert "folder" in sentence(uploads.read(token(1), str(tmp_path))[0])


@pytest.mark.parametrize("path", [None, "", []])
def test_no_file_changes_nothing(server: Server, uploads: Uploads, path: Any) -> None:
    skipped = uploads.read(token(1), path)
    assert all(set(update) == {"__type__"} for update in skipped)
    assert len(server.visitors) == 0
    assert "no file to choose a column of" in sentence(choose_(server, "text"))


# Paste


def test_a_pasted_text_becomes_the_visitors_own(server: Server, uploads: Uploads) -> None:
    card, _ = uploads.paste(token(1), "the cat\r\nsat\ud800 on\x00 it")
    corpus = visitor(server).corpus
    assert corpus is not None
    assert corpus.text == "the cat\nsat\ufffd on it"
    assert (card["name"], card["source"]) == ("pasted text", "paste")
    assert card["notes"]


@pytest.mark.parametrize(("pasted", "says"), [("", "no text"), (" \n", "only spaces"), ("aaa", "repeats")])
def test_a_paste_without_a_text_in_it_is_refused(
    server: Server, uploads: Uploads, pasted: str, says: str
) -> None:  # fmt: skip
    assert says in sentence(uploads.paste(token(1), pasted)[0])
    assert visitor(server).corpus is None


def test_a_new_text_forgets_the_old_tokenizers(server: Server, uploads: Uploads) -> None:
    uploads.paste(token(1), "abc abc")
    built = []
    for _ in range(2):
        visitor(server).tokenizer(Recipe(tokenizer="char"), from_text("abc"), lambda: built.append(1))  # type: ignore[arg-type,return-value]
    uploads.paste(token(1), "abc abd")
    visitor(server).tokenizer(Recipe(tokenizer="char"), from_text("abc"), lambda: built.append(1))  # type: ignore[arg-type,return-value]
    assert len(built) == 2


# Examples


def need(filename: str) -> None:
    if not (ASSETS / "corpora" / filename).exists():
        pytest.skip(f"assets/corpora/{filename} is not here: get the whole repository")


@pytest.mark.parametrize("example", corpora.SHIPPED, ids=lambda example: example.key)
def test_each_example_can_be_taken(server: Server, uploads: Uploads, example: corpora.Example) -> None:
    need(example.filename)
    card, _ = uploads.example(token(1), example.key)
    assert (card["ok"], card["name"], card["source"]) == (True, example.title, "shipped")
    assert (example.title, example.key) in corpora.choices()
    corpus = visitor(server).corpus
    assert corpus is not None
    raw = (ASSETS / "corpora" / example.filename).read_text(encoding="utf-8")
    assert (corpus.text == raw) == (example.column is None)
    assert card["characters"] == len(corpus.text)


def test_a_missing_example_says_where_it_belongs(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    monkeypatch.setattr(corpora, "ASSETS", tmp_path)
    assert sentence(uploads.example(token(1), "tales")[0]) == text.EXAMPLE_MISSING


@pytest.mark.parametrize("key", ["", "nothing", "hub:", "hub:nothing", "../tales", "tales.txt", "hub:../../x"])
def test_what_is_not_on_offer_is_refused(server: Server, uploads: Uploads, key: str) -> None:
    """Without a word to the network: none of these keys is on the shelf."""
    sentence(uploads.example(token(1), key)[0])
    assert visitor(server).corpus is None


def test_every_choice_has_a_title_and_a_key_of_its_own() -> None:
    titles, keys = zip(*corpora.choices(), strict=True)
    assert len(set(titles)) == len(set(keys)) == len(titles)
    assert corpora.DEFAULT in keys


# What the page asks


def test_a_newcomer_has_the_tales(server: Server) -> None:
    need("tales.txt")
    reply = state(server)({"session": token(3)})
    assert (reply["ok"], reply["name"]) == (True, "Tales")
    assert state(server)({"session": token(3)}) == reply


def test_two_visitors_have_their_own_texts(server: Server, uploads: Uploads) -> None:
    uploads.paste(token(1), "one one")
    uploads.paste(token(2), "two two")
    asked = state(server)
    assert [asked({"session": token(who)})["excerpt"] for who in (1, 2)] == ["one one", "two two"]


@pytest.mark.parametrize("bad", [None, "", "v1", "../x"])
def test_without_a_visitor_nothing_is_taken(server: Server, uploads: Uploads, put: Put, bad: Any) -> None:
    path = put("book.txt", TEXT)
    for reply in (
        *uploads.paste(bad, TEXT), *uploads.example(bad, "tales"), *uploads.read(bad, path),
        state(server)({"session": bad}), state(server)(bad),
        *(answer({"session": bad}) for answer in functions(server, reading, choose, clean, hub_files, hub_take)),
        *(answer(bad) for answer in functions(server, reading, choose, clean, hub_files, hub_take)),
    ):  # fmt: skip
        assert "visitor id" in sentence(reply)
    assert len(server.visitors) == 0
