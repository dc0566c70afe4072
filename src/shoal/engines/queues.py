"""Queues in the state of an optimizer, as those of gradients that wait for their step."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch


def limited_again(optimizers: Sequence[torch.optim.Optimizer], saved: Sequence[Mapping[str, Any]]) -> None:
    """Let queues be no longer than they were: `load_state_dict` of torch makes each anew, without its limit."""
    for optimizer, state in zip(optimizers, saved, strict=True):
        params = [param for group in optimizer.param_groups for param in group["params"]]
        for number, kept in state["state"].items():
            for name, value in kept.items() if isinstance(kept, Mapping) else ():
                if isinstance(value, deque):
                    own = optimizer.state[params[number]]
                    own[name] = deque(own[name], value.maxlen)
