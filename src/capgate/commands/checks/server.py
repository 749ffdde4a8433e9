"""Checks of a target's server, in the order in which a run needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import cached_property, reduce
from operator import add
from pathlib import Path
from shlex import quote
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from capgate.asking.completion_form import with_choices
from capgate.asking.cost_forecast import Estimate, expected_cost
from capgate.asking.probe import ask_probe
from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.client.replies import ServedModel
from capgate.commands.checks.check import Check, Skip, check_of, what_of
from capgate.common.answers import AnswerState
from capgate.common.errors import (
    CapgateError,
    ConfigError,
    ReferenceMissingError,
    RequestFault,
    ServerError,
)
from capgate.common.event_loop import in_own_loop
from capgate.common.text import one_line
from capgate.config.settings import Settings
from capgate.config.store_place import StorePlace
from capgate.config.targets import Target
from capgate.config.thresholds import reference_choice
from capgate.run.reference import BaselineReference, BaseReference, FloorReference, NoReference
from capgate.run.run import Run
from capgate.serving.adapters.leases import left_over
from capgate.serving.endpoint import Endpoint
from capgate.serving.exchange import exchange
from capgate.serving.listing import find_listed, has_no_list
from capgate.serving.openrouter import check_key
from capgate.serving.servers import Servers

NAMES: Final = (
    "server",
    "key",
    "model served",
    "context window",
    "adapter",
    "reference",
    "one question",
    "cost",
    "log-probabilities",
    "server's clock",
)
"""The checks, in their order."""

_LIMITS: Final = ClientLimits(
    connections=1, attempt_timeout=60.0, connect_timeout=5.0, max_retries=1, first_patience=1.0
)
HEALTH_SECONDS: Final = 10.0
"""Most that a server may take to answer `/health`."""
_SKEW_SECONDS: Final = 120.0
_STUCK: Final = (
    "see in the server's own log whether it is still loading or stuck, and whether base_url's port "
    "is its own"
)


def _of_each(said: Mapping[str, str]) -> str:
    """What was found of each benchmark; its name is left out where there is one."""
    named = (f"{name}: {one}" for name, one in said.items())
    return "\n".join(said.values() if len(said) == 1 else named)


@dataclass
class ServerCheckup:
    """Checks one target's server.

    Attributes:
        settings: The settings of a run.
        target: The target that a run would judge.
        base: Its base where it is an adapter, else itself.
        run: A run for the checks alone, which keeps nothing.
        servers: Its servers.
        known: Where the keys' variables are looked up.
    """

    settings: Settings
    target: Target
    base: Target
    run: Run
    servers: Servers
    known: Mapping[str, str]
    _url: str = ""
    _key: str | None = None
    _listed: list[ServedModel] = field(default_factory=list)
    _endpoint: Endpoint | None = None

    def checks(self) -> Iterator[Check]:
        """All checks; if one fails that others need, those are skipped."""
        steps: tuple[Callable[[], str], ...] = (
            self._server,
            self._accepted,
            self._served,
            self._context,
            self._adapter,
            self._reference,
            self._question,
            self._cost,
            self._logprobs,
            self._clock,
        )
        alone = (self._context, self._reference, self._cost, self._logprobs)
        failed = ""
        for name, step in zip(NAMES, steps, strict=True):
            if failed:
                yield Check(name, "skipped", f"not checked: {failed} failed")
                continue
            check = check_of(name, step, remedy=self._remedy)
            if check.state == "failed" and step not in alone:
                failed = name
            yield check

    def _server(self) -> str:
        base = self.base
        if base.serve is not None:
            before = time.monotonic()
            endpoint = self.servers.endpoint(base.id)
            self._url, self._key = endpoint.base_url, endpoint.key
            took = time.monotonic() - before
            count = len(endpoint.all)
            engine = f"{count} × " * (count > 1) + base.serve.engine
            where = "on Ray" if self.settings.ray else "here"
            return f"started {where} ({engine}), answers /health after {took:.1f} s"
        self._key = base.api_key(self.known)
        return self._at_each(self._health)

    def _at_each(self, step: Callable[[], str]) -> str:
        """What a step finds at each of the running servers; the first one is asked last."""
        found = []
        first, *others = self.base.urls or (self._url,)
        for self._url in (*others, first):
            found.append(step())
        return "\n".join(dict.fromkeys((found[-1], *found)))

    def _health(self) -> str:
        host = urlsplit(self._url).netloc

        async def health(client: Client) -> None:
            async with asyncio.timeout(HEALTH_SECONDS):
                await client.health()

        try:
            self._with_client(health)
        except TimeoutError:
            raise ServerError(
                f"{host} takes connections, but did not answer /health within {HEALTH_SECONDS:g} s",
                remedy=_STUCK,
            ) from None
        except RequestFault as fault:
            if fault.status is None or fault.status >= 500:
                raise
            # Something answers; whether it is a model server is the next check's question.
            return f"{host} answers (it has no /health)"
        return f"{host} answers /health"

    def _accepted(self) -> str:
        async def ask(client: Client) -> str:
            try:
                self._listed = await client.models()
            except RequestFault as fault:
                if not has_no_list(fault):
                    raise
                return f"not known yet: the server has no list of models (HTTP {fault.status})"
            # OpenRouter lists its models to anyone.
            return await check_key(client) if self.base.provider == "openrouter" else "accepted"

        said = self._at_each(lambda: str(self._with_client(ask)))
        if self.base.serve is not None:
            return "a random one, accepted"
        return said if self._key or not self._listed else "the server asks for none"

    def _served(self) -> str:
        if self._fits():
            self._endpoint = self.servers.endpoint(self.base.id)
        model = self._model()
        if model is None:
            assert self._endpoint is not None
            return f"{self._endpoint.model} (the server lists no models; it answers to that name)"
        shown = f"{model.name}{f' (from {model.root})' if model.root else ''}"
        if self._endpoint is not None and self._endpoint.others:
            several = f", at {len(self._endpoint.all)} endpoints"
            shown += ". ".join([several, *self._endpoint.notes])
        left = left_over(self._url)
        if not left:
            return shown
        return (
            f"{shown}. Runs that were killed have left {', '.join(left)} there; the next run, or "
            f"inference-server unload-adapter {quote(left[0])}, unloads it"
        )

    def _context(self) -> str:
        model, wanted = self._model(), self.base.context_window
        if model is None or model.context is None:
            return f"{wanted:,} tokens configured; the server does not tell its own"
        if not self._fits():
            raise ConfigError(
                f"the server has {model.context:,} tokens, {wanted:,} are configured",
                remedy=f"set context_window: {model.context} for {self.base.id} in "
                f"{self.settings.models_file.name}, or start the server with a larger one",
            )
        if self.settings.max_tokens >= wanted:
            raise ConfigError(
                f"--max-tokens {self.settings.max_tokens} leaves no room for a question in "
                f"{wanted:,} tokens",
                remedy=f"ask for less: --max-tokens {max(16, wanted // 4)}",
            )
        return f"{model.context:,} tokens served, {wanted:,} configured"

    def _adapter(self) -> str:
        if self.target.adapter_of is None:
            raise Skip("no adapter was named (--adapter-name)")
        self._need_endpoint()
        endpoint = self.servers.endpoint(self.target.id)
        found = f"{endpoint.model} is loaded, and its answers differ from its base's"
        return ". ".join([found, *endpoint.notes])

    def _reference(self) -> str:
        self._need_endpoint()
        try:
            reference = self.run.reference(self.target.id)
        except ReferenceMissingError as error:
            policy, folder = self.run.policy(self.target.id), self.settings.thresholds_dir
            if reference_choice(
                policy,
                self.target,
                folder,
                benchmark=self.run.name,
                forced=self.settings.reference,
            ):
                raise
            # Scripts and `--measure` need none, but a verdict does.
            raise Skip(f"{error.what}, only measured. To judge it: {error.remedy}") from None
        match reference:
            case BaseReference(target=base):
                return f"its base {base}, asked side by side"
            case BaselineReference(baseline=baseline):
                return f"the baseline recorded on {baseline.recorded[:10]}"
            case FloorReference(floor=floor):
                return f"the floor {100 * floor.accuracy:.1f} % ({floor.source})"
            case NoReference():
                raise Skip("it is only measured")

    def _question(self) -> str:
        self._need_endpoint()
        return _of_each({run.name: self._probe(run) for run in self._runs})

    def _cost(self) -> str:
        """What a whole run would cost where the store had no answers."""
        if self._need_endpoint().offer is None:
            raise Skip("the server lists no prices")
        found = {run.name: self._cost_of(run) for run in self._runs}
        said = {name: str(one or "price unknown") for name, one in found.items()}
        known = [one for one in found.values() if one is not None]
        if len(known) == len(found) > 1:
            said["all"] = str(reduce(add, known))
        return _of_each(said)

    def _cost_of(self, run: Run) -> Estimate | None:
        target = self.target.id
        asked = [*run.selection(target), run.benchmark.probe]
        return expected_cost(run.ready_target(target), run.benchmark, asked, run.store)

    @cached_property
    def _runs(self) -> list[Run]:
        """A run for each benchmark that is chosen."""
        others = (
            Run(
                self.settings,
                "doctor",
                endpoint=self.servers.endpoint,
                benchmark=name,
                beside=self.run,
            )
            for name in self.settings.benchmarks[1:]
        )
        return [self.run, *others]

    def _probe(self, run: Run) -> str:
        one = run.ready_target(self.target.id)
        before = time.monotonic()
        with run.evaluator.holding([one]):
            answer = ask_probe(one, run.evaluator)
        right = "right" if answer.state is AnswerState.CORRECT else "not right"
        took, said = time.monotonic() - before, one_line(answer.text, limit=60)
        read = f"read as {answer.choice} ({right}; that does not matter)"
        return f"answered {said!r}, {read}, {took:.1f} s"

    def _logprobs(self) -> str:
        endpoint = self._need_endpoint()
        request: dict[str, Any] = {
            "model": endpoint.model,
            "messages": [{"role": "user", "content": "Answer with one letter: A, B, C or D."}],
            "max_tokens": 16,
            "temperature": self.settings.temperature,
            "logprobs": True,
            "top_logprobs": 4,
        }
        if self.target.answer_by == "loglikelihood":
            asked = with_choices(request, "ABCD")
            answer = self._with_client(lambda client: client.complete(asked))
            return f"given of a prompt ({len(answer.logprobs[0].top)} choices were compared)"
        wanted = self.target.logprobs is not None
        try:
            answer = self._with_client(lambda client: client.complete(request))
        except RequestFault as fault:
            if wanted:
                raise
            said = "" if fault.kind == "bad_request" else f" (asked for them: {what_of(fault)})"
            raise Skip(f"the server gives none; they are not asked for{said}") from None
        if answer.logprobs:
            return f"given ({len(answer.logprobs[0].top)} for each token)"
        if wanted:
            raise ConfigError(
                "the server gives none, and this target asks for them",
                remedy=f"take logprobs out of {self.target.id} in {self.settings.models_file.name}",
            )
        raise Skip("the server gives none; they are not asked for")

    def _clock(self) -> str:
        try:
            listed = exchange(
                "GET", f"{self._url}/models", limit=10.0, key=self._key or "", body=False
            )
            theirs = parsedate_to_datetime(listed.headers.get("Date", "")).timestamp()
        except (aiohttp.ClientError, OSError, ValueError):
            raise Skip("the server does not tell the time") from None
        skew = time.time() - theirs
        if abs(skew) > _SKEW_SECONDS:
            raise ConfigError(
                f"this machine is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} it",
                remedy="sudo timedatectl set-ntp true (on the machine whose clock is wrong)",
            )
        return f"within {max(1.0, abs(skew)):.0f} s of this machine's"

    def _model(self) -> ServedModel | None:
        return find_listed(self.base, self._listed)

    def _fits(self) -> bool:
        model = self._model()
        context = None if model is None else model.context
        return context is None or context >= self.base.context_window

    def _need_endpoint(self) -> Endpoint:
        if self._endpoint is None:
            raise Skip("not checked: context window failed")
        return self._endpoint

    def _with_client(self, ask: Callable[[Client], Any]) -> Any:  # noqa: ANN401
        async def run() -> Any:  # noqa: ANN401
            client = Client(
                self._url,
                target=self.base.id,
                model=self.base.served_name,
                key=self._key or "",
                limits=_LIMITS,
                max_tokens_field=self.base.max_tokens_field or "max_tokens",
                prompt_format=self.base.prompt_format,
            )
            async with client:
                return await ask(client)

        return in_own_loop(run)

    def _remedy(self, error: CapgateError) -> str:
        """What repairs a fault, as a command if there is one."""
        base, file = self.base, self.settings.models_file.name
        if not isinstance(error, RequestFault):
            return error.remedy
        match error.kind:
            case "refused" | "unreachable" | "dns" if base.provider != "openrouter":
                port = urlsplit(self._url).port or 80
                return (
                    f"start it there (vllm serve {quote(base.served_name)} --port {port}), or "
                    f"correct base_url of {base.id} in {file}"
                )
            case "unauthorized" if base.api_key_env is not None:
                return (
                    f"export {base.api_key_env}=… with the key that the server knows, or put it "
                    "into .env"
                )
            case "unauthorized":
                return f"name the key's variable: api_key_env: VLLM_API_KEY for {base.id} in {file}"
            case "timeout":
                return _STUCK
            case _:
                return error.remedy


def temporary(settings: Settings, folder: Path) -> Settings:
    """The settings of a run that keeps nothing."""
    return replace(settings, store=StorePlace.file(folder / "answers.sqlite"), output_dir=folder)
