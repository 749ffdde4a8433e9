"""A run asks for the next subject while it judges one, so that the server always has work."""

from __future__ import annotations

from tests.doubles import replies
from tests.doubles.server import Server, answer
from tests.integration.conftest import Project, questions

SUBJECTS = ("anatomy", "astronomy", "virology", "sociology", "marketing", "nutrition")


def test_each_subject_has_a_log_and_numbers_of_its_own(project: Project, server: Server) -> None:
    """A server that works on several subjects at a time is asked each question once."""
    project.serve(server)
    outcome = project.pytest("benchmarks", "-m", "full", "--subjects", ",".join(SUBJECTS))
    assert outcome.code == 0, outcome.text
    logged = [told["task"].removeprefix("mmlu_0_shot_") for told in project.logs()]
    assert sorted(logged) == sorted(["preflight", *SUBJECTS])
    told = project.result()["subject_details"]
    numbers = {name: (one["questions"], one["asked"]) for name, one in told.items()}
    assert numbers == dict.fromkeys(SUBJECTS, (4, 4))
    assert set(questions(server.chats).values()) == {1}


def test_what_was_asked_ahead_is_kept(project: Project, server: Server) -> None:
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
