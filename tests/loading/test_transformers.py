"""`transformers` folders: text models below their strings, image models, and folders that are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import audit
from audit.errors import ModelError
from audit.subject import Capability, Modality

WORDS = [
    "the",
    "a",
    "film",
    "is",
    "good",
    "bad",
    "very",
    "not",
    "fun",
    "dull",
    "and",
    "but",
    "quite",
    "story",
    "actor",
    "scene",
]
TEXTS = [
    "a good film",
    "the story is very dull and not fun but the actor is quite good and the scene is fun",
    "bad",
    "not a bad scene",
    "good good good",
    "",
    "zebra film",
]


def tokenizer(kind="bert"):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {w: i for i, w in enumerate(special + WORDS)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    if kind == "bare":  # no mask and no padding token
        named = {"unk_token": "[UNK]", "eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **named)


def config(kind, **changes):
    import transformers

    size = {"vocab_size": 21, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "bert":
        return transformers.BertConfig(**size, intermediate_size=32, max_position_embeddings=12, **changes)
    if kind == "roberta":
        return transformers.RobertaConfig(
            **size, intermediate_size=32, max_position_embeddings=12, pad_token_id=1, **changes
        )
    return transformers.GPT2Config(
        vocab_size=21, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=3, eos_token_id=3, **changes
    )


def write(folder, kind="bert", tokens="bert", safe=True, **changes):
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForSequenceClassification.from_config(config(kind, **changes)).eval()
        for p in model.parameters():  # fresh weights are too small to tell texts apart
            p.data.mul_(5)
    model.save_pretrained(folder)
    tokenizer(tokens).save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return model


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "m", id2label={0: "neg", 1: "pos"}, label2id={"neg": 0, "pos": 1})
    return tmp_path / "m"


@pytest.fixture
def subject(folder):
    return audit.load(folder, device="cpu", batch_size=3)


def reference(model, text, tokens="bert", limit=12):
    encoded = tokenizer(tokens)([text], return_tensors="pt", truncation=True, max_length=limit)
    with torch.no_grad():
        return model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits[0]


def test_every_attribute(subject):
    assert subject.classes == ("neg", "pos")
    assert subject.modality is Modality.TEXT
    assert subject.format == "transformers"
    assert subject.name == "m"
    assert type(subject.model).__name__ == "BertForSequenceClassification"
    assert not subject.model.training
    assert not any(p.requires_grad for p in subject.model.parameters())
    assert subject.capabilities == set(Capability)
    assert subject.text.special_ids == {0, 2, 3, 4}  # an unknown word is a word
    assert subject.text.mask_id == 4


def test_order_length_batch_and_padding_change_nothing(folder, subject):
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    scores = subject.predict(TEXTS)
    alone = torch.stack([reference(model, text) for text in TEXTS])
    assert (scores - alone).abs().max() < 1e-4
    assert (scores[:, 1] - scores[:, 0]).std() > 0.01  # the texts do differ
    assert (subject.predict(TEXTS[::-1]).flip(0) - scores).abs().max() < 1e-4
    assert subject.predict([]).shape == (0, 2)


@pytest.mark.parametrize(("kind", "longest"), [("bert", 12), ("roberta", 10)])
def test_long_texts_are_cut_at_the_models_limit(tmp_path, kind, longest):
    """The tokenizer knows no limit; RoBERTa counts positions from its padding index + 1."""
    write(tmp_path / "m", kind)
    subject = audit.load(tmp_path / "m", device="cpu")
    assert subject.text.max_length == longest
    encoded = subject.text.encode(["good " * 100])
    assert encoded.ids.shape == (1, longest)
    assert subject.predict(["good " * 100]).isfinite().all()


def test_a_smaller_limit_of_the_tokenizer_holds(folder):
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": 7}))
    assert audit.load(folder, device="cpu").text.max_length == 7


def test_encoding(subject):
    encoded = subject.text.encode(["a good film", "bad"])
    assert encoded.ids.tolist() == [[2, 6, 9, 7, 3], [2, 10, 3, 0, 0]]
    assert encoded.mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert subject.text.tokens(encoded.ids[1].tolist()) == ("[CLS]", "bad", "[SEP]", "[PAD]", "[PAD]")
    assert torch.allclose(subject.text.from_ids(encoded), subject.predict(["a good film", "bad"]), atol=1e-5)


def test_embeddings_stand_for_ids_and_carry_the_gradient(subject):
    encoded = subject.text.encode(TEXTS)
    embedded = subject.text.embed(encoded.ids)
    assert embedded.shape == (*encoded.ids.shape, 16)
    assert (subject.text.from_embeddings(embedded, encoded.mask) - subject.predict(TEXTS)).abs().max() < 1e-4
    x = embedded.double().float().requires_grad_()
    (gradient,) = torch.autograd.grad(subject.text.from_embeddings(x, encoded.mask)[:, 1].sum(), x)
    # a central difference along one embedding coordinate of one token
    step = torch.zeros_like(embedded)
    step[0, 2, 5] = 1e-2
    with torch.no_grad():
        up = subject.text.from_embeddings(embedded + step, encoded.mask)[0, 1]
        down = subject.text.from_embeddings(embedded - step, encoded.mask)[0, 1]
    assert gradient[0, 2, 5].item() == pytest.approx(((up - down) / 2e-2).item(), rel=0.02, abs=1e-3)
    assert gradient[encoded.mask == 0].abs().max() == 0  # padding has no say


def test_attention_is_there(subject):
    from audit.explainers import attention

    encoded = subject.text.encode(TEXTS[:2])
    maps = attention(subject.model, {"input_ids": encoded.ids, "attention_mask": encoded.mask})
    assert [tuple(m.shape) for m in maps] == [(2, 2, 12, 12)] * 2
    assert torch.allclose(maps[0].sum(-1), torch.ones(2, 2, 12), atol=1e-5)


def test_hooks_fire_and_weights_may_be_randomised(subject):
    fired = []
    handle = subject.model.classifier.register_forward_hook(lambda *a: fired.append(1))
    before = subject.predict(TEXTS)
    handle.remove()
    assert fired
    with torch.no_grad():
        subject.model.classifier.weight.neg_()
        subject.model.classifier.bias.neg_()
    assert torch.allclose(subject.predict(TEXTS), -before, atol=1e-5)


@pytest.mark.parametrize("classes", [None, ["no", "yes"]])
def test_a_single_logit(tmp_path, classes):
    model = write(tmp_path / "m", num_labels=1)
    subject = audit.load(tmp_path / "m", device="cpu", classes=classes)
    assert subject.classes == tuple(classes or ("0", "1"))
    scores = subject.predict(TEXTS)
    assert not scores[:, 0].any()
    assert (scores[:, 1] - torch.stack([reference(model, t) for t in TEXTS])[:, 0]).abs().max() < 1e-4


def test_a_decoder_that_reads_its_ids_declares_no_embeddings(tmp_path):
    """It looks for the last word in the ids; with embeddings it would read the padding."""
    model = write(tmp_path / "m", "gpt2", "bare")
    subject = audit.load(tmp_path / "m", device="cpu", batch_size=3)
    assert subject.text.mask_id == 1  # no mask token: the unknown one stands in
    assert not subject.capabilities & {Capability.EMBEDDINGS, Capability.INPUT_GRADIENT}
    assert {Capability.HOOKS, Capability.TRAIN} <= subject.capabilities
    model.config.pad_token_id = 3
    texts = [t for t in TEXTS if t]
    alone = torch.stack([reference(model, t, "bare", 32) for t in texts])
    assert (subject.predict(texts) - alone).abs().max() < 1e-4


def test_old_weights_need_no_trust_as_long_as_they_are_tensors(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", safe=False)
    scores = [audit.load(tmp_path / f, device="cpu").predict(TEXTS) for f in "ab"]
    assert torch.equal(*scores)


def test_memory_runs_out_for_text_too(folder, monkeypatch):
    subject = audit.load(folder, device="cpu")
    expected = subject.predict(TEXTS)
    whole, diary = subject.model.forward, []

    def small(*args, **kwargs):
        diary.append(len(kwargs["input_ids"]))
        if diary[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(*args, **kwargs)

    monkeypatch.setattr(subject.model, "forward", small)
    assert torch.allclose(subject.predict(TEXTS), expected, atol=1e-5)
    assert diary == [7, 3, 1, 1, 1, 1, 1, 1, 1]


def test_tensors_are_refused(subject):
    with pytest.raises(ModelError, match="Expected texts"):
        subject.predict(torch.zeros(2, 3))


# --------------------------------------------------------------------------------------------------------- refusals


def change(folder, name, **changes):
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("index", [False, True])
def test_a_payload_in_old_weights_does_not_run(tmp_path, payload, marker, index):
    folder = tmp_path / "m"
    write(folder, safe=False)
    bad = folder / "pytorch_model.bin"
    if index:
        bad = folder / "pytorch_model-00001-of-00001.bin"
        (folder / "pytorch_model.bin").unlink()
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"classifier.bias": bad.name}}))
    torch.save({"classifier.bias": payload}, bad)
    with pytest.raises(ModelError, match="a pickle that asks for"):
        audit.load(folder)
    assert not marker.exists()


def test_trusted_old_weights_run(tmp_path, payload, marker):
    write(tmp_path / "m", safe=False)
    torch.save({"classifier.bias": torch.zeros(2), "x": payload}, tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(ModelError):
        audit.load(tmp_path / "m", trust_pickle=True)
    assert marker.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_its_own_is_refused(folder, name, marker):
    (folder / "custom.py").write_text(f"import os; os.mkdir({str(marker)!r})")
    change(folder, name, auto_map={"AutoConfig": "custom.C", "AutoTokenizer": "custom.T"})
    with pytest.raises(ModelError, match="auto_map"):
        audit.load(folder)
    with pytest.raises(ModelError, match="auto_map"):
        audit.load(folder, trust_pickle=True)
    assert not marker.exists()


@pytest.mark.parametrize(
    "named",
    [
        {"attn_implementation": "somebody/kernel"},
        {"_attn_implementation": "somebody/kernel@v1:flash"},
        {"attn_implementation": {"text": "somebody/kernel"}},
        {"text_config": {"experts_implementation": "somebody/kernel"}},
        {"text_config": {"auto_map": {"AutoConfig": "somebody/repository--custom.C"}}},
    ],
)
def test_code_to_fetch_is_refused(folder, named):
    """Measured on transformers 5: the configuration's kernel wins over the argument."""
    change(folder, "config.json", **named)
    with pytest.raises(ModelError, match="runs code from elsewhere"):
        audit.load(folder)


