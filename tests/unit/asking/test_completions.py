"""Targets that are asked for completions: what is sent, read and recorded."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.place import Place
from tests.doubles.replies import Said
from tests.doubles.server import Server
from tests.unit.asking.asked import MMLU, ask, client_of, runner_of, task_of
from tests.unit.asking.tasks import word_problems

from capgate.asking.completion_form import letters_named
from capgate.asking.fingerprint import generation, request_fields
from capgate.asking.target_client import TargetClient
from capgate.client.client import Client
from capgate.common.answers import AnswerState
from capgate.common.errors import ConfigError
from capgate.common.redact import Redactor
from capgate.config.run_options import RUNNERS, RunnerKind
from capgate.config.target import AnswerBy
from capgate.config.targets import Target, load_targets
from capgate.serving.endpoint import Endpoint
from capgate.store.comparable import comparable, mismatch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def base(server: Server, answer_by: AnswerBy = "generation") -> TargetClient:
    """The way to a base model of a server."""
    client = Client(server.url, target="base", model="base", prompt_format="completion")
    target = Target(prompt_format="completion", answer_by=answer_by)
    fields = request_fields(target, endpoint(server.url), MMLU)
    return TargetClient(
        "base",
        client,
        "base",
        redactor=Redactor([]),
        extra_body=fields,
        completes=True,
        likeliest_of=MMLU.letters if answer_by == "loglikelihood" else "",
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


@pytest.mark.parametrize("kind", RUNNERS)
def test_the_likeliest_letter_is_the_answer(
    kind: RunnerKind, server: Server, tmp_path: Path
) -> None:
    """Either runner asks for all letters at once, and reads the answer and how sure it was."""
    server.answer = lambda _: "ANSWER: B"
    ended = ask(runner_of(kind, tmp_path), task_of(base(server, "loglikelihood"), 2))
    bodies = [asked.body for asked in server.texts]
    assert len(bodies) == 2
    for body in bodies:
        ends = [prompt.rpartition("\n\n")[2] for prompt in body["prompt"]]
        assert ends == [f"ANSWER: {letter}" for letter in "ABCD"]
        assert "stop" not in body
    read = [(one.answer.choice, one.answer.text, one.answer.margin) for _, one in ended]
    assert read == [("B", "ANSWER: B", 2.75)] * 2


NAMES_A_TO_D = "of the form 'ANSWER: $LETTER' where LETTER is one of A,B,C,D."


@pytest.mark.parametrize(
    ("contents", "letters"),
    [
        ([NAMES_A_TO_D], "ABCD"),
        (["LETTER is one of A, B.\n\nWhat?"], "AB"),
        (["LETTER is one of A,B,C,D,E,F,G,H,I,J.\nANSWER: B", "ANSWER: B", NAMES_A_TO_D], "ABCD"),
        ([f"{NAMES_A_TO_D} ANSWER: D. LETTER is one of A,B,C."], "ABC"),
        (["Which letter?"], ""),
        ([[{"type": "text", "text": "LETTER is one of A,B,C."}]], "ABC"),
    ],
)
def test_the_letters_are_those_that_the_question_names(contents: list[Any], letters: str) -> None:
    """The last statement of the prompt counts, since examples may have other choices."""
    assert letters_named([{"role": "user", "content": one} for one in contents]) == letters


def test_log_likelihoods_are_never_mixed_with_generated_letters(tmp_path: Path) -> None:
    """What must agree names how answers were made; those of generated letters are as before."""
    settings = Place(tmp_path).settings()
    written = generation(Target(prompt_format="completion"), settings, MMLU)
    assert "answer_by" not in written
    scored = Target(prompt_format="completion", answer_by="loglikelihood")
    assert generation(scored, settings, MMLU)["answer_by"].startswith("loglikelihood@")


def test_free_text_is_refused_for_completions() -> None:
    """A benchmark whose answers are no letters can't be asked of a base model."""
    with pytest.raises(ConfigError, match="no benchmark whose answers are letters"):
        request_fields(Target(id="base", prompt_format="completion"), endpoint(), word_problems())


@pytest.mark.parametrize(
    ("version", "adapter_of", "refused"),
    [("0.32.0+cpu", "base", True), ("0.32.0+cpu", None, False), ("0.32.0", "base", False)],
)
def test_an_adapter_is_refused_whose_server_would_end(
    version: str, adapter_of: str | None, refused: bool
) -> None:
    """A prompt's log-probabilities end vLLM's CPU build where it may have adapters."""
    mine = Target(
        id="mine", prompt_format="completion", answer_by="loglikelihood", adapter_of=adapter_of
    )
    at = Endpoint("mine", "http://127.0.0.1:1/v1", "mine", "vllm", {"version": version})
    with pytest.raises(ConfigError, match="engine ends") if refused else nullcontext():
        assert "stop" not in request_fields(mine, at, MMLU)


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
        ({"answer_by": "loglikelihood", "prompt_format": "chat"}, "base.answer_by"),
        ({"answer_by": "loglikelihood", "logprobs": 4}, "base.logprobs"),
    ],
)
def test_what_does_not_go_together_is_a_fault_of_the_file(
    keys: dict[str, object], place: str, tmp_path: Path
) -> None:
    """Each key that completions do not have is named."""
    assert place in str(faults(tmp_path, **keys))


def test_an_adapter_is_asked_as_its_base(tmp_path: Path) -> None:
    """It has its base's format, and none of its own."""
    adapter: dict[str, Any] = {"adapter_of": "base"}
    file = models(tmp_path, mine=adapter)
    assert load_targets(file).get("mine").prompt_format == "completion"
    assert load_targets(file).adapter("base", "other").prompt_format == "completion"
    own = {"prompt_format": "completion", "answer_by": "loglikelihood"}
    with pytest.raises(ConfigError) as caught:
        load_targets(models(tmp_path, mine=adapter | own))
    assert "mine.prompt_format" in str(caught.value)
    assert "mine.answer_by" in str(caught.value)
    likely = models(tmp_path, base={"answer_by": "loglikelihood"}, mine=adapter)
    assert load_targets(likely).get("mine").answer_by == "loglikelihood"


def faults(folder: Path, **keys: object) -> ConfigError:
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
