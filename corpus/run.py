"""Trains published code that was written without shoal, and says what becomes of each piece of it.

    python corpus/run.py [--small] [--write PAGE] [--rows FILE] [WORD ...]

`--small` leaves out what has to be installed first; WORDs choose pieces by their names. A piece is installed by pip
into a temporary folder and imported from there: nothing of it is copied. The table says whether it trains, whether a
sweep over two seeds stacks it and why not, the largest difference of a weight to plain Lightning in float64, and how
much less processor time a sweep of 32 seeds takes than the same runs one by one. `--write` puts it into a page.
`--rows` keeps each row as it comes: the same command again goes on with what is missing, and begins anew after it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
import yaml

import shoal
from shoal.build.checked_job import job
from shoal.engines.loaders import Loaders
from shoal.engines.modes import Modes
from shoal.loaded.run import Run
from shoal.machine import processor
from shoal.record.checkpoints.checkpoint_file import load
from shoal.rundir import read_config
from shoal.seeding import seed_global
from shoal.signals import Interrupted

PIECES = Path(__file__).parent / "pieces.yaml"
LENGTH = ["callbacks=quiet", "trainer.precision=64-true", "trainer.num_sanity_val_steps=0"]
SAMPLES = ["task=parabola", "task.n_samples=64", "task.batch_size=8", "model.hidden=[4]"]
OWN = {"model": "own", "loss": "own", "optimizer": "own"}
SEEDS, MEASURED = 32, 2
"""Runs of a sweep whose speed is measured, and how many of them are trained one by one."""
TABLE = Path("table.csv")
"""Samples for a DataModule that reads a file."""
TEXT = Path("data/wikitext-2.txt")
"""Words for a module that reads a text, where it would download one."""
BEGIN = "<!-- written by make corpus -->"
Row = tuple[str, str, str, str, str, str]


class Seeded(pl.Callback):
    """Gives each epoch of plain Lightning the numbers and the batches that shoal gives it."""

    def __init__(self, loaders: Loaders, seed: int) -> None:
        self.loaders, self.seed = loaders, seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed the global generators, and have the order of the epoch."""
        seed_global(self.seed, trainer.current_epoch)
        self.loaders.begin(trainer, trainer.current_epoch, 0)


def words(piece: Mapping[str, Any]) -> list[str]:
    """What is typed to train a piece; a task is written for a LightningModule."""
    if "module" not in piece:
        given = list(piece["words"])
        return [*(word for word in SAMPLES if not ("model" in word and "~model" in given)), *LENGTH, *given]
    node = {"_target_": "shoal.tasks.LightningTask", "seed": "${seed}", "module": piece["module"]}
    node |= {"datamodule": piece["datamodule"]} if "datamodule" in piece else {}
    content = {"defaults": [{f"override /{group}": choice} for group, choice in OWN.items()], "task": node}
    path = Path("conf/task/piece.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# @package _global_\n" + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return ["task=piece", *LENGTH]


def difference(run: Run) -> str:
    """The largest difference of a weight to that which plain Lightning trains: of large ones a part."""
    made = job(read_config(run.directory.config))
    module, loaders = made.module_to_stack(), Loaders(made)
    seed_global(made.seed)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        precision="64-true",
        callbacks=[Seeded(loaders, made.seed), Modes()],
        logger=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, **loaders.arguments())
    last = load(run.directory.last)
    own = last["shoal"].get("going_on", last["state_dict"])
    state = module.state_dict()
    numbers = [each for each in state.values() if each.numel() and each.dtype is not torch.bool]
    largest = max(1.0, *(float(each.abs().max()) for each in numbers))
    return f"{max(_apart(own[name], each) for name, each in state.items()) / largest:.1g}"


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference of two tensors; flags differ by one."""
    if one.dtype is torch.bool or not one.numel():
        return float((one != other).any())
    return float((one - other).abs().max())


def row(piece: Mapping[str, Any]) -> Row:
    """Train one piece alone and in a sweep of two."""
    name = str(piece["name"])
    try:
        run = shoal.train([*words(piece), "trainer.max_epochs=2"])
    except Interrupted:  # says nothing of the piece: the same command goes on with it
        raise
    except Exception as error:
        return (name, "no", "no", said(error), "", "")
    stacks, reason, together = stacked(piece)
    try:
        apart = difference(together or run)
    except Interrupted:
        raise
    except Exception as error:
        apart = said(error)
    return (name, "yes", stacks, reason, apart, faster(piece) if stacks == "yes" else "")


def faster(piece: Mapping[str, Any]) -> str:
    """How much more processor time each run takes that trains by itself than one of a sweep that trains together."""
    whole, each = seconds(piece, SEEDS, []), seconds(piece, MEASURED, ["engine=lightning"])
    return f"{each / MEASURED * SEEDS / whole:.1f}"


def seconds(piece: Mapping[str, Any], seeds: int, more: Sequence[str]) -> float:
    """Processor time of a sweep over so many seeds, in this process."""
    began = time.process_time()
    epochs = 4 if "module" in piece else 30  # some 200 steps
    given = [*words(piece), f"trainer.max_epochs={epochs}", f"seed=range({seeds})", "sweep.processes=0", *more]
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        shoal.sweep(given)
    return time.process_time() - began


def stacked(piece: Mapping[str, Any]) -> tuple[str, str, Run | None]:
    """Whether two seeds share a stack, and what the sweep says of them if not; the run of the first seed if so."""
    told = io.StringIO()
    try:
        with redirect_stderr(told), redirect_stdout(io.StringIO()):
            sweep = shoal.sweep([*words(piece), "seed=0,1", "sweep.processes=0", "trainer.max_epochs=2"])
    except Interrupted:
        raise
    except Exception as error:
        return "no", said(error), None
    found = re.search(r"alone(?:: | +jobs? )[^:]*: (.*)", told.getvalue())
    if found or not sweep.runs:
        return "no", found[1] if found else "", None
    return "yes", "", sweep.runs[0]


def said(error: BaseException) -> str:
    """An error in a line of a table."""
    return " ".join(str(error).split()).removeprefix("error: ").replace("|", "/")[:160]


def install(pieces: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Have pip put the packages of these pieces into a folder that Python looks into."""
    wanted = [word for piece in pieces for key in ("package", "requires") for word in str(piece.get(key, "")).split()]
    if wanted := list(dict.fromkeys(wanted)):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *wanted]
        subprocess.run(command, check=True)
        sys.path.append(str(folder))


