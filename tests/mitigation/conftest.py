"""A biased table with its network on disk, whose features leave the protected attribute out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.conftest import Files

FACTORY = """
import torch
from toy_layers import wide

def build():
    return torch.nn.Sequential(wide(), torch.nn.ReLU(), torch.nn.Linear(8, 2))
"""


def people(n: int, seed: int) -> pd.DataFrame:
    """Rows in which women earn less and are granted less for the same earnings."""
    rng = np.random.default_rng(seed)
    woman = rng.random(n) < 0.45
    frame = pd.DataFrame({"earnings": rng.normal(size=n) - 0.8 * woman, "debt": rng.normal(size=n)})
    frame["trace"] = rng.normal(size=n) + 1.2 * woman
    odds = 2 * frame["earnings"] - frame["debt"] - 0.8 * woman
    frame["sex"] = np.where(rng.random(n) < 0.03, None, np.where(woman, "f", "m"))
    frame["age"] = rng.integers(18, 80, n)
    frame["granted"] = np.where(rng.random(n) < 1 / (1 + np.exp(-odds)), "yes", "no")
    return frame


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def biased(tmp_path: Path, one_thread: None) -> Files:
    names = ["earnings", "debt", "trace"]
    tables = {"train": people(1200, 0), "test": people(700, 1)}
    for split, frame in tables.items():
        frame.to_csv(tmp_path / f"{split}.csv", index=False)
    (tmp_path / "toy_network.py").write_text(FACTORY)
    (tmp_path / "toy_layers.py").write_text("import torch\n\ndef wide():\n    return torch.nn.Linear(3, 8)\n")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        x = torch.from_numpy(tables["train"][names].to_numpy(np.float32))
        y = torch.from_numpy((tables["train"]["granted"] == "yes").to_numpy().astype(np.int64))
        optimiser = torch.optim.Adam(network.parameters(), 0.03)
        for _ in range(80):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x), y).backward()
            optimiser.step()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    features = [{"name": name, "kind": "numeric", "mean": 0.0, "std": 1.0} for name in names]
    (tmp_path / "encoder.json").write_text(json.dumps({"version": 1, "features": features}))
    plan = {
        "name": "toy",
        "model": {
            "path": "model.safetensors", "factory": "toy_network:build", "modality": "tabular", "classes": ["no", "yes"],
        },
        "data": {
            "test": "test.csv", "train": "train.csv", "label": "granted", "protected": ["sex", "age"],
            "encoder": "encoder.json", "favourable": "yes",
        },
        "effort": "quick",
        "device": "cpu",
        "mitigate": {"epochs": 2, "margin": 0.05, "only": ["fit.accuracy", "fairness.disparity"]},
    }  # fmt: skip
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    return Files(tmp_path)
