"""`python -m model CHECKPOINT --prompt TEXT --tokens N`: let a checkpoint write, at the console."""

from __future__ import annotations

import argparse
import sys

from model.checkpoint import open_checkpoint
from model.decoding import generate
from model.sampling import Settings


def parser() -> argparse.ArgumentParser:
    """The command line of this program."""
    p = argparse.ArgumentParser(prog="python -m model", description="Continue a text with a trained model.")
    p.add_argument("checkpoint", help="a checkpoint folder, or a run folder (its best checkpoint)")
    p.add_argument("--prompt", default="", help="the text to continue; asked for line by line when left out")
    p.add_argument("--tokens", type=int, default=200, help="how many tokens to write (default 200)")
    p.add_argument("--temperature", type=float, default=0.8, help="below 1 sharper, above 1 flatter (default 0.8)")
    p.add_argument("--top-k", type=int, default=0, help="draw among the k likeliest only; 0 = all (default)")
    p.add_argument("--top-p", type=float, default=1.0, help="draw among the likeliest that hold this much probability")
    p.add_argument("--min-p", type=float, default=0.0, help="drop tokens below this share of the likeliest one")
    p.add_argument("--seed", type=int, default=1337, help="same seed, same text (default 1337)")
    p.add_argument("--greedy", action="store_true", help="always the likeliest token (temperature 0)")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the program; 0 when all went well, 2 with a sentence on stderr when something was wrong."""
    options = parser().parse_args(argv)
    try:
        settings = Settings(
            temperature=0.0 if options.greedy else options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            min_p=options.min_p,
            seed=options.seed,
        )
        if options.tokens < 1:
            raise ValueError(f"--tokens is {options.tokens}; ask for at least 1.")
        _converse(options.checkpoint, options.prompt, options.tokens, settings)
    except ValueError as error:
        print(f"python -m model: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, EOFError):
        print()
    return 0


def _converse(path: str, prompt: str, tokens: int, settings: Settings) -> None:
    checkpoint = open_checkpoint(path)
    tokenizer = checkpoint.tokenizer
    if tokenizer is None:
        raise ValueError(
            f"the checkpoint {path} has no tokenizer.json, so text cannot be read: save it with its tokenizer."
        )
    asked = bool(prompt) or not sys.stdin.isatty()
    while True:
        text = prompt if asked else input("prompt> ")
        ids = tokenizer.encode(text) or [tokenizer.opening]
        written: list[int] = []
        shown = ""
        print(text, end="", flush=True)
        for token in generate(checkpoint.model, ids, tokens, settings, tokenizer.end_of_text):
            if token == tokenizer.end_of_text:
                break
            written.append(token)
            whole = tokenizer.decode(written)
            if not whole.endswith("\ufffd"):  # wait for the rest of a character that takes several tokens
                print(whole[len(shown) :], end="", flush=True)
                shown = whole
        print(tokenizer.decode(written)[len(shown) :])  # what was waited for in vain, and the line's end
        if asked:
            return


if __name__ == "__main__":
    raise SystemExit(main())
