"""Requests of a target that several servers answer for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
from tests.doubles import replies
from tests.doubles.server import Server

from capgate.asking.endpoint_clients import EndpointClients, Lane, Readmit, Ways
from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.client.replies import Completion
from capgate.common.errors import CapgateError, DifferentReplicasError, RequestFault
from capgate.serving.addresses import Address
from capgate.serving.endpoint import Endpoint

LIMITS = ClientLimits(
    connections=2, attempt_timeout=5.0, max_retries=3, backoff=0.01, patience=0.0, first_patience=0
)


def never(target: str, url: str, since: float) -> None:  # noqa: ARG001
    """No endpoint comes back."""
    return


class Pool:
    """The clients of a target at some servers."""

    def __init__(self, *servers: Server, readmit: Readmit = never, **limits: float) -> None:
        self.places = [f"gpu{n}" for n in range(1, len(servers) + 1)]
        self.endpoints = [
            Endpoint("mine", server.url, server.models[0], "vllm", {}, place=place)
            for server, place in zip(servers, self.places, strict=True)
        ]
        self.limits = replace(LIMITS, **limits)  # type: ignore[arg-type]
        self.lines: list[str] = []
        first, *others = self.endpoints
        self.clients = EndpointClients(
            replace(first, others=tuple(others)),
            self.limits,
            Ways(self._lane, readmit, lambda _, line: self.lines.append(line)),
        )

    def _lane(self, endpoint: Endpoint) -> Lane:
        limits = replace(self.limits, max_retries=0)
        client = Client(endpoint.base_url, target="mine", limits=limits)
        return Lane(Address(endpoint.base_url, None, endpoint.place), endpoint, client, None)

    def run(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Runs what asks, and closes the connections."""

        async def run() -> None:
            try:
                await ask()
            finally:
                await self.clients.aclose()

        asyncio.run(run())

    def ask(self, count: int) -> list[Completion | BaseException]:
        """Asks so many questions at once."""
        found: list[Completion | BaseException] = []

        async def ask() -> None:
            asked = (self.one(str(n)) for n in range(count))
            found.extend(await asyncio.gather(*asked, return_exceptions=True))

        self.run(ask)
        return found

    async def one(self, text: str) -> Completion:
        """Asks one question."""
        messages = [{"role": "user", "content": text}]
        return await self.clients.complete({"model": "smollm2", "messages": messages})


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """Two servers."""
    with Server() as one, Server() as other:
        yield one, other


def gave(answers: list[Completion | BaseException]) -> Counter[str]:
    """Endpoint to its answers; all questions have one."""
    assert all(isinstance(one, Completion) for one in answers), answers
    return Counter(one.endpoint for one in answers if isinstance(one, Completion))


def test_equal_servers_share_the_work(pair: tuple[Server, Server]) -> None:
    """Each gets half, and none more at a time than it may have in flight."""
    for server in pair:
        server.latency = 0.02
    assert gave(Pool(*pair).ask(8)) == {"gpu1": 4, "gpu2": 4}
    assert [server.most_in_flight for server in pair] == [2, 2]


def test_a_slow_server_gets_less(pair: tuple[Server, Server]) -> None:
    """A request goes where fewest are in flight, and they stay longer at a slow server."""
    pair[0].latency, pair[1].latency = 0.5, 0.001
    counts = gave(Pool(*pair).ask(12))
    assert counts["gpu1"] == 2
    assert counts["gpu2"] == 10


def test_a_request_has_the_name_that_its_endpoint_serves(pair: tuple[Server, Server]) -> None:
    """Servers may list one model under several names."""
    pair[1].models = ("openai/smollm2",)
    assert gave(Pool(*pair).ask(4)).total() == 4
    assert {chat.body["model"] for chat in pair[0].chats} == {"smollm2"}
    assert {chat.body["model"] for chat in pair[1].chats} == {"openai/smollm2"}


@pytest.mark.parametrize("reply", [replies.NO_MODEL, replies.UNAUTHORIZED, replies.disconnect])
def test_a_server_that_answers_nothing_is_left_out(
    pair: tuple[Server, Server], reply: replies.Handler
) -> None:
    """It lost the adapter, takes the key no more, or breaks the connection; told once."""
    pair[0].script(forever=reply)
    pool = Pool(*pair)
    assert gave(pool.ask(8)) == {"gpu2": 8}
    (line,) = pool.lines
    assert line.startswith("mine: its endpoint gpu1 stopped answering")
    assert len(pair[0].chats) <= 2


def test_a_fault_of_the_question_is_no_fault_of_the_server(pair: tuple[Server, Server]) -> None:
    """A prompt that is too long is too long everywhere: it is asked once."""
    for server in pair:
        server.script(replies.PROMPT_TOO_LONG)
    pool = Pool(*pair)
    (fault,) = pool.ask(1)
    assert isinstance(fault, RequestFault)
    assert fault.kind == "context_too_long"
    assert sum(len(server.chats) for server in pair) == 1
    assert not pool.lines


