"""What OpenRouter documents, read: offers, routes, prices, faults, and money set aside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.doubles import openrouter, replies
from tests.doubles.openrouter import OpenRouter
from tests.doubles.replies import Handler, Reply

from capgate.asking.cost_forecast import Estimate, Lengths, estimate
from capgate.asking.cost_limit import NotAskedError, RunCostLimit, TargetCost, most_tokens
from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.client.replies import Completion
from capgate.common.errors import ReferenceMissingError, RequestFault
from capgate.common.text import format_dollars
from capgate.serving.openrouter import Offer, Price, ask_offer, check_key, read_offer
from capgate.serving.routes import check_routes, clash, is_routed

LLAMA = "meta-llama/llama-3.1-8b-instruct"
REQUEST = {
    "model": LLAMA,
    "messages": [{"role": "user", "content": "2+2=?"}],
    "max_tokens": 16,
}
QUICK: dict[str, Any] = {"backoff": 0.001, "backoff_cap": 0.01, "max_retries": 2}


def ask(server: OpenRouter, **limits: Any) -> Completion:  # noqa: ANN401
    """Asks one question."""

    async def once() -> Completion:
        async with client(server, **limits) as one:
            return await one.complete(REQUEST)

    return asyncio.run(once())


def client(server: OpenRouter, **limits: Any) -> Client:  # noqa: ANN401
    """Returns a client of the double."""
    return Client(
        server.url, target="t", model=LLAMA, key=server.key, limits=ClientLimits(**QUICK | limits)
    )


@pytest.mark.parametrize(
    ("reply", "kind", "status", "said", "remedy"),
    [
        (openrouter.INVALID_KEY, "unauthorized", 401, "No auth credentials", "api_key_env"),
        (replies.NO_CREDIT, "no_credit", 402, "Insufficient credits", "Add credit"),
        (openrouter.TOO_DEAR, "no_credit", 402, "Lower max_tokens or add", "Add credit"),
        (openrouter.KEY_BUDGET, "quota", 403, "Budget limit exceeded", "Raise the budget"),
        (replies.MODERATION, "moderation", 403, "reasons: violence", "not answered"),
        (openrouter.GUARDRAIL, "moderation", 403, "patterns: ignore all", "not answered"),
        (openrouter.POLICY, "moderation", 403, "SAFETY", "not answered"),
        (openrouter.FREE_DAY, "quota", 429, "free-models-per-day", "renewal"),
        (replies.NO_ENDPOINTS, "model_not_found", 404, "No endpoints found", "model_name"),
    ],
)
def test_what_asking_again_does_not_mend(
    reply: Reply, kind: str, status: int, said: str, remedy: str
) -> None:
    """A refusal that stands is told after one request, in OpenRouter's words."""
    with OpenRouter() as server:
        server.script(forever=reply)
        with pytest.raises(RequestFault) as caught:
            ask(server)
        assert len(server.chats) == 1
    fault = caught.value
    assert (fault.kind, fault.status) == (kind, status)
    assert said in str(fault)
    assert remedy in str(fault)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (openrouter.IN_FLIGHT, "rate_limited"),
        (openrouter.RATE_LIMITED, "rate_limited"),
        (replies.TIMED_OUT, "timeout"),
        (replies.UPSTREAM_DOWN, "server_error"),
        (openrouter.OVERLOADED, "server_error"),
        (openrouter.NO_PROVIDER, "server_error"),
        (replies.ERROR_IN_200, "server_error"),
        (openrouter.NOTHING, "empty_choices"),
    ],
)
def test_what_passes_is_asked_again(reply: Reply, kind: str) -> None:
    """A bad moment costs another request, one that lasts its kind of fault."""
    with OpenRouter() as server:
        server.script(reply)
        assert ask(server).provider == "DeepInfra"
        assert len(server.chats) == 2
        server.script(forever=reply)
        with pytest.raises(RequestFault) as caught:
            ask(server)
    assert caught.value.kind == kind
    assert caught.value.attempts == 3


