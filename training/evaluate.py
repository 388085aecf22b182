"""What a generated text is like, in figures: does it repeat itself, how rich is it, does it rhyme, is it copied?

    found = evaluate(text, Index(corpus_text))
    found.distinct[2], found.repetition, found.rhyme_density, found.copied.share

    python -m model runs/tales --prompt "" --tokens 300 | python -m training.evaluate - --corpus runs/tales

A figure of this kind means little by itself. Hold it against the same figure of an equally long piece of real text.
Words are runs of letters and digits, compared in lower case; in scripts without spaces each character is one.

Rhyme is told from spelling, in place of the phonetic transcription of Hirjee and Brown (2010, "Using automated rhyme
detection to characterize rhyming style in rap music") and of Malmi et al. (2016, "DopeLearning: a computational
approach to rap lyrics generation"), whose measure of density it follows. A group of vowel letters stands for the vowel
of a syllable; a final e after a consonant is silent where the word has another vowel. So `sleep` and `dream` do not
assonate here though they do for the ear, and `through` and `bough` do though they don't; English suffers most from
this. Latin, Greek and Cyrillic letters are known; a text in another script has no rhyme density.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.corpus import read_corpora, read_corpus
from training.files import CorpusError
from training.kept import documents_are_lines, read_text
from training.origin import add_reading_flags, reading_given
from training.runs import RunFolder
from training.verbatim import Copied, Index, split, units_of, verdict

PLACES = 3  # of a copied piece that a report shows, each with what stands around it
_SHOWN = 40  # characters of the piece in the midst of them
WINDOW = 15  # words back in which a rhyme is looked for, as Malmi et al. have it
LINES_BACK = 4  # lines back in which the end of a line may find its rhyme: AABB, ABAB and ABBA lie within
_VOWELS = "aeiouy" + "αεηιουω" + "аеиоуыэюя"
_GROUP = re.compile(f"[{_VOWELS}]+")
_SILENT = re.compile(f"(?<=[{_VOWELS}])([^{_VOWELS}]+)e$")


@dataclass(frozen=True)
class Evaluation:
    """Figures of one text. Shares are from 0 to 1; None where the text is too short, or has no such thing.

    distinct: n -> distinct runs of n words over all of them, n = 1, 2, 3 (Li et al. 2016, "A diversity-promoting
    objective function for neural conversation models"); repetition: the share of runs of four words that stood in the
    text before (1 - distinct-4: Welleck et al. 2020, "Neural text generation with unlikelihood training");
    repeated_lines: the share of its lines that stood in it before; rhyme_density: the mean over all words of the number
    of last vowels that one shares with another word shortly before (Malmi et al. 2016); rhymed_lines: the share of
    lines whose end rhymes with that of one of the four before it; copied: see training/verbatim.py, None without a
    corpus.
    """

    characters: int
    words: int
    lines: int
    distinct: dict[int, float | None]
    repetition: float | None
    repeated_lines: float | None
    rhyme_density: float | None
    rhymed_lines: float | None
    copied: Copied | None
    longest_copy: int | None
    """Characters of the longest piece that stands in the corpus."""


def evaluate(text: str, index: Index | None = None) -> Evaluation:
    """The figures of a text; those of copying where the index of a corpus is given. Any string will do."""
    lower = text.lower()
    words = split(lower, index.units if index is not None else units_of(lower))
    lines = [" ".join(line.split()) for line in lower.splitlines() if line.strip()]
    distinct4 = distinct(words, 4)
    pieces = index.pieces(text) if index is not None else ()
    return Evaluation(
        characters=len(text),
        words=len(words),
        lines=len(lines),
        distinct={n: distinct(words, n) for n in (1, 2, 3)},
        repetition=None if distinct4 is None else 1 - distinct4,
        repeated_lines=1 - len(set(lines)) / len(lines) if len(lines) > 1 else None,
        rhyme_density=rhyme_density(words),
        rhymed_lines=rhymed_lines(lines),
        copied=index.copied(text) if index is not None else None,
        longest_copy=max(map(len, pieces), default=0) if index is not None else None,
    )


def distinct(words: Sequence[str], n: int) -> float | None:
    """Distinct runs of n words over all of them, from 0 to 1; None where there is none."""
    runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else None


def rhyme_density(words: Sequence[str]) -> float | None:
    """The mean length of the rhyme that ends at each word, in vowels (Malmi et al. 2016, section 3.2).

    The rhyme of a word is the longest run of vowels that ends at its last one and equals a run that ends at the last
    vowel of one of the WINDOW words before it, consonants left out of account and across words; the same word again is
    no rhyme. None for fewer than two words with vowels.
    """
    vowels, ends, heard = list[str](), list[int](), list[str]()
    for word in words:
        groups = _vowels(word)
        if groups:
            vowels.extend(groups)
            ends.append(len(vowels))
            heard.append(word)
    if len(ends) < 2:
        return None
    total = 0
    for i, end in enumerate(ends):
        best = 0
        for j in range(max(0, i - WINDOW), i):
            if heard[j] == heard[i]:
                continue
            length, most = 0, min(ends[j], end - ends[j])  # the two runs must not overlap
            while length < most and vowels[end - 1 - length] == vowels[ends[j] - 1 - length]:
                length += 1
            best = max(best, length)
        total += best
    return total / len(ends)


def rhymed_lines(lines: Sequence[str]) -> float | None:
    """The share of lines whose last word has the rime of the last word of one of LINES_BACK lines before it.

    The same word again is no rhyme. None for fewer than two lines that end in a word with a vowel.
    """
    ends = [words[-1] for line in lines if (words := split(line.lower(), "words")) and rime(words[-1])]
    if len(ends) < 2:
        return None
    rhymed = 0
    for i, word in enumerate(ends):
        before = ends[max(0, i - LINES_BACK) : i]
        rhymed += any(other != word and rime(other) == rime(word) for other in before)
    return rhymed / len(ends)


def rime(word: str) -> str:
    """From the last vowel to the end, as spelt, without accents and a silent e: `light` -> `ight`; "" without a vowel.

    The last vowel stands for the stressed one, which spelling does not tell.
    """
    plain = _plain(word)
    groups = list(_GROUP.finditer(plain))
    return plain[groups[-1].start() :] if groups else ""


def _vowels(word: str) -> list[str]:
    return _GROUP.findall(_plain(word))


def _plain(word: str) -> str:
    """Lower case, without accents and without a silent e."""
    letters = unicodedata.normalize("NFD", word.lower())
    plain = "".join(c for c in letters if not unicodedata.combining(c))
    return _SILENT.sub(r"\1", plain) if letters.endswith("e") else plain  # an accent makes it heard


def report(text: str, index: Index | None = None) -> str:
    """The figures as lines to read; with an index also the longest pieces that stand in its text, and a verdict."""
    found = evaluate(text, index)
    rows = [
        ("characters, words, lines", f"{found.characters:,}, {found.words:,}, {found.lines:,}"),
        *((f"distinct-{n}", _percent(share)) for n, share in found.distinct.items()),
        ("repeated runs of four words", _percent(found.repetition)),
        ("repeated lines", _percent(found.repeated_lines)),
        ("rhyme density", "none" if found.rhyme_density is None else f"{found.rhyme_density:.2f} vowels a word"),
        ("rhymed lines", _percent(found.rhymed_lines)),
    ]
    lines = [f"{name:30s} {value}" for name, value in rows]
    if index is not None and found.copied is not None:
        lines += [f"{f'copied runs of 8 {found.copied.units}':30s} {_percent(found.copied.share)}"]
        lines += [f"{'longest copied piece':30s} {found.longest_copy} characters", ""]
        if index.left_out:
            lines.append(
                f"Only the first {len(index.text):,} characters of the corpus were looked through; what stands in the "
                f"{index.left_out:,} behind them is not found."
            )
        lines.append(verdict(found.copied).sentence)
        for piece in sorted(index.pieces(text), key=len, reverse=True)[:5]:
            found_there = text[piece.start : piece.end]
            unit, broken = "document" if index.lines else "line", len(found_there) - len(found_there.lstrip("\n"))
            places = index.places(found_there, most=PLACES)
            more = f", {piece.count} places" if piece.count > 1 else ""
            lines.append(f"  {unit} {places[0].line + broken:,}{more}: {_on_one_line(found_there.strip())}")
            for place in places:
                around = f"{place.before}[{_shortened(found_there)}]{place.after}"
                lines.append(f"      {unit} {place.line + broken:,}: … {_on_one_line(around.strip())} …")
    return "\n".join(lines)


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ↵ ")


def _shortened(piece: str) -> str:
    """Its beginning and its end, where it is long: it stands above in full."""
    return piece if len(piece) <= _SHOWN else f"{piece[: _SHOWN // 2]} … {piece[-_SHOWN // 2 :]}"


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 when all went well, 2 with a sentence on stderr when something was wrong."""
    p = argparse.ArgumentParser(prog="python -m training.evaluate", description="Figures of a generated text.")
    p.add_argument("text", help="the file with the text; - reads what is piped in")
    p.add_argument(
        "--corpus", type=Path,
        help="what the model was trained on: what is copied? A run folder, or a file as it is (not cleaned as a run's)",
    )  # fmt: skip
    add_reading_flags(p)  # of the corpus
    options = p.parse_args(argv)
    try:
        if (flags := reading_given(options)) and (options.corpus is None or options.corpus.is_dir()):
            raise ValueError(f"{flags[0]} tells how a file is read: give it with --corpus FILE, or leave it out.")
        text = sys.stdin.read() if options.text == "-" else read_corpus(options.text).text
        print(report(text, _index_of(options.corpus, options) if options.corpus else None), flush=True)
    except ValueError as error:
        print(f"python -m training.evaluate: {getattr(error, 'console', error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read it has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _index_of(path: Path, how: argparse.Namespace) -> Index:
    """Of a file, or of what a run learnt from. how: the flags that it is read by."""
    if not path.is_dir():
        corpus = read_corpora([path], column=how.column, delimiter=how.delimiter, keep_good_lines=how.keep_good_lines)
        return Index(corpus.text, lines=corpus.documents is not None and not any("\n" in d for d in corpus.documents))
    texts = read_text(path)
    if texts is None:
        raise CorpusError(f"{path} holds no text that a run kept: give the file that it was trained on.")
    return Index(texts.train, lines=documents_are_lines(texts, RunFolder(path).info().recipe))


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"


__all__ = [
    "LINES_BACK",
    "WINDOW",
    "Evaluation",
    "distinct",
    "evaluate",
    "report",
    "rhyme_density",
    "rhymed_lines",
    "rime",
]

if __name__ == "__main__":
    sys.exit(main())
