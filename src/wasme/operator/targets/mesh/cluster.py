"""A cluster whose answers to our own writes are known at once, before the watches tell of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from wasme.deploy.cluster import Cluster, Kind
from wasme.deploy.cluster.client import MANAGER

Object = dict[str, Any]


class Telling(Cluster):
    """As the cluster that it is made of, by the same connections; what is written is told.

    Attributes:
        stored: is told an object as the API server stored it.
        gone: is told what was deleted: apiVersion, kind, and its metadata's namespace, name and uid.
    """

    stored: Callable[[Object], None]
    gone: Callable[[Object], None]

    @classmethod
    def of(cls, cluster: Cluster, stored: Callable[[Object], None], gone: Callable[[Object], None]) -> Self:
        """That cluster, telling."""
        made = cls.__new__(cls)
        vars(made).update(vars(cluster))
        made.stored, made.gone = stored, gone
        return made

    def apply(
        self, obj: Mapping[str, Any], *, force: bool = True, dry_run: bool = False, manager: str = MANAGER
    ) -> Object:
        """As ``Cluster.apply``."""
        return self._told(super().apply(obj, force=force, dry_run=dry_run, manager=manager), dry_run)

    def create(self, obj: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """As ``Cluster.create``."""
        return self._told(super().create(obj, dry_run=dry_run), dry_run)

    def replace(self, obj: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """As ``Cluster.replace``."""
        return self._told(super().replace(obj, dry_run=dry_run), dry_run)

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        patch: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        dry_run: bool = False,
    ) -> Object:
        """As ``Cluster.patch``."""
        return self._told(super().patch(kind, name, namespace, patch, dry_run=dry_run), dry_run)

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        dry_run: bool = False,
    ) -> bool:
        """As ``Cluster.delete``; told where it says which object it is."""
        done = super().delete(kind, name, namespace, uid=uid, resource_version=resource_version, dry_run=dry_run)
        if uid and not dry_run:
            metadata = {"name": name, "namespace": namespace, "uid": uid}
            self.gone({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata})
        return done

    def _told(self, obj: Object, dry_run: bool) -> Object:
        if not dry_run:
            obj.setdefault("metadata", {})
            self.stored(obj)
        return obj
