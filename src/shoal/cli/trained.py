"""The commands that train, and that use what was trained."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from shoal.cli.exactly import print_exactly
from shoal.cli.review import Reference
from shoal.errors import ShoalError, UsageError

if TYPE_CHECKING:
    from shoal.loaded.run import Run, Which

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
    from shoal.app.command import train

    raise typer.Exit(train(words or []))


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
    from shoal.app.train import go_on

    path = _sweep(run, root) or _path(run, root)
    raise typer.Exit(go_on(path, overrides or [], trusted=trust or (), which=origin).tell())


def evaluate(
    run: Reference,
    input: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="A table with targets, or where that of the training is now."),
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="The test part instead of the validation samples.")] = False,
    last: Last = False,
    trust: Trust = None,
    root: Root = OUTPUTS,
) -> None:
    """Measure a trained run again: on its validation samples, on its test part, or on a table with targets.

    \b
    Examples:
      shoal eval last
      shoal eval best:val/loss --test
      shoal eval last --input labelled.csv
    """
    measured = _run(run, trust, root).evaluate("last" if last else "best", test=test, path=input)
    for name, value in measured.items():
        print(f"{name}\t{value:.6g}")


def predict(
    run: Reference,
    input: Annotated[
        Path | None,
        typer.Option(
            "--input", "-i", help="A table of inputs: CSV, Parquet or Arrow, written as that of the training."
        ),
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
    from shoal.loaded.inputs import given, read

    which: Which = "last" if last else "best"
    trained = _run(run, trust, root)
    inputs = read(trained, input, which) if input else given(trained, x or "", which)
    predicted = inputs.predicted()
    if output is None:
        print_exactly(predicted.text())
    else:
        predicted.write(output)
        print(f"{len(predicted.table)} predictions in {output}", file=sys.stderr)


def export(
    run: Reference,
    format: Annotated[
        Literal["onnx", "pt2", "safetensors"], typer.Option("--format", "-f", help="What to write.")
    ] = "onnx",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where; else beside the run.")] = None,
    by_column: Annotated[
        bool, typer.Option("--by-column", help="An input for each column by its name, also where all are numbers.")
    ] = False,
    last: Last = False,
    trust: Trust = None,
    root: Root = OUTPUTS,
) -> None:
    """Write a trained model for other programs, and check that it predicts the same.

    \b
    Examples:
      shoal export last --format onnx
      shoal export last --by-column
      shoal export last --format safetensors --output weights.safetensors
    """
    from shoal.loaded.export import export as write

    written = write(_run(run, trust, root), format, output, "last" if last else "best", by_column=by_column)
    print(f"{written.path}: largest relative difference from the run's own predictions {written.difference:.1e}")
    for note in written.notes:
        print(f"  {note}")


def _sweep(reference: str, root: Path) -> Path | None:
    """The directory of the sweep that a reference means; None where it means something else."""
    from shoal.review.entries import SweepEntry
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
    from shoal.loaded.run import load

    return load(_path(reference, root), trusted=trust or ())
