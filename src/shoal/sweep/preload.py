"""Imported by the server that worker processes are copies of, so that none of them has to import torch."""

from __future__ import annotations

import gc

from shoal.startup import cheap_imports

with cheap_imports():
    import shoal.sweep.training  # noqa: F401

gc.freeze()
