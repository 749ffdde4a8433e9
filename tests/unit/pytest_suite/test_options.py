"""How pytest takes capgate's options beside those of the user's project."""

from __future__ import annotations

import pytest

from capgate.config.run_options import OPTIONS

pytest_plugins = ["pytester"]

THEIRS = """
def pytest_addoption(parser):
    parser.addoption("--limit", type=float, default=0.5)
    parser.addoption("--seed", action="store_true")
    parser.getgroup("capgate").addoption("--store", dest="their_store")
"""


def values(session: pytest.Pytester, *arguments: str) -> dict[str, object]:
    """The options that a command line gives."""
    return vars(session.parseconfig(*arguments).option)


EXAMPLES = {"--endpoints": "gpu1:8000,gpu2:8000", "--ray": "local"}
"""Values of options that do not take a number."""


def test_every_option_has_a_spelling_that_is_capgates(session: pytest.Pytester) -> None:
    """`--capgate-limit`; in a project without such names `--limit` means the same."""
    given = [
        f"{option.prefixed}={option.keywords.get('choices', [EXAMPLES.get(option.flag, '1')])[0]}"
        for option in OPTIONS
        if not option.keywords.get("action")
    ]
    assert values(session, *given)["capgate_limit"] == 1
    both = values(session, "--capgate-model-id", "a", "--limit", "5", "--model-id", "b")
    assert (both["capgate_model_id"], both["capgate_limit"]) == (["a", "b"], 5)
    assert values(session)["capgate_tasks"] == "inspect_evals/mmlu_0_shot"


def test_the_projects_own_option_wins(session: pytest.Pytester) -> None:
    """An option of a conftest keeps its meaning, whatever form it has; ours is prefixed there."""
    session.makeconftest(THEIRS)
    arguments = ("--limit=1.5", "--seed", "--store=x", "--capgate-limit=5", "--capgate-seed=7")
    got = values(session, *arguments, "--model-id=m")
    assert (got["limit"], got["seed"], got["their_store"]) == (1.5, True, "x")
    assert (got["capgate_limit"], got["capgate_seed"], got["capgate_store"]) == (5, 7, None)
    assert got["capgate_model_id"] == ["m"]


def test_a_plugins_own_option_wins(session: pytest.Pytester) -> None:
    """So it is with a plugin that pytest loads by `-p`."""
    session.makepyfile(theirs_plugin=THEIRS)
    session.syspathinsert()
    got = values(session, "-p", "theirs_plugin", "--limit=1.5", "--capgate-limit=5")
    assert (got["limit"], got["capgate_limit"]) == (1.5, 5)


def test_an_inner_folders_conftest_may_have_the_name(session: pytest.Pytester) -> None:
    """Its time comes during collection, when it is too late to give way."""
    inner = session.mkpydir("inner") / "deep"
    inner.mkdir()
    (inner / "conftest.py").write_text(THEIRS)
    (inner / "test_theirs.py").write_text("def test_theirs(): pass\n")
    session.runpytest_inprocess().assert_outcomes(passed=1)


@pytest.mark.parametrize("theirs", ["", THEIRS])
def test_help_shows_what_can_be_given(session: pytest.Pytester, theirs: str) -> None:
    """Each option in its prefixed spelling, and in its short one where that is capgate's."""
    session.makeconftest(theirs)
    shown = session.runpytest_inprocess("--help").stdout.str()
    assert all(f"{option.prefixed}" in shown for option in OPTIONS)
    short = [option.flag for option in OPTIONS if f"short for {option.prefixed}\n" in shown]
    theirs_too = {"--limit", "--seed", "--store"} if theirs else set()
    assert set(short) == {option.flag for option in OPTIONS} - theirs_too


def test_options_come_from_files_too(session: pytest.Pytester) -> None:
    """From a file of arguments, and from `addopts`."""
    session.makefile(".txt", arguments="--limit=5\n")
    session.makeini("[pytest]\naddopts = --seed=3\n")
    got = values(session, "@arguments.txt")
    assert (got["capgate_limit"], got["capgate_seed"]) == (5, 3)


def test_a_wrong_value_is_told_by_the_spelling_used(session: pytest.Pytester) -> None:
    """The message names the option as the user has typed it."""
    said = session.runpytest_inprocess("--limit=0")
    assert said.ret == pytest.ExitCode.USAGE_ERROR
    said.stderr.fnmatch_lines(["*argument --limit: expected a whole number of at least 1, got '0'"])
