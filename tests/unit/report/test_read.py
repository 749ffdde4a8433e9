"""Finding and reading reports, whichever version wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.unit.report.examples import red_report

from capgate.common.errors import ConfigError
from capgate.report.data.read import find_report, read_report
from capgate.report.data.result import SCHEMA_VERSION, json_schema
from capgate.report.text.shown_commands import repeat_command


def written(path: Path, **changes: Any) -> Path:  # noqa: ANN401
    """A report on disk, with some members changed; None takes one out."""
    raw = json.loads(red_report().model_dump_json()) | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))
    return path


def test_a_run_is_found_by_id_beginning_latest_and_path(tmp_path: Path) -> None:
    """And one that is not there names the last ones."""
    for run in ("20260101T000000Z-aaaa", "20260102T000000Z-bbbb"):
        written(tmp_path / run / "report.json")
    last = tmp_path / "20260102T000000Z-bbbb" / "report.json"
    for name in ("latest", "20260102", "20260102T000000Z-bbbb", str(last), str(last.parent)):
        assert find_report(name, tmp_path) == last
    with pytest.raises(ConfigError, match="2 runs begin"):
        find_report("2026", tmp_path)
    with pytest.raises(ConfigError, match="20260102T000000Z-bbbb"):
        find_report("x", tmp_path)
    with pytest.raises(ConfigError, match="there is no report"):
        find_report("latest", tmp_path / "empty")


def test_what_was_written_is_read_and_fits_the_schema(tmp_path: Path) -> None:
    """A report survives its file."""
    path = written(tmp_path / "report.json")
    assert read_report(path) == red_report()
    jsonschema.validate(json.loads(path.read_text()), json_schema())


def test_version_1_is_read(tmp_path: Path) -> None:
    """What it did not have is empty; what it had is there."""
    raw = json.loads(red_report().model_dump_json())
    for name in ("comparisons", "not_judged"):
        del raw[name]
    raw["schema_version"] = 1
    for name in ("reference", "path", "faults", "unread", "published"):
        del raw["targets"]["mine"][name]
    raw["targets"]["mine"]["schema_version"] = 1
    path = tmp_path / "report.json"
    path.write_text(json.dumps(raw))
    report = read_report(path)
    assert report.schema_version == SCHEMA_VERSION
    assert (report.comparisons, report.targets["mine"].overall_score) == ({}, 0.6)


def test_version_2_is_read(tmp_path: Path) -> None:
    """It knew of no published scores; all else is as it was."""
    raw = json.loads(red_report().model_dump_json())
    raw["schema_version"] = raw["targets"]["mine"]["schema_version"] = 2
    del raw["targets"]["mine"]["published"]
    path = tmp_path / "report.json"
    path.write_text(json.dumps(raw))
    assert read_report(path) == red_report()


def test_a_report_that_version_4_wrote_is_read_with_the_words_of_today() -> None:
    """PASS for want of evidence becomes `too few to tell`, or `kept` where the counts rule it out.

    The file is a real run's, its long texts cut.
    """
    report = read_report(Path(__file__).with_name("report-version-4.json"))
    result = report.targets["tiny-adapter"]
    assert {name: one.word for name, one in result.subject_details.items()} == {
        "anatomy": "too few to tell",
        "elementary_mathematics": "lost",
        "philosophy": "kept",  # of four unchanged answers, with a `catch` of 60 points
        "virology": "too few to tell",
    }
    kinds = {s: (one.verdict or {})["kind"] for s, one in result.subject_details.items()}
    assert kinds == {name: one.word for name, one in result.subject_details.items()}
    # The domains were not tested then; that of one subject has its word.
    assert {name: one.word for name, one in result.domains.items()} == {
        "stem": "lost",
        "humanities": "kept",
        "other": None,
    }
    assert result.verdict is not None
    assert (result.verdict["kind"], result.verdict["domains"]) == ("REGRESSION", [])
    again = json.loads(report.model_dump_json())
    jsonschema.validate(again, json_schema())
    assert "PASS" not in json.dumps(again["targets"]["tiny-adapter"]["subject_details"])


@pytest.mark.parametrize("damage", [{"overall": None}, {"subject_details": [1]}, {"verdict": {}}])
def test_a_damaged_report_of_an_older_version_is_refused(
    tmp_path: Path, damage: dict[str, object]
) -> None:
    """With a message, whatever is missing from it."""
    raw = json.loads(Path(__file__).with_name("report-version-4.json").read_text())
    raw["targets"]["tiny-adapter"] |= damage
    file = tmp_path / "report.json"
    file.write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match="changed by hand"):
        read_report(file)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 99}, "Upgrade capgate"),
        ({"schema_version": 0}, "never was"),
        ({"schema_version": "2"}, "no report of a run"),
        ({"schema_version": True}, "no report of a run"),
        ({"targets": None}, "no report of a run"),
        ({"run": None}, "run: Field required"),
    ],
)
def test_what_can_not_be_read_is_refused_clearly(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    """Newer, damaged, or no report at all."""
    with pytest.raises(ConfigError, match=said):
        read_report(written(tmp_path / "report.json", **changes))


def changed(raw: dict[str, Any], *path: str, to: object) -> dict[str, Any]:
    """A report with one value in its depths changed; None takes it out."""
    inner = raw
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = to
    if to is None:
        del inner[path[-1]]
    return raw


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("verdict", "kind"), "FOO"),
        (("verdict", "evidence"), None),
        (("targets", "mine", "verdict", "drop"), "much"),
        (("targets", "mine", "reference"), {"kind": "a friend"}),
        (("targets", "mine", "path"), [{"questions": 1}]),
        (("targets", "mine", "published"), {}),
    ],
)
def test_damage_within_a_verdict_is_refused(
    tmp_path: Path, path: tuple[str, ...], to: object
) -> None:
    """What verdicts, references, paths and published scores hold is checked, and in the schema."""
    raw = changed(json.loads(red_report().model_dump_json()), *path, to=to)
    file = tmp_path / "report.json"
    file.write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match="It was changed by hand, or is damaged"):
        read_report(file)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, json_schema())


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("settings", "subjects"), [[]]),
        (("targets",), {}),
        (("targets", "mine", "dataset"), {}),
        (("targets", "mine", "dataset", "questions"), "x"),
        (("targets", "mine", "verdict", "policy", "catch"), "x"),
        (("targets", "mine", "verdict", "drop"), float("nan")),
        (("comparisons", "mine", "labels", "knowledge"), 10**400),
        (("comparisons", "mine", "subjects", "anatomy", "losses"), 10**400),
    ],
)
def test_damage_beyond_the_schema_is_refused(
    tmp_path: Path, path: tuple[str, ...], to: object
) -> None:
    """What no schema says, but every page and table relies on; the place is named."""
    raw = changed(json.loads(red_report().model_dump_json()), *path, to=to)
    file = tmp_path / "report.json"
    file.write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match="It was changed by hand, or is damaged") as caught:
        read_report(file)
    assert path[-1] in str(caught.value) or path == ("targets",)


@pytest.mark.parametrize("targets", [[], {"mine": 1}, {"mine": None}, 7])
def test_a_damaged_report_of_version_1_is_refused(tmp_path: Path, targets: object) -> None:
    """Bringing it up to date does not stumble over what is no target."""
    file = written(tmp_path / "report.json", schema_version=1, targets=targets)
    with pytest.raises(ConfigError, match="changed by hand"):
        read_report(file)


def test_json_without_end_to_its_depth_is_refused(tmp_path: Path) -> None:
    """Python's own limit is met by a message."""
    file = tmp_path / "report.json"
    file.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="can't be read"):
        read_report(file)


def test_broken_json_is_no_report(tmp_path: Path) -> None:
    """Nor is a file that is cut short."""
    path = tmp_path / "report.json"
    path.write_text('{"run"')
    with pytest.raises(ConfigError, match="can't be read"):
        read_report(path)


def test_the_command_that_repeats_a_run() -> None:
    """Only what is not the default is said; lists as their options take them."""
    settings = {
        "model_ids": ["base"],
        "adapter_names": ["./adapters/my run"],
        "task": "inspect_evals/mmlu_5_shot",
        "subjects": ["anatomy", "virology"],
        "limit": 100,
        "temperature": 0.0,
        "measure": True,
        "dataset": None,
    }
    report = red_report().model_copy(update={"settings": settings})
    assert repeat_command(report) == (
        "pytest benchmarks -m full --model-id base --adapter-name './adapters/my run' --measure "
        "--tasks inspect_evals/mmlu_5_shot --limit 100 --subjects anatomy,virology"
    )
    assert repeat_command(red_report()) == "pytest benchmarks -m full --model-id mine"
