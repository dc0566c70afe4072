"""What Hydra, OmegaConf and PyYAML say when a configuration cannot be composed, in shoal's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    GrammarParseError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    UnsupportedInterpolationType,
)
from yaml import MarkedYAMLError
from yaml.reader import ReaderError

from shoal.commas import parts
from shoal.config.absent import how_to_add, is_null, neighbors
from shoal.config.origins import COMMAND_LINE
from shoal.config.slips import chosen_elsewhere, set_elsewhere, word_elsewhere
from shoal.errors import NO_SUCH_SETTING, ConfigError, ShoalError, UsageError, first_line, nearest, suggestion
from shoal.override_words import key_and_value, key_of

_NOT_THERE = ("Could not override", "No match in the defaults list", "looks like a config group", "does not exist")
"""What Hydra says of an override of something that is not there."""

_PLACES = ("full_key:", "object_type=", "reference_type=")

_OF_VALUES: Mapping[str, str] = {
    "is not Optional": "cannot be null",
    "is not a valid bool": "must be true or false",
    r"expected one of \[(.+)\]": r"must be one of \1",
    "must be a list of strings": r"\g<0>",
    "is not a ListConfig, list or tuple": "must be a list",
}
"""What OmegaConf and Hydra say of a value that a setting of Hydra's cannot have, and the same in shoal's words."""

Compose = Callable[[list[str]], DictConfig]


def translated(error: Exception, overrides: Iterable[str], compose: Compose) -> ShoalError:
    """The error for the user; `compose` composes again with other overrides, to see what would have been valid."""
    given = list(overrides)
    match error:
        case ShoalError():
            return error
        case OverrideParseException():
            return _unparsable(error)
        case MissingConfigException():
            return _no_such_choice(error, given)
        case MarkedYAMLError() | ReaderError():
            return _bad_yaml(error)
        case MissingMandatoryValue():
            key = str(error.full_key)
            return ConfigError(key, "???", "must be given", hint=f"for example {key}=VALUE")
        case InterpolationResolutionError() | GrammarParseError():
            return _broken_reference(error, compose(given) if _reaches(compose, given) else None)
    return _not_composed(error, given, compose)


def _unparsable(error: OverrideParseException) -> ShoalError:
    key, equals, value = error.override.partition("=")
    if not equals:
        hint = word_elsewhere(key) or f"for example {key}=VALUE"
        return UsageError(f"{error.override}: must be KEY=VALUE", hint=hint)
    # What ANTLR says of a letter that the grammar does not know is the name of one of its classes.
    said = re.sub(r"^LexerNoViableAltException: .*", "an unexpected character", first_line(error))
    hint = _in_quotes(key, value) or "quote what the shell or the grammar would take apart: 'key=\"a, b\"', 'key=[1,2]'"
    return ConfigError(key, value, f"cannot be read: {said}", hint=hint, source=COMMAND_LINE)


def _in_quotes(key: str, value: str) -> str | None:
    """How a value is a text, or a list of texts; None where quotes are no way out."""
    listed = value.startswith("[") and value.endswith("]")
    texts = [each.strip() for each in (parts(value[1:-1]) if listed else [value])]
    # Whoever wrote quotes, or what only the grammar has a use for, meant something else.
    if not all(texts) or any(mark in text for mark in "'\"\\$[](){}" for text in texts):
        return None
    quoted = ",".join(f'"{each}"' for each in texts)
    as_text = "" if listed else f"'{key}={quoted}', or in a list "
    return f"in quotes: {as_text}'{key}=[{quoted}]'"


def _no_such_choice(error: MissingConfigException, overrides: list[str]) -> ShoalError:
    wanted = str(error.missing_cfg_file or "")
    group, _, name = wanted.rpartition("/")
    if not error.options:
        # It lists no options for a missing `--config-name`.
        if "primary config" in str(error):
            problem = f"there is no {wanted}.yaml beside train.yaml, nor in the folder of --config-dir"
            return UsageError(f"--config-name {wanted}: {problem}")
        return UsageError(first_line(error), hint="a configuration file is named without its folder and without .yaml")
    pairs = list(map(key_and_value, overrides))
    for key, value in pairs:  # a name with a slash in it is one name, though Hydra takes it for a path
        if f"{key}/{value}" == wanted:
            group, name = key, value
    asked = any(key.partition("@")[0] == group for key, _ in pairs)
    found = re.match(r"In '([^']+)'", str(error))
    source = COMMAND_LINE if asked else f"{found[1]}.yaml" if found else None
    instead = chosen_elsewhere(group, name)
    listed = suggestion("" if instead else name, error.options)
    hint = f"{instead}\n  {listed}" if instead else listed
    return ConfigError(group, name, f"no such {group}", hint=hint, source=source)


def _bad_yaml(error: MarkedYAMLError | ReaderError) -> ShoalError:
    if isinstance(error, ReaderError):
        return UsageError(f"{error.name}: byte {error.position}: {error.reason}", hint="YAML files are UTF-8 text")
    # Absent where PyYAML fails before the first token.
    mark = error.problem_mark
    where = f"{mark.name}:{mark.line + 1}:{mark.column + 1}" if mark else "a YAML file"
    problem = _shortened(error.problem or error.context or "cannot be read")
    # PyYAML names the letter and not what is wrong with it.
    tab = "a tab: indent with spaces" if "\\t" in problem else None
    return UsageError(f"{where}: {problem}", hint=tab)


def _broken_reference(error: Exception, config: DictConfig | None) -> ShoalError:
    """The error for a `${...}` that leads nowhere, at the setting that holds it."""
    said = re.sub(r"^\w+ raised while resolving interpolation: ", "", first_line(error)).strip('"')
    # The message names the reference and not the setting that holds it, which is looked for.
    settings = dict(_settings(config)) if config is not None else {}
    # OmegaConf blames the setting that was read; the broken reference may be further on.
    key = _followed(str(getattr(error, "full_key", None) or "a setting"), settings)
    if "ecursive interpolation" in said:
        return ConfigError(key, settings.get(key, "${...}"), "refers to itself")
    found = re.search(r"Interpolation key '([^']+)' not found", said)
    if not found:
        problem = f"{said}: no such resolver" if isinstance(error, UnsupportedInterpolationType) else said
        return ConfigError(key, settings.get(key, "${...}"), problem)
    name = found[1]
    holder = next((each for each, text in settings.items() if _refers(text, name)), key)
    guess = nearest(name, [each for each in settings if each != holder])
    hint = f"did you mean ${{{guess}}}?" if guess else None
    return ConfigError(holder, settings.get(holder, f"${{{name}}}"), f"there is no {name} to refer to", hint=hint)


def _settings(config: DictConfig) -> Iterator[tuple[str, Any]]:
    """Every setting below the top, as it stands before any `${...}` is followed; Hydra's own last."""
    plain: Any = OmegaConf.to_container(config, resolve=False)

    def walk(node: Any, key: str) -> Iterator[tuple[str, Any]]:
        if not isinstance(node, dict):
            yield key, node
            return
        # Where both hold the reference, the user's own setting is the one to name.
        for name in sorted(node, key=lambda each: each == "hydra"):
            yield from walk(node[name], f"{key}.{name}".lstrip("."))

    return walk(plain, "")


