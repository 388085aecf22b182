"""The model against an independent truth (transformers' GPT-2), and the identities that its numbers must keep."""

import math
import threading
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from model import GPT, GPTConfig, Trace, open_checkpoint, trace
from model.checkpoint import load_state
from model.config import ConfigError, Positions
from model.edits import ablate_head, mask_token, masked_everywhere, mean_ablate, patch_from, scale_head
from model.formats import hf
from model.gpt import KVCache
from model.trace import attention_entropy, head_scores, logit_lens, prediction_entropy

SHAPES: list[dict] = [
    {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 12, "vocab_size": 31, "n_inner": None},
    {"n_layer": 3, "n_head": 4, "n_embd": 32, "n_positions": 20, "vocab_size": 53, "n_inner": 50},
    {"n_layer": 1, "n_head": 1, "n_embd": 8, "n_positions": 9, "vocab_size": 11, "n_inner": 16},
]


def peer(shape: dict, activation: str = "gelu_new", tie: bool = True) -> GPT2LMHeadModel:
    """A random GPT2LMHeadModel whose biases and norms are random as well: at their defaults a mix-up would not show."""
    config = GPT2Config(**shape, activation_function=activation, tie_word_embeddings=tie)
    config._attn_implementation = "eager"  # the other ones return no attentions
    torch.manual_seed(3)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def ours(theirs: GPT2LMHeadModel) -> GPT:
    return load_state(hf.config_from(theirs.config.to_dict()), hf.convert_state(theirs.state_dict()), "a test")


def random_model(**changes: object) -> GPT:
    """A small GPT in eval mode whose every parameter is random and large enough to matter."""
    config = GPTConfig(**{"vocab_size": 29, "context": 16, "layers": 3, "heads": 2, "width": 16, **changes})  # type: ignore[arg-type]
    torch.manual_seed(5)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def ids(length: int, vocabulary: int = 29, seed: int = 0) -> Tensor:
    return torch.randint(0, vocabulary, (length,), generator=torch.Generator().manual_seed(seed))


KINDS = [
    {},
    {"norm": "post"},
    {"positions": "rotary"},
    {"positions": "rotary", "qk_norm": True},
    {"activation": "relu", "qkv_bias": False, "tied_head": False, "head_bias": True},
    {"norm_bias": False, "mlp_bias": False, "out_bias": False, "qkv_bias": False, "mlp_width": 40},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("activation", "tie"), [("gelu_new", True), ("gelu", False), ("relu", True)])
def test_equal_to_transformers(shape: dict, activation: str, tie: bool) -> None:
    theirs = peer(shape, activation, tie)
    model = ours(theirs)
    tokens = ids(shape["n_positions"], shape["vocab_size"])
    with torch.no_grad():
        truth = theirs(tokens[None], output_hidden_states=True, output_attentions=True)
    run = trace(model, tokens)
    assert (run.logits - truth.logits[0]).abs().max() < 1e-4
    assert (run.patterns - torch.stack([a[0] for a in truth.attentions])).abs().max() < 1e-4
    hidden = torch.stack([h[0] for h in truth.hidden_states])  # L+1 T C; the last one is after the final norm
    assert (run.resid_pre - hidden[:-1]).abs().max() < 1e-4
    with torch.no_grad():
        assert (model.ln_final(run.resid_post[-1]) - hidden[-1]).abs().max() < 1e-4


def test_huggingface_folder_opens(tmp_path) -> None:
    theirs = peer(SHAPES[1])
    theirs.save_pretrained(tmp_path)
    opened = open_checkpoint(tmp_path)
    tokens = ids(10, SHAPES[1]["vocab_size"])
    with torch.no_grad():
        assert (opened.model(tokens[None]) - theirs(tokens[None]).logits).abs().max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_parameter_count_is_foreseen(kind: dict) -> None:
    model = random_model(**kind)
    assert model.config.parameters() == model.parameter_count()


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (GPTConfig(vocab_size=104, context=128, layers=6, heads=6, width=252, activation="relu", qkv_bias=False,
                   tied_head=False, head_bias=True), 4_672_688),
        (GPTConfig(vocab_size=47, context=6, layers=2, heads=2, width=32, activation="relu", qkv_bias=False,
                   tied_head=False, head_bias=True), 28_527),
        (GPTConfig(vocab_size=50257, context=1024, layers=12, heads=12, width=768), 124_439_808),
    ],
    ids=["lyrics", "song", "gpt2"],
)  # fmt: skip
def test_reference_shapes_have_the_published_size(config: GPTConfig, count: int) -> None:
    assert config.parameters() == count


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_flows_back_in_time(kind: dict) -> None:
    model, tokens = random_model(**kind), ids(12)
    changed = tokens.clone()
    changed[7] = (changed[7] + 1) % 29
    a, b = trace(model, tokens), trace(model, changed)
    assert torch.equal(a.logits[:7], b.logits[:7])
    assert not torch.allclose(a.logits[7:], b.logits[7:])


