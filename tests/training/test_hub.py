"""Data sets from the Hub, against a small server on 127.0.0.1 that speaks the part of its protocol that is used."""

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pyarrow.parquet
import pytest
from huggingface_hub import constants

from tests.training.test_cli import SMALL
from training import __main__ as cli
from training import hub, tokenizer_bench
from training.artifacts import data_of
from training.corpus import READABLE_TYPES, CorpusError
from training.kept import read_text
from training.origin import Data
from training.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PLAY = "First Citizen:\r\nBefore we proceed any further, hear me speak.\r\n" * 20


def parquet_file() -> bytes:
    buffer = io.BytesIO()
    table = pyarrow.table({"id": [1, 2], "text": ["once upon a time", "the end\nof it"]})
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def zip_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("b.txt", "the second")
        archive.writestr("a.txt", "the first\n")
    return buffer.getvalue()


FILES = {
    "glass/plays": {"README.md": b"# Plays\n", "input.txt": PLAY.encode(), "data/big.txt": b"x" * 5000},
    "glass/tables": {
        "poetry.csv": b'author,content\nA,"roses are red,\nviolets are blue"\nB,shall I compare thee\n',
        "quotes.jsonl": b'{"quote": "be yourself", "author": "O"}\n{"quote": "so it goes", "author": "K"}\n',
    },
    "glass/parquet": {"data/train.parquet": parquet_file(), "model.bin": b"\x00"},
    "glass/poems": {
        "README.md": b"# Poems\n",
        "data/poems.csv": b"id,who,line\n" + b"".join(b"%d,A,roses are red today\n" % i for i in range(60)),
    },
    "glass/zip": {"poems.zip": zip_file()},
    "glass/arrays": {"model.bin": b"\x00", "x.npy": b"\x93NUMPY"},
    "glass/binary": {"trap.txt": b"PAR1" + bytes(500)},
}
for _item in hub.SHELF:  # the shelf's repositories, with made-up contents under their real names
    _text = {".csv": b"id,%s\n1,some text\n2,and more\n", ".jsonl": b'{"%s": "some text"}\n'}.get(
        Path(_item.filename).suffix, b"emma\nolivia\nava\n"
    )
    FILES[_item.repo_id] = {_item.filename: _text.replace(b"%s", (_item.column or "").encode())}


class FakeHub(BaseHTTPRequestHandler):
    """`resolve` and `api/datasets`. Repositories called gated, broken or busy/NAME answer as their name says."""

    protocol_version = "HTTP/1.1"
    log: list[tuple[str, str, str | None]]  # (method, path, authorization)

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.log.append((self.command, path, self.headers.get("Authorization")))
        parts = path.strip("/").split("/")
        at = 2 if parts[0] == "api" else 1
        repo, rest = "/".join(parts[at : at + 2]), parts[at + 2 :]
        refusals = {"gated": (403, "GatedRepo"), "broken": (500, ""), "busy": (429, "")}
        if parts[at] in refusals:
            return self.refuse(*refusals[parts[at]])
        if repo not in FILES:
            return self.refuse(401, "RepoNotFound")
        if parts[0] == "api":
            files = [{"rfilename": name, "size": len(body)} for name, body in FILES[repo].items()]
            return self.send(json.dumps({"id": repo, "sha": COMMIT, "siblings": files}).encode(), {})
        revision, name = rest[1], "/".join(rest[2:])
        if revision == "nowhere":
            return self.refuse(404, "RevisionNotFound")
        if name not in FILES[repo]:
            return self.refuse(404, "EntryNotFound")
        body = FILES[repo][name]
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        self.send(body, {"ETag": etag, "X-Repo-Commit": COMMIT if revision == "main" else revision})

    def send(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.send(b"", {"X-Error-Code": code} if code else {}, status)


class Hub:
    """The running server: its address and the requests it has seen."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str, str | None]] = []
        handler = type("Handler", (FakeHub,), {"log": self.log})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def stop(self) -> None:
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nothing_leaves: None) -> Iterator[Hub]:
    """The server, as HF_ENDPOINT."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_the_owners_secret")
    running = Hub()
    monkeypatch.setenv("HF_ENDPOINT", running.address)
    huggingface_hub.close_session()
    yield running
    huggingface_hub.close_session()
    running.stop()
    assert all(authorization is None for *_, authorization in running.log)


