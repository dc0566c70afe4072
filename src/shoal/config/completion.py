"""Completion of overrides in a shell: groups, their choices, keys."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra._internal.core_plugins.bash_completion import BashCompletion
from omegaconf import DictConfig, OmegaConf

from shoal.config.compose import PRIMARY, composed
from shoal.errors import ShoalError

_CHOICE = re.compile(r"\+?[\w/]+=[\w/]+")
"""A word that may choose a file of a group, and with it which keys there are."""


def completions(words: Sequence[str], incomplete: str) -> list[str]:
    """What `incomplete` can become after `words`.

    Bash takes a word apart at its equals signs; then only what follows the last of them is given.
    """
    taken_apart = True
    if incomplete == "=" and words:
        incomplete = f"{words[-1]}="
    elif len(words) >= 2 and words[-1] == "=":
        incomplete = f"{words[-2]}={incomplete}"
    else:
        taken_apart = False
    # The words as they were typed, of which bash makes three of each setting.
    whole = " ".join(words).replace(" = ", "=").split()
    choices = _asked([word for word in whole if _CHOICE.fullmatch(word)], incomplete)
    return [choice.partition("=")[2] for choice in choices] if taken_apart else choices


def _asked(chosen: Sequence[str], incomplete: str) -> list[str]:
    """What Hydra offers after these choices; after none of them where they cannot be composed."""
    try:
        with composed(chosen) as found:
            query = BashCompletion(found.hydra.config_loader)
            # Hydra's own answer: there is no public way to it past the environment that a shell sets up.
            offered = query._query(config_name=PRIMARY, line=" ".join([*chosen, incomplete]))
            return [_set_whole(choice, found.config) for choice in offered]
    except ShoalError:
        # A wrong word on the line is no reason to offer nothing for the next one.
        return _asked([], incomplete) if chosen else []


def _set_whole(choice: str, config: DictConfig) -> str:
    """A list is set as a whole; Hydra would go on to its elements."""
    key = choice.removesuffix(".")
    is_list = key != choice and OmegaConf.is_list(OmegaConf.select(config, key))
    return f"{key}=" if is_list else choice
