"""Train the clothes classifier: `python train.py` rewrites `model.safetensors` and `model.pt2`.

The same seed writes the same weights on the same machine: every random draw comes from one seeded generator, the
number of threads is fixed, and torch is told to refuse operations whose result depends on timing.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from model import build
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
MEAN, STD = 0.287, 0.353  # of the training pixels, scaled to [0, 1]; plan.yaml repeats them


def read(split: str) -> tuple[Tensor, Tensor]:
    """Return normalised images (n, 1, 28, 28) and labels (n,) of "train" or "test"."""
    with np.load(HERE / "data.npz") as arrays:
        images = torch.from_numpy(arrays[f"{split}_images"]).float().div(255).unsqueeze(1)
        labels = torch.from_numpy(arrays[f"{split}_labels"]).long()
    return (images - MEAN) / STD, labels


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images and shift the batch by up to two pixels: a shoe is a shoe facing either way."""
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    images = torch.where(mirrored, images.flip(3), images)
    down, right = torch.randint(5, (2,), generator=generator).tolist()
    return F.pad(images, (2, 2, 2, 2), value=-MEAN / STD)[:, :, down : down + 28, right : right + 28]


@torch.no_grad()
def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit is the right one."""
    model.eval()
    predicted = torch.cat([model(images).argmax(1) for images in inputs.split(500)])
    return float((predicted == labels).float().mean())


def train(inputs: Tensor, labels: Tensor, epochs: int, seed: int, batch: int = 100) -> nn.Module:
    """Minimise the cross-entropy with AdamW under a learning rate that rises, then falls to zero."""
    torch.manual_seed(seed)  # initial weights and dropout
    generator = torch.Generator().manual_seed(seed)  # order and jitter
    model = build()
    steps = epochs * -(-len(inputs) // batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=5e-3, total_steps=steps + 1)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(inputs), generator=generator).split(batch):
            loss = F.cross_entropy(model(jitter(inputs[rows], generator)), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        print(f"epoch {epoch + 1:>2}/{epochs}  loss {total / len(inputs):.4f}", flush=True)
    return model.eval()


def save(model: nn.Module, folder: Path) -> None:
    """Write the bare weights, and the exported program, which needs no `model.py` to run."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    batch = torch.export.Dim("batch", min=1, max=65536)
    program = torch.export.export(model, (torch.zeros(2, 1, 28, 28),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "model.pt2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--limit", type=int, help="train on the first N images only")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: this one)")
    args = parser.parse_args()

    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # sums are split by thread: another number of threads, other last digits

    inputs, labels = read("train")
    model = train(inputs[: args.limit], labels[: args.limit], args.epochs, args.seed)
    save(model, args.out)
    print(f"train accuracy {accuracy(model, inputs[: args.limit], labels[: args.limit]):.4f}")
    print(f"test accuracy  {accuracy(model, *read('test')):.4f}")


if __name__ == "__main__":
    main()
