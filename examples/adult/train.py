"""Train the census classifier: `python train.py` rewrites `encoder.json` and `model.safetensors`.

The same seed writes the same bytes on the same machine: every random draw comes from one seeded generator, the
number of threads is fixed, and torch is told to refuse operations whose result depends on timing.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from model import build
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
LABEL, CLASSES = "salary", ["<=50K", ">50K"]
NUMERIC = ["age", "education-num", "capital-gain", "capital-loss", "hours-per-week"]
CATEGORICAL = ["workclass", "marital-status", "occupation", "relationship", "race", "sex", "native-country"]
# Left out: `fnlwgt` (a survey weight, not a trait) and `education` (`education-num` says the same as a number).


def fit_encoder(table: pd.DataFrame) -> dict[str, Any]:
    """Learn means, deviations and categories from the training rows; the result is plain data."""
    features: list[dict[str, Any]] = []
    for name in NUMERIC:
        column = table[name].to_numpy(np.float64)
        features.append({"name": name, "kind": "numeric", "mean": float(column.mean()), "std": float(column.std())})
    features += [
        {"name": name, "kind": "categorical", "categories": sorted(table[name].unique())} for name in CATEGORICAL
    ]
    return {"version": 1, "features": features}


def encode(table: pd.DataFrame, encoder: dict[str, Any]) -> Tensor:
    """Turn rows into (n, 86) numbers: numerics standardised, categoricals one-hot, an unseen category all zeros."""
    columns: list[np.ndarray] = []
    for feature in encoder["features"]:
        values = table[feature["name"]].to_numpy()
        if feature["kind"] == "numeric":
            columns.append((values.astype(np.float64) - feature["mean"]) / feature["std"])
        else:
            columns.extend((values == category).astype(np.float64) for category in feature["categories"])
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


def read(name: str) -> tuple[pd.DataFrame, Tensor]:
    """Return the table and its labels, 0 for "<=50K" and 1 for ">50K"."""
    table = pd.read_parquet(HERE / name)
    return table, torch.tensor([CLASSES.index(value) for value in table[LABEL]])


@torch.no_grad()
def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of rows whose larger logit is the right one."""
    model.eval()
    return float((model(inputs).argmax(1) == labels).float().mean())


def train(inputs: Tensor, labels: Tensor, epochs: int, seed: int, batch: int = 256) -> nn.Module:
    """Minimise the cross-entropy with AdamW under a learning rate that rises, then falls to zero."""
    torch.manual_seed(seed)  # initial weights and dropout
    order = torch.Generator().manual_seed(seed)
    model = build()
    steps = epochs * -(-len(inputs) // batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps + 1)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(inputs), generator=order).split(batch):
            loss = F.cross_entropy(model(inputs[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        print(f"epoch {epoch + 1:>2}/{epochs}  loss {total / len(inputs):.4f}", flush=True)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--limit", type=int, help="train on the first N rows only")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: this one)")
    args = parser.parse_args()

    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # sums are split by thread: another number of threads, other last digits

    table, labels = read("train.parquet")
    test_table, test_labels = read("test.parquet")
    encoder = fit_encoder(table)
    inputs, test_inputs = encode(table, encoder), encode(test_table, encoder)
    model = train(inputs[: args.limit], labels[: args.limit], args.epochs, args.seed)

    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "encoder.json").write_text(json.dumps(encoder, indent=1) + "\n", encoding="utf-8")
    save_file(model.state_dict(), args.out / "model.safetensors")
    print(f"train accuracy {accuracy(model, inputs[: args.limit], labels[: args.limit]):.4f}")
    print(f"test accuracy  {accuracy(model, test_inputs, test_labels):.4f}")


if __name__ == "__main__":
    main()
