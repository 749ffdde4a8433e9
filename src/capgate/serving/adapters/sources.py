"""Finds an adapter's weights: in a local folder, on the server's machine, or on the hub."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capgate.common.errors import AdapterError
from capgate.common.json_file import read_json
from capgate.serving.adapters.refusals import not_served
from capgate.serving.engines.weights import digest

CONFIG: Final = "adapter_config.json"

_HUB_ID: Final = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
_TAG: Final = 10
_ADAPTERS: Final = Path("adapters")
"""Where a project keeps its adapters."""


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter on disk.

    Attributes:
        path: Its folder.
        base: The base model that its configuration names.
        digest: Hash of its content.
        not_served: Its features that vLLM does not serve.
    """

    path: Path
    base: str
    digest: str
    not_served: tuple[str, ...] = ()

    def names_itself(self, served_name: str) -> bool:
        """Whether a served name carries the hash of this content."""
        return served_name.endswith(f"-{self.digest[:_TAG]}")


@dataclass(frozen=True)
class Source:
    """What a server is asked to load, and what is known of it.

    Attributes:
        path: The path that the server reads.
        tag: Part of the served name: a hash of the content, or a random number of the run.
        facts: Identifies the adapter, for `Endpoint.identity`.
        folder: Its folder, if this machine can read it.
        hub_id: The hub id that a server may load if it can not read `path`.
    """

    path: str
    tag: str
    facts: Mapping[str, str]
    folder: AdapterFolder | None = None
    hub_id: str | None = None

    def served_name(self, name: str) -> str:
        """The name under which to load it."""
        return f"{name.rstrip('/').split('/')[-1]}-{self.tag}"


def find_source(
    name: str,
    path: str | None = None,
    revision: str | None = None,
    *,
    target: str,
    on_server: Sequence[str] = (),
) -> Source:
    """Finds the weights of an adapter that the server has not loaded yet.

    Args:
        name: Its name, which may be a folder's.
        path: Its folder or hub id, if that is not its name.
        revision: For a hub id, its revision.
        target: Id of its target.
        on_server: The adapters that the server has; the fault names them.

    Raises:
        AdapterError: The adapter does not exist, or is not readable.
    """
    where = path or name
    found = find_folder(where)
    if found is not None:
        folder = read_folder(found, target)
        facts = {"adapter": name, "adapter_digest": folder.digest}
        return Source(str(found), folder.digest[:_TAG], facts, folder)
    if where.startswith("/"):
        # It may be a path of the server's machine; only the server can tell whether it exists.
        nonce = new_nonce()
        return Source(where, nonce[:_TAG], {"adapter": where, "adapter_nonce": nonce})
    if path is not None and is_hub_id(path):
        return _from_hub(path, revision, target)
    raise AdapterError(
        f"there is no adapter {where!r} on the server nor on disk",
        target=target,
        said=f"on the server: {', '.join(on_server) or 'none'}; "
        f"in adapters/: {', '.join(adapters_on_disk()) or 'none'}",
        remedy="load it (inference-server load-adapter NAME --path DIR), or name its folder "
        "(--adapter-name DIR, or path: in models.yaml)",
    )


def new_nonce() -> str:
    """A random number that distinguishes a run's adapter from others of its name."""
    return secrets.token_hex(8)


def find_folder(name: str) -> Path | None:
    """The folder of an adapter: `name` itself, or `adapters/name`."""
    for path in (Path(name).expanduser(), _ADAPTERS / name):
        if path.is_dir():
            return path.resolve()
    return None


def read_folder(path: Path, target: str) -> AdapterFolder:
    """Reads an adapter's folder.

    Raises:
        AdapterError: The folder holds no LoRA adapter.
    """
    config = path / CONFIG
    try:
        facts = read_json(config)
        if not isinstance(facts, dict):
            raise ValueError("it should hold keys and values")
        base = facts.get("base_model_name_or_path")
    except FileNotFoundError:
        raise AdapterError(
            f"the folder {path} holds no {CONFIG}",
            target=target,
            remedy="name the folder that peft's save_pretrained wrote",
        ) from None
    except (OSError, ValueError) as error:
        raise AdapterError(
            f"{config} can't be read", target=target, said=str(error), remedy="save it again"
        ) from None
    if not any(
        (path / name).is_file() for name in ("adapter_model.safetensors", "adapter_model.bin")
    ):
        raise AdapterError(
            f"the folder {path} holds no adapter_model.safetensors",
            target=target,
            remedy="save the adapter with peft's save_pretrained",
        )
    return AdapterFolder(path, str(base or ""), digest(path), not_served(facts))


def adapters_on_disk() -> list[str]:
    """The names of the adapters in `adapters/` of the working directory."""
    return sorted(path.parent.name for path in _ADAPTERS.glob(f"*/{CONFIG}"))


def is_hub_id(text: str) -> bool:
    """Whether a text is an `owner/name` of the hub, and no local path."""
    owner = text.split("/")[0]
    return _HUB_ID.match(text) is not None and owner != _ADAPTERS.name and not Path(owner).exists()


def _from_hub(name: str, revision: str | None, target: str) -> Source:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(name, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise AdapterError(
            f"the adapter {name}@{revision or 'main'} can't be fetched from the hub",
            target=target,
            said=str(error),
            remedy="check its name, or name its folder in path",
        ) from None
    folder = read_folder(path, target)
    # The hub's cache keeps each commit in a folder of its name.
    commit = path.name
    facts = {"adapter": f"{name}@{commit}", "adapter_digest": folder.digest}
    return Source(str(path), commit[:_TAG], facts, folder, name if revision is None else None)
