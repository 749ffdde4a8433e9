"""A runner of a composite action's steps, as GitHub documents how they are run.

Each `run:` is a file that bash runs, with the step's `env` after its expressions were resolved,
and with files for what it adds to outputs and summary. A step that `uses:` another action is not
run: it is kept, with what it would have been given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

_TOKEN: Final = re.compile(r"\s*(?:(&&|\|\||==|!=|\(|\))|'((?:[^']|'')*)'|([A-Za-z_][\w.-]*))")
BASH: Final = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")

Run = Callable[[tuple[str, ...], Path, dict[str, str]], tuple[int, str]]
"""Runs a command in a folder with further variables; returns its exit code and all it printed."""


class Expression:
    """The expressions of GitHub that an action needs: names, strings, ==, !=, && and ||.

    Args:
        text: The expression, without its braces.
        contexts: What its names are looked up in.
        good: Whether all steps before have succeeded.
    """

    def __init__(self, text: str, contexts: Mapping[str, Any], *, good: bool) -> None:
        self._tokens: list[tuple[str, str, str]] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            assert found, f"{text!r} at {text[at:]!r}"
            self._tokens.append((found[1] or "", found[2] or "", found[3] or ""))
            at = found.end()
        self._contexts = contexts
        self._good = good

    def value(self) -> Any:  # noqa: ANN401 (JSON)
        """What it amounts to."""
        found = self._any()
        assert not self._tokens, self._tokens
        return found

    def _next(self, *operators: str) -> bool:
        if self._tokens and self._tokens[0][0] in operators:
            self._tokens.pop(0)
            return True
        return False

    def _any(self) -> Any:  # noqa: ANN401
        found = self._all()
        while self._next("||"):
            other = self._all()
            found = found or other
        return found

    def _all(self) -> Any:  # noqa: ANN401
        found = self._compared()
        while self._next("&&"):
            other = self._compared()
            found = found and other
        return found

    def _compared(self) -> Any:  # noqa: ANN401
        found = self._one()
        if self._next("=="):
            return _loose(found) == _loose(self._one())
        if self._next("!="):
            return _loose(found) != _loose(self._one())
        return found

    def _one(self) -> Any:  # noqa: ANN401
        _, string, name = self._tokens.pop(0)
        if not name:
            return string.replace("''", "'")
        if self._next("("):
            assert self._next(")")
            return {"always": True, "success": self._good, "failure": not self._good}[name]
        found: Any = self._contexts
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found


def _loose(value: object) -> str:
    return "" if value is None else str(value)


@dataclass
class Step:
    """How one step ended.

    Attributes:
        name: Its name, or the action that it uses.
        code: Its exit code; None where it was left out, or uses an action.
        text: What it printed.
        given: What the action that it uses is given.
        env: The variables of its script.
    """

    name: str
    code: int | None = None
    text: str = ""
    given: dict[str, str] | None = None
    env: dict[str, str] = field(default_factory=dict)


@dataclass
class Ended:
    """How an action ended.

    Attributes:
        steps: Its steps that were not left out, by name.
        outputs: Its outputs.
        summary: What was added to the job's summary.
        good: Whether the job goes on.
    """

    steps: dict[str, Step]
    outputs: dict[str, str]
    summary: str
    good: bool

    @property
    def text(self) -> str:
        """What all steps printed: the job's log."""
        return "".join(step.text for step in self.steps.values())


def run_action(
    action: Path,
    run: Run,
    workspace: Path,
    temp: Path,
    inputs: Mapping[str, str],
    github: Mapping[str, Any],
) -> Ended:
    """Runs an action.

    Args:
        action: Its `action.yml`.
        run: Runs a command.
        workspace: The job's folder.
        temp: The runner's own folder.
        inputs: What a workflow gives it under `with:`.
        github: The context of that name.
    """
    document = yaml.safe_load(action.read_text(encoding="utf-8"))
    unknown = set(inputs) - set(document["inputs"])
    assert not unknown, unknown
    contexts: dict[str, Any] = {"github": github, "steps": {}}
    good = True

    def resolve(text: object) -> str:
        return re.sub(
            r"\$\{\{(.*?)\}\}",
            lambda found: _loose(Expression(found[1], contexts, good=good).value()),
            str(text),
        )

    defaults = {name: resolve(one.get("default", "")) for name, one in document["inputs"].items()}
    contexts["inputs"] = defaults | inputs
    temp.mkdir(parents=True, exist_ok=True)
    summary = temp / "summary"
    summary.write_text("")
    ended: dict[str, Step] = {}
    for number, one in enumerate(document["runs"]["steps"]):
        condition = str(one.get("if", "success()"))
        if not good and not re.search(r"always\(\)|failure\(\)", condition):
            continue
        if not Expression(condition, contexts, good=good).value():
            continue
        step = Step(one.get("name") or one["uses"].partition("@")[0])
        ended[step.name] = step
        if "uses" in one:
            step.given = {name: resolve(value) for name, value in one["with"].items()}
            continue
        assert one["shell"] == "bash"
        script, output = temp / f"step{number}.sh", temp / f"output{number}"
        script.write_text(resolve(one["run"]), encoding="utf-8")
        output.write_text("")
        step.env = {name: resolve(value) for name, value in one.get("env", {}).items()}
        own = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            "RUNNER_TEMP": str(temp),
        }
        folder = workspace / resolve(one.get("working-directory", "."))
        step.code, step.text = run((*BASH, str(script)), folder, own | step.env)
        good = good and step.code == 0
        if "id" in one:
            contexts["steps"][one["id"]] = {"outputs": read_outputs(output)}
    outputs = {name: resolve(one["value"]) for name, one in document["outputs"].items()}
    return Ended(ended, outputs, summary.read_text(), good)


def read_outputs(path: Path) -> dict[str, str]:
    """Reads a file of outputs: `name=value`, or `name<<END`, lines, and END."""
    found: dict[str, str] = {}
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if opened := re.fullmatch(r"([\w-]+)<<(.+)", line):
            value: list[str] = []
            for more in lines:
                if more == opened[2]:
                    break
                value.append(more)
            else:
                raise AssertionError(f"{line} has no end")
            found[opened[1]] = "\n".join(value)
        else:
            name, sign, rest = line.partition("=")
            assert sign, line
            found[name] = rest
    return found
