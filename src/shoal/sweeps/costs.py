"""What a training step of a small model costs, in bare steps: the forward, the backward and the update by themselves.

Measured as CPU time a step of one run, with one thread of an AMD EPYC (Zen 4), alone and among 64 runs of a stack:

    task, model.hidden      bare      alone     in a stack
    parabola, its own       0.50 ms   1.09 ms   0.056 ms
    sin_x2, its own         0.48 ms   1.01 ms   0.066 ms
    parabola, [64,64]       0.52 ms   0.86 ms   0.124 ms
"""

from __future__ import annotations

BY_LIGHTNING = 2.0
"""What Lightning makes of a step of a run that trains alone."""
DISPATCH = 0.1
"""What is left of a step, beside its arithmetic, where a stack shares it."""
ARITHMETIC = 0.1
"""The share of its arithmetic in a step, which each run of a stack has to itself; the larger models have this much."""
ALONE = BY_LIGHTNING / (DISPATCH + ARITHMETIC)
"""What a run that trains alone costs, where one in a stack costs 1 and nothing was measured of either."""
