"""CPU seconds of what is done with a run, beside the training of one: whole processes and those they begin, in turn.

    python benchmarks/commands.py --rounds 5

The run is the parabola, 100 epochs, everything recorded. Each command gets a copy of it, so that a resume goes on from
the same state every time. Prints a Markdown table of medians; the ratios are those of the rounds.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from single_run import timed

SHOAL = [str(Path(sys.executable).with_name("shoal"))]
TRAIN = [*SHOAL, "train", "task=parabola"]
COMMANDS: Mapping[str, Sequence[str]] = {
    "eval": ["eval", "RUN"],
    "predict --x": ["predict", "RUN", "--x", "0.5"],
    "export --format safetensors": ["export", "RUN", "--format", "safetensors"],
    "resume, 4 epochs more": ["resume", "RUN", "trainer.max_epochs=104"],
}


def cpu_seconds(words: Sequence[str], trained: Path) -> float:
    """CPU seconds of a command on a copy of the run that lies in the folder `trained`."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(trained, folder, dirs_exist_ok=True)
        [run] = Path(folder).glob("outputs/parabola/*")
        return timed([*SHOAL, *(str(run) if word == "RUN" else word for word in words)], Path(folder)).cpu


def measured(rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each command, one a round, after a round that does not count."""
    found: dict[str, list[float]] = {"train": [], **{name: [] for name in COMMANDS}}
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as trained:
            found["train"].append(timed(TRAIN, Path(trained)).cpu)
            for name, words in COMMANDS.items():
                found[name].append(cpu_seconds(words, Path(trained)))
    return {name: each[1:] for name, each in found.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default: 5)")
    found = measured(parser.parse_args().rounds)
    print("| command | CPU s | of `train` |\n|---|---|---|")
    for name, own in found.items():
        ratio = median(one / whole for one, whole in zip(own, found["train"], strict=True))
        print(f"| `{name}` | {median(own):.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
