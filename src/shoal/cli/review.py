"""The commands that look at runs: none of them imports torch, Lightning or Hydra."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from shoal.errors import UsageError


def _completed(ctx: typer.Context, incomplete: str) -> list[str]:
    from shoal.review.reference import completions

    return completions(Path(ctx.params.get("root") or "outputs"), incomplete)


Root = Annotated[Path, typer.Option("--root", envvar="SHOAL_OUTPUTS", help="The folder of all runs.")]
Reference = Annotated[str, typer.Argument(metavar="RUN", autocompletion=_completed, show_default=False)]
References = Annotated[list[str], typer.Argument(metavar="RUN...", autocompletion=_completed, show_default=False)]
Paths = Annotated[
    list[Path] | None, typer.Argument(metavar="[PATH]...", help="Folders to look in; without one, the root.")
]
Where = Annotated[str | None, typer.Option("--where", "-w", metavar="CONDITION", help="SQL over names; see below.")]
OUTPUTS = Path("outputs")


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    commands: tuple[Callable[..., None], ...] = (runs,)
    for command in commands:
        app.command()(command)


def runs(
    paths: Paths = None,
    sort: Annotated[
        str | None, typer.Option("--sort", "-s", metavar="NAME", help="Lowest first; -NAME for the highest first.")
    ] = None,
    where: Where = None,
    status: Annotated[list[str] | None, typer.Option(help="Only runs of this status; may be repeated.")] = None,
    top: Annotated[int | None, typer.Option("--top", "-n", min=1, help="At most so many.")] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", "-c", metavar="NAMES", help="a,b: these; +a,+b: these as well.")
    ] = None,
    expand: Annotated[bool, typer.Option("--expand", "-x", help="List the runs of each sweep.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    root: Root = OUTPUTS,
) -> None:
    """List runs and sweeps, newest first.

    A sweep is one row; --expand, --where, --status and --sort list its runs. Names are settings (optimizer.lr), metrics
    (val/loss), config groups (model) and fields: id task status age what best best.metric best.epoch time seed engine epochs
    steps parameters sweep job host reason path started ended git.commit git.dirty. Into a pipe goes a line a run,
    fields separated by tabs.

    \b
    Examples:
      shoal runs
      shoal runs --sort val/loss --top 10
      shoal runs --where "optimizer.lr < 0.01 and task = 'parabola' and age < 2d"
      shoal runs --status failed --status diverged
      shoal runs --columns +optimizer.lr,+model.hidden
      shoal runs outputs/parabola/20261122-101530-k3f9x2
      shoal runs --json | jq '.[0].final'
    """
    from shoal.review import listing
    from shoal.review.catalog import SweepEntry, find
    from shoal.review.table import console

    found = find(paths or ([root] if root.is_dir() else []))
    if paths and len(found) == 1 and isinstance(found[0], SweepEntry):
        found = list(found[0].runs)
    gc.disable()  # a short life among ten thousand objects that all stay: searching them for garbage takes a third of it
    _one_of(as_json, as_csv)
    selection = listing.Selection(where=where, status=tuple(status or ()), sort=sort, top=top, expand=expand)
    entries = listing.selected(found, selection)
    if as_json:
        sys.stdout.write(listing.write_json_lines(entries, columns.split(",") if columns else None))
    elif as_csv:
        names = listing.asked_columns(columns, entries) if columns else listing.csv_columns(entries)
        sys.stdout.write(listing.write_csv(entries, names))
    elif not sys.stdout.isatty():
        sys.stdout.write(listing.write_lines(entries, listing.asked_columns(columns, entries)))
    elif entries:
        listing.write_listing(console(), entries, listing.asked_columns(columns, entries))
    else:
        print(_nothing(bool(found), paths or [root]), file=sys.stderr)


def _nothing(any_runs: bool, paths: list[Path]) -> str:
    if any_runs:
        return "no run is like that"
    return f"no runs in {', '.join(map(str, paths))} yet; train one: shoal train task=parabola"


def _one_of(json: bool, csv: bool) -> None:
    if json and csv:
        raise UsageError("--json and --csv exclude each other")
