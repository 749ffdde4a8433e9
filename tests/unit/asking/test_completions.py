"""Targets that are asked for completions: what is sent, read and recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.place import Place
from tests.doubles.replies import Said
from tests.doubles.server import Server
from tests.unit.asking.asked import MMLU, ask, client_of, runner_of, task_of

from capgate.asking.fingerprint import generation, request_fields
from capgate.asking.target_client import TargetClient
from capgate.client.client import Client
from capgate.common.answers import AnswerState
from capgate.common.errors import ConfigError
from capgate.common.redact import Redactor
from capgate.config.run_options import RUNNERS, RunnerKind
from capgate.config.targets import Target, load_targets
from capgate.serving.endpoint import Endpoint
from capgate.store.comparable import comparable, mismatch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def base(server: Server) -> TargetClient:
    """The way to a base model of a server."""
    client = Client(server.url, target="base", model="base", prompt_format="completion")
    fields = request_fields(Target(prompt_format="completion"), endpoint(server.url), MMLU)
    return TargetClient(
        "base", client, "base", redactor=Redactor([]), extra_body=fields, completes=True
    )


def endpoint(url: str = "http://127.0.0.1/v1") -> Endpoint:
    """Where a base model answers."""
    return Endpoint("base", url, "base", "vllm", {}, prompt_format="completion")


@pytest.mark.parametrize("kind", RUNNERS)
def test_the_text_ends_where_the_answer_begins(
    kind: RunnerKind, server: Server, tmp_path: Path
) -> None:
    """Either runner sends the chat's prompt with the beginning of the answer behind it."""
    server.answer = lambda _: "ANSWER: B\nQuestion: and so on"
    ended = ask(runner_of(kind, tmp_path), task_of(base(server), 2))
    texts = [asked.body for asked in server.texts]
    ask(runner_of(kind, tmp_path), task_of(client_of(server), 2))
    plain = {asked.body["messages"][0]["content"] for asked in server.chats}
    assert {body["prompt"] for body in texts} == {f"{text}\n\nANSWER:" for text in plain}
    assert {tuple(body["stop"]) for body in texts} == {("\n",)}
    assert [(outcome.answer.choice, outcome.answer.text) for _, outcome in ended] == [
        ("B", "ANSWER: B"),
        ("B", "ANSWER: B"),
    ]


@pytest.mark.parametrize("kind", RUNNERS)
@pytest.mark.parametrize("said", ["", " It depends", " $LETTER", " E"])
def test_a_text_without_a_letter_is_not_in_form(
    kind: RunnerKind, server: Server, tmp_path: Path, said: str
) -> None:
    """An answer of which no letter can be read is unparsed, and not a fault."""
    server.answer = lambda _: Said(said)
    ended = ask(runner_of(kind, tmp_path), task_of(base(server), 1))
    assert [outcome.answer.state for _, outcome in ended] == [AnswerState.UNPARSED]


def test_completions_have_settings_of_their_own(tmp_path: Path) -> None:
    """Answers of chats and completions differ in what must agree; those of chats are as before."""
    settings = Place(tmp_path).settings()
    chat = generation(Target(), settings, MMLU)
    assert set(chat) == {"temperature", "max_tokens", "answer_format", "logprobs"}
    text = generation(Target(prompt_format="completion"), settings, MMLU)
    assert text["prompt_format"].startswith("completion@")
    ours, theirs = (
        comparable({"versions": {}, "generation": one}, "hash", {"digest": "d"})
        for one in (text, chat)
    )
    found = mismatch(ours, theirs)
    assert found is not None
    assert "prompt_format" in found.clause


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"answer_format": "constrained"}, "base.answer_format"),
        ({"max_tokens_field": "max_completion_tokens"}, "base.max_tokens_field"),
        ({"provider": "openrouter"}, "base.prompt_format"),
    ],
)
def test_what_does_not_go_together_is_a_fault_of_the_file(
    keys: dict[str, str], place: str, tmp_path: Path
) -> None:
    """Each key that completions do not have is named."""
    assert place in str(faults(tmp_path, **keys))


def test_an_adapter_is_asked_as_its_base(tmp_path: Path) -> None:
    """It has its base's format, and none of its own."""
    adapter: dict[str, Any] = {"adapter_of": "base"}
    file = models(tmp_path, mine=adapter)
    assert load_targets(file).get("mine").prompt_format == "completion"
    assert load_targets(file).adapter("base", "other").prompt_format == "completion"
    with pytest.raises(ConfigError) as caught:
        load_targets(models(tmp_path, mine=adapter | {"prompt_format": "completion"}))
    assert "mine.prompt_format" in str(caught.value)


def faults(folder: Path, **keys: str) -> ConfigError:
    """The faults of a file whose base has these keys as well."""
    with pytest.raises(ConfigError) as caught:
        load_targets(models(folder, base=keys))
    return caught.value


def models(folder: Path, **entries: dict[str, Any]) -> Path:
    """A file with a base model and further entries or keys."""
    base_entry = {
        "model_name": "base",
        "base_url": "http://127.0.0.1:1/v1",
        "prompt_format": "completion",
        **entries.pop("base", {}),
    }
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump({"base": base_entry, **entries}), encoding="utf-8")
    return file
