"""Compiled kernels: stretches of a step as functions in C, done run by run, with the numbers of torch's operations."""
