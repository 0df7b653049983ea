"""Image corruptions, ours against the `imagecorruptions` package, in one run.

    benchmarks/.venv/bin/python benchmarks/corruptions.py

Throughput: both corrupt the same colour images of 64 and of 224 pixels on two threads, in turn, and the median of the
repeats is shown as milliseconds an image; the ratio of CPU times is the one a busy machine does not spoil. The peer takes one image at a time, so its time an image does not depend on
how many there are, and it is given fewer. Correctness, at 224 pixels where both follow the published ImageNet-C table:
the root mean square of the change at each severity, and the accuracy of the Fashion network on what both return.

The package predates numpy 2, scikit-image 0.19 and setuptools 81; `peer` names what is put back for it.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

sys.path[0] = str(Path(__file__).parent.parent)  # from its own folder this file would hide the package of its name

import attacks
from benchmarks.fashion import points, standard

SEVERITIES = (1, 2, 3, 4, 5)
SIZES = (64, 224)
#: what the package draws otherwise than we do, on purpose
DIFFERENT = {
    "glass_blur": "all pixels at once, not one swap after the other",
    "snow": "flakes drawn at a coarser grid",
    "spatter": "mud at every severity; theirs is water up to 3",
    "saturate": "severities grow one way; theirs begin by fading",
    "elastic_transform": "a coarser field of the same size",
    "fog": "amplitudes of the same decay, other draws",
}
Corrupt = Callable[[Tensor, str, int], Tensor]


def peer(threads: int) -> Corrupt:
    """The package as a function of images in [0, 1], after what it needs has been put back.

    `pkg_resources.resource_filename` (gone from setuptools) finds its frost pictures, `numpy.float_` went with numpy 2,
    and scikit-image's `gaussian` says `channel_axis` where it said `multichannel`.
    """
    found = importlib.util.find_spec("imagecorruptions")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent
    resources = types.ModuleType("pkg_resources")
    resources.resource_filename = lambda _, path: str(folder / path)
    sys.modules.setdefault("pkg_resources", resources)
    vars(np).setdefault("float_", np.float64)
    import cv2
    import skimage.filters
    from imagecorruptions import corrupt, corruptions

    def gaussian(image: NDArray, sigma: float = 1, multichannel: bool = False, **rest: object) -> NDArray:
        return skimage.filters.gaussian(image, sigma, channel_axis=-1 if multichannel else None, **rest)

    corruptions.gaussian = gaussian
    cv2.setNumThreads(threads)

    def many(images: Tensor, name: str, severity: int) -> Tensor:
        pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        spoilt = np.stack([corrupt(image, severity, name) for image in pixels])
        return torch.from_numpy(spoilt).permute(0, 3, 1, 2).float() / 255

    return many


def shared() -> list[str]:
    """Names both know."""
    from imagecorruptions import get_corruption_names

    return [name for name in attacks.CORRUPTIONS if name in get_corruption_names("all")]


def colour(images: Tensor, size: int) -> Tensor:
    """Grey images of 28 pixels as colour images of this size; each channel a little darker than the last."""
    large = functional.interpolate(images, size=(size, size), mode="bilinear").clamp(0, 1)
    return (large * torch.tensor([1.0, 0.9, 0.8])[None, :, None, None] * 255).round() / 255


def clocked(work: Callable[[], object], images: int) -> tuple[float, float]:
    """Milliseconds an image: CPU time, wall time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.process_time() - cpu) * 1000 / images, (time.perf_counter() - wall) * 1000 / images


