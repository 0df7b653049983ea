"""Prediction in batches: any number of inputs, no gradient, and smaller batches where memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from audit.errors import ModelError, PlanError, nearest
from audit.loading.pickles import first_line
from audit.loading.wrapping import Head, Output, Wrapped, check_output

_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is the fastest one present.

    Raises:
        PlanError: there is none of that name here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:
        raise PlanError(
            f"Expected a device of this machine, found {name!r} ({first_line(error)}); try auto or cpu."
        ) from None
    return device


def choose_precision(name: str) -> torch.dtype | None:
    """Return the type mixed precision computes in; None for float32 throughout.

    Raises:
        PlanError: there is none of that name.
    """
    if name not in _PRECISIONS:
        raise PlanError(f"Expected a precision, found {name!r}{nearest(name, _PRECISIONS)}")
    return _PRECISIONS[name]


class Batches:
    """Runs a function over portions of `size` rows and halves `size` for good where memory runs out.

    Args:
        size: rows at a time, at first.
        device: where memory is freed.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        if size < 1:
            raise PlanError(f"Expected a batch size of at least 1, found {size}; try 256.")
        self.size = size
        self.device = device

    def run(self, rows: int, portion: Callable[[int, int], Tensor]) -> list[Tensor]:
        """Return `portion(start, stop)` for consecutive portions of `rows` rows.

        Raises:
            ModelError: memory does not suffice for one row.
        """
        done: list[Tensor] = []
        start = 0
        while start < rows:
            stop = min(start + self.size, rows)
            try:
                done.append(portion(start, stop))
                start = stop
                continue
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not _is_out_of_memory(error):
                    raise
                message = first_line(error)
            # outside the handler, whose traceback would keep the failed batch alive
            if stop - start == 1:
                raise ModelError(
                    f"Expected memory for one input on {self.device}, found too little ({message}); try another device."
                )
            self.size = (stop - start) // 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return done


class Predictor:
    """`Subject.predict` for tensors: (n, ...) inputs -> (n, classes) float32 scores on the CPU.

    The first batch is held against the declared output; every batch must be finite.

    Args:
        model: the wrapped network.
        device: where it runs.
        batch_size: rows at a time, at first.
        precision: type that autocast computes in; None for float32 throughout.
    """

    def __init__(self, model: Wrapped, device: torch.device, batch_size: int, precision: torch.dtype | None) -> None:
        self.model = model
        self.device = device
        self.precision = precision
        self.batches = Batches(batch_size, device)
        self.scoring = Scoring(model.head)

    def __call__(self, inputs: Tensor | list[str]) -> Tensor:
        """Scores.

        Raises:
            ModelError: the inputs do not fit, memory does not suffice, or outputs are not finite, not as many as the
                classes, or not what they are declared to be.
        """
        if not isinstance(inputs, Tensor):
            raise ModelError(f"Expected a tensor for this model, found {type(inputs).__name__}; try another modality.")

        def portion(start: int, stop: int) -> Tensor:
            batch = inputs[start:stop].to(self.device)
            try:
                raw = self.model.raw(batch)
            except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
                if isinstance(error, ModelError) or _is_out_of_memory(error):
                    raise
                raise ModelError(
                    f"Expected inputs that fit the network, found shape {tuple(batch.shape)} of {batch.dtype} "
                    f"({first_line(error)}); try other data or another factory."
                ) from error
            return self.scoring(raw, start, stop)

        with torch.inference_mode(), autocast(self.device, self.precision):
            done = self.batches.run(len(inputs), portion)
        # joined outside: what inference mode makes cannot take part in a gradient later
        return torch.cat(done) if done else torch.zeros(0, self.model.head.classes)


class Scoring:
    """Raw outputs -> scores on the CPU, checked.

    Args:
        head: what turns outputs into scores, and what they are declared to be.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self.checked = False

    def __call__(self, raw: Tensor, start: int, stop: int) -> Tensor:
        """Outputs of the input rows `start` to `stop`, (n, outputs), -> (n, classes) float32 on the CPU.

        Raises:
            ModelError: see `Predictor`.
        """
        scores: Tensor = self.head(raw).float().cpu()
        if len(scores) != stop - start:
            raise ModelError(
                f"Expected one row of outputs an input, found shape {tuple(raw.shape)} for {stop - start} inputs; try a "
                "network that keeps the batch dimension."
            )
        log = self.head.output is Output.LOG_PROBABILITIES  # of a probability 0
        wrong = ~(raw.isfinite() | (raw == -torch.inf) if log else raw.isfinite()).reshape(len(scores), -1).all(1)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise ModelError(
                f"Expected finite outputs, found {raw[row].tolist()} for input row {start + row}; try looking at the "
                "weights and at how the inputs are scaled."
            )
        if not self.checked:
            check_output(raw, self.head.output, self.head.classes)
            self.checked = True
        return scores


def autocast(device: torch.device, precision: torch.dtype | None) -> AbstractContextManager[object]:
    """Mixed precision on `device`, or nothing."""
    return nullcontext() if precision is None else torch.autocast(device.type, dtype=precision)


def _is_out_of_memory(error: Exception) -> bool:
    # MPS and the CPU allocator raise a plain RuntimeError
    plain = isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)
    return plain or isinstance(error, torch.OutOfMemoryError)
