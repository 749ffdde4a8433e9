"""What a client does over many requests: waiting, giving up, coming back."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from tests.doubles import replies
from tests.doubles.events import Signal
from tests.doubles.replies import Reply
from tests.doubles.server import Server, answer
from tests.unit.client.conftest import KEY, REQUEST, Ask, client_of

from capgate.client.faults import seconds_to_wait
from capgate.common.errors import RequestFault


def test_request_as_sent(server: Server, ask: Ask) -> None:
    """The key travels as a bearer token and the request as it was given."""
    ask()
    (asked,) = server.chats
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.body == REQUEST


def test_answer_facts(server: Server, ask: Ask) -> None:
    """Tokens, time, served model and provider, cost and log-probabilities are read."""
    body = replies.completion("A)", finish_reason="length", logprobs=replies.LOGPROBS)
    body |= {"provider": "Lambda", "usage": body["usage"] | {"cost": 0.00014}}
    server.script(Reply(200, body, delay=0.02))
    got = ask()
    assert (got.text, got.finish_reason) == ("A)", "length")
    assert (got.prompt_tokens, got.completion_tokens) == (57, 5)
    assert (got.model, got.provider, got.served_by) == ("smollm2", "Lambda", "Lambda/smollm2")
    assert got.cost == 0.00014
    assert [entry.token for entry in got.logprobs] == ["A", ")"]
    assert got.logprobs[0].top[1] == ("D", -2.1607065200805664)
    assert 0.02 <= got.seconds < 2


def test_seconds_leave_out_failed_attempts(server: Server, ask: Ask) -> None:
    """The time of an answer is that of its own request alone."""
    server.script(Reply(500, b"", delay=0.2), answer("x"))
    assert ask().seconds < 0.15


@pytest.mark.parametrize(
    "usage", [None, [], {"prompt_tokens": "7", "cost": "free"}, {"cost": -1}, {"cost": True}]
)
def test_odd_usage(server: Server, ask: Ask, usage: object) -> None:
    """Usage that is missing or nonsense costs no answer and makes up no number."""
    server.script(Reply(200, replies.completion("x") | {"usage": usage}))
    got = ask()
    assert (got.prompt_tokens, got.completion_tokens, got.cost) == (0, 0, None)


def test_retry_after_is_honoured(server: Server, ask: Ask) -> None:
    """The next request comes no sooner than the server asked for."""
    server.script(Reply(429, b"", {"Retry-After": "0.2"}))
    ask()
    first, second = server.chats
    assert second.at - first.at >= 0.2


def test_retry_after_of_another_fault(server: Server, ask: Ask) -> None:
    """`Retry-After` counts on a 503 as well."""
    server.script(Reply(503, b"", {"Retry-After": "0.2"}))
    ask()
    first, second = server.chats
    assert second.at - first.at >= 0.2


def test_retry_after_is_capped(server: Server, ask: Ask) -> None:
    """A server can't make us wait for an hour."""
    server.script(Reply(429, b"", {"Retry-After": "3600"}))
    started = time.monotonic()
    ask(retry_after_cap=0.1)
    assert time.monotonic() - started < 30


def test_retry_after_forms() -> None:
    """Seconds and HTTP dates are understood; nonsense and the past ask for nothing."""
    now = datetime.now(UTC).replace(microsecond=0)
    date = format_datetime(now + timedelta(seconds=90), usegmt=True)
    assert seconds_to_wait({"Retry-After": date}, now) == 90
    assert seconds_to_wait({"Retry-After": " 1.5 "}) == 1.5
    past = format_datetime(now - timedelta(seconds=90), usegmt=True)
    assert seconds_to_wait({"Retry-After": past}, now) == 0
    for nonsense in ("", "soon", "nan", "inf"):
        assert seconds_to_wait({"Retry-After": nonsense}) is None


