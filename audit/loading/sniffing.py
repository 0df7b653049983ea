"""What a checkpoint is, told from its content and never from its name; nothing in it is run."""

from __future__ import annotations

import json
import pickletools
import zipfile
from collections.abc import Set
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Any

from audit.errors import ModelError


class Format(StrEnum):
    """The checkpoint formats that are told apart; the value is what the report shows."""

    SAFETENSORS = "safetensors"
    #: a zip archive written by `torch.save`
    TORCH = "torch"
    TORCH_EXPORT = "torch.export"
    TORCHSCRIPT = "torchscript"
    TRANSFORMERS = "transformers"
    #: safetensors whose metadata say what stands around the checkpoint beside it
    POST_PROCESSOR = "post-processor"
    #: a bare pickle stream: `torch.save` before torch 1.6, `pickle.dump`, joblib
    PICKLE = "pickle"


#: key of the metadata that a post-processor is told by
PROCESSOR_KEY = "assay.post-processor"

SUPPORTED = "a safetensors, torch (.pt), torch.export (.pt2) or TorchScript file, or a transformers folder"

#: first bytes of files people mistake for one of ours -> their name and the way out
_STRANGERS = {
    b"\x89HDF\r\n\x1a\n": ("a Keras/HDF5 file", "convert the weights to safetensors"),
    b"GGUF": ("a GGUF file", "use the original transformers folder"),
    b"\x1f\x8b": ("a gzip archive", "unpack it first"),
    b"ustar": ("a tar archive", "unpack it first"),
    b"version https://git-lfs": ("a Git LFS pointer", "fetch the file with `git lfs pull`"),
    b"<": ("a web page or XML", "download the file itself"),
}


def sniff(path: str | Path) -> Format:
    """Return the checkpoint's format.

    Raises:
        ModelError: nothing is there, it is empty, cut short, or of no format that can be audited.
    """
    path = Path(path)
    if path.is_dir():
        return _sniff_folder(path)
    if not path.is_file():
        raise ModelError(f"Expected a checkpoint at {path}, found nothing there; try another path.")
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise ModelError(f"Expected to read {path}, found {error.strerror}; try another file.") from None
    if not head:
        raise ModelError(f"Expected a checkpoint, found an empty file at {path}; try saving it again.")
    if head.startswith(b"PK"):
        return _sniff_zip(path)
    if len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return Format.POST_PROCESSOR if PROCESSOR_KEY in safetensors_metadata(path) else Format.SAFETENSORS
    for magic, (what, remedy) in _STRANGERS.items():
        if head.startswith(magic) or (magic == b"ustar" and head[257:262] == magic):
            raise ModelError(f"Expected {SUPPORTED}, found {what} at {path}; try this: {remedy}.")
    if _starts_a_pickle(path, head):
        return Format.PICKLE
    raise ModelError(f"Expected {SUPPORTED}, found no format known here in {path}; try saving it as safetensors.")


def safetensors_header(path: Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file: name -> {"dtype", "shape", "data_offsets"}.

    Raises:
        ModelError: the file is damaged or cut short.
    """
    return {name: entry for name, entry in _header(path).items() if name != "__metadata__"}


def safetensors_metadata(path: Path) -> dict[str, str]:
    """Return what a safetensors file says of itself.

    Raises:
        ModelError: the file is damaged or cut short.
    """
    found = _header(path).get("__metadata__")
    return {key: value for key, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def _header(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        raw = stream.read(length) if length <= size - 8 else b""
    if len(raw) < length:
        raise truncated(path, f"a header of {length} bytes in a file of {size}")
    try:
        header: dict[str, Any] = json.loads(raw)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        raise ModelError(
            f"Expected a safetensors file, found a damaged header in {path}; try saving it again."
        ) from None
    if 8 + length + end > size:
        raise truncated(path, f"{size} of {8 + length + end} bytes")
    return header


def truncated(path: Path, found: str) -> ModelError:
    """Return the refusal of a file that was cut short."""
    return ModelError(f"Expected a whole checkpoint, found {path} cut short ({found}); try copying it again.")


def zip_names(path: Path) -> list[str]:
    """Return the names in a zip archive, without the folder that torch puts around them.

    Raises:
        ModelError: the archive is damaged, cut short, or unpacks to far more than its own size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise truncated(path, f"no readable zip archive: {error}") from None
    # an archive inside an archive is what is found where the outer one's end is missing
    if min((m.header_offset for m in members), default=0) > 0:
        raise truncated(path, "its table of contents is missing")
    # torch stores without compression, so an archive that unpacks to much more was not made by torch
    unpacked, size = sum(m.file_size for m in members), path.stat().st_size
    if unpacked > 20 * size + 1_000_000:
        raise ModelError(
            f"Expected an archive about as large as its content, found {path} with {size} bytes unpacking to {unpacked};"
            " try saving it again with torch."
        )
    return [m.filename.split("/", 1)[-1] for m in members]


def _sniff_zip(path: Path) -> Format:
    names = set(zip_names(path))
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return Format.TORCH_EXPORT
    if "data.pkl" in names:
        # torch itself takes an archive with constants for TorchScript
        return Format.TORCHSCRIPT if "constants.pkl" in names else Format.TORCH
    raise ModelError(f"Expected {SUPPORTED}, found {_stranger_zip(names)} at {path}; try saving it with torch.")


def _stranger_zip(names: Set[str]) -> str:
    if names and all(n.endswith(".npy") for n in names):
        return "a NumPy archive (npz)"
    return "a Keras file" if "model.weights.h5" in names else "a zip archive without a model"


def _sniff_folder(path: Path) -> Format:
    if (path / "config.json").is_file():
        return Format.TRANSFORMERS
    entries = sorted(p.name for p in path.iterdir())
    found = f"{', '.join(entries[:5])}{', ...' if len(entries) > 5 else ''}" if entries else "nothing"
    raise ModelError(
        f"Expected a transformers folder with config.json, found {found} in {path}; try the path of the checkpoint file."
    )


def _starts_a_pickle(path: Path, head: bytes) -> bool:
    if head[:1] == b"\x80" and head[1:2] and head[1] <= 5:
        return True
    # protocols 0 and 1 have no magic number: read opcodes, which runs nothing, up to the end of the stream
    with path.open("rb") as stream:
        raw = stream.read(1_000_000)
    try:
        return sum(1 for _ in pickletools.genops(BytesIO(raw))) > 1
    except Exception:
        return False
