"""The examples hold what their pages claim: accuracy, size, and weights that the same seed writes again.

Nothing here goes through the audit: the figures are computed with plain torch.
"""

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("adult", "fashion", "movies")
RUNS = {"first": 0, "again": 0, "other": 1}  # name -> seed

Digests = dict[str, str]


def plan(name: str, file: str = "plan.yaml") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((EXAMPLES / name / file).read_text(encoding="utf-8"))
    return loaded


def network(name: str) -> nn.Module:
    """The example's own factory with the shipped weights in it."""
    spec = importlib.util.spec_from_file_location(f"{name}_model", EXAMPLES / name / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: nn.Module = module.build()
    model.load_state_dict(load_file(EXAMPLES / name / "model.safetensors"))
    return model.eval()


def clothes() -> tuple[Tensor, Tensor]:
    """The test images, normalised as the plan says, and their labels."""
    described = plan("fashion")["model"]
    with np.load(EXAMPLES / "fashion" / "data.npz") as arrays:
        images = torch.from_numpy(arrays["test_images"]).float().div(255).unsqueeze(1)
        labels = torch.from_numpy(arrays["test_labels"]).long()
    return (images - described["mean"][0]) / described["std"][0], labels


def train(name: str, seed: int, out: Path) -> Digests:
    """Train briefly in a process of its own; return the SHA-256 of every file written."""
    script = str(EXAMPLES / name / "train.py")
    brief = ["--epochs", "1", "--limit", "200", "--seed", str(seed), "--out", str(out)]
    done = subprocess.run([sys.executable, script, *brief], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Future[Digests]]]:
    """All brief trainings, two at a time; whoever asks for one waits for that one."""
    folder = tmp_path_factory.mktemp("trained")
    with ThreadPoolExecutor(2) as pool:
        yield {
            (name, run): pool.submit(train, name, seed, folder / name / run)
            for name in NAMES
            for run, seed in RUNS.items()
        }


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes_other_seed_other_weights(
    name: str, trained: dict[tuple[str, str], Future[Digests]]
) -> None:
    first, again, other = (trained[name, run].result() for run in RUNS)
    assert first == again
    weights = [file for file in first if file.endswith(("model.safetensors", "model.pt2"))]
    assert len(weights) == (2 if name == "fashion" else 1)
    assert all(first[file] != other[file] for file in weights)


@torch.no_grad()
def test_adult_reaches_its_accuracy() -> None:
    encoder = json.loads((EXAMPLES / "adult" / "encoder.json").read_text(encoding="utf-8"))
    described = plan("adult")
    table = pd.read_parquet(EXAMPLES / "adult" / described["data"]["test"])
    columns = []
    for feature in encoder["features"]:
        values = table[feature["name"]]
        if feature["kind"] == "numeric":
            columns.append(((values - feature["mean"]) / feature["std"]).to_numpy(np.float32)[:, None])
        else:
            columns.append((values.to_numpy()[:, None] == np.array(feature["categories"])).astype(np.float32))
    scores = network("adult")(torch.from_numpy(np.concatenate(columns, axis=1)))
    predicted = np.array(described["model"]["classes"])[scores.argmax(1).numpy()]
    assert (predicted == table[described["data"]["label"]].to_numpy()).mean() >= 0.845


@torch.no_grad()
def test_fashion_reaches_its_accuracy_and_both_checkpoints_agree() -> None:
    images, labels = clothes()
    model, exported = network("fashion"), torch.export.load(EXAMPLES / "fashion" / "model.pt2").module()
    scores = model(images)
    assert float((scores.argmax(1) == labels).float().mean()) >= 0.87
    for n in (1, 2, 500):
        torch.testing.assert_close(exported(images[:n]), scores[:n], rtol=1e-4, atol=1e-4)


def test_both_fashion_plans_differ_in_the_checkpoint_only() -> None:
    weights, exported = plan("fashion"), plan("fashion", "plan-pt2.yaml")
    assert weights["data"] == exported["data"]
    differing = {key for key in weights["model"] if weights["model"][key] != exported["model"].get(key)}
    assert differing == {"path", "factory"}


@torch.no_grad()
def test_movies_reaches_its_accuracy_with_either_attention() -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    described = plan("movies")
    folder = EXAMPLES / "movies" / described["model"]["path"]
    table = pd.read_parquet(EXAMPLES / "movies" / described["data"]["test"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = tokenizer(table["text"].tolist(), padding=True, truncation=True, return_tensors="pt")
    scores = []
    for attention in ("sdpa", "eager"):
        model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation=attention).eval()
        scores.append(model(**words).logits)
        assert list(model.config.id2label.values()) == described["model"]["classes"]
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-4, atol=1e-4)
    predicted = np.array(described["model"]["classes"])[scores[0].argmax(1).numpy()]
    assert (predicted == table["label"].to_numpy()).mean() >= 0.74


def test_no_sentence_is_in_both_splits() -> None:
    splits = [set(pd.read_parquet(EXAMPLES / "movies" / f"{name}.parquet")["text"]) for name in ("train", "test")]
    assert not splits[0] & splits[1]


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*/plan*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_a_plan_names_files_that_exist(path: Path) -> None:
    described = plan(path.parent.name, path.name)
    named = [described["model"]["path"], *(described["data"].get(key) for key in ("test", "train", "encoder"))]
    assert all((path.parent / file).exists() for file in named if file)
    assert (path.parent / "LICENCE.md").exists()
    assert (path.parent / "README.md").exists()


def test_checkpoints_are_small() -> None:
    names = ("model.safetensors", "model.pt2", "encoder.json", "model/*")
    assert sum(path.stat().st_size for name in names for path in EXAMPLES.glob(f"*/{name}")) < 10e6
    assert sum(path.stat().st_size for ending in ("parquet", "npz") for path in EXAMPLES.glob(f"*/*.{ending}")) < 8e6
