"""The command `python train.py`, which `shoal train` is too."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from shoal.config import experiments
from shoal.config.compose import PRIMARY, composed
from shoal.config.folders import own_conf, user_conf
from shoal.config.help import text as help_on
from shoal.config.misread import naming_misread
from shoal.config.plugins import importing_plugins, own_launcher
from shoal.config.quoting import quoted
from shoal.errors import ExitCode, ShoalError, UsageError

_WITH_CFG = "it goes with --cfg"
_UNUSED = {
    "--config-path": (
        "config_path",
        "shoal's own files are always read; those in a folder of yours: --config-dir FOLDER",
    ),
    "--experimental-rerun": ("experimental_rerun", "a run goes on with: shoal resume RUN"),
    "--package": ("package", _WITH_CFG),
    "--resolve": ("resolve", _WITH_CFG),
}
"""Options that Hydra's parser knows and nothing here would look at, and what to do instead."""


def train(words: Sequence[str]) -> int:
    """Do what the command line asks for; the exit code.

    Raises:
        ShoalError, or what a job raised: for the one place that tells errors.
    """
    words = quoted(words)
    _refuse_spaces(words)
    args = _parsed(words)
    if args.help:
        print(help_on(args.overrides, config_dir=args.config_dir, config_name=args.config_name))
        return int(ExitCode.OK)
    # What only shows something is Hydra's own: its output is what a user of Hydra knows.
    if args.hydra_help or args.cfg or args.shell_completion or args.info is not None:
        return _hydra(words, args)

    from shoal.app.train import train

    ended = train(
        args.overrides,
        multirun=args.multirun,
        config_dir=args.config_dir,
        config_name=args.config_name,
        command=["train.py", *words],
        own_process=True,
        told=print,
    )
    return ended.tell()


def _parsed(words: list[str]) -> Any:
    """The options and overrides of a command line, by Hydra's own parser."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UsageError(
            message, hint=_as_setting(words) or "settings are KEY=VALUE; --help shows them and the options"
        )

    parser.error = refuse  # type: ignore[method-assign]
    # Intermixed: `task=parabola -m seed=1,2` has an option between its settings.
    args = parser.parse_intermixed_args(words)
    modes = [name for name in ("multirun", "cfg", "info", "shell_completion") if getattr(args, name)]
    if len(modes) > 1:
        raise UsageError(f"--{modes[0]} and --{modes[1]} cannot go together")
    for option, (name, way_out) in _UNUSED.items():
        if getattr(args, name) and not (way_out == _WITH_CFG and args.cfg):
            raise UsageError(f"{option} has no effect", hint=way_out)
    return args


def _refuse_spaces(words: list[str]) -> None:
    """Refuse an equals sign with spaces around it.

    Raises:
        UsageError: with the setting as it is written.
    """
    for key, sign, value in zip(words, words[1:], words[2:], strict=False):
        if sign == "=":
            raise UsageError(f"{key} = {value}: must be KEY=VALUE", hint=f"without spaces: {key}={value}")


def _as_setting(words: list[str]) -> str | None:
    """The way out for who writes a setting as an option, as other programs have it: `--epochs 10`."""
    # Argparse has no public list of a parser's options.
    known = get_args_parser()._option_string_actions
    place = next((n for n, word in enumerate(words) if word.startswith("--") and word.split("=")[0] not in known), None)
    if place is None:
        return None
    key, sign, value = words[place].removeprefix("--").replace("-", "_").partition("=")
    if not sign:
        follows = words[place + 1] if place + 1 < len(words) else ""
        # A flag, where the next word is an option or a setting by itself.
        value = "" if follows.startswith("-") or "=" in follows else follows
    flag = not value
    setting = f"{key}={value or 'true'}"
    try:
        # Tried: only a setting that there is, is offered as it stands.
        with composed([setting]):
            return f"did you mean {shlex.quote(setting)}?"
    except ShoalError as error:
        return None if flag or (error.hint or "").startswith("available") else error.hint


def _hydra(words: list[str], args: Any) -> int:
    """Leave Hydra's own help, the display of configurations and completion to Hydra's own main."""
    import hydra

    with importing_plugins():
        experiments.install()
    folder = user_conf()
    if folder and not args.config_dir:
        words = ["--config-dir", str(folder), *words]
    # Hydra would print its errors itself and end the process: raised, they are told as all others are.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Hydra takes no option between two overrides.
    sys.argv[1:] = [*(word for word in words if word not in args.overrides), *args.overrides]
    try:
        with naming_misread(), own_launcher():
            # Without `version_base` Hydra takes its own rules for those of 1.1, and warns.
            hydra.main(config_path=str(own_conf()), config_name=PRIMARY, version_base="1.3")(_train)()
    except (HydraException, OmegaConfBaseException, MarkedYAMLError, ValueError):  # the last of `trainer=3`
        overrides = args.overrides if args.cfg else []
        with composed(overrides, config_dir=args.config_dir, config_name=args.config_name):
            raise  # it does compose: what went wrong is something else
    return int(ExitCode.OK)


def _train(config: Any) -> Any:
    """The function that Hydra's main needs; none of the options that are left to Hydra calls it."""
    raise AssertionError(config)
