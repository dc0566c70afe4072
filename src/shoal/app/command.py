"""The command `python train.py`, which `shoal train` is too."""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from shoal.config import experiments
from shoal.config.compose import PRIMARY, composed
from shoal.config.folders import own_conf, user_conf
from shoal.config.plugins import importing_plugins
from shoal.config.quoting import quoted
from shoal.errors import ExitCode, ShoalError, UsageError, raised_at
from shoal.review.wording import printable
from shoal.rundir import Status, SweepDir
from shoal.startup import keep_what_is_imported
from shoal.streams import keep_standard_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; the exit code."""
    words = quoted(sys.argv[1:] if argv is None else argv)
    keep_standard_streams()
    atexit.register(keep_what_is_imported)
    try:
        return _dispatch(words)
    except (Exception, KeyboardInterrupt) as error:
        if "debug=true" in words:
            traceback.print_exception(error)
        return _told(error)


def _dispatch(words: list[str]) -> int:
    args = _parsed(words)
    if args.multirun and not (args.help or args.hydra_help or args.cfg or args.info is not None):
        from shoal.app.multirun.launch import sweep

        return sweep(args.overrides, config_dir=args.config_dir, config_name=args.config_name)
    if args.help or args.hydra_help or args.cfg or args.shell_completion or args.info is not None:
        return _hydra(words, args)
    resumed = next((word for word in args.overrides if word.startswith("resume=") and word != "resume=null"), None)
    if resumed:
        from shoal.app.resume import resume

        others = [word for word in args.overrides if word != resumed]
        path = Path(resumed.partition("=")[2])
        if SweepDir(path).info.exists():
            from shoal.app.multirun.launch import resume as resume_sweep

            return resume_sweep(path, others)
        run, info = resume(path, others)
    else:
        from shoal.app.start import start

        run, info = start(
            args.overrides,
            config_dir=args.config_dir,
            config_name=args.config_name,
            command=["train.py", *words],
            before_training=keep_what_is_imported,
            told=print,
        )
    from shoal.runs.summary import exit_code, summary

    if info.status is not Status.RUNNING:
        print(summary(run, info))
    return int(exit_code(info))


def _parsed(words: list[str]) -> Any:
    """The options and overrides of a command line, by Hydra's own parser."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UsageError(message, hint="settings are KEY=VALUE; --help shows them and the options")

    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(words)
    modes = [name for name in ("multirun", "cfg", "info", "shell_completion") if getattr(args, name)]
    if len(modes) > 1:
        raise UsageError(f"--{modes[0]} and --{modes[1]} cannot go together")
    return args


def _hydra(words: list[str], args: Any) -> int:
    """Leave help, the display of configurations and completion to Hydra's own main."""
    import hydra

    with importing_plugins():
        experiments.install()
    folder = user_conf()
    if folder and not args.config_dir:
        words = ["--config-dir", str(folder), *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Hydra takes no option between two overrides.
    sys.argv[1:] = [*(word for word in words if word not in args.overrides), *args.overrides]
    try:
        hydra.main(config_path=str(own_conf()), config_name=PRIMARY, version_base="1.3")(_train)()
    except (HydraException, OmegaConfBaseException, MarkedYAMLError):
        overrides = args.overrides if args.cfg else []
        with composed(overrides, config_dir=args.config_dir, config_name=args.config_name):
            raise  # it does compose: what went wrong is something else
    return int(ExitCode.OK)


def _train(config: Any) -> Any:
    """What Hydra's main is given to run; nothing of what is left to it runs it."""
    raise AssertionError(config)


def _told(error: BaseException) -> int:
    """Say what went wrong, in at most three lines; the exit code."""
    if isinstance(error, ShoalError):
        print("\n".join(printable(line) for line in error.text().splitlines()[:3]), file=sys.stderr)
        return int(error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    print(_unexpected(error), file=sys.stderr)
    return int(ExitCode.FAILED)


def _unexpected(error: BaseException) -> str:
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "error: not enough memory for this: it needs smaller data, a smaller batch or a smaller model"
    message = str(error).strip().splitlines() or [""]
    return f"error: {type(error).__name__}: {message[0]} ({raised_at(error)})\n  debug=true shows the traceback"
