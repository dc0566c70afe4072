"""What a constructor's annotation allows, as a check and as words."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

_NOUNS = {Any: "anything", float: "a number", int: "an integer", bool: "true or false", str: "a text"}
_EXAMPLES: dict[Any, str] = {float: "1.0", int: "1", bool: "true", str: "NAME"}
_PLURALS = {"a number": "numbers", "an integer": "integers", "a text": "texts"}


_SCALAR = (bool, int, float, str, type(None))


class NotAllowedError(ValueError):
    """A value that its annotation does not allow."""


def coerced(value: Any, annotation: Any) -> Any:
    """The configuration value `value` as its annotation has it: a list as a tuple, an integer as a float.

    Raises:
        NotAllowedError: where the annotation does not allow it.
    """
    if isinstance(value, _SCALAR):
        # By its type too: 1, 1.0 and true are equal.
        return _coerced_scalar(value, type(value).__name__, annotation)
    return _coerced(value, annotation)


@lru_cache(maxsize=4096)
def _coerced_scalar(value: Any, kind: str, annotation: Any) -> Any:
    """The same, of a value that no one can change: hundreds of jobs have the same ones."""
    del kind
    return _coerced(value, annotation)


def _coerced(value: Any, annotation: Any) -> Any:
    check = _check(annotation)
    if check is None:
        return value
    try:
        # As JSON, whose strict check takes a list for a tuple and an integer for a float, but no text for a number.
        return check(json.dumps(value))
    except ValidationError as error:
        raise NotAllowedError(str(error)) from None


@lru_cache(maxsize=512)
def _check(annotation: Any) -> Callable[[str], Any] | None:
    """Pydantic's check of an annotation; None where the annotation is of a kind no configuration value can have."""
    # What has certain methods, as of `numpy.typing.ArrayLike`: a list is made an array of, and has none of them.
    if any(getattr(_origin(kind), "_is_protocol", False) for kind in _alternatives(annotation)):
        return None
    rules = ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True)
    try:
        return partial(TypeAdapter(annotation, config=rules).validate_json, strict=True)
    except (PydanticSchemaGenerationError, PydanticUserError, TypeError):
        return None


@lru_cache(maxsize=64)
def _check_of_object(annotation: Any) -> Callable[[Any], Any] | None:
    """Pydantic's check of a live object; None as for `_check`."""
    rules = ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True)
    try:
        return partial(TypeAdapter(annotation, config=rules).validate_python, strict=True)
    except (PydanticSchemaGenerationError, PydanticUserError, TypeError):
        return None


def accepts(value: Any, annotation: Any) -> bool:
    """Whether an object that a node built is what the annotation of its setting asks for."""
    check = _check_of_object(annotation)
    try:
        # No check gives `...`: it is true wherever the call does not raise.
        return check is None or check(value) is not ...
    except ValidationError:
        return False


def names_callable(annotation: Any, value: Any) -> bool:
    """Whether a value is the path of what its annotation wants: a class or a function."""
    return isinstance(value, str) and "." in value and any(map(_is_callable, _alternatives(annotation)))


def with_tensors(value: Any, annotation: Any) -> Any:
    """The same as `coerced`, with a tensor for each list that can only be meant for one, at whatever depth.

    Raises:
        NotAllowedError: where the annotation does not allow the value.
    """
    if not isinstance(value, list | dict):
        return coerced(value, annotation)
    kinds = list(_alternatives(annotation))
    for kind in filter(_holds_tensors, kinds):
        with suppress(NotAllowedError):
            return _filled(value, kind)
    # A list that could be another kind's stays a list: `Tensor | Sequence[int]`.
    others = [_origin(kind) for kind in kinds if not _holds_tensors(kind)]
    listed = any(isinstance(kind, type) and issubclass(kind, Sequence) for kind in others)
    if isinstance(value, list) and not listed and any(map(_is_tensor, kinds)):
        return tensor(value)
    return coerced(value, annotation)


def _holds_tensors(kind: Any) -> bool:
    """Whether it is a kind of list or dictionary with tensors in it."""
    within = [part for each in get_args(kind) for part in _alternatives(each)]
    return any(_is_tensor(part) or _holds_tensors(part) for part in within)


def _filled(value: list[Any] | dict[str, Any], kind: Any) -> Any:
    """A list or a dictionary of this kind, its tensors made."""
    origin, parts = _origin(kind), get_args(kind)
    if isinstance(value, dict) and issubclass(origin, Mapping):
        return {name: with_tensors(each, parts[-1]) for name, each in value.items()}
    if isinstance(value, dict) or not issubclass(origin, Collection) or issubclass(origin, Mapping):
        raise NotAllowedError(str(kind))
    # `tuple[Tensor, Tensor]` says each, and all other kinds one for all.
    each_kind = parts if origin is tuple and Ellipsis not in parts else parts[:1] * len(value)
    if len(each_kind) != len(value):
        raise NotAllowedError(str(kind))
    made = [with_tensors(each, part) for each, part in zip(value, each_kind, strict=True)]
    return tuple(made) if origin is tuple else made


