"""`python -m training CORPUS --preset NAME --out DIR`: the trainer at the console, the same as behind the page.

`torchrun --nproc-per-node N -m training CORPUS …` trains the same model with N processes (docs/scaling.md).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from model import ConfigError, GPTConfig, Tokenizer
from training.cleaning import accounts, from_options
from training.config import Recipe, TrainConfig
from training.console import follow, leave_signals_to_the_first
from training.corpus import Corpus, about
from training.data import build_tokenizer, documents_of
from training.distributed import ALONE, Group, Ranks, check_sharding, join_others, launched, restarted
from training.estimate import Estimate, TooLarge, check_fits, foreseen, report, row_tokens
from training.events import Finished
from training.fitting import GIVES_WAY, cleaned
from training.flags import changes_of, chosen_by, named, parser, recipe_of, settings, text_to_train_on
from training.fork import fork
from training.origin import Data, Found, given_by, names_a_text, told
from training.progress import shares
from training.resume import find_resumption, fingerprint, resumable_step
from training.runs import RunFolder, check_vacant, holds_a_run
from training.setup import Prepared, set_up
from training.tokens import TokenFiles
from training.trainer import Trainer
from training.worker import work
from training.writers import check_log_to


def main(argv: list[str] | None = None) -> int:
    """Run the program: 0 when the run ended well, 1 when it failed or was stopped, 2 when it could not begin."""
    options = vars(parser().parse_args(argv))
    torch.set_num_threads(1)  # of this thread, which only prepares and watches: the cores are for the one that trains
    if not launched():
        return _carry_out(options, ALONE)
    try:
        group = join_others(options["device"] or "auto")
    except ConfigError as error:
        print(f"python -m training: {error}", file=sys.stderr)
        return 2
    return group.leave(_carry_out(options, group))


def _carry_out(options: dict[str, Any], group: Group) -> int:
    try:
        if options["fork"] is not None:
            return _fork(options, group)
        if any(options[name] is not None for name in ("resume", "more", "rate")):
            return _resume(options, group)
        return _train(options, group)
    except (ValueError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and group is ALONE:
            raise
        sentence = group.why(str(getattr(error, "console", error)), error)
        if group.fail(sentence):
            print(f"python -m training: {sentence}", file=sys.stderr)
        return 2


def _train(options: dict[str, Any], group: Group) -> int:
    """A new run, or one of this very command that is to go on. Raises ValueError with a sentence."""
    changes, recipe = changes_of(options), recipe_of(options)
    if options["silence_head"]:
        raise ConfigError("--silence-head goes with --fork: name the run whose weights it changes.")
    if options["estimate"]:
        return _estimate(options, recipe, changes)
    if not options["out"]:
        raise ConfigError("there is no folder to train in: give --out DIR, or --resume RUN to go on with a run.")
    out, again = Path(options["out"]), restarted() or options["go_on"]
    if not (again and holds_a_run(out)):
        check_vacant(out)
    found = text_to_train_on(options, recipe)
    recipe = recipe.with_changes(changes | asdict(from_options(options, recipe.cleaning)))
    if again:
        stands = group.share(_stands(out, recipe, found.data, chosen_by(options, changes)) if group.rank == 0 else None)
        if stands == "done":
            if group.rank == 0:
                print(f"{out} holds this run already, and it has come to its end.")
            return 0
        if stands == "unfinished":
            return _go_on(RunFolder(out), None, group, options["quiet"])
    text = Path((*found.data.files, found.name)[0]).stem
    name = options["name"] or (text if options["config"] else f"{text} {options['preset']}")
    if group.rank:
        assert isinstance(group, Ranks)
        return _work_along(out, found, recipe, group)
    chosen = GIVES_WAY if options["config"] else chosen_by(options, changes)
    return follow(begin(out, name, found, recipe, chosen, group, options["quiet"]), options["quiet"])


def _resume(options: dict[str, Any], group: Group) -> int:
    """Go on with a run: its own text, settings and folder. Raises ValueError with a sentence."""
    usual = vars(parser().parse_args([]))
    given = [name for name, value in options.items() if value != usual[name]]
    if other := [name for name in given if name not in ("resume", "more", "rate", "quiet")]:
        raise ConfigError(f"a run goes on with its own text and settings: leave out {named(other)}, or --fork it.")
    if options["resume"] is None:
        flag = "--more" if options["more"] is not None else "--rate"
        raise ConfigError(f"{flag} goes with --resume: name the run that is to be trained for longer.")
    return _go_on(RunFolder(options["resume"]), options["more"], group, options["quiet"], options["rate"])


def _fork(options: dict[str, Any], group: Group) -> int:
    """A new run that begins with the weights of another. Raises ValueError with a sentence."""
    usual = vars(parser().parse_args([]))
    given = {name for name, value in options.items() if value != usual[name]}
    if other := sorted(given & {"preset", "config", "resume", "rate", "go_on", "estimate"}):
        raise ConfigError(f"a fork has its parent's settings but for those that are given: leave out {named(other)}.")
    if group.size > 1:
        raise ConfigError("fork with one process, stop it, and go on with several: torchrun … --resume.")
    if not options["out"]:
        raise ConfigError("there is no folder for the fork: give --out DIR.")
    check_vacant(Path(options["out"]))
    path, at = _place(options["fork"])
    folder, corpus = RunFolder(path), None
    before = folder.info().recipe
    known = settings(Recipe) | settings(GPTConfig) | settings(TrainConfig)
    changes = {name: options[name] for name in given & known}
    changes |= {name[6:]: options[name] for name in given if name.startswith("clean_")}
    if names_a_text(options):
        recipe = before.with_changes({k: v for k, v in changes.items() if k not in known})
        corpus = given_by(options).read()
        corpus = cleaned(corpus, recipe, GIVES_WAY)[0].corpus if recipe.cleaning.active else corpus
    name = options["name"] or f"{folder.info().name}, forked"
    silence = [_head(text) for text in options["silence_head"] or ()]
    trainer = fork(folder, Path(options["out"]), name, at, corpus, changes, silence, options["more"])
    _say(_about_fork(trainer))
    trainer.start()
    return follow(trainer, options["quiet"])


def _place(text: str) -> tuple[Path, int | str]:
    """`RUN@STEP` -> the folder, and a step, `best` or `last`."""
    path, parted, step = text.rpartition("@")
    if not parted or Path(text).exists():
        return Path(text), "last"
    return Path(path), int(step) if step.isascii() and step.isdigit() else step


def _head(text: str) -> tuple[int, int]:
    layer, _, head = text.partition(".")
    if not (layer.isascii() and layer.isdigit() and head.isascii() and head.isdigit()):
        raise ConfigError(f"--silence-head {text} names no head: give layer and head counted from 1, such as 2.1.")
    return int(layer) - 1, int(head) - 1


def _about_fork(trainer: Trainer) -> str:
    parent = trainer.folder.info().parent
    assert parent is not None
    weights = "exactly" if parent.weights == "exact" else "as its snapshot has them, rounded to float16"
    optimizer = "its optimizer goes on" if parent.optimizer == "kept" else "the optimizer begins anew"
    return "; ".join([f"forked from {parent.name} at step {parent.step:,}, {weights}", optimizer, *parent.edits]) + "."


def _go_on(folder: RunFolder, more: int | None, group: Group, quiet: bool, rate: float | None = None) -> int:
    apart = f"the processes do not see the same run in {folder.path}: it has to be on a file system that all share."
    if group.rank:
        assert isinstance(group, Ranks)
        prepared, again = find_resumption(folder, more)
        group.check_same(f"{again.step} {fingerprint(prepared.data)}", apart)
        leave_signals_to_the_first()
        return work(folder, prepared, again, group)
    trainer = Trainer.resumed(folder, more, group)
    done = trainer.log.since(0)[1]
    if rate is not None:
        trainer.change(rate)
    if group.size > 1:  # nothing is changed before all have read it
        group.check_same(f"{trainer.resumed_at} {fingerprint(trainer.prepared.data)}", apart)
    trainer.start()
    return follow(trainer, quiet, done)


def _stands(out: Path, recipe: Recipe, data: Data, chosen: Collection[str]) -> str:
    """What --out holds: nothing (""), or this very run, "unfinished" or "done". Raises ConfigError for another run.

    A run that was killed before there was anything to go on from is removed.
    """
    folder = RunFolder(out)
    if not (out / "config.json").exists():
        return ""
    info = folder.info()
    there, wanted = ({**r.to_dict(), "vocab_size": 0, "tokenizer": ""} for r in (info.recipe, recipe))
    given_way = {name: None for name in GIVES_WAY if name not in chosen}
    for values in (there, wanted):  # these follow from the text
        values["train"] = {**values["train"], "sample_prompt": "", "val_fraction": 0.0}
        for part in (values, values["model"], values["train"]):
            part |= {name: None for name in given_way if name in part}
    read = info.corpus.get("data", {})
    if there != wanted or (read.get("files"), read.get("hub")) != (list(data.files), data.hub):
        raise ConfigError(f"{out} holds another run ({info.name}): choose another --out, or repeat its own command.")
    last = folder.last_event()
    if isinstance(last, Finished) and last.reason != "stopped":
        return "done"
    if resumable_step(folder) is not None:
        return "unfinished"
    folder.delete()
    return ""


def _estimate(options: dict[str, Any], recipe: Recipe, changes: dict[str, Any]) -> int:
    """Print what a training will take. Raises ValueError with a sentence."""
    row = None
    if names_a_text(options):
        found = text_to_train_on(options, recipe)
        recipe = recipe.with_changes(changes | asdict(from_options(options, recipe.cleaning)))
        if isinstance(found, TokenFiles):
            recipe = found.fitted(recipe)
            vocab_size = found.tokenizer.vocab_size
        else:  # as it will be carried out, where a short text allows less
            try:
                prepared, _ = _prepared(found, recipe, chosen_by(options, changes), _say)
            except TooLarge:  # which is what was to be known
                vocab_size = _learnt(found.corpus, recipe).vocab_size
            else:
                recipe, vocab_size = prepared.recipe, prepared.tokenizer.vocab_size
                row = row_tokens(prepared.data, recipe.train.batch_size)
    else:
        recipe = recipe.with_changes(changes)
        vocab_size = _vocabulary(recipe)
    config = recipe.model_config(vocab_size)
    estimate: Estimate = foreseen(config, recipe.train, measure=True, row=row)
    print(report(estimate))
    try:
        check_fits(config, recipe.train)
    except TooLarge as error:
        print(f"It cannot be trained here: {error}")
    return 0


def _vocabulary(recipe: Recipe) -> int:
    if recipe.tokenizer in ("gpt2", "bpe"):
        return Tokenizer.gpt2().vocab_size if recipe.tokenizer == "gpt2" else recipe.vocab_size
    raise ConfigError(f"the vocabulary of {recipe.tokenizer} follows from the text: give the CORPUS as well.")


def begin(
    out: Path,
    name: str,
    found: Found | TokenFiles,
    recipe: Recipe,
    chosen: Collection[str] = (),
    group: Group = ALONE,
    quiet: bool = False,
) -> Trainer:
    """Build tokenizer and data, make the run folder, and start training. Raises ValueError with a sentence.

    chosen: the settings that were given, and are not the preset's; group: the processes that train together;
    quiet: without a bar while a vocabulary is learnt.
    """
    check_sharding(recipe.train, group.size)
    prepared, source = _prepared(found, recipe, chosen, _say, quiet=quiet)
    group.share((prepared.tokenizer, prepared.recipe))
    _check_same_text(prepared, group)
    folder = RunFolder.create(out, name, prepared.recipe, source)
    trainer = Trainer(folder, prepared, group=group)
    trainer.start()
    return trainer


def _work_along(out: Path, found: Found | TokenFiles, recipe: Recipe, group: Ranks) -> int:
    """The same in a process that is not the first, with the first one's tokenizer."""
    tokenizer, recipe = group.share()
    prepared, _ = _prepared(found, recipe, (), lambda *_: None, tokenizer)
    _check_same_text(prepared, group)
    leave_signals_to_the_first()
    return work(RunFolder(out), prepared, None, group)


