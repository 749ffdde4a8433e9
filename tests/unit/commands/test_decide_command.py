"""`capgate decide`: from files to verdicts and exit codes, through the command's own entry."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from capgate.benchmarks.mmlu.subjects import SUBJECTS
from capgate.cli import main

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes text to a file and returns its path."""

    def to_file(text: str) -> str:
        path = tmp_path / "rows"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return to_file


def table(n: int, *, lost: int = 0, gained: int = 0, header: str = "") -> str:
    """Returns CSV rows: first the lost, then the gained, the rest correct on both sides."""
    rows = [header or "question,subject,reference,candidate"]
    for i in range(n):
        reference, candidate = ("1", "0") if i < lost else ("0", "1") if i < lost + gained else "11"
        rows.append(f"q{i},{SUBJECTS[i % 57]},{reference},{candidate}")
    return "\n".join(rows) + "\n"


def jsonl(text: str) -> str:
    """Returns a CSV table as jsonl, the answers as numbers."""
    header, *rows = (line.split(",") for line in text.splitlines())
    dicts = [dict(zip(header, row, strict=True)) for row in rows]
    for row in dicts:
        row |= {side: int(row[side]) for side in ("reference", "candidate")}  # type: ignore[misc]
    return "\n".join(json.dumps(row) for row in dicts)


@pytest.mark.parametrize("form", [str, jsonl], ids=["csv", "jsonl"])
@pytest.mark.parametrize(
    ("text", "rule", "kind", "code"),
    [
        (table(4000), "--fixed", "PASS", 0),
        (table(4000), "--sequential", "PASS", 0),
        (table(4000, lost=400, gained=50), "--fixed", "REGRESSION", 1),
        (table(4000, lost=400, gained=50), "--sequential", "REGRESSION", 1),
        (table(40, gained=1), "--fixed", "INCONCLUSIVE", 10),
    ],
)
def test_exit_codes(
    write: Write,
    capsys: pytest.CaptureFixture[str],
    form: Callable[[str], str],
    text: str,
    rule: str,
    kind: str,
    code: int,
) -> None:
    """The verdict is the first word printed and the exit code is its own, in both formats."""
    assert main(["decide", write(form(text)), rule]) == code
    assert capsys.readouterr().out.startswith(f"{kind}: Drop ")


@pytest.mark.parametrize("rule", ["--fixed", "--sequential"])
@pytest.mark.parametrize("both", [True, False])
def test_unreadable_answers_conclude_nothing(
    write: Write, capsys: pytest.CaptureFixture[str], rule: str, both: bool
) -> None:
    """More than a tenth unreadable, on both sides or on one, is INCONCLUSIVE and says why."""
    reference = "unparsed" if both else "correct"
    rows = [f"q{i},anatomy,{reference},unparsed" for i in range(1000)]
    rows += [f"p{i},anatomy,correct,correct" for i in range(3000)]
    text = "\n".join(["question,subject,reference,candidate", *rows])
    assert main(["decide", write(text), rule]) == 10
    said = capsys.readouterr().out
    assert "answers of the candidate are unreadable" in said
    assert ("answers of the reference are unreadable" in said) is both
    assert "(max_unparsed) lets nothing be concluded" in said


def test_too_few_rows_for_the_sequential_rule(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """With every row put and nothing decided, the way on is the other rule."""
    assert main(["decide", write(table(40, gained=1)), "--sequential"]) == 10
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("INCONCLUSIVE: All 40 questions were put")
    assert "use `--fixed`" in first


HEADER = "question,subject,reference,candidate\n"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (HEADER + "a,x,1,1\nb,x,yes,1\n", "line 3", "reference is 'yes'"),
        (HEADER + "a,x,1,1\nb,x,nan,1\n", "line 3", "reference is 'nan'"),
        (HEADER + "a,x,1,1\nb,x,1,2\n", "line 3", "candidate is '2'"),
        (HEADER + "a,x,1,1\na,x,1,0\n", "line 3", "line 2 has this question with other answers"),
        (
            HEADER + "a,x,1,1\na,y,1,1\n",
            "line 3",
            "line 2 has this question under another subject, x",
        ),
        (HEADER + 'a,x,1,1\n"b,x,1,1\nc,x,1,1\n', "line 3", "no valid CSV from here on"),
        (HEADER + 'a,x,1,1\n"b"c,x,1,1\n', "line 3", "no valid CSV from here on"),
        (HEADER + "a,x,1,1\n" + "b" * 200_000 + ",x,1,1\n", "line 3", "field larger than"),
        (HEADER + 'a,"x\ny",1,1\nb,x,1,2\n', "line 4", "candidate is '2'"),
        ("question,subject,reference,candidate,subject\n", "line 1", "subject more than once"),
        (HEADER + "a,x,1,1\nb,x,1,\n", "line 3", "the candidate has no answer"),
        (HEADER + "a,x,1,1\nb,x,,1\n", "line 3", "the reference has no answer"),
        (HEADER + "a,x,1,1\nb,,1,1\n", "line 3", "the subject is empty"),
        (HEADER + "a,x,1,1\n,x,1,1\n", "line 3", "the question is empty"),
        (HEADER + "a,x,1,1\nb,x,1\n", "line 3", "3 cells under a header of 4"),
        (HEADER + "a,x,1,1\n", "line 2", "a single question"),
        ("question,subject,reference\na,x,1\n", "line 1", "the header lacks candidate"),
        ('{"question": "a", "subject": "x", "reference": 1}\n', "line 1", "no answer"),
        (
            '{"question": "a", "subject": "x", "reference": NaN, "candidate": 1}\n',
            "line 1",
            "reference is 'nan'",
        ),
        (
            '{"question": "a", "subject": "x", "reference": 0.5, "candidate": 1}\n',
            "line 1",
            "reference is '0.5'",
        ),
        (
            '{"question": ["a"], "subject": "x"}\n',
            "line 1",
            "the question is ['a'], neither a text",
        ),
        (r'{"question": "\ud800", "subject": "x"}', "line 1", "the question is not UTF-8 text"),
        ('{"question": 1.0, "subject": "x"}\n', "line 1", "the question is 1.0, neither a text"),
        ('{"question": "a", "question": "b"}\n', "line 1", "the key 'question' is there twice"),
        ("{}\n{oops\n", "line 2", "not a JSON object"),
        ("[1]\n", "line 1", "not a JSON object"),
        ("{" * 100_000 + "\n", "line 1", "not a JSON object"),
    ],
)
def test_bad_rows_are_named_by_line(
    write: Write, capsys: pytest.CaptureFixture[str], text: str, line: str, what: str
) -> None:
    """A faulty row is an error with exit code 11 that names its line; never a verdict."""
    assert main(["decide", write(text)]) == 11
    out, err = capsys.readouterr()
    assert out == ""
    assert f"  {line}: " in err
    assert what in err


