"""A run's report as a run of Weights & Biases."""

from __future__ import annotations

import os
from pathlib import Path

from capgate.report.trackers.tracked import COLUMNS, PREFIX, Tracked


def send_to_wandb(run: Tracked, files: list[Path]) -> str:
    """Sends a run to W&B, or writes it to a folder where WANDB_MODE is `offline`.

    The tracked run has the id of capgate's run, so that sending it again resumes it. Where
    WANDB_RUN_ID is set, that run is resumed. Project, entity, folder and name are those that
    W&B's own variables name; the project is `capgate` by default.

    Args:
        run: What is told.
        files: What the artifact holds.

    Returns:
        Where it is, as a line to show.

    Raises:
        ImportError: W&B can't be imported.
        Exception: W&B does not take it; there is no one base of what it raises.
    """
    import wandb

    # W&B's own folder of offline runs, `wandb`, can be imported where the package is missing.
    if not hasattr(wandb, "init"):
        raise ModuleNotFoundError("No module named 'wandb'", name="wandb")
    settings = wandb.Settings(
        silent=True,
        console="off",
        # W&B would send the command line, paths, the host's name and the state of the checkout.
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        finish_timeout_raises=True,
    )
    theirs = os.environ.get("WANDB_RUN_ID")
    sent = wandb.init(
        project=os.environ.get("WANDB_PROJECT") or PREFIX,
        id=theirs or run.run,
        name=None if theirs else os.environ.get("WANDB_NAME") or run.run,
        resume="allow",
        settings=settings,
    )
    try:
        sent.summary.update({**run.numbers, **run.words})
        table = wandb.Table(columns=list(COLUMNS), data=[list(row) for row in run.rows])
        sent.log({f"{PREFIX}/groups": table})
        artifact = wandb.Artifact(f"{PREFIX}-{run.run}", type="report")
        for path in files:
            artifact.add_file(str(path))
        sent.log_artifact(artifact)
        offline, folder = sent.offline, sent.settings.sync_dir
        place = "" if offline else sent.url
    except BaseException:
        sent.finish(exit_code=1)
        raise
    sent.finish()
    if sent.settings.mode == "disabled":
        return "NOT SENT to W&B: WANDB_MODE is disabled"
    if offline:
        return f"written for W&B: {folder} (wandb sync sends it)"
    return f"sent to W&B: {place}"
