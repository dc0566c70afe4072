"""How a checkpoint is written and read: atomically, with its digest inside, and only tensors and plain values."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from shoal.errors import DamagedError, brief
from shoal.record.checkpoints.packed import made_anew, packed, unpacked
from shoal.record.checkpoints.readable import readable
from shoal.rundir import sealed, unsealed, write_bytes

GOING_ON = "going_on"
"""Key among these of the weights that a training goes on from, where those that were measured are others."""
EXTRA = "shoal"
"""Key of the checkpoint under which everything that Lightning does not know of is kept."""


class SealedIO(CheckpointIO):
    """Writes checkpoints atomically with their digest inside, and reads only tensors and plain values."""

    def __init__(self, module: pl.LightningModule | None = None) -> None:
        """`module` is one as it was made, which has what is in no checkpoint."""
        self.module = module

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # In memory first: the digest is of the whole archive, and stands behind it in the same file.
        buffer = io.BytesIO()
        torch.save(packed(readable(checkpoint)), buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(Path(path), sealed(buffer.getvalue()))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        content = load(Path(path), map_location=map_location)
        if self.module:
            content = made_anew(content, self.module)
        # Only here, where Lightning goes on from a state: who predicts wants the weights that were measured.
        content["state_dict"] = content[EXTRA].pop(GOING_ON, content["state_dict"])
        return content

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def load(path: Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint.

    Raises:
        DamagedError: where its seal is broken, or it holds something that is neither a tensor nor a plain value.
    """
    archive = io.BytesIO(unsealed(path))
    try:
        content = unpacked(torch.load(archive, map_location=map_location, weights_only=True))
    # Torch has no error of its own for this: its archive, its pickle and what it refuses each raise another one.
    except Exception as error:
        raise DamagedError(f"{path} cannot be read as a checkpoint: {brief(error)}") from error
    if not isinstance(content, dict) or not isinstance(content.get(EXTRA), dict):
        raise DamagedError(f"{path} is no checkpoint of a run")
    return content
