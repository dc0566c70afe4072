"""Imported by the server that worker processes are copies of, so that none of them has to import torch."""

from __future__ import annotations

import atexit
import gc
import os

from shoal.startup import cheap_imports

with cheap_imports():
    import torch
    from torch.func import functionalize, vmap
    from torch.fx.experimental.proxy_tensor import make_fx

    import shoal.sweeps.block_training  # noqa: F401
    from shoal.step.exact import remembered

    remembered.libraries()  # looks at every file of this package
    make_fx(functionalize(vmap(torch.sin)))(torch.zeros(2, 2))  # the first trace imports eight hundred modules

# What is there by now is never garbage: the collector of each copy need not look at it again and again.
gc.freeze()
atexit.register(os._exit, 0)  # the server has nothing to clear up, and taking torch apart takes 0.15 s