@pytest.mark.parametrize("kind", KINDS)
def test_traced_equals_untraced(kind: dict) -> None:
    model, tokens = random_model(**kind), ids(16)
    with torch.no_grad():
        assert (model(tokens[None])[0] - trace(model, tokens).logits).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_of_a_trace_fit_together(kind: dict) -> None:
    model, tokens = random_model(**kind), ids(13)
    run, config = trace(model, tokens), model.config
    L, H, T, D, C = config.layers, config.heads, 13, config.d_head, config.width
    assert run.patterns.shape == run.scores.shape == (L, H, T, T)
    assert run.q.shape == run.k.shape == run.v.shape == run.z.shape == (L, H, T, D)
    assert run.resid_pre.shape == run.attn_out.shape == (L, T, C)
    assert run.neurons.shape == (L, T, config.d_mlp)
    future = torch.ones(T, T).triu(1).bool()
    assert (run.patterns.sum(-1) - 1).abs().max() < 1e-5
    assert (run.patterns[..., future] == 0).all()
    assert torch.isinf(run.scores[..., future]).all()
    assert (run.scores.softmax(-1) - run.patterns).abs().max() < 1e-6
    scores = run.q @ run.k.transpose(-1, -2) / D**0.5
    assert (scores - run.scores)[..., ~future].abs().max() < 1e-4
    assert (run.patterns @ run.v - run.z).abs().max() < 1e-5
    for layer, block in enumerate(model.blocks):
        merged = run.z[layer].transpose(0, 1).reshape(T, C)
        with torch.no_grad():
            assert (block.attn.out(merged) - run.attn_out[layer]).abs().max() < 1e-5
            assert (block.mlp.down(run.neurons[layer]) - run.mlp_out[layer]).abs().max() < 1e-5
    assert torch.equal(run.resid_post[:-1], run.resid_pre[1:])
    if config.norm == "pre":
        assert (run.resid_pre + run.attn_out - run.resid_mid).abs().max() < 1e-5
        assert (run.resid_mid + run.mlp_out - run.resid_post).abs().max() < 1e-5
    assert (logit_lens(model, run)[-1] - run.logits).abs().max() < 1e-5
    assert run.edited == ()
    assert not any(value.requires_grad for value in vars(run).values() if isinstance(value, Tensor))


def test_rotary_scores_depend_on_distance_alone() -> None:
    """The same two vectors at another place, the same distance apart, give the same score."""
    model = random_model(positions="rotary", layers=1)
    attention = model.blocks[0].attn
    x = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(1)).expand(1, 16, 16)
    seen = {}
    from model.hooks import listen

    def listener(name: str, value: Tensor) -> Tensor:
        seen[name] = value
        return value

    with torch.no_grad():
        listen(listener, lambda: attention(x))
    scores = seen["blocks.0.attn.scores"][0, 0]
    assert (scores.diagonal(-3) - scores[3, 0]).abs().max() < 1e-4
    assert (scores[5, 2] - scores[5, 5]).abs() > 1e-4


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_normed_queries_and_keys_have_one_length_and_the_direction_they_had(positions: str) -> None:
    plain, normed = (random_model(positions=positions, layers=1, qk_norm=normed) for normed in (False, True))
    normed.load_state_dict(plain.state_dict())  # it has no weights of its own
    tokens = ids(12)
    before, after = trace(plain, tokens), trace(normed, tokens)
    for raw, found in ((before.q, after.q), (before.k, after.k)):
        length = raw.double().square().mean(-1, keepdim=True).sqrt()
        assert (raw.double() / length - found.double()).abs().max() < 1e-4
    D = normed.config.d_head
    scores = torch.einsum("lhtd,lhsd->lhts", after.q.double(), after.k.double()) / math.sqrt(D)
    past = torch.ones(12, 12, dtype=torch.bool).tril()
    assert (after.scores.double() - scores)[..., past].abs().max() < 1e-4
    assert after.scores[..., past].abs().max() <= math.sqrt(D) + 1e-4
    assert (before.scores - after.scores)[..., past].abs().max() > 1e-2
    assert torch.equal(before.v, after.v)


