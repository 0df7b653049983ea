"""Word changes that fool the movies model: ours against a search that asks one text at a time, in one run.

    python benchmarks/text.py        (in the environment of the tests: no peer is needed)

The plain searches are those of TextAttack's recipes, written anew in `tests/attacks/text/models.py`, with one forward pass
a candidate: "ranked" orders words by what the margin loses without them and changes them in that order (DeepWordBug,
TextFooler), "greedy" tries every candidate of every word in every round; ratios are to the latter. All searches are offered the same candidates and no limits of similarity, at most four words.
Runs are interleaved on one thread; CPU time is the median over the repeats, passes are forward and backward of one text.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent)  # from its own folder this file would hide the package of its name

import torch
from torch import Tensor

import audit
from attacks.text import LOOKALIKES, SUBSTITUTIONS, TYPOS, Lexicon, Limits, text_search
from attacks.text.moves import Moves
from attacks.text.words import split
from audit.checks.robustness._text import Below
from tests.attacks.text.models import greedy_one_at_a_time, one_at_a_time

MOVIES = Path(__file__).parent.parent / "examples" / "movies"
BUDGET = 4
WIDE = Limits(share=1.0, characters=0.0, meaning=-1.0)
KINDS = {"typos": TYPOS, "substitutions": SUBSTITUTIONS, "all": (*TYPOS, *LOOKALIKES, *SUBSTITUTIONS)}
#: words changed, one a text, and passes through the model
Outcome = tuple[Tensor, int]


def searches(rows: int, kinds: tuple[str, ...]) -> dict[str, Callable[[], Outcome]]:
    """The searches to compare, by name."""
    subject = audit.load(MOVIES / "model", classes=["negative", "positive"])
    train = audit.data(MOVIES / "train.parquet", label="label", text="text")
    test = audit.data(MOVIES / "test.parquet", label="label", text="text")
    assert isinstance(train.inputs, list)
    assert isinstance(test.inputs, list)
    assert subject.text is not None
    way = Below(subject.text)
    lexicon = Lexicon.learn(train.inputs, train.labels, way.embed)
    texts, labels = test.inputs[:rows], test.labels[:rows].tolist()
    offers = Moves(kinds, lexicon=lexicon)

    def offered(text: str) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for move in offers.of(split(text)):
            found.setdefault(move.place, []).append(move.text)
        return found

    def plain(search: Callable[..., tuple[list[float], int]]) -> Outcome:
        words, passes = search(subject.predict, texts, labels, offered, BUDGET)
        return torch.tensor(words), passes

    def ours(search: str, beam: int) -> Outcome:
        found = text_search(
            subject.predict,
            texts,
            labels,
            BUDGET,
            kinds=kinds,
            search="gradient" if search == "gradient" else "scores",
            beam=beam,
            lexicon=lexicon,
            embed=way.embed,
            differentiate=way.differentiate,
            limits=WIDE,
        )
        return found.words_changed, found.forwards + found.backwards

    return {
        "one by one, ranked": lambda: plain(one_at_a_time),
        "one by one, greedy": lambda: plain(greedy_one_at_a_time),
        "scores, greedy": lambda: ours("scores", 1),
        "scores, beam 4": lambda: ours("scores", 4),
        "HotFlip, greedy": lambda: ours("gradient", 1),
        "HotFlip, beam 4": lambda: ours("gradient", 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, kinds in KINDS.items():
        runs = searches(args.rows, kinds)
        seconds: dict[str, list[float]] = {search: [] for search in runs}
        outcomes: dict[str, Outcome] = {}
        for _ in range(args.repeats):
            for search, run in runs.items():
                start = time.process_time()
                outcomes[search] = run()
                seconds[search].append(time.process_time() - start)
        print(f"\n{name}: {args.rows} texts, accuracy in per cent with so many words changed")
        print(
            f"{'search':<20}"
            + "".join(f"{k:>7}" for k in range(BUDGET + 1))
            + f"{'passes/text':>13}{'CPU s':>8}{'ratio':>7}"
        )
        slowest = statistics.median(seconds["one by one, greedy"])
        for search, (words, passes) in outcomes.items():
            share = "".join(f"{100 * float((words > k).double().mean()):7.1f}" for k in range(BUDGET + 1))
            median = statistics.median(seconds[search])
            print(f"{search:<20}{share}{passes / args.rows:13.1f}{median:8.2f}{slowest / median:7.1f}")


if __name__ == "__main__":
    main()