def test_rate_limit_lowers_parallelism(server: Server) -> None:
    """After a rate limit fewer requests are in flight, and every question is answered."""
    limit = 4

    async def limited(request: object, asked: dict[str, object]) -> object:
        if server.in_flight > limit:
            return await Reply(429, b"", {"Retry-After": "0.01"})(request, asked)  # type: ignore[arg-type]
        return await answer("x")(request, asked)  # type: ignore[arg-type]

    async def main() -> tuple[int, int]:
        async with client_of(server.url, connections=32, max_retries=20) as client:
            answers = await asyncio.gather(*(client.complete(REQUEST) for _ in range(200)))
            return len(answers), client.pace.limit

    slow = Reply(200, replies.completion("x"), delay=0.005)

    async def slowly(request: object, asked: dict[str, object]) -> object:
        if server.in_flight > limit:
            return await limited(request, asked)
        return await slow(request, asked)  # type: ignore[arg-type]

    server.script(forever=slowly)  # type: ignore[arg-type]
    answered, bound = asyncio.run(main())
    assert answered == 200
    assert bound < 16


def test_pool_is_bounded(server: Server) -> None:
    """No more requests are in flight than there are connections."""
    server.latency = 0.01

    async def main() -> None:
        async with client_of(server.url, connections=5) as client:
            await asyncio.gather(*(client.complete(REQUEST) for _ in range(40)))

    asyncio.run(main())
    assert server.most_in_flight == 5


def test_dead_server_ends_a_run(server: Server) -> None:
    """When the server dies, every request of the run ends soon, with the same fault."""

    async def main() -> tuple[list[object], float]:
        async with client_of(server.url, connections=16) as client:
            await client.complete(REQUEST)
            await asyncio.to_thread(server.stop)
            started = time.monotonic()
            ends = await asyncio.gather(
                *(client.complete(REQUEST) for _ in range(300)), return_exceptions=True
            )
            return list(ends), time.monotonic() - started

    ends, seconds = asyncio.run(main())
    assert seconds < 5
    assert {type(end) for end in ends} == {RequestFault}
    assert {end.kind for end in ends if isinstance(end, RequestFault)} <= {
        "refused",
        "disconnected",
    }


def test_restarting_server_is_survived(server: Server) -> None:
    """A server that is gone for a moment costs no answer."""

    async def main() -> list[str]:
        async with client_of(server.url, connections=16, patience=10.0) as client:
            await client.complete(REQUEST)
            await asyncio.to_thread(server.stop)
            threading.Timer(0.5, server.start).start()
            answers = await asyncio.gather(*(client.complete(REQUEST) for _ in range(50)))
            return [one.text for one in answers]

    assert len(asyncio.run(main())) == 50


def test_few_look_for_a_dead_server(server: Server) -> None:
    """While a server is away it is not stormed: one look at a time."""

    async def main() -> None:
        async with client_of(server.url, connections=16, patience=10.0) as client:
            await client.complete(REQUEST)
            await asyncio.to_thread(server.stop)
            threading.Timer(0.5, server.start).start()
            await asyncio.gather(*(client.complete(REQUEST) for _ in range(50)))

    asyncio.run(main())
    assert sum(asked.path == "/v1/models" for asked in server.asked) == 1
    assert len(server.chats) == 51


def test_one_poisonous_question(server: Server) -> None:
    """A question that kills its connection fails alone; the others are answered."""

    async def poison(request: object, asked: dict[str, list[dict[str, str]]]) -> object:
        if asked["messages"][-1]["content"] == "poison":
            return await replies.disconnect(request, asked)  # type: ignore[arg-type]
        return await answer("x")(request, asked)  # type: ignore[arg-type]

    server.script(forever=poison)  # type: ignore[arg-type]
    bad = REQUEST | {"messages": [{"role": "user", "content": "poison"}]}

    async def main() -> list[object]:
        async with client_of(server.url, connections=4, patience=5.0) as client:
            asks = [client.complete(bad if at == 5 else REQUEST) for at in range(40)]
            return list(await asyncio.gather(*asks, return_exceptions=True))

    ends = asyncio.run(main())
    assert [at for at, end in enumerate(ends) if isinstance(end, RequestFault)] == [5]


