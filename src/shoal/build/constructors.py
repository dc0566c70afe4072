"""Configuration nodes: the constructor that a node names says which settings are valid; checked, then called."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from shoal.aliases import of_the_other
from shoal.build.annotations import NotAllowedError, accepts, choices, coerced, described, example
from shoal.errors import NO_SUCH_SETTING, ConfigError, ShoalError, nearest, raised_at, shown, suggestion

TARGET = "_target_"
NOT_A_PATH = "must name a class, as module.Class"


@dataclass(frozen=True)
class Constructor:
    """A class or function, with what its parameters allow."""

    call: Callable[..., Any]
    parameters: Mapping[str, inspect.Parameter]
    hints: Mapping[str, Any]
    open: bool
    """Whether it takes settings of any name."""

    @property
    def required(self) -> list[str]:
        """Parameters without a default."""
        return [name for name, parameter in self.parameters.items() if parameter.default is inspect.Parameter.empty]

    def without(self, *names: str) -> Constructor:
        """The same, some parameters being given by the program."""
        kept = {name: parameter for name, parameter in self.parameters.items() if name not in names}
        return Constructor(self.call, kept, self.hints, self.open)


@functools.cache
def constructor(path: str) -> Constructor:
    """The constructor that `_target_: path` names.

    Raises:
        ValueError: where there is none; its message ends a sentence that begins with the path.
    """
    call = _located(path)
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(call).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    kinds = [parameter.kind for parameter in inspect.signature(call).parameters.values()]
    return Constructor(call, parameters, _hints(call), inspect.Parameter.VAR_KEYWORD in kinds)


def build(node: Mapping[str, Any], key: str) -> Any:
    """The object that a node describes; nodes within it are built first.

    Raises:
        ConfigError: where the node names no class, or a setting is unknown, missing or not allowed.
    """
    made = target(node, key)
    settings = checked(node, key, made)
    try:
        return made.call(**settings)
    except ConfigError as error:
        raise error.at(key=f"{key}.{error.key}") from None
    except ShoalError:
        raise
    except Exception as error:
        text = str(error).strip().partition("\n")[0]
        problem = f"cannot be made: {type(error).__name__}: {text} ({raised_at(error)})"
        raise ConfigError(f"{key}.{TARGET}", node[TARGET], problem, hint="debug=true shows the traceback") from error


def target(node: Mapping[str, Any], key: str) -> Constructor:
    """The constructor that a node names.

    Raises:
        ConfigError: where it names none.
    """
    path = node.get(TARGET)
    if not isinstance(path, str):
        raise ConfigError(f"{key}.{TARGET}", path, NOT_A_PATH)
    try:
        return constructor(path)
    except ValueError as error:
        raise ConfigError(f"{key}.{TARGET}", path, str(error)) from None


def checked(node: Mapping[str, Any], key: str, made: Constructor) -> dict[str, Any]:
    """The settings of a node as its constructor has them.

    Raises:
        ConfigError: where a setting is unknown, missing or not allowed.
    """
    given = {name: value for name, value in node.items() if name != TARGET}
    for name, value in given.items():
        if name not in made.parameters and not made.open:
            raise ConfigError(f"{key}.{name}", value, NO_SUCH_SETTING, hint=suggestion(name, made.parameters))
    for name in made.required:
        if name not in given:
            kind = described(made.hints.get(name, str))
            raise ConfigError(f"{key}.{name}", "???", f"must be given: {kind}")
    return {name: _setting(value, f"{key}.{name}", name, made) for name, value in given.items()}


def setting(value: Any, key: str, annotation: Any, example: Callable[[], str]) -> Any:
    """A single setting as its annotation has it.

    Raises:
        ConfigError: where the annotation does not allow it.
    """
    try:
        return coerced(value, annotation)
    except NotAllowedError:
        words = choices(annotation)
        guess = nearest(str(value), words) if words else None
        hint = f"did you mean {guess}?" if guess else f"for example {key}={example()}"
        raise ConfigError(key, value, f"must be {described(annotation)}", hint=hint) from None


def _setting(value: Any, key: str, name: str, made: Constructor) -> Any:
    made_of = _made_by(made.hints.get(name))
    if made_of and (value is not None or name in made.required):
        return _factory(value, key, made_of)
    if isinstance(value, Mapping) and TARGET in value:
        built = build(value, key)
        if name in made.hints and not accepts(built, made.hints[name]):
            problem = f"does not give what {name} must be: {described(made.hints[name])}"
            raise ConfigError(f"{key}.{TARGET}", value[TARGET], problem)
        return built
    if name not in made.hints:
        return value
    return setting(value, key, made.hints[name], lambda: _example(name, made))


def _made_by(annotation: Any) -> type | None:
    """The class of what a parameter's function gives, where it wants a function without arguments."""
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) is Callable and get_args(kind)[0] == [] and isinstance(get_args(kind)[1], type):
            return get_args(kind)[1]  # type: ignore[no-any-return]
    return None


