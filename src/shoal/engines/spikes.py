"""The losses that Lightning's `SpikeDetection` has seen: its own state lacks them, and cannot be loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pytorch_lightning.callbacks import SpikeDetection


def seen(callbacks: Iterable[Any]) -> list[dict[str, Any]]:
    """The losses that each one has the mean of, and how many there were."""
    means = [each.running_mean for each in _every(callbacks)]
    return [
        {"n": each._num_vals_seen, "losses": {name: getattr(each, name) for name in each._defaults}} for each in means
    ]


def make_readable(callbacks: Iterable[Any]) -> None:
    """Let each one load the state that it has saved, for which it takes a name that it does not have."""
    for each in _every(callbacks):
        each.running = each.running_mean


def see_again(callbacks: Iterable[Any], kept: Sequence[dict[str, Any]]) -> None:
    """Give them back what they had seen; one with another window begins anew."""
    for each, before in zip(_every(callbacks), kept, strict=False):
        mean = each.running_mean
        if before["losses"].keys() == mean._defaults.keys():
            mean._num_vals_seen = before["n"]
            for name, value in before["losses"].items():
                setattr(mean, name, value.to(mean.device))


def _every(callbacks: Iterable[Any]) -> Iterator[Any]:
    return (each for each in callbacks if isinstance(each, SpikeDetection))
