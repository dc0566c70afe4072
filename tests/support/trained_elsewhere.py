"""Trains stacks on the CPU and on another device, and says of each kind in what they differ, a line of JSON for each.

python trained_elsewhere.py KIND...
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings

import torch

import other_device
from on_fakes import followed, noted
from two_devices import difference, stacked, write_code


def differing(kind: str) -> str | None:
    """In what a stack differs that was trained elsewhere; to the bit."""
    here = stacked(kind, "cpu")
    with noted() as programs:
        there = stacked(kind, other_device.NAME)
    if there[0].stack.device != other_device.DEVICE:
        return "it trained on the CPU"
    for program, inputs in programs.items():
        if set(followed(program, inputs, other_device.DEVICE)) - {"cuda"}:
            return f"results of the {program.what} are not where its inputs are"
    return difference(here, there, torch.equal)


def mixing() -> str | None:
    """What is wrong where tensors of two devices are added, which must fail."""
    try:
        torch.ones(2).to(other_device.DEVICE) + torch.ones(2)
    except RuntimeError:
        return None
    return "they were added"


warnings.simplefilter("ignore")
torch.set_num_threads(1)
write_code()
print(json.dumps(["mixing", mixing()]))
for each in sys.argv[1:]:
    try:
        print(json.dumps([each, differing(each)]), flush=True)
    except Exception:
        print(json.dumps([each, traceback.format_exc()]), flush=True)
