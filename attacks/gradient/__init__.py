"""Attacks that follow the gradient; one paper a file."""
