"""The global random numbers of Python, NumPy and torch: code of the user's may draw from them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy
import torch


def generator_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's global generators, as plain values and tensors."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = numpy.random.get_state()
    return {
        # Tensors, since `weights_only` reads no array of NumPy's.
        "python": [version, torch.from_numpy(numpy.array(numbers)), gauss],
        "numpy": [str(kind), torch.from_numpy(numpy.asarray(keys, dtype=numpy.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_generators(states: Mapping[str, Any]) -> None:
    """Set the global generators back to `states`."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    kind, keys, *rest = states["numpy"]
    numpy.random.set_state((kind, keys.numpy().astype(numpy.uint32), *rest))
    # A `map_location` may have put them onto the GPU; torch takes states from the CPU only.
    torch.set_rng_state(states["torch"].cpu())
    if torch.cuda.is_available() and states["cuda"]:
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
