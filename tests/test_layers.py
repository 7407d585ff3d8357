"""The house: which floor may import which, who may do what, and how long a function or a file may be.

Each rule is a function from the sources to what breaks it; each is run on the package and on a snippet that breaks it.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "foreman"

FUNCTION_LINES = 60
FILE_LINES = 400

# What each floor stands on. The first name that fits decides; `foreman` alone is the version.
BASE = ("foreman.core", "foreman.kinds", "foreman.settings", "foreman.keyfile", "foreman.remotes", "foreman.log")
FLOORS: dict[str, tuple[str, ...]] = {
    "foreman.core": ("foreman.core",),
    "foreman.kinds": ("foreman.core",),
    "foreman.keyfile": ("foreman.core",),
    "foreman.remotes": ("foreman.core", "foreman.kinds", "foreman.keyfile"),
    "foreman.settings": ("foreman.core", "foreman.kinds", "foreman.remotes"),
    "foreman.config": ("foreman.core", "foreman.kinds", "foreman.remotes", "foreman.settings"),
    "foreman.log": ("foreman.core", "foreman.kinds", "foreman.settings"),
    "foreman.engine": (*BASE, "foreman.engine"),
    "foreman.web": (*BASE, "foreman.engine", "foreman.web"),
    # The stub checks foreman, so it shares no code with it.
    "foreman.testing": ("foreman.testing",),
    "foreman.app": (*BASE, "foreman.engine", "foreman.web"),
    "foreman.cli": (
        *BASE,
        "foreman.config",
        "foreman.engine",
        "foreman.web",
        "foreman.app",
        "foreman.cli",
        "foreman.testing",
    ),
    "foreman.__main__": ("foreman.cli",),
    "foreman": (),
}

# What the pure floor may take from outside: nothing with a clock, an environment, a socket or a file in it.
# fmt: off
PURE = frozenset({
    "abc", "base64", "binascii", "bisect", "codecs", "collections", "collections.abc", "contextlib", "dataclasses",
    "datetime", "decimal", "email.message", "email.parser", "email.policy", "email.utils", "enum", "fractions",
    "functools", "hashlib", "heapq", "ipaddress", "itertools", "json",
    "math", "operator", "orjson", "re", "statistics", "string", "struct", "textwrap", "types", "typing", "unicodedata",
    "urllib.parse",
})
# fmt: on
IMPURE_CALLS = frozenset({"open", "input", "print", "now", "utcnow", "today", "fromtimestamp"})


@dataclass(frozen=True)
class Import:
    """One imported module, the line it stands in, and whether it waits until a function runs."""

    target: str
    line: int
    lazy: bool


@dataclass(frozen=True)
class Module:
    name: str
    source: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    def within(self, *floors: str) -> bool:
        return any(self.name == floor or self.name.startswith(f"{floor}.") for floor in floors)


@dataclass(frozen=True)
class House:
    modules: tuple[Module, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(module.name for module in self.modules)

    def imports(self, module: Module) -> Iterator[Import]:
        tree = module.tree
        late = {id(inner) for node in ast.walk(tree) if is_function(node) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            for target in self._targets(module, node):
                yield Import(target, node.lineno, id(node) in late)  # type: ignore[attr-defined]

    def _targets(self, module: Module, node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if not isinstance(node, ast.ImportFrom):
            return []
        base = node.module or ""
        if node.level:
            parts = module.name.split(".")
            parts = parts[: len(parts) - node.level + module.is_package]
            base = ".".join([*parts, *([node.module] if node.module else [])])
        full = [f"{base}.{alias.name}" for alias in node.names]
        return [name if name in self.names or name == "aiohttp.web" else base for name in full]


def is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def read_house() -> House:
    modules = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        modules.append(Module(".".join(parts[:-1] if is_package else parts), path.read_text(), is_package))
    return House(tuple(modules))


def floor_of(name: str) -> str | None:
    return next(
        (floor for floor in FLOORS if name == floor or (name.startswith(f"{floor}.") and floor != "foreman")), None
    )


def every_module_has_a_floor(house: House) -> Iterator[str]:
    for module in house.modules:
        if floor_of(module.name) is None:
            yield f"{module.name} stands on no floor"


def imports_point_down(house: House) -> Iterator[str]:
    for module in house.modules:
        allowed = FLOORS.get(floor_of(module.name) or "", ())
        for found in house.imports(module):
            ours = found.target == "foreman" or found.target.startswith("foreman.")
            if ours and found.target != "foreman" and not Module(found.target, "").within(*allowed):
                yield f"{module.name}:{found.line} imports {found.target}"


def core_imports_only_what_is_pure(house: House) -> Iterator[str]:
    for module in house.modules:
        for found in house.imports(module):
            ours = found.target.split(".")[0] == "foreman"
            if module.within("foreman.core") and not ours and found.target not in PURE:
                yield f"{module.name}:{found.line} imports {found.target}"


def core_does_nothing_impure(house: House) -> Iterator[str]:
    waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    for module in house.modules:
        for node in ast.walk(module.tree) if module.within("foreman.core") else ():
            if isinstance(node, waits):
                yield f"{module.name}:{getattr(node, 'lineno', 0)} waits"
            if isinstance(node, ast.Call) and called(node) in IMPURE_CALLS:
                yield f"{module.name}:{node.lineno} calls {called(node)}"


def called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def only_web_and_the_stub_serve_http(house: House) -> Iterator[str]:
    for module in house.modules:
        if module.within("foreman.web", "foreman.testing"):
            continue
        for found in house.imports(module):
            if found.target.startswith("aiohttp.web"):
                yield f"{module.name}:{found.line} imports {found.target}"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and node.attr == "web" and ast.unparse(node.value) == "aiohttp":
                yield f"{module.name}:{node.lineno} uses aiohttp.web"


def only_the_command_line_prints(house: House) -> Iterator[str]:
    # The log writes to standard error, and the stub is a program of its own.
    for module in house.modules:
        for node in ast.walk(module.tree):
            prints = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if prints and not module.within("foreman.cli"):
                yield f"{module.name}:{node.lineno} prints"  # type: ignore[attr-defined]
            stream = isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr")
            if stream and not module.within("foreman.cli", "foreman.log", "foreman.testing"):
                yield f"{module.name}:{node.lineno} uses {ast.unparse(node)}"  # type: ignore[attr-defined]


def the_stub_is_imported_late_and_only_by_the_command_line(house: House) -> Iterator[str]:
    for module in house.modules:
        for found in house.imports(module):
            stub = Module(found.target, "").within("foreman.testing")
            inside = module.within("foreman.testing")
            if stub and not inside and not (module.within("foreman.cli") and found.lazy):
                yield f"{module.name}:{found.line} imports {found.target}"


def nothing_hides_behind_type_checking(house: House) -> Iterator[str]:
    for module in house.modules:
        for node in ast.walk(module.tree):
            hides = isinstance(node, ast.alias) and node.name == "TYPE_CHECKING"
            hides = hides or (isinstance(node, ast.Attribute) and node.attr == "TYPE_CHECKING")
            if hides:
                yield f"{module.name}:{getattr(node, 'lineno', 0)} TYPE_CHECKING"


def no_imports_go_round(house: House) -> Iterator[str]:
    edges = {m.name: {i.target for i in house.imports(m)} & house.names - {m.name} for m in house.modules}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> Iterator[str]:
        if name in trail:
            yield " -> ".join([*trail[trail.index(name) :], name])
        elif name not in done:
            for target in sorted(edges[name]):
                yield from walk(target, (*trail, name))
            done.add(name)

    for name in edges:
        yield from walk(name, ())


def functions_fit_a_screen(house: House) -> Iterator[str]:
    for module in house.modules:
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    yield f"{module.name}:{node.lineno} {node.name} has {length} lines"


def files_are_short(house: House) -> Iterator[str]:
    for module in house.modules:
        length = len(module.source.splitlines())
        if length > FILE_LINES:
            yield f"{module.name} has {length} lines"


def modules_say_what_they_own(house: House) -> Iterator[str]:
    for module in house.modules:
        if module.source.strip() and not ast.get_docstring(module.tree):
            yield f"{module.name} has no docstring"


Rule = Callable[[House], Iterator[str]]

# Each rule with a house of two that breaks it.
BROKEN: list[tuple[Rule, str, str]] = [
    (every_module_has_a_floor, "foreman.attic", ""),
    (imports_point_down, "foreman.engine.x", "from foreman.web import y"),
    (imports_point_down, "foreman.core.x", "from foreman.config import Settings"),
    (imports_point_down, "foreman.web.x", "def f():\n  import foreman.app"),
    (imports_point_down, "foreman.engine.x", "from ..web import y"),
    (imports_point_down, "foreman.testing.x", "from foreman.core import job"),
    (core_imports_only_what_is_pure, "foreman.core.x", "import asyncio"),
    (core_imports_only_what_is_pure, "foreman.core.x", "from os import environ"),
    (core_imports_only_what_is_pure, "foreman.core.x", "def f():\n  import urllib.request"),
    (core_does_nothing_impure, "foreman.core.x", "async def f(): ..."),
    (core_does_nothing_impure, "foreman.core.x", "at = datetime.now(UTC)"),
    (core_does_nothing_impure, "foreman.core.x", "open('x')"),
    (only_web_and_the_stub_serve_http, "foreman.app", "from aiohttp import web"),
    (only_web_and_the_stub_serve_http, "foreman.engine.x", "import aiohttp.web_app"),
    (only_web_and_the_stub_serve_http, "foreman.engine.x", "import aiohttp\nx = aiohttp.web.Application"),
    (only_the_command_line_prints, "foreman.engine.x", "print(1)"),
    (only_the_command_line_prints, "foreman.app", "import sys\nsys.stderr.write('x')"),
    (the_stub_is_imported_late_and_only_by_the_command_line, "foreman.cli.demo", "from foreman.testing import stub"),
    (the_stub_is_imported_late_and_only_by_the_command_line, "foreman.app", "def f():\n  import foreman.testing"),
    (nothing_hides_behind_type_checking, "foreman.web.x", "from typing import TYPE_CHECKING"),
    (nothing_hides_behind_type_checking, "foreman.web.x", "import typing\nif typing.TYPE_CHECKING: pass"),
    (no_imports_go_round, "foreman.web.x", "def f():\n  from foreman.web import y"),
    (functions_fit_a_screen, "foreman.web.x", "def f():\n" + "  pass\n" * FUNCTION_LINES),
    (functions_fit_a_screen, "foreman.web.x", "class A:\n async def f():\n" + "  pass\n" * FUNCTION_LINES),
    (files_are_short, "foreman.web.x", "pass\n" * (FILE_LINES + 1)),
    (modules_say_what_they_own, "foreman.web.x", "x = 1"),
]
RULES = list(dict.fromkeys(rule for rule, _, _ in BROKEN))


@pytest.fixture(scope="module")
def house() -> House:
    return read_house()


def test_the_whole_package_is_read(house: House) -> None:
    assert {"foreman", "foreman.core.job", "foreman.cli.main", "foreman.engine", "foreman.testing"} <= house.names


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule: Rule, house: House) -> None:
    assert list(rule(house)) == []


@pytest.mark.parametrize(("rule", "name", "source"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_rule_is_found(rule: Rule, name: str, source: str) -> None:
    neighbour = Module("foreman.web.y", '"""Doc."""\nfrom foreman.web import x')
    assert list(rule(House((Module(name, source), neighbour))))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "foreman.engine.x",
            '"""Doc."""\nfrom foreman.core import job\nfrom foreman.log import log_event\nimport aiohttp',
        ),
        ("foreman.web.y", '"""Doc."""\nfrom aiohttp import web\nfrom foreman import __version__'),
        ("foreman.cli.serve", '"""Doc."""\ndef f():\n  from foreman.testing.stub import StubOllama\n  print(1)'),
        ("foreman.core.x", '"""Doc."""\nfrom urllib.parse import urlsplit\nfrom . import job'),
    ],
)
def test_what_is_allowed_breaks_no_rule(name: str, source: str) -> None:
    house = House((Module(name, source), Module("foreman.core.job", '"""Doc."""')))
    assert [broken for rule in RULES for broken in rule(house)] == []


def test_the_pure_modules_are_those_of_the_standard_library() -> None:
    assert {name.split(".")[0] for name in PURE} - sys.stdlib_module_names == {"orjson"}
