"""TorchScript archives."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import torch
from torch import nn

from audit.errors import ModelError
from audit.loading.pickles import REMEDY, damaged
from audit.subject import Capability

#: operators that read or write files; a script may call them as functions, as methods, or through `getattr`
_FILES = re.compile(r"\b(save|from_file|load_tensor)\b")
_NAMESPACE = re.compile(r"\bops\s*\.\s*(?!(?:aten|prim|prims|quantized|_quantized|torchvision)\b)(\w+)")
#: the printer writes a child called "0" as getattr(self, "0"); escapes would hide a name from the patterns above
_ODD_GETATTR = re.compile(r"\bgetattr\s*\((?!\s*[\w.()]+\s*,\s*\"[\w.]*\"\s*\))")


def load(path: Path, device: torch.device, trust_pickle: bool = False) -> nn.Module:
    """Return the scripted or traced module in an archive.

    torch's C++ reader of these archives makes tensors, containers and scripted classes only; what is left to look for
    is script code that reaches the file system, for a `__setstate__` runs while the archive is loaded.

    Args:
        path: the archive.
        device: where it is to run.
        trust_pickle: do not look.

    Raises:
        ModelError: it is damaged, or its code reads or writes files and is not trusted.
    """
    archive = path.read_bytes()
    try:
        if not trust_pickle:
            _vet(archive, path)
        module: nn.Module = torch.jit.load(BytesIO(archive), map_location=device)  # type: ignore[no-untyped-call]
    except ModelError:
        raise
    except Exception as error:
        raise damaged(str(path), error) from None
    return module.eval()


def capabilities(module: nn.Module) -> frozenset[Capability]:
    """What the module allows: never hooks (torch refuses them), and training only where weights were not frozen in."""
    trainable = next(module.parameters(), None) is not None
    return frozenset({Capability.INPUT_GRADIENT} | ({Capability.TRAIN} if trainable else set()))


def _vet(archive: bytes, path: Path) -> None:
    reader = torch._C.PyTorchFileReader(BytesIO(archive))
    for name in reader.get_all_records():
        if not (name.startswith("code/") and name.endswith(".py")):
            continue
        code = reader.get_record(name).decode(errors="replace")
        for pattern in (_FILES, _NAMESPACE, _ODD_GETATTR):
            if found := pattern.search(code):
                raise ModelError(
                    f"Expected a script that only computes, found {found.group(0)!r} in {path} ({name}), which may "
                    f"reach files; try this: {REMEDY}."
                )
