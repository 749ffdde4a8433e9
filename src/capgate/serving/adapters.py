"""LoRA adapters on vLLM: found on the server or loaded onto it, and unloaded afterwards.

A loaded adapter's served name carries a hash of its content, so that neither vLLM's prefix
cache nor our store can take one adapter's answers for another's of the same name.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from capgate.config import Target
from capgate.errors import AdapterError, RequestFault
from capgate.faults import Place, fault_of_response
from capgate.replies import ServedModel
from capgate.serving import shapes
from capgate.serving.endpoint import Endpoint
from capgate.serving.leases import Lease
from capgate.serving.weights import digest

_LOAD_SECONDS = 300.0
_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter on disk.

    Attributes:
        path: Its folder.
        rank: Its LoRA rank, where its configuration says.
        base: The base model that it says it was made for.
        digest: Hash of its content.
    """

    path: Path
    rank: int | None
    base: str
    digest: str


class LoadedAdapter:
    """An adapter that this run uses under `endpoint`; released when the run ends."""

    def __init__(self, endpoint: Endpoint, lease: Lease | None) -> None:
        self.endpoint = endpoint
        self._lease = lease

    def release(self) -> None:
        """Unloads the adapter where capgate loaded it and nobody else uses it any more."""
        lease, self._lease = self._lease, None
        if lease is not None and lease.release():
            unload(self.endpoint, self.endpoint.model)


def attach(target: Target, base: Endpoint, served: Sequence[ServedModel]) -> LoadedAdapter:
    """Finds an adapter on its base's server, or loads it there.

    Args:
        target: The adapter's target.
        base: Its base's live endpoint.
        served: What the server lists.

    Raises:
        AdapterError: It is nowhere, can't be read, was made for another base, or the server
            refuses it.
        RequestFault: The server gave no usable answer.
    """
    parents = {model.name: model.parent for model in served}
    on_server = sorted(name for name, parent in parents.items() if parent == base.model)
    name = target.served_name or target.id
    folder = find_folder(target.path or name)
    if target.path is None and name in on_server:
        root = next(model.root for model in served if model.name == name)
        identity = {**base.identity, "adapter": name, "adapter_root": root}
        local = read_folder(Path(root), target.id) if Path(root, _CONFIG).is_file() else None
        if local is not None:
            identity["adapter_digest"] = local.digest
        endpoint = _endpoint(target, base, name, identity)
        if base.engine == "vllm":
            # Its prefix cache goes by name and path, under which there were other weights before.
            endpoint = replace(endpoint, salt=secrets.token_hex(8))
        return LoadedAdapter(endpoint, None)
    if folder is None and (target.path is None or "/" not in target.path or _is_path(target.path)):
        raise _not_found(target, name, on_server, other=parents.get(name))
    if folder is None:
        assert target.path is not None
        return _load_from_hub(target, base, on_server, name)
    adapter = read_folder(folder, target.id)
    _check_base(target, adapter, base, served)
    _check_shapes(target, adapter, base, served)
    identity = {**base.identity, "adapter": name, "adapter_digest": adapter.digest}
    return _load(target, base, on_server, name, str(adapter.path), adapter.digest, identity)


def find_folder(name: str) -> Path | None:
    """The folder of an adapter: `name` itself, or `adapters/name`."""
    for path in (Path(name).expanduser(), Path("adapters") / name):
        if path.is_dir():
            return path.resolve()
    return None


