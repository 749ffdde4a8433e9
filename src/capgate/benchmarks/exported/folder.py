"""Exported questions in a folder: `NAME.jsonl` has them, `NAME.json` says what they are.

The questions are Inspect's own JSON lines, so other tools read them as well. The other file holds
the hub's revision, the set's digest, the SHA-256 of the lines, and for an Inspect task what it
does with them. Every question that was changed since is told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from capgate.benchmarks.exported.sample_lines import from_line, is_unchanged, to_line
from capgate.benchmarks.exported.task_plan import TaskPlan
from capgate.benchmarks.questions import QuestionSet, digest_of_hashes
from capgate.benchmarks.row_files import RowFaults, json_lines
from capgate.common.errors import DatasetError
from capgate.common.files import told_of_files, write_atomically
from capgate.common.json_file import read_json
from capgate.common.validation import data_faults

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample

FORMAT: Final = 1
"""The form of these files; raised where an older capgate would misread them."""


class About(BaseModel):
    """What `NAME.json` says.

    Attributes:
        format: The form of the files.
        benchmark: The benchmark's name.
        task: Its task, as its entry names it.
        args: The task's arguments.
        revision: The hub's pinned commit; `""` where the questions have none.
        shots: Few-shot examples before each question, where that is known; else 0.
        questions: How many there are.
        digest: Hash of their content; see `QuestionSet.digest`.
        sha256: Of the file with the questions.
        versions: Of the task, its scorer and the packages, at that time.
        plan: What the task does with them; None for a task that capgate makes by itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = FORMAT
    benchmark: str
    task: str
    args: dict[str, JsonValue] = {}
    revision: str
    shots: int
    questions: int
    digest: str
    sha256: str
    versions: dict[str, str] = {}
    plan: TaskPlan | None = None


class Exported(NamedTuple):
    """A benchmark's exported questions.

    Attributes:
        about: What they are.
        samples: The questions, in the order in which they were exported.
    """

    about: About
    samples: tuple[Sample, ...]


def files_of(folder: Path, name: str) -> tuple[Path, Path]:
    """Where a benchmark's questions are, and what is said of them.

    Args:
        folder: The folder.
        name: The benchmark's name, which is safe in a file's name.
    """
    return folder / f"{name}.jsonl", folder / f"{name}.json"


def has_export(folder: Path, name: str) -> bool:
    """Whether a folder has a benchmark's exported questions."""
    return all(path.is_file() for path in files_of(folder, name))


def write_export(
    folder: Path,
    questions: QuestionSet,
    *,
    name: str,
    task: str,
    args: dict[str, Any],
    versions: dict[str, str],
    plan: TaskPlan | None,
) -> About:
    """Writes a benchmark's questions; each file is the old or the new one at any time.

    Args:
        folder: Where to; made if missing.
        questions: The questions.
        name: The benchmark's name.
        task: Its task, as its entry names it.
        args: The task's arguments.
        versions: Of the task, its scorer and the packages.
        plan: What the task does with the questions; None where capgate knows that.

    Returns:
        What was written of them.

    Raises:
        DatasetError: There are none, or one has no form as JSON.
        FileError: A file can't be written.
    """
    if not questions.questions:
        raise DatasetError(f"{name} has no questions to export")
    package = package_of(task)
    lines = [
        json.dumps(to_line(question, package), ensure_ascii=False)
        for question in questions.questions
    ]
    text = "".join(f"{line}\n" for line in lines)
    about = About(
        benchmark=name,
        task=task,
        args=args,
        revision=questions.revision,
        shots=questions.shots,
        questions=len(lines),
        digest=questions.digest,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        versions=versions,
        plan=plan,
    )
    rows, description = files_of(folder, name)
    with told_of_files("the questions", path=folder):
        write_atomically(rows, text, shared=True)
        write_atomically(description, about.model_dump_json(indent=2), shared=True)
    return about


def read_export(folder: Path, name: str) -> Exported:
    """Reads a benchmark's exported questions.

    Args:
        folder: The folder that `capgate questions export` wrote.
        name: The benchmark's name.

    Raises:
        DatasetError: They are missing, damaged, or not what was exported.
    """
    rows, description = files_of(folder, name)
    if not has_export(folder, name):
        raise DatasetError(
            f"the folder {folder} has no questions of {name}",
            remedy=f"where the hub can be reached, run `capgate questions export {name} DIR`, and "
            "bring that folder",
        )
    about = _about(description, name)
    package = package_of(about.task)
    faults = RowFaults()
    try:
        whole = hashlib.sha256(rows.read_bytes()).hexdigest() == about.sha256
        samples = tuple(_samples(rows, package, faults))
    except OSError as error:
        raise DatasetError(f"{rows} can't be read", said=str(error)) from None
    faults.raise_if_any(rows)
    found = digest_of_hashes(hash for _, hash in samples)
    if not whole or len(samples) != about.questions or found != about.digest:
        raise DatasetError(
            f"{rows} is not what was exported: it has {len(samples):,} questions with the digest "
            f"{found}, and {description.name} says {about.questions:,} with {about.digest}",
            remedy="export them again; to ask questions that you have changed, name their file "
            "under `questions` of a benchmark of your own",
        )
    return Exported(about, tuple(sample for sample, _ in samples))


def package_of(task: str) -> str:
    """The package of a registered task; `""` for a task of a file."""
    return "" if ".py" in task else task.rpartition("/")[0]


def _about(path: Path, name: str) -> About:
    try:
        raw = read_json(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} can't be read", said=str(error)) from None
    try:
        about = About.model_validate(raw)
    except ValidationError as error:
        faults = "\n".join(f"  {fault}" for fault in data_faults(error))
        raise DatasetError(
            f"{path} does not say what was exported, in a form that this capgate knows",
            remedy=f"export the questions again:\n{faults}",
        ) from None
    if about.benchmark != name:
        raise DatasetError(
            f"{path} describes the benchmark {about.benchmark}, not {name}",
            remedy="give the files the names with which they were exported",
        )
    return about


def _samples(path: Path, package: str, faults: RowFaults) -> Iterator[tuple[Sample, str]]:
    for _, number, row in json_lines(path, faults):
        if not isinstance(row, dict):
            faults.add(path, number, f"expected an object, got {type(row).__name__}")
            continue
        try:
            sample, known = from_line(row, package)
        except ValidationError as error:
            faults.add(path, number, "; ".join(map(str, data_faults(error))))
        except DatasetError as error:
            faults.add(path, number, error.what)
        else:
            if not is_unchanged(sample, known):
                faults.add(path, number, f"question {sample.id} was changed after the export")
            yield sample, known
