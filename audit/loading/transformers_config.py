"""What the configuration files of a `transformers` folder say, read without the library."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.errors import ModelError
from audit.subject import Modality

_HEADS = {
    "ForSequenceClassification": Modality.TEXT,
    "ForImageClassification": Modality.IMAGE,
}


@dataclass(frozen=True)
class Folder:
    """What the configuration says of a folder, read without `transformers`.

    Attributes:
        path: the folder.
        modality: text or image; None where it is neither kind of classifier.
        classes: `id2label` in order; empty where it is not given.
        outputs: width of the head.
        architecture: name of the class, "" where it is not given.
    """

    path: Path
    modality: Modality | None
    classes: tuple[str, ...]
    outputs: int
    architecture: str


def read(path: Path) -> Folder:
    """Return what `config.json` says.

    Raises:
        ModelError: it is damaged.
    """
    config = read_json(path / "config.json")
    names = [str(n) for n in config.get("architectures") or []]
    modality = next((m for n in names for suffix, m in _HEADS.items() if n.endswith(suffix)), None)
    labels = config.get("id2label") or {}
    classes: tuple[str, ...] = ()
    if isinstance(labels, dict) and all(str(k).isdigit() for k in labels):
        classes = tuple(str(labels[k]) for k in sorted(labels, key=int))
    # transformers leaves both out where there are two classes
    outputs = config.get("num_labels") or len(classes) or 2
    architecture = next((n for n in names if n.endswith(tuple(_HEADS))), names[0] if names else "")
    return Folder(path, modality, classes, int(outputs), architecture)


def normalisation(path: Path) -> tuple[list[float], list[float]] | None:
    """Return mean and std in `preprocessor_config.json`; None where the images are not normalised."""
    file = path / "preprocessor_config.json"
    config = read_json(file) if file.is_file() else {}
    if not config.get("do_normalize", bool(config)) or "image_mean" not in config or "image_std" not in config:
        return None
    return [float(v) for v in config["image_mean"]], [float(v) for v in config["image_std"]]


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ModelError: it is damaged, or no object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"Expected readable JSON, found {file} damaged ({error}); try copying it again.") from None
    if not isinstance(found, dict):
        raise ModelError(f"Expected a JSON object in {file}, found {type(found).__name__}; try saving the model again.")
    return found
