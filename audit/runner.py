"""Plan -> Units -> Evidence -> Record."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import traceback
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audit import __version__
from audit.check import Check, Effort, build, card, find, registry
from audit.errors import DataError, ModelError, PlanError, nearest
from audit.judgement import judge, read_policy
from audit.progress import Progress, Silent
from audit.store import Store
from reports.record import DataCard, Entry, Evidence, Failed, Record, Skipped, SubjectCard, Unit

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject


class Interrupted(KeyboardInterrupt):
    """The run was interrupted; `record` holds what was measured."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record


def run(
    subject: Subject,
    dataset: Dataset,
    checks: Mapping[str, Mapping[str, Any]] | Iterable[str] | None = None,
    effort: str = "standard",
    seed: int = 0,
    out: str | Path | None = None,
    policy: str = "default",
    progress: Progress | None = None,
) -> Record:
    """Run the checks, judge the evidence, and write the run's folder.

    Args:
        subject: what `audit.load` returned.
        dataset: what `audit.data` returned.
        checks: ids of checks or sections, or a mapping from ids to parameters; None: every check.
        effort: quick, standard or exhaustive.
        seed: seed of every random draw.
        out: the run's folder; evidence found there is kept and not measured again. None: nothing is written.
        policy: name of a shipped policy or path of a YAML file.
        progress: told how far the run is.

    Raises:
        AssayError: the model, the data or the policy cannot be used; nothing was lost.
        Interrupted: Ctrl-C; what was measured is kept, and the same call goes on from there.
    """
    from reports.artefacts import write_all

    progress = progress or Silent()
    rules = read_policy(policy)  # before the work, so that a typo costs nothing
    chosen = choose(checks, effort)
    store = None if out is None else Store(Path(out))
    preflight(subject, dataset)
    planned = [(unit, check) for unit, check in units(subject, dataset, chosen, seed)]
    entries = {unit.key: entry for unit, _ in planned if store and (entry := store.get(unit.key))}
    progress.start(len(planned), len(entries))
    interrupted = False
    try:
        for unit, check in planned:
            if unit.key in entries:
                continue
            progress.begin(unit.check)
            entry = Entry(unit=unit, evidence=measure(check, unit, subject, dataset))
            entries[unit.key] = entry
            if store:
                store.put(entry)
            progress.end(unit.check, entry.evidence)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        progress.stop()
    record = Record(
        subject=_subject_card(subject),
        data=tuple(_data_card(d) for d in (dataset, dataset.train) if d is not None),
        environment=environment(subject),
        settings={"effort": effort, "seed": seed},
        cards=tuple(card(unit.check) for unit, _ in planned),
        evidence=tuple(entries[unit.key] for unit, _ in planned if unit.key in entries),
        missing=tuple(unit.check for unit, _ in planned if unit.key not in entries),
        policy=rules.name,
    )
    record = record.model_copy(update={"verdicts": judge(record, policy)})
    if store:
        write_all(record, store.folder)
    if interrupted:
        raise Interrupted(record)
    return record


def choose(checks: Mapping[str, Mapping[str, Any]] | Iterable[str] | None, effort: str) -> dict[str, Check]:
    """The checks to run, by id, with their parameters.

    Raises:
        PlanError: an id, a section, a parameter or the effort is unknown.
    """
    if effort not in set(Effort):
        raise PlanError(f"Expected an effort, found {effort!r}{nearest(effort, list(Effort))}")
    known = registry()
    params: dict[str, Mapping[str, Any]] = dict(checks) if isinstance(checks, Mapping) else {}
    wanted = list(known) if checks is None else list(checks)
    sections = {name.split(".")[0] for name in known}
    ids: set[str] = set()
    for name in wanted:
        ids |= {i for i in known if i.startswith(name + ".")} if name in sections else {name}
    for name in ids | set(params):
        find(name)
    return {name: build(name, Effort(effort), params.get(name, {})) for name in known if name in ids}


