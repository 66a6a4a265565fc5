"""What some SDKs keep where others have a plain attribute: logins, places, settings of a model."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from samecall._errors import Unkeyable

__all__ = ["is_login", "readers", "settings_of"]

Told = Iterator[tuple[str, Any]]

_LOGINS = frozenset(
    {
        "anthropic-workspace-id",
        "api-key",
        "authorization",
        "openai-organization",
        "openai-project",
        "x-goog-user-project",
    }
)
# gateways: Azure's, Cloudflare's, Helicone's, LiteLLM's, Portkey's
_ENDINGS = ("-api-key", "-subscription-key", "-virtual-key", "-authorization", "-auth")
# what a `GenerativeModel` of Google's old SDKs was made with; labels are for the bill alone
_SETTINGS = (
    "_model_name",
    "_prediction_resource_name",
    "_location",
    "_generation_config",
    "_safety_settings",
    "_tools",
    "_tool_config",
    "_system_instruction",
    "_cached_content",
)
_DEPTH = 20
_AWS = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN")


def is_login(header: str) -> bool:
    """Whether a header, in small letters, says whose call it is."""
    return header in _LOGINS or header.endswith(_ENDINGS)


def readers(sdk: Any, *, secrets: bool) -> list[Callable[[], Told]]:
    """What to ask anew at each call beside plain attributes; `secrets`: also for logins.

    What they give is equal as long as nothing has changed. They raise `Unkeyable` where an SDK
    shows nobody whose calls its own are.
    """
    kind = cast("type[object]", type(sdk))
    home = kind.__module__.partition(".")[0]
    found: list[Callable[[], Told]] = []
    if kind.__name__ == "GenerativeModel" and home in ("google", "vertexai"):
        found.append(lambda: iter(settings_of(sdk)))
        found.append(_gemini(sdk, secrets=secrets) if home == "google" else _vertexai(secrets))
    elif not secrets:
        pass
    elif home == "botocore":
        found.append(lambda: _aws(sdk))
    elif home == "xai_sdk":
        found.append(_xai)
    elif hasattr(sdk, "aws_secret_key"):
        found.append(lambda: _anthropic_aws(sdk))
    return found


def settings_of(sdk: Any) -> list[tuple[str, Any]]:
    """What a model that is a client in itself was made with, and a provider is told with each call.

    Empty for every other client. Raises `Unkeyable` for a setting that has no plain form.
    """
    held: dict[str, Any] = getattr(sdk, "__dict__", {})
    if "_model_name" not in held or "_system_instruction" not in held:
        return []
    return [
        (name, _settled(held[name], name.lstrip("_"), 0))
        for name in _SETTINGS
        if held.get(name) is not None
    ]


def _settled(value: Any, path: str, depth: int) -> Any:
    if value is None or isinstance(value, (str, bytes, bool, int, float)):
        return value.value if isinstance(value, enum.Enum) else value
    if depth < _DEPTH:
        depth += 1
        if isinstance(cast("object", value), Mapping):
            pairs = (
                [str(_settled(name, path, depth)), _settled(item, path, depth)]
                for name, item in value.items()
            )
            return sorted(pairs, key=lambda pair: pair[0])
        if isinstance(cast("object", value), Sequence):
            return [_settled(item, path, depth) for item in value]
        if isinstance(value, enum.Enum):
            return _settled(value.value, path, depth)
        for plain in ("to_proto", "to_dict"):  # `to_dict` of the class, as protobuf's have it
            make = getattr(cast("type[object]", type(value)), plain, None)
            if make is not None:
                return _settled(make(value), path, depth)
        for name in ("_gapic_tool_config", "resource_name"):
            if (inner := getattr(value, name, None)) is not None:
                return _settled(inner, path, depth)
    raise Unkeyable("client", f"its {path} is a {type(value).__name__}, which has no plain form")


def _gemini(model: Any, *, secrets: bool) -> Callable[[], Told]:
    """The key and the place that `configure` set, until the model has its connection."""
    last: list[tuple[str, Any]] = []

    def read() -> Told:
        connected = getattr(model, "_client", None) or getattr(model, "_async_client", None)
        if not last or connected is None:
            last[:] = _configured(secrets=secrets)
        return iter(last)

    return read


def _configured(*, secrets: bool) -> Told:
    home = sys.modules.get("google.generativeai.client")
    config: dict[str, Any] = getattr(getattr(home, "_client_manager", None), "client_config", {})
    options = config.get("client_options")
    yield "api_endpoint", getattr(options, "api_endpoint", None)
    if secrets:
        key = getattr(options, "api_key", None)
        from_environment = os.environ.get("GEMINI_API_KEY") or os.environ.get("GOOGLE_API_KEY")
        yield "api_key", key if options is not None else from_environment
        yield "quota_project_id", getattr(options, "quota_project_id", None)


def _vertexai(secrets: bool) -> Callable[[], Told]:
    def read() -> Told:
        home = sys.modules.get("google.cloud.aiplatform.initializer")
        config = getattr(home, "global_config", None)
        yield "api_endpoint", getattr(config, "_api_endpoint", None)
        if secrets:
            yield "api_key", getattr(config, "_api_key", None)

    return read


def _aws(client: Any) -> Told:
    credentials = getattr(getattr(client, "_request_signer", None), "_credentials", None)
    held: dict[str, Any] = getattr(credentials, "__dict__", {})  # their properties renew them
    if not held.get("token") and isinstance(held.get("access_key"), str):
        yield "access_key", held["access_key"]
        return
    # a login for an hour: whose it is does not change
    role = getattr(getattr(held.get("_refresh_using"), "__self__", None), "_role_arn", None)
    yield "account", role or held.get("account_id") or held.get("_account_id")


def _anthropic_aws(sdk: Any) -> Told:
    if getattr(sdk, "aws_access_key", None) is None and getattr(sdk, "aws_profile", None) is None:
        rotating = "AWS_SESSION_TOKEN" in os.environ
        for name in _AWS[rotating:]:
            yield name, os.environ.get(name)


def _xai() -> Told:
    raise Unkeyable(
        "account",
        "xAI's SDK shows nobody its API key nor its host; name the account that these calls are "
        "made on: cached(client, cache, account=...)",
    )
