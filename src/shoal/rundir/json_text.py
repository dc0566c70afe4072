"""Values as JSON, which has no word for nan and inf."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

_AS_THEY_ARE = (str, int, bool, type(None))


def json_text(value: Any, *, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    """The value as JSON, with "nan", "inf" or "-inf" as texts, and dataclasses by the names of their fields.

    `default` says what is made of other objects.
    """
    # What `default` gives is not looked through: a nan in it is an error, and not a file that others cannot read.
    return json.dumps(_with_texts(value), indent=indent, ensure_ascii=False, allow_nan=False, default=default)


def _with_texts(value: Any) -> Any:
    # First, since nearly all values are these: sweep.json of a large sweep is written again and again.
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if is_dataclass(value):
        return {each.name: _with_texts(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: _with_texts(each) for key, each in value.items()}
    return [_with_texts(each) for each in value] if isinstance(value, list | tuple) else value
