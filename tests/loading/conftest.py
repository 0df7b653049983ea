"""Small models on disk, and a payload that leaves a mark where it runs."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What a payload that runs creates."""
    return tmp_path / "payload-ran"


class Payload:
    """Unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


@pytest.fixture
def payload(marker: Path) -> Payload:
    return Payload(marker)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)).eval()


@pytest.fixture
def net() -> nn.Module:
    """(n, 4) -> (n, 3)."""
    return network()


@pytest.fixture
def build() -> Callable[[], nn.Module]:
    """The factory of an untrained `net`, with other weights."""
    return lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.randn(11, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def saved() -> Callable[[object], bytes]:
    """What `torch.save` writes."""

    def save(value: object) -> bytes:
        buffer = io.BytesIO()
        torch.save(value, buffer)
        return buffer.getvalue()

    return save


@pytest.fixture
def rewritten() -> Callable[..., Path]:
    """Copy a zip archive with some members changed; a key names the end of a member, None drops it."""

    def rewrite(source: Path, target: Path, changes: dict[str, object], extra: dict[str, bytes] | None = None) -> Path:
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
            root = old.namelist()[0].split("/")[0]
            for item in old.infolist():
                content: object = old.read(item)
                for end, change in changes.items():
                    if item.filename.endswith(end):
                        content = change(content) if callable(change) else change
                if content is not None:
                    new.writestr(item.filename, content)  # type: ignore[arg-type]
            for name, content in (extra or {}).items():
                new.writestr(f"{root}/{name}", content)
        return target

    return rewrite


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., Path]:
    def export(module: nn.Module, example: torch.Tensor, dynamic: bool = True) -> Path:
        shapes = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
        path = tmp_path / "model.pt2"
        torch.export.save(torch.export.export(module.eval(), (example,), dynamic_shapes=shapes), path)
        return path

    return export
