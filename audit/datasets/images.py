"""Images: decoding files, image folders, and arrays to (n, C, H, W)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audit.datasets.archives import SPLITS
from audit.datasets.formats import IMAGE_SUFFIXES
from audit.datasets.raw import Raw
from audit.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

CHANNELS = (1, 3, 4)
#: what Pillow's other 8-bit modes are read as
MODES = {"L": "L", "RGB": "RGB", "RGBA": "RGBA", "1": "L", "P": "RGB", "LA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}


def decode(cells: Iterable[tuple[str, bytes | Path]]) -> NDArray[np.uint8]:
    """Decode images of one size to (n, H, W) or (n, H, W, C) bytes; grey ones become coloured among coloured ones.

    Args:
        cells: name for messages, and the encoded bytes or a path.

    Raises:
        DataError: an image that is damaged, has more than 8 bits a channel, or differs in size from the first.
    """
    read: list[Image] = []
    first = ""
    for name, content in cells:
        image = _decode_one(name, content)
        if not read:
            first = name
        elif image.size != read[0].size:
            a, b = ("x".join(map(str, i.size)) for i in (read[0], image))
            raise DataError(
                f"Expected images of one size, found {first} of {a} and {name} of {b} (width x height); "
                f"try resizing them as the model expects."
            )
        read.append(image)
    modes = {image.mode for image in read}
    if len(modes) > 1:
        common = "RGBA" if "RGBA" in modes else "RGB"
        read = [image.convert(common) for image in read]
    return np.stack([np.asarray(image) for image in read])


def _decode_one(name: str, content: bytes | Path) -> Image:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            if image.mode in MODES:
                return image.convert(MODES[image.mode])
            mode = image.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"Expected an image, found a damaged file {name} ({error}); try a fresh copy.") from None
    raise DataError(f"Expected 8 bits a channel, found {name} of mode {mode}; try converting it, or an npz of floats.")


def listing(path: Path) -> Mapping[str, list[tuple[Path, str]]]:
    """Split -> (file, class) of an image folder; the split is "" where the folder has none.

    Raises:
        DataError: an image that lies in no class folder.
    """
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    has_splits = bool(folders) and all(p.name.lower() in SPLITS for p in folders)
    found: dict[str, list[tuple[Path, str]]] = {}
    for root in folders if has_splits else [path]:
        files = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        for file in files:
            if file.parent == root:
                raise DataError(f"Expected one folder a class, found {file} outside any; try moving it into one.")
        found[root.name.lower() if has_splits else ""] = [(p, p.relative_to(root).parts[0]) for p in files]
    return found


def open_folder(path: Path, split: str) -> Raw:
    """Read one split of an image folder; the class is the folder's name.

    Raises:
        DataError: the split does not exist or is empty, or an image cannot be used.
    """
    import pandas as pd

    splits = listing(path)
    files = splits.get("", splits.get(split))
    if files is None:
        raise DataError(f"Expected a folder {split!r} in {path}, found {', '.join(splits)}; try one of these splits.")
    if not files:
        raise DataError(f"Expected images, found none in {path} for split {split!r}; try another folder.")
    pixels = decode((str(file.relative_to(path)), file) for file, _ in files)
    labels = [name for _, name in files]
    names = tuple(sorted({name for rows in splits.values() for _, name in rows}))
    return Raw(pd.DataFrame({"label": labels}), {"image": pixels}, {"label": names})


def to_tensor(array: NDArray[Any], name: str, bounds: tuple[float, float]) -> Tensor:
    """(n, H, W), (n, H, W, C) or (n, C, H, W) numbers to (n, C, H, W) float32; bytes are divided by 255.

    Raises:
        DataError: another shape, bytes with bounds other than (0, 1), or something other than real numbers.
    """
    import torch

    if array.dtype.kind not in "uifb":
        raise DataError(f"Expected numbers in images {name!r}, found {array.dtype}; try uint8 or float32.")
    if array.dtype == np.uint8:
        if tuple(bounds) != (0.0, 1.0):
            raise DataError(
                f"Expected bounds (0, 1), because 8-bit pixels are divided by 255, found {tuple(bounds)}; try leaving "
                f"bounds out, and declaring the model's own scaling as its mean and std."
            )
        array = array.astype(np.float32) / np.float32(255)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] in CHANNELS and (array.shape[3] not in CHANNELS or _square(array)):
        pass
    elif array.ndim == 4 and array.shape[3] in CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    else:
        raise DataError(
            f"Expected images of shape (n, height, width), (n, height, width, channels) or (n, channels, height, width) "
            f"with 1, 3 or 4 channels, found {array.shape} in {name!r}; try reshaping them."
        )
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _square(array: NDArray[Any]) -> bool:
    return bool(array.shape[2] == array.shape[3])
