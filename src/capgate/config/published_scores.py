"""Published scores as floors, of MMLU and of other benchmarks: the shipped list, or a user's file.

`published.yaml` beside this module is the shipped list. A `published.yaml` in a project's folder
of thresholds takes its place.

A published score was measured by another harness; it is never compared question by question.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.errors import ConfigError, FileFault
from capgate.common.text import one_line
from capgate.common.validation import WEAKENED, explain
from capgate.common.yaml_file import names_in_quotes, read_yaml_mapping
from capgate.config.benchmarks_file import load_benchmarks, shipped_benchmarks
from capgate.gate.decide_floor import Floor
from capgate.gate.overrides import Reason, nearest

CHANCE: Final = 25.0
"""Percent correct by guessing one of MMLU's four choices."""

TOLERANCE: Final = 0.03
"""Fraction taken off a score of a file that states no tolerance of its own."""

SHIPPED: Final = Path(__file__).with_name("published.yaml")
"""The list that capgate ships."""

_MODEL, _SCORE = "Model Name", "MMLU"

_SCORES: Final = "scores"
"""The field that holds a model's scores, which are keys of the model itself in the file."""


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """One published score of MMLU.

    Attributes:
        model: Name in its file.
        mmlu: Accuracy in percent, as published.
        source: Where it was published.
        setup: Shots and prompting, as far as stated.
    """

    model: str
    mmlu: float
    source: str
    setup: str = "not stated"


@dataclass(frozen=True, slots=True)
class BenchmarkScore:
    """One published score of another benchmark.

    Attributes:
        model: Name in its file.
        benchmark: The benchmark's name.
        percent: Accuracy in percent, as published.
        source: Where it was published.
        setup: Shots and prompting, as far as stated.
    """

    model: str
    benchmark: str
    percent: float
    source: str
    setup: str = "not stated"


