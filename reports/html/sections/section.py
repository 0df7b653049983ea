"""What a section is, what it found, and how it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from reports import words
from reports.record import Card, Entry, Estimate, Failed, Measured, Outcome, Skipped, Verdict

#: sentences in a section's answer
ANSWER = 3


@dataclass(frozen=True)
class Phrase:
    """How an answer words an estimate. `{}` stands for the value with its interval, `{slice}` for what follows `@`."""

    #: pattern over `check.id/estimate`, shell wildcards allowed
    subject: str
    text: str


@dataclass(frozen=True)
class Advice:
    """What to do where a gate on `subject` failed, or where the whole interval lies above or below a value."""

    #: pattern over `check.id/estimate`, shell wildcards allowed
    subject: str
    text: str
    #: also given where the whole interval lies above this; 0 for a difference that is more than chance
    above: float | None = None
    #: also given where the whole interval lies below this
    below: float | None = None


@dataclass(frozen=True)
class Section:
    """One challenge of deep learning, and how the report answers it."""

    id: str
    title: str
    #: the challenge, in a sentence
    challenge: str
    question: str
    #: checks shown first, in this order, by the last part of their id; the others follow by name
    order: tuple[str, ...] = ()
    #: in the order of importance for the answer
    phrases: tuple[Phrase, ...] = ()
    advice: tuple[Advice, ...] = ()
    #: what to do where nothing is amiss
    upkeep: str = "Nothing here asks for a change. Measure again when the model or the data change."

    def place(self, check: str) -> tuple[int, str]:
        """Where the check with this id stands among the section's."""
        name = check.rpartition(".")[2]
        return (self.order.index(name) if name in self.order else len(self.order), check)


@dataclass(frozen=True)
class Finding:
    """An estimate, where it comes from, and what it is called."""

    entry: Entry
    name: str
    estimate: Estimate

    @property
    def subject(self) -> str:
        """`check.id/estimate`."""
        return f"{self.entry.unit.check}/{self.name}"


@dataclass(frozen=True)
class Sentence:
    """An answer around its number."""

    before: str
    finding: Finding
    after: str


@dataclass(frozen=True)
class Findings:
    """What a record holds for one section."""

    section: Section
    entries: tuple[Entry, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    #: ids of planned checks that were not run
    missing: tuple[str, ...] = ()
    cards: Mapping[str, Card] = field(default_factory=dict)

    def card(self, check: str) -> Card:
        """What the check says of itself; a bare card where the record has none."""
        bare = Card(id=check, section=self.section.id, version=0, title=check, what="", why="", how="")
        return self.cards.get(check, bare)

    def measured(self) -> Iterator[tuple[Entry, Measured]]:
        """The entries that hold numbers."""
        for entry in self.entries:
            if isinstance(entry.evidence, Measured):
                yield entry, entry.evidence

    def answer(self) -> list[Sentence]:
        """The headline estimates in sentences: those the section has words for, one of each kind before a second."""
        ranked, seen = [], Counter[int]()
        for order, (entry, evidence) in enumerate(self.measured()):
            for place, name in enumerate(evidence.headline):
                finding = Finding(entry, name, evidence.estimates[name])
                rank, text = self._phrase(finding)
                ranked.append(((finding.estimate.value is None, seen[rank], rank, place, order), finding, text))
                seen[rank] += 1
        ranked.sort(key=lambda item: item[0])
        worded = [item for item in ranked if item[0][2] < len(self.section.phrases)]
        return [_sentence(finding, text) for _, finding, text in (worded or ranked)[:ANSWER]]

    def advise(self) -> list[str]:
        """What to do next, failures first."""
        steps = [advice.text for advice in self.section.advice if self._calls_for(advice)]
        steps += [
            f"{words.asked(v.gate, v.subject, v.observed)} was asked and not reached: mend it, or say in the policy why "
            "another bound is acceptable."
            for v in self.verdicts
            if v.outcome is Outcome.FAIL and not any(fnmatchcase(v.subject, a.subject) for a in self.section.advice)
        ]
        undecided = [v for v in self.verdicts if v.outcome is Outcome.INSUFFICIENT]
        if undecided:
            names = _listed([words.named(v.subject) for v in undecided])
            steps.append(
                f"Not decided: {names}. Narrow the interval with more test rows or a higher effort, or settle whether the "
                "bound is right; do not read it as a pass."
            )
        broken = [e.unit.check for e in self.entries if isinstance(e.evidence, Failed)]
        if broken:
            steps.append(f"Mend what broke {_listed(broken)}, and run again; what is measured is kept.")
        if self.missing:
            steps.append(f"Run the same command again to measure {_listed(list(self.missing))}.")
        if not any(True for _ in self.measured()) and not steps:
            return [self._nothing_measured()]
        return list(dict.fromkeys(steps)) or [self.section.upkeep]

    def _nothing_measured(self) -> str:
        if any(isinstance(e.evidence, Skipped) for e in self.entries):
            return "No check of this section applies here; the reasons above say what a check would need."
        return f"Nothing was planned here. Add {self.section.id} to the plan to have this question answered."

    def _phrase(self, finding: Finding) -> tuple[int, str]:
        plain = f"{words.title(finding.name)} is {{}}."
        for rank, phrase in enumerate(self.section.phrases):
            if fnmatchcase(finding.subject, phrase.subject):
                return rank, plain if finding.estimate.value is None else phrase.text
        return len(self.section.phrases), plain

    def _calls_for(self, advice: Advice) -> bool:
        if any(v.outcome is Outcome.FAIL and fnmatchcase(v.subject, advice.subject) for v in self.verdicts):
            return True
        for entry, evidence in self.measured():
            for name, estimate in evidence.estimates.items():
                if estimate.low is None or estimate.high is None:
                    continue
                beyond = (advice.above is not None and estimate.low > advice.above) or (
                    advice.below is not None and estimate.high < advice.below
                )
                if beyond and fnmatchcase(f"{entry.unit.check}/{name}", advice.subject):
                    return True
        return False


def _sentence(finding: Finding, text: str) -> Sentence:
    before, _, after = text.partition("{}")
    part = finding.name.partition("@")[2]
    return Sentence(before.replace("{slice}", part), finding, after.replace("{slice}", part))


def _listed(names: list[str]) -> str:
    """At most five names in a row, then how many more."""
    names = [words.line(name, 80) for name in dict.fromkeys(names)]
    shown, rest = names[:5], len(names) - 5
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
