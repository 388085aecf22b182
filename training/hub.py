"""Data sets from the Hugging Face Hub: a shelf of one-click corpora, and any other data set by its name.

Everything goes through huggingface_hub, to the address in `HF_ENDPOINT` (a mirror, or a test's own server) or to
huggingface.co, and only when a visitor asks for it. Files land in the library's cache, so a second click needs no
network. Whatever goes wrong becomes a `CorpusError` that says what to do.

Asked without credentials unless a token is passed: on a public server the owner's token must not open the owner's
private data sets to visitors.
"""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from training.corpus import JSONL_TYPES, READABLE_TYPES, Corpus, lines_as_documents, read_corpus
from training.files import DEFAULT_MAX_BYTES, CorpusError, megabytes, shown, shown_list, too_large

_SECONDS_TO_ANSWER = 10.0
_WITHOUT_THE_HUB = "Or take a file of your own, or one of the corpora that come with the app."
_MOST_NAMED = 20  # files of a data set in a sentence


@dataclass(frozen=True)
class ShelfItem:
    """One data set of the shelf. `column` is the CSV column or the JSON Lines field that holds the text.

    `revision` is a commit where one is known, so that the file cannot change under a reader's feet.
    `verified` says how repository and file name were checked; nothing was downloaded to write this list.
    """

    key: str
    title: str
    about: str
    repo_id: str
    filename: str
    revision: str
    size: int  # bytes, as the Hub's own file listing rounds it
    verified: str
    column: str | None = None
    lines_are_documents: bool = False


SHELF: tuple[ShelfItem, ...] = (
    ShelfItem(
        "tiny-shakespeare",
        "Tiny Shakespeare",
        "A megabyte of Shakespeare's plays: the classic first corpus. Learns names, verse and stage directions.",
        "Trelis/tiny-shakespeare",
        "input.txt",
        "2225a5674b252d623cfb151ef099d179629c2f49",
        1_120_000,
        "The Hub's file listing of this commit shows input.txt (1.12 MB); it is the head of main.",
    ),
    ShelfItem(
        "tiny-stories",
        "TinyStories (validation part)",
        "Short stories in the words of a three-year-old, written by GPT-4. Small models learn whole sentences from it.",
        "roneneldan/TinyStories",
        "TinyStoriesV2-GPT4-valid.txt",
        "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64",
        22_500_000,
        "The Hub's file listing of this commit shows TinyStoriesV2-GPT4-valid.txt (22.5 MB).",
    ),
    ShelfItem(
        "quotes",
        "English quotes",
        "Quotations, one document each: see whether the model learns to stop where a thought ends.",
        "Abirate/english_quotes",
        "quotes.jsonl",
        "main",
        647_000,
        "Several public programs read this file at main and name its fields: quote, author, tags.",
        column="quote",
    ),
    ShelfItem(
        "poetry",
        "Poetry, Renaissance and modern",
        "Poems, one document each, with their line breaks.",
        "merve/poetry",
        "poetry.csv",
        "956ae34eaf5d5086454b0667c7aa441fdd1fe0f7",
        606_000,
        "The Hub's file listing of this commit shows poetry.csv (606 kB); public programs read its column content.",
        column="content",
    ),
    ShelfItem(
        "names",
        "First names",
        "First names, one a line, each a document of its own: the smallest corpus that is fun.",
        "ysn-rfd/tiny-dataset-ysnrfd",
        "names.txt",
        "main",
        228_000,
        "The Hub's file listing of main shows names.txt (228 kB), as large as the list that makemore made known.",
        lines_are_documents=True,
    ),
)


@dataclass(frozen=True)
class HubFile:
    """A file of a data set that a corpus can be read from. `size` in bytes, None where the Hub does not say."""

    filename: str
    size: int | None


def dataset_files(
    repo_id: str, *, revision: str | None = None, endpoint: str | None = None, token: str | None = None
) -> tuple[HubFile, ...]:
    """The readable files (.txt, .md, .csv, .jsonl ...) of a data set, the smallest first, README and notes last.

    `repo_id` is "owner/name" or the address of the data set's page. Raises CorpusError when the Hub cannot be
    reached, the data set is not there, or it holds no readable file (then the sentence names what it does hold).
    """
    repo_id, revision = repo_name(repo_id), _checked_revision(revision)
    hub = _library()
    try:
        info = hub.HfApi(endpoint=_endpoint(endpoint)).dataset_info(
            repo_id, revision=revision, files_metadata=True, timeout=_SECONDS_TO_ANSWER, token=token or False
        )
    except Exception as error:
        raise _sentence(error, repo_id, None) from error
    files = [HubFile(str(sibling.rfilename), sibling.size) for sibling in info.siblings or ()]
    readable = [file for file in files if PurePosixPath(file.filename).suffix.lower() in READABLE_TYPES]
    if not readable:
        kinds = sorted({PurePosixPath(file.filename).suffix.lower() for file in files} - {""})
        holds = f"It holds {shown_list(kinds)}. " if kinds else "It holds no files. "
        raise CorpusError(
            f'The data set "{shown(repo_id)}" has no file that can be read as text. {holds}'
            f"Choose one with {', '.join(READABLE_TYPES[:4])} or .jsonl files."
        )
    return tuple(sorted(readable, key=lambda file: (_is_about(file.filename), file.size or 0, file.filename)))


