"""OpenRouter's models, by the commands that users type; the real service where a key is set."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.doubles import openrouter, replies
from tests.doubles.events import Signal
from tests.doubles.openrouter import AZURE, KEY, OPENAI, OpenRouter, Provider
from tests.integration.checkout import Checkout
from tests.integration.conftest import no_traceback, right, wrong

from capgate.common.text import format_dollars

SCRIPT = "run_mmlu_openrouter.py"
REAL_KEY = "OPENROUTER_API_KEY"
FEW = ("--subjects", "abstract_algebra,virology")
"""Eight questions."""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A user's checkout."""
    return Checkout.make(tmp_path / "checkout")


@pytest.fixture
def router(checkout: Checkout) -> Iterator[OpenRouter]:
    """OpenRouter's double, which answers the checkout's OpenRouter targets."""
    with OpenRouter(answer=right) as server:
        checkout.use(router=server)
        yield server


def stored(checkout: Checkout, column: str) -> list[Any]:
    """A column of the stored answers."""
    with contextlib.closing(sqlite3.connect(checkout.root / "reports" / "answers.sqlite")) as db:
        return [row[0] for row in db.execute(f"SELECT {column} FROM answers ORDER BY id")]


def half_right(asked: dict[str, Any]) -> str:
    """Answers about every other question right, and always the same ones."""
    return right(asked) if len(str(asked["messages"])) % 2 else wrong(asked)


class Together:
    """Holds requests until two models have one in flight at the same time."""

    def __init__(self, router: OpenRouter) -> None:
        self._router = router
        self._there: set[str] = set()
        self.met = Signal()

    async def __call__(self, _: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        if len(asked["messages"]) == 1 and "even?" not in str(asked["messages"]):
            self._there.add(asked["model"])
            if len(self._there) == 2:
                self.met.set()
            await self.met.arrives()
        return web.json_response(self._router.completion_of(asked, OPENAI))


def test_several_models_run_side_by_side(checkout: Checkout, router: OpenRouter) -> None:
    """`make mmlu-openrouter` asks its models at the same time, and tells what each will cost."""
    together = Together(router)
    router.script(forever=together)
    outcome = checkout.make_target(
        "mmlu-openrouter", "UTILITY_MODELS=gpt-4o claude-sonnet-4", "MMLU_LIMIT=3"
    )
    assert outcome.code == 0, outcome.text
    assert together.met.is_set()
    for model in ("gpt-4o", "claude-sonnet-4"):
        said = f"{model}: up to 3 questions to ask and the preflight, about $0.00"
        assert said in outcome.text
        assert f"measured, not judged: {model}" in outcome.text
        assert checkout.result(model)["overall"]["questions"] == 3
    # The estimate stands before the first result.
    assert outcome.text.index("questions to ask") < outcome.text.index("measured, not judged")
    assert KEY not in outcome.text


def test_who_answered_and_what_it_cost_is_kept(checkout: Checkout, router: OpenRouter) -> None:
    """Each answer has its provider, model, quantization and cost; the result has their sum."""
    checkout.edit(
        "llama",
        model_name="openrouter/meta-llama/llama-3.1-8b-instruct",
        provider="openrouter",
        base_url=router.url,
        api_key_env=REAL_KEY,
        dataset="bundled",
        route={"quantizations": ["bf16"], "allow_fallbacks": False},
    )
    outcome = checkout.script(SCRIPT, "--model-id", "llama", *FEW)
    assert outcome.code == 0, outcome.text
    assert set(stored(checkout, "served_by")) == {"Novita/meta-llama/llama-3.1-8b-instruct@bf16"}
    assert {str(body.body["provider"]["quantizations"]) for body in router.chats} == {"['bf16']"}
    assert {body.body["max_tokens"] for body in router.chats} == {512}
    result = checkout.result("llama")
    costs = stored(checkout, "cost")
    assert len(costs) == 8
    assert min(costs) > 0
    assert result["overall"]["cost"] == pytest.approx(sum(costs))
    subjects = stored(checkout, "subject")
    virology = [
        cost for cost, subject in zip(costs, subjects, strict=True) if subject == "virology"
    ]
    assert result["subject_details"]["virology"]["cost"] == pytest.approx(sum(virology))
    # The preflight's question is charged too, and is no answer of the benchmark.
    assert router.spent > result["overall"]["cost"]
    assert result["identity"]["identity"]["router"] == "openrouter"
    row = next(line for line in outcome.text.splitlines() if line.split()[:1] == ["all"])
    assert format_dollars(sum(costs)) in row.split()
    assert f"cost:    {format_dollars(sum(costs))} spent by this run's answers" in outcome.text
    assert [one["cost"] for one in checkout.reports()] == [pytest.approx(sum(costs))]
    shown = checkout.run("capgate", "show", "latest", stored(checkout, "question")[0])
    assert f"tokens, {format_dollars(costs[0])}" in shown.text
    again = checkout.script(SCRIPT, "--model-id", "llama", *FEW)
    assert "8 questions (0 asked now)" in again.text
    assert f"{format_dollars(sum(costs))} ($0.00 now)" in again.text
    assert 0 in [one["cost"] for one in checkout.reports()]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["dropped", "failed", "empty"])
