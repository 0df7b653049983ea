"""Folders in the `transformers` layout: configuration, weights, tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audit.errors import ModelError
from audit.loading import pickles, state_dict
from audit.loading.transformers_config import Folder, read_json
from audit.subject import Capability, Encoded, Modality

#: of image classifiers; those of text classifiers are measured
CAPABILITIES = frozenset({Capability.INPUT_GRADIENT, Capability.HOOKS, Capability.TRAIN})

#: files whose `auto_map` names Python code beside the weights
_CONFIGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")


class Logits(nn.Module):
    """A `transformers` image classifier as a module that returns its logits, (n, channels, h, w) -> (n, outputs)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        return self.model(pixel_values=inputs).logits  # type: ignore[no-any-return]


def load(folder: Folder, trust_pickle: bool = False) -> nn.Module:
    """Return the classifier, in eval mode, in float32.

    Only code of the installed `transformers` runs; nothing is fetched.

    Args:
        folder: what its configuration says.
        trust_pickle: whether `pytorch_model.bin` may hold more than tensors.

    Raises:
        ModelError: it needs code of its own, is no classifier of text or images, its weights are pickled, damaged or
            incomplete.
    """
    import transformers

    _refuse_code(folder.path)
    if folder.modality is None:
        raise ModelError(
            f"Expected a sequence or image classifier, found architecture {folder.architecture or 'none'!r} in "
            f"{folder.path}; try a model saved from AutoModelForSequenceClassification."
        )
    family: Any = getattr(transformers, folder.architecture, None)
    if not _is_model(family, transformers.PreTrainedModel):
        raise ModelError(
            f"Expected an architecture of transformers {transformers.__version__}, found {folder.architecture!r} in "
            f"{folder.path}; try another version of the library."
        )
    weights = _pickled_weights(folder.path, trust_pickle)
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            model, report = family.from_pretrained(
                # weights from a pickle are read here, because the library heeds weights_only in part only
                folder.path if weights is None else None,
                config=transformers.AutoConfig.from_pretrained(
                    folder.path, local_files_only=True, trust_remote_code=False
                ),
                state_dict=weights,
                use_safetensors=weights is None,
                local_files_only=True,
                attn_implementation="eager",  # gives attention maps
                output_loading_info=True,
            )
    except Exception as error:
        raise pickles.damaged(str(folder.path), error) from error
    missing = sorted(report["missing_keys"]) + [str(m) for m in report["mismatched_keys"]]
    if missing:
        raise ModelError(
            f"Expected weights for every layer, found none for {', '.join(missing[:3])} in {folder.path}; try saving the "
            "fine-tuned classifier, not its backbone."
        )
    if getattr(model.config, "problem_type", None) in ("regression", "multi_label_classification"):
        raise ModelError(
            f"Expected a classifier with one class an input, found {model.config.problem_type} in {folder.path}; try "
            "another model."
        )
    model = model.float().eval()
    return Logits(model) if folder.modality is Modality.IMAGE else model


def _is_model(family: object, base: type) -> bool:
    return isinstance(family, type) and issubclass(family, base)


def load_tokenizer(path: Path, model: Any) -> Any:
    """Return the tokenizer beside the weights, able to pad.

    Raises:
        ModelError: there is none, or it cannot pad.
    """
    import transformers

    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ModelError(
            f"Expected a tokenizer in {path}, found none that loads ({pickles.first_line(error)}); try "
            "tokenizer.save_pretrained on the same folder."
        ) from error
    files = set(tokenizer.vocab_files_names.values())
    if files and not any((path / name).is_file() for name in files):
        # the library then makes one up that knows no words
        raise ModelError(
            f"Expected a tokenizer in {path}, found none of {', '.join(sorted(files))}; try tokenizer.save_pretrained on "
            "the same folder."
        )
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ModelError(f"Expected a tokenizer with a padding token, found none in {path}; try setting pad_token.")
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise ModelError(
            f"Expected a tokenizer of at most {model.get_input_embeddings().num_embeddings} tokens, found {len(tokenizer)} "
            f"in {path}; try the tokenizer the model was trained with."
        )
    return tokenizer