def _check_same_text(prepared: Prepared, group: Group) -> None:
    if group.size > 1:
        apart = "the processes do not read the same text: give each machine the same CORPUS."
        group.check_same(fingerprint(prepared.data), apart)


def _prepared(
    found: Found | TokenFiles,
    recipe: Recipe,
    chosen: Collection[str],
    say: Callable[..., None],
    tokenizer: Tokenizer | None = None,
    quiet: bool = False,
) -> tuple[Prepared, dict[str, Any]]:
    """What the trainer needs, and what the run says of its text. Raises ValueError with a sentence."""
    found.check(recipe)
    check_log_to(recipe.train.log_to)
    if isinstance(found, TokenFiles):
        say(found.sentence)
        return found.prepare(recipe), found.about()
    corpus, size, note = found.corpus, found.data.characters, ""
    say(*told(corpus), *found.notes)
    if recipe.cleaning.active and found.ready is None:
        done, recipe, note = cleaned(corpus, recipe, chosen)
        corpus = done.corpus
        say(*accounts(done))
    if recipe.max_documents and recipe.max_documents < (count := len(documents_of(corpus))):
        say(f"It learns from the first {recipe.max_documents:,} of {count:,} documents (--max-documents).")
    if size not in (None, len(corpus.text)) and found.ready is None:
        say(f"It is not the text that the config tells of: {len(corpus.text):,} characters are left, not {size:,}.")

    def learn(wanted: Recipe) -> Tokenizer:
        return tokenizer or (found.learn(wanted) if found.learn else None) or _learnt(corpus, wanted, quiet)

    prepared = set_up(corpus, recipe, learn, chosen=chosen)
    prepared = dataclasses.replace(prepared, notes=(*([note] if note else []), *prepared.notes))
    say(*prepared.notes)
    data = dataclasses.replace(found.data, characters=size if found.ready else len(corpus.text))
    return prepared, about(corpus) | {"data": data.to_dict(), "gave_way": list(prepared.notes)}


def _learnt(corpus: Corpus, recipe: Recipe, quiet: bool = False) -> Tokenizer:
    """The tokenizer of a recipe, with a bar while a byte-pair vocabulary is learnt."""
    if recipe.tokenizer != "bpe" or quiet:
        return build_tokenizer(corpus, recipe)
    with shares(f"learning byte pairs, {recipe.vocab_size:,} entries") as progress:
        return build_tokenizer(corpus, recipe, progress)


def _say(*sentences: str) -> None:
    for sentence in sentences:
        print(sentence)


if __name__ == "__main__":
    raise SystemExit(main())
