"""The one table of reasons: the CamelCase words of conditions and Events, and which error has which."""

from __future__ import annotations

from enum import StrEnum

from wasme import errors
from wasme.errors import WasmeError


class Reason(StrEnum):
    """Why a condition is as it is."""

    # All is well.
    ACCEPTED = "Accepted"
    RESOLVED = "Resolved"
    KEPT = "Kept"
    CACHED = "Cached"
    NOT_NEEDED = "NotNeeded"
    PROGRAMMED = "Programmed"
    READY = "Ready"
    AS_WANTED = "AsWanted"
    # It comes, or nobody asked for it.
    NODES_MISSING = "NodesMissing"
    NOT_CACHED = "NotCached"
    TARGETS_PENDING = "TargetsPending"
    ROLLING_OUT = "RollingOut"
    NO_TARGETS = "NoTargets"
    SUSPENDED = "Suspended"
    REMOVING = "Removing"
    MOVING = "Moving"
    # An earlier condition says why.
    NOT_ACCEPTED = "NotAccepted"
    IMAGE_NOT_RESOLVED = "ImageNotResolved"
    NOT_REACHED = "NotReached"
    # The object.
    INVALID_SPEC = "InvalidSpec"
    ID_TAKEN = "IdTaken"
    KIND_NOT_SERVED = "KindNotServed"
    REFUSED = "Refused"
    # The image.
    INVALID_IMAGE = "InvalidImage"
    IMAGE_NOT_FOUND = "ImageNotFound"
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    REGISTRY_THROTTLES = "RegistryThrottles"
    REGISTRY_ERROR = "RegistryError"
    UNAUTHORIZED = "Unauthorized"
    FORBIDDEN = "Forbidden"
    UNSUPPORTED_IMAGE = "UnsupportedImage"
    CONTENT_MISMATCH = "ContentMismatch"
    MODULE_REFUSED = "ModuleRefused"
    INVALID_SETTINGS = "InvalidSettings"
    IMAGE_NOT_CHECKED = "ImageNotChecked"
    # The cluster.
    TARGETS_FAILED = "TargetsFailed"
    ROLLED_BACK = "RolledBack"
    CACHE_FAILED = "CacheFailed"
    OBJECT_REFUSED = "ObjectRefused"
    CONFLICT = "Conflict"
    MISSING_RIGHT = "MissingRight"
    CLUSTER_UNREACHABLE = "ClusterUnreachable"
    CLUSTER_ERROR = "ClusterError"
    LOST = "Lost"
    RETRYING = "Retrying"
    INTERNAL_ERROR = "InternalError"
    FAILED = "Failed"


_COMING = frozenset(
    {Reason.NODES_MISSING, Reason.NOT_CACHED, Reason.TARGETS_PENDING, Reason.ROLLING_OUT, Reason.NO_TARGETS,
     Reason.SUSPENDED, Reason.REMOVING, Reason.MOVING}
)  # fmt: skip

# The first that fits: leaves of the tree stand before what they are leaves of.
_OF_ERRORS: tuple[tuple[type[WasmeError], Reason], ...] = (
    (errors.InvalidReference, Reason.INVALID_IMAGE),
    (errors.InvalidSettings, Reason.INVALID_SETTINGS),
    (errors.InputError, Reason.INVALID_SPEC),
    (errors.UsageError, Reason.INVALID_SPEC),
    (errors.ContentMismatch, Reason.CONTENT_MISMATCH),
    (errors.ImageNotFound, Reason.IMAGE_NOT_FOUND),
    (errors.ImageError, Reason.UNSUPPORTED_IMAGE),
    (errors.ModuleError, Reason.MODULE_REFUSED),
    (errors.Unreachable, Reason.REGISTRY_UNREACHABLE),
    (errors.Throttled, Reason.REGISTRY_THROTTLES),
    (errors.Unauthorized, Reason.UNAUTHORIZED),
    (errors.Forbidden, Reason.FORBIDDEN),
    (errors.RemoteNotFound, Reason.IMAGE_NOT_FOUND),
    (errors.RegistryError, Reason.REGISTRY_ERROR),
    (errors.ClusterUnreachable, Reason.CLUSTER_UNREACHABLE),
    (errors.LeadershipLost, Reason.CLUSTER_UNREACHABLE),
    (errors.ClusterForbidden, Reason.MISSING_RIGHT),
    (errors.NotServed, Reason.KIND_NOT_SERVED),
    (errors.ObjectRefused, Reason.OBJECT_REFUSED),
    (errors.Conflict, Reason.CONFLICT),
    (errors.NothingMatches, Reason.NO_TARGETS),
    (errors.RolledBack, Reason.ROLLED_BACK),
    (errors.DeployFailed, Reason.TARGETS_FAILED),
    (errors.ClusterError, Reason.CLUSTER_ERROR),
    (errors.CacheError, Reason.CACHE_FAILED),
    (errors.InternalError, Reason.INTERNAL_ERROR),
)


def of(error: WasmeError) -> Reason:
    """The word for an error."""
    return next((reason for kind, reason in _OF_ERRORS if isinstance(error, kind)), Reason.FAILED)


def coming(reason: str) -> bool:
    """Whether it is no fault: it comes by itself, or is as somebody asked."""
    return reason in _COMING
