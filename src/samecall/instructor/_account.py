"""Whom a client asks, and on whose account: read from the SDK client, at every call anew."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

from samecall.instructor._hidden import is_login, readers, settings_of

__all__ = ["Source", "closure_of"]

_ENDPOINT = (
    "base_url",
    "_base_url",
    "endpoint",
    "server_url",
    "_server_url",
    "server",
    "api_host",
    "_api_host",
    "endpoint_url",
    "_custom_query",
    "api_version",
    "extra_body",
    "vertexai",
    "location",
    "region",
    "region_name",
    "aws_region",
    "_location",
)
_STABLE = (
    "organization",
    "project",
    "project_id",
    "_project",
    "workspace_id",
    "account_id",
    "aws_profile",
)
_SECRET = ("api_key", "_api_key", "auth_token", "_token", "token", "aws_access_key")
_MODULE = ("_key", "_base", "_project", "_location", "_token")  # litellm.openai_key, .api_base
_SETTING = ("_API_KEY", "_API_BASE", "_BASE_URL", "_ORGANIZATION", "_TOKEN", "_ENDPOINT", "_URL")
_CLOUD = ("AWS_", "AZURE_", "GOOGLE_", "VERTEX", "WATSONX_", "DATABRICKS_", "LITELLM_")
_ROTATING = ("_api_key_provider", "_azure_ad_token_provider", "_token_provider", "credentials")
_INNER = (
    "_api_client",
    "_client_wrapper",
    "sdk_configuration",
    "security",
    "_client_v1",
    "_http_options",
    "meta",
)
_NAMES = ("default_model", "model")


def closure_of(create: Callable[..., Any]) -> dict[str, Any]:
    """What instructor's `create_fn` holds inside: func, provider, mode, default_model."""
    found: dict[str, Any] = {}
    step: Any = create
    while step is not None:
        code = getattr(step, "__code__", None)
        for name, cell in zip(
            getattr(code, "co_freevars", ()), getattr(step, "__closure__", None) or (), strict=False
        ):
            try:
                found.setdefault(name, cell.cell_contents)
            except ValueError:  # a cell that is still empty
                continue
        step = getattr(step, "__wrapped__", None)
    return found


class Source:
    """The constant part of a client's keys; `identity()` notices when its settings changed."""

    def __init__(self, sdk: Any, create: Callable[..., Any], account: str | None) -> None:
        held = closure_of(create)
        self.default_model: str | None = next(
            (held[name] for name in _NAMES if isinstance(held.get(name), str)), None
        )
        self.account = account
        self._func = held.get("func")
        self._bare = sdk is None
        if self._bare:  # its module may hold what clients hold elsewhere: litellm.api_key
            sdk = sys.modules.get(str(getattr(self._func, "__module__", "")).partition(".")[0])
        self._plan = list(_plan(sdk, secrets=account is None))
        if self._bare and account is None:
            known = {name for _, name in self._plan}
            names = [name for name in dir(sdk) if name.endswith(_MODULE)]
            self._plan.extend((sdk, name) for name in names if name not in known)
        self._sdk = sdk
        self._readers = readers(sdk, secrets=account is None)
        self._told: tuple[list[Any] | None, tuple[object, ...]] = (None, ())
        headers: Any = getattr(sdk, "_custom_headers", None) if account is None else None
        self._headers: dict[Any, Any] | None = headers if isinstance(headers, dict) else None

    def settings(self) -> list[tuple[str, Any]]:
        """What a client that is a model in itself was made with; empty for every other one."""
        return settings_of(self._sdk)

    def identity(self) -> tuple[object, ...]:
        """Endpoint and account as plain data; the same object while nothing changed.

        Raises `Unkeyable` where the SDK does not show them.
        """
        now = [getattr(owner, name, None) for owner, name in self._plan]
        if self._bare:
            now.extend(self._function())
        for read in self._readers:
            now.extend(read())
        last, identity = self._told  # one pair: other threads ask, too
        if now != last:
            names = [name for _, name in self._plan]
            told = [
                (name, plain)
                for name, value in zip(names, now, strict=False)
                if (plain := _plain(value)) is not None
            ]
            identity = (self.account, *told, *now[len(names) :], *self._logins())
            self._told = (now, identity)
        return identity

    def _logins(self) -> Iterator[tuple[str, str]]:
        # a login that is sent as a default header names the account, the other headers do not
        for name, value in sorted((self._headers or {}).items()):
            if is_login(str(name).lower()) and isinstance(value, str):
                yield str(name).lower(), value

    def _function(self) -> Iterator[tuple[str, str]]:
        # a bare function (from_litellm) is all the identity that there is; its logins are in
        # the environment
        func = self._func
        yield (
            "function",
            f"{getattr(func, '__module__', '')}.{getattr(func, '__qualname__', '')}",
        )
        if self.account is None:
            for name, value in sorted(os.environ.items()):
                if name.endswith(_SETTING) or name.startswith(_CLOUD):
                    yield name, value
            yield from _bound(func)


def _bound(func: Any) -> Iterator[tuple[str, str]]:
    # a partial has arguments of its own, a router its deployments: their text stays in the digest
    if isinstance(func, partial):
        yield "bound", repr((func.args, sorted(func.keywords.items())))
        yield from _bound(func.func)
        return
    models = getattr(getattr(func, "__self__", None), "model_list", None)
    if models is not None:
        yield (
            "models",
            repr([{k: v for k, v in model.items() if k != "model_info"} for model in models]),
        )


def _plan(sdk: Any, *, secrets: bool, depth: int = 2) -> Iterator[tuple[Any, str]]:
    if sdk is None or depth < 0:
        return
    with warnings.catch_warnings():  # looking is not using
        warnings.simplefilter("ignore")
        rotating = any(callable(getattr(sdk, name, None)) for name in _ROTATING)
    names: tuple[str, ...] = _ENDPOINT
    if secrets:
        names += _STABLE
        if not rotating:
            names += _SECRET
    for name in names:
        if hasattr(sdk, name):
            yield sdk, name
    for name in _INNER:
        inner = getattr(sdk, name, None)
        if inner is not None and not isinstance(inner, (str, int, type)):
            yield from _plan(inner, secrets=secrets, depth=depth - 1)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    reveal = getattr(value, "get_secret_value", None)
    if callable(reveal) and isinstance(revealed := reveal(), str):
        return revealed
    if isinstance(value, dict):
        pairs = cast("dict[object, object]", value).items()
        return sorted((str(name), str(item)) for name, item in pairs) or None
    if type(value).__name__ == "URL":
        return str(value).rstrip("/")
    return None
