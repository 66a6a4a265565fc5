"""Keys of a cassette: what is asked, without on whose account and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from samecall._cassette import Cassette
from samecall._entry import Key
from samecall._errors import Unkeyable
from samecall._key import digest_of
from samecall.instructor._hidden import is_login
from samecall.instructor._models import Prepared
from samecall.instructor._options import Options
from samecall.instructor._question import Snapshot, parts_of

__all__ = ["recorded_key"]

_VERSION = "cassette/1"
_ARGUMENTS = frozenset(
    {
        "api_base", "api_key", "aws_access_key_id", "aws_secret_access_key", "aws_session_token",
        "azure_ad_token", "base_url", "organization", "vertex_credentials", "vertex_project",
    }
)  # fmt: skip
"""Arguments of a call, of LiteLLM's above all."""
_QUERY = frozenset(
    {"access_token", "api-key", "api_key", "apikey", "key", "subscription-key", "token"}
)
_HEADERS = frozenset({"cookie", "x-amz-security-token"})
_WITHIN: dict[str, Callable[[str], bool]] = {
    "extra_headers": lambda name: name in _HEADERS or is_login(name),
    "extra_query": _QUERY.__contains__,
    "extra_body": _ARGUMENTS.__contains__,
}


def recorded_key(
    cassette: Cassette,
    ready: Prepared,
    snapshot: Snapshot,
    options: Options,
    client: tuple[str, str],
    default_model: str | None,
    settings: Sequence[tuple[str, Any]] = (),
) -> Key:
    """The key of a call in a cassette, which is told what is asked. Raises `Unkeyable`.

    `client`: provider and mode. `settings`: of a client that is a model in itself.
    """
    asked: dict[str, Any] = parts_of(
        snapshot, of=b"", default_model=default_model, account_named=True, vary=None
    )["asked"]
    provider, mode = client
    request = {
        "provider": provider,
        "mode": mode,
        "response_model": f"{_name(ready)} {digest_of(ready.schema).hex()[:32]}",
        "cache_namespace": options.namespace,
        "cache_vary": options.vary,
        **({"client": dict(settings)} if settings else {}),
        **_without_logins(asked),
    }
    try:
        key = Key(digest_of((_VERSION, ready.schema, request)), options.namespace)
    except Unkeyable as unkeyable:
        raise Unkeyable(unkeyable.path.removeprefix("[2]."), unkeyable.why) from None
    cassette.note(key, request)
    return key


def _without_logins(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked, without what says on whose account and where: it is to be kept in git."""
    kept = {name: value for name, value in asked.items() if name not in _ARGUMENTS}
    for name, hides in _WITHIN.items():
        held = kept.get(name)
        if isinstance(held, Mapping):
            named = cast("Mapping[str, object]", held).items()
            rest = {each: value for each, value in named if not hides(str(each).lower())}
            kept = {other: value for other, value in kept.items() if other != name}
            if rest:
                kept[name] = rest
    return kept


def _name(ready: Prepared) -> str:
    return str(getattr(ready.asked, "__name__", ready.asked))[:80]