def preflight(subject: Subject, dataset: Dataset) -> None:
    """Refuse at once what no check could use.

    Raises:
        DataError: the data do not fit the model.
        ModelError: the model's outputs are not finite or do not fit its classes.
    """
    if dataset.modality is not subject.modality:
        raise DataError(
            f"Expected {subject.modality} data for {subject.name}, found {dataset.modality} data in {dataset.source}; "
            "try setting modality in the plan."
        )
    if dataset.classes != subject.classes:
        raise DataError(f"Expected the model's classes {subject.classes}, found {dataset.classes} in the data.")
    scores = subject.scores(dataset)
    if tuple(scores.shape) != (len(dataset), len(subject.classes)):
        raise ModelError(
            f"Expected {len(subject.classes)} outputs a row, one a class, found scores of shape {tuple(scores.shape)}; "
            "try correcting classes in the plan."
        )


def units(subject: Subject, dataset: Dataset, checks: Mapping[str, Check], seed: int) -> list[tuple[Unit, Check]]:
    """One unit a check; its key digests everything its evidence depends on."""
    data = [fingerprint(d) for d in (dataset, dataset.train) if d is not None]
    model = [subject.digest, sorted(subject.settings.items()), subject.device.type]
    out = []
    for name, check in checks.items():
        params = json.loads(json.dumps(asdict(check)))
        content = [model, data, name, check.version, params, seed]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        out.append((Unit(key=key, check=name, version=check.version, params=params, seed=seed), check))
    return out


def measure(check: Check, unit: Unit, subject: Subject, dataset: Dataset) -> Evidence:
    """The evidence of one unit. A check that breaks is `Failed`; the rest go on."""
    reason = check.skip_reason(subject, dataset)
    if reason:
        return Skipped(reason=reason)
    spawn = int.from_bytes(hashlib.sha256(unit.check.encode()).digest()[:8])
    try:
        # what libraries warn of is for their callers, the checks, not for whoever watches the audit
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return check.run(subject, dataset, np.random.default_rng([unit.seed, spawn]))
    except Exception as error:  # whatever a check raises is its own failure, never the audit's
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return Failed(error=f"{type(error).__name__}: {error} ({where})")


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of what the checks see of a split: inputs, labels, groups, classes, encoding and declarations."""
    digest = hashlib.sha256()
    if isinstance(dataset.inputs, list):
        digest.update(json.dumps(dataset.inputs).encode())
    else:
        digest.update(str(tuple(dataset.inputs.shape)).encode())
        digest.update(dataset.inputs.contiguous().numpy().tobytes())
    digest.update(dataset.labels.numpy().tobytes())
    for name, values in sorted(dataset.groups.items()):
        digest.update(json.dumps([name, [repr(v) for v in values]]).encode())
    if dataset.masks is not None:
        digest.update(dataset.masks.numpy().tobytes())
    declared = (
        dataset.classes,
        dataset.features,
        dataset.bounds,
        dataset.favourable,
        dataset.label,
        dataset.constraints,
        dataset.smallest_group,
    )
    # the file itself too: columns that no feature encodes count in the checks of the data
    digest.update(repr((dataset.digest, *declared)).encode())
    return digest.hexdigest()


def environment(subject: Subject) -> dict[str, str]:
    """What the numbers were measured on."""
    import torch

    device = subject.device
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return {
        "assay": __version__,
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "numpy": np.__version__,
        "platform": platform.platform(terse=True),
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
    }


def _subject_card(subject: Subject) -> SubjectCard:
    return SubjectCard(
        name=subject.name,
        source=subject.source,
        format=subject.format,
        digest=subject.digest,
        task=subject.task,
        modality=subject.modality,
        classes=subject.classes,
        capabilities=tuple(sorted(subject.capabilities)),
    )


def _data_card(dataset: Dataset) -> DataCard:
    return DataCard(
        split=dataset.split,
        source=dataset.source,
        digest=dataset.digest,
        rows=len(dataset),
        label=dataset.label,
        protected=tuple(dataset.groups),
    )
