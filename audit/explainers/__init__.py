"""Explainers: one function a method, one file each.

All take tensors and callables, leave the model and the global generators as they were, and refuse with a `ValueError`
that names the argument.
"""

from audit.explainers.attention import attention, attention_rollout
from audit.explainers.attribution import Attribution, CompletenessError
from audit.explainers.integrated_gradients import integrated_gradients
from audit.explainers.kernel_shap import kernel_shap
from audit.explainers.lime import lime
from audit.explainers.saliency import gradient_x_input, saliency

__all__ = [
    "Attribution",
    "CompletenessError",
    "attention",
    "attention_rollout",
    "gradient_x_input",
    "integrated_gradients",
    "kernel_shap",
    "lime",
    "saliency",
]
