"""Hardening: adversarial training, one concern a file."""

from attacks.defence.hardening import Hardened, harden
from attacks.defence.training import Epoch, Progress

__all__ = ["Epoch", "Hardened", "Progress", "harden"]
