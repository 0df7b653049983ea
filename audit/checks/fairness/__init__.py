"""Whom the model treats worse."""
