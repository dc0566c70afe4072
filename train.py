"""Train a model: `python train.py task=parabola optimizer.lr=1e-3`; `--help` lists what can be chosen."""

import sys

try:
    from shoal.cli import train
except ModuleNotFoundError as error:
    if error.name != "shoal":
        raise
    print(f"error: shoal is not installed for {sys.executable}", file=sys.stderr)
    print("  in a checkout: make demo, then in each new shell: source .venv/bin/activate", file=sys.stderr)
    print("  into an environment of your own: pip install -c requirements.lock .", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(train())