@pytest.mark.parametrize(
    "reply", [openrouter.RATE_LIMITED, openrouter.IN_FLIGHT, openrouter.OVERLOADED]
)
def test_retry_after_is_waited_for(reply: Reply) -> None:
    """No further request is sent before the time that OpenRouter asks for."""
    with OpenRouter() as server:
        server.script(Reply(reply.status, reply.body, {"Retry-After": "0.4"}))
        ask(server)
        first, second = server.chats
    assert second.at - first.at >= 0.39


def test_parallelism_adapts_to_a_rate_limit() -> None:
    """Where only four requests at a time are let through, all are answered, and few are refused."""

    async def flood(server: OpenRouter) -> list[Completion]:
        async with client(server, connections=32, max_retries=20) as one:
            return await asyncio.gather(*(one.complete(REQUEST) for _ in range(120)))

    with OpenRouter(latency=0.01) as server:

        async def four(request: Any, asked: dict[str, Any]) -> Any:  # noqa: ANN401
            if server.in_flight > 4:
                return await openrouter.RATE_LIMITED(request, asked)
            await asyncio.sleep(0.01)
            return await Reply(200, server.completion_of(asked, openrouter.DEEPINFRA))(
                request, asked
            )

        server.script(forever=four)
        answers = asyncio.run(flood(server))
        refused = len(server.chats) - 120
    assert len(answers) == 120
    assert refused < 120


def test_an_offer_is_read() -> None:
    """Version, prices and quantizations are those that OpenRouter lists."""

    async def offer(server: OpenRouter, model: str, route: dict[str, Any] | None) -> Offer:
        async with client(server) as one:
            assert await check_key(one) == "accepted; it may still spend $4.50"
            return await ask_offer(one, model, route)

    with OpenRouter() as server:
        free = asyncio.run(offer(server, LLAMA, None))
        pinned = asyncio.run(offer(server, LLAMA, {"only": ["deepinfra/fp8"]}))
        gpt = asyncio.run(offer(server, "openai/gpt-4o:nitro", None))
        unknown = asyncio.run(offer(server, "no/such", None))
    assert free.price == Price(1e-7, 3e-7)
    assert free.dearest == Price(2e-7, 4e-7)
    assert free.served_by("Novita", LLAMA) == f"Novita/{LLAMA}@bf16"
    assert pinned.dearest == Price(1e-7, 3e-7)
    assert pinned.quantizations == {"DeepInfra": ("fp8",)}
    assert gpt.version == "openai/gpt-4o-2024-08-06"
    assert gpt.served_by("OpenAI", "openai/gpt-4o") == "OpenAI/openai/gpt-4o"
    assert unknown == Offer()


def offered(server: OpenRouter, **limits: Any) -> Offer:  # noqa: ANN401
    """Asks the double what it offers."""

    async def once() -> Offer:
        async with client(server, **limits) as one:
            return await ask_offer(one, LLAMA, None)

    return asyncio.run(once())


@pytest.mark.parametrize(
    "fault", [replies.UPSTREAM_DOWN, openrouter.RATE_LIMITED, replies.TRUNCATED, replies.disconnect]
)
def test_a_list_that_fails_is_asked_for_again(fault: Handler) -> None:
    """A passing fault of a list changes nothing of what is known; one that stays is told."""
    with OpenRouter() as server:
        known = offered(server)
        for before in ([], [server.listing]):
            server.script_lists(*before, fault, fault)
            assert offered(server) == known
        server.script_lists(forever=fault)
        with pytest.raises(RequestFault) as caught:
            offered(server)
    assert caught.value.attempts == 3
    assert caught.value.url.endswith("/models")


def test_a_list_of_providers_that_fails_is_told() -> None:
    """Where the providers can't be had, nothing is recorded of an unknown quantization."""
    with OpenRouter() as server:
        server.script_lists(server.listing, forever=openrouter.OVERLOADED)
        with pytest.raises(RequestFault) as caught:
            offered(server)
    assert caught.value.kind == "server_error"
    assert caught.value.url.endswith("/endpoints")


