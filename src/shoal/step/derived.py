"""Weights that hooks of a layer make before each forward: torch's older weight and spectral norm, and pruning."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


def derived(part: nn.Module) -> set[str]:
    """The names of those of a layer."""
    hooks = part._forward_pre_hooks.values()
    found = {hook.name for hook in hooks if isinstance(hook, WeightNorm | SpectralNorm)}
    return found | {hook._tensor_name for hook in hooks if isinstance(hook, BasePruningMethod)}
