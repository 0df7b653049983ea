"""Explainers: one function a method, one file each.

All take tensors and callables, leave the model and the global generators as they were, and refuse with a `ValueError`
that names the argument.
"""

from audit.explainers.attention import AttentionMap, attention, attention_maps
from audit.explainers.attention_gradient import GradientRollout, gradient_rollout
from audit.explainers.attention_heads import head_ablation, head_means
from audit.explainers.attention_rollout import attention_rollout
from audit.explainers.attribution import Attribution, CompletenessError
from audit.explainers.captum_methods import captum
from audit.explainers.concepts import Sensitivity, concepts
from audit.explainers.counterfactuals import Counterfactuals, counterfactuals
from audit.explainers.deep_lift import deep_lift, deep_lift_shap
from audit.explainers.grad_cam import grad_cam
from audit.explainers.gradient_shap import gradient_shap
from audit.explainers.integrated_gradients import integrated_gradients
from audit.explainers.interactions import Interactions, interactions
from audit.explainers.kernel_shap import kernel_shap
from audit.explainers.lime import lime
from audit.explainers.lime_tabular import lime_tabular
from audit.explainers.noise_tunnel import noise_tunnel, smooth_grad
from audit.explainers.occlusion import occlusion
from audit.explainers.saliency import gradient_x_input, saliency

__all__ = [
    "AttentionMap",
    "Attribution",
    "CompletenessError",
    "Counterfactuals",
    "GradientRollout",
    "Interactions",
    "Sensitivity",
    "attention",
    "attention_maps",
    "attention_rollout",
    "captum",
    "concepts",
    "counterfactuals",
    "deep_lift",
    "deep_lift_shap",
    "grad_cam",
    "gradient_rollout",
    "gradient_shap",
    "gradient_x_input",
    "head_ablation",
    "head_means",
    "integrated_gradients",
    "interactions",
    "kernel_shap",
    "lime",
    "lime_tabular",
    "noise_tunnel",
    "occlusion",
    "saliency",
    "smooth_grad",
]
