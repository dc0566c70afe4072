"""Attention in elementary operations, which a mapping over runs takes for all of them at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    dropped: Callable[[Tensor], Tensor] = lambda weights: weights,
) -> Tensor:
    """As `torch.nn.functional.scaled_dot_product_attention` says that it computes; `dropped` drops weights out."""
    if enable_gqa:
        key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], -3) for each in (key, value))
    weights = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(weights.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        is_flag = attn_mask.dtype is torch.bool
        weights = weights.masked_fill(attn_mask.logical_not(), -math.inf) if is_flag else weights + attn_mask
    # As in torch: what may look at nothing has zeros there.
    shares = weights.softmax(-1) if attn_mask is None else torch._safe_softmax(weights, -1)
    return dropped(shares) @ value
