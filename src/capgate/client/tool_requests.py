"""Tools that a model's answer asks to be called."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic_core import to_json


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A tool that a model asks to be called.

    Attributes:
        id: The server's id of the call, which the tool's result names.
        function: The tool's name.
        arguments: The arguments, JSON as the model wrote it.
    """

    id: str
    function: str
    arguments: str


def read_tool_requests(calls: object) -> tuple[ToolRequest, ...]:
    """Reads a message's `tool_calls`; a call that names no function is left out."""
    found = []
    for at, call in enumerate(calls if isinstance(calls, list) else ()):
        if not isinstance(call, dict) or not isinstance(function := call.get("function"), dict):
            continue
        name, arguments, given = function.get("name"), function.get("arguments"), call.get("id")
        if not isinstance(name, str) or not name:
            continue
        if not isinstance(arguments, str):
            # Some servers send the object itself in place of its text.
            arguments = to_json(arguments or {}).decode()
        identity = given if isinstance(given, str) and given else f"call-{at}"
        found.append(ToolRequest(identity, name, arguments))
    return tuple(found)
