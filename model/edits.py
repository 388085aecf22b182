"""Edits: small changes of a forward pass, made at a hook point, to ask what depends on what.

Each factory returns an Edit for `trace(model, ids, edits=[...])`. Layers, heads and positions count from 0. An edit
knows nothing of the model; a layer, head or position that the model lacks is refused when the trace begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from model.trace import Trace


@dataclass(frozen=True)
class Edit:
    """A change at one hook point: `change` maps its value (with the batch axis) to the value to go on with.

    point: full name of the hook point; label: what it does, in words; head, position: what it touches, if one.
    """

    point: str
    label: str
    change: Callable[[Tensor], Tensor]
    head: int | None = None
    position: int | None = None


def scale_head(layer: int, head: int, factor: float) -> Edit:
    """Multiply a head's output z by `factor`: 0 silences it, 1 changes nothing, 2 doubles its voice."""

    def change(z: Tensor) -> Tensor:  # B H T D
        z = z.clone()
        z[:, head] *= factor
        return z

    return Edit(f"blocks.{layer}.attn.z", f"head {layer}.{head} x {factor:g}", change, head=head)


def ablate_head(layer: int, head: int) -> Edit:
    """Replace a head's output z by zeros (zero ablation): the same as zeroing its columns of the output projection."""

    def change(z: Tensor) -> Tensor:  # B H T D
        z = z.clone()
        z[:, head] = 0
        return z

    return Edit(f"blocks.{layer}.attn.z", f"head {layer}.{head} off", change, head=head)


def mean_ablate(layer: int, head: int, reference: Trace | None = None) -> Edit:
    """Replace a head's output z by its mean over positions: of `reference` if given, else of the text itself.

    Kinder than zeros: the head keeps its average effect and loses only what it says about this place.
    """
    mean = None if reference is None else reference.z[layer, head].mean(dim=0)  # D

    def change(z: Tensor) -> Tensor:  # B H T D
        z = z.clone()
        z[:, head] = z[:, head].mean(dim=1, keepdim=True) if mean is None else mean.to(z)
        return z

    return Edit(f"blocks.{layer}.attn.z", f"head {layer}.{head} at its mean", change, head=head)


def patch_from(source: Trace, point: str, position: int | None = None) -> Edit:
    """Activation patching: put the value of another run (`source`) at `point`, everywhere or at one position.

    point: a full name such as `blocks.2.resid_post` or `blocks.0.attn.z`. Raises ValueError when the two runs
    differ in length and no position is given.
    """
    value = source.at(point)
    axis = -2  # T is the axis before the last in every hook point that can be patched

    def change(x: Tensor) -> Tensor:
        if position is None:
            if x.shape[1:] != value.shape:
                raise ValueError(
                    f"cannot patch {point}: the other run has {len(source.tokens)} tokens and this one "
                    f"{x.shape[axis]}; name one position, or trace a text of the same length."
                )
            return value.to(x).expand_as(x)
        x = x.clone()
        x[..., position, :] = value[..., position, :].to(x)
        return x

    where = "" if position is None else f" at {position}"
    return Edit(point, f"{point}{where} from another run", change, position=position)


def mask_token(layer: int, position: int, head: int | None = None) -> Edit:
    """Hide a token from every later token, in one layer (and one head): its scores become minus infinity.

    The token still sees itself, so that its own row stays a distribution.
    """

    def change(scores: Tensor) -> Tensor:  # B H T S
        scores = scores.clone()
        heads = slice(None) if head is None else slice(head, head + 1)
        scores[:, heads, position + 1 :, position] = float("-inf")
        return scores

    who = "all heads" if head is None else f"head {layer}.{head}"
    return Edit(
        f"blocks.{layer}.attn.scores", f"token {position} hidden from {who}", change, head=head, position=position
    )


def masked_everywhere(layers: int, position: int) -> list[Edit]:
    """`mask_token` in every layer: no later token can look at this one."""
    return [mask_token(layer, position) for layer in range(layers)]
