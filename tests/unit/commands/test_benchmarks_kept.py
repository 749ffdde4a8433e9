"""What is kept and compared of benchmarks other than MMLU, through the commands' own entry."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.doubles import own_benchmarks, runs

from capgate.cli import main
from capgate.gate.decide_paired import decide_fixed
from capgate.gate.policy import Policy
from capgate.gate.rows import Single, pair_up
from capgate.store.baselines import load_baseline


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two benchmarks of its own, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    own_benchmarks.write(tmp_path)
    return tmp_path


def of(project: Path, name: str = "sums") -> tuple[Any, ...]:
    """A benchmark's questions."""
    return own_benchmarks.benchmark(project, name).load("").questions


def printed(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> Any:  # noqa: ANN401
    """What a command prints for programs, having made sure of its exit code."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def shown(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """What a command prints for people, having made sure of its exit code."""
    capsys.readouterr()
    assert main([*arguments]) == code
    return "".join(capsys.readouterr())


def keep_all(project: Path, run: str, *, lost_sums: range = range(0)) -> None:
    """Keeps a run of MMLU and of both further benchmarks."""
    runs.keep_run(project, run, runs.answers())
    own_benchmarks.keep(project, run, own_benchmarks.answers(of(project), lost=lost_sums))
    grouped = own_benchmarks.answers(of(project, "grouped"))
    own_benchmarks.keep(project, run, grouped, name="grouped")


def test_a_run_is_recorded_with_all_its_benchmarks(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file for each; MMLU's has the target's bare name and says nothing of benchmarks."""
    keep_all(project, "r1")
    made = printed(capsys, 0, "baseline", "record", "mine")
    assert [(one.get("benchmark"), one["n"]) for one in made] == [
        (None, 228),
        ("grouped", 400),
        ("sums", 400),
    ]
    folder = project / "thresholds" / "baselines"
    assert {path.name for path in folder.iterdir()} == {
        "mine.json",
        "mine.grouped.json",
        "mine.sums.json",
    }
    mmlu = json.loads((folder / "mine.json").read_text())
    assert (mmlu["schema_version"], "benchmark" in mmlu, "letters" in mmlu) == (2, False, False)
    recorded = load_baseline(folder / "mine.sums.json", benchmark="sums")
    assert (recorded.schema_version, recorded.letters, recorded.chance) == (3, "", 0.0)
    assert recorded.task == "data/sums.jsonl"
    assert load_baseline(folder / "mine.grouped.json").chance == 0.5
    first = of(project)[0]
    answer = next(one for one in recorded.recorded_answers() if one.question == first.hash)
    assert (answer.subject, answer.choice, answer.text) == ("sums", "1", "I think it is 1.")
    assert shown(capsys, 0, "baseline", "lint") == "0 findings\n"


def test_nothing_is_recorded_where_a_benchmark_can_t_be(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A benchmark whose answers can't be read keeps the others from being recorded as well."""
    runs.keep_run(project, "r1", runs.answers())
    own_benchmarks.keep(project, "r1", own_benchmarks.answers(of(project), unread=range(200)))
    said = shown(capsys, 4, "baseline", "record", "mine")
    assert "the run r1 on sums is no baseline: 200 of 400 answers" in said
    assert not (project / "thresholds").exists()
    (project / "thresholds").mkdir()
    (project / "thresholds" / "policy.yaml").write_text(
        "benchmarks: {sums: {max_unparsed: 0.6, reason: a hard form}}", encoding="utf-8"
    )
    assert main(["baseline", "record", "mine", "--benchmark", "sums"]) == 0
    (project / "thresholds" / "baselines" / "mine.sums.json").unlink()
    assert main(["baseline", "record", "mine", "--benchmark", "mmlu"]) == 0
    said = shown(capsys, 4, "baseline", "record", "mine", "--run", "r1")
    assert "baselines/mine.json exists already" in said
    assert "name other benchmarks with --benchmark" in said


def test_a_benchmark_s_baseline_is_reviewed_and_replaced_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`diff` and `update` take MMLU's unless a benchmark is named, and each has its own digest."""
    keep_all(project, "r1")
    assert main(["baseline", "record", "mine"]) == 0
    keep_all(project, "r2", lost_sums=range(4))
    assert "nothing changes" in shown(capsys, 0, "baseline", "diff", "mine")
    found = printed(capsys, 0, "baseline", "diff", "mine", "--benchmark", "sums")
    assert (found["benchmark"], found["lowers"]) == ("sums", ["accuracy 100.00% → 99.00%"])
    told = shown(capsys, 0, "baseline", "diff", "mine", "--benchmark", "sums")
    assert "baseline update mine --benchmark sums --run r2 --reviewed" in told
    update = ("baseline", "update", "mine", "--reviewed", found["digest"], "--reason", "longer")
    assert main([*update]) == 4
    assert main([*update, "--benchmark", "sums"]) == 0
    assert load_baseline(project / "thresholds/baselines/mine.sums.json").correct == 396
    assert load_baseline(project / "thresholds/baselines/mine.json").correct == 228
    several = ("--benchmark", "sums", "--benchmark", "mmlu")
    assert "is of one benchmark" in shown(capsys, 4, "baseline", "diff", "mine", *several)


def test_a_run_without_mmlu_says_what_it_asked(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that takes MMLU by default names the benchmarks that there are."""
    own_benchmarks.keep(project, "r1", own_benchmarks.answers(of(project)))
    for command in (("baseline", "diff", "mine", "--run", "r1"), ("rescore", "r1")):
        said = shown(capsys, 4, *command)
        assert "the run r1 did not ask mmlu" in said
        assert "it asked sums: name one with --benchmark" in said.lower()
    assert printed(capsys, 0, "baseline", "record", "mine")["benchmark"] == "sums"


def test_a_baseline_of_another_benchmark_is_not_taken(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two targets whose names make one file are told apart by what the file says."""
    own_benchmarks.keep(project, "r1", own_benchmarks.answers(of(project)))
    assert main(["baseline", "record", "mine", "--benchmark", "sums"]) == 0
    runs.keep_run(project, "r2", runs.answers(), target="mine.sums")
    said = shown(capsys, 4, "baseline", "diff", "mine.sums")
    assert "mine.sums.json is not of mmlu: it is of mine on sums" in said


def test_lint_checks_every_benchmark(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files under another name, dead floors, copies and old recordings are found of each."""
    keep_all(project, "r1")
    own_benchmarks.keep(project, "r1", own_benchmarks.answers(of(project)), target="twin")
    assert main(["baseline", "record", "mine"]) == 0
    assert main(["baseline", "record", "twin"]) == 0
    folder = project / "thresholds"
    (folder / "baselines" / "mine.grouped.json").rename(folder / "baselines" / "grouped.json")
    (folder / "floors.yaml").write_text(
        "mine: {benchmarks: {sums: {overall: 0.5}, grouped: {overall: 0.45}}}", encoding="utf-8"
    )
    own_benchmarks.keep(project, "r2", own_benchmarks.answers(of(project)), fingerprint="d" * 16)
    found = printed(capsys, 1, "baseline", "lint")
    places = {(one["kind"], one["place"]): one for one in found}
    assert set(places) == {
        ("faulty", "baselines/grouped.json"),
        ("dead alarm", "floor of mine on sums, overall"),
        ("dead alarm", "floor of mine on grouped, overall"),
        ("near chance", "floor of mine on grouped, overall"),
        ("twins", "baselines/mine.sums.json and baselines/twin.sums.json"),
    }
    misnamed = places["faulty", "baselines/grouped.json"]
    assert misnamed["remedy"] == "name it mine.grouped.json"


def test_lint_names_a_benchmark_that_can_t_decide(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where so many answers differ that a drop of `catch` would usually not be seen."""
    asked = of(project)
    reference = [Single.of(one) for one in own_benchmarks.answers(asked, lost=range(40))]
    given = own_benchmarks.answers(asked, lost=range(40, 80))
    pairs = pair_up(reference, [Single.of(one) for one in given])
    verdict = decide_fixed(pairs, Policy(catch=0.05, reason="few questions"))
    own_benchmarks.keep(project, "r1", given, verdict=verdict)
    (one,) = printed(capsys, 1, "baseline", "lint")
    assert (one["kind"], one["place"]) == ("can't decide", "sums, mine")
    assert "its catch is 5 points, but where 20.0% of answers differ" in one["what"]
    assert "400 questions usually show a drop of" in one["what"]
    (project / "thresholds").mkdir()
    policy = "benchmarks: {sums: {catch: 0.15, reason: small file}}"
    (project / "thresholds" / "policy.yaml").write_text(policy, encoding="utf-8")
    assert main(["baseline", "lint"]) == 0


@pytest.mark.parametrize(
    ("lost", "kind", "code", "failed"),
    [(range(0), "PASS", 0, []), (range(80), "REGRESSION", 1, ["sums"])],
)
def test_two_runs_of_several_benchmarks_get_one_verdict(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    lost: range,
    kind: str,
    code: int,
    failed: list[str],
) -> None:
    """Each benchmark is compared by its own rules, and the exit code is that of all together."""
    keep_all(project, "r1")
    keep_all(project, "r2", lost_sums=lost)
    found = printed(capsys, code, "compare", "r1", "r2")
    assert found["verdict"]["kind"] == kind
    assert [one["name"] for one in found["verdict"]["benchmarks"] if one["failed"]] == failed
    assert {name: len(one["subjects"]) for name, one in found["benchmarks"].items()} == {
        "mmlu": 57,
        "grouped": 2,
        "sums": 1,
    }
    assert [one["domain"] for one in found["benchmarks"]["grouped"]["domains"]] == ["all"]
    catches = {one["name"]: one["catch"] for one in found["verdict"]["benchmarks"]}
    assert catches == {"mmlu": 0.02, "grouped": 0.05, "sums": 0.05}
    assert len(found["benchmarks"]["sums"]["flips"]) == len(lost)
    said = shown(capsys, code, "compare", "r1", "r2")
    assert said.startswith(f"{kind}: ")
    assert "Budget: false alarm 0.05 = " in said


def test_one_benchmark_is_compared_as_mmlu_is(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--benchmark` leaves the others out; the form is the one of a single benchmark."""
    keep_all(project, "r1")
    keep_all(project, "r2", lost_sums=range(80))
    found = printed(capsys, 1, "compare", "r1", "r2", "--benchmark", "sums")
    assert (found["benchmark"], found["verdict"]["kind"]) == ("sums", "REGRESSION")
    assert found["flips"][0]["key"] == found["flips"][0]["reference"]["choice"]
    assert found["flips"][0]["choices"] == []
    mmlu = printed(capsys, 0, "compare", "r1", "r2", "--benchmark", "mmlu")
    assert "benchmark" not in mmlu
    with_two = ("--benchmark", "mmlu", "--benchmark", "grouped")
    assert set(printed(capsys, 0, "compare", "r1", "r2", *with_two)["benchmarks"]) == {
        "mmlu",
        "grouped",
    }


def test_a_benchmark_that_the_candidate_lacks_is_an_error(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What RUN_A asked and RUN_B did not is no PASS; what only RUN_B asked is told."""
    keep_all(project, "r1")
    runs.keep_run(project, "r2", runs.answers())
    found = printed(capsys, 11, "compare", "r1", "r2")
    assert set(found["missing"]) == {"grouped", "sums"}
    assert "the run r2 did not ask it" in found["missing"]["sums"]
    found = printed(capsys, 0, "compare", "r2", "r1")
    assert found["left_out"] == ["grouped", "sums"]
    assert "not compared, since only RUN_B asked it" in shown(capsys, 0, "compare", "r2", "r1")


def test_other_questions_of_a_benchmark_are_no_comparison(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of questions that has changed is told with what to do about it."""
    own_benchmarks.keep(project, "r1", own_benchmarks.answers(of(project)))
    own_benchmarks.write(project, 300)
    own_benchmarks.keep(project, "r2", own_benchmarks.answers(of(project)))
    said = shown(capsys, 11, "compare", "r1", "r2")
    assert "other questions" in said
    assert "put back the questions that were asked" in said.lower()


def test_free_text_is_scored_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stored texts of a benchmark go through its own scorer, from a run or a baseline."""
    given = own_benchmarks.answers(of(project), lost=range(10))
    misread = [replace(given[11], state=given[0].state, choice="0"), *given[12:]]
    own_benchmarks.keep(project, "r1", [*given[:11], *misread])
    (found,) = printed(capsys, 1, "rescore", "r1", "--benchmark", "sums")["rescored"]
    assert (found["benchmark"], found["n"]) == ("sums", 400)
    (one,) = found["read_otherwise"]
    assert (one["then"], one["now"], one["now_choice"]) == ("wrong", "correct", "12")
    assert main(["baseline", "record", "mine"]) == 0
    again = printed(capsys, 1, "rescore", "--baseline", "mine", "--benchmark", "sums")
    assert again["rescored"][0]["read_otherwise"] == [one]


def rows(
    project: Path, *, lost: range, header: str = "benchmark,question,reference,candidate"
) -> str:
    """Writes rows of two benchmarks, of which the second lost some."""
    lines = [header]
    for name in ("sums", "other"):
        for at in range(400):
            candidate = 0 if name == "other" and at in lost else 1
            lines.append(f"{name},q{at},1,{candidate}")
    path = project / "rows.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("rule", ["--fixed", "--sequential"])
@pytest.mark.parametrize(
    ("lost", "kind", "code"), [(range(0), "PASS", 0), (range(90), "REGRESSION", 1)]
)
def test_rows_of_several_benchmarks_are_decided_together(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    rule: str,
    lost: range,
    kind: str,
    code: int,
) -> None:
    """The same question may be in several; a benchmark of the project has its entry's `catch`."""
    path = rows(project, lost=lost)
    policy = project / "policy.yaml"
    policy.write_text("catch: 0.1\nreason: few questions\n", encoding="utf-8")
    found = printed(capsys, code, "decide", path, rule, "--policy", str(policy))
    assert (found["kind"], found["rule"]) == (kind, rule.removeprefix("--"))
    assert {one["name"]: one["catch"] for one in found["benchmarks"]} == {
        "sums": 0.05,
        "other": 0.1,
    }
    assert set(found["verdicts"]) == {"sums", "other"}
    assert [one["name"] for one in found["benchmarks"] if one["failed"]] == (
        ["other"] if lost else []
    )
    said = shown(capsys, code, "decide", path, rule, "--policy", str(policy))
    assert said.startswith(f"{kind}: ")


def test_rows_of_one_benchmark_are_decided_as_ever(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column with one benchmark gives that one's verdict, which names it."""
    path = project / "rows.jsonl"
    row = {"benchmark": "sums", "reference": 1, "candidate": 1}
    lines = [json.dumps({**row, "question": f"q{at}"}) for at in range(400)]
    path.write_text("\n".join(lines), encoding="utf-8")
    found = printed(capsys, 0, "decide", str(path))
    assert (found["benchmark"], found["kind"], found["scope"]) == ("sums", "PASS", "suite")
    assert "--orders repeats" in shown(
        capsys, 11, "decide", rows(project, lost=range(0)), "--orders", "3"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "benchmark,question,subject,reference,candidate\nsums,a,s,1,1\n,b,s,1,1\nsums,c,s,1,1\n",
            "1 of its rows name no benchmark, others do",
        ),
        (
            "benchmark,question,reference,candidate\nsums,a,1,1\nother,a,1,1\nother,b,1,1\n",
            "a single question of sums can't be judged",
        ),
        (
            "benchmark,question,reference,candidate\nsums,a,1,1\nsums,a,1,0\nsums,b,1,1\n",
            "line 2 has this question with other answers",
        ),
        ("benchmark,question,reference\nsums,a,1\n", "the header lacks candidate"),
    ],
)
def test_faulty_rows_of_benchmarks_are_named(
    project: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    """Rows without their benchmark, alone in it, or twice in it are told by their line."""
    path = project / "rows.csv"
    path.write_text(text, encoding="utf-8")
    assert says in shown(capsys, 11, "decide", str(path))
