"""Certificates: what no attack can do, proved."""

from attacks.certify.smoothing import Certificate, certify_smoothing

__all__ = ["Certificate", "certify_smoothing"]
