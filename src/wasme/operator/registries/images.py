"""From a FilterDeployment's image to what is known of it: looked at once for each digest, whoever asks."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec.structs import replace as changed

from wasme.deploy.cluster import Cluster
from wasme.deploy.resolved import ResolvedImage, Room, resolve
from wasme.errors import ContentMismatch, RegistryError, Unreachable, WasmeError
from wasme.image import pullers
from wasme.image.reference import Reference
from wasme.operator.informers.facts import ConfigFacts
from wasme.operator.nodecache.asked import read_map
from wasme.operator.registries.lookups import Lookups, Unanswered
from wasme.operator.registries.pull_secrets import Holder, Identity, PullSecrets
from wasme.operator.registries.routes import Routes
from wasme.operator.resources.wanted import Image, Key, Wanted
from wasme.registry.credentials import Keychain
from wasme.registry.endpoint import Endpoint
from wasme.registry.repository import Repository
from wasme.registry.retry import Policy
from wasme.registry.session import Session
from wasme.registry.settings import Settings
from wasme.registry.transport import ConnectionOptions

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

CONNECTION = ConnectionOptions(
    connect_timeout=5.0, read_timeout=10.0, no_metadata=True, retry=Policy(attempts=2, cap=2.0)
)
"""How registries are asked: a try is over within fifteen seconds of silence."""
LARGEST = pullers.LARGEST
"""Bytes of a module, as Istio's agent takes them: anybody may name one, and it is held in memory."""
_LONGEST = 60.0
"""Seconds for one look at an image, its module and all."""
_FRESH = 5.0
"""Seconds for which a tag that was looked up for one FilterDeployment is good for another."""
_MOST = 2000

Called = Callable[[Key], None]


class _Place(NamedTuple):
    """Where an image is, and as whom it is asked for."""

    endpoint: Endpoint
    repository: str
    insecure: bool
    mark: str


class _Tag(NamedTuple):
    """What a tag stood for, and when that was seen, of the monotonic clock."""

    digest: str
    at: float


