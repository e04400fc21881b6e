"""YAML as plain values, with the line of each key and `${VAR}` filled in.

Owns what a configuration file may be made of; knows none of its keys but those
whose scalar is text whatever it looks like. Rules:

* `${VAR}` and `${VAR:-default}` in a value are the environment's; `$$` is a `$`.
  A variable that is not set and has no default is a problem. Without quotes
  the value is then read as if it had stood in the file: a number stays one.
* Anchors, aliases and merge keys (`<<`) are YAML's own.

Used by one thread. Source: YAML 1.1 as PyYAML reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from zarrfs.daemon.config_problems import KeyPath, Problems

_VARIABLE: Final = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|\{)")
_MERGE: Final = "tag:yaml.org,2002:merge"
_TEXT_KEYS: Final = frozenset({"fmode", "dmode"})
"""Keys whose scalar stays text: YAML would read 0644 as an octal number."""
_MOST_VALUES: Final = 20_000
_MOST_LEVELS: Final = 20


class _TooMuchError(Exception):
    """No configuration is so large or so deep; aliases can make a small file so."""


class YamlReading:
    """Reads one text; what is wrong goes to `problems`."""

    def __init__(self, problems: Problems, environment: Mapping[str, str]) -> None:
        self._problems = problems
        self._environment = environment
        self._loader = yaml.SafeLoader("")
        self._values = 0

    def read(self, text: str) -> Any:
        """Return plain values; None when the text is no YAML, or is empty."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            return None if node is None else self._plain(node, ())
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self._problems.report((), f"not YAML: character #x{error.character:02x}", line=line)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 0
            self._problems.report((), f"not YAML: {_reason(error)}", line=line)
        except RecursionError:
            self._problems.report((), "nested too deeply", line=1)
        except _TooMuchError as error:
            self._problems.report((), str(error), line=1)
        return None

    def _plain(self, node: yaml.Node, path: KeyPath) -> Any:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise _TooMuchError(f"more than {_MOST_VALUES} values")
        if len(path) > _MOST_LEVELS:
            raise _TooMuchError("nested too deeply, or an alias stands within its own anchor")
        self._problems.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*path, at)) for at, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._plain_mapping(node, path)
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _plain_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._problems.report(path, "a key must be text", line=line)
                continue
            if key_node.tag == _MERGE:
                continue
            key = str(key_node.value)
            below = (*path, key)
            if key in plain:
                first = self._problems.lines[below]
                text = f"given twice, first in line {first}"
                self._problems.report(below, text, line=line)
                continue
            self._problems.lines[below] = line
            plain[key] = self._plain(value_node, below)
        for merged in self._merged(node, path):
            for key in merged.keys() - plain.keys():
                plain[key] = merged[key]
                self._problems.lines[*path, key] = self._problems.lines[*path, "<<", key]
        return plain

    def _merged(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[dict[str, Any]]:
        """Yield what `<<` brings in; its problems are told where it was written first."""
        for key_node, value_node in node.value:
            if key_node.tag != _MERGE:
                continue
            several = isinstance(value_node, yaml.SequenceNode)
            for source in value_node.value if several else [value_node]:
                if isinstance(source, yaml.MappingNode):
                    yield self._plain(source, (*path, "<<"))
                else:
                    line = key_node.start_mark.line + 1
                    self._problems.report((*path, "<<"), "must name a mapping", line=line)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        if node.tag.endswith(":str"):
            text = self._expanded(str(node.value), path)
            if node.style is not None or text == node.value:
                return text
            # Typeshed has no types for the resolver.
            tag = self._loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
            node = yaml.ScalarNode(tag, text, node.start_mark, node.end_mark)
        if path and path[-1] in _TEXT_KEYS and node.tag.endswith(":int"):
            return str(node.value)
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            reason = str(error).partition("\n")[0].partition(";")[0]
            self._problems.report(path, f"not a value that YAML knows: {reason}")
            return None

    def _expanded(self, text: str, path: KeyPath) -> str:
        def value_of(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            if match[1] is None:
                self._problems.report(
                    path, "after ${ come a variable's name and }; $${ stands for ${ itself"
                )
                return ""
            value = self._environment.get(match[1], match[2])
            if value is None:
                self._problems.report(path, f"the environment variable {match[1]} is not set")
                return ""
            return value

        return _VARIABLE.sub(value_of, text)


def _reason(error: yaml.MarkedYAMLError) -> str:
    if error.context and "single document" in error.context:
        return "a second document begins here (---)"
    return str(error.problem or error)