def throughput(theirs: Corrupt, names: list[str], options: argparse.Namespace) -> list[str]:
    """Milliseconds an image of both, one line a corruption and size; returns the summaries."""
    print("\nThroughput, ms an image (median; means of severities", *options.severities, end=")\n")
    print(
        f"{'size':>4}  {'corruption':<18}{'their CPU':>10}{'our CPU':>9}{'ratio':>7}{'their wall':>12}{'our wall':>10}{'ratio':>7}"
    )
    said = []
    for size in SIZES:
        x, _ = points(options.images)
        x = colour(x, size)
        totals, slow = np.zeros(4), []
        for name in names:
            few = x[: min(len(x), options.peer_images if name != "glass_blur" else 2)]
            rows = []
            for severity in options.severities:
                attacks.corrupt(x, name, severity)
                theirs(few[:1], name, severity)
                pairs = [
                    (
                        *clocked(partial(theirs, few, name, severity), len(few)),
                        *clocked(partial(attacks.corrupt, x, name, severity), len(x)),
                    )
                    for _ in range(options.repeats)
                ]
                rows.append([statistics.median(column) for column in zip(*pairs, strict=True)])
            cost = np.mean(rows, axis=0)
            totals += cost
            cpu, wall = cost[0] / cost[2], cost[1] / cost[3]
            slow += [f"{name} {cpu:.1f}"] if cpu < 10 else []
            print(
                f"{size:>4}  {name:<18}{cost[0]:>10.3f}{cost[2]:>9.3f}{cpu:>6.1f}x{cost[1]:>12.3f}{cost[3]:>10.3f}{wall:>6.1f}x"
            )
        cpu, wall = totals[0] / totals[2], totals[1] / totals[3]
        print(
            f"{size:>4}  {'all':<18}{totals[0]:>10.3f}{totals[2]:>9.3f}{cpu:>6.1f}x{totals[1]:>12.3f}{totals[3]:>10.3f}{wall:>6.1f}x"
        )
        print(f"      below 10x in CPU time: {', '.join(slow) or 'none'}")
        said.append(f"{size} px: {cpu:.1f}x CPU, {wall:.1f}x wall")
    return said


def correctness(theirs: Corrupt, names: list[str], options: argparse.Namespace) -> str:
    """Strength and accuracy of both at 224 pixels, one line a corruption; returns the summary."""
    grey, labels = points(options.points)
    clean = colour(grey, 224)
    model = standard()

    def accuracy(images: Tensor, truth: Tensor) -> float:
        small = functional.interpolate(images[:, :1], size=(28, 28), mode="area")
        with torch.no_grad():
            return float((model(small).argmax(1) == truth).float().mean()) * 100

    print(
        f"\nCorrectness at 224 px, severities 1 to 5 ({len(clean)} images; clean accuracy {accuracy(clean, labels):.1f} %)"
    )
    print(f"{'corruption':<18}{'their change (RMS x 1000)':>30}{'our change':>28}{'accuracy, theirs - ours':>34}")
    same = []
    for name in names:
        few = slice(0, 10 if name == "glass_blur" else None)
        x, y = clean[few], labels[few]
        changes: list[list[float]] = [[], []]
        differences = []
        for severity in SEVERITIES:
            np.random.seed(severity)  # noqa: NPY002 - the package draws from the global generator
            both = theirs(x, name, severity), attacks.corrupt(x, name, severity)
            for kept, spoilt in zip(changes, both, strict=True):
                kept.append(float((spoilt - x).square().mean().sqrt()) * 1000)
            differences.append(accuracy(both[0], y) - accuracy(both[1], y))
        rising = all(b > a for a, b in zip(changes[1], changes[1][1:], strict=False))
        cells = ["".join(f"{v:>6.0f}" for v in kept) for kept in changes] + [
            "".join(f"{v:>+6.1f}" for v in differences)
        ]
        note = DIFFERENT.get(name, "") + ("" if rising else " OURS DOES NOT GROW")
        print(f"{name:<18}{cells[0]:>30}{cells[1]:>28}{cells[2]:>34}  {note}")
        same += [] if name in DIFFERENT else [float(np.mean(np.abs(differences)))]
    return f"accuracy a cell differs by {np.mean(same):.1f} points on average where the algorithm is the same"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64, help="images we corrupt at a time")
    parser.add_argument("--peer-images", type=int, default=8, help="images the peer is timed on (glass blur: 2)")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats")
    parser.add_argument("--severities", type=int, nargs="+", default=[1, 3, 5], help="timed severities")
    parser.add_argument("--points", type=int, default=60, help="images for strength and accuracy")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and OpenCV")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    theirs = peer(options.threads)
    names = shared()
    agreement = correctness(theirs, names, options)
    said = throughput(theirs, names, options)
    print(f"\n{len(names)} shared corruptions. {'; '.join(said)}; {agreement}.")


if __name__ == "__main__":
    main()
