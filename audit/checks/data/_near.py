"""Near duplicates: the closest other input, by a distance fit for each modality, in bounded time and memory.

Every function takes queries, distinct references and, for each query, the position of its identical reference (-1 where
there is none), which is passed over. It returns the position of the closest other reference (-1 where none is close
enough) and how close it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, spatial

from audit.checks.data._rows import fingerprints, plain

if TYPE_CHECKING:
    from torch import Tensor

    from audit.datasets import Dataset

Close: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
#: elements of one block of a product, 64 MB as float32
BLOCK = 2**24
SIDE = 16
SHINGLE = 5
BUCKET_BITS = 24
#: the golden ratio times 2**64, a multiplier that spreads bits well (Knuth 1998, 6.4)
ODD = np.uint64(0x9E3779B97F4A7C15)


# ------------------------------------------------------------------------------------------------------------- tables


def coordinates(parts: Sequence[Dataset], radius: float) -> list[NDArray[np.float64]]:
    """Points of each part such that rows are within `radius` where their categories agree and their numbers are close.

    Numbers are in standard deviations over all parts. All categories of a row together make one more coordinate, whose
    values lie ten radii apart.
    """
    from audit.datasets import FeatureKind

    features = parts[0].features
    numeric = [c for f in features if f.kind is FeatureKind.NUMERIC for c in f.columns]
    categorical = [c for f in features if f.kind is FeatureKind.CATEGORICAL for c in f.columns]
    numbers = [np.asarray(part.inputs)[:, numeric].astype(np.float64) for part in parts]
    scale = np.concatenate(numbers).std(axis=0)
    scale[scale == 0] = 1.0
    prints = [fingerprints(_tensor(part)[:, categorical]) for part in parts]
    known = np.unique(np.concatenate(prints))
    return [
        np.column_stack([values / scale, np.searchsorted(known, marks) * 10.0 * radius])
        for values, marks in zip(numbers, prints, strict=True)
    ]


def _tensor(part: Dataset) -> Tensor:
    assert not isinstance(part.inputs, list)
    return part.inputs


def near_points(
    queries: NDArray[np.float64], references: NDArray[np.float64], identical: NDArray[np.int64], radius: float
) -> Close:
    """Euclidean neighbours within `radius`, by a k-d tree (Bentley 1975)."""
    tree = spatial.cKDTree(references)
    distance, at = tree.query(queries, k=2, distance_upper_bound=np.nextafter(radius, np.inf))
    distance, at = np.reshape(distance, (-1, 2)), np.reshape(at, (-1, 2))
    own = at[:, 0] == identical
    partner = np.where(own, at[:, 1], at[:, 0])
    closest = np.where(own, distance[:, 1], distance[:, 0])
    found = np.isfinite(closest)
    return np.where(found, partner, -1), np.where(found, closest, np.inf)


# ------------------------------------------------------------------------------------------------------------- images


def thumbnails(images: Tensor) -> NDArray[np.float32]:
    """Grey thumbnails of at most 16 x 16 pixels with mean 0 and norm 1, (n, pixels); a uniform image is all zeros."""
    from torch.nn.functional import adaptive_avg_pool2d

    grey = images.mean(1, keepdim=True)
    small = adaptive_avg_pool2d(grey, (min(SIDE, grey.shape[2]), min(SIDE, grey.shape[3])))
    return _normalised(small.flatten(1).numpy())


def _normalised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = values - values.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(norm < 1e-6, np.inf, norm), dtype=np.float32)


def near_images(queries: Tensor, references: Tensor, identical: NDArray[np.int64], correlation: float) -> Close:
    """The best correlated thumbnail, kept where the full images correlate as well; blind to brightness and contrast."""
    small, others = thumbnails(queries), thumbnails(references)
    step = max(1, BLOCK // max(1, len(others)))
    partner = np.empty(len(small), dtype=np.int64)
    for start in range(0, len(small), step):
        product = small[start : start + step] @ others.T
        own = identical[start : start + step]
        product[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
        partner[start : start + step] = product.argmax(axis=1)
    closeness = np.empty(len(small))
    for start in range(0, len(small), 1024):
        part = slice(start, start + 1024)
        a = _normalised(queries[part].mean(1).flatten(1).numpy())
        b = _normalised(references[partner[part]].mean(1).flatten(1).numpy())
        closeness[part] = (a * b).sum(axis=1)
    found = (closeness >= correlation) & (partner != identical)
    return np.where(found, partner, -1), np.where(found, closeness, -np.inf)


# -------------------------------------------------------------------------------------------------------------- texts


def shingles(texts: Sequence[str], characters: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct runs of five characters of each text, as (text index, bucket) pairs.

    Within a text, runs stand from the rarest to the commonest over all texts. Runs are hashed into 2**24 buckets: two
    texts of a thousand runs each share about 0.06 of them by collision.
    """
    cut = [plain(text)[:characters] for text in texts]
    points = np.frombuffer("".join(cut).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    owner = np.repeat(np.arange(len(cut), dtype=np.uint64), [len(text) for text in cut])
    if len(points) < SHINGLE:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    mixed = np.zeros(len(points) - SHINGLE + 1, dtype=np.uint64)
    for offset in range(SHINGLE):  # multiply by an odd number modulo 2**64, fold the high bits back
        mixed = mixed * ODD + points[offset : offset + len(mixed)]
        mixed ^= mixed >> np.uint64(29)
    mixed *= ODD  # else the last character would not reach the high bits
    inside = owner[: len(mixed)] == owner[SHINGLE - 1 :]  # a run must not cross two texts
    bits = np.uint64(BUCKET_BITS)
    packed = np.sort(owner[: len(mixed)][inside] << bits | (mixed[inside] >> np.uint64(64 - BUCKET_BITS)))
    packed = packed[np.diff(packed, prepend=packed[:1] - np.uint64(1)) != 0]
    bucket = packed & np.uint64(2**BUCKET_BITS - 1)
    texts_with = np.minimum(np.bincount(bucket.astype(np.int64)), 2**16 - 1).astype(np.uint64)
    # one sort of (text, frequency, bucket) packed into 64 bits: 24 + 16 + 24
    packed = np.sort((packed >> bits) << np.uint64(40) | texts_with[bucket] << bits | bucket)
    return (packed >> np.uint64(40)).astype(np.int64), (packed & np.uint64(2**BUCKET_BITS - 1)).astype(np.int64)


def near_texts(
    queries: Sequence[str], references: Sequence[str], identical: NDArray[np.int64], jaccard: float, characters: int
) -> Close:
    """The largest Jaccard similarity of character shingles of at least `jaccard`, found by prefix filtering.

    Two sets that similar share at least k of each one's |A| - ceil(jaccard |A|) + k rarest elements (Chaudhuri, Ganti
    and Kaushik 2006; Wang, Li and Feng 2012), so only texts that share enough rare shingles are compared.
    """
    owner, bucket = shingles([*queries, *references], characters)
    split, texts = len(queries), len(queries) + len(references)
    sizes = np.bincount(owner, minlength=texts)
    # the tolerance keeps a product such as 0.8 * 5 from rounding above its integer
    overlap = np.ceil(jaccard * sizes - 1e-9).astype(np.int64)
    shared = np.minimum(1 + sizes // 5, overlap)
    place = np.arange(len(owner)) - np.concatenate([[0], np.cumsum(sizes)])[owner]
    rare = place < (sizes - overlap + shared)[owner]
    columns = np.zeros(2**BUCKET_BITS, dtype=np.int64)
    columns[bucket[rare]] = 1
    columns = np.cumsum(columns) - 1  # bucket -> column among those in use
    rarest = _matrix(owner[rare], columns[bucket[rare]], texts, int(columns[-1]) + 1)
    whole = _matrix(owner, bucket, texts, 2**BUCKET_BITS)
    others = rarest[split:].T.tocsr()
    partner = np.full(split, -1, dtype=np.int64)
    closeness = np.full(split, -np.inf)
    for start in range(0, split, 256):
        pairs = (rarest[start : min(start + 256, split)] @ others).tocoo()
        a, b = pairs.row.astype(np.int64) + start, pairs.col.astype(np.int64)
        enough = (pairs.data >= np.minimum(shared[a], shared[b + split])) & (b != identical[a])
        a, b = a[enough], b[enough]
        similar = _jaccard(whole, a, b + split, sizes)
        best = np.argsort(similar, kind="stable")  # the last one written to a row is its best
        best = best[similar[best] >= jaccard - 1e-9]
        partner[a[best]], closeness[a[best]] = b[best], similar[best]
    return partner, closeness


def _matrix(rows: NDArray[np.int64], columns: NDArray[np.int64], n: int, width: int) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=(n, width))


def _jaccard(
    sets: sparse.csr_matrix, a: NDArray[np.int64], b: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    shared = np.empty(len(a))
    for start in range(0, len(a), 4096):
        part = slice(start, start + 4096)
        shared[part] = np.asarray(sets[a[part]].multiply(sets[b[part]]).sum(axis=1)).ravel()
    return np.asarray(shared / np.maximum(sizes[a] + sizes[b] - shared, 1))
