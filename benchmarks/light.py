"""Time what should be light beside Hydra's own share of it: help, the configuration, a completion, a composition error.

The other side of each pair is a program of three lines that has Hydra compose the same configuration and nothing more.
Prints a Markdown table of medians: wall seconds, CPU seconds, and their ratios.

    python benchmarks/light.py --rounds 9
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
BARE = """import hydra
from omegaconf import OmegaConf
OmegaConf.register_new_resolver("run_id", lambda: "id")
@hydra.main(version_base="1.3", config_path={conf!r}, config_name="train")
def train(config): pass
train()
"""
COMPLETION = {"COMP_LINE": "train.py optimizer=a", "COMP_POINT": "20"}
WORDS: Mapping[str, tuple[list[str], Mapping[str, str]]] = {
    "--help": (["--help"], {}),
    "--cfg job": (["--cfg", "job"], {}),
    "completion": (["-sc", "query=bash"], COMPLETION),
    "task=parabla": (["task=parabla"], {}),
}


def timed(command: list[str], settings: Mapping[str, str], folder: str) -> tuple[float, float]:
    """Wall and CPU seconds of a process, whatever it returns."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Time the pairs in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count (default: 9)")
    rounds = parser.parse_args().rounds
    print("| command | shoal wall | Hydra alone wall | ratio | shoal CPU | Hydra alone CPU | ratio |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "train.py"
        bare.write_text(BARE.format(conf=str(ROOT / "conf")))
        for name, (words, settings) in WORDS.items():
            pairs = [
                (
                    timed([str(ROOT / "train.py"), *words], settings, folder),
                    timed([str(bare), *words], settings, folder),
                )
                for _ in range(rounds + 1)
            ][1:]
            cells = []
            for i in (0, 1):
                own, other = median(pair[0][i] for pair in pairs), median(pair[1][i] for pair in pairs)
                ratio = median(pair[0][i] / pair[1][i] for pair in pairs)
                cells.append(f"{own:.2f} | {other:.2f} | {ratio:.2f}")
            print(f"| `{name}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