@pytest.mark.parametrize(
    "endpoints",
    [
        None,
        {"data": {"endpoints": []}},
        {"data": {"endpoints": [{"pricing": {"prompt": "1"}}, {"pricing": None}]}},
    ],
)
def test_the_dearest_price_is_every_providers(endpoints: object) -> None:
    """The listed price bounds nothing where a provider could ask more than is known."""
    models = {"data": [{"id": "a/b", "pricing": {"prompt": "1e-6", "completion": "2e-6"}}]}
    offer = read_offer(models, endpoints, "a/b", None)
    assert offer.price == Price(1e-6, 2e-6)
    assert offer.dearest is None


@pytest.mark.parametrize(
    "pricing",
    [None, {}, {"prompt": "-1", "completion": "-1"}, {"prompt": "x"}, {"prompt": "inf"}, []],
)
def test_a_price_that_is_none_stays_unknown(pricing: object) -> None:
    """Missing, negative (a router's) or unreadable prices are no prices."""
    models = {"data": [{"id": "a/b", "pricing": pricing}]}
    endpoints = {"data": {"endpoints": [{"pricing": pricing}]}}
    offer = read_offer(models, endpoints, "a/b", None)
    free = pricing == {}
    assert offer.dearest == (Price(0.0, 0.0) if free else None)


def test_several_quantizations_of_one_provider_are_all_named() -> None:
    """Where a provider offers several quantizations, the answer does not tell which it was."""
    offer = Offer(quantizations={"Together": ("bf16", "fp8")})
    assert offer.served_by("Together", "a/b") == "Together/a/b@bf16|fp8"
    assert offer.served_by("", "a/b") == "a/b"


def test_the_purse_is_never_passed() -> None:
    """What is set aside counts; a refusal for good shuts the cost limit."""
    cost_limit = RunCostLimit(1.0)
    assert cost_limit.reserve(0.6) == "granted"
    assert cost_limit.reserve(0.6) == "wait"
    cost_limit.settle(0.6, 0.1)
    assert cost_limit.reserve(0.6) == "granted"
    cost_limit.settle(0.6, 0.6)
    assert cost_limit.reserve(0.4) == "over"
    assert cost_limit.reserve(0.0001) == "over"
    assert cost_limit.spent == pytest.approx(0.7)


def test_a_meter_waits_for_what_comes_back() -> None:
    """A request that has no room now is sent when another has cost less than was set aside."""
    cost_limit = RunCostLimit(1.0)
    target_cost = TargetCost("t", Price(0.0, 0.6 / 16), cost_limit)

    async def both() -> None:
        reservation = target_cost.reservation(REQUEST)
        await reservation.reserve()
        waiting = asyncio.create_task(reservation.reserve())
        await asyncio.sleep(0)
        assert not waiting.done()
        reservation.settle(0.1)
        await waiting
        reservation.settle(None)
        with pytest.raises(NotAskedError, match=r"--max-cost \$1"):
            await reservation.reserve()

    asyncio.run(both())
    assert cost_limit.spent == pytest.approx(0.7)
    assert target_cost.over


MOST = Price(2e-7, 4e-7).of(*most_tokens(REQUEST))
"""US dollars that a request to `LLAMA` can cost."""


@pytest.mark.parametrize(
    ("loss", "charged"),
    [
        (replies.disconnect, MOST),
        (replies.break_off, MOST),
        (replies.hang, MOST),
        (replies.UPSTREAM_DOWN, MOST),
        (openrouter.OVERLOADED, MOST),
        (replies.TIMED_OUT, MOST),
        (replies.ERROR_IN_200, MOST),
        (replies.TRUNCATED, MOST),
        (openrouter.NOTHING, 0.0),
        (openrouter.RATE_LIMITED, 0.0),
        (None, MOST / 3),
    ],
)
def test_the_bound_holds_whatever_is_lost(loss: Handler | None, charged: float) -> None:
    """Attempts that are charged and lost count in full; those that cost nothing, nothing."""
    cost_limit = RunCostLimit(12 * MOST)

    async def flood(server: OpenRouter) -> list[Completion | BaseException]:
        target_cost = TargetCost("t", Price(2e-7, 4e-7), cost_limit)
        async with client(server, connections=4, attempt_timeout=0.5, max_retries=3) as one:
            asked = [one.complete(REQUEST, target_cost.reservation(REQUEST)) for _ in range(30)]
            return await asyncio.gather(*asked, return_exceptions=True)

    with OpenRouter() as server:
        handler = server.empty(charged) if loss is None else server.charging(loss, charged)
        server.script(*[handler] * 2, server.answering, *[handler] * 30)
        answers = asyncio.run(flood(server))
        spent = server.spent
    answered = [one for one in answers if isinstance(one, Completion)]
    assert answered
    assert spent <= cost_limit.spent + 1e-12
    assert cost_limit.spent <= cost_limit.limit
    # What costs nothing takes no money from the questions after it.
    assert any(isinstance(one, NotAskedError) for one in answers) == bool(charged)


