"""Samples that one worker process has gathered, for the others: files of tensors, which they map into memory."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.rundir.file_lock import locked

Gathered = tuple[list[Tensor], Any]
"""Tensors, and how batches are made of them."""


@dataclass(frozen=True)
class SharedSamples:
    """A folder that the workers of a sweep have in common."""

    place: Path

    def get(self, name: str, gather: Callable[[], Gathered]) -> Gathered:
        """The samples of this name, gathered by who comes first; the others wait for it."""
        path = self.place / name
        with ExitStack() as stack:
            with suppress(OSError):  # no folder any more
                lock = stack.enter_context(open(f"{path}.lock", "w"))
                locked(lock, wait=True)
            found = _read(path) if path.exists() else None
            if found is None:
                found = gather()
                with suppress(Exception):  # a full disk, or containers that cannot be pickled: each gathers for itself
                    _write(path, found)
        return found


@contextmanager
def shared() -> Iterator[SharedSamples]:
    """A folder for the block; those that processes have left which were killed are removed."""
    # A lock ends with its process: a folder whose lock can be had belongs to nobody.
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), open(left / _HELD, "w") as held:
            if locked(held, wait=False):
                shutil.rmtree(left, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as place,
        open(Path(place) / _HELD, "w") as held,
    ):
        locked(held, wait=True)
        yield SharedSamples(Path(place))


_PREFIX, _HELD = "shoal-samples-", "held"


def _write(path: Path, samples: Gathered) -> None:
    leaves, spec = samples
    new = path.with_suffix(".new")
    new.with_suffix(".batch").write_bytes(pickle.dumps(pytree.tree_unflatten(list(range(len(leaves))), spec)))
    torch.save(leaves, new)
    # Last, and at once: a file of this name is whole, and has its batch beside it.
    new.replace(path)


def _read(path: Path) -> Gathered | None:
    with suppress(Exception):
        leaves = torch.load(path, mmap=True, weights_only=True)
        return leaves, pytree.tree_structure(pickle.loads(path.with_suffix(".batch").read_bytes()))
    return None
