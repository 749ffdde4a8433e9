"""The likeliest of several texts, read from a server's echo of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.replies import Reply
from tests.doubles.server import Server
from tests.unit.client.conftest import complete_text

from capgate.client.faults import Place
from capgate.client.likelihoods import likeliest
from capgate.client.replies import Completion
from capgate.client.text_completions import CONTINUATIONS
from capgate.common.errors import RequestFault

PLACE = Place("my-target", "http://127.0.0.1/v1/completions")
ASKED = {" A": "1 + 1 = A", " B": "1 + 1 = B"}
COMMON = ("1", " +", " 1", " =")

Choice = dict[str, Any]


def echo(index: int, ends: Sequence[tuple[str, object]], common: Sequence[object]) -> Choice:
    """A prompt's echo: the common beginning, and then the tokens and log-probabilities named."""
    tokens = [*COMMON[: len(common)], *(token for token, _ in ends)]
    odds = [*common, *(number for _, number in ends)]
    return {
        "index": index,
        "text": list(ASKED.values())[index],
        "finish_reason": "length",
        "logprobs": {"tokens": tokens, "token_logprobs": odds},
    }


def both(
    first: Sequence[tuple[str, object]] = ((" A", -2.0),),
    second: Sequence[tuple[str, object]] = ((" B", -1.0),),
    common: Sequence[object] = (None, -1.0, -1.0, -1.0),
) -> list[Choice]:
    """The echoes of both prompts."""
    return [echo(0, first, common), echo(1, second, common)]


def chosen(choices: Sequence[object]) -> str:
    """The answer that is read."""
    return str(likeliest(PLACE, choices, ASKED)["message"]["content"])


def test_the_likeliest_choice_is_the_answer() -> None:
    """Its one place lists all choices with their scores, likeliest first."""
    made = likeliest(PLACE, both(), ASKED)
    assert made["message"]["content"] == " B"
    (place,) = made["logprobs"]["content"]
    tops = [(top["token"], top["logprob"]) for top in place["top_logprobs"]]
    assert tops == [(" B", -1.0), (" A", -2.0)]
    assert (place["token"], place["logprob"]) == (" B", -1.0)


def test_choices_are_matched_by_index() -> None:
    """The order of the response says nothing."""
    assert chosen(both()[::-1]) == " B"


def test_the_first_of_equals_is_the_answer() -> None:
    """Equal scores leave the order of the letters."""
    assert chosen(both(((" A", -1.0),))) == " A"


def test_a_choice_of_several_tokens_is_their_sum() -> None:
    """A likely first token does not make a likely text."""
    assert chosen(both(((" ", -0.5), ("A", -0.25)), ((" ", -0.5), ("B", -1.0)))) == " A"
    assert chosen(both(((" ", -0.5), ("A", -3.0)), ((" B", -1.0),))) == " B"


@given(
    st.lists(st.floats(-50, 0), min_size=3, max_size=3),
    st.floats(-50, 50),
    st.floats(-50, 0),
    st.floats(-50, 0),
)
def test_the_common_beginning_changes_nothing(
    common: list[float], more: float, first: float, second: float
) -> None:
    """Any constant that is added to it leaves answer and scores as they are."""
    ends: Any = (((" A", first),), ((" B", second),))
    before = likeliest(PLACE, both(*ends, common=[None, *common]), ASKED)
    after = likeliest(PLACE, both(*ends, common=[None, *(one + more for one in common)]), ASKED)
    assert before == after
    assert before["message"]["content"] == (" B" if second > first else " A")


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (both()[:1], "it answered 1 of 2 prompts"),
        ([both()[0], both()[0]], "it answered 2 of 2 prompts"),
        ([*both(), both()[0]], "it answered 3 of 2 prompts"),
        ([both()[0], both()[1] | {"text": " B"}], "does not echo"),
        ([both()[0], both()[1] | {"logprobs": None}], "without log-probabilities"),
        (both(second=((" B", None),)), "has no log-probability"),
        (both(second=((" B", float("nan")),)), "has no log-probability"),
        (both(second=((" B", float("-inf")),)), "has no log-probability"),
        (both(second=((" B", True),)), "has no log-probability"),
        (both(((" A", -1.0),), ((" A", -1.0),)), "do not differ"),
        (both(((" A", -1.0),), ()), "do not differ"),
        ([both()[0], both()[1] | {"logprobs": {"tokens": ["a"], "token_logprobs": []}}], "belong"),
        ([both()[0], "no choice"], "it answered 2 of 2 prompts"),
    ],
)
def test_what_is_not_given_is_a_fault(choices: list[object], words: str) -> None:
    """It names what is missing and the key, is asked once, and is never an answer."""
    with pytest.raises(RequestFault) as caught:
        chosen(choices)
    assert words in str(caught.value)
    assert "answer_by" in caught.value.remedy
    assert caught.value.kind == "bad_request"


def ask(server: Server) -> Completion:
    """Asks which of two texts is the likelier."""
    asked = [{"role": "user", "content": "1 + 1 ="}]
    return complete_text(server, messages=asked, stop=None, **{CONTINUATIONS: [" A", " B"]})


def reply(choices: Sequence[object]) -> Reply:
    """A response of these choices."""
    body = {"id": "cmpl-1", "object": "text_completion", "model": "base", "choices": choices}
    return Reply(200, body | {"usage": {"prompt_tokens": 10, "completion_tokens": 2}})


def test_one_request_asks_for_all_choices(server: Server) -> None:
    """Each is a prompt of its own; nothing is generated, and no chat's member is sent."""
    server.script(reply([one | {"text": one["text"]} for one in both()]))
    answer = ask(server)
    (asked,) = server.texts
    assert asked.body["prompt"] == list(ASKED.values())
    assert (asked.body["echo"], asked.body["max_tokens"], asked.body["logprobs"]) == (True, 0, 1)
    assert not {"messages", "top_logprobs", CONTINUATIONS} & set(asked.body)
    assert (answer.text, answer.finish_reason, answer.prompt_tokens) == (" B", "stop", 10)
    assert answer.logprobs[0].top == ((" B", -1.0), (" A", -2.0))


def test_a_server_that_does_not_echo_is_asked_once(server: Server) -> None:
    """It would not do so the next time either."""
    server.script(forever=reply([{"index": 0, "text": " A", "finish_reason": "stop"}]))
    with pytest.raises(RequestFault, match="1 of 2 prompts"):
        ask(server)
    assert len(server.texts) == 1


def test_a_choice_that_was_broken_off_is_the_servers_fault(server: Server) -> None:
    """A server that stops in the middle is asked again, and then answers."""
    broken = [both()[0], both()[1] | {"finish_reason": "abort"}]
    server.script(reply(broken), reply(both()))
    assert ask(server).text == " B"
