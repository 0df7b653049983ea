"""What can be told of a checkpoint by looking at it, for `audit init` and for what a caller leaves out."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.errors import ModelError
from audit.loading import transformers_config
from audit.loading.sniffing import Format, safetensors_header, sniff
from audit.subject import Modality

Shapes = Mapping[str, Sequence[int]]

_HEAD = re.compile(r"(^|[._])(head|heads|classifier|fc|logits|output|out|score|proj_out)\d*([._]|$)")


@dataclass(frozen=True)
class ModelFacts:
    """What a checkpoint shows without being run; a guess where only a guess is possible.

    Attributes:
        format: the checkpoint format.
        classes: class names, where the checkpoint holds them; empty otherwise.
        modality: what one input seems to be; None where nothing tells.
        outputs: width of what seems to be the last layer; None where nothing tells.
        needs_factory: whether code must build the network.
    """

    format: Format
    classes: tuple[str, ...] = ()
    modality: Modality | None = None
    outputs: int | None = None
    needs_factory: bool = False


def look(path: str | Path) -> ModelFacts:
    """Return what a checkpoint shows; nothing in it is run.

    Raises:
        ModelError: it is missing, damaged, or of no known format.
    """
    path = Path(path)
    kind = sniff(path)
    if kind is Format.TRANSFORMERS:
        folder = transformers_config.read(path)
        return ModelFacts(kind, folder.classes, folder.modality, folder.outputs)
    if kind is Format.POST_PROCESSOR:
        from audit.loading.post_processor import read_document

        base = read_document(path).base
        return ModelFacts(
            kind, tuple(base.classes), Modality(base.modality), len(base.classes), base.factory is not None
        )
    if kind is Format.SAFETENSORS:
        return _of_weights(kind, {name: entry["shape"] for name, entry in safetensors_header(path).items()})
    if kind in (Format.TORCH, Format.PICKLE):
        from audit.loading import pickles, state_dict

        try:
            weights = state_dict.unwrap(pickles.read(path), path)
        except ModelError:  # loading will refuse it, and say why
            return ModelFacts(kind, needs_factory=True)
        return _of_weights(kind, {name: tuple(value.shape) for name, value in weights.items()})
    return _of_program(path) if kind is Format.TORCH_EXPORT else ModelFacts(kind)


def _of_weights(kind: Format, shapes: Shapes) -> ModelFacts:
    # a head stands at the top of the module tree and comes last
    names = sorted(shapes, key=lambda name: (-name.count("."), _natural(name)))
    matrices = [n for n in names if len(shapes[n]) == 2 and n.endswith("weight")]
    modality = None
    if any(len(shapes[n]) == 4 for n in names):
        modality = Modality.IMAGE  # a 2-D convolution
    elif matrices and not any("embed" in n for n in names):
        modality = Modality.TABULAR
    heads = [n for n in matrices if _HEAD.search(n.removesuffix("weight"))] or matrices
    outputs = int(shapes[heads[-1]][0]) if heads else None
    return ModelFacts(kind, (), modality, outputs, needs_factory=True)


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key under which layer 10 comes after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _of_program(path: Path) -> ModelFacts:
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith("models/model.json"))
            module = json.loads(archive.read(name))["graph_module"]
        values = module["graph"]["tensor_values"]
        [given] = [s["user_input"] for s in module["signature"]["input_specs"] if "user_input" in s]
        inputs = values[given["arg"]["as_tensor"]["name"]]["sizes"]
        outputs = values[module["graph"]["outputs"][0]["as_tensor"]["name"]]["sizes"]
    except (zipfile.BadZipFile, StopIteration, ValueError, LookupError, TypeError, RecursionError):
        return ModelFacts(Format.TORCH_EXPORT)
    modality = {2: Modality.TABULAR, 4: Modality.IMAGE}.get(len(inputs))
    return ModelFacts(Format.TORCH_EXPORT, (), modality, _width(outputs))


def _width(sizes: Sequence[Mapping[str, Any]]) -> int | None:
    if len(sizes) < 2:
        return 1
    width = sizes[-1].get("as_int")
    return width if isinstance(width, int) else None
