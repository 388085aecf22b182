"""The decoder, which keeps a cache, against `trace`, which does not."""

import pytest
import torch

from model import trace
from model.decoding import Decoder
from tests.model.test_gpt import KINDS, ids, random_model


@pytest.mark.parametrize("kind", KINDS)
def test_any_walk_through_a_text_reads_what_trace_reads(kind: dict) -> None:
    """Forward, back, onto another branch, past the context and back: always the numbers of a fresh pass."""
    model = random_model(**kind)
    decoder, blind = Decoder(model), Decoder(model, patterns=False)
    a, b = ids(24, seed=1).tolist(), ids(24, seed=2).tolist()
    walk = [a[:3], a[:4], a[:5], a[:3], a[:2] + b[:4], a[:9], a[:9], b[:16], b[:17], b[:18], b[:24], b[:10], a[:1]]
    for text in walk:
        logits = decoder.read(text)
        run = trace(model, torch.tensor(text[-16:]))
        assert decoder.start == max(0, len(text) - 16)
        assert decoder.window == text[-16:]
        assert (logits - run.logits[-1]).abs().max() < 1e-4
        assert (decoder.logits - run.logits).abs().max() < 1e-4
        assert (decoder.patterns - run.patterns).abs().max() < 1e-5
        assert (blind.read(text) - run.logits[-1]).abs().max() < 1e-4
    with pytest.raises(ValueError, match="patterns=True"):
        _ = blind.patterns


def test_only_new_tokens_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, sizes = Decoder(random_model()), list[int]()
    forward = decoder._forward

    def counting(new: list[int]) -> None:
        sizes.append(len(new))
        forward(new)

    monkeypatch.setattr(decoder, "_forward", counting)
    text = ids(12).tolist()
    for length in (5, 6, 7, 7, 4, 5):
        decoder.read(text[:length])
    assert sizes == [5, 1, 1]  # stepping back and on within what was read costs nothing


def test_bad_ids_leave_the_decoder_usable() -> None:
    model = random_model()
    decoder = Decoder(model)
    decoder.read([1, 2, 3])
    with pytest.raises(ValueError, match="token 99"):
        decoder.read([1, 2, 3, 99])
    with pytest.raises(ValueError, match="no tokens"):
        decoder.read([])
    assert (decoder.read([1, 2, 3, 4]) - trace(model, torch.tensor([1, 2, 3, 4])).logits[-1]).abs().max() < 1e-4
