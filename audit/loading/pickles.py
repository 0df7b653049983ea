"""Reading what `torch.save` wrote without running what is hidden in it.

A pickle is a program. `torch.load(weights_only=True)` reads tensors and plain containers from it and refuses the rest,
so a payload never runs; everything here goes through it unless the user said otherwise.
"""

from __future__ import annotations

import pickle
import re
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from audit.errors import ModelError

REMEDY = "save its state_dict as safetensors, or pass --trust-pickle (trust_pickle=True) if you trust whoever made it"


def read(path: Path, trust_pickle: bool = False) -> Any:
    """Return what `torch.save` (or, trusted, `pickle.dump`) wrote to `path`, on the CPU.

    Args:
        path: the file.
        trust_pickle: run whatever code the pickle asks for.

    Raises:
        ModelError: the file is damaged, or holds more than tensors and plain containers and is not trusted.
    """
    try:
        return _tensors(path)
    except Exception as error:
        if not trust_pickle:
            raise _refusal(str(path), error) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        try:
            with path.open("rb") as stream:
                return pickle.load(stream)  # noqa: S301 - the user asked for it
        except Exception:
            raise damaged(str(path), error) from None


def vet(member: bytes, name: str) -> None:
    """Refuse bytes written by `torch.save` that hold more than tensors and plain containers.

    Args:
        member: the bytes; none of them is run.
        name: what to call them in the message.

    Raises:
        ModelError: they do, or they are damaged.
    """
    try:
        _tensors(BytesIO(member))
    except Exception as error:
        raise _refusal(name, error) from None


def _tensors(source: Path | BytesIO) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols; what it cannot read it refuses
        return torch.load(source, map_location="cpu", weights_only=True)


def damaged(name: str, error: Exception) -> ModelError:
    """Return the refusal of a file that cannot be read."""
    return ModelError(
        f"Expected a readable checkpoint, found {name} damaged ({first_line(error)}); try saving it again."
    )


def first_line(error: BaseException) -> str:
    """The first line that says something, without a full stop at the end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:300]


def _refusal(name: str, error: Exception) -> ModelError:
    # the unpickler's own refusals are these; anything else means that the bytes are broken
    if not isinstance(error, pickle.UnpicklingError):
        return damaged(name, error)
    named = re.search(r"GLOBAL ([\w.]+)", str(error)) or re.search(r"[Cc]lass ([\w.]+)", str(error))
    asks = f" that asks for {named.group(1)}" if named else ""
    return ModelError(
        f"Expected tensors only, found in {name} a pickle{asks}, which runs code when it is loaded; try this: {REMEDY}."
    )
