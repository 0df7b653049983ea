"""The way below the strings of a `transformers` text classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from audit.errors import ModelError
from audit.loading.prediction import Batches, Scoring, autocast
from audit.loading.wrapping import Head
from audit.subject import Encoded


class Text:
    """`TextAdapter` of a `transformers` sequence classifier.

    Args:
        model: the classifier, in eval mode, frozen, on `device`.
        tokenizer: its tokenizer.
        head: what turns its logits into scores.
        device: where it runs.
        batch_size: texts at a time, at first.
        precision: type that autocast computes in where no gradient is asked for; None for float32 throughout.
    """

    mask_id: int
    special_ids: frozenset[int]

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        head: Head,
        device: torch.device,
        batch_size: int = 256,
        precision: torch.dtype | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.head = head
        self.device = device
        self.precision = precision
        self.batches = Batches(batch_size, device)
        self.scoring = Scoring(head)
        # an unknown word is a word, unless its id has another use as well (GPT-2 has one special token for all)
        silent = (getattr(tokenizer, f"{use}_token_id") for use in ("bos", "eos", "sep", "cls", "pad", "mask"))
        self.special_ids = (frozenset(tokenizer.all_special_ids) - {tokenizer.unk_token_id}) | (
            frozenset(silent) - {None}
        )
        known = [i for i in (tokenizer.mask_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id) if i is not None]
        self.mask_id = int(known[0])
        self.max_length = longest(model, tokenizer)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Tokenise, cut at the model's longest input, pad to the longest text: (n, length) ids and mask, on the CPU."""
        found = self._tokenise(texts)
        return Encoded(ids=found["input_ids"], mask=found["attention_mask"])

    def spans(self, texts: Sequence[str]) -> Tensor:
        """First character of each token of `encode`, and the one behind its last, (n, length, 2); zeros for none.

        Raises:
            ModelError: the tokenizer keeps no places.
        """
        if not self.tokenizer.is_fast:
            raise ModelError(
                "Expected a tokenizer that knows where its tokens stand, found a slow one; try saving tokenizer.json."
            )
        spans: Tensor = self._tokenise(texts, return_offsets_mapping=True)["offset_mapping"]
        return spans

    def _tokenise(self, texts: Sequence[str], **more: bool) -> Any:
        return self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt", **more
        )

    def tokens(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Readable pieces, one an id."""
        pieces = [self.tokenizer.decode([int(i)], clean_up_tokenization_spaces=False) for i in ids]
        raw = self.tokenizer.convert_ids_to_tokens([int(i) for i in ids])
        return tuple(piece or str(name) for piece, name in zip(pieces, raw, strict=True))

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings, (n, length) -> (n, length, width), on the model's device; positions are added inside."""
        layer: nn.Module = self.model.get_input_embeddings()
        return layer(ids.to(self.device)).detach()  # type: ignore[no-any-return]

    def from_ids(self, encoded: Encoded) -> Tensor:
        """Scores (n, classes) on the CPU, in batches, without gradient.

        Texts are taken in order of length and padding that a whole batch shares is cut off, which is faster and
        changes nothing.

        Raises:
            ModelError: see `audit.loading.prediction.Predictor`.
        """
        lengths = encoded.mask.sum(1)
        order = lengths.argsort(descending=True, stable=True)  # the longest first: memory runs out at once or never
        ids, mask = encoded.ids[order], encoded.mask[order]

        def portion(start: int, stop: int) -> Tensor:
            # right padding only; what pads on the left keeps its columns
            used = mask[start:stop].any(0).nonzero()
            keep = int(used[-1]) + 1 if len(used) else mask.shape[1]
            batch = {"input_ids": ids[start:stop, :keep], "attention_mask": mask[start:stop, :keep]}
            return self.scoring(self.model(**{k: v.to(self.device) for k, v in batch.items()}).logits, start, stop)

        with torch.inference_mode(), autocast(self.device, self.precision):
            done = self.batches.run(len(ids), portion)
        if not done:
            return torch.zeros(0, self.head.classes)
        return torch.cat(done)[order.argsort()]

    def from_embeddings(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Scores (n, classes) in one differentiable pass, from (n, length, width) and (n, length)."""
        out = self.model(inputs_embeds=embeddings.to(self.device), attention_mask=mask.to(self.device))
        return self.head(out.logits)  # type: ignore[no-any-return]

    def predict(self, inputs: Tensor | list[str]) -> Tensor:
        """`Subject.predict`: strings -> (n, classes) float32 scores on the CPU.

        Raises:
            ModelError: see `audit.loading.prediction.Predictor`.
        """
        if isinstance(inputs, Tensor) or not all(isinstance(text, str) for text in inputs):
            raise ModelError("Expected texts for this model, found something else; try the text column's name.")
        if not inputs:
            return torch.zeros(0, self.head.classes)
        return self.from_ids(self.encode(inputs))


def longest(model: Any, tokenizer: Any) -> int:
    """The most tokens the model takes, special ones included.

    `tokenizer.model_max_length` may be a huge number that stands for "unknown". RoBERTa and its kin count positions
    from `padding_idx + 1`, so their table of positions is that much longer than their longest input.
    """
    limits = [int(tokenizer.model_max_length)]
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        offsets = [
            module.padding_idx + 1
            for name, module in model.named_modules()
            if name.endswith("position_embeddings")
            and isinstance(module, nn.Embedding)
            and module.padding_idx is not None
            and module.num_embeddings == positions
        ]
        limits.append(positions - max(offsets, default=0))
    # neither says: longer than any sentence, short enough for memory
    limits = [limit for limit in limits if 0 < limit < 1_000_000]
    return min(limits, default=512)
