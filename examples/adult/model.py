"""A small multilayer perceptron on the encoded census columns."""

from torch import nn

INPUTS = 86  # columns after encoding; encoder.json says which


def build() -> nn.Module:
    """Return the untrained network: (n, 86) encoded rows -> (n, 2) logits for "<=50K" and ">50K"."""
    return nn.Sequential(
        nn.Linear(INPUTS, 64),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(32, 2),
    )