class Images:
    """Looks at images. Safe to use from many threads.

    Args:
        cluster: where pull secrets are.
        routes: where registries' names lead.
        call: is given the key of a FilterDeployment whose image is to be asked for again.
        interval: seconds after which a tag that is followed is looked up again.
        connection: how registries are asked; what an object says of TLS is added.
        files: credential files for images without a pull secret; none: they are asked for as nobody.
        realms: further hosts that may be asked for a registry's tokens.
        lookups: how they are run.
    """

    def __init__(
        self,
        cluster: Cluster,
        routes: Routes,
        call: Called,
        *,
        interval: float = 60.0,
        connection: ConnectionOptions = CONNECTION,
        files: tuple[Path | str, ...] = (),
        realms: Mapping[str, tuple[str, ...]] | None = None,
        lookups: Lookups | None = None,
    ) -> None:
        self._routes = routes
        self._call = call
        self._interval = interval
        self._connection = connection
        self._files = files
        self._realms = realms or {}
        self._secrets = PullSecrets(cluster)
        self._lookups = lookups or Lookups()
        self._room = Room()
        self._images: _Lately[tuple[_Place, str], ResolvedImage] = _Lately(_MOST)
        self._tags: _Lately[tuple[_Place, str], _Tag] = _Lately(_MOST)
        self._asked: dict[Key, str] = {}
        self._problems: dict[Key, WasmeError] = {}

    def resolve(self, wanted: Wanted, before: Mapping[str, Any] | None = None) -> ResolvedImage:
        """What a FilterDeployment's image is; what it was last, where the registry cannot be asked again.

        Args:
            wanted: it.
            before: its status, of which ``image`` says what the reference stood for.

        Raises:
            InvalidReference: it names no image.
            Forbidden: its registry is none that the operator asks.
            Unauthorized: the pull secret is missing, or the registry refuses it.
            ContentMismatch: the module is another one than ``sha256`` says.
            Unreachable: the registry does not answer, or not yet; the key is called when it has.
            WasmeError: whatever else is wrong with the image.
        """
        image = wanted.image
        reference = Reference.parse(image.reference)
        self._routes.allowed.require(reference.domain)
        self._asked[wanted.key] = reference.domain
        place, identity = self._place(wanted, reference, age=self._interval)
        digest = reference.digest or self._pinned(image, before) or self._fresh(image, place, reference)
        if digest:
            known = self._images.get((place, digest))
            if known is not None:
                self._problems.pop(wanted.key, None)
                return _checked(known, image, reference)
        name: Hashable = (place, digest or reference.tag)
        host = place.endpoint.origin.netloc
        try:
            found = self._lookups.get(
                host, name, lambda: self._look(place, identity, reference, digest), lambda: self._call(wanted.key)
            )
        except RegistryError as error:
            if not isinstance(error, Unanswered):
                self._problems[wanted.key] = error
            last = self._last(image, place, reference, before)
            if last is None:
                raise
            return _checked(last, image, reference)
        self._problems.pop(wanted.key, None)
        return _checked(found, image, reference)

    def problem(self, wanted: Wanted) -> WasmeError | None:
        """Why the registry could not be asked when it was last; None where it could. It stays while that is tried."""
        return self._problems.get(wanted.key)

    def again(self, wanted: Wanted) -> float | None:
        """Seconds after which to look whether the tag has moved; None where that is not followed."""
        try:
            reference = Reference.parse(wanted.image.reference)
            if wanted.image.policy != "Always" or reference.digest:
                return None
            place, _ = self._place(wanted, reference, age=float("inf"))
        except WasmeError:
            return None
        tag = self._tags.get((place, reference.tag or ""))
        left = self._interval if tag is None else tag.at + self._interval - time.monotonic()
        # A little later than it is due, and spread.
        return max(left, 0.0) + random.uniform(0.01, 0.1) * self._interval  # noqa: S311

    def forget(self, key: Key) -> None:
        """A FilterDeployment is gone."""
        self._asked.pop(key, None)
        self._problems.pop(key, None)

    def led(self, before: ConfigFacts | None, after: ConfigFacts | None) -> None:
        """The cache's list has changed: call those whose images lie elsewhere by its registry map."""
        old, new = read_map(before), read_map(after)
        changed_names = {name.lower() for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        if changed_names:
            for key, domain in list(self._asked.items()):
                if domain.lower() in changed_names:
                    self._call(key)

    def _place(self, wanted: Wanted, reference: Reference, *, age: float) -> tuple[_Place, Identity]:
        image = wanted.image
        plain = image.plain_http or self._connection.plain_http
        at = self._routes.endpoint(reference.domain, plain_http=plain)
        identity = Identity()
        if image.pull_secret:
            hosts = self._routes.credential_hosts(reference.domain, plain_http=plain)
            identity = self._secrets.identity(wanted.key.namespace, image.pull_secret, hosts, age=age)
        insecure = image.insecure or self._connection.insecure
        return _Place(at, at.repository(reference.path), insecure, identity.mark), identity

    def _pinned(self, image: Image, before: Mapping[str, Any] | None) -> str:
        """The digest that is kept; "" where it is to be looked up."""
        return _told(image, before) if image.policy == "IfNotPresent" else ""

    def _fresh(self, image: Image, place: _Place, reference: Reference) -> str:
        """What the tag stood for a moment ago."""
        tag = self._tags.get((place, reference.tag or ""))
        age = self._interval if image.policy == "Always" else min(_FRESH, self._interval)
        if tag is None or time.monotonic() - tag.at >= age:
            return ""
        known = self._images.get((place, tag.digest))
        # Where it is not what the spec names, the tag may have been pushed anew since.
        return tag.digest if known is None or _meant(known.module.digest, image) else ""

    def _last(
        self, image: Image, place: _Place, reference: Reference, before: Mapping[str, Any] | None
    ) -> ResolvedImage | None:
        """What the image was when it could be looked at last; None where that is not known."""
        tag = self._tags.get((place, reference.tag or ""))
        digest = _told(image, before) or (tag.digest if tag else "")
        known = self._images.get((place, digest)) if digest and not reference.digest else None
        return known if known is not None and _meant(known.module.digest, image) else None

    def _look(self, place: _Place, identity: Identity, reference: Reference, digest: str) -> ResolvedImage:
        """Ask the registry; in a thread of its own."""
        plain = place.endpoint.origin.scheme == "http"
        options = changed(self._connection, insecure=place.insecure, plain_http=plain)
        keychain = self._keychain(identity, reference.domain)
        with Session(options, keychain, self._routes.whole, settings=Settings({}, self._realms)) as session:
            # Bytes may come one by one, and each in time.
            late = threading.Event()

            def give_up() -> None:
                late.set()
                session.close()

            over = threading.Timer(_LONGEST, give_up)
            over.daemon = True
            over.start()
            try:
                return self._seen(session, place, reference, digest)
            except RegistryError:
                if not late.is_set():
                    raise
                told = (
                    f"the registry {place.endpoint.origin.netloc} did not give {reference.full} within {_LONGEST:g} s"
                )
                raise Unreachable(told) from None
            finally:
                over.cancel()

    def _seen(self, session: Session, place: _Place, reference: Reference, digest: str) -> ResolvedImage:
        root = digest or Repository(session, reference).resolve(reference).digest
        found = self._images.get((place, root))
        if found is None:
            found = resolve(f"{reference.name}@{root}", session, largest=LARGEST, room=self._room)
            self._images.put((place, root), found)
            self._images.put((place, found.manifest.digest), found)
            log.info("looked at an image", extra={"fields": {"image": reference.full, "digest": found.module.digest}})
        if not digest and reference.tag:
            self._tags.put((place, reference.tag), _Tag(root, time.monotonic()))
        return found

    def _keychain(self, identity: Identity, name: str) -> Keychain:
        if identity.credential is not None or not self._files or self._routes.by_list_alone(name):
            return Holder(name, identity.credential)
        return Keychain(files=self._files)


class _Lately(Generic[K, T]):
    """What was used lately, up to a number of entries; the one that was not for longest goes. Safe from threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[K, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> T | None:
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def put(self, key: K, value: T) -> None:
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)


def _told(image: Image, before: Mapping[str, Any] | None) -> str:
    """The digest that a status tells of this very reference; "" for none, or where its module is not the one meant."""
    told = (before or {}).get("image")
    if not isinstance(told, Mapping) or told.get("reference") != image.reference:
        return ""
    return str(told.get("manifest") or "") if _meant(told.get("module"), image) else ""


def _meant(module: object, image: Image) -> bool:
    """Whether a module, by its digest, may be the one that the spec means."""
    return not image.sha256 or module == f"sha256:{image.sha256}"


def _checked(found: ResolvedImage, image: Image, reference: Reference) -> ResolvedImage:
    """The image under the name that this FilterDeployment has for it.

    Raises:
        ContentMismatch: the module is another one than it says.
    """
    if not _meant(found.module.digest, image):
        raise ContentMismatch(
            f"spec.filter.sha256: the module of {image.reference} is {found.module.digest}, "
            f"and not sha256:{image.sha256}",
            hint="wasme inspect shows the digest of an image's module",
        )
    return replace(found, typed=image.reference, reference=reference)
