"""The commands that check: experiments against what they expect, gradients against what they should be."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal.errors import ExitCode, UsageError
from shoal.rundir.json_text import json_text

if TYPE_CHECKING:
    from shoal.app.verify import Verdict

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (verify, gradcheck):
        app.command()(command)


def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)] = None,
    pattern: Annotated[
        str | None, typer.Option("--filter", "-f", metavar="PATTERN", help="Only names like this: 'c*'.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes; one for each core unless set.")] = None,
    outputs: Annotated[Path, typer.Option(help="Where the runs go; those of the last call stay.")] = Path(
        "outputs/verify"
    ),
    as_json: Json = False,
) -> None:
    """Run experiments, and compare what they measure with what they expect.

    \b
    Examples:
      shoal verify
      shoal verify b1 c2
      shoal verify --filter 'a*' --json
    """
    from shoal.app.verify import chosen
    from shoal.app.verify import verify as run
    from shoal.machine import cores

    wanted = chosen(names or (), pattern)
    # More processes than cores would only take turns.
    n = min(processes or cores(), cores())

    def told(verdict: Verdict) -> None:
        state = "holds" if verdict.holds else "MISSED"
        # Told as they come, beside the JSON document on standard output.
        print(f"{state:<6} {verdict.name}", file=sys.stderr, flush=True)

    verdicts = run(wanted, outputs=outputs, processes=n, told=told)
    if as_json:
        print(json_text([verdict.plain() for verdict in verdicts], indent=2))
    else:
        print(f"{_table(verdicts)}\nruns: {outputs}")
    raise typer.Exit(int(ExitCode.OK if all(verdict.holds for verdict in verdicts) else ExitCode.FAILED))


def gradcheck(
    what: Annotated[str, typer.Argument(metavar="EXPRESSION|MODULE:FUNCTION|task=NAME", show_default=False)],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="POINT", help="1.234, x=1,y=2, or x=[2,3],y=[1,4].")] = None,
    on: Annotated[str | None, typer.Option("--on", metavar="INTERVAL", help="-3,3 instead of a point.")] = None,
    order: Annotated[int, typer.Option("--order", help="Highest derivative.")] = 1,
    derivative: Annotated[
        str | None,
        typer.Option("--derivative", metavar="FORMULA", help="The derivative to compare with, instead of SymPy's."),
    ] = None,
    tolerance: Annotated[float | None, typer.Option(help="Relative difference allowed.")] = None,
    as_json: Json = False,
) -> None:
    """Compare autograd's derivatives with the analytic ones and with finite differences.

    Of an expression or a Python function at a point or on an interval; or of a task's loss by the parameters of its
    model and by the inputs. The analytic derivative of a Python function is that of its forward, as torch does it.

    \b
    Examples:
      shoal gradcheck 'sin(x)*x**2' --at 1.234 --order 2
      shoal gradcheck 'y=a*x**2+b*x+1; z=y**2+2*y' --at x=1,a=2,b=3
      shoal gradcheck 'exp(-x**2)' --on -3,3
      shoal gradcheck my_module:my_function --at x=[1,2,3]
      shoal gradcheck task=parabola model.activation=tanh
    """
    if tolerance is not None and not tolerance > 0:
        raise UsageError(f"--tolerance {tolerance}: must be greater than 0", hint="for example --tolerance 1e-6")
    if _is_job(what):
        # What belongs to a point has no meaning for a loss: refused, and not ignored.
        given = {"--at": at, "--on": on, "--derivative": derivative, "--order": None if order == 1 else order}
        _refuse([name for name, value in given.items() if value is not None])
        found = _of_job([what, *(overrides or [])], tolerance)
    else:
        if overrides:
            raise UsageError(f"unexpected {overrides[0]!r}", hint="settings go with task=NAME; put a formula in quotes")
        from shoal import gradcheck as checks

        found = checks.check(what, at=at, on=on, order=order, derivative=derivative, tolerance=tolerance or 1e-6)
    print(json_text(found.plain(), indent=2) if as_json else found.text())
    raise typer.Exit(int(found.exit_code))


def _is_job(word: str) -> bool:
    """Whether a word is an override rather than a formula that has a name, as `y=x**2`."""
    key, _, value = word.partition("=")
    # A formula called `task` that is nothing but another name would be of no use.
    return key in ("task", "experiment") and value.isidentifier()


def _refuse(options: Sequence[str]) -> None:
    if options:
        raise UsageError(f"{options[0]} is for an expression or a function, not for a task's loss")


def _of_job(overrides: Sequence[str], tolerance: float | None) -> Any:
    from shoal.app.composed_job import composed_job
    from shoal.checks import LossGradient

    return LossGradient(**({"tolerance": tolerance} if tolerance else {})).found(composed_job(overrides))


def _table(verdicts: Sequence[Verdict]) -> str:
    """A line for each expectation; what was missed or damaged is named once more at the end."""
    rows = [("row", "what", "expected", "measured", "")]
    for verdict in verdicts:
        for number, each in enumerate(verdict.outcomes):
            state = "holds" if each["holds"] else "MISSED"
            rows.append((verdict.name if number == 0 else "", each["metric"], each["expected"], _number(each), state))
        if verdict.problem:
            rows.append(("" if verdict.outcomes else verdict.name, verdict.problem, "", "", "MISSED"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"{verdict.name}: {note}" for verdict in verdicts for note in verdict.notes]
    missed = [verdict for verdict in verdicts if not verdict.holds]
    lines.append(f"{len(verdicts) - len(missed)} of {len(verdicts)} experiments hold")
    lines += [f"missed: {verdict.name}{f'  {verdict.path}' if verdict.path else ''}" for verdict in missed]
    return "\n".join(lines)


def _number(outcome: Mapping[str, Any]) -> str:
    measured = outcome["measured"]
    return outcome.get("problem", "") if measured is None else f"{measured:.8g}"