@pytest.mark.parametrize("kind", KINDS)
def test_ablating_a_head_is_zeroing_its_columns(kind: dict) -> None:
    model, tokens = random_model(**kind), ids(10)
    ablated = trace(model, tokens, [ablate_head(1, 1)])
    scaled = trace(model, tokens, [scale_head(1, 1, 0.0)])
    D = model.config.d_head
    with torch.no_grad():
        model.blocks[1].attn.out.weight[:, D : 2 * D] = 0
    truth = trace(model, tokens)
    assert (ablated.logits - truth.logits).abs().max() < 1e-5
    assert torch.equal(ablated.logits, scaled.logits)
    assert (ablated.z[1, 1] == 0).all()
    assert ablated.edited == ("head 1.1 off",)


def test_scaling_by_one_changes_nothing_and_by_two_does() -> None:
    model, tokens = random_model(), ids(10)
    plain = trace(model, tokens)
    assert torch.equal(trace(model, tokens, [scale_head(0, 1, 1.0)]).logits, plain.logits)
    assert (trace(model, tokens, [scale_head(0, 1, 2.0)]).z[0, 1] - 2 * plain.z[0, 1]).abs().max() < 1e-6


def test_mean_ablation_holds_the_mean_of_the_text_or_of_a_reference() -> None:
    model, tokens = random_model(), ids(10)
    plain, other = trace(model, tokens), trace(model, ids(6, seed=9))
    own = trace(model, tokens, [mean_ablate(1, 0)])
    assert (own.z[1, 0] - plain.z[1, 0].mean(0)).abs().max() < 1e-6
    referred = trace(model, tokens, [mean_ablate(1, 0, other)])
    assert (referred.z[1, 0] - other.z[1, 0].mean(0)).abs().max() < 1e-6


def test_a_masked_token_is_seen_by_itself_alone() -> None:
    model, tokens = random_model(), ids(10)
    run = trace(model, tokens, masked_everywhere(3, 4))
    assert (run.patterns[:, :, 5:, 4] == 0).all()
    assert (run.patterns[:, :, 4, 4] > 0).all()
    assert (run.patterns.sum(-1) - 1).abs().max() < 1e-5
    one = trace(model, tokens, [mask_token(1, 4, head=0)])
    assert (one.patterns[1, 0, 5:, 4] == 0).all()
    assert (one.patterns[1, 1, 5:, 4] > 0).all()


def test_masking_a_token_hides_it_from_what_follows() -> None:
    model, tokens = random_model(), ids(10)
    changed = tokens.clone()
    changed[4] = (changed[4] + 1) % 29
    a = trace(model, tokens, masked_everywhere(3, 4)).logits
    b = trace(model, changed, masked_everywhere(3, 4)).logits
    assert (a[5:] - b[5:]).abs().max() < 1e-5
    assert not torch.allclose(a[4], b[4])


def test_patching_everything_becomes_the_other_run() -> None:
    model = random_model()
    source = trace(model, ids(10, seed=1))
    patched = trace(model, ids(10, seed=2), [patch_from(source, "blocks.1.resid_post")])
    assert (patched.logits - source.logits).abs().max() < 1e-5
    one = trace(model, ids(10, seed=2), [patch_from(source, "blocks.1.attn.z", position=3)])
    assert torch.equal(one.z[1, :, 3], source.z[1, :, 3])
    with pytest.raises(ValueError, match="other run has 10 tokens and this one 8"):
        trace(model, ids(8), [patch_from(source, "blocks.1.resid_post")])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunks", [[1] * 12, [5, 1, 6], [12]])
def test_cached_stepping_equals_the_whole_pass(kind: dict, chunks: list[int]) -> None:
    model, tokens = random_model(**kind), ids(12)
    cache, done, logits = KVCache(model.config), 0, []
    with torch.no_grad():
        for size in chunks:
            logits.append(model(tokens[None, done : done + size], cache)[0])
            done += size
        assert (torch.cat(logits) - model(tokens[None])[0]).abs().max() < 1e-4
    assert cache.length == 12


def test_four_threads_on_one_model_do_not_mix() -> None:
    model = random_model()
    texts = [ids(16, seed=s) for s in range(4)]
    plain = [trace(model, t) for t in texts]
    edited = [trace(model, t, [ablate_head(0, 0)]) for t in texts]
    wrong: list[str] = []

    def look(who: int) -> None:
        for turn in range(100):
            edits = [ablate_head(0, 0)] if turn % 2 else None
            run, truth = trace(model, texts[who], edits), (edited if turn % 2 else plain)[who]
            if not (torch.equal(run.patterns, truth.patterns) and torch.equal(run.logits, truth.logits)):
                wrong.append(f"thread {who}, turn {turn}")

    threads = [threading.Thread(target=look, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_tiny_batch_is_learnt_by_heart() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=17, context=16, layers=2, heads=2, width=32))
    batch = torch.randint(0, 17, (4, 17))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(300):
        loss = torch.nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02


