"""The only place that knows Hydra and OmegaConf: from a command line, or a list of overrides, to a trained run."""
