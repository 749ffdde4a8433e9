"""What a server broke off when it was stopped is no answer, though it comes with a 200."""

from __future__ import annotations

import pytest
from tests.doubles.server import Server, answer
from tests.unit.client.conftest import Ask, fault_of_asking


@pytest.mark.parametrize("text", ["ANSWER: B", "", None])
def test_it_is_asked_again(server: Server, ask: Ask, text: str | None) -> None:
    """A text that ends anywhere is left aside for the answer of the next attempt."""
    server.script(answer(text, finish_reason="abort"), answer("ANSWER: C"))
    completion = ask()
    assert (completion.text, completion.attempts) == ("ANSWER: C", 2)


def test_it_is_never_an_answer(server: Server, ask: Ask) -> None:
    """A server that breaks off every time ends in a fault that says so, and in no text."""
    server.script(forever=answer("ANSWER: B", finish_reason="abort"))
    fault = fault_of_asking(ask, max_retries=2)
    assert (fault.kind, fault.status, fault.attempts) == ("server_error", 200, 3)
    assert "broke the answer off" in str(fault)
