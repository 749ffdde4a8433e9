"""Whether `capgate decide` reads logs as a stream: memory by the length and number of samples.

    make bench-logs          # about two minutes

Made-up logs of lm-evaluation-harness's form: few short samples, as few that are a hundred times as
long, and ten times as many short ones. Each is a process of its own.

Exit codes: 0, or 1 where long samples need more than 1.3 times the memory of short ones, or a
sample more than `A_SAMPLE` bytes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from perf.measuring import Command, Cost, cost_of  # noqa: E402

FEW: Final = 14_000
MANY: Final = 140_000
SHORT: Final = 20
LONG: Final = 2_000
SHARE: Final = 1.3
A_SAMPLE: Final = 1_000
"""Bytes of a sample of one side that may stay in memory."""


def main() -> int:
    """Measures and prints the three sizes."""
    short, long, many = (_measured(*size) for size in ((FEW, SHORT), (FEW, LONG), (MANY, SHORT)))
    share = long.memory / short.memory
    each = (many.memory - short.memory) * 2**20 / (MANY - FEW) / 2
    print(f"100 times as long: {share:.2f} times the memory, {SHARE:g} at most")
    print(f"each further sample of a side: {each:.0f} bytes, {A_SAMPLE:,} at most")
    return int(share > SHARE or each > A_SAMPLE)


def _measured(count: int, length: int) -> Cost:
    with tempfile.TemporaryDirectory(prefix="capgate-bench-") as name:
        for side in ("before", "after"):
            _write(Path(name, side), count, "So it goes on. " * length)
        arguments = [sys.executable, "-m", "capgate.cli", "decide", "before", "after"]
        size = sum(path.stat().st_size for path in Path(name).rglob("*.jsonl")) >> 20
        cost = cost_of(Command(f"{count:,} samples", arguments, Path(name), count))
    print(f"{count:,} samples, two logs of {size:,} MiB: {cost.memory:.0f} MiB, {cost.wall:.0f} s")
    return cost


def _write(folder: Path, count: int, text: str) -> None:
    folder.mkdir()
    path = folder / "samples_made-up_2026-01-01T00-00-00.0.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for at in range(count):
            asked = f"{at}: {text}"
            row = {
                "doc_id": at,
                "doc": {"question": asked},
                "target": "5",
                "arguments": {"gen_args_0": {"arg_0": asked, "arg_1": {"until": ["\n"]}}},
                "resps": [["5"]],
                "filtered_resps": ["5"],
                "filter": "none",
                "metrics": ["exact_match"],
                "exact_match": 1.0,
            }
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    sys.exit(main())
