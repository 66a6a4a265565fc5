"""How the project is tested: `pip install nox && nox`. Needs PyPI, and neither Docker nor Redis.

nox -s tests -- -k lease       arguments after -- go to pytest
nox -s versions-3.13           the tests on another interpreter, which has to be there
nox -s mutants                 break each guard of the code; the test named for it must fail
nox -s fuzz -- 1000000         feed that many random and mutated inputs to all that decodes
nox -s simulate -- 100000      that many simulated fleets; see docs/simulation.md
nox -s newest                  all providers on their newest SDKs
nox -s model -- --deep         the model of the protocol in larger worlds (minutes; needs spin)
nox -s dist                    build sdist and wheel and test the wheel alone
nox -s chaos -- 300000         so many cancels (20,000 without a number), and every other fault
"""

import re
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "tests", "integration", "lowest"]

PROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = PROJECT["project"]["optional-dependencies"]
PACKAGE = f".[{','.join(sorted(EXTRAS))}]"


def group(name: str) -> list[str]:
    """The requirements of one dependency group."""
    return list(nox.project.dependency_groups(PROJECT, name))


def floors() -> list[str]:
    """What pyproject.toml declares as lowest versions, core and extras, as exact constraints."""
    declared = [
        *PROJECT["project"]["dependencies"],
        *(one for each in EXTRAS.values() for one in each),
    ]
    found: set[str] = set()
    for requirement in declared:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        floor = re.search(r">=\s*([0-9][^,;\s]*)", requirement)
        if name is None or (floor is None and name[0] != "samecall"):
            message = f"pyproject.toml: {requirement!r} declares no lowest version"
            raise ValueError(message)
        if floor is not None:
            found.add(f"{name[0]}=={floor[1]}")
    return sorted(found)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and Ruff's format."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", "--diff", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Both strict type checkers over the package and over what a user of it would write."""
    session.install("-e", PACKAGE, *group("types"), *group("test"))
    session.run("mypy")
    session.run("pyright")
    if Path("tests/typing").is_dir():
        session.run("mypy", "tests/typing")
        session.run("pyright", "tests/typing")


@nox.session
def tests(session: nox.Session) -> None:
    """Unit and multi-process tests on newest dependencies."""
    session.install(PACKAGE, *group("test"), *group("sdks"))
    session.run("pytest", "tests", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """The same promises on Redis 7, Redis 8 and Valkey 8; processes where containers are not."""
    session.install(PACKAGE, *group("integration"))
    session.run("pytest", "integration", *session.posargs)


LOWEST = (
    "tests/core",
    "tests/redis",
    *(f"tests/test_{room}.py" for room in ("entry", "key", "memory", "memory_contract")),
    "tests/test_schema_digest.py",
)


@nox.session
def lowest(session: nox.Session) -> None:
    """The core, the stores and the key on the lowest versions that pyproject.toml declares."""
    constraints = Path(session.create_tmp(), "floors.txt")
    constraints.write_text("\n".join(floors()) + "\n")
    session.install("-c", str(constraints), PACKAGE, *group("test"), *group("sdks"))
    session.run("pytest", *(session.posargs or LOWEST))


@nox.session(python=["3.11", "3.12", "3.13", "3.14"], default=False)
def versions(session: nox.Session) -> None:
    """The unit tests on a named interpreter: nox -s versions-3.13."""
    session.install(PACKAGE, *group("test"), *group("sdks"))
    session.run("pytest", "tests", *session.posargs)


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Every guard of tests/proofs/guards.toml, removed in turn, is missed by its test."""
    session.install(PACKAGE, *group("test"), *group("sdks"))
    session.run("python", "tests/proofs/mutants.py", *session.posargs)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Random and mutated input to every decoder: 100,000, or as many as are asked for."""
    session.install(PACKAGE, *group("sdks"))
    session.run("python", "tests/proofs/fuzz.py", *session.posargs)


@nox.session(default=False)
def simulate(session: nox.Session) -> None:
    """Fleets in virtual time: nox -s simulate -- 100000 --first 0, or -- --replay SEED."""
    session.install(PACKAGE)
    session.run("python", "tests/simulation/simulate.py", *(session.posargs or ["5000"]))


@nox.session(default=False)
@nox.parametrize("sdks", ["newest-sdks", "newest-litellm"], ids=["sdks", "litellm"])
def newest(session: nox.Session, sdks: str) -> None:
    """Every provider with its newest SDK, whatever instructor allows: docs/providers.md."""
    session.install(PACKAGE, *group("test"), *group(sdks))
    chosen = "litellm" if sdks == "newest-litellm" else "not litellm"
    env = {"SAMECALL_SDKS": "newest"}
    session.run("pytest", "tests/providers", "-k", chosen, *session.posargs, env=env)


@nox.session(default=False)
def dist(session: nox.Session) -> None:
    """Build sdist and wheel, and run the tests on the wheel with no source in sight."""
    session.install("build", *group("test"), *group("sdks"))
    out = Path(session.create_tmp(), "dist")
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out))
    (wheel,) = out.glob("*.whl")
    away = Path(session.create_tmp(), "away")
    shutil.rmtree(away, ignore_errors=True)
    for part in ("tests", "docs"):
        shutil.copytree(part, away / part)
    for part in ("pyproject.toml", "README.md"):
        shutil.copy(part, away)
    session.install(f"{wheel}[{','.join(sorted(EXTRAS))}]")
    with session.chdir(away):
        session.run("pytest", "tests", *session.posargs)


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """Faults on real servers and processes: cancels, trouble in Redis, leaders that die."""
    cancels = int(session.posargs[0]) if session.posargs else 20_000
    length = max(1, cancels // 20_000)
    session.install(PACKAGE, *group("test"))
    session.run("pytest", "tests/chaos", "-q")
    session.run("python", "bench/cancels.py", str(cancels), *session.posargs[1:])
    session.run("python", "bench/trouble.py", str(3 * length))
    session.run("python", "bench/deaths.py", str(3 * length))


@nox.session(default=False, venv_backend="none")
def model(session: nox.Session) -> None:
    """Check the model of the protocol with spin, and that broken variants of it are found out.

    A minute; -- --deep for larger worlds, -- --only NAME for some of it, -- --write docs/model.md
    to put the figures there.
    """
    if shutil.which("spin") is None or shutil.which("cc") is None:
        session.error("needs spin and a C compiler: apt-get install spin gcc libc6-dev")
    session.run("python3", "tests/model/check.py", *session.posargs, external=True)
