"""Attacks on trained models, and a verdict on whether their result can be trusted.

A leaf: it needs torch and numpy, and knows nothing of `audit` or `reports`.
"""

from attacks.certify import Bounds, Certificate, certify_intervals, certify_smoothing
from attacks.control import Control
from attacks.corruptions import CORRUPTIONS, corrupt
from attacks.curve import Curve, curve
from attacks.defence import Hardened, harden
from attacks.evaluate import Evaluation, evaluate
from attacks.gradient.apgd import apgd
from attacks.gradient.carlini_wagner import carlini_wagner
from attacks.gradient.deepfool import deepfool
from attacks.gradient.fgsm import fgsm
from attacks.gradient.fmn import fmn
from attacks.gradient.pgd import pgd
from attacks.masking import Finding
from attacks.minimal import Minimal, minimal
from attacks.query.boundary import boundary
from attacks.query.hop_skip_jump import hop_skip_jump
from attacks.query.square import square
from attacks.spatial import Moved, Patched, Universal, patch, rotate_translate, universal_patch
from attacks.tabular import Category, Number, Table, TableSearch, series_noise, table_search, tabular_noise
from attacks.text import TextSearch, case_noise, punctuation_noise, text_search, typos, word_noise
from attacks.threat import Norm, Threat

__all__ = [
    "CORRUPTIONS",
    "Bounds",
    "Category",
    "Certificate",
    "Control",
    "Curve",
    "Evaluation",
    "Finding",
    "Hardened",
    "Minimal",
    "Moved",
    "Norm",
    "Number",
    "Patched",
    "Table",
    "TableSearch",
    "TextSearch",
    "Threat",
    "Universal",
    "apgd",
    "boundary",
    "carlini_wagner",
    "case_noise",
    "certify_intervals",
    "certify_smoothing",
    "corrupt",
    "curve",
    "deepfool",
    "evaluate",
    "fgsm",
    "fmn",
    "harden",
    "hop_skip_jump",
    "minimal",
    "patch",
    "pgd",
    "punctuation_noise",
    "rotate_translate",
    "series_noise",
    "square",
    "table_search",
    "tabular_noise",
    "text_search",
    "typos",
    "universal_patch",
    "word_noise",
]