def test_lost_answers_are_paid_for(checkout: Checkout, router: OpenRouter, loss: str) -> None:
    """Attempts that OpenRouter charged and lost do not carry a run past `--max-cost`."""
    lost = {
        "dropped": router.charging(replies.disconnect, 0.006),
        "failed": router.charging(replies.UPSTREAM_DOWN, 0.006),
        "empty": router.empty(0.006),
    }[loss]
    router.script(router.answering, *[lost, lost, router.answering] * 20)
    outcome = checkout.script(SCRIPT, "--model-id", "gpt-4o", "--max-cost", "0.06")
    assert outcome.code == 10, outcome.text
    assert router.spent <= 0.06
    assert len(router.chats) > 4
    assert "questions were not put, since they could have passed --max-cost" in outcome.text


def test_a_cost_that_buys_nothing(checkout: Checkout, router: OpenRouter) -> None:
    """Where not even the preflight can be paid, nothing is asked, and that is no error."""
    outcome = checkout.script(SCRIPT, "--model-id", "gpt-4o", *FEW, "--max-cost", "0.000001")
    assert outcome.code == 10, outcome.text
    assert not router.chats
    assert "8 questions were not put" in outcome.text
    assert "the run stops at $0.0000010" in outcome.text


@pytest.mark.slow
def test_the_estimate_is_of_what_will_be_asked(checkout: Checkout, router: OpenRouter) -> None:
    """It counts a quick look's few questions, stands even under -q, and tells of no price."""
    quick = checkout.run(
        *("pytest", "benchmarks", "-m", "quick", "-q", "--measure", "--model-id", "gpt-4o")
    )
    assert quick.code == 0, quick.text
    assert "gpt-4o: up to 10 questions to ask and the preflight, about $0.00" in quick.text
    assert len(router.chats) == 11
    router.offers = {"anthropic/claude-sonnet-4": (Provider("Anthropic", "anthropic", prompt=-1),)}
    asked = ("--model-id", "claude-sonnet-4", "--fresh", "--limit", "3")
    unknown = checkout.script(SCRIPT, *asked)
    assert "up to 3 questions to ask and the preflight, price unknown" in unknown.text
    bounded = checkout.script(SCRIPT, *asked, "--max-cost", "1")
    assert bounded.code == 11, bounded.text
    assert "its price is not known, so --max-cost can't be kept" in bounded.text


def test_a_passing_fault_of_the_lists_changes_nothing(
    checkout: Checkout, router: OpenRouter
) -> None:
    """A list that fails once is asked for again; one that stays away ends the run, with why."""
    first = checkout.script(SCRIPT, "--model-id", "gpt-4o", *FEW)
    assert first.code == 0, first.text
    router.script_lists(replies.UPSTREAM_DOWN, *[router.listing, replies.UPSTREAM_DOWN] * 2)
    asked = len(router.chats)
    again = checkout.script(SCRIPT, "--model-id", "gpt-4o", *FEW)
    assert again.code == 0, again.text
    # The preflight alone: every stored answer is found.
    assert len(router.chats) == asked + 1
    checkout.edit("gpt-4o", max_retries=1)
    router.script_lists(router.listing, forever=replies.UPSTREAM_DOWN)
    gone = checkout.script(SCRIPT, "--model-id", "gpt-4o", *FEW)
    assert gone.code == 11, gone.text
    assert "Provider returned error" in " ".join(gone.text.split())
    assert len(router.chats) == asked + 1


@pytest.mark.slow
def test_the_cost_is_bounded(checkout: Checkout, router: OpenRouter) -> None:
    """`--max-cost` ends a run before it is passed, keeps what was answered, and says so."""
    router.latency = 0.01
    bounded = checkout.script(
        SCRIPT, "--model-id", "gpt-4o", "--model-id", "claude-sonnet-4", *FEW, "--max-cost", "0.009"
    )
    assert bounded.code == 10, bounded.text
    assert router.spent <= 0.009
    assert "questions were not put, since they could have passed --max-cost" in bounded.text
    assert "the run stops at $0.0090" in bounded.text
    assert "exit code 10 (INCONCLUSIVE)" in bounded.text
    kept = len(stored(checkout, "state"))
    assert 0 < kept < 16
    assert set(stored(checkout, "state")) == {"correct"}
    answered = len(router.chats)
    whole = checkout.script(SCRIPT, "--model-id", "gpt-4o", "--model-id", "claude-sonnet-4", *FEW)
    assert whole.code == 0, whole.text
    # Two preflights, and what was left.
    assert len(router.chats) - answered == 16 - kept + 2


