"""`config/models.yaml`: the targets, read once and checked whole.

Every fault of the file is reported at once, each with its entry, its key, what was
expected and, for a misspelt key, the nearest known one. Nothing secret may stand in the
file: a key is named by the environment variable that holds it (`api_key_env`).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from capgate.errors import ConfigError, FileFault
from capgate.yamlfile import ENV_NAME, explain, literal_secrets, read_yaml_mapping

AnswerFormat = Literal["free", "constrained"]

_TARGET_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class LlamaCppServe(_Entry):
    """How to start llama.cpp's server for a target.

    Attributes:
        engine: `llamacpp`.
        model: A GGUF file, or `package:NAME/FILE` for one that an installed package ships.
        parallel: Requests it works on at a time; each has a context of `context_window`.
        threads: Threads for the computation; by default, one for each core.
        start_timeout: Seconds until it must answer `/health`.
        env: Further environment variables.
    """

    engine: Literal["llamacpp"]
    model: str
    parallel: Annotated[int, Field(ge=1, le=256)] = 4
    threads: Annotated[int, Field(ge=1)] | None = None
    start_timeout: Annotated[float, Field(gt=0)] = 120.0
    env: dict[str, str] = {}


class VllmServe(_Entry):
    """How to start vLLM's server for a target.

    Attributes:
        engine: `vllm`.
        model: A folder with the weights, or a hub id.
        revision: The hub revision to serve.
        args: Further `vllm serve` flags, passed through as they are.
        python: The interpreter that has vLLM, where it is not this one.
        start_timeout: Seconds until it must answer `/health`.
        env: Further environment variables.
    """

    engine: Literal["vllm"]
    model: str
    revision: str | None = None
    args: tuple[str, ...] = ()
    python: str | None = None
    start_timeout: Annotated[float, Field(gt=0)] = 900.0
    env: dict[str, str] = {}

    @field_validator("args")
    @classmethod
    def _owned_flags(cls, args: tuple[str, ...]) -> tuple[str, ...]:
        for arg in args:
            flag = arg.split("=", 1)[0].replace("_", "-")
            if flag in {"--api-key", "--host", "--port", "--model", "--served-model-name"}:
                raise ValueError(
                    f"{flag} is set by capgate (127.0.0.1, a free port, a random key, "
                    "`model` and `model_name`); take it out"
                )
        return args


_ENGINES: Final[dict[str, type[BaseModel]]] = {"llamacpp": LlamaCppServe, "vllm": VllmServe}
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
        model_name: Name under which the server serves it; a leading `openai/` (or
            `openrouter/`) is the API's family and not part of the served name.
        model_type: The API's family.
        provider: Who runs the server; `openrouter` switches OpenRouter's ways on.
        base_url: The server's OpenAI-compatible root, up to and with `/v1`.
        api_key_env: Environment variable that holds the key.
        context_window: Tokens of prompt and answer together.
        max_output_tokens: The most tokens a run may ask for in an answer.
        description: For people.
        serve: How to start the server; in place of `base_url`.
        adapter_of: For a LoRA adapter, the id of its base target.
        path: For an adapter, its folder or hub id.
        revision: For an adapter from the hub, its revision.
        answer_format: `constrained` forces the answer's form by grammar.
        dataset: `hub`, `bundled` or a folder.
        max_connections: Requests in flight at a time.
        request_timeout: Seconds after which one attempt is given up.
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
    base_url: str | None = None
    api_key_env: str | None = None
    context_window: Annotated[int, Field(ge=64)] = 4096
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    description: str = ""
    serve: Serve | None = None
    adapter_of: str | None = None
    path: str | None = None
    revision: str | None = None
    answer_format: AnswerFormat = "free"
    dataset: str = "hub"
    max_connections: Annotated[int, Field(ge=1, le=1024)] = 64
    request_timeout: Annotated[float, Field(gt=0)] = 120.0
    max_retries: Annotated[int, Field(ge=0, le=20)] = 5
    logprobs: Annotated[int, Field(ge=1, le=20)] | None = None
    extra_body: dict[str, Any] = {}
    route: dict[str, Any] | None = None
    default: bool = False

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        # Wherever an @ stands, what precedes it may be a password; so nothing of it is shown.
        if "@" in url:
            raise ValueError("may not carry credentials; name the key's variable in api_key_env")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"expected http://HOST:PORT/v1, got {redact_url(url)!r}")
        _ = parts.port  # raises where it is no number or out of range
        if parts.query or parts.fragment:
            raise ValueError("may not carry a query or fragment; use extra_body for options")
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _variable_name(cls, name: str | None) -> str | None:
        if name is not None and not ENV_NAME.match(name):
            raise ValueError(
                "expected the name of an environment variable, such as VLLM_API_KEY "
                "(if this is a key itself, withdraw it and put it into .env)"
            )
        return name

    @field_validator("extra_body")
    @classmethod
    def _nothing_overridden(cls, body: dict[str, Any]) -> dict[str, Any]:
        for name, instead in _OWNED_FIELDS.items():
            if name in body:
                raise ValueError(f"{name} would override {instead}; take it out")
        return body

    @model_validator(mode="after")
    def _one_source(self) -> Target:
        if self.adapter_of is not None:
            clash = [
                k for k in ("base_url", "serve", "api_key_env") if getattr(self, k) is not None
            ]
            if clash:
                raise ValueError(f"an adapter uses its base's server; take out {', '.join(clash)}")
            return self
        if self.path is not None or self.revision is not None:
            raise ValueError("path and revision belong to an adapter; name its base in adapter_of")
        if not self.model_name:
            raise ValueError("model_name is missing: the name under which the server serves it")
        if (self.base_url is None) == (self.serve is None):
            raise ValueError("give either base_url (a running server) or serve (start one)")
        return self

    @property
    def served_name(self) -> str:
        """The name that requests carry."""
        family = "openrouter/" if self.provider == "openrouter" else "openai/"
        return self.model_name.removeprefix(family)

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


class Targets:
    """The targets of one file, by id."""

    def __init__(self, path: Path, entries: Mapping[str, Target]) -> None:
        self.path = path
        self._entries = dict(entries)

    def __iter__(self) -> Iterator[Target]:
        return iter(self._entries.values())

    def ids(self) -> tuple[str, ...]:
        """All ids, in the file's order."""
        return tuple(self._entries)

    def get(self, target_id: str) -> Target:
        """The target of that id.

        Raises:
            ConfigError: There is none; names the nearest ones.
        """
        entry = self._entries.get(target_id)
        if entry is not None:
            return entry if entry.adapter_of is None else self._inherited(entry)
        near = difflib.get_close_matches(target_id, self._entries, n=3, cutoff=0.4)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(self._entries)}"
        )
        raise ConfigError(
            f"there is no model id {target_id!r} in {self.path}",
            remedy=f"{hint} (capgate list-models shows all, docs/configuration.md how to add one)",
        )

    def _inherited(self, entry: Target) -> Target:
        """An adapter's entry, with what it leaves open taken from its base."""
        assert entry.adapter_of is not None
        own = {name: getattr(entry, name) for name in entry.model_fields_set}
        server = {"base_url": None, "serve": None, "api_key_env": None, "default": False}
        name = {"model_name": entry.model_name or entry.id}
        return self._entries[entry.adapter_of].model_copy(update={**server, **own, **name})

    def adapter(self, base_id: str, name: str, *, parts: int = 1) -> Target:
        """The target of an adapter: an entry of that name, or one made for the occasion.

        Args:
            base_id: Id of its base.
            name: An entry's id, a name on the server, or a folder.
            parts: How many of a path's last parts the id has of one made for the occasion.

        Raises:
            ConfigError: There is no such base, or the entry belongs to another one.
        """
        base = self.get(base_id)
        if base.adapter_of is not None:
            raise ConfigError(
                f"{base_id} is itself an adapter of {base.adapter_of}",
                remedy=f"name the base: --model-id {base.adapter_of}",
            )
        entry = self._entries.get(name)
        if entry is not None and entry.adapter_of is not None:
            if entry.adapter_of != base_id:
                raise ConfigError(
                    f"the adapter {name} belongs to {entry.adapter_of}, not to {base_id}",
                    remedy=f"use --model-id {entry.adapter_of}",
                )
            return self.get(name)
        path = "/".join(name.rstrip("/").split("/")[-parts:])
        short = re.sub(r"[^A-Za-z0-9._-]+", "-", path).strip("-.")
        return base.model_copy(
            update={
                "id": f"{base_id}+{short or 'adapter'}",
                "model_name": name,
                "adapter_of": base_id,
                "base_url": None,
                "serve": None,
                "api_key_env": None,
                "default": False,
                "description": f"adapter {name} of {base_id}",
            }
        )

    def base_for(self, adapter: str) -> str:
        """The id of the base that an adapter named without one belongs to.

        Its entry says it; else it is the file's first target that can hold adapters.

        Raises:
            ConfigError: There is no such target.
        """
        entry = self._entries.get(adapter)
        if entry is not None and entry.adapter_of is not None:
            return entry.adapter_of
        for target in self:
            started = target.serve is not None and target.serve.engine != "vllm"
            if target.adapter_of is None and target.provider != "openrouter" and not started:
                return target.id
        raise ConfigError(
            f"--adapter-name {adapter} needs its base, and no target of {self.path} can hold "
            "adapters",
            remedy="add the vLLM server that holds it, and name that with --model-id",
        )

    def default(self) -> Target:
        """The target that runs where none is named.

        Raises:
            ConfigError: No entry is marked `default: true`.
        """
        for target in self._entries.values():
            if target.default:
                return target
        raise ConfigError(
            f"no entry of {self.path} is marked default: true",
            remedy="name a target with --model-id ID",
        )


