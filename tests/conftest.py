"""A small model with its data on disk, and the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.chromium import CHROMIUM, QUIET

FACTORY = """
import torch

def build():
    return torch.nn.Linear(3, 2)
"""


@dataclass
class Files:
    """A linear model on three numeric columns, its data and its plan."""

    folder: Path

    @property
    def plan(self) -> Path:
        return self.folder / "plan.yaml"

    @property
    def model(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def test(self) -> Path:
        return self.folder / "test.csv"

    def change(self, **changes: object) -> None:
        """Set keys of the plan, dotted with two underscores: data__label="x"."""
        document = yaml.safe_load(self.plan.read_text())
        for dotted, value in changes.items():
            *path, last = dotted.split("__")
            part = document
            for key in path:
                part = part.setdefault(key, {})
            part[last] = value
        self.plan.write_text(yaml.safe_dump(document))

    def rows(self) -> pd.DataFrame:
        return pd.read_csv(self.test)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    rng = np.random.default_rng(0)
    weight = torch.tensor([[-1.0, -0.5, 0.0], [1.0, 0.5, 0.0]])
    save_file({"weight": weight, "bias": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "toy_network.py").write_text(FACTORY)
    for split, n in (("train", 300), ("test", 200)):
        x = rng.normal(size=(n, 3)).round(4)
        y = (2 * x[:, 0] + x[:, 1] + rng.normal(0, 0.5, n) > 0).astype(int)
        frame = pd.DataFrame(x, columns=["earnings", "debt", "noise"])
        frame["sex"] = np.where(rng.random(n) < 0.5, 1, 0)
        frame["granted"] = np.where(y, "yes", "no")
        frame.to_csv(tmp_path / f"{split}.csv", index=False)
    encoder = {
        "version": 1,
        "features": [{"name": c, "kind": "numeric", "mean": 0.0, "std": 1.0} for c in ("earnings", "debt", "noise")],
    }
    (tmp_path / "encoder.json").write_text(json.dumps(encoder))
    plan = {
        "name": "toy",
        "model": {
            "path": "model.safetensors",
            "factory": "toy_network:build",
            "modality": "tabular",
            "classes": ["no", "yes"],
        },
        "data": {
            "test": "test.csv",
            "train": "train.csv",
            "label": "granted",
            "protected": ["sex"],
            "encoder": "encoder.json",
            "favourable": "yes",
        },
        "effort": "quick",
        "seed": 0,
        "device": "cpu",
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    return Files(tmp_path)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; returns exit code, standard output and standard error."""
    from audit.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        out = capsys.readouterr()
        return int(stop.value.code or 0), out.out, out.err

    return call


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, driven by playwright; no browser is downloaded."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        yield found
        found.close()
