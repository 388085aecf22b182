"""Other projects' checkpoints: opened, they compute what those projects compute, to 1e-4."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from model import GPT, Checkpoint, CheckpointError, GPTConfig, Tokenizer, open_checkpoint, save_checkpoint
from model.formats import nanogpt
from model.gpt2_vocabulary import FINGERPRINT
from tests.model.formats.stand_ins import (
    CHARACTERS,
    LyricsGPT,
    NanoGPT,
    ShakespeareGPT,
    randomise,
    save,
    small_lyrics,
)


def same(opened: Checkpoint, theirs: nn.Module, vocab: int) -> None:
    """Logits over a full context, and over a single token."""
    config = opened.config
    torch.manual_seed(11)
    for length in (config.context, 1):
        ids = torch.randint(vocab, (2, length))
        with torch.no_grad():
            ours, wanted = opened.model(ids), theirs(ids)[..., : config.vocab_size]
        assert wanted.std() > 0.1  # it says something
        assert (ours - wanted).abs().max() <= 1e-4
    assert not opened.model.training


# ---- lyrics -------------------------------------------------------------------------------------------------------


def test_the_lyrics_model_of_174_tensors(tmp_path: Path) -> None:
    theirs = randomise(LyricsGPT())
    keys = theirs.state_dict()
    assert len(keys) == 174
    assert sum(value.numel() for value in keys.values()) == 4_672_688
    assert keys["transformer_blocks.5.mhsa.attention_heads.5.value_layer.weight"].shape == (42, 252)
    path = save(theirs, tmp_path / "weights.pt")
    (tmp_path / "characters.json").write_text(json.dumps(CHARACTERS), encoding="utf-8")
    opened = open_checkpoint(path)
    assert opened.config == GPTConfig(
        vocab_size=104, context=128, layers=6, heads=6, width=252, mlp_width=1008, activation="relu", qkv_bias=False,
        head_bias=True, tied_head=False,
    )  # fmt: skip
    assert opened.model.parameter_count() == 4_672_688
    assert opened.tokenizer is not None
    assert opened.tokenizer.decode([0, 104 - 1]) == CHARACTERS[0] + CHARACTERS[-1]
    assert opened.meta["name"] == "weights"
    same(opened, theirs, 104)


def test_the_shape_is_read_from_the_tensors(tmp_path: Path) -> None:
    theirs = randomise(LyricsGPT(vocab=9, context=7, width=20, blocks=3, heads=5))
    opened = open_checkpoint(save(theirs, tmp_path / "w.pt"))
    config = opened.config
    assert (config.layers, config.heads, config.width, config.context, config.d_mlp) == (3, 5, 20, 7, 80)
    assert opened.tokenizer is None
    same(opened, theirs, 9)


@pytest.mark.parametrize("wrap", ["model", "state_dict", "model_state_dict"])
def test_weights_inside_a_dictionary(tmp_path: Path, wrap: str) -> None:
    theirs = small_lyrics()
    torch.save({wrap: theirs.state_dict(), "epoch": 3, "loss": 1.5}, tmp_path / "w.pth")
    same(open_checkpoint(tmp_path / "w.pth"), theirs, 104)


def test_weights_as_safetensors_in_half_precision(tmp_path: Path) -> None:
    theirs = small_lyrics().half().float()
    state = {name: value.half().contiguous() for name, value in theirs.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    same(open_checkpoint(tmp_path / "w.safetensors"), theirs, 104)


def test_a_folder_with_one_file_of_weights(tmp_path: Path) -> None:
    save(small_lyrics(), tmp_path / "w.pt")
    assert open_checkpoint(tmp_path).config.heads == 3
    save(small_lyrics(), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"2 files of weights \(w\.pt, x\.pt\): name one"):
        open_checkpoint(tmp_path)


Change = Callable[[dict[str, torch.Tensor]], object]
BLOCK = "transformer_blocks.1."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("vocab_projection.bias"), "it lacks vocab_projection.bias"),
        (lambda s: s.pop("token_embedding.weight"), "lacks the tensor token_embedding.weight"),
        (lambda s: s.pop(f"{BLOCK}mhsa.attention_heads.2.key_layer.weight"), "it lacks .*heads.2.key_layer.weight"),
        (
            lambda s: [s.pop(k) for k in list(s) if "attention_heads.2" in k],
            "the 2 heads of w.pt are 4 wide each, which does not make the width 12",
        ),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith(BLOCK)], "nothing is missing"),
        (lambda s: s.update({"extra.weight": torch.zeros(2)}), "it has extra.weight, which no such model has"),
        (
            lambda s: s.update({f"{BLOCK}mhsa.compute.bias": torch.zeros(13)}),
            r"mhsa.compute.bias has the shape \[13\] where \[12\] is needed",
        ),
        (lambda s: s.update({"pos_embedding.weight": torch.zeros(4)}), r"pos_embedding.weight .*shape \[4\]"),
        (
            lambda s: s.update({"transformer_blocks.999999999.mhsa.compute.bias": torch.zeros(12)}),
            "lacks transformer_blocks.2.mhsa",
        ),
        (lambda s: s["vocab_projection.bias"].fill_(float("nan")), "vocab_projection.bias .*not numbers"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(tmp_path: Path, change: Change, sentence: str) -> None:
    state = dict(small_lyrics().state_dict())
    change(state)
    torch.save(state, tmp_path / "w.pt")
    if sentence == "nothing is missing":  # the second of two blocks was taken away whole: that is a model of one block
        assert open_checkpoint(tmp_path / "w.pt").config.layers == 1
        return
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(tmp_path / "w.pt")


# ---- Shakespeare --------------------------------------------------------------------------------------------------


def test_the_shakespeare_model_with_its_own_tokenizer(tmp_path: Path) -> None:
    text = "to be or not to be that is the question whether tis nobler in the mind to suffer " * 30
    tokenizer = Tokenizer.bpe(text, 300)
    theirs = randomise(ShakespeareGPT(vocab=300))
    path = save(theirs, tmp_path / "last.pt")
    tokenizer.save(tmp_path / "tokenizer.json")
    opened = open_checkpoint(path)
    assert opened.config.activation == "relu"
    assert (opened.config.layers, opened.config.heads, opened.config.width, opened.config.context) == (6, 4, 256, 32)
    assert 4.8e6 < opened.model.parameter_count() < 5.0e6
    assert opened.tokenizer == tokenizer
    same(opened, theirs, 300)


def test_heads_that_the_tensors_do_not_tell(tmp_path: Path) -> None:
    theirs = randomise(ShakespeareGPT(vocab=30, context=6, width=18, blocks=2, heads=3))
    path = save(theirs, tmp_path / "s.pt")
    same(open_checkpoint(path, heads=3), theirs, 30)
    with pytest.raises(CheckpointError, match=r"4 heads cannot share the width 18 of s.pt.* one of 1, 2, 3, 6, 9, 18"):
        open_checkpoint(path)


def test_biases_are_there_where_their_tensors_are(tmp_path: Path) -> None:
    theirs = randomise(ShakespeareGPT(vocab=30, context=6, width=16, blocks=2))
    state = theirs.state_dict()
    plain = {
        name: value
        for name, value in state.items()
        if not name.endswith(("query.bias", "key.bias", "value.bias", "last.bias"))
    }
    with torch.no_grad():
        for name in set(state) - set(plain):
            state[name].zero_()
    torch.save(plain, tmp_path / "s.pt")
    opened = open_checkpoint(tmp_path / "s.pt")
    assert (opened.config.qkv_bias, opened.config.head_bias, opened.config.out_bias) == (False, False, True)
    same(opened, theirs, 30)


@pytest.mark.parametrize("mask", ["True where not allowed", "minus infinity", "four axes"])
def test_any_way_to_write_the_causal_mask(tmp_path: Path, mask: str) -> None:
    theirs = randomise(ShakespeareGPT(vocab=30, context=6, width=16, blocks=2))
    future = torch.ones(6, 6, dtype=torch.bool).triu(1)
    written = {
        "True where not allowed": future,
        "minus infinity": torch.zeros(6, 6).masked_fill(future, float("-inf")),
        "four axes": (~future)[None, None],
    }[mask]
    state = {name: written if name.endswith("mask") else value for name, value in theirs.state_dict().items()}
    torch.save(state, tmp_path / "s.pt")
    same(open_checkpoint(tmp_path / "s.pt"), theirs, 30)


def test_a_mask_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    state = randomise(ShakespeareGPT(vocab=30, context=6, width=16, blocks=2)).state_dict()
    state["blocks.1.attention.mask"] = torch.ones(6, 6)
    torch.save(state, tmp_path / "s.pt")
    with pytest.raises(CheckpointError, match=r"blocks.1.attention.mask of s.pt is not the mask"):
        open_checkpoint(tmp_path / "s.pt")


# ---- nanoGPT ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_a_nanogpt_checkpoint(tmp_path: Path, bias: bool, prefix: str) -> None:
    theirs = NanoGPT(vocab=65, context=9, width=12, blocks=2, heads=3, bias=bias)
    randomise(theirs)
    torch.save(theirs.checkpoint(prefix), tmp_path / "ckpt.pt")
    opened = open_checkpoint(tmp_path / "ckpt.pt")
    assert (opened.config.heads, opened.config.norm_bias, opened.config.tied_head) == (3, bias, True)
    assert opened.meta["step"] == 2000
    assert opened.meta["val_loss"] == pytest.approx(1.886)
    same(opened, theirs, 65)


def test_a_padded_vocabulary_is_cut_to_gpt2s(tmp_path: Path, gpt2: Tokenizer) -> None:
    theirs = NanoGPT(vocab=nanogpt.PADDED, context=5, width=8, blocks=1, heads=2, bias=True)
    randomise(theirs)
    torch.save(theirs.checkpoint(), tmp_path / "ckpt.pt")
    opened = open_checkpoint(tmp_path / "ckpt.pt")
    assert opened.config.vocab_size == nanogpt.GPT2 == 50_257
    assert opened.tokenizer is not None
    assert opened.tokenizer.fingerprint == FINGERPRINT
    same(opened, theirs, 50_257)


def test_what_nanogpt_does_not_say_or_says_wrong(tmp_path: Path) -> None:
    theirs = NanoGPT(vocab=65, context=9, width=12, blocks=2, heads=3, bias=True)
    path = tmp_path / "ckpt.pt"
    torch.save(theirs.state_dict(), path)
    with pytest.raises(CheckpointError, match="does not say how many heads"):
        open_checkpoint(path)
    assert open_checkpoint(path, heads=3).config.heads == 3
    for said in (5, 0, "3", 2.5, True, float("nan"), 10**30):
        torch.save(theirs.checkpoint() | {"model_args": {"n_head": said}}, path)
        with pytest.raises(CheckpointError, match="head"):
            open_checkpoint(path)
    transposed = {k: v.T.contiguous() if ".c_" in k and v.dim() == 2 else v for k, v in theirs.state_dict().items()}
    torch.save(transposed, path)
    with pytest.raises(CheckpointError, match=r"Hugging Face's GPT-2.*give the whole folder"):
        open_checkpoint(path, heads=3)


# ---- neither, and our own -----------------------------------------------------------------------------------------


def test_names_of_no_known_layout(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"of no layout that can be read.*encoder.weight"):
        open_checkpoint(tmp_path / "w.pt")
    torch.save({}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="no tensors at all"):
        open_checkpoint(tmp_path / "w.pt")


def test_our_own_weights_open_by_their_file_and_not_without_their_index(tmp_path: Path) -> None:
    model = GPT(GPTConfig(vocab_size=5, layers=1, heads=1, width=4, context=3))
    folder = save_checkpoint(tmp_path / "own", model)
    weights = next(folder.glob("model-*"))
    assert open_checkpoint(weights).config == model.config == open_checkpoint(folder / "checkpoint.json").config
    weights.rename(tmp_path / "alone.safetensors")
    with pytest.raises(CheckpointError, match=r"without the checkpoint.json .*give the whole checkpoint folder"):
        open_checkpoint(tmp_path / "alone.safetensors")


def test_the_shape_is_asked_about_before_the_model_is_built(tmp_path: Path) -> None:
    asked: list[GPTConfig] = []

    def refuse(config: GPTConfig) -> None:
        asked.append(config)
        raise CheckpointError("too large")

    own = save_checkpoint(tmp_path / "own", GPT(GPTConfig(vocab_size=5, layers=1, heads=1, width=4, context=3)))
    for path in (save(small_lyrics(), tmp_path / "w.pt"), own):
        with pytest.raises(CheckpointError, match="too large"):
            open_checkpoint(path, accept=refuse)
    assert [config.vocab_size for config in asked] == [104, 5]


def test_a_config_that_claims_a_giant_costs_no_memory(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "own", GPT(GPTConfig(vocab_size=5, layers=1, heads=1, width=4, context=3)))
    index = json.loads((folder / "checkpoint.json").read_text())
    index["config"] |= {"width": 1_000_000, "mlp_width": 4_000_000, "layers": 1000}
    (folder / "checkpoint.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"asks for [\d,]+ numbers, and the file holds \d+"):
        open_checkpoint(folder)
