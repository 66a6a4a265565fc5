"""How the project is tested: `pip install nox && nox`. Needs PyPI, and neither Docker nor Redis.

nox -s tests -- -k lease       arguments after -- go to pytest
nox -s versions-3.13           the tests on another interpreter, which has to be there
nox -s mutants                 break each guard of the code; the test named for it must fail
nox -s mutants -- --sample 24  so many of them by chance; prints the seed of its choice
nox -s fuzz -- 1000000         feed that many random and mutated inputs to all that decodes
nox -s simulate -- 100000      that many simulated fleets; see docs/simulation.md
nox -s upstream                instructor's own cache tests, with our cache in them
nox -s newest                  all providers on their newest SDKs
nox -s apart                   providers whose SDKs do not install beside the others
nox -s model -- --deep         the model of the protocol in larger worlds (minutes; needs spin)
nox -s docs                    build the docs site strictly into site/
nox -s bench -- --redis URL    the benchmarks, on a server of yours (default: short sizes)
nox -s dist                    build sdist and wheel and test the wheel alone
nox -s chaos -- 300000         so many cancels (20,000 without a number), and every other fault;
                               -- 5000 --loads without the tests that `nox -s tests` runs as well
"""

import json
import os
import re
import shutil
from pathlib import Path

import nox
from nox.command import CommandFailed

# Without it, where it is set, every process that a test starts compiles all SDKs anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "tests", "integration", "lowest", "scripts", "upstream"]

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


FEW = 5  # failures that may be told from a broken tree by running them again


