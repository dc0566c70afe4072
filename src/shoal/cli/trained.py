"""The commands that use what was trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from shoal.cli.arguments import OUTPUTS, Reference, Root, Trust
from shoal.cli.exactly import print_exactly
from shoal.errors import UsageError

if TYPE_CHECKING:
    from shoal.loaded.ensemble import Ensemble
    from shoal.loaded.run import Run
    from shoal.loaded.trained_run import Which

Best = Annotated[
    int | None, typer.Option("--best", metavar="N", min=1, help="Of a sweep: its N best runs, not one setting's.")
]
Last = Annotated[bool, typer.Option("--last", help="The last state instead of the best.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (evaluate, predict, export, figure):
        # The function cannot be called `eval`, which is Python's.
        app.command(name="eval" if command is evaluate else None)(command)


def evaluate(
    run: Reference,
    input: Annotated[
        Path | None,
        typer.Option("--input", "--data", "-i", help="A table with targets, or where that of the training is now."),
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="The test part instead of the validation samples.")] = False,
    best: Best = None,
    last: Last = False,
    trust: Trust = None,
    root: Root = OUTPUTS,
) -> None:
    """Measure a trained run again: on its validation samples, on its test part, or on a table with targets.

    Of a sweep the mean of what its runs predict is measured: of the best setting all seeds and folds.

    \b
    Examples:
      shoal eval last
      shoal eval best:val/loss --test
      shoal eval last --data labelled.csv
      shoal eval k3f9 --best 5 --test
    """
    measured = _trained(run, best, trust, root).evaluate("last" if last else "best", test=test, path=input)
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
    interval: Annotated[
        float | None, typer.Option("--interval", metavar="LEVEL", help="Intervals of this level beside each.")
    ] = None,
    best: Best = None,
    last: Last = False,
    trust: Trust = None,
    root: Root = OUTPUTS,
) -> None:
    """Predict with a trained run.

    With a sweep its runs predict together, of the best setting all seeds and folds: their mean, and how they differ.
    Intervals come from the fit of a formula, else they are calibrated on the test part.

    \b
    Examples:
      shoal predict last --x 0.5,0.7
      shoal predict last --x 0.5,0.7 --interval 0.95
      shoal predict k3f9 --best 5 --input x.csv
      shoal predict last --input x.csv --output y.csv
    """
    if (input is None) == (x is None):
        raise UsageError("give either --input or --x", hint="for example --x 0.5,0.7")
    if interval is not None and not 0 < interval < 1:
        raise UsageError(f"--interval {interval}: must be between 0 and 1", hint="for example --interval 0.95")
    from shoal.loaded.cautions import cautions
    from shoal.loaded.inputs import given, read

    which: Which = "last" if last else "best"
    trained = _trained(run, best, trust, root)
    inputs = read(trained, input, which) if input else given(trained, x or "", which)
    predicted = inputs.predicted(interval)
    # To standard error: on standard output nothing but predictions, which are piped on.
    for caution in cautions(trained.members, which, inputs.table, predicted.table[:, inputs.table.width :]):
        print(f"warning: {caution}", file=sys.stderr)
    for note in predicted.notes:
        print(note, file=sys.stderr)
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
    best: Best = None,
    last: Last = False,
    trust: Trust = None,
    root: Root = OUTPUTS,
) -> None:
    """Write a trained model for other programs, and check that it predicts the same.

    Of a sweep one graph with the mean of its runs, of the best setting all seeds and folds.

    \b
    Examples:
      shoal export last --format onnx
      shoal export last --by-column
      shoal export last --format safetensors --output weights.safetensors
    """
    from shoal.loaded.export import export as write

    written = write(_trained(run, best, trust, root), format, output, "last" if last else "best", by_column=by_column)
    print(f"{written.path}: largest relative difference from the run's own predictions {written.difference:.1e}")
    for note in written.notes:
        print(f"  {note}")


def figure(
    run: Reference,
    format: Annotated[Literal["pdf", "svg", "png"], typer.Option("--format", "-f", help="What to write.")] = "pdf",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where; else beside its figure.")] = None,
    dpi: Annotated[int, typer.Option(min=20, max=2400, help="Dots an inch of a PNG.")] = 300,
    together: Annotated[
        bool, typer.Option("--ensemble", help="Of a sweep: what its best setting's seeds and folds predict together.")
    ] = False,
    best: Best = None,
    trust: Trust = None,
    root: Root = OUTPUTS,
) -> None:
    """Draw the figure of a run or a sweep anew, for a paper or a slide.

    With --ensemble, or --best N, runs of a sweep predict together: their mean, and a band of how they differ.

    \b
    Examples:
      shoal figure last
      shoal figure k3f9 --format svg
      shoal figure k3f9 --ensemble
      shoal figure best:val/loss --format png --dpi 600 --output fit.png
    """
    from shoal.app.figure import write_figure
    from shoal.review.entries import SweepEntry
    from shoal.review.reference import resolve

    entry = resolve(run, root)
    if together and not isinstance(entry, SweepEntry):
        raise UsageError(f"--ensemble is for a sweep; {run} is a run")
    # Which figure it is decides its file's name, so that one does not take another's place.
    name = "ensemble" if together or best else "sweep" if isinstance(entry, SweepEntry) else "fit"
    shown = _trained(run, best, trust, root) if name == "ensemble" else entry
    again = name if format != "png" else f"{name}-{dpi}dpi"  # not in the place of the one whose digest is recorded
    path = output or entry.path / "figures" / f"{again}.{format}"
    write_figure(shown, path, format, dpi=dpi, trusted=trust or ())
    print(path)


def _trained(reference: str, best: int | None, trust: list[str] | None, root: Path) -> Run | Ensemble:
    from shoal.loaded.run import load_run
    from shoal.review.entries import SweepEntry
    from shoal.review.reference import resolve

    entry = resolve(reference, root)
    if isinstance(entry, SweepEntry):
        from shoal.loaded.ensemble import ensemble

        found = ensemble(entry, best, trusted=trust or ())
        print(found.told, file=sys.stderr)
        return found
    if best is not None:
        raise UsageError(f"--best {best} is for a sweep; {reference} is a run")
    return load_run(entry.path, trusted=trust or ())
