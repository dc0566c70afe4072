"""Runs that lie in their directories, as live objects again."""
