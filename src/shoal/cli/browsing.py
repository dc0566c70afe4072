"""The commands that make runs into pages for a browser: a report, TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoal.cli.arguments import OUTPUTS, References, Root, Where, references_to
from shoal.errors import UsageError
from shoal.startup.collecting import uncollected

if TYPE_CHECKING:
    from shoal.review.entries import Entry


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(report)
    app.command()(board)


@uncollected()
def report(
    runs: References,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The file; else report.html in the sweep, run or folder."),
    ] = None,
    where: Where = None,
    root: Root = OUTPUTS,
) -> None:
    """Write one HTML file about a sweep or some runs, that opens anywhere without a network.

    It has a leaderboard to sort and filter, the metric against each setting, parallel coordinates, a heat map, learning
    curves with their spread over seeds, the fits of the best and the median run, failures, commands and environment.

    \b
    Examples:
      shoal report last
      shoal report k3f9x2 --output lr-study.html
      shoal report k3f9x2 --where "optimizer.lr < 0.1"
      shoal report outputs/parabola
    """
    from shoal.review.entries import runs as runs_in
    from shoal.review.query import where as meeting
    from shoal.review.report import write_report
    from shoal.review.wording import counted, size

    entries = _entries(runs, root)
    one = entries[0] if len(entries) == 1 else None
    # A folder of runs has their report in it; that of runs from here and there lies in the root.
    folder = Path(runs[0]) if len(runs) == 1 and Path(runs[0]).is_dir() else root
    path = output or ((one.path if one else folder) / "report.html")
    # With a condition each run counts by itself; without one a sweep stays one entry, with what it says of itself.
    shown: list[Entry] = list(meeting(runs_in(entries), where)) if where else entries
    if not runs_in(shown):
        raise UsageError("there is no run to report on", hint="shoal runs lists what there is")
    tasks = ", ".join(dict.fromkeys(entry.task for entry in shown if entry.task))
    write_report(shown, path, title=f"{one.task} {one.id}" if one else tasks)
    print(f"{path}: {counted(len(runs_in(shown)), 'run')}, {size(path.stat().st_size)}")


def board(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", autocompletion=references_to, show_default=False)
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of more runs than this, show so many that stand for all.")
    ] = 40,
    everything: Annotated[bool, typer.Option("--all", help="Show all runs, however many.")] = False,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", min=1, max=65535, help="Else 6006, or the next that is free.")
    ] = None,
    root: Root = OUTPUTS,
) -> None:
    """Start TensorBoard on runs or a sweep, reachable from this machine only. Without RUN, on all of them.

    \b
    Examples:
      shoal board
      shoal board last
      shoal board k3f9x2 --limit 20
      shoal board k3f9x2 p8v4m1 --port 6007
    """
    from shoal.review.board import address, board_folder, chosen_runs, free_port, serve
    from shoal.review.entries import runs as runs_in
    from shoal.review.wording import counted

    entries = _entries(runs or [str(root)], root)
    chosen = chosen_runs(entries, limit=None if everything else limit)
    n = len(runs_in(entries))
    if len(chosen) < n:
        print(f"{len(chosen)} of {counted(n, 'run')}: the best, and others down to the worst; --all shows every one")
    there = port or free_port()
    # Flushed: TensorBoard, which comes next, does not return before it is stopped.
    print(f"losses first: {address(chosen, there)}", flush=True)
    with board_folder(chosen) as folder:
        raise typer.Exit(serve(folder, port=there))


def _entries(references: list[str], root: Path) -> list[Entry]:
    """The runs and sweeps that are meant; a folder stands for all that it holds."""
    from shoal.review.catalog import find
    from shoal.review.reference import resolve

    # Found once for all references: each would read the root again.
    known = find([root]) if root.is_dir() else []
    found: dict[Path, Entry] = {}
    for reference in references:
        folder = Path(reference)
        below = find([folder]) if folder.is_dir() else []
        # The root is what stands for no reference at all: it is not to be told that there is no run "outputs".
        if not below and folder == root:
            raise UsageError(f"there are no runs in {root}", hint="train one: shoal train task=parabola")
        entries = below or [resolve(reference, root, known)]
        found.update((entry.path, entry) for entry in entries)
    return list(found.values())
