"""A server that behaves as vLLM with LoRA does, as far as capgate sees it.

Its words are vLLM 0.32's. In a test:

    with Vllm() as server:
        Servers({...: target(server.url)}, ...)

As the program that a target's `serve` block starts (`interpreter` writes what stands for
vLLM's Python), with vLLM's flags and environment:

    python -m tests.doubles.vllm --model DIR --served-model-name NAME --port PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shlex
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from tests.doubles.events import Signal
from tests.doubles.replies import NO_TEMPLATE, UNAUTHORIZED, Reply, completion
from tests.doubles.server import Answerer, Server, hashed_answer, is_proof
from tests.doubles.text_form import as_chat

REPOSITORY = Path(__file__).parents[2]


class Vllm(Server):
    """The double.

    Args:
        names: Under which the base is served; the first one is the adapters' parent.
        root: What the base was loaded from.
        adapters: Name to path of what was loaded at the start.
        version: What `/version` says.
        answer: What the base writes.
        tuned: What an adapter writes, by its path; as the base where None.
        pull: How far an adapter's log-probabilities are from the base's, nats; 0 is a dead one.
        reads: Paths that exist on the server's machine alone.
        shares_disk: Whether it can read this machine's paths as well.
        lora: Whether it was started with `--enable-lora`.
        run_time: Whether adapters may be loaded at run time.
        max_logprobs: As the flag of that name.
        mixes: Whether the base answers as an adapter that is answered at the same time.
        jitter: Nats by which log-probabilities move where several requests are answered at once.
        seconds_per_token: Time of a token of an answer.
        healthy: Whether its engine lives.
        weights: Which weights the base has; others have other log-probabilities.
        started: When its process started, as `/metrics` says.
        wobble: Nats by which a log-probability in ten moves from one answer to the next.
        key: The key that it asks for.
        parents: Whether its list names an adapter's base; older versions and gateways do not.
        models_reply: What it answers to `GET /v1/models` instead of a list.
        slots: Adapters that it holds at most; it refuses more, as SGLang does.
    """

    def __init__(
        self,
        *,
        names: Sequence[str] = ("smollm2",),
        root: str = "/srv/models/smollm2",
        adapters: Mapping[str, str] | None = None,
        version: str = "0.32.0",
        answer: Answerer = hashed_answer,
        tuned: Callable[[str, dict[str, Any]], str] | None = None,
        pull: float = 0.3,
        reads: Sequence[str] = (),
        shares_disk: bool = True,
        lora: bool = True,
        run_time: bool = True,
        max_logprobs: int = 20,
        mixes: bool = False,
        jitter: float = 0.0,
        seconds_per_token: float = 0.0,
        healthy: bool = True,
        weights: str = "",
        started: float = 1.7e9,
        wobble: float = 0.0,
        key: str = "",
        parents: bool = True,
        models_reply: Reply | None = None,
        slots: int | None = None,
    ) -> None:
        super().__init__(
            models=tuple(names), key=key, answer=answer, models_reply=models_reply, weights=weights
        )
        self.parents = parents
        self.root = root
        self.adapters = dict(adapters or {})
        self.version = version
        self.tuned = tuned
        self.pull = pull
        self.reads = set(reads)
        self.shares_disk = shares_disk
        self.lora = lora
        self.run_time = run_time
        self.max_logprobs = max_logprobs
        self.mixes = mixes
        self.jitter = jitter
        self.seconds_per_token = seconds_per_token
        self.healthy = healthy
        self.started = started
        self.wobble = wobble
        self.slots = slots
        self.most_loaded = 0
        self.refusal: Reply | None = None
        self.contents: dict[str, str] = {}
        self.loads: list[tuple[str, str]] = []
        self.unloads: list[str] = []
        self.held = ""
        """Which paths' loading sets `load_asked` and waits for `may_load`: those that end so."""
        self.load_asked = threading.Event()
        self.unload_asked = threading.Event()
        self.may_load = Signal()
        self.may_load.set()
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._flying: Counter[str] = Counter()
        self._draws = 0

    def app(self) -> web.Application:
        """Returns the routes."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/completions", self.text)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/version", self._version)
        app.router.add_get("/metrics", self._metrics)
        if self.run_time:
            app.router.add_post("/v1/load_lora_adapter", self._load)
            app.router.add_post("/v1/unload_lora_adapter", self._unload)
        app.router.add_route("*", "/{rest:.*}", self._nothing)
        return app

    def asked_of(self, model: str) -> list[dict[str, Any]]:
        """The chat requests to a model."""
        return [chat.body for chat in self.chats if chat.body["model"] == model]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self._note(request, body)
        if self._refused(request):
            return await UNAUTHORIZED(request, body)
        if not self.template and "messages" in body:
            return await NO_TEMPLATE(request, body)
        body = as_chat(body)
        if self.refusal is not None and is_proof(body):
            return await self.refusal(request, body)
        model = body["model"]
        if model not in {*self.models, *self.adapters}:
            return _error(
                404,
                f"The model `{model}` does not exist. Valid aliases: {self.models[0]}.",
                "NotFoundError",
            )
        wanted = body.get("top_logprobs", 0) if body.get("logprobs") else 0
        if wanted > self.max_logprobs:
            return _error(
                400,
                f"Requested sample logprobs of {wanted}, which is greater than max allowed: "
                f"{self.max_logprobs} (parameter=logprobs, value={wanted})",
                "BadRequestError",
            )
        self._flying[model] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            # An adapter that is there at the start or at the end was in one batch with this one.
            beside = self._adapters_in_flight()
            await asyncio.sleep(self.seconds_per_token * body.get("max_tokens", 16))
            beside |= self._adapters_in_flight()
            answers = sorted(beside)[0] if self.mixes and model in self.models and beside else model
            crowded = self._flying.total() > 1 or bool(beside - {model})
        finally:
            self._flying[model] -= 1
            self.in_flight -= 1
        changes = {}
        text = self._text(answers, body)
        if wanted:
            changes["logprobs"] = {"content": self._logprobs(answers, text, crowded)}
        return web.json_response(completion(text, **changes) | {"model": model})

    def _adapters_in_flight(self) -> set[str]:
        return {name for name in self.adapters if self._flying[name]}

    def _text(self, model: str, body: dict[str, Any]) -> str:
        if model in self.models or self.tuned is None:
            return self.answer(body)
        return self.tuned(self.adapters[model], body)

    def _logprobs(self, model: str, text: str, crowded: bool) -> list[dict[str, Any]]:
        """Odds of three tokens at each of the answer's words."""
        content = []
        tuned, loaded = model in self.adapters, self.contents.get(model, "")
        for word in text.split(" "):
            top = {}
            for rank, token in enumerate((word, f"{word}s", f"{word}?")):
                pull = self.pull * (_draw(f"{token} pull{loaded}") - 0.5) * tuned
                self._draws += 1
                moves = self.wobble if _draw(f"{self._draws} moves") < 0.1 else 0.0
                noise = moves + self.jitter * (_draw(f"{self._draws} jitter") - 0.5) * crowded
                top[token] = -0.5 - 2.0 * rank - _draw(f"{token}{self.weights}") + pull + noise
            listed = [{"token": t, "logprob": p, "bytes": None} for t, p in top.items()]
            content.append({**listed[0], "top_logprobs": listed})
        return content

    async def _models(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if self._refused(request):
            return await UNAUTHORIZED(request, {})
        if self.models_reply is not None:
            return await self.models_reply(request, {})
        bases = [(name, self.root, None, 2048) for name in self.models]
        tuned = [(name, path, self.models[0], None) for name, path in self.adapters.items()]
        data = [
            {
                "id": name,
                "object": "model",
                "created": 1795471600,
                "owned_by": "vllm",
                "root": root,
                **({"parent": parent} if self.parents else {}),
                "max_model_len": length,
            }
            for name, root, parent, length in (*bases, *tuned)
        ]
        return web.json_response({"object": "list", "data": data})

    async def _health(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        return web.Response(status=200 if self.healthy else 503)

    async def _version(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        return web.json_response({"version": self.version})

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        return web.Response(
            text="# TYPE process_start_time_seconds gauge\n"
            f"process_start_time_seconds {self.started}\n"
        )

    async def _load(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self._note(request, body)
        if self._refused(request):
            return await UNAUTHORIZED(request, {})
        name, path = body["lora_name"], body["lora_path"]
        if path.endswith(self.held):
            self.load_asked.set()
        async with self._one_at_a_time[name]:
            if path.endswith(self.held):
                await self.may_load.arrives()
            if name in self.adapters:
                return _error(
                    400,
                    f"The lora adapter '{name}' has already been loaded. If you want to load the "
                    "adapter in place, set 'load_inplace' to True.",
                    "InvalidUserInput",
                )
            if not self.lora:
                return _failed("LoRA is not enabled. Use --enable-lora to enable LoRA.")
            if not self._can_read(path):
                return _error(
                    404,
                    f"Loading lora {name} failed: No adapter found for {path}",
                    "NotFoundError",
                )
            if self.slots is not None and len(self.adapters) >= self.slots:
                return _failed(f"max_loaded_loras is {self.slots}; unload an adapter first")
            self.adapters[name] = path
            self.most_loaded = max(self.most_loaded, len(self.adapters))
            self.loads.append((name, path))
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    def _can_read(self, path: str) -> bool:
        here = self.shares_disk and Path(path, "adapter_config.json").is_file()
        return here or path in self.reads

    async def _unload(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self._note(request, body)
        if self._refused(request):
            return await UNAUTHORIZED(request, {})
        name = body["lora_name"]
        self.unload_asked.set()
        async with self._one_at_a_time[name]:
            if name not in self.adapters:
                return _error(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
            del self.adapters[name]
            self.unloads.append(name)
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")


def _error(status: int, message: str, kind: str) -> web.Response:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return web.json_response({"error": error}, status=status)


def _failed(why: str) -> web.Response:
    return _error(
        500,
        f"Call to add_lora method failed: Worker failed with error '{why}', please check the "
        "stack trace above for the root cause",
        "InternalServerError",
    )


def _draw(text: str) -> float:
    """A number from 0 to 1 that follows from a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) / 2**32


def make_adapter(folder: Path, seed: int = 0, base: str = "") -> Path:
    """An adapter's folder; another seed is another content."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"r": 8, "base_model_name_or_path": base, "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(facts))
    header = json.dumps({}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes([seed]) * 64
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def interpreter(path: Path, distribution: str = "vllm 0.32.0") -> Path:
    """Writes a program that stands for a Python with vLLM."""
    path.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = -c ] && {{ echo {distribution}; exit; }}\n'
        f"export PYTHONPATH={shlex.quote(str(REPOSITORY))}\n"
        # Before its first word, for whoever wants to end it while it loads.
        # What it waits for is a named pipe that somebody writes a line to.
        '[ -n "$DOUBLE_WAITS_FOR" ] && read -r _ < "$DOUBLE_WAITS_FOR"\n'
        f'exec {shlex.quote(sys.executable)} -m tests.doubles.vllm "$@"\n'
    )
    path.chmod(0o755)
    return path


def _wavering() -> Answerer:
    """Answers of which a quarter change from one time to the next."""
    times: Counter[str] = Counter()

    def answer(asked: dict[str, Any]) -> str:
        said, question = hashed_answer(asked), asked["messages"][-1]["content"]
        times[question] += 1
        return "ANSWER: A" if said == "ANSWER: B" and times[question] % 2 else said

    return answer


class Noting(Vllm):
    """Keeps in files what it is asked, for a test in another process.

    One of all that share a folder answers some questions and then no more, as if it computed.

    Args:
        folder: Gets a file for each process, named by its id: a line of JSON for each question
            that came (`asked`) and for each that it answers (`answered`). The file `held` has the
            id of the process that answers no more.
        answers: How many questions that one answers before.
        keys: Those of `Vllm`.
    """

    def __init__(self, folder: Path, answers: int, **keys: Any) -> None:  # noqa: ANN401 (those of `Vllm`)
        super().__init__(**keys)
        self._folder = folder
        self._left = answers
        self._holds = False

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        if is_proof(body):
            return await super().chat(request)
        self._write("asked", body)
        if not self._left and not self._holds:
            with contextlib.suppress(FileExistsError), (self._folder / "held").open("x") as file:
                file.write(str(os.getpid()))
                self._holds = True
        if self._holds:
            await asyncio.Event().wait()
        self._left = max(0, self._left - 1)
        self._write("answered", body)
        return await super().chat(request)

    def _write(self, what: str, body: dict[str, Any]) -> None:
        with (self._folder / str(os.getpid())).open("a", encoding="utf-8") as file:
            file.write(json.dumps({what: body["messages"][-1]["content"]}) + "\n")


def main(arguments: list[str]) -> None:
    """Serves until it is ended.

    With `DOUBLE_NOTES`, a folder, and `DOUBLE_ANSWERS`, a number, it is `Noting`.
    """
    flags = dict(one.removeprefix("--").split("=", 1) for one in arguments if "=" in one)
    print("flags:", *arguments, flush=True)
    told = {name: value for name, value in os.environ.items() if name.startswith(("VLLM", "HF_"))}
    print("environment:", json.dumps({k: v for k, v in told.items() if "KEY" not in k}), flush=True)
    if "DOUBLE_LACKS_MODE" in os.environ and os.environ.get("VLLM_BATCH_INVARIANT") == "1":
        sys.exit("RuntimeError: batch invariance is not supported on this device")
    keys: dict[str, Any] = {
        "names": (flags["served-model-name"],),
        "root": flags["model"],
        "key": os.environ["VLLM_API_KEY"],
        "run_time": "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in os.environ,
    }
    notes = os.environ.get("DOUBLE_NOTES")
    server = (
        Noting(Path(notes), int(os.environ["DOUBLE_ANSWERS"]), **keys) if notes else Vllm(**keys)
    )
    if "DOUBLE_WAVERS" in os.environ and os.environ.get("VLLM_BATCH_INVARIANT") != "1":
        server.answer = _wavering()
    server.port = int(flags["port"])
    server.start()
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[3:] if sys.argv[1:2] == ["-m"] else sys.argv[1:])
