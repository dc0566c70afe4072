"""Whether a value is allowed for a setting: as the annotation of the constructor's parameter says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from shoal.build.annotations import NotAllowedError, choices, coerced, in_words, with_tensors
from shoal.errors import ConfigError, nearest, shown


def setting(value: Any, key: str, annotation: Any, example: Callable[[], str]) -> Any:
    """A single setting as its annotation has it.

    Raises:
        ConfigError: where the annotation does not allow it.
    """
    try:
        return with_tensors(value, annotation)
    except NotAllowedError:
        words = choices(annotation)
        guess = nearest(str(value), words) if words else None
        instance = example()
        hint = f"for example {key}={instance}" if instance != shown(value) else None
        hint = f"did you mean {guess}?" if guess else hint
        # `2021` in YAML is a number, also where it is meant for a column's name.
        hint = f"""for the text: '{key}="{value}"'""" if _means_text(value, annotation) else hint
        hint = f"""for a list of one: '{key}=["{value}"]'""" if _means_list(value, annotation) else hint
        raise ConfigError(key, value, f"must be {in_words(annotation)}", hint=hint) from None


def _means_list(value: Any, annotation: Any) -> bool:
    """Whether a text would do as the only one of a list."""
    with suppress(NotAllowedError):
        return isinstance(value, str) and list(coerced([value], annotation)) == [value]
    return False


def _means_text(value: Any, annotation: Any) -> bool:
    """Whether the digits of a number would do as a text: those of a column that is called 2021."""
    try:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and coerced(str(value), annotation) == str(value)
        )
    except NotAllowedError:
        return False