def load_targets(path: Path) -> Targets:
    """Reads and checks a `models.yaml`.

    Args:
        path: The file.

    Returns:
        Its targets.

    Raises:
        ConfigError: With every fault of the file.
    """
    raw = read_yaml_mapping(path, what="the targets")
    faults: list[FileFault] = []
    entries: dict[str, Target] = {}
    for name, body in raw.items():
        if not isinstance(name, str) or not _TARGET_ID.match(name):
            faults.append(FileFault(str(name), "an id has letters, digits, '.', '_' and '-' only"))
            continue
        if not isinstance(body, dict):
            faults.append(FileFault(name, f"expected keys and values, got {type(body).__name__}"))
            continue
        secrets = list(literal_secrets(name, body))
        faults.extend(secrets)
        if "id" in body:
            faults.append(FileFault(f"{name}.id", "unknown key; the entry's name is its id"))
            continue
        try:
            entries[name] = Target.model_validate({**body, "id": name})
        except ValidationError as error:
            secret_places = {fault.place for fault in secrets}
            faults.extend(
                fault
                for fault in explain(error, prefix=name, model=Target, variants=_ENGINES)
                if fault.place not in secret_places
            )
    for target in entries.values():
        if target.adapter_of is None:
            continue
        base = entries.get(target.adapter_of)
        place = f"{target.id}.adapter_of"
        if target.adapter_of not in raw:
            near = difflib.get_close_matches(target.adapter_of, [str(k) for k in raw], n=1)
            hint = f"; nearest: {near[0]}" if near else ""
            faults.append(FileFault(place, f"no entry named {target.adapter_of!r}{hint}"))
        elif base is not None and base.adapter_of is not None:
            faults.append(FileFault(place, f"{base.id} is itself an adapter; name a base model"))
    defaults = [target.id for target in entries.values() if target.default]
    if len(defaults) > 1:
        faults.append(FileFault("default", f"only one entry may be the default: {defaults}"))
    if not raw:
        faults.append(FileFault("file", "it has no entries"))
    if faults:
        raise ConfigError(
            f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}",
            faults=faults,
            remedy="docs/configuration.md describes every key",
        )
    return Targets(path, entries)


def environment(root: Path) -> dict[str, str]:
    """The process's environment over the `.env` of `root`; the former wins."""
    dotenv = {k: v for k, v in dotenv_values(root / ".env").items() if v is not None}
    return {**dotenv, **os.environ}


def redact_url(url: str) -> str:
    """`url` without credentials, query and fragment, fit to show."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{host}{port}{parts.path}" if parts.scheme else parts.path