def samples() -> str:
    """Rows of numbers with a target and a class, for who reads a file."""
    rows = ((i, i * 7 % 13) for i in range(80))
    lines = [f"{i / 40:.3f},{b / 13:.3f},{b / 13 + i / 80:.3f},{i % 3},{i},{i // 8}" for i, b in rows]
    return "\n".join(["a,b,target,label,t,g", *lines])


def text() -> str:
    """Sentences of thirteen words."""
    return "\n".join(" ".join(f"w{(i * k + k) % 13}" for k in range(12)) for i in range(120))


def summary(rows: Sequence[Row]) -> str:
    """The counts, and by what they were found."""
    speeds = [float(each[5]) for each in rows if each[5]]
    trained, stacked = (sum(each[place] == "yes" for each in rows) for place in (1, 2))
    return (
        f"{trained} of {len(rows)} pieces train, {stacked} stack; the median speed-up is {median(speeds):.1f}. "
        f"Python {platform.python_version()}, torch {torch.__version__}, Lightning {pl.__version__}, "  # type: ignore[attr-defined]
        f"{processor()}, one thread."
    )


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    head = ("piece", "trains", "stacks", "reason", "difference to plain Lightning", f"speed-up of {SEEDS} seeds")
    return "\n".join("| " + " | ".join(each) + " |" for each in (head, ("---",) * len(head), *rows))


def trained(pieces: Sequence[Mapping[str, Any]], done: dict[str, Row], kept: Path | None) -> Iterator[Row]:
    """The row of each piece, those that are `done` as they are; a new one is kept in the file at once."""
    for piece in pieces:
        key = _key(piece)
        if key not in done:
            done[key] = row(piece)
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(done, indent=1), encoding="utf-8")
        print(" | ".join(done[key]), flush=True)
        yield done[key]


def _key(piece: Mapping[str, Any]) -> str:
    """What a row is kept under: the piece as it is written, and the versions it was trained with."""
    text = json.dumps([piece, torch.__version__, pl.__version__])  # type: ignore[attr-defined]
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def main() -> int:
    """Print the table; 1 where a piece does not train."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--small", action="store_true", help="leave out what has to be installed first")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="keep what is done in this file, and go on from it")
    parser.add_argument("words", nargs="*", help="parts of the names of pieces")
    given = parser.parse_args()
    pieces = yaml.safe_load(PIECES.read_text(encoding="utf-8"))
    chosen = [each for each in pieces if not given.words or any(word in each["name"] for word in given.words)]
    chosen = [each for each in chosen if not (given.small and "package" in each)]
    page, kept = (path and path.resolve() for path in (given.write, given.rows))
    done = json.loads(kept.read_text(encoding="utf-8")) if kept and kept.exists() else {}
    torch.set_num_threads(1)
    os.environ["DDE_BACKEND"] = "pytorch"  # deepxde would look for one, and write what it found into the home
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        install([piece for piece in chosen if _key(piece) not in done], Path(folder) / "packages")
        TEXT.parent.mkdir()
        for path, content in ((TABLE, samples()), (TEXT, text())):
            path.write_text(content, encoding="utf-8")
        rows = list(trained(chosen, done, kept))
        if page:
            written = page.read_text(encoding="utf-8").partition(BEGIN)[0]
            page.write_text(f"{written}{BEGIN}\n\n{summary(rows)}\n\n{table(rows)}\n", encoding="utf-8")
            if kept:
                kept.unlink()
        os.chdir("/")
    return int(any(each[1] != "yes" for each in rows))


if __name__ == "__main__":
    sys.exit(main())
