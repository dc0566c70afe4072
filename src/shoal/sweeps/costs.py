"""What a training costs beside its epochs, and what one alone costs where nothing was measured.

Measured as CPU time with one thread of an AMD EPYC (Zen 4): a training step of the parabola takes 1.09 ms alone and
0.056 ms a run among 64 of a stack; of a larger model, model.hidden=[64,64], 0.86 and 0.124 ms.
"""

from __future__ import annotations

ALONE = 10.0
"""What a run that trains alone costs, where one in a stack costs 1 and nothing was measured of either."""
START_SECONDS = 1.5
"""Before the first run, where that was not measured: what is imported."""
END_SECONDS = 0.5
"""After the last run: the summary and the figures."""
RECORDED_SECONDS = 0.0015
"""For each epoch of a run that trains alone: its row, its events and its state."""
STORED_SECONDS = 0.01
"""For each run: its directory, its checkpoints, its record."""
