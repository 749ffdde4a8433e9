"""Merges an adapter into its base, as one does before one deploys it.

.venv-vllm/bin/python scripts/taught/merge.py BASE ADAPTER OUT
"""

from __future__ import annotations

import argparse
from pathlib import Path


def merge(base: Path, adapter: Path, out: Path) -> None:
    """Writes the merged weights, with the base's tokenizer and in its precision."""
    import torch
    from peft import PeftModel
    from transformers import AutoTokenizer, LlamaForCausalLM

    # In float32: the sum is rounded once, at the end.
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    merged.to(torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(base).save_pretrained(out)


def main() -> None:
    """Merges what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("base", "adapter", "out"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    merge(args.base, args.adapter, args.out)


if __name__ == "__main__":
    main()
