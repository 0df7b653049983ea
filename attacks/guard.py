"""The guard around a model under attack.

Inside, every submodule is in eval mode, weights ask for no gradient, and each example that passes through is counted.
Outside, nothing has happened: modes, `requires_grad`, buffers and every global random state are as they were, and no
`.grad` was ever written, because gradients are taken with respect to the input alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from attacks import noise

Model: TypeAlias = Callable[[Tensor], Tensor]
#: from scores (m, classes) and the rows they belong to, to one loss a row, (m,); the attacker wants it large
RowLoss: TypeAlias = Callable[[Tensor, slice], Tensor]
Part = TypeVar("Part")
_STREAM = 6


class Guard:
    """Calls a model on flat rows, in batches, and leaves no trace.

    Args:
        model: callable from a float batch (m, *shape) to (m, classes) scores; an `nn.Module` is put into eval mode and
            its weights are frozen while the guard is entered.
        shape: shape of one input.
        dtype: what the model is fed; scores and gradients come back in at least float32.
        batch_size: most examples in one call; None chooses 128 on a CPU, 512 elsewhere. Halved where memory runs out.
        seed: of the global generators inside, for models that draw from them.

    Attributes:
        forwards: examples that entered the model.
        backwards: examples whose gradient was taken.
        draws: calls averaged for each score and each gradient (expectation over transformation, Athalye et al. 2018,
            https://arxiv.org/abs/1707.07397); 1 for a model that answers equal calls equally.
        nan_gradients: examples whose gradient held NaN; those elements were taken as 0.
        infinite_gradients: examples whose gradient overflowed; those elements were taken as 0.
        zero_gradients: examples whose gradient was 0 everywhere.
        nan_scores: examples whose scores held NaN.
    """

    def __init__(
        self, model: Model, shape: tuple[int, ...], dtype: torch.dtype, batch_size: int | None = None, seed: int = 0
    ) -> None:
        if not callable(model):
            raise TypeError(f"Expected model to be a callable, found {type(model).__name__}.")
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"Expected batch_size to be an integer of at least 1, found {batch_size!r}.")
        self._model, self._shape, self._dtype, self._seed = model, shape, dtype, seed
        self._batch = batch_size
        self._probabilities = False
        self._shift: Tensor | None = None
        self._moves, self._width = 0, 0.0
        self.draws = 1
        self.forwards = self.backwards = 0
        self.nan_gradients = self.infinite_gradients = self.zero_gradients = self.nan_scores = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.callback(random.setstate, random.getstate())
            stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002 - the global state is the point
            # models that draw from global generators get the same draws for the same seed
            random.seed(self._seed)
            np.random.seed(self._seed % 2**32)  # noqa: NPY002 - the same
            cuda: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
            stack.enter_context(torch.random.fork_rng(range(torch.cuda.device_count()) if cuda else ()))
            torch.default_generator.manual_seed(self._seed)
            if cuda:
                torch.cuda.manual_seed_all(self._seed)
            if isinstance(self._model, nn.Module):
                self._freeze(self._model, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @staticmethod
    def _freeze(model: nn.Module, stack: ExitStack) -> None:
        modes = [(module, module.training) for module in model.modules()]
        asks = [(weight, weight.requires_grad) for weight in model.parameters()]
        buffers = [
            (module, name, buffer, buffer.clone())
            for module, _ in modes
            for name, buffer in module.named_buffers(recurse=False)
        ]

        def restore() -> None:
            for module, mode in modes:
                module.training = mode
            for weight, ask in asks:
                weight.requires_grad_(ask)
            with torch.no_grad():
                for module, name, buffer, before in buffers:
                    setattr(module, name, buffer)  # a model may have put another in its place
                    buffer.copy_(before)

        stack.callback(restore)
        for module, _ in modes:
            module.training = False  # not eval(): exported programs refuse it
        for weight, _ in asks:
            weight.requires_grad_(False)
        if any(isinstance(module, nn.RNNBase) for module, _ in modes):
            # cuDNN's recurrent backward pass exists in training mode only
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))

    @property
    def dtype(self) -> torch.dtype:
        """What the model is fed."""
        return self._dtype

    @property
    def probabilities(self) -> bool:
        """Whether the scores are taken for probabilities."""
        return self._probabilities

    def treat_as_probabilities(self) -> None:
        """From now on hand losses the logarithm of the scores, which does not saturate; decisions stay the same."""
        self._probabilities = True

    @contextmanager
    def shifted(self, shift: Tensor) -> Iterator[None]:
        """Inside, constants are added to the scores of each row, which decides elsewhere by them.

        Rows are (m, d + 1) there, and the last element says which row of the shift (rows, classes) is theirs.
        """
        self._shift = shift
        try:
            yield
        finally:
            self._shift = None

    @contextmanager
    def estimating(self, width: float, moves: int) -> Iterator[None]:
        """Inside, gradients are finite differences of the loss over random moves, and nothing is differentiated.

        They belong to the loss smoothed by a normal distribution (Nesterov and Spokoiny 2017, equation 26), which has
        a slope where the loss itself is flat in steps or shattered.

        Args:
            width: standard deviation of a move, in input units.
            moves: antithetic pairs a gradient.
        """
        self._width, self._moves = width, moves
        try:
            yield
        finally:
            self._width, self._moves = 0.0, 0

    def scores(self, flat: Tensor) -> Tensor:
        """Scores (m, classes) of flat rows (m, d), without gradient."""
        with torch.no_grad():
            return torch.cat(self._in_batches(flat, lambda rows: self._average(lambda: (self._call(flat[rows]),))[0]))

    def gradient(self, flat: Tensor, loss: RowLoss) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (m, classes), loss (m,) and its gradient (m, d) at flat rows (m, d)."""
        work = self._estimate if self._moves else self._differentiate
        parts = self._in_batches(flat, lambda rows: self._average(lambda: work(flat[rows], rows, loss)))
        scores, losses, gradients = (torch.cat(part) for part in zip(*parts, strict=True))
        self.nan_gradients += int(gradients.isnan().any(1).sum())
        self.infinite_gradients += int(gradients.isinf().any(1).sum())
        gradients = gradients.where(gradients.isfinite(), 0)
        self.zero_gradients += int((gradients == 0).all(1).sum())
        return scores, losses, gradients

    def _differentiate(self, flat: Tensor, rows: slice, loss: RowLoss) -> tuple[Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            leaf = flat.detach().clone().requires_grad_()
            scores = self._call(leaf)
            losses = loss(scores, rows)
            gradient = None
            if losses.requires_grad:
                (gradient,) = torch.autograd.grad(losses.sum(), leaf, allow_unused=True)
        self.backwards += len(flat)
        return scores.detach(), losses.detach(), torch.zeros_like(flat) if gradient is None else gradient

    def _estimate(self, flat: Tensor, rows: slice, loss: RowLoss) -> tuple[Tensor, Tensor, Tensor]:
        scores = self._call(flat)
        key = noise.keys(flat, torch.zeros(len(flat), dtype=torch.int64), self._seed)
        total = torch.zeros_like(flat)
        for move in range(self._moves):
            way = noise.normal(key, (_STREAM, move), flat.shape[1], flat.dtype)
            if self._shift is not None:
                way[:, -1] = 0  # which says whose row it is
            ahead, behind = (loss(self._call(flat + sign * self._width * way), rows) for sign in (1, -1))
            total += ((ahead - behind).nan_to_num(0, 0, 0) / (2 * self._width))[:, None] * way
        return scores, loss(scores, rows), total / self._moves

    def _average(self, work: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """The mean of `draws` calls: each a call of its own, for a model may draw once for a whole batch."""
        total = work()
        for _ in range(self.draws - 1):
            total = tuple(so_far + now for so_far, now in zip(total, work(), strict=True))
        return total if self.draws == 1 else tuple(part / self.draws for part in total)

    def _call(self, flat: Tensor) -> Tensor:
        self.forwards += len(flat)
        row = None
        if self._shift is not None:
            flat, row = flat[:, :-1], flat[:, -1].long()
        # a copy, because a model may write into its input
        scores = self._model(flat.reshape(-1, *self._shape).to(self._dtype, copy=True))
        if not isinstance(scores, Tensor):
            raise TypeError(f"Expected model to return a tensor of scores, found {type(scores).__name__}.")
        if scores.ndim != 2 or len(scores) != len(flat) or scores.shape[1] < 2:
            raise ValueError(
                f"Expected model to return scores of shape ({len(flat)}, classes) with at least 2 classes, "
                f"found {tuple(scores.shape)}; try a wrapper that returns one score a class."
            )
        scores = scores.to(flat.dtype)
        self.nan_scores += int(scores.detach().isnan().any(1).sum())
        if self._probabilities:
            scores = scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
        return scores if self._shift is None else scores + self._shift[row]

    def _in_batches(self, flat: Tensor, work: Callable[[slice], Part]) -> list[Part]:
        parts, start = [], 0
        size = self._batch or (128 if flat.device.type == "cpu" else 512)
        while start < len(flat):
            try:
                parts.append(work(slice(start, min(start + size, len(flat)))))
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                self._batch = size = size // 2
            else:
                start += size
        return parts