def read_folder(path: Path, target: str) -> AdapterFolder:
    """Reads what an adapter's folder says of itself.

    Raises:
        AdapterError: It holds no LoRA adapter.
    """
    config = path / _CONFIG
    try:
        facts = json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AdapterError(
            f"the folder {path} holds no {_CONFIG}",
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
    rank = facts.get("r")
    return AdapterFolder(
        path=path,
        rank=rank if isinstance(rank, int) else None,
        base=str(facts.get("base_model_name_or_path") or ""),
        digest=digest(path),
    )


def adapters_on_disk() -> list[str]:
    """The adapters below `adapters/` of the working directory."""
    return sorted(path.parent.name for path in Path("adapters").glob(f"*/{_CONFIG}"))


def load(base: Endpoint, *, target: str, name: str, path: str) -> None:
    """Has the server load an adapter.

    Raises:
        AdapterError: It refuses; with its words and the remedy.
        RequestFault: It gave no usable answer.
    """
    status, body, raw = _post(base, target, "load_lora_adapter", lora_name=name, lora_path=path)
    if status == 200:
        return
    said = _words(body, raw)
    raise _refusal(target, path, status, said)


def unload(endpoint: Endpoint, name: str) -> None:
    """Has the server unload an adapter.

    Raises:
        AdapterError: It has none of that name.
        RequestFault: It gave no usable answer.
    """
    status, body, raw = _post(endpoint, endpoint.target, "unload_lora_adapter", lora_name=name)
    if status != 200:
        raise AdapterError(
            f"the server could not unload the adapter {name} (HTTP {status})",
            target=endpoint.target,
            said=_words(body, raw),
            remedy="inference-server list shows what it serves",
        )


def _load(
    target: Target,
    base: Endpoint,
    on_server: Sequence[str],
    name: str,
    path: str,
    content: str,
    identity: dict[str, Any],
) -> LoadedAdapter:
    served_name = f"{name.rstrip('/').split('/')[-1]}-{content[:10]}"
    lease = Lease(base.base_url, served_name)
    try:
        if served_name not in on_server:
            load(base, target=target.id, name=served_name, path=path)
    except AdapterError as error:
        # Another run may have loaded it between our looking and our asking.
        if "already been loaded" not in error.said:
            lease.release()
            raise
    except BaseException:
        lease.release()
        raise
    return LoadedAdapter(_endpoint(target, base, served_name, identity), lease)


def _load_from_hub(
    target: Target, base: Endpoint, on_server: Sequence[str], name: str
) -> LoadedAdapter:
    assert target.path is not None
    content = f"{target.path}@{target.revision or 'main'}"
    path = target.path
    if target.revision is not None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            path = snapshot_download(target.path, revision=target.revision)
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            raise AdapterError(
                f"the adapter {content} can't be had from the hub",
                target=target.id,
                said=str(error),
                remedy="check its name, or name its folder in path",
            ) from None
        adapter = read_folder(Path(path), target.id)
        identity = {**base.identity, "adapter": content, "adapter_digest": adapter.digest}
        return _load(target, base, on_server, name, path, adapter.digest, identity)
    import hashlib

    identity = {**base.identity, "adapter": content}
    hashed = hashlib.sha256(content.encode()).hexdigest()
    return _load(target, base, on_server, name, path, hashed, identity)


def _endpoint(target: Target, base: Endpoint, name: str, identity: dict[str, Any]) -> Endpoint:
    return Endpoint(
        target=target.id,
        base_url=base.base_url,
        model=name,
        engine=base.engine,
        identity=identity,
        key=base.key,
        apart=base.apart,
    )


def _check_base(
    target: Target, adapter: AdapterFolder, base: Endpoint, served: Sequence[ServedModel]
) -> None:
    """Refuses an adapter whose own words name another base than the served one.

    Only two hub ids can contradict each other: a folder may hold any model.
    """
    root = next((model.root for model in served if model.name == base.model), "")
    made_for = adapter.base
    if not (_is_hub_id(made_for) and _is_hub_id(root)):
        return
    if made_for.lower() != root.lower():
        raise AdapterError(
            f"the adapter was made for {made_for}, but the server serves {root}",
            target=target.id,
            remedy="judge it with --model-id of a target that serves its own base",
        )


def _check_shapes(
    target: Target, adapter: AdapterFolder, base: Endpoint, served: Sequence[ServedModel]
) -> None:
    """Refuses an adapter whose tensors do not fit the served model, where both can be read.

    vLLM accepts such adapters and applies what happens to fit, or nothing.
    """
    root = next((model.root for model in served if model.name == base.model), "")
    model = shapes.of_model(root)
    own = shapes.of_adapter(adapter.path)
    if model is None or own is None or shapes.fit(own, model):
        return
    raise AdapterError(
        f"the adapter was made for another base: {own}, but the served model has {model}",
        target=target.id,
        remedy="judge it with --model-id of a target that serves its own base",
    )


def _not_found(
    target: Target, name: str, on_server: Sequence[str], other: str | None
) -> AdapterError:
    if other is not None:
        return AdapterError(
            f"the server serves {name!r}, but as an adapter of {other or 'nothing: a base model'}",
            target=target.id,
            remedy="name the base that it belongs to with --model-id",
        )
    disk = adapters_on_disk()
    return AdapterError(
        f"there is no adapter {target.path or name!r} on the server nor on disk",
        target=target.id,
        said=f"on the server: {', '.join(on_server) or 'none'}; "
        f"in adapters/: {', '.join(disk) or 'none'}",
        remedy="load it (inference-server load-adapter NAME --path DIR), or name its folder "
        "(--adapter-name DIR, or path: in models.yaml)",
    )


def _refusal(target: str, path: str, status: int, said: str) -> AdapterError:
    lower = said.lower()
    what, remedy = f"the server could not load the adapter {path} (HTTP {status})", ""
    if status == 404 and said.strip('"{}: ').lower() in {
        "not found",
        "detail: not found",
        "detail",
    }:
        what = "the server can't load adapters at run time (HTTP 404 for its route)"
        remedy = (
            "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or have it "
            "load the adapter at its start (--lora-modules NAME=PATH)"
        )
    elif "greater than max_lora_rank" in lower:
        remedy = "start the server with a larger --max-lora-rank"
    elif "deserializ" in lower or "header" in lower or "safetensors" in lower:
        what = f"the adapter's weights in {path} are corrupt (HTTP {status})"
        remedy = "copy or save them again"
    elif "no adapter found" in lower or "not found" in lower:
        what = f"the server finds no adapter at {path} (HTTP {status})"
        remedy = "give a path that the server's own machine can read"
    elif "lora" in lower and ("not enabled" in lower or "enable" in lower):
        what = f"the server was started without LoRA (HTTP {status})"
        remedy = "start it with --enable-lora"
    return AdapterError(what, target=target, said=said, remedy=remedy or "see the server's log")


def _post(endpoint: Endpoint, target: str, route: str, **body: str) -> tuple[int, Any, bytes]:
    url = f"{endpoint.base_url}/{route}"
    place = Place(target, url, endpoint.model, endpoint.key or "")
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    try:
        with httpx.Client(timeout=_LOAD_SECONDS) as client:
            answer = client.post(url, json=body, headers=headers)
    except httpx.HTTPError as error:
        raise RequestFault(
            "disconnected",
            "the server did not answer",
            target=target,
            url=url,
            said=place.redact(str(error)),
            remedy="see the server's log",
        ) from None
    try:
        parsed = answer.json()
    except ValueError:
        parsed = None
    if answer.status_code in {401, 403}:
        raise fault_of_response(place, answer.status_code, parsed, answer.content, answer.headers)
    return answer.status_code, parsed, answer.content


def _words(body: Any, raw: bytes) -> str:  # noqa: ANN401 (whatever the server sent)
    if isinstance(body, dict):
        error = body.get("error", body.get("detail"))
        if isinstance(error, dict):
            return str(error.get("message", error))
        if error is not None:
            return str(error)
    return raw[:2000].decode(errors="replace")


def _is_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~"))


def _is_hub_id(text: str) -> bool:
    return text.count("/") == 1 and not _is_path(text) and not Path(text).exists()
