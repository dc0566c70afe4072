"""The commands that remove runs, after asking."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from shoal.cli.arguments import OUTPUTS, Paths, References, Root, Where
from shoal.errors import ShoalError, UsageError, brief

if TYPE_CHECKING:
    from shoal.review.removal import Removal

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")]
CheckpointsOnly = Annotated[
    bool, typer.Option("--checkpoints", help="Remove the checkpoints only; all else of the runs stays.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(rm)
    app.command()(prune)


def rm(
    runs: References,
    checkpoints: CheckpointsOnly = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    root: Root = OUTPUTS,
) -> None:
    """Remove runs or sweeps, after asking. Nothing outside the root is touched, no link followed.

    \b
    Examples:
      shoal rm k3f9x2
      shoal rm k3f9x2 p8v4m1 --dry-run
      shoal rm last --checkpoints --yes
    """
    from shoal.review.catalog import find
    from shoal.review.reference import resolve
    from shoal.review.removal import removals

    known = find([root]) if root.is_dir() else []
    # By path: two references may mean one run, which can be removed once.
    entries = {entry.path: entry for entry in (resolve(run, root, known) for run in runs)}
    _remove(removals(entries.values(), root, checkpoints_only=checkpoints), dry_run=dry_run, yes=yes)


def prune(
    paths: Paths = None,
    keep_best: Annotated[
        int | None, typer.Option("--keep-best", min=1, metavar="N", help="Completed runs but the N best of each task.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="METRIC", help="Best by this; else as monitored.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Runs that failed or diverged.")] = False,
    where: Where = None,
    checkpoints: CheckpointsOnly = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    root: Root = OUTPUTS,
) -> None:
    """Remove runs by a rule, after asking: all but the best, the failed ones, those that meet a condition.

    With --keep-best and --failed together go the runs that either names; --where narrows them, and alone takes every
    run that meets it. What is running stays.

    \b
    Examples:
      shoal prune --failed --dry-run
      shoal prune --keep-best 10
      shoal prune outputs/parabola --keep-best 3 --by train/loss --yes
      shoal prune --where "age > 4w" --checkpoints
    """
    from shoal.review.catalog import find
    from shoal.review.entries import runs as runs_in
    from shoal.review.query import where as meeting
    from shoal.review.reference import looked_into
    from shoal.review.removal import ranking, removals, worst

    if not (keep_best or failed or where):
        raise UsageError("nothing says what to remove", hint='--keep-best 10, --failed or --where "age > 4w"')
    folders = [looked_into(path, root) for path in paths or [root]]
    # Another program's directories (`unknown`) are no runs of shoal's: nobody knows whether they are still in use.
    every = [run for run in runs_in(find(folders)) if run.status not in ("running", "unknown")]
    named = meeting(every, where) if where else every
    # Beside another rule a condition only narrows: alone it is the rule.
    chosen = list(named) if where and not (keep_best or failed) else []
    if keep_best and named:
        chosen += worst(named, keep=keep_best, metric=by)
        print(f"kept: the {keep_best} runs of each task with {ranking(named, by)}")
    if failed:
        chosen += [run for run in named if run.status in ("failed", "diverged")]
    # A run that failed may also be one of those that are not the best.
    once = {run.path: run for run in chosen}
    _remove(removals(once.values(), root, checkpoints_only=checkpoints), dry_run=dry_run, yes=yes)


def _remove(found: list[Removal], *, dry_run: bool, yes: bool) -> None:
    """Show what is to go, ask, and remove it; what is in use is named, and the others go."""
    from shoal.review.entries import RunEntry
    from shoal.review.wording import counted, printable, size

    if not found:
        print("there is nothing to remove")
        return
    # Before anything goes, as the question is about the sum.
    sizes = [removal.size() for removal in found]
    for removal, n_bytes in zip(found, sizes, strict=True):
        kind = (
            "checkpoints of" if removal.checkpoints_only else "run" if isinstance(removal.entry, RunEntry) else "sweep"
        )
        print(f"  {size(n_bytes):>9}  {kind} {printable(str(removal.entry.path))}  {removal.entry.status}")
    thing = "checkpoint folder" if found[0].checkpoints_only else "folder"
    total = f"{counted(len(found), thing)}, {size(sum(sizes))}"
    if dry_run:
        print(f"would remove {total}")
        return
    _confirm(f"remove {total}?", yes=yes)
    refused: list[ShoalError] = []
    for removal in found:
        try:
            removal.carry_out()
        # In use, or not to be written: the others are removed nevertheless, and the exit code tells.
        except ShoalError as error:
            refused.append(error)
    print(f"removed {counted(len(found) - len(refused), thing)}")
    for other in refused[1:]:
        print(printable(f"error: {brief(other)}"), file=sys.stderr)
    if refused:
        raise refused[0]


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("removing asks first, and there is nobody to ask", hint="add --yes, or look with --dry-run")
    if not typer.confirm(question):
        raise typer.Exit(0)
