"""MMLU-Redux: which of MMLU's questions and keys are known to be faulty.

The annotations (Gema et al., "Are We Done with MMLU?", arXiv 2406.04127; CC BY 4.0) come as
a file that is not shipped. A row names its question by its text (`question`, as in the
original CSVs) or by its place in the original test file (`index_in_subject`).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from capgate.benchmarks.mmlu.folder import read_split
from capgate.common.errors import ConfigError, FileFault
from capgate.common.grouping import grouped
from capgate.common.json_file import parse_json
from capgate.common.text import content_key

FAULTS: Final[dict[str, str]] = {
    "wrong_groundtruth": "the key is wrong",
    "no_correct_answer": "no choice is right",
    "multiple_correct_answers": "several choices are right",
    "bad_question_clarity": "the question is unclear",
    "bad_options_clarity": "the choices are unclear",
}
"""Kinds of annotation that make a question a known bad one; `ok` and `expert` do not."""

_SOUND: Final = frozenset({"ok", "expert"})
_QUOTED: Final = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_LETTERS: Final = "ABCD"
_SHOWN: Final = 10


@dataclass(frozen=True)
class Redux:
    """Annotations, ready to be asked.

    Attributes:
        name: The file's name.
        refused: Rows that do not fit the data set.
    """

    name: str
    refused: int
    _faults: Mapping[str, str] = field(repr=False)

    def knows(self, subject: str, text: str, choices: Sequence[str]) -> bool:
        """Whether the question is annotated at all."""
        return _key(subject, text, choices) in self._faults

    def fault_of(self, subject: str, text: str, choices: Sequence[str]) -> str:
        """What is wrong with a question; `""` where nothing is, or it is not annotated."""
        return self._faults.get(_key(subject, text, choices), "")


def load_redux(path: Path, dataset: Path | None = None) -> Redux:
    """Reads annotations.

    Args:
        path: jsonl or CSV.
        dataset: Folder with MMLU's `test` split in its original order; needed where the rows
            name their questions by place.

    Raises:
        ConfigError: It can't be read, or its rows can't be told apart.
    """
    rows = list(_rows(path))
    originals: dict[str, list[Mapping[str, Any]]] | None = None
    faults: dict[str, str] = {}
    broken: list[FileFault] = []
    refused = placed = astray = 0
    for line, row in rows:
        kind = _kind(row)
        if kind is None:
            broken.append(FileFault(f"line {line}", "it has no known error_type"))
            continue
        said = FAULTS.get(kind, "")
        better = _better(row)
        if kind == "wrong_groundtruth" and better:
            said = f"the key is wrong; {better} is right"
        text, choices = row.get("question"), _choices(row.get("choices"))
        subject = str(row.get("subject") or path.stem.removeprefix("mmlu_"))
        if not isinstance(text, str) or not choices:
            if originals is None:
                originals = _originals(path, dataset)
            original = _at(originals.get(subject, []), row.get("index_in_subject"))
            key = row.get("dataset_answer")
            fits = original is not None and key in (None, original["answer"])
            placed += subject in originals
            astray += subject in originals and not fits
            if original is None or not fits:
                refused += 1
                continue
            text, choices = original["question"], original["choices"]
        faults[_key(subject, text, choices)] = said
    if broken or not rows:
        raise ConfigError(
            f"{path.name} holds no annotations of MMLU-Redux that can be read",
            faults=broken[:_SHOWN],
            remedy="give a CSV of the original, or jsonl with subject, error_type and question "
            "(or index_in_subject)",
        )
    if astray * 2 > placed:
        raise ConfigError(
            f"{path.name} names its questions by their place in MMLU's test file, and {astray:,} "
            f"of {placed:,} do not fit the questions in their place",
            remedy="name the folder that holds MMLU's test split in its own order: "
            "--dataset-dir DIR",
        )
    return Redux(path.name, refused, faults)


def _key(subject: str, text: str, choices: Sequence[str]) -> str:
    return f"{subject}\x1e{content_key(text, choices)}"


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path.name} can't be read", said=error.strerror or "", remedy="check --redux"
        ) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")  # one of the original files is
    if text.lstrip().startswith("{"):
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    row = parse_json(line)
                except ValueError:
                    row = None
                yield number, row if isinstance(row, dict) else {}
        return
    first = text.split("\n", 1)[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ConfigError(
            f"{path.name} is no CSV from line {reader.line_num} on", said=str(error)
        ) from None


def _kind(row: Mapping[str, Any]) -> str | None:
    kind = str(row.get("error_type") or "").strip().lower().replace(" ", "_")
    return kind if kind in FAULTS or kind in _SOUND else None


def _better(row: Mapping[str, Any]) -> str:
    """The letter that is right instead, if the row names it."""
    value = row.get("correct_answer_index")
    if value is None:
        value = row.get("correct_answer")
    text = str(value).strip()
    if text in {"0", "1", "2", "3"}:
        return _LETTERS[int(text)]
    return text if text in _LETTERS and len(text) == 1 else ""


def _choices(value: object) -> tuple[str, ...]:
    """A row's choices: a list, or one as text in Python's or NumPy's form."""
    if isinstance(value, str):
        # NumPy leaves the commas out, so this is no Python list.
        value = [_unescaped(one or other) for one, other in _QUOTED.findall(value)]
    return tuple(map(str, value)) if isinstance(value, list | tuple) and len(value) > 1 else ()


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _originals(path: Path, dataset: Path | None) -> dict[str, list[Mapping[str, Any]]]:
    if dataset is None:
        raise ConfigError(
            f"{path.name} names its questions by their place in MMLU's test file",
            remedy="name the folder that holds it: --dataset-dir DIR",
        )
    return grouped(read_split(dataset, "test"), lambda record: record["subject"])


def _at(rows: Sequence[Mapping[str, Any]], index: object) -> Mapping[str, Any] | None:
    return rows[index] if isinstance(index, int) and 0 <= index < len(rows) else None