def test_a_quick_run_keeps_to_its_cost(checkout: Checkout, router: OpenRouter) -> None:
    """A quick run that reaches `--max-cost` undecided is INCONCLUSIVE, by the questions before."""
    # As the floor lies between, nothing can be decided.
    router.answer = half_right
    checkout.floors(**{"gpt-4o": 0.55})
    checkout.write("thresholds/policy.yaml", "catch: 0.1\nreason: few questions\n")
    outcome = checkout.run(
        *("capgate", "run", "--quick", "--model-id", "gpt-4o", "--max-cost", "0.02"),
        *("--seed", "0"),
    )
    assert outcome.code == 10, outcome.text
    assert router.spent <= 0.02
    assert "--max-cost was reached" in outcome.text


@pytest.mark.slow
def test_other_routes_are_not_compared(checkout: Checkout, router: OpenRouter) -> None:
    """A baseline of one provider's answers refuses another's, unless that is allowed by name."""
    measured = checkout.script(SCRIPT, "--model-id", "gpt-4o")
    assert measured.code == 0, measured.text
    recorded = checkout.run("capgate", "baseline", "record", "gpt-4o")
    assert recorded.code == 0, recorded.text
    router.choose = lambda _: AZURE
    asked = ("--model-id", "gpt-4o", "--fresh", *FEW)
    refused = checkout.script(SCRIPT, *asked)
    assert refused.code == 11, refused.text
    said = " ".join(refused.text.split())
    assert "Azure/openai/gpt-4o answered this run and not the other" in said
    assert "--allow-routes Azure" in said
    allowed = checkout.script(SCRIPT, *asked, "--allow-routes", "Azure,OpenAI")
    assert allowed.code in {0, 10}, allowed.text
    assert "other routes" not in allowed.text


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (replies.NO_CREDIT, "the account has no credit left (HTTP 402"),
        (openrouter.INVALID_KEY, "the server does not accept the API key (HTTP 401"),
        (replies.NO_ENDPOINTS, "the server does not serve the model 'openai/gpt-4o'"),
    ],
)
def test_a_refusal_ends_the_run(
    checkout: Checkout, router: OpenRouter, reply: replies.Reply, said: str
) -> None:
    """What concerns every request is told once, with exit code 11 and without a traceback."""
    router.script(forever=reply)
    outcome = checkout.script(SCRIPT, "--model-id", "gpt-4o", *FEW)
    assert outcome.code == 11, outcome.text
    assert said in " ".join(outcome.text.split())
    assert len(router.chats) == 1
    assert no_traceback(outcome.text)
    assert KEY not in outcome.text


def test_a_moderated_question_has_no_answer(checkout: Checkout, router: OpenRouter) -> None:
    """A question that moderation refuses is an error of that question alone, and not wrong."""

    async def moderate(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        # The preflight's question goes through.
        if "even?" not in str(asked["messages"]) and not refused.is_set():
            refused.set()
            return await replies.MODERATION(request, asked)
        return web.json_response(router.completion_of(asked, OPENAI))

    refused = threading.Event()
    router.script(forever=moderate)
    outcome = checkout.script(SCRIPT, "--model-id", "gpt-4o", *FEW)
    assert outcome.code == 10, outcome.text
    overall = checkout.result("gpt-4o")["overall"]
    assert (overall["correct"], overall["errors"], overall["wrong"]) == (7, 1, 0)


def test_other_targets_are_refused(checkout: Checkout, router: OpenRouter) -> None:
    """The script is for OpenRouter's models and says which there are."""
    router.answer = wrong
    outcome = checkout.script(SCRIPT, "--model-id", "local-smollm2", "--limit", "1")
    assert outcome.code == 4
    assert "is not a model of OpenRouter" in outcome.text
    assert "gpt-4o, claude-sonnet-4" in outcome.text
    assert checkout.script(SCRIPT).code == 4
    assert not router.chats


@pytest.mark.skipif(not os.environ.get(REAL_KEY), reason=f"{REAL_KEY} is not set")
def test_the_real_service(checkout: Checkout) -> None:
    """The same command against OpenRouter itself: two questions for at most two cents."""
    checkout.use()
    outcome = checkout.script(
        *(SCRIPT, "--model-id", "gpt-4o", "--limit", "2", "--max-cost", "0.02"),
        **{REAL_KEY: os.environ[REAL_KEY]},
    )
    assert outcome.code == 0, outcome.text
    assert all(one.count("/") >= 2 for one in stored(checkout, "served_by"))
    assert 0 < checkout.result("gpt-4o")["overall"]["cost"] <= 0.02