@dataclass(frozen=True, slots=True)
class Published:
    """A file of published scores.

    Attributes:
        path: The file.
        scores: The sound scores of MMLU, by model.
        faults: Rows that can't be right, each with its line or key.
        tolerance: Fraction taken off a score to make it a floor.
        benchmarks: Other benchmarks to their sound scores, by model.
    """

    path: Path
    scores: Mapping[str, PublishedScore]
    faults: tuple[FileFault, ...]
    tolerance: float = TOLERANCE
    benchmarks: Mapping[str, Mapping[str, BenchmarkScore]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What a message calls the file."""
        return "capgate's list of published scores" if self.path == SHIPPED else str(self.path)

    @property
    def addition(self) -> str:
        """How a score gets into the file."""
        own = self.path != SHIPPED
        return f"add it with its source{'' if own else ' to thresholds/published.yaml'}"

    def of(self, benchmark: str) -> Mapping[str, BenchmarkScore]:
        """A benchmark's sound scores, by model."""
        if benchmark != MMLU:
            return self.benchmarks.get(benchmark, {})
        return {
            name: BenchmarkScore(name, MMLU, one.mmlu, one.source, one.setup)
            for name, one in self.scores.items()
        }

    def floor(self, model: str, benchmark: str = MMLU) -> Floor:
        """Returns the floor that a model's published score sets.

        Raises:
            ConfigError: If the model is not in the file, or its row can't be right.
        """
        scores = self.of(benchmark)
        score = scores.get(model)
        if score is None:
            shown = one_line(model, limit=80)
            about = [fault for fault in self.faults if f"`{shown}`" in fault.what]
            meant = nearest(model, tuple(scores))
            called = "MMLU" if benchmark == MMLU else benchmark
            raise ConfigError(
                f"{self.label} has no usable {called} score of {shown}",
                faults=about,
                remedy=f"did you mean {meant}?" if meant else self.addition,
            )
        return Floor(
            score.percent / 100.0 - self.tolerance,
            kind="published",
            source=f"{score.source}: {score.percent:g} less {100 * self.tolerance:g} points",
        )


_Percent = Annotated[float, Field(strict=True, allow_inf_nan=True)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    scores: Annotated[dict[str, _Percent], Field(min_length=1)]
    source: Annotated[str, Field(min_length=3, strict=True)]
    setup: Annotated[str, Field(strict=True)] = "not stated"

    @model_validator(mode="before")
    @classmethod
    def _keys_of_benchmarks_are_scores(cls, data: Any, info: ValidationInfo) -> Any:  # noqa: ANN401
        """Puts the keys that have a benchmark's name together; the context has these names."""
        if not isinstance(data, dict):
            return data
        names: Mapping[str, str] = info.context or {}
        found = {key: names[_bare(str(key))] for key in data if _bare(str(key)) in names}
        rest = {key: value for key, value in data.items() if key not in found}
        return rest | ({"scores": {found[key]: data[key] for key in found}} if found else {})


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    tolerance: Annotated[float, Field(ge=0.0, lt=0.5, strict=True)] = TOLERANCE
    reason: Reason | None = None
    models: dict[str, _Entry]

    @model_validator(mode="after")
    def _a_wider_tolerance_has_its_reason(self) -> _File:
        if self.tolerance > TOLERANCE and self.reason is None:
            raise PydanticCustomError(
                WEAKENED,
                "a tolerance of {given} is weaker than {usual}; say why in `reason:` beside it",
                {"given": f"{self.tolerance:g}", "usual": f"{TOLERANCE:g}"},
            )
        return self


def published_file(folder: Path) -> Path:
    """The published scores in force: the project's own `published.yaml`, else the shipped list.

    Args:
        folder: The project's folder of thresholds.
    """
    own = folder / SHIPPED.name
    return own if own.exists() else SHIPPED


def load_published(path: Path, *, root: Path | None = None) -> Published:
    """Reads a file of published scores: `.csv` as `Model Name,MMLU`, else our YAML.

    Other columns, and other keys of a model in YAML, hold scores of other benchmarks where they
    have a benchmark's name (`GSM8K`, `ARC-Challenge`). Other columns are left out.

    Impossible rows (not a number, under 0, over 100, under chance, twice) don't become scores;
    they are in `faults`, for lint to show, and using one is an error.

    Args:
        path: The file.
        root: The project's folder, whose benchmarks it may name; where None, it may name those
            that capgate ships.

    Raises:
        ConfigError: If the file can't be read or has another form.
    """
    known = shipped_benchmarks() if root is None else load_benchmarks(root)
    names = {_bare(name): name for name in known.entries}
    return (_load_csv if path.suffix.lower() == ".csv" else _load_yaml)(path, names)


def _bare(name: str) -> str:
    """A benchmark's name as tables may write it: `ARC-Challenge` is `arc_challenge`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _load_yaml(path: Path, names: Mapping[str, str]) -> Published:
    try:
        data = read_yaml_mapping(path, what="published scores")
        named = data.get("models")
        if quoted := names_in_quotes(named if isinstance(named, dict) else (), under="models"):
            raise ConfigError(f"{path} can't be used", faults=quoted)
        file = _File.model_validate(data, context=names)
    except ValidationError as error:
        raise ConfigError(
            f"{path} can't be used",
            faults=list(map(_as_written, explain(error, model=_File, entries={"models": _Entry}))),
            remedy="each model needs `mmlu:` in percent and `source:`",
        ) from None
    rows = _Rows()
    for model, entry in file.models.items():
        for benchmark, percent in entry.scores.items():
            place = f"models.{model}.{benchmark}"
            rows.add(place, model, benchmark, percent, source=entry.source, setup=entry.setup)
    return rows.published(path, file.tolerance)


def _as_written(fault: FileFault) -> FileFault:
    """A fault in the words of the file, where the scores of a model are keys of their own."""
    place = f"{fault.place}.".replace(f".{_SCORES}.", ".").removesuffix(".")
    if fault.place.endswith(f".{_SCORES}"):
        place += ".mmlu"
    known = f"known: {_SCORES}, "
    what = fault.what.replace(known, "known: mmlu and other benchmarks, ")
    return replace(fault, place=place, what=what)


def _load_csv(path: Path, names: Mapping[str, str]) -> Published:
    rows = _Rows()
    lines: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            columns = {
                column: names[_bare(column)]
                for column in reader.fieldnames or ()
                if column == _SCORE or names.get(_bare(column), MMLU) != MMLU
            }
            if not columns or _MODEL not in (reader.fieldnames or ()):
                raise ConfigError(
                    f"{path} lacks the columns {_MODEL} and {_SCORE}",
                    remedy=f"its first line must be `{_MODEL},{_SCORE}`",
                )
            for row in reader:
                model, place = (row[_MODEL] or "").strip(), f"line {reader.line_num}"
                if not model:
                    rows.faults.append(FileFault(place, "the model's name is empty"))
                    continue
                if model in lines:
                    what = f"`{one_line(model, limit=80)}` stands in line {lines[model]} already"
                    rows.faults.append(FileFault(place, what))
                    rows.remove(model)
                    continue
                lines[model] = reader.line_num
                for column, benchmark in columns.items():
                    text = (row[column] or "").strip()
                    # A table of several benchmarks has gaps.
                    if text or benchmark == MMLU:
                        source = f"{path.name}, {place}"
                        rows.add(place, model, benchmark, _number(text), text, source=source)
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read", said=error.strerror or str(error), remedy="check the path"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{path} is not a CSV file in UTF-8", said=str(error), remedy="save it as such"
        ) from error
    return rows.published(path)


class _Rows:
    """The scores of a file, as far as they have been read."""

    def __init__(self) -> None:
        self.faults: list[FileFault] = []
        self._scores: dict[str, dict[str, BenchmarkScore]] = {}

    def add(
        self,
        place: str,
        model: str,
        benchmark: str,
        percent: float,
        text: str = "",
        *,
        source: str,
        setup: str = "not stated",
    ) -> None:
        """Adds a score, or the fault that it has."""
        chance = CHANCE if benchmark == MMLU else 0.0
        called = "" if benchmark == MMLU else f"{benchmark} "
        if fault := _impossible(place, f"the {called}score of", model, percent, text, chance):
            self.faults.append(fault)
            return
        mine = self._scores.setdefault(benchmark, {})
        mine[model] = BenchmarkScore(model, benchmark, percent, source, setup)

    def remove(self, model: str) -> None:
        """Takes out what was added of a model."""
        for mine in self._scores.values():
            mine.pop(model, None)

    def published(self, path: Path, tolerance: float = TOLERANCE) -> Published:
        """All that was read of a file."""
        mmlu = {
            name: PublishedScore(name, one.percent, one.source, one.setup)
            for name, one in self._scores.pop(MMLU, {}).items()
        }
        return Published(path, mmlu, tuple(self.faults), tolerance, self._scores)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _impossible(
    place: str, what: str, model: str, percent: float, text: str, chance: float
) -> FileFault | None:
    """Returns why a score can't be right, None where it can."""
    score = f"{what} `{one_line(model, limit=80)}`"
    given = one_line(text, limit=40) or f"{percent:g}"
    if math.isnan(percent):
        return FileFault(place, f"{score} is not a number: {given!r}")
    if percent < 0.0:
        return FileFault(place, f"{score} is negative: {given}", kind="impossible")
    if percent > 100.0:
        return FileFault(place, f"{score} is over 100 %: {given}", kind="impossible")
    if 0.0 < percent <= 1.0:
        return FileFault(place, f"{score} looks like a fraction, not percent: {given}")
    if percent < chance:
        said = f"{score} is under chance ({chance:g} %): {given}"
        return FileFault(place, said, kind="impossible")
    return None
