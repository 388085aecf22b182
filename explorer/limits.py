"""Every limit of the server in one place, so that a public one can be run without fear."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one visitor, and all of them together, may use. `shared` limits hold on a server that strangers reach."""

    shared: bool = False
    """Strangers can reach this server: visitors see their own runs only."""
    upload_bytes: int = 50_000_000
    """Largest file or paste."""
    visitors: int = 300
    """Visitors remembered; the one unseen for longest goes first. Its runs stay on disk."""
    decoders: int = 2
    """Models that one visitor decodes with at a time; each holds its keys, values and attention rows."""
    opened_models: int = 8
    """Models kept in memory for all visitors together."""
    prompt_characters: int = 20_000
    """Longest prompt."""
    text_tokens: int = 20_000
    """Longest text, prompt and continuation together."""
    tokens_a_call: int = 64
    """Most tokens written in one call of the page, so that a long continuation can be watched and stopped."""
    rows: int = 500
    """Most rows of a distribution sent at once; the rest is summed up in one."""
    map_cells: int = 6_000_000
    """Most attention weights sent at once (one byte each)."""
    beams: int = 8
    """Most beams of a search for the most probable ways on."""
    branch_tokens: int = 24
    """Most tokens that such a search looks ahead."""
    branch_work: int = 3 * 10**11
    """Most work of one search, in tokens read times parameters."""
    decoding_at_once: int = 2
    """Decoding calls computed at the same moment; others wait."""
    indexed_texts: int = 4
    """Texts whose index is kept, to look up where a model learnt something; about 10 bytes a character each."""
    trainings_a_visitor: int = 3
    """Trainings that one visitor may have running or waiting."""
    trainings_queued: int = 30
    """Trainings that may wait in all."""
    parameters: int = 200_000_000
    """Largest model that may be trained from the page, or opened from a file."""
    model_bytes: int = 600_000_000
    """Largest file of weights, and what a .zip may unpack to."""
    run_bytes: int = 1_200_000_000
    """Largest zip of a run, and what it may unpack to: two checkpoints, each with the state of its optimizer."""
    held_numbers: int = 250_000_000
    """Attention weights, logits, keys and values that reading with a model from a file may hold (GPT-2: 222 M)."""
    imports_a_visitor: int = 20
    """Models opened from files that one visitor may keep at a time."""
    steps: int = 200_000
    """Longest training that may be started from the page."""

    @classmethod
    def for_host(cls, host: str) -> Limits:
        """Limits for a server that listens on `host`: shared unless it is this machine's own loopback address."""
        loopback = host in ("127.0.0.1", "localhost", "::1")
        shared = bool(os.environ.get("SPACE_ID")) or not loopback
        if not shared:
            return cls()
        return cls(
            shared=True,
            parameters=20_000_000,
            model_bytes=100_000_000,
            run_bytes=500_000_000,
            held_numbers=40_000_000,
            branch_work=10**11,
            imports_a_visitor=3,
        )
