"""Train the sentence classifier: `python train.py` rewrites the folder `model/`.

The same seed writes the same bytes on the same machine: every random draw comes from one seeded generator, the
number of threads is fixed, and torch is told to refuse operations whose result depends on timing.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer
from transformers.utils import logging

HERE = Path(__file__).resolve().parent
CLASSES = ["negative", "positive"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, MASK = SPECIAL.index("[PAD]"), SPECIAL.index("[MASK]")
VOCABULARY, LENGTH = 5000, 64  # word pieces known, and read per sentence


def learn_vocabulary(sentences: list[str]) -> dict[str, int]:
    """Learn word pieces by frequency: whole common words, fragments of rare ones ("##" continues a word)."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # The trainer numbers letters that continue a word in the order of a hash map, which changes from run to run and
    # decides ties (huggingface/tokenizers#1794). Naming them up front fixes their order, and so the vocabulary.
    letters = {letter for text in sentences for letter in tokenizer.normalizer.normalize_str(text)}
    continued = ["##" + letter for letter in sorted(letters) if not letter.isspace()]
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, min_frequency=2, special_tokens=SPECIAL + continued, show_progress=False
    )
    tokenizer.train_from_iterator(sentences, trainer)
    return dict(sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]))


def fresh_model(vocabulary: int) -> BertForSequenceClassification:
    """Return a BERT of two layers, 96 wide: 0.65 million parameters, most of them word embeddings."""
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=0.3,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )
    return BertForSequenceClassification(config)


def read(name: str) -> tuple[list[str], Tensor]:
    """Return sentences and labels, 0 for "negative" and 1 for "positive"."""
    table = pd.read_parquet(HERE / name)
    return table["text"].tolist(), torch.tensor([CLASSES.index(value) for value in table["label"]])


def logits(model: BertForSequenceClassification, ids: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Run the model on padded ids, cut to the longest sentence of the batch; `hidden` marks words to mask."""
    present = ids != PAD
    width = int(present.sum(1).max())
    words = ids if hidden is None else ids.masked_fill(hidden, MASK)
    scores: Tensor = model(input_ids=words[:, :width], attention_mask=present[:, :width].long()).logits
    return scores


@torch.no_grad()
def accuracy(model: BertForSequenceClassification, ids: Tensor, labels: Tensor) -> float:
    """Share of sentences whose larger logit is the right one."""
    model.eval()
    predicted = torch.cat([logits(model, part).argmax(1) for part in ids.split(250)])
    return float((predicted == labels).float().mean())


def batches(lengths: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Return all row numbers in random batches of sentences of like length, so that little padding is computed."""
    found: list[Tensor] = []
    for pool in torch.randperm(len(lengths), generator=generator).split(20 * size):
        found.extend(pool[lengths[pool].argsort(stable=True)].split(size))
    return [found[i] for i in torch.randperm(len(found), generator=generator).tolist()]


def train(
    model: BertForSequenceClassification, ids: Tensor, labels: Tensor, epochs: int, seed: int, batch: int = 64
) -> None:
    """Minimise the cross-entropy with AdamW, hiding 30 % of the words at each step so that no word is learned alone."""
    generator = torch.Generator().manual_seed(seed)  # order and hidden words
    lengths = (ids != PAD).sum(1)
    steps = epochs * -(-len(ids) // batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-3, total_steps=steps + 1, pct_start=0.15)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for rows in batches(lengths, batch, generator):
            words = ids[rows]
            hidden = (torch.rand(words.shape, generator=generator) < 0.3) & (words >= len(SPECIAL))
            loss = F.cross_entropy(logits(model, words, hidden), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        print(f"epoch {epoch + 1}/{epochs}  loss {total / len(ids):.4f}", flush=True)
    model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--limit", type=int, help="train on the first N sentences only")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write model/ to (default: this one)")
    args = parser.parse_args()

    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # sums are split by thread: another number of threads, other last digits
    logging.disable_progress_bar()
    torch.manual_seed(args.seed)  # initial weights and dropout

    sentences, labels = read("train.parquet")
    test_sentences, test_labels = read("test.parquet")
    sentences, labels = sentences[: args.limit], labels[: args.limit]

    baseline = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(max_iter=1000))
    baseline.fit(sentences, labels.numpy())
    print(f"bag of words: test accuracy {baseline.score(test_sentences, test_labels.numpy()):.4f}", flush=True)

    tokenizer = BertTokenizer(vocab=learn_vocabulary(sentences), model_max_length=LENGTH)

    def encode(texts: list[str]) -> Tensor:
        words = tokenizer(texts, padding="max_length", truncation=True)
        return torch.tensor(words["input_ids"])

    ids = encode(sentences)
    model = fresh_model(len(tokenizer))
    train(model, ids, labels, args.epochs, args.seed)

    model.save_pretrained(args.out / "model")
    tokenizer.save_pretrained(args.out / "model")
    print(f"train accuracy {accuracy(model, ids, labels):.4f}")
    print(f"test accuracy  {accuracy(model, encode(test_sentences), test_labels):.4f}")


if __name__ == "__main__":
    main()
