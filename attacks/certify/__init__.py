"""Certificates: what no attack can do, proved."""

from attacks.certify.intervals import Bounds, certify_intervals
from attacks.certify.smoothing import Certificate, certify_smoothing

__all__ = ["Bounds", "Certificate", "certify_intervals", "certify_smoothing"]