def test_head_scores_name_the_kinds() -> None:
    tokens = torch.tensor([1, 2, 3, 1, 2, 3])
    patterns = torch.zeros(1, 4, 6, 6)
    patterns[0, 0] = torch.eye(6)
    patterns[0, 1, 0, 0] = 1
    patterns[0, 1, range(1, 6), range(5)] = 1
    patterns[0, 2, :, 0] = 1
    patterns[0, 3] = torch.eye(6)
    patterns[0, 3, range(3, 6)] = 0
    patterns[0, 3, [3, 4, 5], [1, 2, 3]] = 1  # to what followed the same token before
    scores = head_scores(patterns, tokens)
    assert scores["self"][0, 0] == 1
    assert scores["previous"][0, 1] == 1
    assert scores["first"][0, 2] == 1
    assert scores["induction"][0, 3] == 1
    assert scores["duplicate"][0].tolist() == pytest.approx([0, 0, 1 / 3, 0])
    assert torch.isnan(head_scores(patterns[..., :2, :2], tokens[:2])["duplicate"]).all()


def test_entropies_in_bits() -> None:
    assert attention_entropy(torch.tensor([0.5, 0.5, 0.0])) == 1
    assert prediction_entropy(torch.zeros(3, 8)).tolist() == pytest.approx([3, 3, 3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 30, "heads": 4}, "30 cannot be shared out among 4 heads: use a width of 28 or 32, or 3 heads"),
        ({"layers": 0}, "layers is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"activation": "swish"}, "choose one of gelu"),
        ({"heads": 2, "width": 6, "positions": "rotary"}, "use a width of 4 or 8, or 1 head, or learned positions"),
        ({"heads": 4, "width": 130, "positions": "rotary"}, "use a width of 128 or 136, or 5 heads"),
        ({"heads": 2, "width": 9, "positions": "rotary"}, "use a width of 8 or 12\\."),
        ({"head_bias": True}, "head_bias needs a head of its own"),
        ({"context": True}, "context is True"),
    ],
)
def test_impossible_shapes_are_refused_with_a_way_out(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(GPTConfig(vocab_size=10), mlp_width=None, **changes)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([], dtype=torch.long), "no tokens"),
        (torch.tensor([0.5]), "whole numbers"),
        (torch.tensor([[1], [2]]), "one text at a time"),
        (torch.tensor([3, 29]), "token 29 is not in this model's vocabulary of 29"),
        (torch.tensor([-1]), "token -1"),
        (torch.zeros(17, dtype=torch.long), "17 tokens do not fit the model's context of 16"),
    ],
)
def test_bad_ids_get_a_sentence(tokens: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trace(random_model(), tokens)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (ablate_head(3, 0), "layers count from 0 to 2"),
        (ablate_head(0, 2), "heads count from 0 to 1"),
        (mask_token(0, 5), "positions count from 0 to 4"),
    ],
)
def test_edits_outside_the_model_are_refused(edit: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trace(random_model(), ids(5), [edit])  # type: ignore[list-item]


def test_a_random_forward_is_not_traced() -> None:
    model = random_model(dropout=0.1).train()
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        trace(model, ids(5))


def test_trace_reads_by_the_full_name() -> None:
    run: Trace = trace(random_model(), ids(5))
    assert torch.equal(run.at("blocks.1.attn.pattern"), run.patterns[1])
    with pytest.raises(ValueError, match="no hook point"):
        run.at("blocks.3.attn.pattern")


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_every_width_and_number_of_heads_that_is_offered_works(positions: Positions) -> None:
    for width in range(1, 70):
        for heads in range(1, 12):
            try:
                GPTConfig(vocab_size=9, width=width, heads=heads, positions=positions)
            except ConfigError as error:
                said = str(error).split(": use a width of ")[1]
                widths, _, fewer = said.removesuffix(", or learned positions.").rstrip(".").partition(", or ")
                for offered in widths.split(" or "):
                    GPTConfig(vocab_size=9, width=int(offered), heads=heads, positions=positions)
                if fewer:
                    GPTConfig(vocab_size=9, width=width, heads=int(fewer.split()[0]), positions=positions)
