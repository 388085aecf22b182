"""Packed numbers, taken apart by hand, against the trace and the distribution that they came from."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from explorer.packing import encode_bytes, pack_curve, pack_exact, pack_kinds, pack_maps, pack_next, pack_piece
from model import Tokenizer, trace
from model.sampling import Settings, distribution, draw, uniform
from tests.explorer.tiny import BPE, BROKEN, CHAR, TEXT, exact_rows, map_rows, random_model, same_maps


def patterns_of(text: str = "the cat sat") -> Tensor:
    return trace(random_model(CHAR), torch.tensor(CHAR.encode(text))).patterns


# Maps


def test_map_bytes_are_the_traces_weights_within_half_a_step() -> None:
    patterns = patterns_of()
    packed = pack_maps(patterns, 0, 0)
    rows = map_rows(packed)
    assert list(rows) == list(range(len("the cat sat")))
    same_maps(rows, patterns, 0)
    assert {k: packed[k] for k in ("layers", "heads", "start", "from", "to")} == {
        "layers": 2, "heads": 2, "start": 0, "from": 0, "to": 11,
    }  # fmt: skip


def test_cells_stand_row_by_row_then_layer_head_and_key() -> None:
    """Weights whose roots are multiples of 1/255, so that every byte says which cell it is."""
    patterns = torch.full((2, 2, 3, 3), 0.9)  # what stands above the diagonal must not be sent
    for layer in range(2):
        for head in range(2):
            for i in range(3):
                for j in range(i + 1):
                    patterns[layer, head, i, j] = ((100 * layer + 50 * head + 10 * i + j) / 255) ** 2
    cells = [
        *[0, 50, 100, 150],  # row 0: one key for each of the four heads
        *[10, 11, 60, 61, 110, 111, 160, 161],
        *[20, 21, 22, 70, 71, 72, 120, 121, 122, 170, 171, 172],
    ]
    assert pack_maps(patterns, 0, 0)["cells"] == encode_bytes(torch.tensor(cells, dtype=torch.uint8))
    assert pack_maps(patterns, 40, 42)["cells"] == encode_bytes(torch.tensor(cells[12:], dtype=torch.uint8))


@pytest.mark.parametrize("first", [0, 1, 4, 7])
@pytest.mark.parametrize("start", [0, 30])
def test_rows_begin_where_the_reader_left_off(start: int, first: int) -> None:
    patterns = patterns_of("cat mat")
    maps, exact = pack_maps(patterns, start, start + first), pack_exact(patterns, 1, 0, start, start + first)
    for packed in (maps, exact):
        assert (packed["start"], packed["from"], packed["to"]) == (start, start + first, start + 7)
    assert list(map_rows(maps)) == list(exact_rows(exact)) == list(range(start + first, start + 7))
    same_maps(map_rows(maps), patterns, start)


def test_a_weight_a_hair_outside_0_to_1_keeps_its_byte() -> None:
    patterns = torch.tensor([[[[1.0000001, 0.0], [-1e-9, 1.0]]]])
    rows = map_rows(pack_maps(patterns, 0, 0))
    assert rows[0].tolist() == [[[255]]]
    assert rows[1].tolist() == [[[0, 255]]]


def test_exact_rows_are_the_floats_of_the_trace() -> None:
    patterns = patterns_of()
    for layer in range(2):
        for head in range(2):
            packed = pack_exact(patterns, layer, head, 5, 5)
            assert (packed["layer"], packed["head"]) == (layer, head)
            for position, row in exact_rows(packed).items():
                i = position - 5
                assert row.dtype == np.float32
                assert np.array_equal(row, patterns[layer, head, i, : i + 1].numpy())


def test_bytes_are_little_endian() -> None:
    assert encode_bytes(torch.tensor([1.0], dtype=torch.float32)) == "AACAPw=="


# Kinds of heads


def test_kinds_are_means_over_the_rows_that_have_such_a_target() -> None:
    ids = CHAR.encode("the the")
    patterns = trace(random_model(CHAR), torch.tensor(ids)).patterns
    kinds = pack_kinds(patterns, ids)
    for layer in range(2):
        for head in range(2):
            p = patterns[layer, head].numpy()
            wanted = {
                "self": np.mean([p[i, i] for i in range(7)]),
                "previous": np.mean([p[i, i - 1] for i in range(1, 7)]),
                "first": np.mean([p[i, 0] for i in range(2, 7)]),
                "duplicate": np.mean([p[4, 0], p[5, 1], p[6, 2]]),
                "induction": np.mean([p[4, 1], p[5, 2], p[6, 3]]),
            }
            assert {kind: table[layer][head] for kind, table in kinds.items()} == pytest.approx(wanted, abs=6e-5)


def test_a_kind_without_a_target_is_null() -> None:
    ids = CHAR.encode("t")
    kinds = pack_kinds(trace(random_model(CHAR), torch.tensor(ids)).patterns, ids)
    assert kinds["self"] == [[1.0, 1.0], [1.0, 1.0]]
    assert kinds["previous"] == kinds["first"] == kinds["induction"] == kinds["duplicate"] == [[None] * 2] * 2
    json.dumps(kinds, allow_nan=False)


# The next token

SETTINGS = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0, "top_k": 4},
    {"temperature": 0.0},
    {"top_p": 0.6},
    {"min_p": 0.2},
    {"top_k": 9, "top_p": 0.8, "min_p": 0.05, "temperature": 1.5},
    {"repetition_penalty": 1.7},
]


def packed_next(rows: int, seed: int = 3, **settings: Any) -> tuple[dict[str, Any], Tensor]:
    written = torch.tensor(CHAR.encode("the cat"))
    logits = trace(random_model(CHAR), written).logits[-1]
    chosen = Settings(seed=seed, **settings)
    dist = distribution(logits, chosen, written)
    return pack_next(dist, draw(dist, uniform(seed, 7)), CHAR, 7, rows), logits.to(torch.float64)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("rows", [1, 5, 500])
def test_the_rows_and_the_tail_hold_the_whole_vocabulary(settings: dict[str, Any], rows: int) -> None:
    packed, logits = packed_next(rows, **settings)
    V, listed = CHAR.vocab_size, packed["rows"]
    assert (packed["size"], len(listed), packed["tail"]["count"]) == (V, min(rows, V), V - min(rows, V))
    for column in ("raw", "p"):
        assert sum(row[column] for row in listed) + packed["tail"][column] == pytest.approx(1, abs=1e-9)
    raw = (logits - logits.max()).exp()
    raw = raw / raw.sum()
    assert [row["raw"] for row in listed] == sorted((row["raw"] for row in listed), reverse=True)
    assert [row["raw"] for row in listed] == pytest.approx(sorted(raw.tolist(), reverse=True)[:rows], abs=1e-12)
    for row in listed:
        assert row["raw"] == pytest.approx(raw[row["id"]].item(), abs=1e-12)
        assert (row["text"], row["kind"]) == pack_piece(CHAR, row["id"])
        assert (row["p"] == 0) == (row["cut"] is not None or (settings.get("temperature") == 0 and row["p"] != 1))
    entropy = -sum(share * math.log2(share) for share in raw.tolist())
    assert packed["entropy_bits"] == pytest.approx(entropy, abs=1e-6)
    if settings.get("temperature") != 0 and not settings.get("repetition_penalty"):
        survivors = sum(row["cut"] is None for row in packed_next(500, **settings)[0]["rows"])
        assert packed["kept"] == survivors


def test_each_setting_puts_its_name_on_what_it_cuts() -> None:
    rows = packed_next(500, top_k=9, top_p=0.8, min_p=0.5)[0]["rows"]
    raw = [row["raw"] for row in rows]
    best = np.array(raw[:9]) / sum(raw[:9])
    wanted = list[str | None]()
    for place, share in enumerate(raw):
        if place >= 9:
            wanted.append("top-k")
        elif best[:place].sum() >= 0.8:  # what is likelier holds the nucleus already
            wanted.append("top-p")
        else:
            wanted.append("min-p" if share < 0.5 * raw[0] else None)
    assert [row["cut"] for row in rows] == wanted
    assert set(wanted) == {None, "top-k", "top-p", "min-p"}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_draw_falls_into_its_own_stretch(settings: dict[str, Any]) -> None:
    seen = set()
    for seed in range(40):
        packed, _ = packed_next(500, seed, **settings)
        drawn = packed["drawn"]
        order = sorted(packed["rows"], key=lambda row: (-row["p"], row["id"]))
        place = [row["id"] for row in order].index(drawn["id"])
        assert drawn["u"] == uniform(seed, 7)
        assert drawn["low"] == pytest.approx(sum(row["p"] for row in order[:place]), abs=1e-9)
        assert drawn["high"] - drawn["low"] == pytest.approx(order[place]["p"], abs=1e-9)
        assert drawn["low"] - 1e-12 <= drawn["u"] < drawn["high"] + 1e-12
        assert (drawn["text"], drawn["kind"]) == pack_piece(CHAR, drawn["id"])
        seen.add(drawn["id"])
    assert (len(seen) == 1) == (settings.get("temperature") == 0)


# Pieces


def test_pieces_say_how_they_are_to_be_shown() -> None:
    assert pack_piece(CHAR, CHAR.encode(" ")[0]) == (" ", "space")
    assert pack_piece(CHAR, CHAR.encode("\n")[0]) == ("\n", "newline")
    assert pack_piece(CHAR, CHAR.encode("t")[0]) == ("t", "text")
    assert BPE.end_of_text is not None
    assert pack_piece(BPE, BPE.end_of_text)[1] == "special"


def test_a_part_of_a_character_is_shown_by_its_bytes() -> None:
    tokenizer = Tokenizer.bpe(BROKEN, 257)  # no merges: each byte is a token
    assert [pack_piece(tokenizer, token) for token in tokenizer.encode("é😀a")] == [
        *[("C3", "bytes"), ("A9", "bytes")],
        *[("F0", "bytes"), ("9F", "bytes"), ("98", "bytes"), ("80", "bytes"), ("a", "text")],
    ]
    merged = [pack_piece(BPE, token) for token in range(BPE.vocab_size)]
    several = [text for text, kind in merged if kind == "bytes" and " " in text]
    assert several  # a merge that is not yet a character: "E2 80" of a dash, say
    assert all(len(byte) == 2 and bytes.fromhex(byte) for text in several for byte in text.split(" "))


def test_pieces_put_together_are_the_text() -> None:
    pieces = [pack_piece(BPE, token) for token in BPE.encode(BROKEN)]
    raw = b"".join(bytes.fromhex(text) if kind == "bytes" else text.encode() for text, kind in pieces)
    assert raw.decode() == BROKEN
    assert "".join(pack_piece(CHAR, token)[0] for token in CHAR.encode(TEXT)) == TEXT


def test_a_curve_keeps_five_digits_and_its_gaps() -> None:
    assert pack_curve([2.34567891, None, 0.000123456789, 4]) == [2.345679, None, 0.0001234568, 4.0]
    assert pack_curve([4.010488835711012]) == [4.010489], "which is 4.010; by way of 4.0105 it would be 4.011"