def test_an_answer_costs_what_its_attempts_cost() -> None:
    """An empty answer that was charged is part of what the question cost."""
    with OpenRouter() as server:
        server.script(server.empty(0.25))
        assert ask(server).cost == pytest.approx(server.spent)
        assert server.spent > 0.25


def test_a_request_has_at_most_as_many_tokens_as_bytes() -> None:
    """The bound holds for any tokenizer: no token is shorter than a byte."""
    request = {"messages": [{"role": "user", "content": "¿naïve?"}], "max_tokens": 7}
    prompt, answer = most_tokens(request)
    assert prompt >= len("¿naïve?".encode())
    assert answer == 7


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "$0.00"),
        (1234.5, "$1,234.50"),
        (0.25, "$0.25"),
        (0.0041, "$0.0041"),
        (1e-6, "$0.0000010"),
    ],
)
def test_amounts_are_readable(amount: float, shown: str) -> None:
    """Small amounts keep two digits that count."""
    assert format_dollars(amount) == shown


def test_an_estimate_tells_what_is_likely_and_the_most() -> None:
    """The line before the first question holds both."""
    assert str(Estimate(4.61, 76.5)) == "about $4.61 (at most $76.50)"
    assert str(Estimate(4.61, None)) == "about $4.61 (no upper bound is known)"


def test_no_price_gives_no_estimate() -> None:
    """Where no price is listed, only earlier answers tell."""
    texts = ["2+2=?"] * 100
    lengths = Lengths(most=16, likely=8)
    assert estimate(texts, Offer(), lengths, mean_cost=None) is None
    assert estimate(texts, Offer(), lengths, mean_cost=0.01) == Estimate(pytest.approx(1.0), None)


OURS = "DeepInfra/m@fp8"
THEIRS = "Novita/m@bf16"


@pytest.mark.parametrize(
    ("ours", "theirs", "allowed", "whole", "clashes"),
    [
        ({OURS}, {OURS}, [], True, False),
        ({OURS}, {THEIRS}, [], True, True),
        ({OURS}, {THEIRS}, ["DeepInfra"], True, True),
        ({OURS}, {THEIRS}, ["DeepInfra", "novita"], True, False),
        ({OURS}, {THEIRS}, [OURS, THEIRS], True, False),
        ({OURS}, {OURS, THEIRS}, [], True, True),
        ({OURS}, {OURS, THEIRS}, [], False, False),
        ({OURS, THEIRS}, {OURS}, [], False, True),
        ({"DeepInfra/m@bf16"}, {OURS}, [], True, True),
        ({OURS}, set(), [], True, False),
    ],
)
def test_routes_must_agree(
    ours: set[str], theirs: set[str], allowed: list[str], whole: bool, clashes: bool
) -> None:
    """A route on one side alone keeps two sides apart, unless it is allowed by name."""
    assert bool(clash(ours, theirs, allowed, whole=whole)) is clashes


def test_a_refusal_names_the_way_out() -> None:
    """The message names the routes and the option that would allow them."""
    with pytest.raises(ReferenceMissingError) as caught:
        check_routes("t", {OURS}, {THEIRS}, [], whole=True)
    assert "--allow-routes DeepInfra,Novita" in str(caught.value)
    assert f"{OURS} answered this run and not the other" in str(caught.value)


def test_only_routers_have_routes() -> None:
    """A server's own model name is no route."""
    assert is_routed({"identity": {"router": "openrouter"}})
    assert not is_routed({"identity": {"base_url": "http://127.0.0.1/v1"}})
    assert not is_routed({})
