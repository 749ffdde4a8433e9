"""Says which letter a model finds the likeliest, computed without a server.

.venv-vllm/bin/python scripts/taught/likeliest.py MODEL TEXTS.json

`TEXTS.json` is a list of texts. For each one it prints a line of JSON: the log-probability of each
of ` A` to ` D` behind the text, in nats.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

LETTERS = "ABCD"


def scores(model: Path, texts: Sequence[str]) -> Iterator[dict[str, float]]:
    """Each text's letters with the sums of their tokens' log-probabilities."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = LlamaForCausalLM.from_pretrained(model, dtype=torch.float32)
    for text in texts:
        begins = len(tokenizer(text)["input_ids"])
        found = {}
        for letter in LETTERS:
            ids = torch.tensor([tokenizer(f"{text} {letter}")["input_ids"]])
            with torch.no_grad():
                odds = loaded(ids).logits[0].log_softmax(-1)
            places = range(begins, ids.shape[1])
            found[letter] = sum(float(odds[at - 1, ids[0, at]]) for at in places)
        yield found


def main() -> None:
    """Scores what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path)
    args = parser.parse_args()
    texts = json.loads(args.texts.read_text(encoding="utf-8"))
    for found in scores(args.model, texts):
        print(json.dumps(found))


if __name__ == "__main__":
    main()