def tensor(values: list[Any]) -> Any:
    """The numbers of a list as a tensor of floating point.

    Raises:
        NotAllowedError: where it holds something else, or rows of different lengths.
    """
    import torch  # late: what only looks at a configuration goes without

    try:
        return torch.tensor(values, dtype=torch.get_default_dtype())
    except (ValueError, TypeError) as error:
        raise NotAllowedError(str(error)) from None


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The kinds of value that an annotation allows one of."""
    kind, _ = _parts(annotation)
    if get_origin(kind) in (Union, types.UnionType):
        for part in get_args(kind):
            yield from _alternatives(part)
    else:
        yield kind


def _origin(kind: Any) -> Any:
    return get_origin(kind) or kind


def _is_callable(kind: Any) -> bool:
    return _origin(kind) in (type, Callable)


def _is_tensor(kind: Any) -> bool:
    # By its name, so that nobody has to import torch to ask.
    return isinstance(kind, type) and (kind.__module__, kind.__name__) == ("torch", "Tensor")


def in_words(annotation: Any) -> str:
    """The annotation in words: `a number greater than 0`, `a list of integers of at least 1`, `relu, tanh or elu`."""
    kind, limits = _parts(annotation)
    words = _kind(kind)
    for limit in limits:
        words += _limit(limit)
    return words


def choices(annotation: Any) -> list[str]:
    """The words an annotation allows, where it allows only some."""
    kind, _ = _parts(annotation)
    if get_origin(kind) is Literal:
        return [str(word) for word in get_args(kind)]
    if get_origin(kind) in (Union, types.UnionType):
        return [word for part in get_args(kind) for word in choices(part)]
    return []


def example(annotation: Any) -> str:
    """A value that the annotation allows, as one types it: its first word, its smallest number, null."""
    kind, limits = _parts(annotation)
    words = choices(annotation)
    if words:
        return words[0]
    for limit in limits:
        # Of a limit that excludes its end no number is the smallest.
        least = getattr(limit, "ge", None)
        if least is not None:
            return str(least)
    if get_origin(kind) is Mapping:
        return f"{{NAME:{example(get_args(kind)[1])}}}"
    if get_origin(kind) is Sequence:
        return f"[{example(get_args(kind)[0])}]"
    return _EXAMPLES.get(kind, "null")


def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(annotation) is Annotated:
        kind, *limits = get_args(annotation)
        return kind, tuple(limits)
    return annotation, ()


def _kind(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is type(None):
        return "null"
    if _is_callable(kind):
        return "a class or function, as module.Name"
    if _is_tensor(kind):
        return "a list of numbers"
    if origin is Literal:
        return _joined(str(part) for part in parts)
    if origin in (Union, types.UnionType):
        return _joined(word for part in parts for word in (choices(part) or [in_words(part)]))
    if origin in (tuple, list, Sequence) and parts:
        return _sequence(parts)
    if origin in (dict, Mapping) and parts:
        return f"{in_words(parts[1])} for each name"
    return _NOUNS.get(kind) or f"a {getattr(kind, '__name__', str(kind))}"


def _sequence(parts: tuple[Any, ...]) -> str:
    # `tuple[int, ...]`: as many as one likes.
    items = [part for part in parts if part is not Ellipsis]
    text = in_words(items[0])
    for singular, plural in _PLURALS.items():
        text = text.replace(singular, plural)
    if Ellipsis not in parts and len(items) > 1:
        return f"a list of {len(items)} {text}"
    return f"a list of {text}"


def _joined(words: Iterable[str]) -> str:
    # Once each: two kinds may be the same in words.
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} or {last}" if first else last


def _limit(limit: Any) -> str:
    match limit:
        case at.Gt(gt):
            return f" greater than {gt}"
        case at.Ge(ge):
            return f" of at least {ge}"
        case at.Lt(lt):
            return f" less than {lt}"
        case at.Le(le):
            return f" of at most {le}"
        case at.Interval(gt=gt, ge=ge, lt=lt, le=le):
            low = f"{ge}" if ge is not None else f"above {gt}"
            high = f"{le}" if le is not None else f"below {lt}"
            return f" from {low} to {high}"
        case at.MinLen(n):
            return f", at least {n} of them"
    return ""
