"""Keys of a cassette: what is asked, without on whose account and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from samecall._cassette import Cassette
from samecall._entry import Key
from samecall._errors import Unkeyable
from samecall._key import digest_of
from samecall.instructor._account import LOGINS
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
_WITHIN = {
    "extra_headers": LOGINS | {"cookie", "proxy-authorization", "x-amz-security-token"},
    "extra_query": frozenset(
        {"access_token", "api-key", "api_key", "apikey", "key", "subscription-key", "token"}
    ),
    "extra_body": _ARGUMENTS,
}


def recorded_key(
    cassette: Cassette,
    ready: Prepared,
    snapshot: Snapshot,
    options: Options,
    client: tuple[str, str],
    default_model: str | None,
) -> Key:
    """The key of a call in a cassette, which is told what is asked. Raises `Unkeyable`.

    `client`: provider and mode.
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
    for name, logins in _WITHIN.items():
        held = kept.get(name)
        if isinstance(held, Mapping):
            named = cast("Mapping[str, object]", held).items()
            rest = {each: value for each, value in named if str(each).lower() not in logins}
            kept = {other: value for other, value in kept.items() if other != name}
            if rest:
                kept[name] = rest
    return kept


def _name(ready: Prepared) -> str:
    return str(getattr(ready.asked, "__name__", ready.asked))[:80]
