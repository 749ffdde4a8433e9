"""`scripts/run_mmlu_benchmark.py` and `run_mmlu_openrouter.py`: `capgate run` by older names.

Both run the pytest suite with the options and defaults of every run, and exit with its
code. They measure a target that has nothing to be compared with (`--measure-missing`).
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from capgate.commands import list_models
from capgate.commands.options import USAGE_ERROR, Parser, add_options, output_of
from capgate.commands.run import run_pytest
from capgate.common.dependencies import is_missing, package_error
from capgate.common.errors import CapgateError, ConfigError
from capgate.common.files import file_error
from capgate.config.targets import load_targets
from capgate.gate.verdict import EXIT_CODES

MEANINGS: Final = {
    0: "nothing lost, or only measured",
    1: "REGRESSION",
    2: "interrupted",
    3: "pytest failed by itself",
    4: "wrong usage",
    5: "no test was chosen",
    10: "INCONCLUSIVE",
    11: "ERROR: nothing could be judged",
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
    parser.add_argument("--quick", action="store_true", help="stop as soon as the evidence is in")
    add_options(parser)
    list_models.add_options(parser, listing=True)
    options, rest = parser.parse_known_args(arguments)
    out = output_of(options)
    try:
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
        code = run_pytest(options, prepare(options, rest))
    except CapgateError as error:
        out.error(f"{prog}: {error}")
        code = USAGE_ERROR
    except OSError as error:
        out.error(f"{prog}: {file_error(error)}")
        code = EXIT_CODES["ERROR"]
    except Exception as error:
        # Python's own 1 would read as REGRESSION.
        if is_missing(error):
            out.error(f"{prog}: {package_error(error)}")
        else:
            out.error(traceback.format_exc())
        code = EXIT_CODES["ERROR"]
    out.error(f"{prog}: exit code {code} ({MEANINGS.get(code, 'unknown')})")
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
