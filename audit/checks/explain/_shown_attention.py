"""Attention as figures: words shaded beside what removing them changes, and heads to browse. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from audit import explainers
from audit.checks.explain import _heads
from audit.explaining.attention import Portion, portions
from audit.explaining.examples import Examples
from audit.subject import Subject
from reports.record import Figure, Head, HeadLayer, Heads, TokenLine, Tokens

Floats = NDArray[np.float64]

#: words of a text that is shown, and how many are
FEWEST, LONGEST, SHOWN = 4, 22, 2
#: numbers in the grid of heads, which keeps the record small
NUMBERS = 14_000


def texts(
    subject: Subject,
    chosen: Examples,
    parts: Sequence[Portion],
    values: Mapping[str, Sequence[Floats]],
    changes: Sequence[Floats],
) -> tuple[Figure, ...]:
    """A few short texts, shaded by attention and by what removal changes."""
    lines = []
    for row in _short(parts)[:SHOWN]:
        names = _tokens(subject, chosen, row, words_only=True)
        answer = subject.classes[int(chosen.targets[row])]
        for caption, of_words in (
            ("attention rollout", values["attention_rollout"][row]),
            ("gradient rollout", values["gradient_rollout"][row]),
            (f"change in the log-odds of {answer} without the word", changes[row]),
        ):
            largest = float(np.abs(of_words).max()) or 1.0
            weights = tuple(round(float(w) / largest, 3) for w in of_words)
            lines.append(TokenLine(caption=f"{caption}, largest {largest:.3g}", tokens=names, weights=weights))
    if not lines:
        return ()
    return (
        Tokens(
            title="Attention beside what removing a word changes",
            lines=tuple(lines),
            colours=("looked at, or speaks for the predicted class", "speaks against it"),
            note="The first two lines of each text are attention, which has no sign; the third is what happens. Each line is "
            "scaled by its own largest value.",
        ),
    )


def grid(subject: Subject, chosen: Examples, parts: Sequence[Portion], heads: _heads.Heads) -> tuple[Figure, ...]:
    """Every head on one short text; where that is too much, those whose silence changes most."""
    short = _short(parts)
    if not short:
        return ()
    row = short[0]
    (part,) = portions(subject, chosen.rows.take([row]), chosen.targets[row : row + 1])
    real = np.flatnonzero(part.real[0])
    size = np.nan_to_num(np.abs(heads.effect).mean(axis=0), nan=-1.0)
    shown = set(np.argsort(-size, kind="stable")[: max(1, NUMBERS // len(real) ** 2)].tolist())
    layers, index = [], 0
    for number, layer in enumerate(explainers.attention_maps(subject.model, part.inputs), start=1):
        own = []
        for head, weights in enumerate(layer.weights[0].double().numpy()[:, real][:, :, real], start=1):
            if index in shown:
                rows = tuple(tuple(round(float(w), 3) for w in line) for line in weights)
                own.append(Head(label=f"head {head}", weights=rows, note=_note(heads, index)))
            index += 1
        if own:
            layers.append(HeadLayer(label=f"layer {number}", heads=tuple(own)))
    left = index - len(shown)
    return (
        Heads(
            title="Attention heads on one text",
            tokens=_tokens(subject, chosen, row, words_only=False),
            layers=tuple(layers),
            note="Rows look, columns are looked at. "
            + (f"{left} heads whose silence changes less are left out. " if left > 0 else "")
            + "Where a head looks says nothing of its effect: that is beside it.",
        ),
    )


def _note(heads: _heads.Heads, index: int) -> str:
    looked = f"looks at {heads.tokens[:, index].mean():.1f} tokens"
    change = float(np.abs(heads.effect[:, index]).mean())
    return f"{looked}; silenced, log-odds change by {change:.2g}" if np.isfinite(change) else f"{looked}; not silenced"


def _short(parts: Sequence[Portion]) -> list[int]:
    """Texts of a length to be shown."""
    return [
        row
        for part in parts
        for row, words in zip(part.rows, part.words, strict=True)
        if FEWEST <= len(words) <= LONGEST
    ]


def _tokens(subject: Subject, chosen: Examples, row: int, words_only: bool) -> tuple[str, ...]:
    (part,) = portions(subject, chosen.rows.take([row]), chosen.targets[row : row + 1])
    assert subject.text is not None
    ids = part.inputs["input_ids"][0].cpu().numpy()
    kept = part.words[0] if words_only else np.flatnonzero(part.real[0])
    return subject.text.tokens(ids[kept].tolist())
