"""Policies shipped with the audit, one YAML file each."""
