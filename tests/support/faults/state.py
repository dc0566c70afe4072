"""What a run has come to, all of it, to compare one run with another to the bit."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tensorboard.compat.proto.event_pb2 import Event

from shoal.record.checkpoints.checkpoint_file import EXTRA, load
from shoal.rundir import RunDir, read_info


def state(path: Path) -> dict[str, Any]:
    """Weights, optimizer, scheduler, callbacks, generators, history, curves and results of a run."""
    run = RunDir(path)
    info = read_info(run.info)
    last = load(run.last)
    del last["loops"]  # Lightning's counters, which nothing reads: the position says the same
    for files in (last[EXTRA]["files"], last[EXTRA]["over"]):
        del files["events"]  # the length of the file goes with that of the configuration in it
    if "beartype" in sys.modules:
        del last[EXTRA]["generators"]["python"]  # the type checks of the tests draw from it
    return {
        "last": last,
        "best": load(run.best)["state_dict"] if run.best.exists() else None,
        "history": run.history.read_bytes(),
        "curves": list(curves(run)),
        "final": info.final,
        "best metric": info.best,
        "length": (info.epochs, info.steps, info.status),
        "position": last[EXTRA]["position"],
    }


def curves(run: RunDir) -> Iterator[tuple[int, str, float]]:
    """Step, name and value of each point in the event file."""
    for file in run.events():
        content, position = file.read_bytes(), 0
        while position < len(content):
            (length,) = struct.unpack("<Q", content[position : position + 8])
            event = Event.FromString(content[position + 12 : position + 12 + length])
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    yield event.step, value.tag, value.simple_value
            position += length + 16


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """The places where two states are not equal to the bit."""
    if type(one) is not type(other):
        return [f"{at}: {type(one).__name__}, {type(other).__name__}"]
    if isinstance(one, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [at]
    if isinstance(one, dict):
        found = [f"{at}.{key}: only in one" for key in one.keys() ^ other.keys()]
        return found + [
            each for key in one.keys() & other.keys() for each in differences(one[key], other[key], f"{at}.{key}")
        ]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [f"{at}: {len(one)} and {len(other)} long"]
        return [
            each for i, (a, b) in enumerate(zip(one, other, strict=True)) for each in differences(a, b, f"{at}[{i}]")
        ]
    same = one == other or (one != one and other != other)
    return [] if same else [f"{at}: {one!r}, {other!r}"]
