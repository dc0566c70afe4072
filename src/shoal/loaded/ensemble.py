"""Runs that predict together: the mean of what each says, and how far they disagree."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoal.errors import UsageError
from shoal.loaded.run import Run
from shoal.loaded.trained_run import Which, named
from shoal.review.wording import counted, settings

if TYPE_CHECKING:
    import polars
    from matplotlib.figure import Figure

    from shoal.loaded.conformal import Calibrated
    from shoal.review.entries import SweepEntry
    from shoal.tasks import Data
    from shoal.tasks.tables.format import Format

QUANTILES = {"q05": 0.05, "q95": 0.95}
"""Of the members' predictions, by what their columns end in."""


class Ensemble:
    """Trained runs of one task. Numbers are the members' mean; classes are chosen by their mean probabilities."""

    def __init__(self, runs: Sequence[Run], path: Path) -> None:
        """`path` is what they are part of."""
        self.members = tuple(runs)
        self.path = path

    def __repr__(self) -> str:
        return f"Ensemble({str(self.path)!r}, {counted(len(self.members), 'run')})"

    @property
    def told(self) -> str:
        """Who predicts, as a line."""
        _, differing = _settings([run.info.differs for run in self.members])
        return f"{self.title} predict together: {differing}" if len(self.members) > 1 else f"{self.title} predicts"

    @property
    def title(self) -> str:
        """How many they are, and what they have in common."""
        common, _ = _settings([run.info.differs for run in self.members])
        return f"{counted(len(self.members), 'run')}{f' of {common}' if common else ''}"

    @property
    def first(self) -> Run:
        """The member that gives names, units and formats to what all of them say."""
        return self.members[0]

    def predict(self, x: Any, which: Which = "best") -> polars.DataFrame:
        """Predictions for inputs, as of a run, and for each target what sets the members apart.

        Of numbers the standard deviation over the members `NAME_std` and quantiles `NAME_q05`, `NAME_q95`; of classes
        `NAME_agreement`, the share of members that say the same.

        What should be known before they are believed is a warning, a `shoal.errors.Caution`.

        Raises:
            UsageError: where the members predict other things.
        """
        from shoal.loaded.cautions import warn

        found = self.predictions(x, which)
        warn(self.members, which, named(x, self.columns(which).features), found)
        return found

    def predictions(self, x: Any, which: Which = "best") -> polars.DataFrame:
        """The same predictions, without a warning."""
        return together([run.predictions(x, which) for run in self.members], self.columns(which))

    def columns(self, which: Which = "best") -> Data:
        """The names of inputs and predictions.

        Raises:
            UsageError: where they are not the same for all members.
        """
        found = [run.columns(which) for run in self.members]
        for run, each in zip(self.members, found, strict=True):
            if (each.features, _classes(each), each.targets) != (
                found[0].features,
                _classes(found[0]),
                found[0].targets,
            ):
                raise UsageError(f"{run.path} and {self.first.path} do not predict the same from the same columns")
        return found[0]

    def format(self, which: Which = "best") -> Format:
        """How tables are written that the members were trained on."""
        return self.first.format(which)

    @property
    def figure(self) -> Figure:
        """Their mean with a band: over the one input there is, or against the targets of the test part.

        Raises:
            UsageError: where they predict classes, or have neither.
        """
        from shoal.loaded.ensemble_figure import figure

        return figure(self)

    def calibrated(self, level: float, which: Which = "best") -> Calibrated:
        """What turns predictions into intervals of this level, or into sets of classes, by split conformal prediction.

        Raises:
            UsageError: where the runs hold back no test part, or one that is too small.
        """
        from shoal.loaded.conformal import HeldOut, calibrate
        from shoal.loaded.evaluation import held_out

        parts = [held_out(run, which) for run in self.members]
        data = self.columns(which)
        predicted = together([part.predicted for part in parts], data)
        return calibrate(HeldOut(predicted, parts[0].truth, _classes(data)), level)

    def evaluate(
        self, which: Which = "best", *, test: bool = False, path: Path | str | None = None
    ) -> dict[str, float]:
        """Metrics of what the members say together: of the test part, or of all rows of a labelled table in `path`.

        Raises:
            UsageError: where neither is asked for: what one member was validated on, another may have trained on.
        """
        from shoal.loaded.evaluation import evaluate_together

        self.columns(which)
        return evaluate_together(self.members, which, test=test, path=None if path is None else Path(path))


def ensemble(entry: SweepEntry, best: int | None = None, *, trusted: Collection[str] = ()) -> Ensemble:
    """The runs of a sweep that predict together: of the best setting all seeds and folds, or the `best` few runs.

    Raises:
        UsageError: where the sweep has no such runs.
    """
    from shoal.review.values import ranked, ranking

    found = ranking(entry.runs)
    if found is None or found.first is None:
        raise UsageError(f"{entry.path} has no run that was trained to the end")
    chosen = list(found.settings[0].runs)
    if best is not None:
        every = ranked(found.order, found.yardstick.metric)
        if best > len(every):
            raise UsageError(f"--best {best}: the sweep has {counted(len(every), 'run')} trained to the end")
        chosen = every[:best]
    # In the order of their jobs: the first gives names and formats, whichever is the best.
    return Ensemble([Run(run.path, trusted=trusted) for run in sorted(chosen, key=lambda run: run.path)], entry.path)


def _settings(differs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """What all have in common, and what each has of its own."""
    common = {name: value for name, value in differs[0].items() if all(each.get(name) == value for each in differs)}
    own = [settings({name: value for name, value in each.items() if name not in common}) for each in differs]
    return settings(common), ", ".join(filter(None, own))


def _classes(data: Data) -> tuple[str, ...]:
    return tuple(data.encoding.get("classes", ()))


def together(predicted: Sequence[polars.DataFrame], data: Data) -> polars.DataFrame:
    """What several runs say of the same rows, as a mean with its spread: see `Ensemble.predict`.

    Raises:
        UsageError: where it has none.
    """
    import polars as pl

    classes = _classes(data)
    if not classes and not all(dtype.is_numeric() for dtype in predicted[0].dtypes):
        raise UsageError("what these runs predict is neither numbers nor classes with probabilities: it has no mean")
    # Of classes the first column is the class itself.
    numbers = predicted[0].columns[1:] if classes else predicted[0].columns
    stacked = {name: pl.DataFrame([each[name].alias(str(i)) for i, each in enumerate(predicted)]) for name in numbers}
    means = {name: values.mean_horizontal() for name, values in stacked.items()}
    if not classes:
        return pl.DataFrame({**means, **{k: v for name, values in stacked.items() for k, v in _spread(name, values)}})
    target = predicted[0].columns[0]
    # By the mean probabilities, not by the majority: a close vote may go the other way.
    codes = pl.DataFrame(means).to_numpy().argmax(axis=1).tolist()
    said = pl.Series(target, [classes[code] for code in codes])
    agreeing = pl.DataFrame([(each[target] == said).cast(pl.Float64).alias(str(i)) for i, each in enumerate(predicted)])
    return pl.DataFrame({target: said, **means, f"{target}_agreement": agreeing.mean_horizontal()})


def _spread(name: str, values: polars.DataFrame) -> list[tuple[str, Any]]:
    import numpy

    rows = values.to_numpy()
    # Of one member the spread is 0, and not nan.
    std = rows.std(axis=1, ddof=1) if values.width > 1 else numpy.zeros(len(rows))
    quantiles = [(f"{name}_{end}", numpy.quantile(rows, q, axis=1)) for end, q in QUANTILES.items()]
    return [(f"{name}_std", std), *quantiles]