def only_file(repo_id: str) -> str:
    """The file of a data set that a corpus can be read from, where there is one beside those that describe it.

    Raises CorpusError listing them where there is a choice, and for all that `dataset_files` refuses.
    """
    files = dataset_files(repo_id)
    texts = [file for file in files if not _is_about(file.filename)] or list(files)
    if len(texts) == 1 and not _is_about(texts[0].filename):
        return texts[0].filename
    sizes = ["" if file.size is None else f" ({megabytes(file.size)})" for file in texts]
    named = [f'"{shown(file.filename, 120)}"{size}' for file, size in zip(texts, sizes, strict=True)]
    more = [f"and {len(named) - _MOST_NAMED:,} more"] if len(named) > _MOST_NAMED else []
    raise CorpusError(
        f'Of the data set "{shown(repo_id)}" can be read: {", ".join(named[:_MOST_NAMED] + more)}. '
        "Choose one of these files.",
        "hub-file",
    )


def download(
    repo_id: str,
    filename: str,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Path:
    """The path of a data set's file in the local cache, fetched if it is not there. Nothing is fetched twice.

    The size is asked for first, so that a file over `max_bytes` is refused before it is fetched. Raises CorpusError.
    """
    repo_id, filename, revision = repo_name(repo_id), _checked_file(filename), _checked_revision(revision)
    hub = _library()
    address = _endpoint(endpoint)
    place: dict[str, Any] = {"repo_id": repo_id, "filename": filename, "repo_type": "dataset", "revision": revision}
    cached: object = None
    try:
        cached = hub.try_to_load_from_cache(**place, cache_dir=cache_dir)
        if isinstance(cached, str) and re.fullmatch(r"[0-9a-f]{40}", revision or ""):
            return Path(cached)  # a commit never changes
        # Asked apart from the download: hf_hub_download retries for 23 seconds when the Hub cannot be reached.
        url = hub.hf_hub_url(**place, endpoint=address)
        head = hub.get_hf_file_metadata(url, token=token or False, timeout=_SECONDS_TO_ANSWER, endpoint=address)
        if head.size is not None and head.size > max_bytes:
            raise too_large(shown(filename), head.size, max_bytes)
        return Path(hub.hf_hub_download(**place, endpoint=address, cache_dir=cache_dir, token=token or False))
    except CorpusError:
        raise
    except Exception as error:  # the library's own, its HTTP client's and the disk's: they change between versions
        if isinstance(cached, str) and not _was_answered(error):
            return Path(cached)  # no network: the copy of an earlier day will do
        raise _sentence(error, repo_id, filename) from error


def fetch(
    repo_id: str,
    filename: str,
    *,
    column: str | None = None,
    keep_good_lines: bool = False,
    revision: str | None = None,
    endpoint: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Corpus:
    """A data set's file as a corpus. `column`: the CSV column or JSON Lines field, None for the likeliest one.

    Raises CorpusError for everything that `download` and `read_corpus` refuse.
    """
    repo_id = repo_name(repo_id)
    path = download(
        repo_id,
        filename,
        revision=revision,
        endpoint=endpoint,
        cache_dir=cache_dir,
        token=token,
        max_bytes=max_bytes,
    )
    kind = PurePosixPath(filename).suffix.lower()
    return read_corpus(
        path,
        column=column if kind not in JSONL_TYPES else None,
        field=column if kind in JSONL_TYPES else None,
        keep_good_lines=keep_good_lines,
        max_bytes=max_bytes,
        name=PurePosixPath(filename).name,
        source=f"hub:{repo_id}/{shown(filename, 120)}",
    )


def from_shelf(key: str, *, endpoint: str | None = None, cache_dir: str | Path | None = None) -> Corpus:
    """The corpus of the shelf's item `key`. Raises CorpusError, also when there is no such item."""
    item = next((item for item in SHELF if item.key == key), None)
    if item is None:
        raise CorpusError(f'There is no "{shown(key)}" on the shelf. Choose {shown_list([i.key for i in SHELF])}.')
    corpus = fetch(
        item.repo_id,
        item.filename,
        column=item.column,
        revision=item.revision,
        endpoint=endpoint,
        cache_dir=cache_dir,
    )
    return lines_as_documents(corpus) if item.lines_are_documents else corpus


def _library() -> Any:
    """huggingface_hub, imported when a visitor asks for the Hub and not before."""
    # Else the library reports the installed torch and looks up a list of programs at huggingface.co with each call.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
    except ImportError as error:
        raise CorpusError("Data sets from the Hub need huggingface_hub: pip install huggingface_hub.") from error
    return huggingface_hub


def _endpoint(endpoint: str | None) -> str | None:
    """The address to ask, without a slash at its end; None leaves the choice to the library.

    The library reads HF_ENDPOINT once, at its import; read here as well, a later change counts too.
    """
    address = endpoint or os.environ.get("HF_ENDPOINT") or ""
    return address.rstrip("/") or None


def repo_name(repo_id: str) -> str:
    """ "owner/name" from a repository name or the address of its page. Raises CorpusError for anything else."""
    name = re.sub(r"^(https?://[^/]+/)?(datasets/)?", "", repo_id.strip())
    name = re.split(r"/(?:tree|blob|resolve|viewer)(?:/|$)|[?#]", name)[0].rstrip("/")
    part = r"\w(?:[\w.-]{0,94}\w)?"
    if not re.fullmatch(f"{part}/{part}", name, re.ASCII) or ".." in name or "--" in name or name.endswith(".git"):
        raise CorpusError(
            f'"{shown(repo_id)}" is not the name of a data set. Write it as its page shows it: owner/name.'
        )
    return name


def _checked_file(filename: str) -> str:
    parts = filename.split("/")
    if not filename.isprintable() or "\\" in filename or any(part in ("", ".", "..") for part in parts):
        raise CorpusError(f'"{shown(filename)}" is not a file name. Choose one from the list of the data set\'s files.')
    kind = PurePosixPath(filename).suffix.lower()
    if kind not in READABLE_TYPES:
        raise CorpusError(
            f'"{shown(filename)}" cannot be read as a corpus. Choose a file of one of these types: '
            f"{', '.join(READABLE_TYPES)}."
        )
    return filename


def _checked_revision(revision: str | None) -> str | None:
    """A branch, tag or commit; it becomes part of a path in the cache, so nothing may climb out of it."""
    if revision is not None and (not re.fullmatch(r"\w[\w./-]{0,99}", revision, re.ASCII) or ".." in revision):
        raise CorpusError(f'"{shown(revision)}" is not a version of a data set. Leave the version empty.')
    return revision


def _is_about(filename: str) -> bool:
    """Whether the file describes the data set rather than being it."""
    return PurePosixPath(filename).suffix.lower() == ".md" or PurePosixPath(filename).stem.lower() in (
        "readme",
        "license",
        "dataset_infos",
        "requirements",
    )


def _was_answered(error: Exception) -> bool:
    """Whether the Hub itself said no, so that an old copy must not stand in for its answer."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is not None and status < 500


def _sentence(error: Exception, repo_id: str, filename: str | None) -> CorpusError:
    """A failure of the library in a sentence for the visitor. Its own message (addresses, tokens) is not repeated."""
    from huggingface_hub import errors

    what = f'"{shown(filename)}" of "{shown(repo_id)}"' if filename else f'"{shown(repo_id)}"'
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError | errors.DisabledRepoError):
        return CorpusError(
            f'The data set "{shown(repo_id)}" is not open to everyone. Accept its terms on its page at the Hub, '
            "download the file there and take that, or choose another data set."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return CorpusError(f'The data set "{shown(repo_id)}" has no such version. Leave the version empty.')
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return CorpusError(
            f'The data set "{shown(repo_id)}" has no file "{shown(filename or "")}". Choose another file.', "hub-file"
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError) or status in (401, 403, 404):
        return CorpusError(
            f'There is no open data set "{shown(repo_id)}" on the Hub. Check the name (owner/name); '
            "a private one has to be downloaded by its owner and taken as a file."
        )
    if status == 429:
        return CorpusError("The Hub answers too many requests from this address just now. Try again in some minutes.")
    if status is not None:
        return CorpusError(f"The Hub failed ({status}) when asked for {what}. Try again later. {_WITHOUT_THE_HUB}")
    if isinstance(error, OSError) and (error.filename is not None or error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return CorpusError(
            f"{what} could not be stored on this machine: no room or no right to write in the cache folder. "
            "Free some space, or set HF_HOME to a folder that can be written."
        )
    return CorpusError(
        f"The Hub could not be reached for {what}. Check the internet connection and try again. {_WITHOUT_THE_HUB}"
    )
