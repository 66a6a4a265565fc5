"""A call becomes its canonical 256-bit digest, and a response class its own."""

from __future__ import annotations

import weakref
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

from samecall._entry import Key
from samecall._errors import ConfigurationError, Unkeyable
from samecall._key.canonical import canonical, plain_form, plain_form_and_kind
from samecall._key.odd import path_of

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = [
    "DIGEST_SIZE",
    "digest_of",
    "digest_of_form",
    "key_from",
    "path_of",
    "plain_form",
    "plain_form_and_kind",
    "schema_digest",
    "variant_of",
]

DIGEST_SIZE = 32
"""Bytes in a digest."""
_SCHEME = b"samecall-key-2"
"""BLAKE2b's personalisation: another number is another scheme, and shares no digest with this."""
_SECRET_SIZE = 64


def digest_of(parts: object, *, secret: bytes | None = None) -> bytes:
    """The digest of `parts`: equal parts, equal digest, in every process and Python version.

    With a `secret` (any number of bytes from 1, the fleet shares it) nobody without it can test
    guesses of a prompt. Raises `Unkeyable` with the path of an argument that has no form.
    """
    return digest_of_form(canonical(parts), secret)


def digest_of_form(form: bytes, secret: bytes | None = None) -> bytes:
    """The digest of a canonical form."""
    if secret is None:
        return blake2b(form, digest_size=DIGEST_SIZE, person=_SCHEME).digest()
    if not secret:
        raise ConfigurationError("secret takes one byte or more; got b''")
    if len(secret) > _SECRET_SIZE:
        secret = blake2b(secret, person=_SCHEME).digest()
    return blake2b(form, digest_size=DIGEST_SIZE, person=_SCHEME, key=secret).digest()


def key_from(value: str | bytes | Key, namespace: str, secret: bytes | None = None) -> Key:
    """The `Key` of a name that a caller chose; a `Key` passes through as a plain one.

    Raises `ConfigurationError` for anything but str, bytes or a sound `Key`.
    """
    if isinstance(value, Key):
        if len(value.digest) != DIGEST_SIZE:
            raise ConfigurationError(
                f"key takes a Key with a digest of {DIGEST_SIZE} bytes; got {len(value.digest)}"
            )
        return value if type(value) is Key else Key(value.digest, value.namespace)
    if not isinstance(value, (str, bytes)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"key takes str, bytes or a Key; got {type(value).__name__}")
    return Key(digest_of(("named", value), secret=secret), namespace)


# --- response classes -------------------------------------------------------------------------

_ATTRIBUTE = "__samecall_schema__"
_plain: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()


def schema_digest(model_class: Any, *, anew: bool = False) -> bytes:
    """The digest of what a provider is told of a response class: its name and JSON schema.

    The order of fields and of a union's members counts. Computed once per class, and again after
    a `model_rebuild`, or if `anew`. Raises `Unkeyable` where pydantic can make no JSON schema.
    """
    if anew or not isinstance(model_class, type):
        return _compute(model_class)  # list[A]; and A | B == B | A, so unions cannot be looked up
    known = model_class.__dict__.get(_ATTRIBUTE)
    if known is not None and known[0] is _validator(model_class):
        digest: bytes = known[1]
        return digest
    kept = _plain.get(model_class)
    if kept is not None:
        return kept
    digest = _compute(model_class)
    validator = _validator(model_class)  # after computing, which may have completed the class
    if validator is None:
        _plain[model_class] = digest
    else:
        # On the class and not in a table: the validator holds its class, and would for ever.
        setattr(model_class, _ATTRIBUTE, (validator, digest))
    return digest


def _validator(model_class: type) -> object:
    """What pydantic makes anew when it rebuilds a class; None for a class that is not its own."""
    return model_class.__dict__.get("__pydantic_validator__")


def _compute(model_class: Any) -> bytes:
    name: str = model_class.__qualname__ if isinstance(model_class, type) else ""
    try:
        return digest_of(("schema", name, _in_order(_json_schema(model_class))))
    except Unkeyable as unkeyable:
        raise Unkeyable(f"response_model.{unkeyable.path}", unkeyable.why) from unkeyable
    except Exception as error:  # pydantic's, or of a hook of the class itself
        why = f"no JSON schema can be made of {model_class!r:.80} ({type(error).__name__})"
        raise Unkeyable("response_model", why) from error


def _json_schema(model_class: Any) -> dict[str, Any]:
    if _is_model(model_class):
        schema: dict[str, Any] = model_class.model_json_schema()
        return schema
    from pydantic import TypeAdapter  # here: it takes longer to import than all of this package

    adapter: TypeAdapter[Any] = TypeAdapter(model_class)
    return adapter.json_schema()


def _is_model(model_class: Any) -> bool:
    from pydantic import BaseModel

    return isinstance(model_class, type) and issubclass(model_class, BaseModel)


def _in_order(schema: Any) -> Any:
    """`schema` with every mapping of properties as a list, so that the fields' order counts."""
    if isinstance(schema, dict):
        mapping = cast("dict[str, Any]", schema)
        return {key: _in_order(_pairs(key, value)) for key, value in mapping.items()}
    if isinstance(schema, list):
        items: list[Any] = schema  # pyright: ignore[reportUnknownVariableType]
        return [_in_order(item) for item in items]
    return schema


def _pairs(key: str, value: Any) -> Any:
    if key == "properties" and isinstance(value, dict):
        return [[name, item] for name, item in cast("dict[str, Any]", value).items()]
    return value


def variant_of(key: Key, number: int) -> Key:
    """The key of one of several answers to a call; the first one's is the call's own."""
    if number == 0:
        return key
    digest = blake2b(b"variant %d" % number, key=key.digest, digest_size=32).digest()
    return Key(digest, key.namespace)
