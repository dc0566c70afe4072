"""What to write instead, where an error of torch's or Lightning's names what is wrong in words of its own."""

from __future__ import annotations

import re
import traceback

_CONFIGURED = (
    'configure_optimizers is to return an optimizer, {"optimizer": ..., "lr_scheduler": ...}, '
    "or a list of optimizers and one of schedulers"
)
_WAYS = {
    "does not require grad and does not have a grad_fn": (
        "the loss depends on no weight that is trained: it is detached, a number, or all weights are frozen"
    ),
    "grad can be implicitly created only for scalar outputs": (
        "training_step is to return one number: take the .mean() of the losses"
    ),
    "backward through the graph a second time": (
        "what is kept of an earlier step holds its graph: keep value.detach() instead"
    ),
    "modified by an inplace operation": "write y = y + 1 for y += 1, and so on, where y is needed for the gradient",
    "optimizer got an empty parameter list": (
        "layers are seen as attributes of the module, or in nn.ModuleList and nn.ModuleDict, and in no plain list"
    ),
    "Unknown configuration for model optimizers": _CONFIGURED,
    "(must have|to have) the same dtype": (
        "numbers of NumPy are float64, and weights float32: take x.float(), or trainer.precision=64-true"
    ),
    "expected (target dtype to be|scalar type) Long": "classes are whole numbers of torch.long: take y.long()",
    "Target -?[0-9]+ is out of bounds": (
        "classes count from 0, and the last layer has an output for each: make as many as there are"
    ),
    "stack expects each tensor to be equal size": (
        "samples of a batch need one shape: pad them in the dataset, or give the DataLoader a collate_fn"
    ),
}
"""By a pattern of the error's words."""
_READING = "/core/optimizer.py"
"""Where Lightning reads what configure_optimizers returns, and stumbles over what is something else."""


def way_out(error: BaseException) -> str | None:
    """What to write instead of what raised this; None where that is not known."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, KeyError | AttributeError) and frames and frames[-1].filename.endswith(_READING):
        return _CONFIGURED
    return next((way for pattern, way in _WAYS.items() if re.search(pattern, str(error))), None)