def test_a_passing_fault_is_asked_again_elsewhere(pair: tuple[Server, Server]) -> None:
    """One 500 leaves the server in, and the other one answers."""
    pair[0].script(replies.ENGINE_DEAD)
    pool = Pool(*pair)
    assert gave(pool.ask(1)) == {"gpu2": 1}
    assert not pool.lines


def test_a_server_that_wants_fewer_requests_stays_in(pair: tuple[Server, Server]) -> None:
    """Its rate limit is its own: the other one answers meanwhile."""
    pair[0].script(forever=replies.RATE_LIMITED)
    pool = Pool(*pair)
    assert gave(pool.ask(8)) == {"gpu2": 8}
    assert len(pool.clients.live) == 2
    assert not pool.lines


def test_all_dead_is_one_fault_that_names_all(pair: tuple[Server, Server]) -> None:
    """Every request ends with it, and later ones at once."""
    pool = Pool(*pair)
    for server in pair:
        server.stop()
    answers = pool.ask(6)
    assert pool.clients.given_up
    assert all(isinstance(one, RequestFault) for one in answers)
    assert "none of its 2 endpoints answers (gpu1: nothing accepts" in str(answers[-1])
    assert "gpu2: nothing accepts" in str(answers[-1])


def test_a_question_that_ends_servers_does_not_end_all(pair: tuple[Server, Server]) -> None:
    """It is put to as many as further attempts are allowed, and then it is an error."""
    with Server() as third:
        for server in (*pair, third):
            server.script(forever=replies.disconnect)
        pool = Pool(*pair, third, max_retries=1)
        (fault,) = pool.ask(1)
        assert isinstance(fault, RequestFault)
        assert not pool.clients.given_up
        assert len(pool.clients.live) == 1


def test_a_server_that_is_proven_again_is_asked_again(pair: tuple[Server, Server]) -> None:
    """Not before: the proof is asked for until it has come."""
    states: list[str] = []

    def readmit(target: str, url: str, since: float) -> Endpoint | None:
        states.append(f"{target} {url} {since > 0}")
        return pool.endpoints[0] if len(states) > 1 else None

    pool = Pool(*pair, readmit=readmit)
    pair[0].script(replies.disconnect)

    async def ask() -> None:
        assert (await pool.one("a")).endpoint == "gpu2"
        assert [one.place for one in pool.clients.live] == ["gpu2"]
        async with asyncio.timeout(30):
            while len(pool.clients.live) < 2:
                await asyncio.sleep(0.01)
        assert {(await pool.one(str(n))).endpoint for n in range(4)} == {"gpu1", "gpu2"}

    pool.run(ask)
    assert states == [f"mine {pair[0].url} True"] * 2
    assert pool.lines[-1] == "mine: its endpoint gpu1 answers, is proven and is asked again"


def test_a_server_that_fails_its_proof_stays_out(pair: tuple[Server, Server]) -> None:
    """Other weights answer there: the line says what speaks against it, once."""
    told = asyncio.Event()

    def readmit(target: str, url: str, since: float) -> Endpoint | None:  # noqa: ARG001
        raise DifferentReplicasError("others answer", target=target)

    pool = Pool(*pair, readmit=readmit)
    pair[0].script(replies.disconnect)

    async def ask() -> None:
        assert (await pool.one("a")).endpoint == "gpu2"
        async with asyncio.timeout(30):
            while len(pool.lines) < 2:
                await asyncio.sleep(0.01)
        assert {(await pool.one(str(n))).endpoint for n in range(4)} == {"gpu2"}
        told.set()

    pool.run(ask)
    assert told.is_set()
    assert "gpu1 answers again and is not asked, since it is not proven" in pool.lines[1]
    assert "others answer" in pool.lines[1]


def test_requests_that_wait_are_answered_when_a_server_is_back(
    pair: tuple[Server, Server],
) -> None:
    """All are away for a moment: nothing is lost."""

    def readmit(target: str, url: str, since: float) -> Endpoint | None:  # noqa: ARG001
        return next(one for one in pool.endpoints if one.base_url == url)

    pool = Pool(*pair, readmit=readmit, patience=30.0, first_patience=30.0)
    for server in pair:
        server.script(*[replies.disconnect] * 2)
    assert gave(pool.ask(4)).total() == 4
    assert any("waiting up to 30 s for one to come back" in line for line in pool.lines)


def test_what_the_fault_of_a_proof_is_about_may_be_anything(pair: tuple[Server, Server]) -> None:
    """A controller that is gone is a fault like others: the run goes on with what is left."""

    def readmit(target: str, url: str, since: float) -> Endpoint | None:  # noqa: ARG001
        raise CapgateError("the run's controller is gone")

    pool = Pool(*pair, readmit=readmit)
    pair[0].stop()
    assert gave(pool.ask(4)) == {"gpu2": 4}
