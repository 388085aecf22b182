"""Nats per token and bits per byte."""

from __future__ import annotations

import math

import pytest

from training.units import both, in_bits, unit_of


def test_a_token_of_so_many_bytes_shares_its_loss_among_them() -> None:
    """Guessing evenly among 256 bytes costs 8 bits each, however many of them make a token."""
    for size in (1.0, 2.0, 3.5):
        assert in_bits(size * math.log(256), size) == pytest.approx(8)
    assert in_bits(None, 2.0) is None
    assert in_bits(1.0, None) is None


def test_a_loss_is_told_in_both_units_where_both_are_known() -> None:
    assert both(2 * math.log(2), in_bits(2 * math.log(2), 4.0), 2) == "1.39 (0.50)"
    assert both(1.0, None, 3) == "1.000"
    assert (unit_of(4.0), unit_of(None)) == ("nats per token (bits per byte)", "nats per token")
