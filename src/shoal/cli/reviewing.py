"""The commands that look at runs: none of them imports torch, Lightning or Hydra."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoal.cli.arguments import OUTPUTS, AsJson, Paths, Reference, References, Root, Where
from shoal.cli.exactly import print_exactly
from shoal.errors import UsageError
from shoal.startup.collecting import uncollected

if TYPE_CHECKING:
    from shoal.review.entries import Entry, RunEntry


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    commands: tuple[Callable[..., None], ...] = (runs, show, compare, diff)
    for command in commands:
        app.command()(command)


def runs(
    paths: Paths = None,
    sort: Annotated[
        str | None, typer.Option("--sort", "-s", metavar="NAME", help="Lowest first; -NAME for the highest first.")
    ] = None,
    where: Where = None,
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATUS", help="Only runs of this status; may be repeated.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", "-t", metavar="TAG", help="Only with this tag; may be repeated.")
    ] = None,
    top: Annotated[int | None, typer.Option("--top", "-n", metavar="N", min=1, help="At most so many.")] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", "-c", metavar="NAMES", help="a,b: these; +a,+b: these as well.")
    ] = None,
    expand: Annotated[bool, typer.Option("--expand", "-x", help="List the runs of each sweep.")] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show what trains now, until it has ended.")] = False,
    root: Root = OUTPUTS,
) -> None:
    """List runs and sweeps, newest first.

    A sweep is one row; --expand, --where, --status and --sort list its runs. Names are settings (optimizer.lr), metrics
    (val/loss), config groups (model) and fields: id task status age what best best.metric best.epoch time seed engine
    epochs steps parameters sweep job tags note host reason path started ended git.commit git.dirty. Into a pipe goes a
    line a run, fields separated by tabs.

    \b
    Examples:
      shoal runs
      shoal runs --sort val/loss --top 10
      shoal runs --where "optimizer.lr < 0.01 and task = 'parabola' and age < 2d"
      shoal runs --status failed --status diverged
      shoal runs --tag paper
      shoal runs --columns +optimizer.lr,+model.hidden
      shoal runs k3f9x2
      shoal runs --watch
      shoal runs --json | jq '.[0].final'
    """
    from shoal.review.catalog import find
    from shoal.review.entries import SweepEntry
    from shoal.review.listing import Selection, selected
    from shoal.review.reference import looked_into

    if watch:
        # Before the folders are read: the watch reads them itself, again and again.
        return _watch(paths or [root])
    with uncollected():  # ten thousand objects that all stay: searching them would take a third of the time
        found = find([looked_into(path, root) for path in paths or ()] or ([root] if root.is_dir() else []))
    if paths and len(found) == 1 and isinstance(found[0], SweepEntry):
        # Who names a sweep asks for its runs: its one row would say little.
        found = list(found[0].runs)
    _one_of(as_json, as_csv)
    selection = Selection(
        where=where, status=tuple(status or ()), tags=tuple(tag or ()), sort=sort, top=top, expand=expand
    )
    entries = selected(found, selection)
    # A program gets an empty list where there is nothing; only a person is told so in words.
    if entries or as_json or as_csv or not sys.stdout.isatty():
        _list(entries, columns, as_json=as_json, as_csv=as_csv)
    else:
        print(_nothing(bool(found), paths or [root]), file=sys.stderr)


def _list(entries: Sequence[Entry], columns: str | None, *, as_json: bool, as_csv: bool) -> None:
    """Print the entries: as a table on a terminal, into a pipe as lines of fields."""
    from shoal.review import listing
    from shoal.review.terminal_table import console

    if as_json:
        print_exactly(listing.write_json_lines(entries, columns.split(",") if columns else None))
    elif as_csv:
        names = listing.asked_columns(columns, entries) if columns else listing.csv_columns(entries)
        print_exactly(listing.write_csv(entries, names))
    elif sys.stdout.isatty():
        listing.write_listing(console(), entries, listing.asked_columns(columns, entries))
    else:
        sys.stdout.write(listing.write_lines(entries, listing.asked_columns(columns, entries)))


def _watch(paths: list[Path]) -> None:
    from shoal.review.terminal_table import console
    from shoal.review.watching import watch

    if not sys.stdout.isatty():
        raise UsageError("--watch needs a terminal", hint="for a program: shoal runs --status running --json")
    watch(console(), paths)


def _nothing(any_runs: bool, paths: list[Path]) -> str:
    if any_runs:
        return "no run is like that"
    return f"no runs in {', '.join(map(str, paths))} yet; train one: shoal train task=parabola"


def _one_of(json: bool, csv: bool) -> None:
    if json and csv:
        raise UsageError("--json and --csv exclude each other")


def show(
    run: Reference,
    importance: Annotated[
        bool, typer.Option("--importance", help="Of a sweep: how much each setting mattered (shoal[importance]).")
    ] = False,
    as_json: AsJson = False,
    root: Root = OUTPUTS,
) -> None:
    """Show a run or a sweep: result, settings, artifacts with digests checked, environment, loss curve.

    RUN is an id or the beginning of its last part, `last`, `best`, `best:val/loss`, a path, or inside a sweep
    `SWEEP/3` for a job, `SWEEP/best`, `SWEEP/last`.

    \b
    Examples:
      shoal show last
      shoal show k3f9
      shoal show best:val/loss
      shoal show k3f9/12
      shoal show k3f9 --importance
      shoal show multirun/2026-11-22/10-15-30/0
      shoal show last --json | jq '.settings["optimizer.lr"]'
    """
    from shoal.review.entries import SweepEntry
    from shoal.review.plain import in_full
    from shoal.review.reference import resolve
    from shoal.review.show_run import show_run
    from shoal.review.show_sweep import show_sweep
    from shoal.review.terminal_table import console

    entry = resolve(run, root)
    if as_json:
        print_exactly(in_full(entry) + "\n")
    elif isinstance(entry, SweepEntry):
        show_sweep(console(), entry, importance=importance)
    elif importance:
        raise UsageError(f"--importance is for a sweep; {run} is a run")
    else:
        show_run(console(), entry)


def compare(
    runs: References,
    metric: Annotated[
        str | None, typer.Option(metavar="METRIC", help="Whose curves to draw; else the monitored one.")
    ] = None,
    root: Root = OUTPUTS,
) -> None:
    """Compare runs: the settings in which they differ, their metrics, and their curves.

    A sweep stands for all its runs.

    \b
    Examples:
      shoal compare last best:val/loss
      shoal compare k3f9/0 k3f9/1 k3f9/2 --metric train/loss
    """
    from shoal.review.comparison import compare as print_comparison
    from shoal.review.terminal_table import console

    entries = _several(runs, root)
    if len(entries) < 2:
        raise UsageError("there must be two runs or more to compare", hint="for example: shoal compare last best")
    print_comparison(console(), entries, metric=metric)


def diff(
    a: Reference,
    b: Reference,
    patch: Annotated[bool, typer.Option("--patch", "-p", help="The changes themselves, not only the files.")] = False,
    root: Root = OUTPUTS,
) -> None:
    """Show in which code and environment two runs were made: commits, uncommitted changes, versions, hardware.

    \b
    Examples:
      shoal diff k3f9 last
      shoal diff k3f9 last --patch
    """
    from shoal.review.comparison import diff as print_diff
    from shoal.review.reference import resolve_run
    from shoal.review.terminal_table import console

    print_diff(console(), resolve_run(a, root), resolve_run(b, root), patch=patch)


def _several(references: list[str], root: Path) -> list[RunEntry]:
    """The runs that are meant; of a sweep all of them."""
    from shoal.review.catalog import find
    from shoal.review.entries import runs as runs_in
    from shoal.review.reference import resolve

    known = find([root]) if root.is_dir() else []
    return runs_in(resolve(reference, root, known) for reference in references)
