"""One entry of `config/models.yaml`: its keys, and what each of them may hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from capgate.client.text_completions import PromptFormat
from capgate.common.errors import ConfigError, FileFault
from capgate.common.yaml_file import is_variable
from capgate.config.server_urls import checked_url, checked_urls

AnswerFormat = Literal["free", "constrained"]
AnswerBy = Literal["generation", "loglikelihood"]

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Replicas = Annotated[int, Field(ge=1, le=64)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class LlamaCppServe(_Entry):
    """How to start llama.cpp's server for a target.

    Attributes:
        engine: `llamacpp`.
        model: A GGUF file, or `package:NAME/FILE` for one that an installed package ships.
        replicas: How many servers are started.
        parallel: Requests it works on at a time; each has a context of `context_window`.
        threads: Threads for the computation; by default, one for each core.
        start_timeout: Seconds until it must answer `/health`.
        env: Further environment variables.
        num_gpus: GPUs that each server asks of a Ray cluster; None for what the engine needs.
        num_cpus: CPUs that each server asks of a Ray cluster.
        resources: Further resources that each server asks of a Ray cluster, by their names there.
        placement_timeout: Seconds that a server waits for room in a Ray cluster.
    """

    engine: Literal["llamacpp"]
    model: str
    replicas: Replicas = 1
    parallel: Annotated[int, Field(ge=1, le=256)] = 4
    threads: Annotated[int, Field(ge=1)] | None = None
    start_timeout: Seconds = 120.0
    env: dict[str, str] = {}
    num_gpus: Amount | None = None
    num_cpus: Amount = 1.0
    resources: dict[str, Amount] = {}
    placement_timeout: Seconds = 120.0


_OWNED_FLAGS: Final = {"--api-key", "--host", "--port", "--model", "--served-model-name"}
_SLOTS_FLAG: Final = "--max-loras"


class VllmServe(_Entry):
    """How to start vLLM's server for a target.

    Attributes:
        engine: `vllm`.
        model: A folder with the weights, or a hub id.
        revision: The hub revision to serve.
        replicas: How many servers are started.
        args: Further `vllm serve` flags, passed through as they are.
        python: The interpreter that has vLLM, where it is not this one.
        start_timeout: Seconds until it must answer `/health`.
        env: Further environment variables.
        num_gpus: GPUs that each server asks of a Ray cluster; None for what the engine needs.
        num_cpus: CPUs that each server asks of a Ray cluster.
        resources: Further resources that each server asks of a Ray cluster, by their names there.
        placement_timeout: Seconds that a server waits for room in a Ray cluster.
    """

    engine: Literal["vllm"]
    model: str
    revision: str | None = None
    replicas: Replicas = 1
    args: tuple[str, ...] = ()
    python: str | None = None
    start_timeout: Seconds = 900.0
    env: dict[str, str] = {}
    num_gpus: Amount | None = None
    num_cpus: Amount = 1.0
    resources: dict[str, Amount] = {}
    placement_timeout: Seconds = 120.0

    @field_validator("args")
    @classmethod
    def _owned_flags(cls, args: tuple[str, ...]) -> tuple[str, ...]:
        flags = (arg.split("=", 1)[0].replace("_", "-") for arg in args)
        owned = [flag for flag in dict.fromkeys(flags) if flag in _OWNED_FLAGS]
        if owned:
            raise ValueError(
                f"{', '.join(owned)} is set by capgate (127.0.0.1, a free port, a random key, "
                "`model` and `model_name`); take it out"
            )
        return args


ENGINES: Final[dict[str, type[BaseModel]]] = {"llamacpp": LlamaCppServe, "vllm": VllmServe}
Serve = Annotated[LlamaCppServe | VllmServe, Field(discriminator="engine")]


_OWNED_FIELDS: Final = {
    "model": "model_name",
    "messages": "the question",
    "max_tokens": "--max-tokens",
    "max_completion_tokens": "--max-tokens",
    "temperature": "--temperature",
    "logprobs": "this entry's `logprobs`",
    "top_logprobs": "this entry's `logprobs`",
    "provider": "this entry's `route`",
    "stream": "how answers are read",
    "n": "the number of answers",
}
"""Fields of a request that have an option or key of their own, and which."""


class Target(_Entry):
    """One entry of `config/models.yaml`: something that answers questions.

    Attributes:
        id: The entry's name.
        model_name: Name under which the server serves it; where the server lists no such name,
            a leading `openai/` (or `openrouter/`) is the API's family and is left off.
        model_type: The API's family.
        provider: Who runs the server; `openrouter` switches OpenRouter's ways on.
        base_url: The server's OpenAI-compatible root, up to and with `/v1`; several where several
            servers answer for the target.
        api_key_env: Environment variable that holds the key.
        context_window: Tokens of prompt and answer together.
        max_output_tokens: The most tokens a run may ask for in an answer.
        max_tokens_field: The request's field for the most tokens of an answer; where it is None,
            `max_tokens` until the server asks for the other.
        description: For people.
        serve: How to start the server; in place of `base_url`.
        adapter_of: For a LoRA adapter, the id of its base target.
        path: For an adapter, its folder or hub id.
        revision: For an adapter from the hub, its revision.
        answer_format: `constrained` forces the answer's form by grammar.
        prompt_format: `completion` asks a base model to go on with a text, in place of a chat.
        answer_by: `loglikelihood` takes the likeliest letter, in place of what a base model writes.
        dataset: `hub`, `bundled` or a folder.
        max_connections: Requests in flight at a time, at each of its servers.
        max_adapters: LoRA adapters that a sweep has loaded on its server at a time; None for
            `--max-loras` of its `serve` block, else 1.
        request_timeout: Seconds after which one attempt ends without an answer.
        max_retries: Further attempts after a passing fault.
        logprobs: Ask for this many top log-probabilities with each answer.
        extra_body: Further fields of each request.
        route: OpenRouter's provider routing, sent as `provider`.
        default: Whether a run without `--model-id` takes this target.
    """

    id: str = ""
    model_name: str = ""
    model_type: Literal["openai", "openrouter", "vllm", "llamacpp"] = "openai"
    provider: str = "openai-compatible"
    base_url: str | tuple[str, ...] | None = None
    api_key_env: str | None = None
    context_window: Annotated[int, Field(ge=64)] = 4096
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    description: str = ""
    serve: Serve | None = None
    adapter_of: str | None = None
    path: str | None = None
    revision: str | None = None
    answer_format: AnswerFormat = "free"
    prompt_format: PromptFormat = "chat"
    answer_by: AnswerBy = "generation"
    dataset: str = "hub"
    max_connections: Annotated[int, Field(ge=1, le=1024)] = 64
    max_adapters: Annotated[int, Field(ge=1, le=1024)] | None = None
    request_timeout: Seconds = 120.0
    max_retries: Annotated[int, Field(ge=0, le=20)] = 5
    logprobs: Annotated[int, Field(ge=1, le=20)] | None = None
    extra_body: dict[str, Any] = {}
    route: dict[str, Any] | None = None
    default: bool = False

    @field_validator("base_url", mode="plain")
    @classmethod
    def _plain_urls(cls, given: object) -> str | tuple[str, ...] | None:
        if given is None:
            return None
        if isinstance(given, str):
            return checked_url(given)
        if isinstance(given, list | tuple) and all(isinstance(one, str) for one in given):
            urls = checked_urls(list(given))
            return urls[0] if len(urls) == 1 else urls
        raise PydanticCustomError("string_type", "Input should be a URL or a list of URLs")

    @field_validator("api_key_env")
    @classmethod
    def _variable_name(cls, name: str | None) -> str | None:
        if name is not None and not is_variable(name):
            raise ValueError(
                "expected the name of an environment variable, such as VLLM_API_KEY "
                "(if this is a key itself, withdraw it and put it into .env)"
            )
        return name

    @field_validator("extra_body", "route")
    @classmethod
    def _sendable(
        cls, fields: dict[str, Any] | None, info: ValidationInfo
    ) -> dict[str, Any] | None:
        if fields is None:
            return None
        found = [
            f"{name} can't be sent as JSON (a date goes in quotes)"
            for name, value in fields.items()
            if not _is_json(value)
        ]
        if info.field_name == "extra_body":
            found += [
                f"{n} would override {_OWNED_FIELDS[n]}" for n in _OWNED_FIELDS if n in fields
            ]
        if found:
            raise ValueError(f"{', '.join(found)}; take {'it' if len(found) == 1 else 'them'} out")
        return fields

    @property
    def urls(self) -> tuple[str, ...]:
        """The roots of its running servers; none where its server is started."""
        if self.base_url is None:
            return ()
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url

    @property
    def replicas(self) -> int:
        """How many servers a run starts for it."""
        return 0 if self.serve is None else self.serve.replicas

    @property
    def adapter_slots(self) -> int:
        """How many LoRA adapters a sweep has loaded on its server at a time."""
        if self.max_adapters is not None:
            return self.max_adapters
        flags = self.serve.args if isinstance(self.serve, VllmServe) else ()
        words = [word for flag in flags for word in flag.replace("_", "-").split("=", 1)]
        at = words.index(_SLOTS_FLAG) + 1 if _SLOTS_FLAG in words else len(words)
        named = words[at] if at < len(words) else ""
        return max(int(named), 1) if named.isdecimal() else 1

    @property
    def served_name(self) -> str:
        """The model's name without its API's family."""
        family = "openrouter/" if self.provider == "openrouter" else "openai/"
        return self.model_name.removeprefix(family)

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which a server may list the model; the first that it lists is meant."""
        return tuple(dict.fromkeys((self.model_name or self.id, self.served_name or self.id)))

    def api_key(self, environment: Mapping[str, str]) -> str | None:
        """The key for this target's server, or None where none is named.

        Raises:
            ConfigError: The variable named in `api_key_env` is not set.
        """
        if self.api_key_env is None:
            return None
        value = environment.get(self.api_key_env, "").strip()
        if not value:
            raise ConfigError(
                f"the key's variable {self.api_key_env} is not set",
                target=self.id,
                remedy=f"export {self.api_key_env}=… or add the line {self.api_key_env}=… to .env",
            )
        return value


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def clashes(name: str, body: Mapping[str, Any]) -> Iterator[FileFault]:
    """Keys of an entry that are missing or don't go together, beside its other faults."""
    given = {key for key, value in body.items() if value is not None}
    if "model_name" in given and not str(body["model_name"]).strip():
        yield FileFault(f"{name}.model_name", "is blank")
    if "adapter_of" in given:
        clash = [key for key in ("base_url", "serve", "api_key_env") if key in given]
        if clash:
            what = f"an adapter uses its base's server; take out {', '.join(clash)}"
            yield FileFault(name, what)
        for key in ("prompt_format", "answer_by"):
            if key in given:
                what = "an adapter is asked as its base is; take it out"
                yield FileFault(f"{name}.{key}", what)
        return
    if given & {"path", "revision"}:
        what = "path and revision belong to an adapter; name its base in adapter_of"
        yield FileFault(name, what)
    if "model_name" not in body:
        what = "is missing: the name under which the server serves it"
        yield FileFault(f"{name}.model_name", what)
    if ("base_url" in given) == ("serve" in given):
        yield FileFault(name, "give either base_url (a running server) or serve (start one)")
    if body.get("prompt_format") == "completion":
        yield from _not_of_completions(name, body)
    if body.get("answer_by") == "loglikelihood":
        yield from _not_of_likelihoods(name, body)
    if body.get("provider") == "openrouter" and isinstance(body.get("base_url"), list):
        yield FileFault(f"{name}.base_url", "OpenRouter has one URL; it chooses among its servers")


def _not_of_likelihoods(name: str, body: Mapping[str, Any]) -> Iterator[FileFault]:
    """Keys of an entry that don't go together with `answer_by: loglikelihood`."""
    if body.get("prompt_format") != "completion":
        what = "only completions are scored by log-likelihood; add prompt_format: completion"
        yield FileFault(f"{name}.answer_by", what)
    if body.get("logprobs") is not None:
        what = "answer_by: loglikelihood asks for those of all choices anyway; take it out"
        yield FileFault(f"{name}.logprobs", what)


def _not_of_completions(name: str, body: Mapping[str, Any]) -> Iterator[FileFault]:
    """Keys of an entry that don't go together with `prompt_format: completion`."""
    if body.get("answer_format") == "constrained":
        what = "completions are not constrained; take it or prompt_format out"
        yield FileFault(f"{name}.answer_format", what)
    if body.get("max_tokens_field") == "max_completion_tokens":
        what = "completions have max_tokens alone; take it or prompt_format out"
        yield FileFault(f"{name}.max_tokens_field", what)
    if body.get("provider") == "openrouter":
        what = "OpenRouter is asked for chats alone; take it out"
        yield FileFault(f"{name}.prompt_format", what)