def test_shards_elsewhere_are_refused(folder):
    (folder / "model.safetensors").rename(folder.parent / "x.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}))
    with pytest.raises(ModelError, match="leads elsewhere"):
        audit.load(folder)


def test_missing_shards_are_named(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "x.safetensors"}}))
    with pytest.raises(ModelError, match=r"found no \['x\.safetensors'\]"):
        audit.load(folder)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "found no weights"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "found an adapter"),
        (lambda f: [p.unlink() for p in f.glob("tokenizer*")], "Expected a tokenizer"),
        (lambda f: (f / "config.json").write_text("{"), "damaged"),
        (lambda f: (f / "config.json").write_text("[]"), "found list"),
        (lambda f: change(f, "config.json", architectures=["BertForMaskedLM"]), "'BertForMaskedLM'"),
        (lambda f: change(f, "config.json", architectures=None), "architecture 'none'"),
        (lambda f: change(f, "config.json", architectures=["XyzForSequenceClassification"]), "'XyzForSequence"),
        (lambda f: change(f, "config.json", model_type="no_such_model"), "no_such_model"),
        (lambda f: change(f, "config.json", problem_type="regression"), "found regression"),
        (lambda f: change(f, "config.json", problem_type="multi_label_classification"), "found multi_label"),
        (lambda f: change(f, "config.json", num_hidden_layers=3), "found none for bert.encoder.layer.2"),
        (lambda f: change(f, "config.json", vocab_size=9), "found none for|damaged"),
    ],
)
def test_folders_that_do_not_work(folder, spoil, says):
    spoil(folder)
    with pytest.raises(ModelError, match=says) as refusal:
        audit.load(folder, modality="text")
    assert str(refusal.value).startswith("Expected ")
    assert "\n" not in str(refusal.value)


