"""Attacks that see scores or decisions only; one paper a file."""
