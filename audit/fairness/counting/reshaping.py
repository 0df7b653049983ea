"""Cubes from cubes: one class against the rest, fewer attributes, sums, and small groups hidden."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import DataError, nearest
from audit.fairness.counting import suppression
from audit.fairness.counting.encoding import Codes
from audit.fairness.counting.grouping import Levels, arrange

if TYPE_CHECKING:
    from audit.fairness.counting.cube import Cube

#: what the classes other than the one looked at are called
REST = "other classes"
#: the one group of `Cube.overall`
ALL = "all"


def against(cube: Cube, at: int) -> Cube:
    """See `Cube.against`; `at` is the class's index."""
    k = len(cube.classes)
    if k == 2:
        return replace(cube, positive=at)
    fold = np.zeros((2, k))
    fold[:, :] = np.arange(k) == at
    fold[0] = 1 - fold[0]
    pairs = np.kron(fold, fold)
    return replace(
        cube,
        classes=(REST, cube.classes[at]),
        positive=1,
        counts=fold @ cube.counts @ fold.T,
        squares=fold @ cube.squares @ fold.T,
        rows=np.rint(fold @ cube.rows @ fold.T).astype(np.int64),
        moments=None if cube.moments is None else pairs @ cube.moments @ pairs.T,
    )


def marginal(cube: Cube, names: Sequence[str], single: bool) -> Cube:
    """See `Cube.marginal`."""
    for name in names:
        if name not in cube.attributes:
            raise DataError(f"Expected an attribute of the cube, found {name!r}{nearest(name, cube.attributes)}")
    if not names or len(set(names)) < len(names):
        raise DataError(f"Expected attributes that differ, at least one, found {list(names)}.")
    at = [cube.attributes.index(name) for name in names]
    parts = [[key[i] for key in cube.groups] for i in at]  # type: ignore[index]  # keys of attributes are tuples
    declared = [_declared(cube)[i] for i in at]
    return _regrouped(cube, parts, declared, () if single else tuple(names), "marginal")


def overall(cube: Cube) -> Cube:
    """See `Cube.overall`."""
    return _regrouped(cube, [[ALL] * len(cube.groups)], [()], (), "overall")


def add(one: Cube, other: Cube) -> Cube:
    """See `Cube.__add__`."""
    for what in ("classes", "positive", "attributes"):
        mine, yours = getattr(one, what), getattr(other, what)
        if mine != yours:
            raise DataError(
                f"Expected cubes of the same {what}, found {mine!r} and {yours!r}; try declaring classes and positive "
                "for both."
            )
    if one.moments is not None or other.moments is not None:
        raise DataError(
            "Expected cubes without clusters, found some whose clusters may have rows in both; try Cube.scan over all "
            "batches, which keeps a cluster together."
        )
    _refuse_hidden(one, "+")
    _refuse_hidden(other, "+")
    both = replace(
        one,
        groups=one.groups + other.groups,
        counts=np.concatenate([one.counts, other.counts]),
        squares=np.concatenate([one.squares, other.squares]),
        rows=np.concatenate([one.rows, other.rows]),
    )
    declared = [tuple(dict.fromkeys(a + b)) for a, b in zip(_declared(one), _declared(other), strict=True)]
    parts = list(zip(*both.groups, strict=True)) if one.attributes else [both.groups]
    return _regrouped(both, parts, declared, one.attributes, "+")


def unclustered(cube: Cube, what: str) -> Cube:
    """The cube itself, for what takes rows to be independent.

    Raises:
        DataError: it has clusters, so that intervals would be too narrow.
    """
    if cube.moments is not None:
        raise DataError(f"Expected independent rows for {what}, found clusters; try one row a cluster.")
    return cube


def suppressed(cube: Cube, least: int) -> Cube:
    """See `Cube.suppressed`."""
    if least < 1:
        raise DataError(f"Expected least to be at least 1 row, found {least}.")
    size = cube.rows.sum((1, 2))
    small = (size > 0) & (size < least)
    gone = suppression.hidden(size, suppression.lines(_codes(cube)), least)
    reasons = {
        group: f"fewer than {least} rows, suppressed against re-identification"
        if few
        else f"suppressed so that a group of fewer than {least} rows cannot be recovered from the total"
        for group, few, hidden in zip(cube.groups, small, gone, strict=True)
        if hidden
    }
    shown = ~gone

    def keep(values: NDArray[Any]) -> NDArray[Any]:
        return np.where(shown.reshape(-1, *[1] * (values.ndim - 1)), values, values.dtype.type(0))

    return replace(
        cube,
        counts=keep(cube.counts),
        squares=keep(cube.squares),
        rows=keep(cube.rows),
        moments=None if cube.moments is None else keep(cube.moments),
        clusters=None if cube.clusters is None else keep(cube.clusters),
        hidden=reasons,
    )


def _codes(cube: Cube) -> list[Codes]:
    """For each attribute, (g,) the value each group has of it."""
    if len(cube.attributes) < 2:
        return [np.arange(len(cube.groups))]
    out = []
    for i, name in enumerate(cube.attributes):
        level = Levels(name)
        out.append(level.numbers(key[i] for key in cube.groups))  # type: ignore[index]  # keys of attributes are tuples
    return out


def _declared(cube: Cube) -> Sequence[tuple[Hashable, ...]]:
    return cube.declared or [()] * max(1, len(cube.attributes))


def _regrouped(
    cube: Cube,
    parts: Sequence[Sequence[Hashable]],
    declared: Sequence[Sequence[Hashable]],
    attributes: tuple[str, ...],
    what: str,
) -> Cube:
    _refuse_hidden(cube, what)
    levels = [Levels(str(i)) for i in range(len(parts))]
    for level, values in zip(levels, declared, strict=True):
        level.declare(values)
    numbers = np.stack([level.numbers(row) for level, row in zip(levels, parts, strict=True)])
    groups, place = arrange(levels, numbers, single=not attributes)
    if cube.crossing and len(groups) < len(cube.groups):
        raise DataError(
            f"Expected clusters within one group each, found {cube.crossing:,} that cross groups, whose moments do not "
            "add; try counting these groups on their own."
        )

    def total(values: NDArray[Any]) -> NDArray[Any]:
        out = np.zeros((len(groups), *values.shape[1:]), dtype=values.dtype)
        np.add.at(out, place, values)
        return out

    return replace(
        cube,
        groups=groups,
        counts=total(cube.counts),
        squares=total(cube.squares),
        rows=total(cube.rows),
        attributes=attributes,
        declared=tuple(map(tuple, declared)),
        moments=None if cube.moments is None else total(cube.moments),
        clusters=None if cube.clusters is None else total(cube.clusters),
    )


def _refuse_hidden(cube: Cube, what: str) -> None:
    if cube.hidden:
        raise DataError(
            f"Expected a cube before suppression, found one with {len(cube.hidden)} hidden groups; try {what} first, "
            "then suppressed."
        )
