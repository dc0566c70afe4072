"""Train a model: `python train.py task=parabola optimizer.lr=1e-3`; `--help` lists what can be chosen."""

import sys

from shoal.cli import train

if __name__ == "__main__":
    sys.exit(train())
