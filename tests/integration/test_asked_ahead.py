"""A run asks for several subjects at a time, so that the server has work between two of them."""

from __future__ import annotations

from tests.doubles import replies
from tests.doubles.server import Server, answer
from tests.integration.conftest import Project, questions

SUBJECTS = ("anatomy", "astronomy", "virology", "sociology", "marketing", "nutrition")


def evaluations(project: Project) -> dict[str, set[str]]:
    """Evaluation to the subjects that it asked, read from Inspect's logs."""
    found: dict[str, set[str]] = {}
    for told in project.logs():
        found.setdefault(told["run_id"], set()).add(told["task"].removeprefix("mmlu_0_shot_"))
    return found


def test_following_subjects_are_asked_along(project: Project, server: Server) -> None:
    """Six subjects take fewer evaluations than subjects, each with a log and numbers of its own."""
    project.serve(server)
    outcome = project.pytest("benchmarks", "-m", "full", "--subjects", ",".join(SUBJECTS))
    assert outcome.code == 0, outcome.text
    asked = [subjects for subjects in evaluations(project).values() if subjects != {"preflight"}]
    assert len(asked) < len(SUBJECTS)
    assert sorted(subject for subjects in asked for subject in subjects) == sorted(SUBJECTS)
    told = project.result()["subject_details"]
    numbers = {name: (one["questions"], one["asked"]) for name, one in told.items()}
    assert numbers == dict.fromkeys(SUBJECTS, (4, 4))
    assert set(questions(server.chats).values()) == {1}


def test_what_was_asked_along_is_kept(project: Project, server: Server) -> None:
    """A run that stops at its first failure has lost no answer: the next one asks what is left."""
    project.serve(server)
    server.answer = lambda _: "ANSWER: A"
    wanted = ("benchmarks", "-m", "full", "--subjects", ",".join(SUBJECTS))
    project.pytest(*wanted, "-x")
    before = sum(questions(server.chats).values())
    assert sum(project.stored().values()) == before
    project.pytest(*wanted)
    assert sum(questions(server.chats).values()) == 4 * len(SUBJECTS)
    assert set(questions(server.chats).values()) == {1}


def test_failing_server_is_asked_for_nothing_ahead(project: Project, server: Server) -> None:
    """What a server with a bad moment could not answer costs no subject but the one asked for."""
    project.serve(server, max_retries=0, max_connections=1)
    server.script(answer("ANSWER: A"), *[replies.UPSTREAM_DOWN] * 4)
    outcome = project.pytest("benchmarks", "-m", "full", "--subjects", ",".join(SUBJECTS))
    told = project.result()["subject_details"]
    assert [one["errors"] for one in told.values()].count(4) == 1, outcome.text
    assert sum(one["errors"] for one in told.values()) == 4
