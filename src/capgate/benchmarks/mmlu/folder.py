"""MMLU from a folder: jsonl, parquet or the original headerless CSVs.

Accepted layouts, the first that is found:

- `test.jsonl` (and `dev.jsonl`): one object a line with `question`, `subject`, `choices`
  and `answer` (0–3 or A–D);
- `test*.parquet` (and `dev*.parquet`), here or below, with the same columns;
- `test/<subject>_test.csv` (and `dev/<subject>_dev.csv`), here or in `data/`: question, four
  choices and the answer's letter, without a header.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypedDict

from capgate.benchmarks.mmlu.subjects import SUBJECTS
from capgate.benchmarks.row_files import (
    RowFaults,
    is_encodable,
    json_lines,
    shown_value,
    text_lines,
)
from capgate.common.errors import DatasetError

Split = Literal["test", "dev"]


class Record(TypedDict):
    """One question as the hub's rows have it."""

    question: str
    subject: str
    choices: list[str]
    answer: int


def read_split(folder: Path, split: Split) -> list[Record]:
    """Reads one split of the data set in `folder`.

    Args:
        folder: The data set's folder.
        split: `test` for the questions asked, `dev` for the few-shot examples.

    Returns:
        The rows in the files' order; empty where a `dev` split is missing.

    Raises:
        DatasetError: No known layout is found, or rows are malformed.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"the data set folder {folder} does not exist",
            remedy="pass a folder with --dataset DIR, or --dataset hub or bundled",
        )
    faults = RowFaults()
    rows: list[Record] = []
    try:
        for path, line, raw in _raw_rows(folder, split, faults):
            record = _checked(raw, path, line, faults)
            if record is not None:
                rows.append(record)
    except OSError as error:
        raise DatasetError(f"{folder} can't be read", said=str(error)) from None
    faults.raise_if_any(folder)
    if not rows and split == "test":
        raise DatasetError(
            f"the data set folder {folder} holds no questions",
            remedy="it should hold test.jsonl, test*.parquet or test/<subject>_test.csv",
        )
    return rows


def split_files(folder: Path, split: Split) -> list[Path]:
    """The files that hold one split, in the order in which they are read; may be none.

    Args:
        folder: The data set's folder.
        split: The split.
    """
    jsonl = folder / f"{split}.jsonl"
    if jsonl.is_file():
        return [jsonl]
    if parquet := sorted(folder.rglob(f"{split}*.parquet")):
        return parquet
    csvs = (sorted((base / split).glob(f"*_{split}.csv")) for base in (folder, folder / "data"))
    return next(filter(None, csvs), [])


def _raw_rows(folder: Path, split: Split, faults: RowFaults) -> Iterator[tuple[Path, int, object]]:
    for path in split_files(folder, split):
        if path.suffix == ".jsonl":
            yield from json_lines(path, faults)
        elif path.suffix == ".parquet":
            yield from _parquet(path)
        else:
            yield from _csv(path, path.name.removesuffix(f"_{split}.csv"), faults)


def _parquet(path: Path) -> Iterator[tuple[Path, int, object]]:
    import pyarrow
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path} can't be read as parquet", said=str(error)) from None
    for number, row in enumerate(rows, start=1):
        yield path, number, row


def _csv(path: Path, subject: str, faults: RowFaults) -> Iterator[tuple[Path, int, object]]:
    reader = csv.reader(text for _, text in text_lines(path, faults))
    try:
        for row in reader:
            if len(row) != 6:
                what = f"expected question, 4 choices and the answer, got {len(row)} fields"
                faults.add(path, reader.line_num, what)
                continue
            fields = {"question": row[0], "choices": row[1:5], "answer": row[5].strip()}
            yield path, reader.line_num, {"subject": subject, **fields}
    except csv.Error as error:
        faults.add(path, reader.line_num, str(error))


def _checked(raw: object, path: Path, line: int, faults: RowFaults) -> Record | None:
    if not isinstance(raw, dict):
        faults.add(path, line, f"expected an object, got {type(raw).__name__}")
        return None
    before = len(faults.lines)
    question, subject = raw.get("question"), raw.get("subject")
    choices, answer = raw.get("choices"), raw.get("answer")
    if not isinstance(question, str) or not question.strip():
        faults.add(path, line, "question should be a text")
    elif not is_encodable(question):
        faults.add(path, line, "question holds half a character (a lone surrogate)")
    if not isinstance(subject, str) or subject not in SUBJECTS:
        near = difflib.get_close_matches(shown_value(subject), SUBJECTS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        faults.add(path, line, f"subject {shown_value(subject)} is not one of MMLU's 57{hint}")
    if (
        not isinstance(choices, list)
        or len(choices) != 4
        or not all(isinstance(choice, str) for choice in choices)
    ):
        faults.add(path, line, "choices should be a list of 4 texts")
    elif not all(map(is_encodable, choices)):
        faults.add(path, line, "choices hold half a character (a lone surrogate)")
    if isinstance(answer, str) and answer in {"A", "B", "C", "D"}:
        answer = "ABCD".index(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer <= 3:
        faults.add(path, line, f"answer should be 0–3 or A–D, got {shown_value(raw.get('answer'))}")
    if len(faults.lines) > before:
        return None
    assert isinstance(question, str)
    assert isinstance(subject, str)
    assert isinstance(choices, list)
    assert isinstance(answer, int)
    return Record(question=question, subject=subject, choices=choices, answer=answer)
