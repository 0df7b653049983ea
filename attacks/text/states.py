"""A text under attack and how far the search for it has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from attacks.text.moves import Move, changed
from attacks.text.similarity import Closeness
from attacks.text.words import is_word, join


@dataclass(frozen=True)
class Node:
    """Some moves, and the margin after them."""

    moves: tuple[Move, ...]
    margin: float


@dataclass
class Case:
    """One text on its way.

    Attributes:
        text: as given.
        label: its class.
        pieces: as `split` cuts it.
        moves: what may be done to it.
        margin: of the text as given.
        nodes: the most promising so far, the best first.
        singles: margin after each move alone, where that was measured.
        found: the node that fooled the model, and how near it is.
    """

    text: str
    label: int
    pieces: list[str]
    moves: list[Move]
    margin: float
    nodes: list[Node] = field(default_factory=list)
    singles: dict[Move, float] = field(default_factory=dict)
    found: tuple[Node, Closeness] | None = None

    def __post_init__(self) -> None:
        self.nodes = [Node((), self.margin)]

    @property
    def places(self) -> list[int]:
        """Places of the words that may be changed, in order."""
        return list(dict.fromkeys(move.place for move in self.moves))

    @property
    def words(self) -> int:
        """How many words the text as given has."""
        return sum(is_word(piece) for piece in self.pieces)

    def keep(self, places: set[int]) -> None:
        """Forget the moves at all other places."""
        self.moves = [move for move in self.moves if move.place in places]

    def after(self, moves: tuple[Move, ...]) -> str:
        """The text after some moves; empty where they leave no word."""
        pieces = changed(self.pieces, moves)
        return join(pieces) if any(is_word(piece) for piece in pieces) else ""