def test_truncated_weights(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ModelError, match="damaged"):
        audit.load(folder)


def test_a_tokenizer_of_another_model(folder):
    file = folder / "tokenizer.json"
    document = json.loads(file.read_text())
    document["model"]["vocab"].update({f"word{i}": 21 + i for i in range(5)})
    file.write_text(json.dumps(document))
    with pytest.raises(ModelError, match="at most 21 tokens, found 26"):
        audit.load(folder)


def test_nan_weights(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"'classifier\.weight'"):
        audit.load(folder)


def test_classes_must_match_the_head(folder):
    with pytest.raises(ModelError, match="found 2 outputs for 3 classes"):
        audit.load(folder, classes=["a", "b", "c"])


@pytest.mark.parametrize(
    "options", [{"mean": [0.5], "std": [0.5]}, {"factory": "model:build"}, {"modality": "image"}], ids=str
)
def test_options_that_make_no_sense_here(folder, options):
    with pytest.raises(ModelError, match=r"^Expected .*, found .*; try .*\.$"):
        audit.load(folder, **options)


def test_the_global_random_state_is_left_alone(folder):
    before = torch.get_rng_state()
    audit.load(folder)
    assert torch.equal(torch.get_rng_state(), before)


# ----------------------------------------------------------------------------------------------------------- images


def test_image_classifiers(tmp_path):
    import transformers

    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8,
            patch_size=4, num_labels=3, id2label={0: "cat", 1: "dog", 2: "cow"},
        )
    ).eval()  # fmt: skip
    folder = tmp_path / "vit"
    model.save_pretrained(folder)
    x = torch.rand(5, 3, 8, 8)
    plain = audit.load(folder, device="cpu")
    assert plain.modality is Modality.IMAGE
    assert plain.classes == ("cat", "dog", "cow")
    assert torch.allclose(plain.predict(x), model(pixel_values=x).logits.detach(), atol=1e-5)
    processor = {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    normalised = (x - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / 0.2
    assert torch.allclose(
        audit.load(folder, device="cpu").predict(x), model(pixel_values=normalised).logits.detach(), atol=1e-5
    )
    x.requires_grad_()
    plain.model(x)[:, 0].sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.fixture
def movies(tmp_path):
    folder = Path(__file__).parents[2] / "examples" / "movies" / "model"
    return shutil.copytree(folder, tmp_path / "movies")


def test_padding_changes_nothing_in_the_bundled_model(movies):
    subject = audit.load(movies, device="cpu")
    texts = ["a gorgeous, witty, seductive movie", "dull", "it never quite makes up its mind what it wants to be " * 3]
    together = subject.predict(texts)
    assert (torch.cat([subject.predict([t]) for t in texts]) - together).abs().max() < 1e-4
    assert subject.capabilities == set(Capability)