def _followed(key: str, settings: Mapping[str, Any]) -> str:
    """The setting that `key` stands for, where its value is nothing but a reference to another, and so on."""
    # As often as there are settings: references may go in a circle.
    for _ in settings:
        match = re.fullmatch(r"\$\{([\w.]+)\}", str(settings.get(key)))
        if not match or match[1] not in settings or match[1] == key:
            break
        key = match[1]
    return key


def _refers(text: Any, name: str) -> bool:
    return isinstance(text, str) and re.search(rf"\$\{{\.*{re.escape(name)}\}}", text) is not None


def _not_composed(error: Exception, overrides: list[str], compose: Compose) -> ShoalError:
    text = _whole(error)
    if "Ambiguous value for argument" in text:
        key, value = key_and_value(next((each for each in overrides if each in text), ""))
        return ConfigError(key, value, "a sweep needs -m", hint=f"for one list: '{key}=[{value}]'", source=COMMAND_LINE)
    misplaced = re.search(r"In '([^']+)': Could not override '(\w+)@", text)
    if misplaced:
        return UsageError(
            f"{misplaced[1]}.yaml chooses {misplaced[2]}, which is beside it and not in it",
            hint="the first line of such a file must be: # @package _global_",
        )
    # Of many messages of OmegaConf's none says which override it was.
    override = _at_fault(text, overrides, compose)
    if override is None:
        return UsageError(_shortened(_last_line(text) if text.startswith("In '") else text.splitlines()[0]))
    key, value = _key(override), key_and_value(override)[1]
    # Composed without the wrong one, the configuration tells what would have been right in its place.
    others = [each for each in overrides if each is not override]
    # By Hydra's words: the classes of these errors are the same as those of others.
    if "Could not delete" in text and _reaches(compose, others) and is_null(key, compose(others)):
        problem = "is null already, there is nothing to take away"
        return ConfigError(key, None, problem, hint=f"leave out {override}", source=COMMAND_LINE)
    if any(each in text for each in _NOT_THERE):
        inner = str(getattr(error.__cause__, "full_key", None) or "")
        if inner.startswith(f"{key}."):
            name, each = inner.removeprefix(f"{key}."), f"with a +, by itself: +{inner}=VALUE"
            return ConfigError(key, value, f"{name} is not there yet", hint=each, source=COMMAND_LINE)
        kind = NO_SUCH_SETTING if "." in key else "no such setting or group"
        hint = _way_out(key, value, others, compose)
        return ConfigError(key, value, kind, hint=hint, source=COMMAND_LINE)
    problem, hint = _reworded(text, override)
    return ConfigError(key or "KEY", value, problem, hint=hint, source=COMMAND_LINE)


