"""Quality of explanations: one family of metrics a file, each over all examples and all methods at once.

Attributions are arrays (..., n, players): leading axes hold methods or rankings, so that what they share is measured once.
What the model says without some players comes from a `Value`; `removal` makes one.
"""

from audit.explainers.quality.additive import explained, infidelity, sensitivity_n, sums_and_changes
from audit.explainers.quality.agreement import rank_correlation, top_k_overlap
from audit.explainers.quality.baselines import random_values, shuffled
from audit.explainers.quality.complexity import effective_features, entropy, gini
from audit.explainers.quality.curves import aopc, area, deletion, insertion, states
from audit.explainers.quality.localisation import (
    inside_auroc,
    pointing_game,
    relevance_mass,
    relevance_rank,
    top_k_intersection,
)
from audit.explainers.quality.randomisation import redraw, relearn, weighted_layers
from audit.explainers.quality.removal import Value, removal
from audit.explainers.quality.rewrites import Rewrite, rewrites
from audit.explainers.quality.road import noisy_linear_imputation, road
from audit.explainers.quality.stability import max_sensitivity, relative_distance

__all__ = [
    "Rewrite",
    "Value",
    "aopc",
    "area",
    "deletion",
    "effective_features",
    "entropy",
    "explained",
    "gini",
    "infidelity",
    "insertion",
    "inside_auroc",
    "max_sensitivity",
    "noisy_linear_imputation",
    "pointing_game",
    "random_values",
    "rank_correlation",
    "redraw",
    "relative_distance",
    "relearn",
    "relevance_mass",
    "relevance_rank",
    "removal",
    "rewrites",
    "road",
    "sensitivity_n",
    "shuffled",
    "states",
    "sums_and_changes",
    "top_k_intersection",
    "top_k_overlap",
    "weighted_layers",
]
