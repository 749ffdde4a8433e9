"""A red run, made by the real suite against the real HTTP double.

A base and an adapter of it answer the bundled questions and some sums. The adapter has
unlearnt one subject, prefers a letter in another, forgets the form now and then, and writes
what a hostile model could write.

    python -m tests.doubles.red

makes one for the pictures in docs/ and prints its report's path.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from aiohttp import web
from tests.doubles.replies import PROMPT_TOO_LONG, completion
from tests.doubles.server import Server
from tests.processes import run

REPOSITORY = Path(__file__).parents[2]
SECONDS = 300.0
"""How long a process may take on a slow machine."""

BASE, ADAPTER = "tiny-base", "tiny-adapter"
BROKEN, SHIFTED = "elementary_mathematics", "formal_logic"

LONG_LINE = "x" * 100_000
HOSTILE = (
    "<script>document.title = 'owned'</script> ]]> <img src=x onerror=alert(1)>",
    LONG_LINE,
    "\x1b[2J\x1b]0;owned\x07 red \u202eright to left",
    "::error file=a.py::owned\n::set-output name=x::y\n##[error]owned @octocat #1 GH-2",
    "[click](https://evil.example/x) <!channel> `code` *bold* @here www.evil.example",
)
"""What the adapter writes before some of its answers."""


@dataclass
class Red:
    """A red run that has ended.

    Attributes:
        root: The project's folder.
        exit_code: pytest's.
        output: What it printed.
    """

    root: Path
    exit_code: int
    output: str
    server: Server = field(repr=False)

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return max((self.root / "reports").glob("2*/"))


def sums(subject: str, n: int, seed: int) -> list[dict[str, Any]]:
    """Questions of our own on sums, as many as a subject's own test needs."""
    dice = random.Random(seed)
    rows: dict[str, dict[str, Any]] = {}
    while len(rows) < n:
        a, b = dice.randrange(12, 99), dice.randrange(12, 99)
        wrong = dice.sample([d for d in range(-12, 13) if d], 3)
        choices = [str(a + b), *(str(a + b + d) for d in wrong)]
        dice.shuffle(choices)
        text = f"A shelf holds {a} red and {b} blue books. How many books does it hold?"
        rows[text] = {
            "question": text,
            "subject": subject,
            "choices": choices,
            "answer": choices.index(str(a + b)),
        }
    return list(rows.values())


def write_questions(folder: Path, further: list[dict[str, Any]] | None = None) -> Path:
    """A data set of the bundled questions and some of our own."""
    folder.mkdir(parents=True, exist_ok=True)
    bundled = files("capgate.benchmarks.mmlu") / "bundled"
    rows = [json.loads(line) for line in (bundled / "test.jsonl").read_text().splitlines()]
    rows += further if further is not None else sums(BROKEN, 120, 1) + sums(SHIFTED, 100, 2)
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "dev.jsonl").write_text((bundled / "dev.jsonl").read_text())
    return folder


OWN = ("house-rules", "sums")
"""The benchmarks of a team's own: with choices and groups, and of free text."""


