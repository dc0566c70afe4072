"""Weights that hooks of a layer make before each forward: torch's older weight and spectral norm, and pruning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


def derived(part: nn.Module) -> set[str]:
    """The names of those of a layer."""
    hooks = part._forward_pre_hooks.values()
    found = {hook.name for hook in hooks if isinstance(hook, WeightNorm | SpectralNorm)}
    return found | {hook._tensor_name for hook in hooks if isinstance(hook, BasePruningMethod)}


@contextmanager
def own_derived(module: nn.Module) -> Iterator[None]:
    """Let layers have theirs afterwards as before, not those that a mapped step has made."""
    before: list[tuple[nn.Module, dict[str, Tensor]]] = [
        (part, {name: vars(part)[name] for name in derived(part)})
        for part in module.modules()
        if part._forward_pre_hooks
    ]
    try:
        yield
    finally:
        for part, values in before:
            # They are plain attributes, which `functional_call` does not put back as it does parameters.
            vars(part).update(values)
