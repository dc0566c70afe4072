"""Experiments with small PyTorch models: one run or hundreds, from configuration."""
