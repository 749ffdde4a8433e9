"""What a run makes of a server that refuses, half refuses, or lists nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from tests.doubles.replies import NO_MODEL, NO_ROUTE, PROMPT_TOO_LONG, Handler, Reply
from tests.doubles.server import answer
from tests.doubles.vllm import Vllm
from tests.integration.conftest import Project, question_of, target

from tests.integration.test_adapters import FEW, is_question, like_a_model, wants_a_letter  # isort: skip

BASE, MINE = "base", "base+mine"
MAX_TOKENS = Reply(
    400,
    {
        "error": {
            "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            "code": "unsupported_parameter",
        }
    },
)
TEMPERATURE = Reply(
    400,
    {
        "error": {
            "message": "Unsupported value: 'temperature' does not support 0 with this model. Only "
            "the default (1) value is supported.",
            "code": "unsupported_value",
        }
    },
)


class Picky(Vllm):
    """A vLLM double that refuses some requests before it answers the others."""

    def __init__(self, refuse: Any, **keys: Any) -> None:  # noqa: ANN401
        super().__init__(adapters={"mine": "/srv/mine"}, answer=like_a_model, **keys)
        self.refuse = refuse
        self.refused: list[dict[str, Any]] = []

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        reply: Handler | None = self.refuse(asked)
        if reply is None:
            return await super().chat(request)
        self.refused.append(asked)
        return await reply(request, asked)


def judge(
    project: Project, server: Vllm, *options: str, mark: str = "full", connections: int = 32
) -> tuple[int, str]:
    """Runs a base and an adapter that the server has; the exit code and the terminal."""
    project.write("thresholds/policy.yaml", FEW)
    project.targets(base=target(server.url, max_connections=connections))
    outcome = project.pytest(
        *("benchmarks", "-m", mark, "--model-id", BASE, "--adapter-name", "mine"),
        *("--subjects", "abstract_algebra,virology", *options),
        XDG_CACHE_HOME=str(project.root / "cache"),
        GITHUB_STEP_SUMMARY=str(project.root / "summary.md"),
    )
    return outcome.code, outcome.text


def test_max_completion_tokens(project: Project) -> None:
    """A server that asks for it gets it for base and adapter alike, and the report says so."""

    def refuse(asked: dict[str, Any]) -> Handler | None:
        return MAX_TOKENS if "max_tokens" in asked else None

    with Picky(refuse) as server:
        code, text = judge(project, server)
        # Eight questions are too few for a verdict, and all of them are answered.
        assert code == 10, text
        # Once for each model in each of the run's processes.
        assert len(server.refused) == 2
        assert all("max_completion_tokens" in chat.body for chat in server.chats)
    (report,) = project.reports()
    assert report["targets"][MINE]["overall"]["errors"] == 0
    note = "max_completion_tokens is sent in place of max_tokens"
    assert note in report["targets"][BASE]["notes"]
    assert note in report["targets"][MINE]["notes"]
    assert note in (project.root / "summary.md").read_text().replace("\\_", "_")
    assert note in next(project.root.glob(f"reports/{report['run']}/report.html")).read_text()


def test_temperature_one(project: Project) -> None:
    """A model that takes no temperature but 1 is judged with it, its proof of life included."""

    def refuse(asked: dict[str, Any]) -> Handler | None:
        return TEMPERATURE if asked.get("temperature") != 1 else None

    with Picky(refuse) as server:
        code, text = judge(project, server, "--temperature", "1")
        assert server.refused
    assert code == 10, text
    assert "8 questions (8 asked now)" in text


def test_no_list_of_models(project: Project) -> None:
    """Base and adapter are judged by their names on a server that has no list of models."""
    with Picky(lambda _: None, models_reply=NO_ROUTE) as server:
        code, text = judge(project, server, "-n", "2", mark="quick")
    assert code in {0, 10}, text
    assert "base_url" not in text
    (report,) = project.reports()
    assert report["targets"][MINE]["overall"]["errors"] == 0


def test_why_questions_have_no_answer(project: Project) -> None:
    """Each distinct fault has one line with its count, its place, its words and its remedy."""
    asked_of_mine: list[str] = []
    first = iter([PROMPT_TOO_LONG])

    def refuse(asked: dict[str, Any]) -> Handler | None:
        if not is_question(asked):
            return None
        if asked["model"] == "mine":
            # Of each subject's four questions the first two have no answer, however often asked.
            if question_of(asked) not in asked_of_mine:
                asked_of_mine.append(question_of(asked))
            return NO_MODEL if asked_of_mine.index(question_of(asked)) % 4 < 2 else None
        return next(first, None)

    with Picky(refuse) as server:
        # One after the other, so that a subject's last question is one that is answered.
        code, text = judge(project, server, "--limit", "10", connections=1)
        url = f"{server.url}/chat/completions"
    assert code == 10, text
    (report,) = project.reports()
    mine, base = report["targets"][MINE], report["targets"][BASE]
    assert mine["overall"]["errors"] > 1
    (fault,) = mine["faults"]
    assert fault["times"] == mine["overall"]["errors"]
    lines = text.splitlines()
    (line,) = [one for one in lines if one.lstrip().startswith(f"{fault['times']} × {MINE}: ")]
    for word in (f"HTTP 404 from {url}", "`lora-a` does not exist", "load the model on each"):
        assert word in line
    assert base["overall"]["errors"] == 1
    (line,) = [one for one in lines if f"1 × {BASE}: " in one]
    assert "maximum context length is 2048" in line
    summary = (project.root / "summary.md").read_text()
    assert f"- {fault['times']} × `" in summary
    assert "does not exist" in summary


@pytest.mark.parametrize(("mark", "options"), [("quick", ()), ("quick", ("-n", "2"))])
def test_the_mode_is_what_was_asked(project: Project, mark: str, options: tuple[str, ...]) -> None:
    """A run that ends in its preflight reports the mode that it was asked for."""
    with Picky(lambda asked: answer("Hello!") if wants_a_letter(asked) else None) as server:
        code, text = judge(project, server, *options, mark=mark)
    assert code == 11, text
    (report,) = project.reports()
    assert report["mode"] == mark
    assert {one["mode"] for one in report["targets"].values()} == {mark}
    assert f"-m {mark}" in next(project.root.glob("reports/*/report.html")).read_text()
