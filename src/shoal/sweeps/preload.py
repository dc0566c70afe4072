"""Imported by the server that worker processes are copies of, so that none of them has to import torch."""

from __future__ import annotations

import atexit
import gc
import os

from shoal.startup import cheap_imports

with cheap_imports():
    import torch
    from torch.func import grad, vmap

    import shoal.sweeps.block_training  # noqa: F401
    from shoal.step.exact import remembered
    from shoal.step.traced import traced

    remembered.libraries()  # looks at every file of this package
    traced(vmap(grad(torch.tanh)), [torch.zeros(2)])  # the first one imports torch's rules for gradients and mappings

# What is there by now is never garbage: the collector of each copy need not look at it again and again.
gc.freeze()
atexit.register(os._exit, 0)  # the server has nothing to clear up, and taking torch apart takes 0.15 s
