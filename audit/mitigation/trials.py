"""Each method in its turn: learnt, written, loaded again and measured; what is on disk is not done twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from audit import __version__, statistics
from audit.errors import AssayError
from audit.loading.digest import digest
from audit.mitigation import measuring, writing
from audit.mitigation.applying import apply
from audit.mitigation.material import training
from audit.mitigation.remedy import Bench, Step
from audit.runner import fingerprint
from reports.record import Entry, Frozen, Measured, Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.mitigation.material import Material
    from audit.mitigation.measuring import Attack
    from audit.mitigation.writing import Origin
    from audit.store import Store
    from audit.subject import Subject

#: id of the comparison in the record
NAME = "fairness.mitigated"
VERSION = 1
#: the model as it was, among the methods
BEFORE = "as it was"


class Trial(Frozen):
    """A method that was tried.

    Attributes:
        method: its name.
        key: digest of everything that it depends on.
        checkpoint: name in the method's folder.
        sha256: of the checkpoint.
        reads: whether the model reads the group when it answers.
        figures: what it learnt.
        notes: what a reader must know.
    """

    method: str
    key: str
    checkpoint: str
    sha256: str
    reads: bool
    figures: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Workshop:
    """Where methods are tried.

    Attributes:
        origin: what was audited.
        material: the data.
        bench: what methods take.
        folder: where their models lie.
        store: where their figures lie.
        attack: that robustness is compared by, None for none.
    """

    origin: Origin
    material: Material
    bench: Bench
    folder: Path
    store: Store
    attack: Attack | None

    def trials(self, names: tuple[str, ...], watch: Callable[[Step], object]) -> tuple[list[Trial], dict[str, str]]:
        """What could be learnt, in the order of the names, and why the others could not."""
        done, left_out = [], {}
        for name in names:
            try:
                done.append(self.trial(name, watch))
            except AssayError as error:
                left_out[name] = str(error)
        return done, left_out

    def trial(self, name: str, watch: Callable[[Step], object]) -> Trial:
        """One method, learnt and written unless it lies there.

        Raises:
            AssayError: the model or the data do not allow it.
        """
        key, path = self._key(name), self.folder / f"{name}.json"
        kept = _read(path)
        if kept and kept.key == key:
            there = self.folder / name / kept.checkpoint
            if there.exists() and digest(there) == kept.sha256:
                return kept
        path.unlink(missing_ok=True)
        remedy = apply(name, replace(self.bench, tell=watch))
        checkpoint = writing.write(self.origin, remedy, self.folder / name)
        found = Trial(
            method=name,
            key=key,
            checkpoint=checkpoint,
            sha256=digest(self.folder / name / checkpoint),
            reads=remedy.group_at_prediction,
            figures=dict(remedy.figures),
            notes=remedy.notes,
        )
        part = path.with_name(f".{path.name}.part")
        part.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
        part.replace(path)
        return found

    def load(self, trial: Trial) -> Subject:
        """The remedied model from its file."""
        return writing.read(self.origin, self.folder / trial.method / trial.checkpoint)

    def figures(self, trial: Trial | None) -> Measured:
        """A model's figures on the test rows, and those it is chosen by; None: the model as it was."""
        name = BEFORE if trial is None else trial.method
        params = {"method": name} | self._params()
        # the seed draws the rows under attack; the rows to choose on are training rows
        rows = [fingerprint(training(self.material.own)), _sha(self.material.choice.tolist()), self.bench.seed]
        made = [VERSION, __version__, self._model(), trial and trial.sha256]
        content = [params, fingerprint(self.material.own), rows, made]
        unit = Unit(key=_sha(content), check=NAME, version=VERSION, params=params, seed=self.bench.seed)
        kept = self.store.get(unit.key)
        if kept is None:
            evidence = self._measured(None if trial is None else self.load(trial), trial is not None and trial.reads)
            kept = Entry(unit=unit, evidence=evidence)
            self.store.put(kept)
        assert isinstance(kept.evidence, Measured)
        return kept.evidence

    def _measured(self, remedied: Subject | None, reads: bool) -> Measured:
        aim, before = self.bench.aim, self.origin.subject
        after = remedied or before
        rng = np.random.default_rng([self.bench.seed, int.from_bytes(hashlib.sha256(NAME.encode()).digest()[:8])])
        old = measuring.on_test(before, self.material, False)
        new = old if remedied is None else measuring.on_test(after, self.material, reads)
        found = measuring.whole(old, new, measuring.on_choice(after, self.material, reads), aim, rng)
        if self.attack is not None:
            stands = self._stood if remedied is None else self.attack.stands(after, reads)
            found[f"robust_accuracy@{self.attack.budget}"] = statistics.proportion(int(stands.sum()), len(stands))
            if remedied is not None:
                found[f"robust_accuracy_change@{self.attack.budget}"] = statistics.paired_difference(
                    stands, self._stood
                )
        return Measured(estimates=found)

    @cached_property
    def _stood(self) -> NDArray[np.bool_]:
        """Which rows under attack the model as it was gets right."""
        assert self.attack is not None
        return self.attack.stands(self.origin.subject, False)

    def _key(self, name: str) -> str:
        bench, train = self.bench, training(self.material.own)
        rest = [bench.epochs, bench.batch_size, bench.learning_rate, bench.scratch, bench.seed, __version__]
        rows = [hashlib.sha256(part.tobytes()).hexdigest() for part in (self.material.learn, self.material.held)]
        return _sha([name, self._model(), fingerprint(train), asdict(bench.aim), rest, rows])

    def _model(self) -> list[Any]:
        subject = self.origin.subject
        return [subject.digest, sorted(subject.settings.items()), subject.device.type]

    def _params(self) -> dict[str, Any]:
        found: dict[str, Any] = asdict(self.bench.aim) | {"definition": str(self.bench.aim.definition)}
        if self.attack is not None:
            found |= {"norm": self.attack.norm, "eps": self.attack.eps, "effort": self.attack.effort}
        return found


def _read(path: Path) -> Trial | None:
    try:
        return Trial.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def _sha(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]
