"""Ways in which a run could pass on answers that are not the model's, under real vLLM."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web
from scripts.taught.teach import BASE
from tests.integration.vllm.conftest import (
    SECONDS,
    TARGET,
    Checkout,
    Taught,
    adapter_id,
    copy_adapter,
    make_checkout,
)

HARMED = "virology"


class Gateway:
    """A URL behind which a real server's model is exchanged, as when it is started anew.

    Starting vLLM twice takes two minutes; to a client it looks the same.

    Attributes:
        serves: The name of the server's model that answers as the base.
    """

    def __init__(self, url: str, key: str) -> None:
        self._upstream = url
        self._key = key
        self.serves = BASE
        self.url = ""
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=2**24)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        headers = {"Authorization": f"Bearer {self._key}"}
        async with aiohttp.ClientSession(headers=headers) as self._session:
            self._ready.set()
            await self._over.wait()
            await runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:  # noqa: ARG002
        entry = {"id": BASE, "object": "model", "owned_by": "vllm", "root": f"/srv/{BASE}"}
        return web.json_response({"object": "list", "data": [entry | {"max_model_len": 2048}]})

    async def _chat(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = json.loads(await request.read())
        body["model"] = self.serves
        async with self._session.post(f"{self._upstream}/chat/completions", json=body) as answer:
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                content_type="application/json",
            )


@pytest.fixture
def gateway(server: Checkout) -> Iterator[Gateway]:
    """A gateway to the session's server."""
    (note,) = (server.home / "capgate" / "servers").glob(f"{TARGET}@*.json")
    running = json.loads(note.read_text())
    with Gateway(running["base_url"], running["key"]) as made:
        yield made


def test_other_weights_behind_one_name(
    project: Checkout, taught: Taught, server: Checkout, gateway: Gateway
) -> None:
    """A base that lost capability behind its name and URL fails against its own baseline.

    Before, its stored answers passed by themselves and nothing was asked.
    """
    entry = taught.entry(taught.folder / BASE)
    del entry["serve"]
    project.targets(**{TARGET: {**entry, "base_url": gateway.url}})
    measured = project.judge(options=("--measure",))
    assert measured.code == 0, measured.text
    project.done("capgate", "baseline", "record", TARGET)
    again = project.judge(options=("--baseline",))
    assert again.verdict(TARGET) == "PASS", again.text
    assert "NOTHING WAS ASKED" in again.text
    harmed = str(taught.adapter("harmful_overall"))
    server.done("inference-server", "load-adapter", "exchanged", "--path", harmed)
    try:
        gateway.serves = "exchanged"
        changed = project.start(
            "benchmarks", "-m", "quick", "--model-id", TARGET, "--baseline"
        ).finish(SECONDS)
    finally:
        server.done("inference-server", "unload-adapter", "exchanged")
    assert changed.code == 1, changed.text
    assert changed.verdict(TARGET) == "REGRESSION"
    assert "other weights answer than on" in changed.text
    assert project.result(TARGET)["earlier"] == 0


def test_runs_at_one_time_on_a_server_that_mixes(
    project: Checkout, taught: Taught, server: Checkout, tmp_path: Path
) -> None:
    """Two runs on other adapters, with a store each, spoil neither each other nor the base."""
    other = make_checkout(tmp_path / "other", taught, server.home)
    subjects = [HARMED]
    for place in (project, other):
        place.write("thresholds/policy.yaml", "catch: 0.05\nreason: few questions\n")
    try:
        harmful = project.begin(taught.adapter("harmful_subject"), subjects=subjects)
        harmless = other.begin(taught.adapter("harmless"), subjects=subjects)
        bad, good = harmful.finish(SECONDS), harmless.finish(SECONDS)
        assert bad.verdict(adapter_id("harmful_subject")) == "REGRESSION", bad.text
        assert good.verdict(adapter_id("harmless")) == "PASS", good.text
        for place in (project, other):
            base = place.result(TARGET)["overall"]
            assert base["correct"] >= 0.9 * base["questions"]
    finally:
        other.close()


def test_a_folder_overwritten_since_it_was_loaded(project: Checkout, taught: Taught) -> None:
    """A name on the server whose folder holds other weights by now is an error, not a verdict."""
    mine = project.root / "adapters" / "third"
    copy_adapter(taught, "harmless", mine)
    project.done("inference-server", "load-adapter", "third", "--path", str(mine))
    try:
        copy_adapter(taught, "harmful_subject", mine)
        outcome = project.judge("third", subjects=[HARMED])
    finally:
        project.done("inference-server", "unload-adapter", "third")
    assert outcome.code == 11, outcome.text
    text = " ".join(outcome.text.split())
    assert f"the server's third, loaded from {mine}, is not what the folder" in text
    assert "its weights answer otherwise" in text
    assert f"--adapter-name {mine}" in text
    assert project.answered() == 0