@pytest.mark.parametrize(
    ("text", "says"), [("", "no rows"), ("\n\n", "no rows"), (HEADER, "no rows")]
)
def test_an_empty_file(
    write: Write, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    """A file without rows is an error that says what a row needs."""
    assert main(["decide", write(text)]) == 11
    err = capsys.readouterr().err
    assert says in err
    assert "Each row needs question, subject, reference and candidate" in err


def test_a_file_that_can_not_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file, a directory or bytes that are no text are errors that say so."""
    (tmp_path / "binary").write_bytes(b"question\xff\xfe\n")
    (tmp_path / "latin").write_bytes(HEADER.encode() + b"a,x,1,1\nb,caf\xe9,1,1\n")
    assert main(["decide", str(tmp_path / "latin")]) == 11
    assert "line 3: not UTF-8 text" in capsys.readouterr().err
    for name, says in [("none", "No such file"), ("", "directory"), ("binary", "not UTF-8")]:
        assert main(["decide", str(tmp_path / name)]) == 11
        assert says in capsys.readouterr().err


def test_many_faults_are_counted_and_the_first_shown(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of very many faults all are counted and twenty are shown."""
    rows = "".join(f"q{i},x,1,maybe\n" for i in range(500))
    assert main(["decide", write(HEADER + rows)]) == 11
    err = capsys.readouterr().err
    assert "500 faulty lines, the first 20 are shown" in err
    assert err.count("maybe") == 20


def test_the_policy_is_read(write: Write, tmp_path: Path) -> None:
    """A policy file is in force; a target's overrides are where it is named."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "targets: {mine: {tolerate: 0.1, catch: 0.2, reason: a test, max_error_rate: 0.001}}"
    )
    rows = write(table(4000, lost=250, gained=50))
    assert main(["decide", rows, "--policy", str(policy)]) == 1
    assert main(["decide", rows, "--policy", str(policy), "--target", "mine"]) == 0


def test_a_target_without_overrides_is_not_silently_passed_over(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target that the policy does not name is an error that names those it does."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("targets: {mine: {catch: 0.01}}")
    rows = write(table(40))
    assert main(["decide", rows, "--policy", str(policy), "--target", "nosuch"]) == 11
    assert "'nosuch'; it names mine" in capsys.readouterr().err
    assert main(["decide", rows, "--target", "mine"]) == 11


def test_any_whole_number_is_a_seed(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """A negative seed is a seed like any other, for the order and for the many orders."""
    means = set()
    for seed in ("7", "-7"):
        args = ["--orders", "20", "--seed", seed, "--json"]
        assert main(["decide", write(table(4000, lost=60, gained=60)), *args]) == 0
        means.add(json.loads(capsys.readouterr().out)["orders"]["mean_questions"])
    assert len(means) == 2


def test_a_bad_policy_is_an_error(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Policy values out of range are all named, with exit code 11, on stderr and in the JSON."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("miss: 0.9\ncatch: -1\n")
    assert main(["decide", write(table(9)), "--policy", str(policy), "--json"]) == 11
    out, err = capsys.readouterr()
    verdict = json.loads(out)
    assert (verdict["kind"], verdict["exit_code"]) == ("ERROR", 11)
    assert "miss:" in err
    assert "catch:" in err


def test_repeated_rows_count_once(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """A question repeated with the same answers counts once, and that is said."""
    text = table(300) + f"q5,{SUBJECTS[5]},1,1\n"
    main(["decide", write(text), "--json"])
    out, err = capsys.readouterr()
    assert json.loads(out)["counts"]["n"] == 300
    assert "1 rows repeat" in err


def test_standard_input_and_byte_order_mark(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows come from standard input too, and a byte-order mark does no harm."""
    assert main(["decide", write("\ufeff" + table(4000))]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(table(4000, lost=900)))
    assert main(["decide", "-"]) == 1
    assert "900 lost" in capsys.readouterr().out


def test_words_and_extra_columns(write: Write) -> None:
    """States may be words, columns may be more and in any order."""
    header = "candidate,note,subject,question,reference"
    rows = [f"{'wrong' if i < 300 else 'correct'},n,virology,q{i},correct" for i in range(3000)]
    assert main(["decide", write("\n".join([header, *rows]))]) == 1


def test_subject_names_can_not_write_to_the_terminal(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences in a file are shown, not obeyed."""
    rows = "".join(f"q{i},evil\x1b[2J,1,0\n" for i in range(500))
    assert main(["decide", write(HEADER + rows)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "evil\\x1b[2J" in out


def test_orders_are_reported(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """--orders reports shares of verdicts, mean and 90 % quantile, beside the first order's own."""
    rows = write(table(4000, lost=250, gained=50))
    assert main(["decide", rows, "--orders", "40", "--seed", "3", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "REGRESSION"
    assert report["rule"] == "sequential"
    assert report["orders"]["verdicts"] == {"PASS": 0.0, "REGRESSION": 1.0, "INCONCLUSIVE": 0.0}
    assert 64 <= report["orders"]["mean_questions"] <= report["orders"]["q90_questions"] <= 4000
    assert main(["decide", rows, "--orders", "1", "--seed", "3", "--json"]) == 1
    alone = json.loads(capsys.readouterr().out)
    counts = alone["counts"]
    assert (
        alone["orders"]["mean_questions"] == counts["n"] + counts["errors"] == report["counts"]["n"]
    )


@pytest.mark.parametrize("orders", ["0", "-1", "many"])
def test_orders_must_be_positive(write: Write, orders: str) -> None:
    """A number of orders that is none is a usage error."""
    with pytest.raises(SystemExit, match="4"):
        main(["decide", write(table(9)), "--orders", orders])


def test_orders_contradict_fixed(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """--orders with --fixed is an error with a remedy."""
    assert main(["decide", write(table(9)), "--fixed", "--orders", "5"]) == 11
    assert "Leave one of them out" in capsys.readouterr().err


def test_a_hundred_orders_of_the_whole_benchmark(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """14,042 rows × 100 orders, file reading included, agree on the verdict."""
    order = np.random.default_rng(0).permutation(14_042)
    header, *rows = table(14_042, lost=702, gained=702).splitlines()
    text = "\n".join([header, *(rows[i] for i in order)])
    main(["decide", write(text), "--orders", "100", "--json"])
    assert json.loads(capsys.readouterr().out)["orders"]["verdicts"]["PASS"] >= 0.9


def test_one_question_of_each_cluster_is_judged(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of four questions on each of 500 passages one counts, and that is said."""
    rows = ["question,subject,reference,candidate,cluster"]
    rows += [f"q{i},anatomy,1,1,passage {i // 4}" for i in range(2000)]
    assert main(["decide", write("\n".join(rows)), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["counts"]["n"] == 500
    assert "1,500 rows share a cluster with another" in told.err


def test_answers_that_became_longer_fail_where_rows_tell_tokens(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two benchmarks kept their accuracy; one answers at five times the length."""
    rows = ["benchmark,question,subject,reference,candidate,reference_tokens,candidate_tokens"]
    rows += [f"one,a{i},,1,1,80,{400 if i % 2 else 420}" for i in range(600)]
    rows += [f"two,b{i},,1,1,80,90" for i in range(600)]
    assert main(["decide", write("\n".join(rows)), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["failed"] for one in found["benchmarks"]} == {
        "one": True,
        "two": False,
    }
    assert [one["what"] for one in found["tests"] if one["fails"]] == ["length"]


@pytest.mark.parametrize("given", ["-3", "many", "1.5", "9" * 20])
def test_a_length_that_is_no_number_of_tokens_is_a_fault(
    write: Write, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    """The line and the column are named."""
    text = f"question,subject,reference,candidate,candidate_tokens\na,law,1,1,{given}\nb,law,1,1,\n"
    assert main(["decide", write(text)]) == 11
    said = capsys.readouterr()
    assert "line 2: candidate_tokens" in said.out + said.err


def test_translations_are_counted_together_once(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """MMLU in German asks MMLU's questions, so it has no part in the test of all together."""
    rows = ["benchmark,question,subject,reference,candidate"]
    names = ("mmlu", "mmmlu_de", "gsm8k")
    rows += [f"{name},{name}{i},anatomy,1,1" for name in names for i in range(400)]
    main(["decide", write("\n".join(rows)), "--json"])
    assert json.loads(capsys.readouterr().out)["together"]["benchmarks"] == ["mmlu", "gsm8k"]