def text_capabilities(adapter: Any) -> frozenset[Capability]:
    """What a text model allows, measured on two short texts.

    Decoders that look for the last token in the ids cannot do so in embeddings: they give other scores there.
    """
    encoded: Encoded = adapter.encode(["a", "a a a a"])
    found = {Capability.HOOKS, Capability.TRAIN}
    with torch.no_grad():
        ids, mask = encoded.ids.to(adapter.device), encoded.mask.to(adapter.device)
        direct = adapter.head(adapter.model(input_ids=ids, attention_mask=mask).logits)
        try:
            if torch.allclose(adapter.from_embeddings(adapter.embed(ids), mask), direct, atol=1e-4, rtol=1e-3):
                found |= {Capability.EMBEDDINGS, Capability.INPUT_GRADIENT}
        except (NotImplementedError, TypeError, ValueError, RuntimeError):
            pass  # it takes no embeddings, so the capability is not declared
        maps = getattr(adapter.model(input_ids=ids, attention_mask=mask, output_attentions=True), "attentions", None)
    if maps and all(m is not None and m.ndim == 4 and m.shape[2] == m.shape[3] for m in maps):
        found.add(Capability.ATTENTION)
    return frozenset(found)


def _pickled_weights(path: Path, trust_pickle: bool) -> dict[str, Tensor] | None:
    """The state_dict in `pytorch_model.bin`; None where there are safetensors."""
    if (path / "adapter_config.json").is_file():
        raise ModelError(f"Expected a whole model, found an adapter in {path}; try merging it into its base model.")
    if _shards(path, "model.safetensors"):
        return None
    shards = _shards(path, "pytorch_model.bin")
    if not shards:
        raise ModelError(f"Expected model.safetensors in {path}, found no weights; try model.save_pretrained.")
    weights: dict[str, Tensor] = {}
    for shard in shards:
        weights |= state_dict.unwrap(pickles.read(shard, trust_pickle), shard)
    return weights


def _shards(path: Path, name: str) -> list[Path]:
    if (path / name).is_file():
        return [path / name]
    index = path / f"{name}.index.json"
    if not index.is_file():
        return []
    names = sorted({str(n) for n in read_json(index).get("weight_map", {}).values()})
    if any(Path(n).name != n for n in names):
        raise ModelError(
            f"Expected shards inside {path}, found a path that leads elsewhere in {index.name}; try saving it again."
        )
    missing = [n for n in names if not (path / n).is_file()]
    if missing or not names:
        raise ModelError(
            f"Expected the shards {index.name} names, found no {missing[:3]}; try copying the folder again."
        )
    return [path / n for n in names]


def _refuse_code(path: Path) -> None:
    for name in _CONFIGS:
        if (path / name).is_file() and (found := _names_code(read_json(path / name))):
            raise ModelError(
                f"Expected a model of the transformers library, found {found} in {path / name}, which runs code from "
                "elsewhere; try a model without custom code, or its state_dict with a factory."
            )


def _names_code(value: object, key: str = "") -> str | None:
    """The entry that names Python code beside the weights, or a kernel to fetch (those are called owner/name)."""
    if key == "auto_map":
        return key
    if isinstance(value, dict):
        # one implementation may be given for each part of the model
        inner = ((v, str(k) if not key.endswith("_implementation") else key) for k, v in value.items())
        return next((found for v, k in inner if (found := _names_code(v, k))), None)
    if isinstance(value, list):
        return next((found for v in value if (found := _names_code(v, key))), None)
    return f"{key} {value!r}" if key.endswith("_implementation") and isinstance(value, str) and "/" in value else None


class quiet:
    """Silences the progress bars and load reports of `transformers`, and restores them."""

    def __init__(self) -> None:
        import transformers

        self.logging: Any = transformers.utils.logging

    def __enter__(self) -> None:
        self.level, self.bars = self.logging.get_verbosity(), self.logging.is_progress_bar_enabled()
        self.logging.set_verbosity_error()
        self.logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        self.logging.set_verbosity(self.level)
        if self.bars:
            self.logging.enable_progress_bar()