def _factory(node: Any, key: str, kind: type) -> Callable[[], Any]:
    """What builds a node anew at each call.

    Raises:
        ConfigError: where it would not build one of `kind`.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(key, node, "must be a node with a _target_", hint=f"for example {key}._target_=my_module.My")
    made = target(node, key)
    if isinstance(made.call, type) and not issubclass(made.call, kind):
        other = of_the_other(made.call)
        hint = f"it is one of {other}, which was imported before shoal: import shoal first" if other else None
        raise ConfigError(f"{key}.{TARGET}", node[TARGET], f"is not a {kind.__name__}", hint=hint)
    checked(node, key, made)
    return functools.partial(build, node, key)


def _example(name: str, made: Constructor) -> str:
    """A value that is allowed: the default where it is one, else what the annotation's limits suggest."""
    parameter = made.parameters.get(name)
    default = None if parameter is None else parameter.default
    return example(made.hints[name]) if default in (inspect.Parameter.empty, None) else shown(default)


def _located(path: str) -> Any:
    """The object at a dotted path: the longest importable module, then attributes."""
    words = path.split(".")
    if len(words) < 2 or not all(words):
        raise ValueError(NOT_A_PATH)
    for n in range(len(words) - 1, 0, -1):
        name = ".".join(words[:n])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                continue
            raise ValueError(f"cannot be imported: {error}") from error
        except Exception as error:
            raise ValueError(f"cannot be imported: {type(error).__name__}: {error}") from error
        return _attribute(found, words[n:], name)
    module = ".".join(words[:-1])
    raise ValueError(f"no module {module} can be imported; the working directory is {Path.cwd()}")


def _attribute(found: Any, words: list[str], module: str) -> Any:
    """What these names lead to from a module, one within the other."""
    whole = module
    for place, word in enumerate(words, 1):
        if not hasattr(found, word):
            guess = nearest(word, _public(found))
            meant = ".".join([whole, guess, *words[place:]]) if guess else None
            raise ValueError(f"there is no {whole}.{word}" + (f"; did you mean {meant}?" if meant else ""))
        found, whole = getattr(found, word), f"{whole}.{word}"
    if not callable(found) or isinstance(found, types.ModuleType):
        raise ValueError("is not a class or a function")
    return found


def _public(found: Any) -> list[str]:
    """Names of what is within a module or a class: classes, functions and further modules."""
    modules = [module.name for module in pkgutil.iter_modules(getattr(found, "__path__", []))]
    callables = [name for name in dir(found) if callable(getattr(found, name, None))]
    return [name for name in [*callables, *modules] if not name.startswith("_")]


def _hints(call: Callable[..., Any]) -> dict[str, Any]:
    """Annotations with their ranges; none for a constructor whose annotations cannot be evaluated."""
    dataclass_like = inspect.isclass(call) and hasattr(call, "__dataclass_fields__")
    source = call if dataclass_like or not inspect.isclass(call) else call.__init__
    try:
        hints = get_type_hints(source, include_extras=True)
    except (NameError, TypeError):
        return {}
    hints.pop("return", None)
    return hints
