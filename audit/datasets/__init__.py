"""Data sets: reading them, encoding tables, and the `Dataset` type every check sees."""

from audit.datasets.types import Batch, Dataset, Feature, FeatureKind, Inputs

__all__ = ["Batch", "Dataset", "Feature", "FeatureKind", "Inputs"]
