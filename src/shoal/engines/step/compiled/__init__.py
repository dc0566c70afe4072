"""Compiled kernels: chains of pointwise operations as one loop each in C, with the numbers of the operations."""
