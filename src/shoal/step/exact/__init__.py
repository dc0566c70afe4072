"""Whether a run has the same bits in its stack as alone: checked on the programs that train it, and mended."""
