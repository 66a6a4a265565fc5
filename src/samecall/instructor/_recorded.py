"""Keys of a cassette: what is asked, without on whose account and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    headers = asked.get("extra_headers")
    if isinstance(headers, Mapping):
        named = cast("Mapping[str, object]", headers)
        kept = {name: value for name, value in named.items() if not is_login(name)}
        asked = {name: value for name, value in asked.items() if name != "extra_headers"}
        if kept:
            asked["extra_headers"] = kept
    provider, mode = client
    request = {
        "provider": provider,
        "mode": mode,
        "response_model": f"{_name(ready)} {digest_of(ready.schema).hex()[:32]}",
        "cache_namespace": options.namespace,
        "cache_vary": options.vary,
        **({"client": dict(settings)} if settings else {}),
        **asked,
    }
    try:
        key = Key(digest_of((_VERSION, ready.schema, request)), options.namespace)
    except Unkeyable as unkeyable:
        raise Unkeyable(unkeyable.path.removeprefix("[2]."), unkeyable.why) from None
    cassette.note(key, request)
    return key


def _name(ready: Prepared) -> str:
    return str(getattr(ready.asked, "__name__", ready.asked))[:80]
