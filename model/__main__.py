"""`python -m model CHECKPOINT --prompt TEXT --tokens N`: let a checkpoint write, at the console."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from model.beams import Tree, beam_search
from model.checkpoint import open_checkpoint
from model.decoding import generate
from model.gpt import GPT
from model.sampling import Settings
from model.tokenizer import Tokenizer


def parser() -> argparse.ArgumentParser:
    """The command line of this program."""
    p = argparse.ArgumentParser(prog="python -m model", description="Continue a text with a trained model.")
    p.add_argument("checkpoint", help="a checkpoint folder, a run folder (its best checkpoint), or a file of weights")
    p.add_argument("--characters", help="for a file of weights: a JSON list of its characters, or a tokenizer.json")
    p.add_argument("--heads", type=int, help="for a file of weights that does not tell how many heads its model has")
    p.add_argument("--prompt", help="the text to continue; asked for line by line when left out")
    p.add_argument("--tokens", type=int, default=200, help="how many tokens to write (default 200)")
    p.add_argument("--temperature", type=float, help="below 1 sharper, above 1 flatter (default 0.8; 1 with --beams)")
    p.add_argument("--top-k", type=int, default=0, help="draw among the k likeliest only; 0 = all (default)")
    p.add_argument("--top-p", type=float, default=1.0, help="draw among the likeliest that hold this much probability")
    p.add_argument("--min-p", type=float, default=0.0, help="drop tokens below this share of the likeliest one")
    p.add_argument("--seed", type=int, default=1337, help="same seed, same text (default 1337)")
    p.add_argument("--greedy", action="store_true", help="always the likeliest token (temperature 0)")
    p.add_argument("--beams", type=int, help="draw nothing: the most probable text that so many beams find")
    p.add_argument("--length-penalty", type=float, default=0.0, help="with --beams: 0 = by probability alone (default)")
    p.add_argument("--all", action="store_true", help="with --beams: all that were kept, ranked, with their scores")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the program; 0 when all went well, 2 with a sentence on stderr when something was wrong."""
    options = parser().parse_args(argv)
    try:
        write = _writer(options)
        if options.tokens < 1:
            raise ValueError(f"--tokens is {options.tokens}; ask for at least 1.")
        checkpoint = open_checkpoint(options.checkpoint, options.characters, options.heads)
        if checkpoint.tokenizer is None:
            raise ValueError(
                f"{options.checkpoint} comes without a vocabulary, so text cannot be read: put its tokenizer.json or "
                "characters.json beside it, or name the file with --characters."
            )
        _converse(checkpoint.model, checkpoint.tokenizer, options.prompt, write)
    except ValueError as error:
        print(f"python -m model: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, EOFError):
        print()
    return 0


Writer = Callable[[GPT, Tokenizer, str, list[int]], None]


def _writer(options: argparse.Namespace) -> Writer:
    """What continues a text, by the options. Raises ValueError where they do not go together."""
    if options.beams is None:
        if options.length_penalty or options.all:
            raise ValueError("--length-penalty and --all belong to a beam search: say how many --beams.")
        settings = Settings(
            temperature=0.0 if options.greedy else 0.8 if options.temperature is None else options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            min_p=options.min_p,
            seed=options.seed,
        )
        return lambda model, tokenizer, text, ids: _draw(model, tokenizer, text, ids, options.tokens, settings)
    if options.greedy or (options.top_k, options.top_p, options.min_p) != (0, 1.0, 0.0):
        raise ValueError("--beams draws nothing: leave out --greedy (it is --beams 1), --top-k, --top-p and --min-p.")

    def search(model: GPT, tokenizer: Tokenizer, text: str, ids: list[int]) -> None:
        temperature = 1.0 if options.temperature is None else options.temperature
        penalty, end = options.length_penalty, tokenizer.end_of_text
        tree = beam_search(
            model, ids, options.tokens, options.beams, length_penalty=penalty, end=end, temperature=temperature
        )
        _tell(tree, tokenizer, text, options.all)

    return search


def _converse(model: GPT, tokenizer: Tokenizer, prompt: str | None, write: Writer) -> None:
    """Continue a prompt (an empty one begins with the tokenizer's opening), or each line that is typed in."""
    asked = prompt is not None or not sys.stdin.isatty()
    while True:
        text = (prompt or "") if asked else input("prompt> ")
        write(model, tokenizer, text, tokenizer.encode(text) or [tokenizer.opening])
        if asked:
            return


def _draw(model: GPT, tokenizer: Tokenizer, text: str, ids: list[int], tokens: int, settings: Settings) -> None:
    """Print a text and what is drawn after it, as it comes."""
    before, waiting = ids[-1:], list[int]()
    print(text, end="", flush=True)
    for token in generate(model, ids, tokens, settings, tokenizer.end_of_text):
        if token == tokenizer.end_of_text:
            break
        waiting.append(token)
        whole = tokenizer.decode(waiting, after=before)
        if not whole.endswith("\ufffd"):  # else wait for the rest of a character that takes several tokens
            print(whole, end="", flush=True)
            before, waiting = waiting[-1:], []
    print(tokenizer.decode(waiting, after=before))  # what was waited for in vain, and the line's end


def _tell(tree: Tree, tokenizer: Tokenizer, text: str, every: bool) -> None:
    """Print a text with the best way on; every: all of them, each under a line with its figures."""
    for rank, way in enumerate(tree.hypotheses if every else tree.hypotheses[:1], 1):
        said = tokenizer.decode([i for i in way.ids if i != tokenizer.end_of_text], after=list(tree.ids[-1:]))
        if every:
            figures = f"score {way.score:.4f}, log-probability {way.total:.4f}, {way.nats:.4f} nats a token"
            print(f"{rank}. {figures}{', ended' if way.ended else ''}")
        print(text + said)


if __name__ == "__main__":
    raise SystemExit(main())