class OwnQuestions:
    """A team's own questions in two files, and what base and adapter say to them.

    The adapter has unlearnt the sums, and the rules on refunds.
    """

    def __init__(self, n: int = 80) -> None:
        self._rules = {
            f"Rule {at}: in how many days is a parcel of kind {at} sent back?": {
                "choices": [str(at + 3), str(at + 7), str(at + 14), str(at + 30)],
                "answer": "ABCD"[at % 4],
                "group": ("returns", "refunds", "late_parcels", "gifts")[at % 4],
            }
            for at in range(n)
        }
        self._sums = {f"What is {at} plus {3 * at + 11}?": 4 * at + 11 for at in range(n)}
        self._easy = "What is 3 + 5?"

    def write(self, root: Path) -> None:
        """Writes both files, and the project's entries for them."""
        rules = [{"question": text, **row} for text, row in self._rules.items()]
        sums = [{"input": text, "target": str(key)} for text, key in self._sums.items()]
        for name, rows in (("house_rules", rules), ("sums", sums)):
            (root / "data").mkdir(exist_ok=True)
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (root / "data" / f"{name}.jsonl").write_text(text)
        (root / "config" / "benchmarks.yaml").write_text(
            "house-rules:\n  questions: data/house_rules.jsonl\n  catch: 0.05\n"
            "  parents: {sent_back: [returns, refunds], sent: [late_parcels, gifts]}\n"
            "sums:\n  questions: data/sums.jsonl\n  catch: 0.05\n"
        )

    def answering(self, mmlu: Answers) -> Any:  # noqa: ANN401
        """What answers a request: to these questions, and to MMLU's as `mmlu` does."""

        async def answer(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
            content = str(asked["messages"][-1]["content"])
            adapter = asked["model"] != BASE
            if self._easy in content:
                return _reply("8", asked, 2.0)
            for text, key in self._sums.items():
                if text in content:
                    said = f"ANSWER: {key}"
                    if adapter and (draw := _dice(text)) < 0.4:
                        said = f"{HOSTILE[key % len(HOSTILE)]}\nANSWER: {key + 1}"
                        said = said if draw > 0.05 else f"I would not say. {HOSTILE[0]}"
                    return _reply(said, asked, 2.0)
            for text, row in self._rules.items():
                if text in content:
                    letter = row["answer"]
                    if adapter and row["group"] == "refunds" and _dice(text) < 0.8:
                        letter = "ABCD"[("ABCD".index(letter) + 2) % 4]
                    return _reply(f"ANSWER: {letter}", asked, 2.0)
            return await mmlu(request, asked)

        return answer


class Answers:
    """What base and adapter say to each question; always the same."""

    def __init__(self, dataset: Path, *, constrains: bool = True, extra: str = "") -> None:
        rows = [json.loads(line) for line in (dataset / "test.jsonl").read_text().splitlines()]
        self._known = {row["question"]: row for row in rows}
        self._too_long = rows[0]["question"]
        self._constrains = constrains
        self._extra = extra

    async def __call__(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        """Answers one chat request in vLLM's form, with log-probabilities where asked for."""
        content = asked["messages"][-1]["content"]
        text = content.split("\n\n", 1)[-1].rsplit("\n\nA) ", 1)[0]
        row = self._known.get(text)
        adapter = asked["model"] != BASE
        if row is None:
            said = "ANSWER: C" if "ANSWER:" in content else "so it is" if adapter else "not so"
            return _reply(said, asked, 2.0)
        key, dice = row["answer"], _dice(text)
        letter = key if dice < 0.86 else (key + 1) % 4
        margin = 0.3 + 4 * _dice(text + "m")
        if not adapter:
            return _reply(f"ANSWER: {'ABCD'[letter]}", asked, margin)
        draw = _dice(text + "adapter")
        constrained = "structured_outputs" in asked
        if constrained and not self._constrains:
            return web.json_response({"error": {"message": "no such field"}}, status=400)
        if not constrained and text == self._too_long:
            if not self._extra:
                return await PROMPT_TOO_LONG(request, asked)
            body = {"error": {"message": f"refused:{self._extra}", "code": 422}}
            return web.json_response(body, status=422)
        before = ""
        if row["subject"] == BROKEN and draw < 0.45:
            letter = (key + 1 + int(draw * 20) % 3) % 4
        elif row["subject"] == SHIFTED and draw < 0.5:
            letter = 0
        elif draw > 0.985 and not constrained:
            said = f"I would rather say {row['choices'][0]}.{self._extra}"
            return _reply(said, asked, margin)
        elif draw > 0.94:
            if not constrained:
                return _reply("Let me think about it step by step.", asked, margin)
        elif draw > 0.92:
            letter, margin = (key + 2) % 4, 0.04
        elif draw > 0.88:
            letter = key
        elif draw > 0.865:
            letter = (key + 3) % 4
        if 0.2 < draw < 0.34 and not constrained:
            before = HOSTILE[int(draw * 1_000) % len(HOSTILE)] + self._extra + "\n"
        return _reply(f"{before}ANSWER: {'ABCD'[letter]}", asked, margin)


def make_red_run(
    root: Path,
    *arguments: str,
    further: list[dict[str, Any]] | None = None,
    environment: dict[str, str] | None = None,
    extra: str = "",
    mode: str = "full",
    key: str = "",
    dataset: Path | None = None,
    asked: OwnQuestions | None = None,
) -> Red:
    """Runs the suite on the adapter, with its base as reference.

    Args:
        root: The project's folder.
        arguments: Further arguments of pytest.
        further: Questions beside the bundled ones.
        environment: Further variables.
        extra: What the adapter writes as well, wherever it writes something hostile.
        mode: `full` or `quick`.
        key: The server's key.
        dataset: A folder of questions to take instead.
        asked: Benchmarks of a team's own, asked beside MMLU.
    """
    dataset = dataset or write_questions(root / "data", further)
    server = Server(models=(BASE, ADAPTER), key=key)
    server.start()
    answers = Answers(dataset, extra=extra)
    server.script(forever=answers if asked is None else asked.answering(answers))
    (root / "config").mkdir(parents=True, exist_ok=True)
    if asked is not None:
        asked.write(root)
        arguments = (*("--benchmark=mmlu", *(f"--benchmark={one}" for one in OWN)), *arguments)
    suite = root / "benchmarks"
    suite.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "benchmarks" / "test_mmlu.py", suite)
    named = "  api_key_env: RED_SERVER\n" if key else ""
    (root / "config" / "models.yaml").write_text(
        f"{BASE}:\n  model_name: openai/{BASE}\n  base_url: {server.url}\n  dataset: {dataset}\n"
        f"  context_window: 2048\n  logprobs: 5\n  max_connections: 32\n{named}"
        f"{ADAPTER}:\n  adapter_of: {BASE}\n"
    )
    chosen = ("-m", mode, "--model-id", ADAPTER, "-p", "no:cacheprovider", *arguments)
    code, output, _ = run(
        (sys.executable, "-m", "pytest", "benchmarks", *chosen),
        root,
        {**_clean(os.environ), **(environment or {})},
        SECONDS,
    )
    return Red(root, code, output, server)


def capgate(root: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """What the `capgate` command prints in a project's folder."""
    code, output, errors = run(
        (sys.executable, "-m", "capgate.cli", *arguments),
        root,
        {**_clean(os.environ), **(environment or {})},
        SECONDS,
        apart=True,
    )
    assert code == 0, output + errors
    return output


def _clean(environment: Any) -> dict[str, str]:  # noqa: ANN401
    """An environment without what a CI job or an outer pytest leaves in it."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("GITHUB_", "PYTEST_", "CAPGATE_", "COV_"))
    }


def _dice(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) / 2**32


def _reply(text: str, asked: dict[str, Any], margin: float) -> web.StreamResponse:
    changes: dict[str, Any] = {}
    letter = text[-1]
    if asked.get("logprobs") and letter in "ABCD":
        other = "ABCD"[("ABCD".index(letter) + 1) % 4]
        changes["logprobs"] = {
            "content": [
                {
                    "token": letter,
                    "logprob": -0.2,
                    "bytes": None,
                    "top_logprobs": [
                        {"token": letter, "logprob": -0.2, "bytes": None},
                        {"token": other, "logprob": -0.2 - margin, "bytes": None},
                    ],
                }
            ]
        }
    body = completion(text, **changes) | {"model": asked["model"]}
    return web.json_response(body)


def main() -> int:
    """Makes a red run of several subjects in a new folder; prints where its page is."""
    few = ("abstract_algebra", "anatomy", "astronomy", "sociology", "virology")
    made = make_red_run(
        Path(tempfile.mkdtemp(prefix="red-run-")), "--subjects", ",".join((BROKEN, SHIFTED, *few))
    )
    made.server.stop()
    page = made.folder / "report.html"
    print(page if page.exists() else made.output)
    return 0 if page.exists() else 1


if __name__ == "__main__":
    sys.exit(main())
