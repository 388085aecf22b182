"""Foreign checkpoint layouts, one file each. `model.checkpoint.open_checkpoint` comes here for what is not our own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint, CheckpointError, load_state
from model.config import GPTConfig
from model.formats import lyrics, nanogpt, shakespeare
from model.formats.files import check_vocabulary, read_vocabulary, read_weights, vocabulary_beside
from model.tokenizer import Tokenizer

_GPT2_SIZE = 50_257


def open_file(
    path: Path,
    vocabulary: str | Path | Tokenizer | None = None,
    heads: int | None = None,
    accept: Callable[[GPTConfig], None] | None = None,
) -> Checkpoint:
    """Open a file of weights by the names of its tensors. Raises ValueError with a sentence when it cannot be used.

    vocabulary: a tokenizer, or the path of a tokenizer.json or table of characters; left out, one beside the file is
    taken (`tokenizer.json`, `characters.json`, ...), or GPT-2's where the model is of that size.
    heads: their number, where the tensors do not tell it. accept: called with the shape before the model is built; it
    may raise.
    """
    loose = read_weights(path)
    names = loose.tensors.keys()
    meta: dict[str, Any] = {"name": path.stem}
    if lyrics.recognises(names):
        config, convert, layout = lyrics.config_of(loose.tensors, path.name), lyrics.convert, lyrics.NAME
    elif shakespeare.recognises(names):
        config = shakespeare.config_of(loose.tensors, path.name, heads)
        convert, layout = shakespeare.convert, shakespeare.NAME
    elif nanogpt.recognises(names):
        config, convert, layout = nanogpt.config_of(loose, path.name, heads), nanogpt.convert, nanogpt.NAME
        meta |= nanogpt.figures(loose)
    else:
        raise CheckpointError(unknown(path, list(names)))
    if accept is not None:
        accept(config)
    state = convert(loose, config, path.name)
    tokenizer = _vocabulary(vocabulary, path, config.vocab_size)
    if tokenizer is not None:
        check_vocabulary(tokenizer, config.vocab_size, path.name)
    return Checkpoint(load_state(config, state, path.name), tokenizer, config, {**meta, "layout": layout})


def unknown(path: Path, names: list[str]) -> str:
    """The sentence about tensors whose names are of no layout that can be read."""
    if any(name.startswith(("h.0.", "transformer.h.0.")) for name in names):
        return f"{path.name} is Hugging Face's GPT-2, whose shape stands in its config.json: give the whole folder."
    if "token_embedding.weight" in names and any(name.startswith("blocks.0.attn.qkv") for name in names):
        return (
            f"{path.name} holds weights in this project's own format without the checkpoint.json that says their "
            "shape: give the whole checkpoint folder."
        )
    first = f"its first tensor is {names[0][:80]}" if names else "it has no tensors at all"
    return (
        f"{path.name} is of no layout that can be read ({first}). Known are this project's own, Hugging Face's GPT-2, "
        "nanoGPT's ckpt.pt, and those that call their parts transformer_blocks or inp_emb."
    )


def _vocabulary(given: str | Path | Tokenizer | None, path: Path, size: int) -> Tokenizer | None:
    if isinstance(given, Tokenizer):
        return given
    found = Path(given) if given is not None else vocabulary_beside(path)
    if found is not None:
        return read_vocabulary(found, size)
    if size != _GPT2_SIZE:
        return None
    try:
        return Tokenizer.gpt2()
    except ValueError:
        return None  # it is nowhere on this machine; whoever needs text will say that there is no vocabulary
