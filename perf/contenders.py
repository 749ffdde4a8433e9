"""The commands of the contenders: this suite, and others that ask a server the same questions."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perf.measuring import ROOT, Command

CONNECTIONS: Final = 64
ALL: Final = 14_042
"""Questions of MMLU."""

_TOKENS: Final = 512
_SUBJECTS: Final = 57
_DISTINCT: Final = 13_937
"""What inspect_evals keeps of them at 0 shots, since it drops repeated questions."""


@dataclass(frozen=True)
class Site:
    """What all contenders share.

    Attributes:
        folder: For their files.
        url: The server's API.
        mmlu: The folder with MMLU.
        hf: The `datasets` cache with the same questions.
        lm_eval: The Python that lm-evaluation-harness is installed for.
    """

    folder: Path
    url: str
    mmlu: Path
    hf: Path
    lm_eval: Path


Contender = Callable[[Site, int], Command]
"""Makes the command that asks so many questions; `ALL` for all of them."""


def project(site: Site, name: str) -> Path:
    """A new folder that `pytest benchmarks` runs in, with the server as its target."""
    root = site.folder / name
    (root / "config").mkdir(parents=True)
    (root / "thresholds").mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "benchmarks", root / "benchmarks", ignore=ignore)
    (root / "config" / "models.yaml").write_text(
        f"stand-in: {{model_name: smollm2, base_url: {site.url}, context_window: 2048, "
        f"max_connections: {CONNECTIONS}, default: true}}\n",
        encoding="utf-8",
    )
    return root


def suite_in(root: Path, site: Site, questions: int, *options: str) -> Command:
    """This suite's run of the whole benchmark in a project."""
    limit = [] if questions >= ALL else ["--limit", str(questions)]
    arguments = [sys.executable, "-m", "pytest", "benchmarks", "-m", "full", "-q"]
    # It is there for the package's own tests, and takes a part of the start.
    arguments += ["-p", "no:hypothesispytest"]
    arguments += ["--dataset", str(site.mmlu), *limit, *options]
    return Command("this suite", arguments, root, min(questions, _DISTINCT))


def suite(*options: str) -> Contender:
    """This suite from an empty store, each subject a test."""

    def command(site: Site, questions: int) -> Command:
        made = sum(path.name.startswith("suite-") for path in site.folder.iterdir())
        return suite_in(project(site, f"suite-{made}"), site, questions, "--measure", *options)

    return command


def inspect(site: Site, questions: int) -> Command:
    """`inspect eval` with its defaults, full logs kept."""
    limit = [] if questions >= ALL else ["--limit", str(questions)]
    program = str(Path(sys.executable).with_name("inspect"))
    arguments = [program, "eval", "inspect_evals/mmlu_0_shot"]
    arguments += ["--model", "openai-api/standin/smollm2", "--max-connections", str(CONNECTIONS)]
    arguments += ["--log-dir", str(site.folder / "inspect"), "--display", "none", *limit]
    environment = {
        "STANDIN_BASE_URL": site.url,
        "STANDIN_API_KEY": "none",
        "HF_HOME": str(site.hf),
        "HF_HUB_OFFLINE": "1",
    }
    asked = min(questions, _DISTINCT)
    return Command("inspect eval", arguments, site.folder, asked, environment)


def lm_eval(site: Site, questions: int) -> Command:
    """lm-evaluation-harness over the same API, with as many connections."""
    each = -(-questions // _SUBJECTS)
    limit = [] if questions >= ALL else ["--limit", str(each)]
    arguments = [str(site.lm_eval), "-m", "lm_eval", "--model", "local-chat-completions"]
    arguments += ["--tasks", "mmlu_generative", "--apply_chat_template", "--log_samples"]
    arguments += ["--output_path", str(site.folder / "lm-eval"), *limit, "--model_args"]
    arguments += [
        f"model=smollm2,base_url={site.url}/chat/completions,num_concurrent={CONNECTIONS},"
        "max_retries=3,tokenized_requests=False"
    ]
    environment = {"HF_HOME": str(site.hf), "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none"}
    asked = ALL if questions >= ALL else each * _SUBJECTS
    return Command("lm-evaluation-harness", arguments, site.folder, asked, environment)


def bare(client: str) -> Contender:
    """A plain loop over `AsyncOpenAI` or `aiohttp`: no harness at all."""

    def command(site: Site, questions: int) -> Command:
        prompts = site.folder / "prompts.jsonl"
        with (site.mmlu / "test.jsonl").open(encoding="utf-8") as rows, prompts.open("w") as out:
            for _, line in zip(range(questions), rows, strict=False):
                row = json.loads(line)
                choices = "\n".join(
                    f"{letter}) {text}" for letter, text in zip("ABCD", row["choices"], strict=True)
                )
                text = f"{row['question']}\n\n{choices}"
                out.write(json.dumps([{"role": "user", "content": text}]) + "\n")
        program = str(ROOT / "perf" / "bare_client.py")
        arguments = [sys.executable, program, client, site.url, "none", str(prompts)]
        arguments += [str(CONNECTIONS), json.dumps(["smollm2"]), "", str(_TOKENS)]
        return Command(f"bare {client}", arguments, site.folder, questions)

    return command
