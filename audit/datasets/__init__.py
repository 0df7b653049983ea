"""Data sets: reading them, encoding tables, and the `Dataset` type every check sees."""

from audit.datasets.looking import DataFacts, look
from audit.datasets.reading import read
from audit.datasets.types import Batch, Dataset, Feature, FeatureKind, Inputs

__all__ = ["Batch", "DataFacts", "Dataset", "Feature", "FeatureKind", "Inputs", "look", "read"]
