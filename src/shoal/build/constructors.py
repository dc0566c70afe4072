"""Configuration nodes: the constructor that a node names says which settings are valid; checked, then called."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from shoal.aliases import of_the_other
from shoal.build.annotations import (
    NotAllowedError,
    accepts,
    coerced,
    example,
    in_words,
    names_callable,
)
from shoal.build.dotted_path import NOT_A_PATH, located
from shoal.build.hydra_keys import ARGS, OWN, PARTIAL, TARGET, Keys
from shoal.build.named_constructor import Constructor, constructor
from shoal.build.setting_check import setting
from shoal.errors import NO_SUCH_SETTING, ConfigError, ShoalError, brief, raised_at, shown, suggestion

MISSING = "???"
"""What a file has in the place of a value that must be given."""


def build(node: Mapping[str, Any], key: str) -> Any:
    """The object that a node describes, or with `_partial_` the function that makes it; nodes within it come first.

    Raises:
        ConfigError: where the node names no class, or a setting is unknown, missing or not allowed.
    """
    made = target(node, key)
    places, settings = _given(node, key, made)
    if Keys.of(node, key).partial:
        return functools.partial(made.call, *places, **settings)
    try:
        return made.call(*places, **settings)
    except ConfigError as error:
        # A constructor knows its settings, but not in which node they stand.
        raise error.at(key=f"{key}.{error.key}") from None
    except ShoalError:
        raise
    # Whatever the user's own constructor raises: its place is told, and the key that led to it.
    except Exception as error:
        problem = f"cannot be made: {brief(error)} ({raised_at(error)})"
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
    """The settings of a node as its constructor has them, by their names.

    Raises:
        ConfigError: where a setting is unknown, missing, not allowed, or has no name.
    """
    places, settings = _given(node, key, made)
    if places:
        raise ConfigError(f"{key}.{ARGS}", node[ARGS], "must be given by their names here")
    return settings


def called(node: Mapping[str, Any], key: str, made: Constructor) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What a node calls, what it gives by place already in its place, and the settings that it gives by name.

    Raises:
        ConfigError: where a setting is unknown, missing or not allowed.
    """
    places, settings = _given(node, key, made)
    return functools.partial(made.call, *places) if places else made.call, settings


def _given(node: Mapping[str, Any], key: str, made: Constructor) -> tuple[list[Any], dict[str, Any]]:
    """The values that a node gives by place, and those that it gives by name.

    A value whose parameter has a name is given by it, unless further values follow by place.
    """
    keys = Keys.of(node, key)
    given = {name: value for name, value in node.items() if name not in OWN}
    named = _by_place(keys.args, given, key, made)
    for name, value in given.items():
        # A constructor with `**kwargs` takes any name: only it knows what is wrong.
        if name not in made.parameters and not made.open:
            raise ConfigError(f"{key}.{name}", value, NO_SUCH_SETTING, hint=suggestion(name, made.parameters))
    for name in made.required:
        # Of a partial one somebody else gives the rest.
        if (given | named).get(name, MISSING) == MISSING and not keys.partial:
            annotation = made.hints.get(name, str)
            hint = f"for example {key}.{name}={example(annotation)}"
            raise ConfigError(f"{key}.{name}", MISSING, f"must be given: {in_words(annotation)}", hint=hint)
    wanted = _Wanted(made, keys.recursive)
    settings = {name: wanted.value(value, f"{key}.{name}", name) for name, value in (named | given).items()}
    further = keys.args[len(named) :]
    rest = [wanted.value(value, f"{key}.{ARGS}[{i}]", made.rest or "") for i, value in enumerate(further, len(named))]
    followed = bool(rest) or keys.partial  # who calls what is still to be called goes on by place
    only = [name for name in named if followed or made.parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY]
    return [settings.pop(name) for name in only] + rest, settings


def _by_place(args: Sequence[Any], given: Mapping[str, Any], key: str, made: Constructor) -> dict[str, Any]:
    """The names of the values that are given by place, as far as the parameters have names.

    Raises:
        ConfigError: where there are more of them than places, or one is given by its name too.
    """
    if len(args) > len(made.places) and made.rest is None:
        raise ConfigError(f"{key}.{ARGS}", list(args), f"are {len(args)}, and it takes {len(made.places)} by place")
    named = dict(zip(made.places, args, strict=False))
    for name in named:
        if name not in made.parameters or name in given:
            whose = "its name too" if name in given else "shoal"
            raise ConfigError(f"{key}.{ARGS}", list(args), f"give {name}, which is given by {whose}")
    return named


