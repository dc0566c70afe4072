"""What Hydra, OmegaConf and PyYAML say when a configuration cannot be composed, in shoal's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException
from yaml import MarkedYAMLError

from shoal.errors import ConfigError, ShoalError, UsageError, suggestion

_COMMAND_LINE = "command line"


def translated(error: Exception, overrides: Iterable[str], compose: Callable[[list[str]], DictConfig]) -> ShoalError:
    """The error for the user; `compose` composes again with other overrides, to see what would have been valid."""
    match error:
        case OverrideParseException():
            return _unparsable(error)
        case MissingConfigException():
            return _no_such_choice(error, overrides)
        case MarkedYAMLError():
            return _bad_yaml(error)
        case MissingMandatoryValue():
            return ConfigError(str(error.full_key), "???", "must be given", hint=f"for example {error.full_key}=VALUE")
        case InterpolationResolutionError():
            return ConfigError(str(error.full_key), "${...}", _first_line(error))
        case ConfigCompositionException() | HydraException() | OmegaConfBaseException():
            return _not_composed(error, list(overrides), compose)
    return UsageError(_first_line(error))


def _unparsable(error: OverrideParseException) -> ShoalError:
    key, _, value = error.override.partition("=")
    hint = "quote what the shell or the grammar would take apart: 'key=\"a, b\"', 'key=[1,2]'"
    return ConfigError(key, value, f"cannot be read: {_first_line(error)}", hint=hint, source=_COMMAND_LINE)


def _no_such_choice(error: MissingConfigException, overrides: Iterable[str]) -> ShoalError:
    wanted = str(error.missing_cfg_file or "")
    group, _, name = wanted.rpartition("/")
    if not group or not error.options:
        return UsageError(_first_line(error))
    asked = any(override.lstrip("+").startswith(f"{group}=") for override in overrides)
    source = _COMMAND_LINE if asked else None
    options = [option for option in error.options if option != "base"]
    return ConfigError(group, name, f"no such {group}", hint=suggestion(name, options), source=source)


def _bad_yaml(error: MarkedYAMLError) -> ShoalError:
    mark = error.problem_mark
    where = f"{mark.name}:{mark.line + 1}:{mark.column + 1}" if mark else "a YAML file"
    return UsageError(f"{where}: {error.problem or error.context}")


def _not_composed(error: Exception, overrides: list[str], compose: Callable[[list[str]], DictConfig]) -> ShoalError:
    text = str(error)
    if "Ambiguous value for argument" in text:
        override = next((each for each in overrides if each in text), "")
        key, _, value = override.partition("=")
        return ConfigError(
            key, value, "a sweep needs -m", hint=f"for one list: '{key}=[{value}]'", source=_COMMAND_LINE
        )
    found = re.search(r"(?:override|append|Key|Error merging override) '?([\w./@+-]+)'?", text)
    matching = [each for each in overrides if found and _key(each) == found[1].partition("=")[0].lstrip("+~")]
    if not matching:
        return UsageError(_first_line(error))
    override = matching[0]
    return _unknown_key(override, [each for each in overrides if each != override], compose, text)


def _unknown_key(override: str, others: list[str], compose: Callable[[list[str]], DictConfig], text: str) -> ShoalError:
    key = _key(override)
    value = override.partition("=")[2]
    if "not in struct" not in text and "No match in the defaults list" not in text:
        return ConfigError(key, value, text.strip().splitlines()[-1].strip(), source=_COMMAND_LINE)
    parent, _, name = key.rpartition(".")
    kind = "no such setting" if parent else "no such setting or group"
    return ConfigError(key, value, kind, hint=_neighbors(parent, name, others, compose), source=_COMMAND_LINE)


def _neighbors(parent: str, name: str, others: list[str], compose: Callable[[list[str]], DictConfig]) -> str | None:
    """The valid names beside a wrong one, from the configuration as it is without it."""
    try:
        config = compose(others)
    except Exception:  # the other overrides are wrong too; this error is told first
        return None
    node = OmegaConf.select(config, parent) if parent else config
    if not isinstance(node, DictConfig):
        return None
    return suggestion(name, [str(key) for key in node if key not in ("hydra", "_target_")])


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
