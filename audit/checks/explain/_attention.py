"""Methods that read attention maps. Imports torch."""

from __future__ import annotations

import numpy as np

from audit import explainers
from audit.checks.explain._attributions import Attributions, Request, Values
from audit.checks.explain._players import groups_of, log_odds, names_of


def from_attention(name: str, request: Request) -> Attributions:
    """Attributions by a method of attention; it has neither sign nor base."""
    subject, data = request.subject, request.data
    names = names_of(groups_of(subject, data, request.background), len(data))
    values = _rollout(request)
    nothing = np.full(len(data), np.nan)
    full = log_odds(subject.scores(data), request.targets).double().numpy()
    return Attributions(name, values, values, values, names, nothing, full, 0)


def _rollout(request: Request) -> Values:
    """How much of each word reaches the position the head reads: a leading special token, else the last token."""
    text, device = request.subject.text, request.subject.device
    assert text is not None and isinstance(request.data.inputs, list)
    encoded = text.encode(request.data.inputs)
    where = {"input_ids": encoded.ids.to(device), "attention_mask": encoded.mask.to(device)}
    joint = explainers.attention_rollout(request.subject.model, where).cpu().numpy()
    values = []
    for row, (ids, mask) in enumerate(zip(encoded.ids.tolist(), encoded.mask.bool().cpu().numpy(), strict=True)):
        real = np.flatnonzero(mask)
        query = real[0] if ids[real[0]] in text.special_ids else real[-1]
        words = [position for position in real if ids[position] not in text.special_ids]
        values.append(joint[row, query, words])
    return tuple(values)