@dataclass(frozen=True)
class _Wanted:
    """What a constructor makes of the values of a configuration."""

    made: Constructor
    recursive: bool
    """Whether nodes among them are built."""

    def value(self, value: Any, key: str, name: str) -> Any:
        """The value for the parameter `name`.

        Raises:
            ConfigError: where its annotation does not allow it.
        """
        hint = self.made.hints.get(name)
        # A parameter that takes a function without arguments makes its object itself, as often as it likes.
        kind = _made_by(hint)
        if kind and (value is not None or name in self.made.required):
            return _factory(value, key, kind)
        if _has_node(value) and self.recursive:
            return self._built(value, key, name)
        if hint is None or _has_node(value) or self._unset(value, name):
            return value
        # A path in the place of a class is imported; `functions` lists these for `trust`.
        if names_callable(hint, value):
            return _callable(value, key)
        if self._contradicts(name, hint):
            return value
        return setting(value, key, hint, lambda: _example(name, self.made))

    def _contradicts(self, name: str, hint: Any) -> bool:
        """Whether the annotation does not even allow the default: then it is no guide to what is allowed."""
        parameter = self.made.parameters.get(name)
        default = None if parameter is None else parameter.default
        if not isinstance(default, bool | int | float | str):
            return False
        try:
            return coerced(default, hint) is ...
        except NotAllowedError:
            return True

    def _unset(self, value: Any, name: str) -> bool:
        """Whether it is the default, though the annotation does not say that None is one."""
        parameter = self.made.parameters.get(name)
        return value is None and parameter is not None and parameter.default is None

    def _built(self, value: Any, key: str, name: str) -> Any:
        built = _within(value, key)
        hint = self.made.hints.get(name)
        # Compared once it is built: a function may give what its annotation does not say.
        if hint is None or _is_partial(value) or accepts(built, hint):
            return built
        problem = f"does not give what {name} must be: {in_words(hint)}"
        if isinstance(value, Mapping) and TARGET in value:
            raise ConfigError(f"{key}.{TARGET}", value[TARGET], problem)
        raise ConfigError(key, "[...]" if isinstance(value, list) else "{...}", problem)


def functions(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings of a node that are paths of classes or functions, which would be imported, by their names."""
    try:
        made = constructor(str(node[TARGET]))
    except ValueError:
        return
    places = itertools.chain(made.places, itertools.repeat(made.rest))
    args = node.get(ARGS)
    for name, value in [*node.items(), *zip(places, args if isinstance(args, list) else (), strict=False)]:
        hint = made.hints.get(str(name))
        if hint is not None and names_callable(hint, value):
            yield str(name), str(value)


def _has_node(value: Any) -> bool:
    """Whether a value is a node or has one in it."""
    if isinstance(value, Mapping):
        return TARGET in value or any(map(_has_node, value.values()))
    return isinstance(value, list) and any(map(_has_node, value))


def _is_partial(value: Any) -> bool:
    """Whether it is a node whose object the class makes itself: its annotation may be that of the object."""
    return isinstance(value, Mapping) and bool(value.get(PARTIAL))


def _within(value: Any, key: str) -> Any:
    """The value, the nodes in it built."""
    if isinstance(value, list):
        return [_within(each, f"{key}[{i}]") for i, each in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if TARGET in value:
        return build(value, key)
    return {name: _within(each, f"{key}.{name}") for name, each in value.items()}


def _callable(path: str, key: str) -> Any:
    """The class or function that a setting names, as relu or torch.nn.ReLU."""
    try:
        return located(path)
    except ValueError as error:
        raise ConfigError(key, path, str(error)) from None


@functools.lru_cache(maxsize=512)
def _made_by(annotation: Any) -> type | None:
    """The class that a parameter's function has to return, where the parameter wants a function without arguments."""
    for kind in (annotation, *get_args(annotation)):
        takes, gives = get_args(kind) if get_origin(kind) is Callable and get_args(kind) else (None, None)
        if takes == [] and isinstance(gives, type):
            return gives
    return None


def _path(value: Any) -> str:
    """The path of a class: the value itself where it is one."""
    return value if isinstance(value, str) and "." in value else "my_module.My"


def _factory(node: Any, key: str, kind: type) -> Callable[[], Any]:
    """What builds a node anew at each call.

    Raises:
        ConfigError: where it would not build one of `kind`.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(key, node, "must be a node with a _target_", hint=f"for example {key}._target_={_path(node)}")
    if Keys.of(node, key).partial:
        raise ConfigError(f"{key}.{PARTIAL}", True, "has no effect here: it is made when the training begins")
    made = target(node, key)
    if isinstance(made.call, type) and not issubclass(made.call, kind):
        other = of_the_other(made.call)
        hint = f"it is one of {other}, which was imported before shoal: import shoal first" if other else None
        raise ConfigError(f"{key}.{TARGET}", node[TARGET], f"is not a {kind.__name__}", hint=hint)
    # Now, though it is built later: what is wrong with it is told before anything trains.
    called(node, key, made)
    return functools.partial(build, node, key)


def _example(name: str, made: Constructor) -> str:
    """A value that is allowed: the default where it is one, else what the annotation's limits suggest."""
    parameter = made.parameters.get(name)
    default = None if parameter is None else parameter.default
    return example(made.hints[name]) if default in (inspect.Parameter.empty, None) else shown(default)