def refusal(call: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(CorpusError) as refused:
        call(*args, **options)
    sentence = str(refused.value)
    assert sentence.isprintable()
    assert "http" not in sentence
    return sentence


def test_a_file_becomes_a_corpus(fake: Hub) -> None:
    corpus = hub.fetch("glass/plays", "input.txt")
    assert corpus.text == PLAY.replace("\r\n", "\n")
    assert corpus.name == "input.txt"
    assert corpus.source == "hub:glass/plays/input.txt"
    assert [method for method, path, _ in fake.log if path == "/datasets/glass/plays/resolve/main/input.txt"] == [
        "HEAD",
        "HEAD",
        "GET",
    ]


def test_tables_from_the_hub(fake: Hub) -> None:
    assert hub.fetch("glass/tables", "poetry.csv", column="content").documents == (
        "roses are red,\nviolets are blue",
        "shall I compare thee",
    )
    assert hub.fetch("glass/tables", "quotes.jsonl", column="quote").documents == ("be yourself", "so it goes")
    assert 'no column "poem"' in refusal(hub.fetch, "glass/tables", "poetry.csv", column="poem")


def test_parquet_and_zip_from_the_hub(fake: Hub) -> None:
    corpus = hub.fetch("glass/parquet", "data/train.parquet", column="text")
    assert corpus.documents == ("once upon a time", "the end\nof it")
    assert corpus.source == "hub:glass/parquet/data/train.parquet"
    assert hub.fetch("glass/parquet", "data/train.parquet").documents == corpus.documents
    assert hub.fetch("glass/zip", "poems.zip").text == "the first\nthe second"


def test_the_endpoint_can_be_given_by_the_call(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT")
    assert hub.fetch("glass/plays", "input.txt", endpoint=fake.address + "/").text.startswith("First Citizen")


def test_files_of_a_data_set(fake: Hub) -> None:
    for name in ("glass/plays", f"{fake.address}/datasets/glass/plays/tree/main", "datasets/glass/plays"):
        files = hub.dataset_files(name)
        assert [file.filename for file in files] == ["input.txt", "data/big.txt", "README.md"]
        assert files[0].size == len(PLAY)
    assert '".bin", ".npy"' in refusal(hub.dataset_files, "glass/arrays")
    assert [file.filename for file in hub.dataset_files("glass/parquet")] == ["data/train.parquet"]


def test_a_file_over_the_limit_is_not_fetched(fake: Hub) -> None:
    sentence = refusal(hub.download, "glass/plays", "data/big.txt", max_bytes=4999)
    assert "5 kB, and the limit is 5 kB" in sentence
    assert [method for method, *_ in fake.log] == ["HEAD"]
    assert hub.download("glass/plays", "data/big.txt", max_bytes=5000).stat().st_size == 5000


def test_a_binary_file_under_a_text_name(fake: Hub) -> None:
    assert "Parquet" in refusal(hub.fetch, "glass/binary", "trap.txt")


@pytest.mark.parametrize(
    ("repo", "filename", "said"),
    [
        ("glass/nothing", "input.txt", "no open data set"),
        ("glass/plays", "other.txt", 'has no file "other.txt"'),
        ("gated/thing", "input.txt", "not open to everyone"),
        ("broken/thing", "input.txt", "The Hub failed (500)"),
        ("busy/thing", "input.txt", "too many requests"),
        ("plays", "input.txt", "owner/name"),
        ("../..", "input.txt", "owner/name"),
        ("a/b/c", "input.txt", "owner/name"),
        ("\x1b[31m/<script>", "input.txt", "owner/name"),
        ("-dash/name-", "input.txt", "owner/name"),
        ("glass/plays", "../../etc/passwd.txt", "not a file name"),
        ("glass/plays", "/etc/passwd.txt", "not a file name"),
        ("glass/plays", "a\\b.txt", "not a file name"),
        ("glass/plays", "a\nb.txt", "not a file name"),
        ("glass/plays", "model.safetensors", "cannot be read as a corpus"),
    ],
)
def test_what_goes_wrong_is_said(fake: Hub, repo: str, filename: str, said: str) -> None:
    assert said in refusal(hub.download, repo, filename)


@pytest.mark.parametrize(
    ("repo", "said"),
    [
        ("glass/nothing", "no open data set"),
        ("gated/thing", "not open to everyone"),
        ("broken/thing", "The Hub failed (500)"),
        ("busy/thing", "too many requests"),
        ("nonsense", "owner/name"),
    ],
)
def test_what_goes_wrong_with_a_listing_is_said(fake: Hub, repo: str, said: str) -> None:
    assert said in refusal(hub.dataset_files, repo)


def test_a_version_that_is_not_there(fake: Hub) -> None:
    assert "no such version" in refusal(hub.download, "glass/plays", "input.txt", revision="nowhere")
    assert "not a version" in refusal(hub.download, "glass/plays", "input.txt", revision="../../x")


def test_without_a_network(fake: Hub) -> None:
    hub.fetch("glass/plays", "input.txt")
    fake.stop()
    huggingface_hub.close_session()
    assert hub.fetch("glass/plays", "input.txt").text.startswith("First Citizen")  # the copy of the first click
    assert "could not be reached" in refusal(hub.fetch, "glass/tables", "poetry.csv")
    assert "could not be reached" in refusal(hub.dataset_files, "glass/tables")


def test_a_server_that_is_no_hub(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeHub, "answer", lambda self: self.send(b"<html>Log in to this hotel's network</html>", {}))
    assert "could not be reached" in refusal(hub.fetch, "glass/plays", "input.txt")
    assert "could not be reached" in refusal(hub.dataset_files, "glass/plays")


def test_an_answer_of_the_hub_beats_an_old_copy(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fetch("glass/plays", "input.txt")
    monkeypatch.delitem(FILES, "glass/plays")
    assert "no open data set" in refusal(hub.fetch, "glass/plays", "input.txt")


def test_a_cache_that_cannot_be_written(fake: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    sentence = refusal(hub.download, "glass/plays", "input.txt", cache_dir=tmp_path / "file")
    assert "could not be stored" in sentence


@pytest.mark.parametrize("item", hub.SHELF, ids=lambda item: item.key)
def test_each_item_of_the_shelf_takes_one_click(fake: Hub, item: hub.ShelfItem) -> None:
    corpus = hub.from_shelf(item.key)
    assert corpus.source == f"hub:{item.repo_id}/{item.filename}"
    assert (corpus.documents is not None) == (item.column is not None or item.lines_are_documents)
    seen = len(fake.log)
    assert hub.from_shelf(item.key) == corpus
    if len(item.revision) == 40:  # a commit never changes: the second click asks nobody
        assert len(fake.log) == seen
    assert all(method == "HEAD" for method, *_ in fake.log[seen:])


def test_the_shelf_is_well_formed() -> None:
    assert len({item.key for item in hub.SHELF}) == len(hub.SHELF) >= 4
    for item in hub.SHELF:
        assert Path(item.filename).suffix in READABLE_TYPES
        assert 0 < item.size <= 50_000_000
        assert item.title
        assert item.about
        assert item.verified
    assert "Choose" in refusal(hub.from_shelf, "no such key")


def test_hf_endpoint_in_a_fresh_interpreter_and_a_lazy_import(fake: Hub, tmp_path: Path) -> None:
    program = (
        "import sys; from training import hub\n"
        "assert 'huggingface_hub' not in sys.modules\n"
        "print(hub.from_shelf('tiny-shakespeare').text, end='')\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": fake.address, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "emma\nolivia\nava\n"
    item = hub.SHELF[0]
    wanted = f"/datasets/{item.repo_id}/resolve/{item.revision}/{item.filename}"
    assert [path for _, path, _ in fake.log] == [wanted] * 3


# -- by the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program runs."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command line says where it refuses; nothing is left behind."""
    capsys.readouterr()
    assert cli.main([*arguments, "--out", "refused", *SMALL]) == 2
    said = capsys.readouterr().err
    assert said.startswith("python -m training: ")
    assert said.count("\n") == 1
    assert not Path("refused").exists()
    return said


def test_a_run_of_a_data_set_by_its_name(fake: Hub, folder: Path) -> None:
    """The one file that it has; the run says where it came from, and trains again from the Hub."""
    assert cli.main(["--hub", "glass/poems", "--column", "line", "--out", "first", *SMALL]) == 0
    texts = read_text(Path("first"))
    assert texts is not None
    assert texts.train.startswith("roses are red today\n")
    info, config = RunFolder(Path("first")).info(), Path("first", "config.yaml")
    assert (info.name, info.corpus["source"]) == ("poems fast", "hub:glass/poems/data/poems.csv")
    data = Data(("poems.csv",), "line", hub="glass/poems/data/poems.csv", characters=60 * 20 - 1)
    assert data_of(config.read_text("utf-8")) == data
    Path("alone.yaml").write_text(config.read_text("utf-8"), encoding="utf-8")
    assert cli.main(["--config", "alone.yaml", "--out", "again", "--quiet"]) == 0
    assert read_text(Path("again")) == texts
    assert data_of(Path("again", "config.yaml").read_text("utf-8")) == data


def test_the_file_of_a_data_set_is_chosen(fake: Hub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "--hub", "glass/plays")
    assert 'Of the data set "glass/plays" can be read: "input.txt" (1.3 kB), "data/big.txt" (5 kB). Choose' in said
    assert said.endswith("(See --hub-file.)\n")
    address = f"{fake.address}/datasets/glass/plays"
    assert cli.main(["--hub", address, "--hub-file", "input.txt", "--out", "run", *SMALL]) == 0
    data = data_of(Path("run", "config.yaml").read_text("utf-8"))
    assert data is not None
    assert (data.files, data.hub) == (("input.txt",), "glass/plays/input.txt")


def test_a_data_set_that_has_nothing_but_its_description(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "glass/bare", {"README.md": b"# Bare\n", "data.arrow": b"\x00"})
    assert 'can be read: "README.md" (7 bytes)' in refusal(hub.only_file, "glass/bare")
    monkeypatch.setitem(FILES, "glass/many", {f"part-{n}.txt": b"x" for n in range(30)})
    assert refusal(hub.only_file, "glass/many").endswith("and 10 more. Choose one of these files.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["glass/poems"],
            "there is no file glass/poems: if it is a data set of the Hugging Face Hub, give --hub glass/p",
        ),
        (["glass/poems.txt"], 'There is no file "poems.txt" (any more)'),
        (["--hub", "glass/nothing"], 'There is no open data set "glass/nothing" on the Hub'),
        (["--hub", "nonsense"], "owner/name"),
        (["--hub", "gated/thing"], "not open to everyone"),
        (["--hub", "glass/arrays"], '".bin", ".npy"'),
        (
            ["--hub", "glass/plays", "--hub-file", "other.txt"],
            'has no file "other.txt". Choose another file. (See --hub',
        ),
        (["--hub", "glass/plays", "--hub-file", "model.bin"], "cannot be read as a corpus"),
        (["--hub", "glass/poems", "--column", "nothing"], 'has no column "nothing"'),
        (["--hub", "glass/poems", "text.txt"], "leave out one of them"),
        (["--hub-file", "input.txt"], "--hub-file goes with --hub"),
        (["--hub-file", "input.txt", "--estimate"], "--hub-file goes with --hub"),
    ],
)
def test_a_data_set_that_the_command_line_cannot_read(
    fake: Hub, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in told(capsys, *arguments)


def test_the_command_line_without_a_network(fake: Hub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was read before is read again from the cache, where it is named."""
    chosen = ["--hub", "glass/plays", "--hub-file", "input.txt"]
    assert cli.main([*chosen, "--out", "first", *SMALL]) == 0
    fake.stop()
    huggingface_hub.close_session()
    assert cli.main([*chosen, "--out", "again", *SMALL]) == 0
    assert "could not be reached" in told(capsys, "--hub", "glass/poems")
    assert "could not be reached" in told(capsys, "--hub", "glass/tables", "--hub-file", "poetry.csv")


def test_a_data_set_in_a_fork_an_estimate_and_under_the_tokenizers(
    fake: Hub, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_the_hub = ["--hub", "glass/poems", "--column", "line"]
    assert cli.main([*of_the_hub, "--out", "first", "--go-on", *SMALL]) == 0
    assert cli.main([*of_the_hub, "--out", "first", "--go-on", *SMALL]) == 0
    assert "holds this run already" in capsys.readouterr().out
    monkeypatch.setitem(FILES, "glass/other", FILES["glass/poems"])
    assert cli.main(["--hub", "glass/other", "--column", "line", "--out", "first", "--go-on", *SMALL]) == 2
    assert "holds another run" in capsys.readouterr().err
    assert cli.main([*of_the_hub, "--fork", "first", "--more", "2", "--out", "fork", "--quiet"]) == 0
    assert cli.main([*of_the_hub, "--estimate", *SMALL]) == 0
    capsys.readouterr()
    assert tokenizer_bench.main([*of_the_hub, "--entries", "257", "--sentence", "roses are blue"]) == 0
    assert "\nwords roses|are|[blue?]\n" in capsys.readouterr().out
    assert tokenizer_bench.main(["--hub", "glass/plays"]) == 2
    assert capsys.readouterr().err.endswith("(See --hub-file.)\n")