def pytest(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Pytest; under SAMECALL_FLAKY=again a few failed tests once more, in a process of their own.

    `.ci/run` asks for it, so that one unlucky test of thousands on a busy machine does not hide
    what the others say. Both runs are printed, and `.ci/run` names at its end what failed first.
    """
    try:
        session.run("pytest", *arguments, env=env)
    except CommandFailed:
        kept = Path(".pytest_cache/v/cache/lastfailed")
        failed = json.loads(kept.read_text()) if kept.is_file() else {}
        if os.environ.get("SAMECALL_FLAKY") != "again" or not 0 < len(failed) <= FEW:
            raise
        for each in failed:
            session.warn(f"FLAKY? {session.name}: {each}")
        again = ("--last-failed", "--last-failed-no-failures", "none")
        session.run("pytest", *again, *arguments, env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and Ruff's format; in a clone also what a commit is held to, on all files."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", "--diff", ".")
    inside = ("git", "rev-parse", "--is-inside-work-tree")
    if shutil.which("git") and "true" in str(
        session.run(*inside, silent=True, external=True, success_codes=[0, 128])
    ):
        session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure")


@nox.session
def types(session: nox.Session) -> None:
    """Both strict type checkers over the package and over what a user of it would write."""
    session.install(
        "-e", PACKAGE, *group("types"), *group("test"), "openai"
    )  # its types show through
    session.run("mypy")
    session.run("pyright")
    if Path("tests/typing").is_dir():
        session.run("mypy", "tests/typing")
        session.run("pyright", "tests/typing")


@nox.session
def tests(session: nox.Session) -> None:
    """Unit and multi-process tests on newest dependencies."""
    session.install(PACKAGE, *group("test"), *group("sdks"), *group("examples"))
    pytest(session, "tests", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """The same promises on Redis 7, Redis 8 and Valkey 8; processes where containers are not."""
    session.install(PACKAGE, *group("integration"))
    pytest(session, "integration", *session.posargs)


# What the lowest run leaves to `nox -s tests`: loads and faults on many processes, simulated and
# modelled worlds, and what only reads the source ask nothing more of a package than the rest does;
# the examples bring packages of their own. Of the demo's runs one will do.
NOT_LOWEST = (
    *("chaos", "examples", "model", "multiprocess", "proofs", "simulation", "upstream"),
    *("test_architecture.py", "test_docs_console.py", "test_guarantees.py", "test_workflows.py"),
)
_DEMO = "test_json_says_that_every_prompt_was_paid_for_once"  # one of its file is enough
LOWEST = ("tests", "-k", f"(not test_demo or {_DEMO}) and not howto-fastapi")


@nox.session
def lowest(session: nox.Session) -> None:
    """The unit tests on the lowest versions that pyproject.toml declares, core and extras.

    The SDKs, which have no floor here, are the newest that these versions go with.
    """
    constraints = Path(session.create_tmp(), "floors.txt")
    constraints.write_text("\n".join(floors()) + "\n")
    session.install("-c", str(constraints), PACKAGE, *group("test"), *group("sdks"))
    without = [f"--ignore=tests/{each}" for each in NOT_LOWEST]
    pytest(session, *(session.posargs or (*LOWEST, *without)))


@nox.session
def upstream(session: nox.Session) -> None:
    """Instructor's own offline cache tests, out of its sdist, with `NativeCache` in them."""
    session.install(
        PACKAGE, *group("test"), "pip", "diskcache", "openai", "jsonref", "python-dotenv"
    )
    asked = "from importlib.metadata import version as v; print(v('instructor'))"
    version = str(session.run("python", "-c", asked, silent=True)).strip()
    there = Path(session.create_tmp(), "sdist").resolve()
    shutil.rmtree(there, ignore_errors=True)
    fetch = ("download", "-q", "--no-deps", "--no-binary", "instructor", "-d", str(there))
    session.run("python", "-m", "pip", *fetch, f"instructor=={version}")
    (sdist,) = there.glob("*.tar.gz")
    shutil.unpack_archive(sdist, there, filter="data")
    session.run("python", "tests/upstream/run.py", str(there / f"instructor-{version}"))


@nox.session(python=["3.11", "3.12", "3.13", "3.14"], default=False)
def versions(session: nox.Session) -> None:
    """The unit tests on a named interpreter: nox -s versions-3.13."""
    session.install(PACKAGE, *group("test"), *group("sdks"), *group("examples"))
    pytest(session, "tests", *session.posargs)


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
    pytest(session, "tests/providers", "-k", chosen, *session.posargs, env=env)


APART = {"bounds": ("apart", "bounds"), "newest": ("apart-newest", "newest")}
APART["gemini"] = ("apart-gemini", "bounds")
APART["gemini-newest"] = ("apart-gemini", "newest")


@nox.session(default=False)
@nox.parametrize("sdks", list(APART))
def apart(session: nox.Session, sdks: str) -> None:
    """Gemini's old SDK, Vertex AI's and xAI's, which go with no others: docs/providers.md."""
    name, column = APART[sdks]
    session.install(PACKAGE, *group("test"), *group(name))
    env = {"SAMECALL_SDKS": column}
    pytest(session, "tests/providers/test_apart.py", *session.posargs, env=env)


@nox.session(default=False)
def dist(session: nox.Session) -> None:
    """Build sdist and wheel, and run the tests on the wheel with no source in sight."""
    session.install("build", *group("test"), *group("sdks"), *group("examples"))
    out = Path(session.create_tmp(), "dist")
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out))
    (wheel,) = out.glob("*.whl")
    away = Path(session.create_tmp(), "away")
    shutil.rmtree(away, ignore_errors=True)
    kept = session.run("git", "ls-files", "-z", silent=True, external=True, log=False) or ""
    for part in filter(None, kept.split("\0")):
        if not part.startswith("src/"):
            (away / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(part, away / part)
    session.install(f"{wheel}[{','.join(sorted(EXTRAS))}]")
    with session.chdir(away):  # the proofs are about the source's own lines
        pytest(session, "tests", "--ignore=tests/proofs", *session.posargs)


@nox.session
def scripts(session: nox.Session) -> None:
    """That each script of docs/benchmarks.md runs to its end, with the peers that it measures."""
    session.install(PACKAGE, *group("test"), *group("bench"))
    pytest(session, "bench/test_scripts.py", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Every claim of docs/benchmarks.md beside its peers and floors; rewrites that page."""
    session.install(PACKAGE, *group("bench"))
    session.run("python", "bench/all.py", *(session.posargs or ["--short"]))


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """The docs site, where a broken link or a name that is not there is an error."""
    session.install("-e", ".", *group("docs"))
    session.run("zensical", "build", "--clean", "--strict", *session.posargs)


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """Faults on real servers and processes: cancels, trouble in Redis, leaders that die."""
    rest = [each for each in session.posargs if each != "--loads"]
    cancels = int(rest[0]) if rest else 20_000
    times = str(max(1, 3 * cancels // 20_000))
    session.install(PACKAGE, *group("test"))
    if "--loads" not in session.posargs:
        pytest(session, "tests/chaos", "-q")
    session.run("python", "bench/cancels.py", str(cancels), *rest[1:])
    session.run("python", "bench/cancels.py", str(max(1, cancels // 4)), "cluster")
    session.run("python", "bench/trouble.py", times)
    if "--loads" not in session.posargs:
        session.run("python", "bench/trouble.py", times, "cluster")
        session.run("python", "bench/shared_errors.py", times)
    session.run("python", "bench/deaths.py", times)


@nox.session(default=False, venv_backend="none")
def model(session: nox.Session) -> None:
    """Check the model of the protocol with spin, and that broken variants of it are found out.

    A minute; -- --deep for larger worlds, -- --only NAME for some of it, -- --write docs/model.md
    to put the figures there.
    """
    if shutil.which("spin") is None or shutil.which("cc") is None:
        session.error("needs spin and a C compiler: apt-get install spin gcc libc6-dev")
    session.run("python3", "tests/model/check.py", *session.posargs, external=True)
