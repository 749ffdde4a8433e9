"""Published MMLU scores as floors: the shipped list, or a user's file.

`published.yaml` beside this module is the shipped list. A `published.yaml` in a project's folder
of thresholds takes its place.

A published score was measured by another harness; it is never compared question by question.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from capgate.common.errors import ConfigError, FileFault
from capgate.common.text import one_line
from capgate.common.validation import WEAKENED, explain
from capgate.common.yaml_file import names_in_quotes, read_yaml_mapping
from capgate.gate.decide_floor import Floor
from capgate.gate.overrides import Reason, nearest

CHANCE: Final = 25.0
"""Percent correct by guessing one of four choices."""

TOLERANCE: Final = 0.03
"""Fraction taken off a score of a file that states no tolerance of its own."""

SHIPPED: Final = Path(__file__).with_name("published.yaml")
"""The list that capgate ships."""

_MODEL, _SCORE = "Model Name", "MMLU"


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """One published score.

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
class Published:
    """A file of published scores.

    Attributes:
        path: The file.
        scores: The sound rows, by model.
        faults: Rows that can't be right, each with its line or key.
        tolerance: Fraction taken off a score to make it a floor.
    """

    path: Path
    scores: Mapping[str, PublishedScore]
    faults: tuple[FileFault, ...]
    tolerance: float = TOLERANCE

    @property
    def label(self) -> str:
        """What a message calls the file."""
        return "capgate's list of published scores" if self.path == SHIPPED else str(self.path)

    @property
    def addition(self) -> str:
        """How a score gets into the file."""
        own = self.path != SHIPPED
        return f"add it with its source{'' if own else ' to thresholds/published.yaml'}"

    def floor(self, model: str) -> Floor:
        """Returns the floor that a model's published score sets.

        Raises:
            ConfigError: If the model is not in the file, or its row can't be right.
        """
        score = self.scores.get(model)
        if score is None:
            shown = one_line(model, limit=80)
            about = [fault for fault in self.faults if f"`{shown}`" in fault.what]
            meant = nearest(model, tuple(self.scores))
            raise ConfigError(
                f"{self.label} has no usable MMLU score of {shown}",
                faults=about,
                remedy=f"did you mean {meant}?" if meant else self.addition,
            )
        return Floor(
            score.mmlu / 100.0 - self.tolerance,
            kind="published",
            source=f"{score.source}: {score.mmlu:g} less {100 * self.tolerance:g} points",
        )


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mmlu: Annotated[float, Field(strict=True, allow_inf_nan=True)]
    source: Annotated[str, Field(min_length=3, strict=True)]
    setup: Annotated[str, Field(strict=True)] = "not stated"


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


def load_published(path: Path) -> Published:
    """Reads a file of published scores: `.csv` as `Model Name,MMLU`, else our YAML.

    Impossible rows (not a number, under 0, over 100, under chance, twice) don't become scores;
    they are in `faults`, for lint to show, and using one is an error.

    Raises:
        ConfigError: If the file can't be read or has another form.
    """
    return _load_csv(path) if path.suffix.lower() == ".csv" else _load_yaml(path)


def _load_yaml(path: Path) -> Published:
    try:
        data = read_yaml_mapping(path, what="published scores")
        named = data.get("models")
        if quoted := names_in_quotes(named if isinstance(named, dict) else (), under="models"):
            raise ConfigError(f"{path} can't be used", faults=quoted)
        file = _File.model_validate(data)
    except ValidationError as error:
        raise ConfigError(
            f"{path} can't be used",
            faults=explain(error, model=_File, entries={"models": _Entry}),
            remedy="each model needs `mmlu:` in percent and `source:`",
        ) from None
    scores: dict[str, PublishedScore] = {}
    found: list[FileFault] = []
    for model, entry in file.models.items():
        if fault := _impossible(f"models.{model}.mmlu", model, entry.mmlu):
            found.append(fault)
        else:
            scores[model] = PublishedScore(model, entry.mmlu, entry.source, entry.setup)
    return Published(path, scores, tuple(found), file.tolerance)


def _load_csv(path: Path) -> Published:
    scores: dict[str, PublishedScore] = {}
    lines: dict[str, int] = {}
    faults: list[FileFault] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            if not {_MODEL, _SCORE} <= set(reader.fieldnames or ()):
                raise ConfigError(
                    f"{path} lacks the columns {_MODEL} and {_SCORE}",
                    remedy=f"its first line must be `{_MODEL},{_SCORE}`",
                )
            for row in reader:
                model, text = (row[_MODEL] or "").strip(), (row[_SCORE] or "").strip()
                place = f"line {reader.line_num}"
                if not model:
                    faults.append(FileFault(place, "the model's name is empty"))
                    continue
                if model in lines:
                    what = f"`{one_line(model, limit=80)}` stands in line {lines[model]} already"
                    faults.append(FileFault(place, what))
                    scores.pop(model, None)
                    continue
                lines[model] = reader.line_num
                value = _number(text)
                if fault := _impossible(place, model, value, text):
                    faults.append(fault)
                    continue
                scores[model] = PublishedScore(model, value, f"{path.name}, {place}")
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read", said=error.strerror or str(error), remedy="check the path"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{path} is not a CSV file in UTF-8", said=str(error), remedy="save it as such"
        ) from error
    return Published(path, scores, tuple(faults))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _impossible(place: str, model: str, percent: float, text: str = "") -> FileFault | None:
    """Returns why a score can't be right, None where it can."""
    score = f"the score of `{one_line(model, limit=80)}`"
    given = one_line(text, limit=40) or f"{percent:g}"
    if math.isnan(percent):
        return FileFault(place, f"{score} is not a number: {given!r}")
    if percent < 0.0:
        return FileFault(place, f"{score} is negative: {given}", kind="impossible")
    if percent > 100.0:
        return FileFault(place, f"{score} is over 100 %: {given}", kind="impossible")
    if 0.0 < percent <= 1.0:
        return FileFault(place, f"{score} looks like a fraction, not percent: {given}")
    if percent < CHANCE:
        said = f"{score} is under chance ({CHANCE:g} %): {given}"
        return FileFault(place, said, kind="impossible")
    return None
