"""Runs and sweeps from Python, by their path or by what the command line calls them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shoal.instructions import offer
from shoal.loaded.opened import open_run
from shoal.loaded.run import Run
from shoal.loaded.sweep import Sweep
from shoal.rundir import SweepDir

if TYPE_CHECKING:
    import polars

    from shoal.review.entries import Entry


class Runs(list[Run | Sweep]):
    """Runs and sweeps, newest first. `table` has a row for each."""

    def __init__(self, entries: Sequence[Entry], *, trusted: Collection[str] = ()) -> None:
        super().__init__(_opened(entry.path, trusted) for entry in entries)
        self._entries = entries

    @property
    def table(self) -> polars.DataFrame:
        """What `shoal runs` lists: id, task, status, what sets it apart, the best and the last metrics."""
        import polars

        from shoal.review.listing import default_columns, raw_columns

        names = default_columns(self._entries)
        columns = raw_columns(self._entries, names)
        return polars.DataFrame(dict(zip(names, columns, strict=True)), strict=False)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def load(reference: Path | str, *, root: Path | str = "outputs", trusted: Collection[str] = ()) -> Run | Sweep:
    """Load a run or a sweep by its directory, or by what the command line calls it below `root`: `last`, `k3f9/best`.

    Raises:
        UsageError: where there is none, or more than one.
        DamagedError: where its configuration is not what was written.
    """
    path = Path(reference)
    # A directory is meant as itself, wherever it lies; anything else is a reference.
    if not path.is_dir():
        from shoal.review.reference import resolve

        path = resolve(str(reference), Path(root)).path
    found = _opened(path, trusted)
    if isinstance(found, Run):
        # Before torch computes anything: numerics are chosen once for a process.
        offer(open_run(path, trusted=trusted).config.get("numerics"))
    return found


def runs(
    root: Path | str = "outputs",
    *,
    where: str | None = None,
    status: Sequence[str] = (),
    tags: Sequence[str] = (),
    sort: str | None = None,
    top: int | None = None,
) -> Runs:
    """The runs and sweeps below `root`, newest first, as `shoal runs` lists them: `runs(where="optimizer.lr < 0.01")`.

    Raises:
        UsageError: where a condition, a status, a tag or a name to sort by makes no sense.
    """
    from shoal.review.catalog import find
    from shoal.review.listing import Selection, selected

    folder = Path(root)
    asked = Selection(where=where, status=tuple(status), tags=tuple(tags), sort=sort, top=top)
    return Runs(selected(find([folder]) if folder.is_dir() else [], asked))


def _opened(path: Path, trusted: Collection[str]) -> Run | Sweep:
    return Sweep(path, trusted=trusted) if SweepDir(path).info.exists() else Run(path, trusted=trusted)