def test_wrong_key_stops_asking(server: Server) -> None:
    """A key that is not accepted is not tried once for each question."""
    server.key = "another"

    async def main() -> list[object]:
        async with client_of(server.url, connections=2) as client:
            asks = (client.complete(REQUEST) for _ in range(100))
            return list(await asyncio.gather(*asks, return_exceptions=True))

    ends = asyncio.run(main())
    assert {end.kind for end in ends if isinstance(end, RequestFault)} == {"unauthorized"}
    assert len(ends) == 100
    assert len(server.chats) <= 4


def test_questions_that_do_not_fit_stop_nothing(server: Server) -> None:
    """Questions too long for the model fail one by one, however many there are."""
    server.script(*[replies.PROMPT_TOO_LONG] * 30)

    async def main() -> list[object]:
        async with client_of(server.url, connections=2) as client:
            asks = (client.complete(REQUEST) for _ in range(40))
            return list(await asyncio.gather(*asks, return_exceptions=True))

    ends = asyncio.run(main())
    assert sum(isinstance(end, RequestFault) for end in ends) == 30


def test_server_that_only_fails_ends_a_run(server: Server) -> None:
    """A proxy before a dead server, which says 502 to everything, ends the run as well."""
    server.script(forever=replies.BAD_GATEWAY)
    server.latency = 0.05

    async def main() -> list[object]:
        async with client_of(server.url, connections=8, backoff=0.05) as client:
            asks = (client.complete(REQUEST) for _ in range(500))
            return list(await asyncio.gather(*asks, return_exceptions=True))

    started = time.monotonic()
    ends = asyncio.run(main())
    assert time.monotonic() - started < 30
    assert {end.kind for end in ends if isinstance(end, RequestFault)} == {"server_error"}
    assert len(server.chats) < 500


def test_client_outlives_its_event_loop(server: Server) -> None:
    """One client serves one event loop after another, whether or not it was closed."""
    client = client_of(server.url)

    async def main(*, close: bool) -> str:
        text = (await client.complete(REQUEST)).text
        if close:
            await client.aclose()
        return text

    texts = {asyncio.run(main(close=close)) for close in (True, False, True)}
    assert len(texts) == 1


def test_cancelled_requests_give_their_places_back(server: Server) -> None:
    """Requests cancelled in flight or in the queue leave the client as able as before."""
    arrived, released = Signal(), Signal()

    async def hold(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        if server.in_flight == 2:
            arrived.set()
        await released.arrives()
        return await answer("ANSWER: A")(request, asked)

    server.script(forever=hold)

    async def main() -> str:
        async with client_of(server.url, connections=2) as client:
            tasks = [asyncio.create_task(client.complete(REQUEST)) for _ in range(6)]
            await arrived.arrives()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            released.set()
            answers = await asyncio.gather(*(client.complete(REQUEST) for _ in range(6)))
            assert client.pace.busy == 0
            return answers[0].text

    assert asyncio.run(main()).startswith("ANSWER")


def test_helpers(server: Server) -> None:
    """Models with parent and context, health and version are read for the preflight."""
    server.models = ("smollm2", "lora-a")

    async def main() -> None:
        async with client_of(server.url) as client:
            base, adapter = await client.models()
            assert (base.name, base.parent, base.context) == ("smollm2", "", 2048)
            assert (adapter.name, adapter.parent, adapter.context) == ("lora-a", "smollm2", None)
            await client.health()
            assert await client.version() == "0.32.0"

    asyncio.run(main())


def test_helpers_fail_as_requests_do(server: Server) -> None:
    """A helper's fault names its own URL."""
    server.key = "another"

    async def main() -> RequestFault:
        async with client_of(server.url) as client:
            with pytest.raises(RequestFault) as caught:
                await client.models()
            return caught.value

    fault = asyncio.run(main())
    assert (fault.kind, fault.url) == ("unauthorized", f"{server.url}/models")
