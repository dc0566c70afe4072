"""The command that fits a formula: the short form of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(fit)


def fit(
    data: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, Parquet, Arrow or Feather.")],
    formula: Annotated[str, typer.Argument(metavar="FORMULA", help="'y = b1*(1-exp(-b2*x))', y and x being columns.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=START]... [KEY=VALUE]...", help="Starts, and any settings.", show_default=False),
    ] = None,
    sigma: Annotated[
        str | None, typer.Option("--sigma", help="Column with the standard error of each row; a,b for two targets.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Column of the groups that are fitted one by one.")] = None,
) -> None:
    """Fit a formula to a table by least squares: its parameters, with their errors.

    Every name in the formula that is no column is a parameter. Keeps a run, as train does, which this is short for:
    task=csv task.path=TABLE task.target=y model=formula model.expression=FORMULA model.start={NAME:START} optimizer=lm

    \b
    Examples:
      shoal fit data.csv 'y = b1*(1-exp(-b2*x))' b1=500 b2=1e-4
      shoal fit data.csv 'y = a*x+b' a=1 b=0 --sigma dy task.absolute_sigma=true
      shoal fit data.csv 'y = a*exp(-k*t)' a=1 k=1 'model.bounds={k:[0,null]}' loss=soft_l1
      shoal fit data.csv 'y = a*exp(-k*t)' a=1 k=1 --by batch 'model.shared=[k]'
      shoal fit data.csv 'left = a*exp(-k*t); made = a*(1-exp(-k*t))' a=1 k=1
      shoal fit data.csv 'hare, lynx = populations.grown' alpha=0.5 beta=0.03   # a function in populations.py
    """
    from shoal.app.train import train
    from shoal.config.fit_words import fit_words
    from shoal.startup import cheap_imports

    given = words or []
    if sigma is not None:
        given = [f"task.sigma=[{sigma}]" if "," in sigma else f"task.sigma={sigma}", *given]
    if by is not None:
        given = [f"model.by={by}", *given]
    # Finding the formula's names imports what evaluates it, torch among it.
    with cheap_imports():
        overrides = fit_words(data, formula, given)
    ended = train(overrides, command=["train.py", *overrides], own_process=True)
    raise typer.Exit(ended.tell())
