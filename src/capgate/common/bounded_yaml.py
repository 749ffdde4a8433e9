"""YAML that can't take more time or memory than its file is worth.

A few hundred bytes of anchors and merge keys can stand for more nodes than any memory holds.
So nodes are counted as they are after every alias and merge is expanded, and nothing is built
of a file that has too many. Events come from libyaml where PyYAML was built with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from capgate.common.garbage import collected_rarely
from capgate.common.text import one_line

FILE_BYTES: Final = 16 << 20
"""Bytes of the largest file that is read."""

NODES: Final = 2_000_000
"""Most nodes, after expansion: about 100,000 entries of ten keys."""

DEEPEST: Final = 50
"""Most levels, after expansion."""

_SCALAR: Final = 100
"""Characters of the longest number or date; longer ones cost a time that grows with the square."""

_TEXTS: Final = re.compile(r"tag:yaml\.org,2002:(str|binary)|tag:capgate,key:.*")

if TYPE_CHECKING or not yaml.__with_libyaml__:
    _Events = yaml.SafeLoader
else:

    class _Events(Composer, yaml.cyaml.CParser, SafeConstructor, Resolver):
        """libyaml's events under PyYAML's own composer, whose steps can be watched."""

        def __init__(self, text: str) -> None:
            yaml.cyaml.CParser.__init__(self, text)
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)


_TAKEN: Final = {
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:timestamp": "a date",
}
"""What YAML takes a key for that stands without quotes and is no text."""

_NOT_TEXT: Final = "tag:capgate,key:"


class NotText(str):
    """A key as it is written, where YAML takes it for something else than text.

    Attributes:
        taken: What YAML takes it for, as a noun.
    """

    taken = ""


class _Size(NamedTuple):
    """What a node amounts to: its nodes after expansion, itself included, and their levels."""

    nodes: int
    levels: int


_ONE: Final = _Size(1, 1)


def load(text: str) -> Any:  # noqa: ANN401 (any plain value)
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: It is not YAML, has a key twice, or is more than can be built.
    """
    # A large file makes objects by the million, all of which are kept.
    with collected_rarely():
        return yaml.load(text, Loader=_Loader)


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text, with the lines they stand in; None where it is empty.

    Raises:
        yaml.YAMLError: As for `load`.
    """
    node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return node


class _Loader(_Events):
    """A loader that refuses what plain YAML overwrites silently, or never comes to the end of."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0
        self._open: list[str | None] = []
        self._sizes: dict[int, _Size] = {}

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:  # noqa: ANN401
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent) and anchor in self._open:
            raise _refused(f"the anchor {_shown(anchor)} stands within itself", event.start_mark)
        if len(self._open) > DEEPEST:
            raise _refused(f"nested more than {DEEPEST} deep", event.start_mark)
        self._nodes += 1
        if self._nodes > NODES:
            raise _refused(f"more than {NODES:,} nodes", event.start_mark)
        self._open.append(anchor)
        try:
            node = super().compose_node(parent, index)
        finally:
            self._open.pop()
        if node is not None and not isinstance(node, yaml.ScalarNode):
            size = self._sizes.get(id(node)) or self._measured(node)
            if size.nodes > NODES:
                what = f"more than {NODES:,} nodes, where every alias stands for all its nodes"
                raise _refused(what, event.start_mark)
            if len(self._open) + size.levels > DEEPEST + 1:
                raise _refused(f"nested more than {DEEPEST} deep", event.start_mark)
        return node

    def _measured(self, node: yaml.Node) -> _Size:
        """The size of a node whose parts have been composed; the tree keeps it alive."""
        parts = (
            node.value
            if isinstance(node, yaml.SequenceNode)
            else [n for p in node.value for n in p]
        )
        sizes = [self._sizes.get(id(part), _ONE) for part in parts]
        size = _Size(
            1 + sum(one.nodes for one in sizes), 1 + max((one.levels for one in sizes), default=0)
        )
        self._sizes[id(node)] = size
        return size

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401
        # Checked here, before merge keys (<<) bring in keys that may well be overridden.
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise _refused(f"the key {_shown(key.value)} stands twice", key.start_mark)
            seen.add(key.value)
            if key.tag in _TAKEN:
                key.tag = f"{_NOT_TEXT}{_TAKEN[key.tag]}"
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401
        kind = node.tag.rsplit(":", 1)[-1]
        long = isinstance(node, yaml.ScalarNode) and len(node.value) > _SCALAR
        try:
            if long and not _TEXTS.fullmatch(node.tag):
                raise ValueError(node.tag)
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception:  # a date or number can't be made of this text
            what = f"this is no valid {kind}; a text goes in quotes"
            raise _refused(what, node.start_mark) from None


def _construct_not_text(_: _Loader, taken: str, node: yaml.ScalarNode) -> NotText:
    key = NotText(node.value)
    key.taken = taken
    return key


_Loader.add_multi_constructor(_NOT_TEXT, _construct_not_text)


def _shown(name: object) -> str:
    return repr(one_line(str(name), limit=80))


def _refused(what: str, mark: Any) -> yaml.MarkedYAMLError:  # noqa: ANN401
    return yaml.MarkedYAMLError(problem=what, problem_mark=mark)
