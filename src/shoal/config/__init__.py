"""Text to plain values: what a user typed and the YAML files say, composed by Hydra. Nothing below knows Hydra."""
