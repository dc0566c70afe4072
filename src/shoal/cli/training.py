"""The commands that train: from the beginning, or from where a run or a sweep stopped."""

from __future__ import annotations

import os
import shlex
from typing import Annotated, Literal

import typer

from shoal.cli.arguments import OUTPUTS, Overrides, Reference, Root, Trust
from shoal.errors import DamagedError


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    # Its words are Hydra's, options among them, and so is its help.
    app.command(
        add_help_option=False,
        # `-m` among them is not typer's, nor is a value that begins with a dash.
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )(train)
    app.command()(resume)
    app.command()(again)
    app.command("find-lr")(find_lr)


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
    # `shoal train` itself goes past typer (see `_done`): this one is there for the list of commands and for completion.
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
    from shoal.review.reference import resolve

    path = resolve(run, root).path
    ended = go_on(path, overrides or [], trusted=trust or (), which=origin, own_process=True)
    raise typer.Exit(ended.tell())


def again(
    run: Reference,
    overrides: Overrides = None,
    root: Root = OUTPUTS,
) -> None:
    """Train anew what a run or a sweep was asked for, in a directory of its own; overrides given here win.

    A run of a sweep is trained alone, with the bits it has there.

    \b
    Examples:
      shoal again last optimizer.lr=0.01
      shoal again k3f9/best trainer.max_epochs=500
    """
    from shoal.app.again import again
    from shoal.review.reference import resolve

    entry = resolve(run, root)
    if entry.info is None:
        # Its run.json cannot be read, which is where its overrides stand.
        raise DamagedError(f"{entry.path}: {entry.reason}")
    raise typer.Exit(again(entry.info, overrides or [], own_process=True, told=print).tell())


def find_lr(
    overrides: Overrides = None,
    lowest: Annotated[float, typer.Option("--from", metavar="RATE", help="The lowest rate.")] = 1e-6,
    highest: Annotated[float, typer.Option("--to", metavar="RATE", help="The highest rate.")] = 1.0,
    rates: Annotated[int, typer.Option("--rates", "-n", min=2, help="How many, evenly on a logarithmic scale.")] = 64,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimizer steps with each.")] = 100,
) -> None:
    """Look for a learning rate: many of them at once in a stack, each for a few steps from the same beginning.

    The sweep is kept, with its figure of the loss against the rate; its tag is find-lr.

    \b
    Examples:
      shoal find-lr task=sin_x2
      shoal find-lr task=iris optimizer=sgd --from 1e-4 --to 10 --steps 200
    """
    from shoal.app.find_lr import KEY, try_rates

    tried = try_rates(overrides or [], lowest=lowest, highest=highest, n_rates=rates, n_steps=steps)
    low, high = tried.near
    print(f"\nlowest train/loss after {steps} steps: {tried.losses[tried.best]:.4g}, with {KEY}={tried.best:g}")
    print(f"  nearly as low from {low:g} to {high:g}" + _diverged(tried.diverged_from))
    print(f"  train with it: {shlex.join(['shoal', 'train', *(overrides or []), f'{KEY}={tried.best:g}'])}")


def _diverged(rate: float | None) -> str:
    return "" if rate is None else f"; from {rate:g} on it diverges"
