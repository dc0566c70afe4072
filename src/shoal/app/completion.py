"""Completion of overrides in a shell: groups, their choices, keys."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.bash_completion import BashCompletion

from shoal.app.compose import PRIMARY, composed


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
    with composed([]) as found:
        query = BashCompletion(found.hydra.config_loader)
        choices = query._query(config_name=PRIMARY, line=incomplete)
    return [choice.partition("=")[2] for choice in choices] if taken_apart else choices
