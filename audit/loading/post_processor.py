"""Post-processors: a safetensors file that says what stands around the checkpoint that lies beside it.

The tensors are the post-processor's numbers; the metadata hold one JSON document with its settings, with how the
checkpoint beside it is read, and with the SHA-256 of that checkpoint and of the modules that build it. Nothing is run
before all of these are found as they were written. The digests tell a change by accident or by hand; they sign nothing.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from audit.errors import ModelError
from audit.loading.digest import digest
from audit.loading.pickles import damaged
from audit.loading.sniffing import PROCESSOR_KEY, Format, safetensors_metadata, sniff

if TYPE_CHECKING:
    from collections.abc import Mapping

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Base(_Strict):
    """The checkpoint inside, and the arguments of `audit.load` that read it.

    Attributes:
        file: its name in the folder of the post-processor.
        sha256: of the file or folder.
        factory: what builds the network; None where the checkpoint brings its own.
        modules: Python files that the factory needs, by their place below the folder, and their SHA-256.
        output: see `audit.load`.
        mean: see `audit.load`.
        std: see `audit.load`.
        modality: see `audit.load`.
        classes: see `audit.load`.
    """

    file: str
    sha256: Sha256
    factory: str | None
    modules: dict[str, Sha256]
    output: str
    mean: list[float] | None
    std: list[float] | None
    modality: str
    classes: list[str]


class Document(_Strict):
    """What the metadata hold.

    Attributes:
        version: of this form.
        kind: of post-processor.
        settings: its own.
        base: what it stands around.
        tensors: SHA-256 over the tensors, see `tensors_digest`.
    """

    version: Literal[1] = 1
    kind: str
    settings: dict[str, Any]
    base: Base
    tensors: Sha256


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    whole = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        whole.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        whole.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def write(path: Path, document: Document, tensors: Mapping[str, Tensor]) -> None:
    """Write a post-processor; a broken write never has the file's name."""
    text = document.model_dump_json()
    # one entry, because the library writes several in an order of its own every time
    metadata = {PROCESSOR_KEY: f"{hashlib.sha256(text.encode()).hexdigest()} {text}"}
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, metadata))
    part.replace(path)


def is_one(path: Path) -> bool:
    """Whether a checkpoint is a post-processor.

    Raises:
        ModelError: it is no checkpoint.
    """
    return sniff(path) is Format.POST_PROCESSOR


def read_document(path: Path) -> Document:
    """The document of a post-processor; nothing else is looked at.

    Raises:
        ModelError: it is damaged, changed, or of another version.
    """
    sha256, _, text = safetensors_metadata(path).get(PROCESSOR_KEY, "").partition(" ")
    if hashlib.sha256(text.encode()).hexdigest() != sha256:
        raise _changed(path, "its settings are not those that were written")
    try:
        return Document.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise ModelError(
            f"Expected a post-processor written by `audit mitigate` in {path}, found at {place}: {first['msg']}; try the "
            "version of assay that wrote it."
        ) from None


def read(path: Path) -> tuple[Document, dict[str, Tensor]]:
    """A post-processor whose every part is as it was written.

    Raises:
        ModelError: anything is missing, changed, or leads out of the file's folder; nothing was run.
    """
    document = read_document(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(str(path), error) from None
    if tensors_digest(tensors) != document.tensors:
        raise _changed(path, "its numbers are not those that were written")
    base = document.base
    _unchanged(path, base.file, base.sha256, "the checkpoint")
    if sniff(path.parent / base.file) is Format.POST_PROCESSOR:
        raise ModelError(
            f"Expected a checkpoint inside {path}, found another post-processor; try the checkpoint itself."
        )
    for name, sha256 in base.modules.items():
        _unchanged(path, name, sha256, "the module")
    return document, tensors


def base_path(path: Path, document: Document) -> Path:
    """Where the checkpoint inside lies."""
    return path.parent / document.base.file


def factory_of(path: Path, base: Base, given: object) -> str | None:
    """The factory to build the base with, which the caller must name: it is code, and a file does not run any unasked.

    Raises:
        ModelError: the caller names another one, or none where one is needed.
    """
    if given == base.factory:
        return base.factory
    if given is None:
        raise ModelError(
            f"Expected to be told to run the factory of the post-processor {path}, which builds the network inside, found "
            f"none; if you trust that folder, try factory={base.factory!r}."
        )
    raise ModelError(
        f"Expected the factory of the post-processor {path}, {base.factory!r}, found {given!r}; try "
        f"{'leaving it out' if base.factory is None else 'that one'}."
    )


def _unchanged(path: Path, name: str, sha256: str, what: str) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or not pure.parts or "\0" in name:
        raise ModelError(f"Expected {what} of {path} beside it, found the path {name!r}; try writing it again.")
    place = path.parent / name
    if not place.exists():
        raise ModelError(
            f"Expected {what} {name} beside the post-processor {path}, found nothing there; try copying the whole folder."
        )
    if not place.resolve().is_relative_to(path.parent.resolve()):
        raise ModelError(
            f"Expected {what} {name} beside {path}, found a link that leads elsewhere; try copying the file."
        )
    if digest(place) != sha256:
        raise _changed(path, f"{what} {name} is not the one it was made for")


def _changed(path: Path, found: str) -> ModelError:
    return ModelError(
        f"Expected the post-processor {path} as it was written, found it changed since: {found}; try copying the whole "
        "folder again, or `audit mitigate`."
    )
