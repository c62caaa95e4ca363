"""Pull secrets: what the labelled Secrets of the cache's namespace are good for, and for whom."""

from __future__ import annotations

import hashlib
import logging
from base64 import b64decode
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import msgspec

from wasme.deploy.cache import protocol
from wasme.errors import InvalidSettings
from wasme.registry import credentials
from wasme.registry.auth import Credential

log = logging.getLogger(__name__)

DOCKER_CONFIG_KEY = ".dockerconfigjson"


class PullSecret(NamedTuple):
    """One labelled Secret, as the API server gave it.

    Attributes:
        name: of the object.
        data: its values, base64.
        namespace: of the workloads that it was given for; "" where the cache's keeper made it, for all.
    """

    name: str
    data: Mapping[str, str]
    namespace: str = ""

    @property
    def key(self) -> str:
        """The same for the same Secret with the same content."""
        told = repr((self.name, self.namespace, sorted(self.data.items())))
        return hashlib.sha256(told.encode()).hexdigest()


def from_list(found: Mapping[str, Any]) -> list[PullSecret]:
    """The Secrets of a list as the API server gives it; what is not as it should be is left out."""
    secrets = []
    for item in found.get("items") or []:
        data = item.get("data") or {}
        meta = item.get("metadata") or {}
        texts = {str(key): value for key, value in data.items() if isinstance(value, str)}
        namespace = str((meta.get("annotations") or {}).get(protocol.PULL_SECRET_NAMESPACE) or "")
        secrets.append(PullSecret(str(meta.get("name", "")), texts, namespace))
    return secrets


def offered(secrets: Collection[PullSecret], namespaces: Collection[str]) -> list[PullSecret]:
    """The Secrets that may be used for an image that filters of these namespaces need, the likeliest first.

    Those that were given for another namespace are not among them. For an image that no filter needs, only those for
    all are left: whoever may write a line into the list would otherwise be every namespace at once.
    """
    own = [each for each in secrets if each.namespace and each.namespace in namespaces]
    return [*own, *(each for each in secrets if not each.namespace)]


def credential_in(secret: PullSecret, host: str) -> Credential | None:
    """What a Secret holds for one registry: Docker's format, or username and password with the registry they are for.

    A pair that names no registry is for none: whoever may write a reference into the cache's list could have it sent
    anywhere else.
    """
    origin = f"the Secret {secret.name}"
    try:
        if DOCKER_CONFIG_KEY in secret.data:
            content: Any = msgspec.json.decode(b64decode(secret.data[DOCKER_CONFIG_KEY]))
            found = credentials.in_auths(content, host) if isinstance(content, dict) else None
            if found is None:
                return None
            return Credential(found.username, found.password, found.identity_token, found.registry_token, origin=origin)
        text = {key: b64decode(value).decode().strip("\r\n") for key, value in secret.data.items()}
    except (ValueError, msgspec.MsgspecError, RecursionError, InvalidSettings):
        log.warning("pull secret cannot be read", extra={"fields": {"secret": secret.name}})
        return None
    if not text.get("registry") or not credentials.same_registry(text["registry"], host):
        return None
    if not text.get("username") and not text.get("password"):
        return None
    return Credential(text.get("username", ""), text.get("password", ""), origin=origin)
