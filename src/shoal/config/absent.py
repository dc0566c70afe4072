"""What would be right in the place of a setting that is not there, by the configuration without it."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from shoal.errors import nearest, suggestion

MANY = 20
"""At most so many names are listed if one of them is near the one that was typed."""


def is_null(key: str, config: DictConfig) -> bool:
    """Whether a setting is there and has no value, which Hydra does not tell from one that is not there."""
    parent, _, name = key.rpartition(".")
    above = OmegaConf.select(config, parent) if parent else config
    return isinstance(above, DictConfig) and name in above and above.get(name) is None


def how_to_add(key: str, value: str, config: DictConfig) -> str | None:
    """How a setting is added where a class of somebody else may take more of them, or where there is nothing yet."""
    if key.startswith("hydra."):
        return None  # whose plugins take no more than they have
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if node is None and parent and is_null(parent, config):
        return (
            f"{parent} is null: +{key}={value} begins it" if name == "_target_" else f"first +{parent}._target_=CLASS"
        )
    if not isinstance(node, DictConfig) or nearest(name, map(str, node)):
        return None
    home = str(node["_target_"]) if "_target_" in node else ""  # not where it is still to be given
    return f"+{key}={value} adds it for {home}" if home and not home.startswith("shoal.") else None


def neighbors(key: str, config: DictConfig) -> str:
    """The valid names in the place of a wrong one."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if node is None:
        return neighbors(parent, config)
    if not isinstance(node, DictConfig):
        return f"{parent} is a value, not a group of settings"
    names = {str(each) for each in node if each not in ("hydra", "_target_")}
    if not parent and "hydra" in config:
        names |= {str(group) for group in config.hydra.runtime.choices if not str(group).startswith("hydra")}
    # Forty names of a Trainer's arguments help nobody who has mistyped one.
    if len(names) > MANY and (guess := nearest(name, names)):
        return f"did you mean {guess}?"
    return suggestion(name, names) if names else f"{parent} has no settings"
