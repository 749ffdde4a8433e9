"""`scripts/run_mmlu_benchmark.py` and `run_mmlu_openrouter.py`: older names of `capgate run`.

Both run the pytest suite with the options and defaults of every run, and exit with its
code. They measure a target that has nothing to be compared with (`--measure-missing`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from capgate.commands import list_models
from capgate.commands.carry_out import carry_out
from capgate.commands.options import Parser, add_options, output_of
from capgate.commands.run import add_mode, run_pytest
from capgate.common import exit_codes
from capgate.common.errors import ConfigError
from capgate.config.targets import load_targets

MEANINGS: Final = {
    0: "nothing lost, or only measured",
    exit_codes.REGRESSION: "REGRESSION",
    2: "interrupted",
    3: "pytest failed by itself",
    exit_codes.USAGE: "wrong usage",
    5: "no test was chosen",
    exit_codes.INCONCLUSIVE: "INCONCLUSIVE",
    exit_codes.ERROR: "ERROR: nothing could be judged",
}
"""What an exit code of the suite means."""


def benchmark(arguments: Sequence[str] | None = None) -> int:
    """Runs MMLU on targets or adapters; returns the exit code."""
    return _main(
        arguments,
        prog="run_mmlu_benchmark.py",
        description="Runs MMLU on a target of config/models.yaml, or on an adapter of it.",
        prepare=lambda _, rest: rest,
        provider=None,
    )


def openrouter(arguments: Sequence[str] | None = None) -> int:
    """Runs MMLU on OpenRouter's models, side by side; returns the exit code."""
    return _main(
        arguments,
        prog="run_mmlu_openrouter.py",
        description="Runs MMLU on models of OpenRouter, several of them side by side.",
        prepare=_side_by_side,
        provider="openrouter",
    )


def _main(
    arguments: Sequence[str] | None,
    *,
    prog: str,
    description: str,
    prepare: Callable[[argparse.Namespace, list[str]], list[str]],
    provider: str | None,
) -> int:
    parser = Parser(prog=prog, description=description, epilog="Any other option is pytest's own.")
    add_mode(parser)
    add_options(parser)
    list_models.add_options(parser, listing=True)
    options, rest = parser.parse_known_args(arguments)

    def action() -> int:
        if options.list_models:
            return list_models.show(
                Path(options.capgate_models_file or list_models.MODELS_FILE),
                provider=provider,
                check=options.check,
                as_json=options.json,
            )
        if options.check or options.json:
            raise ConfigError("--check and --json belong to --list-models")
        options.capgate_measure_missing = True
        return run_pytest(options, prepare(options, rest))

    code = carry_out(prog, action, lambda: output_of(options))
    if not (options.list_models and code <= 1):
        output_of(options).error(f"{prog}: exit code {code} ({MEANINGS.get(code, 'unknown')})")
    return code


def _side_by_side(options: argparse.Namespace, rest: list[str]) -> list[str]:
    """Gives each model a worker of its own, and so its own limit of requests in flight.

    Raises:
        ConfigError: No model is named, or one that is not OpenRouter's.
    """
    targets = load_targets(Path(options.capgate_models_file or list_models.MODELS_FILE))
    models = list(dict.fromkeys(options.capgate_model_id or ()))
    ours = [target.id for target in targets if target.provider == "openrouter"]
    if not models:
        raise ConfigError(
            "no model is named",
            remedy=f"--model-id ID, repeatable; models of OpenRouter: {', '.join(ours) or 'none'}",
        )
    for model in models:
        if targets.get(model).provider != "openrouter":
            raise ConfigError(
                f"{model} is not a model of OpenRouter (its provider is "
                f"{targets.get(model).provider})",
                remedy=f"use run_mmlu_benchmark.py for it, or one of: {', '.join(ours) or 'none'}",
            )
    if len(models) == 1 or any(one.startswith(("-n", "--numprocesses")) for one in rest):
        return rest
    return ["-n", str(len(models)), "--dist", "loadgroup", *rest]