def _at_fault(text: str, overrides: list[str], compose: Compose) -> str | None:
    """The override that Hydra complains of: the one it names, else the first without which there is no complaint."""
    named = re.findall(r"'([^'\s]+)'|override (\S+)", text)
    words = {_key(word) for pair in named for word in pair if word} | {f"{_key(word)}" for word in text.split()}
    matching = [each for each in overrides if _key(each) in words]
    if matching:
        return matching[0]
    for override in overrides:
        # Composed once for each override: only where something is wrong already.
        if _reaches(compose, [each for each in overrides if each is not override]):
            return override
    return None


def _reworded(text: str, override: str) -> tuple[str, str | None]:
    """What is wrong with an override that names something that is there, and the way out."""
    plain = override.lstrip("+~")
    if "Multiple values for" in text or "An item is already at" in text or "force-add of config groups" in text:
        return "is there already: set it without the +", f"for example {plain}" if "=" in plain else None
    if "Config group override" in text:
        return "must be the name of a choice", f"for example {key_of(override)}=NAME"
    if "requires --multirun" in text:
        return "a sweep needs -m", f"for one value: {key_of(override)}=VALUE"
    if re.search(r"is not a subclass of| to Dict\[", text):
        return "is a node of several settings", f"for example {_key(override)}.NAME=VALUE"
    for said, problem in _OF_VALUES.items():
        if found := re.search(said, text):
            return found.expand(problem), None
    return _shortened(_last_line(text)), None


def _way_out(key: str, value: str, others: list[str], compose: Compose) -> str | None:
    """What would be right in the place of a name that is not there."""
    # Without what else is wrong, which is told once this is mended.
    right = list[str]()
    for each in others:
        if _reaches(compose, [*right, each]):
            right.append(each)
    if not _reaches(compose, right):
        return None
    config = compose(right)
    return how_to_add(key, value, config) or set_elsewhere(key, value, config) or neighbors(key, config)


def _reaches(compose: Compose, overrides: list[str]) -> bool:
    """Whether a configuration can be composed from these overrides."""
    try:
        compose(overrides)
    except Exception:  # any refusal at all: which one is told elsewhere
        return False
    return True


def _key(override: str) -> str:
    return key_of(override).strip("'\".,")


def _whole(error: BaseException) -> str:
    """What an error says, and the one behind it where Hydra says nothing of its own."""
    text = str(error).strip()
    if isinstance(error, RecursionError):
        return "its values are nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"its file is not UTF-8 text: byte {error.start} cannot be read"
    # Hydra wraps what OmegaConf says in a sentence that repeats the override.
    if error.__cause__ is not None and (not text or text.startswith("Error merging override")):
        return f"{text}\n{_whole(error.__cause__)}".strip()
    return text or type(error).__name__


def _last_line(text: str) -> str:
    # OmegaConf ends what it says with the place, which is known, and with the names of its own classes.
    said = [line.strip() for line in text.splitlines() if "hydra.cc" not in line]
    lines = [line for line in said if line and not line.startswith(_PLACES)]
    return lines[-1] if lines else "cannot be composed"


def _shortened(text: str, limit: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
