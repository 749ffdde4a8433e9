"""A base and its adapter are asked in turn, so that both meet the same server at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from aiohttp import web
from tests.doubles.server import Server, answer
from tests.integration.checkout import like_a_model
from tests.integration.conftest import PROBE, Project, question_of, target

BASE, ADAPTER = "smollm2", "tuned"
CONNECTIONS = 2


class InTurn:
    """Answers a model's n-th question once the other model's n-th has come.

    Whoever asks for one after the other gets no answer before the request times out.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._counts = Counter[str]()
        self._more = asyncio.Condition()

    async def __call__(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        model = asked["model"]
        other = ADAPTER if model == BASE else BASE
        is_question = "ANSWER: $LETTER" in asked["messages"][-1]["content"]
        if is_question and question_of(asked) != PROBE:
            async with self._more:
                self.asked.append(model)
                self._counts[model] += 1
                mine = self._counts[model]
                self._more.notify_all()
                await self._more.wait_for(lambda: self._counts[other] >= mine)
        return await answer(like_a_model(asked))(request, asked)


def test_base_and_adapter_alternate(project: Project) -> None:
    """A server that keeps models apart is asked for both in one evaluation, side by side."""
    with Server(models=(BASE, ADAPTER), answer=like_a_model) as server:
        in_turn = InTurn()
        server.script(forever=in_turn)
        keys = {"max_connections": CONNECTIONS, "max_retries": 0, "request_timeout": 60}
        project.targets(base=target(server.url, **keys))
        outcome = project.full("--model-id", "base", "--adapter-name", ADAPTER)
    assert project.stored() == {"correct": 16}, outcome.text
    assert Counter(in_turn.asked) == {BASE: 8, ADAPTER: 8}
    ahead = [in_turn.asked[:n].count(BASE) - in_turn.asked[:n].count(ADAPTER) for n in range(17)]
    assert max(map(abs, ahead)) <= CONNECTIONS
