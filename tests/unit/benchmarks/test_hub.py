"""The hub and its cache: what is cached needs no hub, and nothing waits for a hub that is away."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from capgate.benchmarks import hub
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.inspect_task import upstream
from capgate.benchmarks.make import make_benchmark
from capgate.common.errors import DatasetError
from capgate.config.benchmarks_file import load_benchmarks

GSM8K = "openai/gsm8k"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no word of the user's on being offline."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path


@contextmanager
def hub_that_says(
    status: int, monkeypatch: pytest.MonkeyPatch, asked: list[str] | None = None
) -> Iterator[None]:
    """A hub on this machine that answers every request with a status."""

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if asked is not None:
                asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


def cached(home: Path, folder: str, *configurations: str) -> None:
    """Puts empty configurations of a data set into the cache."""
    for name in configurations:
        (home / "datasets" / folder / name).mkdir(parents=True)


def gsm8k(root: Path) -> Benchmark:
    """The shipped GSM8K."""
    entry = load_benchmarks(root).entry_of("gsm8k")
    return make_benchmark(
        "gsm8k", entry, task="inspect_evals/mmlu_0_shot", max_tokens=512, root=root
    )


def test_a_hub_that_refuses_is_told_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cached and the hub says no: the loaders' own waits of minutes never begin."""
    asked: list[str] = []
    words = "the questions of gsm8k can't be loaded"
    with hub_that_says(403, monkeypatch, asked), pytest.raises(DatasetError, match=words) as caught:
        gsm8k(home).load("hub")
    assert "HTTP 403" in str(caught.value)
    assert "HF_HOME" in caught.value.remedy
    assert asked == ["/datasets/openai/gsm8k/resolve/main/README.md"]


def test_what_is_cached_is_made_without_the_hub(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task whose one configuration is cached is made offline, and no request is sent."""
    cached(home, "openai___gsm8k", "main")
    asked: list[str] = []
    seen: list[bool] = []
    with hub_that_says(200, monkeypatch, asked):
        upstream.load("gsm8k", "gsm8k", {}, lambda: seen.append(hub.is_offline()))
    assert seen == [True]
    assert asked == []
    assert not hub.is_offline()


def test_of_several_configurations_the_argument_tells(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A language that is not cached is looked for on the hub; one that is, is not."""
    cached(home, "openai___mmmlu", "DE_DE", "FR_FR")
    for language, offline in (("DE_DE", True), ("IT_IT", False)):
        seen: list[bool] = []
        with hub_that_says(200, monkeypatch):
            upstream.load(
                "mmmlu",
                "mmlu_0_shot",
                {"language": language},
                lambda seen=seen: seen.append(hub.is_offline()),
            )
        assert seen == [offline], language


def test_an_incomplete_cache_is_completed_from_the_hub(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the cache does not serve after all, the task is made once more with the hub."""
    cached(home, "allenai___ai2_arc", "ARC-Easy")
    seen: list[bool] = []

    def make() -> str:
        seen.append(hub.is_offline())
        if hub.is_offline():
            raise ValueError("no such configuration")
        return "made"

    with hub_that_says(200, monkeypatch):
        assert upstream.load("arc_challenge", "arc_challenge", {}, make) == "made"
    assert seen == [True, False]


def test_the_first_cause_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader that tried several times says only that; what went wrong first is told."""

    def make() -> None:
        try:
            raise ConnectionError("no route")
        except ConnectionError as error:
            raise RuntimeError("gave up after 3 attempts") from error

    with hub_that_says(200, monkeypatch), pytest.raises(DatasetError, match="no route"):
        upstream.load("gsm8k", "gsm8k", {}, make)


def test_the_cache_is_found_however_a_name_is_written(home: Path) -> None:
    """`datasets` writes names in lower case, with signs between their words."""
    cached(home, "google___if_eval", "default")
    assert hub.cached_configurations("google/IFEval") == ["default"]
    assert hub.cached_configurations("google/boolq") == []


def test_offline_blocks_may_overlap() -> None:
    """The libraries are offline until the last block ends, and then as they were before."""
    import datasets.config
    import huggingface_hub.constants

    before = huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    with hub.offline():
        with hub.offline():
            assert os.environ["HF_HUB_OFFLINE"] == "1"
        assert huggingface_hub.constants.HF_HUB_OFFLINE is True
        assert datasets.config.HF_HUB_OFFLINE is True
    assert "HF_HUB_OFFLINE" not in os.environ
    after = huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    assert after == before


@pytest.mark.parametrize(
    ("task", "module"),
    [
        ("gsm8k", "gsm8k"),
        ("arc_easy", "arc"),
        ("mmlu_0_shot", "mmlu"),
        ("gpqa_diamond", "gpqa"),
        ("no_such_task", ""),
    ],
)
def test_a_tasks_module_is_told_by_its_name(task: str, module: str) -> None:
    """Importing one module of upstream's takes less than having Inspect import all."""
    assert upstream.module_of(task) == module
