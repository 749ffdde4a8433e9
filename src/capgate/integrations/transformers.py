"""A gate on each adapter that a Trainer of transformers saves.

    gate = CapabilityGate(model_id="my-model", stop_on_regression=True)
    trainer = Trainer(...)  # or one of TRL's
    gate.attach(trainer)
    trainer.train()

Needs `pip install 'capgate[transformers]'`. Imports only the standard library, transformers and
accelerate.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from accelerate.utils import broadcast_object_list
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from capgate.integrations.saved_adapters import CONFIG, Command, Judgement, SavedAdapters

_log = logging.getLogger(__name__)


class CapabilityGate(TrainerCallback):
    """Judges saved adapters against their base by the quick rule, while the training goes on.

    Each is judged by `capgate run --quick` in a process of its own, on a running server that
    `config/models.yaml` of `project` names. The verdict is logged as the trainer logs its loss, so
    that its trackers get it: `capgate/verdict`, `capgate/drop` and others. A fault of the gate is
    the verdict ERROR, and the training goes on.

    Args:
        model_id: The target of `config/models.yaml` that is the base; None for the default one.
        project: The folder with `config/models.yaml`.
        every: Judges each `every`-th save.
        waiting: Which saves wait while one is judged: the `newest` alone, or `all` in order.
        stop_on_regression: Whether a REGRESSION ends the training; later saves are not judged. In
            distributed training it ends with the next save, where all processes learn of it.
        timeout: Seconds after which one judgement is ended and counts as ERROR.
        wait_at_end: Seconds that the end of the training waits for verdicts that are missing.
        command: Starts `capgate`, if it is installed for another Python than this one:
            `("/opt/capgate/bin/capgate",)`.
        reports: Where reports are written, relative to `project`.
        copies: Where an adapter's files are kept until it is judged; the server must be able to
            read it. None for the folder `_capgate` of the trainer's `output_dir`.
        options: Further options of `capgate run`, such as `("--suite", "core")`.

    Attributes:
        judgements: All verdicts of the last training, in the order in which they came.

    Raises:
        ValueError: A number or word can't be what it is.
    """

    def __init__(
        self,
        *,
        model_id: str | None = None,
        project: str | Path = ".",
        every: int = 1,
        waiting: Literal["newest", "all"] = "newest",
        stop_on_regression: bool = False,
        timeout: float = 3600.0,
        wait_at_end: float = 1800.0,
        command: Sequence[str] | None = None,
        reports: str | Path = "reports",
        copies: str | Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        if every < 1:
            raise ValueError(f"every is {every}: it must be 1 or more.")
        if waiting not in ("newest", "all"):
            raise ValueError(f"waiting is {waiting!r}: it must be 'newest' or 'all'.")
        if timeout <= 0 or wait_at_end < 0:
            raise ValueError("timeout must be more than 0, and wait_at_end no less.")
        self.judgements: list[Judgement] = []
        self._every = every
        self._waiting: Literal["newest", "all"] = waiting
        self._stops = stop_on_regression
        self._timeout = timeout
        self._wait_at_end = wait_at_end
        self._copies = None if copies is None else Path(copies).resolve()
        self._command = Command(
            tuple(command or (sys.executable, "-m", "capgate.cli")),
            Path(project).resolve(),
            model_id,
            Path(reports),
            tuple(options),
        )
        self._trainer: Trainer | None = None
        self._adapters: SavedAdapters | None = None
        self._saves = 0
        self._regressed = False
        atexit.register(self._close)

    def attach(self, trainer: Trainer) -> None:
        """Adds the gate to a trainer, so that verdicts reach the trainer's own trackers.

        transformers doesn't tell a callback its trainer. Given as `callbacks=[gate]` alone, the
        gate judges and stops likewise, and logs to `logging` and `state.log_history`.
        """
        self._trainer = trainer
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: object,
    ) -> None:
        """Begins anew."""
        self._close()
        self.judgements = []
        self._saves = 0
        self._regressed = False
        if state.is_world_process_zero and self._trainer is None:
            _log.warning(
                "CapabilityGate knows no trainer, so that its verdicts reach no tracker: "
                "call gate.attach(trainer)."
            )

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Has the adapter judged that was just saved."""
        if state.is_world_process_zero and not self._regressed:
            self._saves += 1
            if self._saves % self._every == 0:
                self._judge(args, state, control)
        if self._stops and args.world_size > 1:
            # A process that stopped alone would leave the others waiting for it.
            (regressed,) = broadcast_object_list([self._regressed], from_process=0)
            control.should_training_stop |= regressed

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Logs the verdicts that have come."""
        if self._adapters is not None:
            self._note(self._adapters.poll(), args, state, control)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: object,
    ) -> None:
        """Waits for the last verdicts at the trainer's last log.

        Trackers may end their run in `on_train_end`, and are told before a gate.
        """
        if "train_runtime" in (logs or {}):
            self._finish(args, state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Waits for the last verdicts, if the trainer logged no summary."""
        self._finish(args, state, control)

    def _judge(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        output = Path(args.output_dir).resolve()
        checkpoint = output / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        if not (checkpoint / CONFIG).is_file():
            _log.warning(
                "CapabilityGate did not judge step %d: %s has no %s. It judges adapters only, such "
                "as PEFT saves them.",
                *(state.global_step, checkpoint.name, CONFIG),
            )
            return
        if self._adapters is None:
            copies = self._copies or output / "_capgate"
            self._adapters = SavedAdapters(
                self._command, copies, waiting=self._waiting, timeout=self._timeout
            )
        self._note(self._adapters.add(state.global_step, checkpoint), args, state, control)

    def _finish(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl
    ) -> None:
        # Logging calls `on_log` again.
        adapters, self._adapters = self._adapters, None
        if adapters is not None:
            self._note(adapters.finish(self._wait_at_end), args, state, control)

    def _note(
        self,
        judgements: Sequence[Judgement],
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
    ) -> None:
        for one in judgements:
            self.judgements.append(one)
            level = logging.INFO if one.kind == "PASS" else logging.WARNING
            _log.log(level, "capgate: %s: step %d: %s", one.kind, one.step, one.reason)
            if self._trainer is None:
                state.log_history.append({**one.values(), "step": state.global_step})
            else:
                # A log clears the request for one, and the loss of this step may not be logged yet.
                should_log = control.should_log
                try:
                    # Trainers of TRL average and clear their own metrics in theirs.
                    Trainer.log(self._trainer, one.values())
                except Exception:
                    _log.warning("capgate: a tracker did not take the verdict.", exc_info=True)
                control.should_log = should_log
            if self._stops and one.kind == "REGRESSION":
                self._regressed = True
                self._close()
                control.should_training_stop |= args.world_size == 1

    def _close(self) -> None:
        adapters, self._adapters = self._adapters, None
        if adapters is not None:
            adapters.close()
