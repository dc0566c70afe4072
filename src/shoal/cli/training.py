"""The commands that train, and that use what was trained."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from shoal.cli.review import Reference
from shoal.errors import ShoalError, UsageError

if TYPE_CHECKING:
    import polars

    from shoal.runs.run import Run

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)]
Trust = Annotated[
    list[str] | None, typer.Option("--trust", metavar="MODULE", help="Code of your own that the run may name.")
]
Last = Annotated[bool, typer.Option("--last", help="The last state instead of the best.")]
Root = Annotated[Path, typer.Option("--root", envvar="SHOAL_OUTPUTS", help="The folder of all runs.")]
OUTPUTS = Path("outputs")


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command(
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )(train)
    for command in (resume, evaluate, predict, export):
        app.command(name="eval" if command is evaluate else None)(command)


def _completed(incomplete: str) -> list[str]:
    from shoal.config.completion import completions

    words = os.environ.get("COMP_WORDS", "").split()  # in bash, where the line is taken apart at equals signs too
    typed = words[2 : int(os.environ.get("COMP_CWORD", 0)) + 1]
    return completions(typed[:-1], typed[-1]) if typed else completions([], incomplete)


def train(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", autocompletion=_completed, show_default=False)
    ] = None,
) -> None:
    """Train a run, or with -m a sweep: the same as `python train.py`. `shoal train --help` lists what can be chosen."""
    from shoal.app.command import main

    raise typer.Exit(main(words or []))


def resume(
    run: Reference,
    overrides: Overrides = None,
    origin: Annotated[
        Literal["last", "best"], typer.Option("--from", help="The checkpoint to go on from, where last is damaged.")
    ] = "last",
    trust: Trust = None,
    root: Root = OUTPUTS,
) -> None:
    """Go on with a run that stopped, bit for bit as if it had not; of a sweep do what is missing.

    Overrides given here win, and are shown as a difference.

    \b
    Examples:
      shoal resume last
      shoal resume outputs/parabola/20261122-101530-k3f9x2 trainer.max_epochs=200
      shoal resume outputs/parabola/20261122-103000-h4n7p3 sweep.retry_failed=true
    """
    from shoal.app.resume import resume as go_on
    from shoal.runs.summary import summary

    sweep = _sweep(run, root)
    if sweep:
        from shoal.app.multirun.launch import resume as resume_sweep

        raise typer.Exit(resume_sweep(sweep, overrides or []))
    print(summary(*go_on(_path(run, root), overrides or [], trusted=trust or (), which=origin)))


def evaluate(run: Reference, last: Last = False, trust: Trust = None, root: Root = OUTPUTS) -> None:
    """Measure a trained run again on its validation samples.

    \b
    Examples:
      shoal eval last
      shoal eval best:val/loss
    """
    for name, value in _run(run, trust, root).evaluate("last" if last else "best").items():
        print(f"{name}\t{value:.6g}")


def predict(
    run: Reference,
    input: Annotated[
        Path | None, typer.Option("--input", "-i", help="A table of inputs: CSV, Parquet or Arrow.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write; else the terminal.")] = None,
    x: Annotated[str | None, typer.Option("--x", metavar="VALUES", help="Inputs themselves: 0.5,0.7")] = None,
    last: Last = False,
    trust: Trust = None,
    root: Root = OUTPUTS,
) -> None:
    """Predict with a trained run.

    \b
    Examples:
      shoal predict last --x 0.5,0.7
      shoal predict last --input x.csv --output y.csv
    """
    if (input is None) == (x is None):
        raise UsageError("give either --input or --x", hint="for example --x 0.5,0.7")
    trained = _run(run, trust, root)
    table = _read(input) if input else _columns(x or "", trained)
    predictions = trained.predict(table, "last" if last else "best")
    # A table that has the target itself keeps it beside what is predicted.
    both = table.hstack(
        [each.alias(f"{each.name}_predicted") if each.name in table.columns else each for each in predictions]
    )
    if output is None:
        print(both.write_csv(), end="")
    else:
        _write(both, output)
        print(f"{len(both)} predictions in {output}", file=sys.stderr)


def export(
    run: Reference,
    format: Annotated[
        Literal["onnx", "pt2", "safetensors"], typer.Option("--format", "-f", help="What to write.")
    ] = "onnx",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where; else beside the run.")] = None,
    last: Last = False,
    trust: Trust = None,
    root: Root = OUTPUTS,
) -> None:
    """Write a trained model for other programs, and check that it predicts the same.

    \b
    Examples:
      shoal export last --format onnx
      shoal export last --format safetensors --output weights.safetensors
    """
    from shoal.runs.export import export as write

    path, difference = write(_run(run, trust, root), format, output, "last" if last else "best")
    print(f"{path}: largest relative difference from the run's own predictions {difference:.1e}")


def _sweep(reference: str, root: Path) -> Path | None:
    """The directory of the sweep that a reference means; None where it means something else."""
    from shoal.review.catalog import SweepEntry
    from shoal.review.reference import resolve

    try:
        found = resolve(reference, root)
    except ShoalError:
        return None
    return found.path if isinstance(found, SweepEntry) else None


def _path(reference: str, root: Path) -> Path:
    """The directory that a reference to a run means."""
    from shoal.review.reference import resolve_run

    return resolve_run(reference, root).path


def _run(reference: str, trust: list[str] | None, root: Path) -> Run:
    from shoal.runs.run import load

    return load(_path(reference, root), trusted=trust or ())


def _read(path: Path) -> polars.DataFrame:
    """A table, by the ending of its name."""
    import polars

    readers: dict[str, Callable[[Path], polars.DataFrame]] = {
        ".csv": polars.read_csv,
        ".parquet": polars.read_parquet,
        ".arrow": polars.read_ipc,
    }
    if path.suffix not in readers:
        raise UsageError(f"cannot read {path}: its name ends in none of {', '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except FileNotFoundError:
        raise UsageError(f"there is no {path}", hint=f"the working directory is {Path.cwd()}") from None
    except polars.exceptions.PolarsError as error:
        raise UsageError(f"cannot read {path}: {str(error).splitlines()[0]}") from error


def _write(table: polars.DataFrame, path: Path) -> None:
    writers: dict[str, Callable[[Path], object]] = {
        ".csv": table.write_csv,
        ".parquet": table.write_parquet,
        ".arrow": table.write_ipc,
    }
    if path.suffix not in writers:
        raise UsageError(f"cannot write {path}: its name ends in none of {', '.join(writers)}")
    try:
        writers[path.suffix](path)
    except OSError as error:
        raise ShoalError(f"cannot write {path}: {error.strerror or error}") from error


def _columns(text: str, run: Run) -> polars.DataFrame:
    """Values from the command line as a table: one input, or several in turn."""
    import polars

    words, names = [word.strip() for word in text.split(",")], run.features
    if not names or len(words) % len(names):
        n = f"{len(words)} value{'s' if len(words) != 1 else ''}"
        raise UsageError(f"--x has {n}; the model takes {len(names)} a row: {', '.join(names)}")
    return polars.DataFrame({name: _typed(words[i :: len(names)]) for i, name in enumerate(names)})


def _typed(words: list[str]) -> list[float] | list[str]:
    """Numbers where all of a column are some, else the categories that the words are."""
    try:
        return [float(word) for word in words]
    except ValueError:
        return words
