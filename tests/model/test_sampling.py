"""Sampling against plain recomputations, and the draw against its own distribution."""

import pytest
import torch

from model.sampling import CUTS, Settings, SettingsError, distribution, draw, uniform

LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])


def test_untouched_settings_are_the_models_own_distribution() -> None:
    dist = distribution(LOGITS, Settings())
    assert torch.allclose(dist.p, LOGITS.double().softmax(0))
    assert torch.equal(dist.p, dist.raw)  # nothing to scale, so not a bit changes
    assert (dist.cut == 0).all()


def test_temperature_divides_the_logits() -> None:
    assert torch.allclose(distribution(LOGITS, Settings(temperature=0.5)).p, (LOGITS.double() * 2).softmax(0))


def test_zero_temperature_is_greedy() -> None:
    dist = distribution(LOGITS, Settings(temperature=0))
    assert dist.p.tolist() == [1, 0, 0, 0, 0, 0]
    assert draw(dist, 0.999).token == 0


def test_top_k_keeps_k_even_among_ties() -> None:
    dist = distribution(torch.zeros(8), Settings(top_k=3))
    assert dist.kept == 3
    assert dist.p.sum().item() == pytest.approx(1, abs=1e-12)


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    raw = LOGITS.double().softmax(0)
    for top_p in (0.01, 0.3, 0.6, 0.75, 0.9, 0.99):
        kept = distribution(LOGITS, Settings(top_p=top_p)).kept
        assert raw[:kept].sum() >= top_p
        assert raw[: kept - 1].sum() < top_p


def test_top_p_counts_what_top_k_left() -> None:
    raw = LOGITS.double().softmax(0)
    dist = distribution(LOGITS, Settings(top_k=3, top_p=0.8))
    share = raw[:3] / raw[:3].sum()
    assert dist.kept == int((share.cumsum(0) - share < 0.8).sum())
    assert [CUTS[code] for code in dist.cut.tolist()] == [None, None, "top-p", "top-k", "top-k", "top-k"]


def test_min_p_is_a_share_of_the_likeliest() -> None:
    raw = LOGITS.double().softmax(0)
    dist = distribution(LOGITS, Settings(min_p=0.2))
    assert ((dist.p > 0) == (raw >= 0.2 * raw.max())).all()


def test_repetition_penalty_lowers_what_was_written() -> None:
    dist = distribution(LOGITS, Settings(repetition_penalty=2.0), written=torch.tensor([0, 4, 4]))
    expected = torch.tensor([1.0, 1.0, 0.5, 0.0, -2.0, -3.0]).double().softmax(0)
    assert torch.allclose(dist.p, expected)
    assert torch.allclose(dist.raw, LOGITS.double().softmax(0))


@pytest.mark.parametrize("vocabulary", [2, 65, 50_257])
def test_probabilities_sum_to_one_over_the_whole_vocabulary(vocabulary: int) -> None:
    logits = torch.randn(vocabulary, generator=torch.Generator().manual_seed(1)) * 4
    dist = distribution(logits, Settings(temperature=0.7, top_k=40, top_p=0.9, min_p=0.01))
    assert dist.p.sum().item() == pytest.approx(1, abs=1e-12)
    assert dist.raw.sum().item() == pytest.approx(1, abs=1e-12)
    assert ((dist.cut > 0) == (dist.p == 0)).all()


def test_the_draw_follows_the_distribution() -> None:
    dist = distribution(LOGITS, Settings(top_k=4))
    count = torch.zeros(6)
    turns = 20_000
    for position in range(turns):
        count[draw(dist, uniform(7, position)).token] += 1
    assert (count / turns - dist.p).abs().max() < 0.015  # four standard deviations
    assert (count[4:] == 0).all()


def test_u_falls_inside_the_interval_it_names() -> None:
    dist = distribution(LOGITS, Settings())
    for u in (0.0, 0.3, 0.6, 0.9, 1 - 2**-53):
        drawn = draw(dist, u)
        assert drawn.low - 1e-12 <= u < drawn.high + 1e-12
        assert drawn.high - drawn.low == pytest.approx(dist.p[drawn.token].item())


def test_u_is_fixed_by_seed_and_position() -> None:
    assert uniform(1, 2) == uniform(1, 2)
    values = {uniform(seed, position) for seed in range(30) for position in range(30)}
    assert len(values) == 900
    assert all(0 <= value < 1 for value in values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_k": -2}, "top_k is -2"),
        ({"min_p": 2}, "min_p is 2"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0"),
    ],
)
def test_settings_outside_their_range_get_a_sentence(settings: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings(**settings)


def test_a_draw_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match="u is 1"):
        draw(distribution(LOGITS, Settings()), 1.0)


def test_the_likeliest_alone_is_a_choice_and_no_cut() -> None:
    logits = torch.tensor([0.1, 3.0, 0.2, 2.9])
    found = distribution(logits, Settings(temperature=0, top_k=2, top_p=0.5, min_p=0.1))
    assert (found.cut.tolist(), found.p.tolist(), found.kept) == ([0] * 4, [0, 1, 0, 0], 1)
