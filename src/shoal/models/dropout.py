"""Dropout whose mask is a pure function of a key, so that it can be resumed, repeated and stacked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shoal.seeding import Stream, derived, hashed


class Dropout(nn.Module):
    """Zeroes each element with probability `p` while training and scales the others by 1/(1-p).

    Which elements: those whose hash with the buffer `key` is small. The mask is arithmetic on tensors, with no
    generator behind it; so `torch.func.vmap` maps it over runs that each have their own key, which `keyed` sets.
    """

    key: Tensor

    def __init__(self, p: float, *, layer: int) -> None:
        super().__init__()
        self.p = p
        self.layer = layer
        self.register_buffer("key", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        # Hashed before the key comes in: else the masks of two keys may be the same one in another order.
        position = torch.arange(x.numel(), device=x.device).view(x.shape)
        # The upper 53 bits, which is what a float64 holds; the mask takes off the sign that the shift fills in.
        uniform = (hashed(hashed(position) ^ self.key) >> 11 & (2**53 - 1)).to(torch.float64) / 2**53
        return x * ((uniform >= self.p).to(x.dtype) / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"


def keyed(model: nn.Module, seed: int, epoch: int, step: int) -> None:
    """Give every `Dropout` of `model` the key of this seed, epoch and step of the epoch."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.key.fill_(derived(seed, Stream.DROPOUT, epoch, step, module.layer))
