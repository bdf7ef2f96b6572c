"""Turn YAML text into plain data that knows its line numbers; the only importer of yaml.

Must not know what a policy is, read files or build anything but str, int, float, bool, None, list and dict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

Path = tuple[str | int, ...]
"""Keys and list indexes from the root of a document to one of its values."""

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 50_000

# The words of YAML 1.1, because LiteLLM reads its configuration with them.
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **{form: True for word in ("true", "yes", "on") for form in (word, word.title(), word.upper())},
    **{form: False for word in ("false", "no", "off") for form in (word, word.title(), word.upper())},
}
_INT = re.compile(r"[-+]?(?:0|[1-9](?:_?[0-9]){0,29})", re.ASCII)
# PyYAML takes 1e-06 for text; prices are written that way.
_FLOAT = re.compile(r"[-+]?(?:\d{1,30}\.\d{0,30}|\.\d{1,30}|\d{1,30}(?=[eE]))(?:[eE][-+]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a file: where (`line` counts from 1), at which key, with which value, and what is right."""

    source: str
    line: int
    key: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.key}: {self.value}: {self.expected}"


class DocumentError(Exception):
    """A file cannot be used; `problems` holds everything that was found, in the order of its lines."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Plain data from a YAML text. Keys are always str, whatever they look like (`on:` is "on", not True)."""

    source: str
    value: object
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """Return the line of `path`, or of the nearest thing around it where the path does not exist."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: Path, value: str, expected: str) -> Problem:
        """Return a Problem at `path`."""
        return Problem(source=self.source, line=self.line(path), key=path_text(path), value=value, expected=expected)


def parse(text: str, *, source: str) -> Document:
    """Parse one YAML document; `source` is the name that problems carry. Raises DocumentError.

    Bounded: 1 MiB, 64 levels, 50,000 values with every alias expanded. Tags and duplicate keys are errors;
    dates stay text; merge keys (`<<`) work.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise DocumentError((_whole(source, f"more than {MAX_BYTES} bytes", f"at most {MAX_BYTES} bytes"),))
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        raise DocumentError((_unreadable(text, error, source),)) from error
    except yaml.MarkedYAMLError as error:
        raise DocumentError((_bad_syntax(error, source),)) from error
    builder = _Builder(source)
    value = builder.build(root, ()) if root is not None else None
    if builder.problems:
        raise DocumentError(tuple(sorted(builder.problems, key=lambda problem: problem.line)))
    return Document(source=source, value=value, lines=builder.lines)


def decode(data: bytes, *, source: str) -> str:
    """Decode a file's bytes as UTF-8, BOM allowed. Raises DocumentError naming the line of the first bad byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = Problem(
            source=source,
            line=data.count(b"\n", 0, error.start) + 1,
            key="(file)",
            value=f"byte 0x{data[error.start]:02x}",
            expected="save the file as UTF-8",
        )
        raise DocumentError((problem,)) from error


def path_text(path: Path) -> str:
    """Write a path the way people do: `routes[0].cache.exact_ttl`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(file)"


class _Loader(yaml.SafeLoader):
    """SafeLoader's composer with a bound on depth (it recurses) and without tags."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, "a YAML tag", mark)
        if self.depth >= MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Builder:
    """Walks the nodes once, expanding aliases, and notes lines and problems on the way."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.values = 0
        self.is_full = False

    def build(self, node: yaml.Node, path: Path) -> object:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self.values += 1
        # An alias may stand for a thousand values, or for itself.
        if self.values > MAX_VALUES or len(path) > MAX_DEPTH:
            if not self.is_full:
                expected = f"at most {MAX_VALUES} values in {MAX_DEPTH} levels, aliases counted each time they occur"
                self._add(node, (), "too much data", expected)
            self.is_full = True
        if self.is_full:
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._add(key_node, path, "a list or mapping as key", "keys must be text")
            elif key_node.value == "<<" and key_node.style is None:
                merged = {**self._merge(value_node, path), **merged}
            elif key_node.value in own:
                expected = f"remove one (the first is on line {self.lines[(*path, key_node.value)]})"
                self._add(key_node, (*path, key_node.value), "given twice", expected)
            else:
                self.lines[(*path, key_node.value)] = key_node.start_mark.line + 1
                own[key_node.value] = self.build(value_node, (*path, key_node.value))
        return {**merged, **own}

    def _merge(self, node: yaml.Node, path: Path) -> dict[str, object]:
        """Return what `<<: *a` or `<<: [*a, *b]` adds; of several, the earlier wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, object] = {}
        for source in sources:
            value = self.build(source, (*path, "<<"))
            if isinstance(value, dict):
                merged = {**value, **merged}
            else:
                self._add(source, (*path, "<<"), "not a mapping", "merge a mapping: <<: *name")
        return merged

    def _add(self, node: yaml.Node, path: Path, value: str, expected: str) -> None:
        line = node.start_mark.line + 1
        self.problems.append(
            Problem(source=self.source, line=line, key=path_text(path), value=value, expected=expected)
        )


def _scalar(node: yaml.Node) -> object:
    text = str(node.value)
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _bad_syntax(error: yaml.MarkedYAMLError, source: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = " ".join(part for part in (error.problem, error.context) if part)
    expected = "valid YAML"
    if "'\\t'" in said or "\t" in said:
        expected = "indent with spaces, not tabs"
    elif "YAML tag" in said:
        expected = "plain values without tags; quote a value to make it text"
    elif "expected a single document" in said:
        expected = "one document in a file"
    return Problem(source=source, line=mark.line + 1 if mark else 1, key="(file)", value=said, expected=expected)


def _unreadable(text: str, error: yaml.reader.ReaderError, source: str) -> Problem:
    line = text.count("\n", 0, error.position) + 1
    value = f"character {error.character!r}" if isinstance(error.character, str) else f"#x{error.character:04x}"
    return Problem(source=source, line=line, key="(file)", value=value, expected="printable UTF-8 text")


def _whole(source: str, value: str, expected: str) -> Problem:
    return Problem(source=source, line=1, key="(file)", value=value, expected=expected)
