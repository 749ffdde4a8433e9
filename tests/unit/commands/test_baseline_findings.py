"""`capgate baseline lint`: every bar that can't ring is found, and a sound project is quiet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.doubles.runs import MAX_TOKENS, TASK, answers, keep_run

from capgate.benchmarks.mmlu.task import mmlu_task
from capgate.cli import main

REPOSITORY = Path(__file__).parents[3]
MODELS = """
mine: {model_name: m, base_url: "http://127.0.0.1:1/v1"}
yours: {model_name: y, base_url: "http://127.0.0.1:1/v1"}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two targets and nothing to find, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    for folder in ("config", "thresholds/baselines"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "config" / "models.yaml").write_text(MODELS, encoding="utf-8")
    return tmp_path


def kinds(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[tuple[str, str]]:
    """The kinds and places of the findings; their number must agree with the exit code."""
    capsys.readouterr()
    code = main(["baseline", "lint", "--json", *arguments])
    found = json.loads(capsys.readouterr().out)
    assert code == (1 if found else 0)
    assert all(one["what"] and one["remedy"] for one in found)
    return [(one["kind"], one["place"]) for one in found]


def write(project: Path, name: str, text: str) -> Path:
    """Writes a file of the thresholds."""
    path = project / "thresholds" / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_sound_project_is_quiet(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without files, and with a baseline that fits its newest run, nothing is found."""
    assert kinds(capsys) == []
    keep_run(project, "r1", answers(lost=range(60)))
    assert main(["baseline", "record", "mine"]) == 0
    write(project, "floors.yaml", "mine: {overall: 0.70}")
    assert kinds(capsys) == []


def test_the_repository_s_own_bars_are_sound(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The thresholds that capgate ships have no finding."""
    monkeypatch.chdir(Path(__file__).parents[3])
    assert kinds(capsys, "--store", str(tmp_path / "none.sqlite")) == []


def test_a_new_checkout_is_clean(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So are the shipped thresholds with targets of one's own, and with a first real result."""
    shutil.copytree(REPOSITORY / "thresholds", project / "thresholds", dirs_exist_ok=True)
    assert kinds(capsys) == []
    shutil.copy(REPOSITORY / "config" / "models.yaml", project / "config" / "models.yaml")
    # More than guessing gives, and far above the shipped floor.
    keep_run(project, "r1", answers(lost=range(140)), target="local-smollm2")
    assert kinds(capsys) == []
    assert main(["baseline", "lint"]) == 0


@pytest.mark.parametrize(
    ("floors", "found"),
    [
        ("mine: {overall: 0.5}", [("dead alarm", "floor of mine, overall")]),
        (
            "mine: {overall: 0.5, reason: from last year}",
            [("dead alarm", "floor of mine, overall")],
        ),
        ("mine: {overall: 0.7}", []),
        (
            "mine: {overall: 0.2}",
            [("dead alarm", "floor of mine, overall"), ("near chance", "floor of mine, overall")],
        ),
        ("mine: {overall: 65}", [("faulty", "floors.yaml, mine.overall")]),
        ("mien: {overall: 0.7}", [("faulty", "thresholds of mien")]),
    ],
)
def test_floors_that_would_not_ring(
    project: Path, capsys: pytest.CaptureFixture[str], floors: str, found: list
) -> None:
    """A floor far under what is measured, at chance, malformed, or of nobody."""
    keep_run(project, "r1", answers(lost=range(60)))
    write(project, "floors.yaml", floors)
    assert sorted(kinds(capsys)) == sorted(found)


def test_a_floor_at_chance_may_say_what_it_is_for(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a model at chance a floor under chance can be meant; its reason says so."""
    keep_run(project, "r1", answers(lost=range(165)))
    write(project, "floors.yaml", "mine: {overall: 0.15}")
    assert kinds(capsys) == [("near chance", "floor of mine, overall")]
    write(project, "floors.yaml", "mine: {overall: 0.15, reason: the path itself is broken}")
    assert kinds(capsys) == []


def test_bars_weakened_without_a_reason(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the policy, of a target's floor against that for all, and of a baseline's history."""
    write(project, "policy.yaml", "catch: 0.2\n")
    assert kinds(capsys) == [("weakened without a reason", "policy.yaml, line 1, catch")]
    write(project, "policy.yaml", "floor: 0.7\n")
    write(project, "floors.yaml", "mine: {overall: 0.6}")
    assert kinds(capsys) == [("weakened without a reason", "floors.yaml, mine.overall")]
    write(project, "floors.yaml", "mine: {overall: 0.6, reason: agreed}")
    assert kinds(capsys) == []


def test_a_reason_taken_out_of_a_baseline_is_missed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An update that lowered the bar keeps its reason, or is a finding."""
    keep_run(project, "r1", answers())
    assert main(["baseline", "record", "mine"]) == 0
    keep_run(project, "r2", answers(lost=range(30)))
    capsys.readouterr()
    main(["baseline", "diff", "mine", "--json"])
    digest = json.loads(capsys.readouterr().out)["digest"]
    why = ("--reviewed", digest, "--reason", "agreed")
    assert main(["baseline", "update", "mine", *why]) == 0
    assert kinds(capsys) == []
    path = project / "thresholds" / "baselines" / "mine.json"
    path.write_text(path.read_text("utf-8").replace('"agreed"', '""'), encoding="utf-8")
    assert kinds(capsys) == [("weakened without a reason", "baselines/mine.json")]


def test_a_baseline_edited_by_hand_is_found(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Right answers turned into wrong ones no longer add up to the counts."""
    keep_run(project, "r1", answers())
    assert main(["baseline", "record", "mine"]) == 0
    path = project / "thresholds" / "baselines" / "mine.json"
    path.write_text(path.read_text("utf-8").replace('"C A"', '"W A"', 9), encoding="utf-8")
    assert {kind for kind, _ in kinds(capsys)} == {"changed n"}


def test_baselines_at_and_under_chance(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A record of guessing can't show a loss; one far under it was read wrongly."""
    keep_run(project, "r1", answers(lost=range(170)))
    assert main(["baseline", "record", "mine"]) == 0
    keep_run(project, "r2", answers(lost=range(215)), target="yours")
    assert main(["baseline", "record", "yours"]) == 0
    assert sorted(kinds(capsys)) == [
        ("impossible", "baselines/yours.json"),
        ("near chance", "baselines/mine.json"),
    ]


def test_twins(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two targets with the same answer to every question: a copy, or a dead adapter."""
    for target in ("mine", "yours"):
        keep_run(project, f"r-{target}", answers(lost=range(60)), target=target)
        assert main(["baseline", "record", target]) == 0
    assert kinds(capsys) == [("twins", "baselines/mine.json and baselines/yours.json")]


def test_a_baseline_that_no_longer_fits_its_newest_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another number of questions, another model or scorer behind the same id."""
    keep_run(project, "r1", answers(lost=range(60)))
    assert main(["baseline", "record", "mine"]) == 0
    versions = {"versions": {"task": "mmlu@9"}}
    keep_run(project, "r2", answers(lost=range(60)), fingerprint="a" * 16, facts=versions)
    assert kinds(capsys) == [("wrong fingerprint", "baselines/mine.json")]
    less = {"questions": 100, "digest": "d", "source": "bundled", "revision": "", "shots": 0}
    keep_run(project, "r3", answers(lost=range(60))[:100], chosen=100, dataset=less)
    assert kinds(capsys) == [("changed n", "baselines/mine.json")]


def test_a_baseline_fits_a_run_on_newer_packages(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other versions of the packages alone are no finding, whatever the fingerprints are."""
    keep_run(project, "r1", answers(lost=range(60)))
    assert main(["baseline", "record", "mine"]) == 0
    versions = mmlu_task(TASK, MAX_TOKENS).versions | {"inspect_ai": "99.0"}
    keep_run(
        project,
        "r2",
        answers(lost=range(60)),
        fingerprint="a" * 16,
        facts={"versions": versions},
    )
    assert kinds(capsys) == []


def test_published_scores_that_cannot_be_right(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each faulty row of a user's file is named with its line."""
    file = project / "scores.csv"
    rows = ["a,63.5", "b,22.9", "c,134", "d,0.63", "e,n/a", "a,64", "f,25.4", ",60"]
    file.write_text("Model Name,MMLU\n" + "\n".join(rows), encoding="utf-8")
    assert kinds(capsys, "--published", str(file)) == [
        ("faulty", "scores.csv, line 5"),
        ("faulty", "scores.csv, line 6"),
        ("faulty", "scores.csv, line 7"),
        ("faulty", "scores.csv, line 9"),
        ("impossible", "scores.csv, line 3"),
        ("impossible", "scores.csv, line 4"),
        ("near chance", "scores.csv, f"),
    ]


def test_a_missing_file_of_scores_is_an_error(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was named on purpose must be there."""
    assert main(["baseline", "lint", "--published", str(project / "none.csv")]) == 4
    assert "can't be read" in capsys.readouterr().err


def test_a_policy_that_names_no_published_score(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target held against a score that the list has not."""
    write(project, "published.yaml", "models: {Known: {mmlu: 70.0, source: somewhere}}")
    write(project, "policy.yaml", "targets: {mine: {reference: published, published: Unknown}}")
    assert kinds(capsys) == [("faulty", "policy.yaml, targets.mine.published")]
