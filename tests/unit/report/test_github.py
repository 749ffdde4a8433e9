"""GitHub's forms: nothing that a model or a server writes comes alive there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from tests.doubles.composite import read_outputs
from tests.unit.report.examples import flip, red_report, report_of

from capgate.common.answers import AnswerState as State
from capgate.common.text import quoted
from capgate.gate.decide_paired import judge_subject
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair
from capgate.gate.verdict import Verdict
from capgate.report.data.comparison import Side
from capgate.report.text import github

NASTY = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [
                "::error::x",
                "##[group]x",
                "%0A::",
                "@octocat",
                "#12",
                "GH-7",
                "deadbeef1",
                "https://evil.example/a?b=c",
                "www.evil.example",
                "[a](https://evil.example)",
                "![](x)",
                "<a href=x>",
                "</details>",
                "<!--",
                "-->",
                "`",
                "``",
                "|",
                "\n",
                "\r\n",
                "\r",
                "\u2028",
                "\x85",
                "\\",
                " ",
                "x",
                "# head",
                "- item",
                "mail@evil.example",
            ]
        ),
        max_size=12,
    ).map("".join),
)
MARKDOWN = MarkdownIt("gfm-like")


def outside_code(text: str) -> tuple[str, list[Token]]:
    """What Markdown leaves outside code spans, and every inline token."""
    inline = [child for token in MARKDOWN.parse(text) for child in (token.children or [token])]
    return "".join(t.content for t in inline if t.type not in {"code_inline"}), inline


@given(NASTY)
@example("0www.")
@example("éGH-7")
@example("édeadbeef1")
@example("_deadbeef1")
@settings(max_examples=100, deadline=None)
def test_foreign_text_stays_in_its_code_span(text: str) -> None:
    """No mention, link, reference or HTML can be made of it, in a line or in a table's cell."""
    for form in (github.span(text), github.prose(text)):
        for document in (f"before {form} after", f"| a | b |\n|---|---|\n| {form} | end |"):
            outside, tokens = outside_code(document)
            assert not {"link_open", "image", "html_inline", "html_block"} & {
                token.type for token in tokens
            }, document
            assert "\n" not in form
            assert "after" in outside or "end" in outside
            assert not re.search(r"[@#]\w|GH-\d|://|www\.|<\w|(?<![a-z0-9])deadbeef1\b", outside)


@given(NASTY, NASTY)
@settings(max_examples=200, deadline=None)
def test_a_workflow_command_is_one_line_and_one_command(title: str, text: str) -> None:
    """What stands in a command can neither end it nor begin another."""
    command = github.workflow_command("error", title, text)
    assert len(command.splitlines()) == 1
    assert "\r" not in command
    found = re.fullmatch(r"::error title=([^:,]*)::(.*)", command)
    assert found is not None
    assert "##[" not in command


@given(NASTY)
@settings(max_examples=200, deadline=None)
def test_quoted_text_begins_no_command(text: str) -> None:
    """A transcript on the terminal has a mark before each line; GitHub trims only white space."""
    for line in quoted(text).splitlines():
        assert not line.strip().startswith("::")
        assert "##[" not in line


@given(NASTY)
@settings(max_examples=40, deadline=None)
def test_a_whole_summary_of_hostile_answers(text: str) -> None:
    """The summary and the comment of a run whose model writes anything at all."""
    report = red_report([flip(at, text=text) for at in range(30)])
    unread = flip(99, candidate=Side(state="unparsed", text=text))
    report = red_report([*report.comparisons["mine"].flips, unread])
    verdict = Verdict.of_error(text, scope="suite")
    dead = report_of("mine", "20260101T000000Z-0001", [], verdict)
    for one in (report, dead):
        story = github.summary(one)
        _, tokens = outside_code(story)
        links = [t for t in tokens if t.type in {"link_open", "image"}]
        assert not links
        html = "".join(t.content for t in tokens if t.type in {"html_inline", "html_block"})
        assert set(re.findall(r"</?(\w+)", html)) <= {"sub", "details", "summary"}
        for line in story.splitlines():
            assert not line.strip().startswith("::")
        for command in github.workflow_commands(one):
            assert len(command.splitlines()) == 1


def test_failed_subjects_are_annotated() -> None:
    """One error for the verdict and one for each failed subject."""
    commands = github.workflow_commands(red_report())
    assert commands[0].startswith("::error title=capgate REGRESSION%3A mine::mine lost 40.0 points")
    assert commands[1].startswith("::error title=capgate%3A anatomy::mine lost 100.0 points in ana")
    assert len(commands) == 2


def test_a_lost_subject_is_annotated_where_subjects_alone_were_judged() -> None:
    """There is no verdict on the target then, and the run is red all the same."""
    report = red_report()
    pairs = [Pair(f"q{i}", "anatomy", State.CORRECT, State.WRONG) for i in range(40)]
    verdict = judge_subject(pairs, Policy(), n_subjects=2).to_dict()
    result = report.targets["mine"]
    anatomy = result.subject_details["anatomy"].model_copy(update={"verdict": verdict})
    details = {**result.subject_details, "anatomy": anatomy}
    alone = result.model_copy(update={"verdict": None, "subject_details": details})
    (command,) = github.workflow_commands(report.model_copy(update={"targets": {"mine": alone}}))
    assert command.startswith("::error title=capgate%3A anatomy lost::mine: Drop 100.0 points")


def test_the_comment_is_found_again_by_its_marker() -> None:
    """The marker is the same for each run of the same targets, and hidden."""
    one, two = github.comment(red_report()), github.comment(red_report(run="later"))
    assert one.splitlines()[0] == two.splitlines()[0]
    assert one.startswith(github.MARKER)
    assert MARKDOWN.parse(one)[0].type == "html_block"
    assert github.comment(red_report(target="other")).splitlines()[0] != one.splitlines()[0]
    assert "### ❌ REGRESSION: `mine`" in one
    assert "`capgate triage 20260101T000000Z-0001` lists all" in one


def test_the_step_summary_is_added_to(tmp_path: Path) -> None:
    """What other steps wrote stays; without the variable nothing is written."""
    file = tmp_path / "summary.md"
    file.write_text("earlier\n")
    assert github.write_summary(red_report(), {"GITHUB_STEP_SUMMARY": str(file)}) == file
    assert file.read_text().startswith("earlier\n### ❌ REGRESSION")
    assert github.write_summary(red_report(), {}) is None


@pytest.mark.parametrize("text", ["x" * 100_000, "`" * 5_000])
def test_a_long_line_is_cut(text: str) -> None:
    """A comment never passes GitHub's limit."""
    assert len(github.comment(red_report([flip(at, text=text) for at in range(500)]))) < 65_536


def test_the_step_s_outputs(tmp_path: Path) -> None:
    """Verdict and folder are outputs of the step; no line of a folder's name is another output."""
    file, folder = tmp_path / "output", tmp_path / "a\nverdict=PASS"
    assert github.write_outputs(red_report(), folder, {"GITHUB_OUTPUT": str(file)}) == file
    assert read_outputs(file) == {"verdict": "REGRESSION", "report": str(folder)}
    assert github.write_outputs(red_report(), folder, {}) is None
