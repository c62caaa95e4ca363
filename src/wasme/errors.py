"""The one tree of errors.

::

    WasmeError                      anything wasme can explain; exit code 1
    ├── UsageError                  the command was called wrongly; exit code 2, usage is printed
    ├── InputError                  a value or a file of the user's cannot be used
    │   ├── InvalidReference        an image reference that names nothing
    │   ├── InvalidRuntimeConfig    runtime-config.json
    │   ├── InvalidSettings         ~/.wasme/config.yaml, credentials.json
    │   ├── InvalidBootstrap        an Envoy bootstrap that cannot take a filter
    │   └── InvalidScenario         a *.test.yaml that cannot be read
    ├── ImageError                  an image that is not what it should be
    │   ├── ImageNotFound           no such image in the store
    │   ├── UnsupportedImage        an image that carries no filter wasme can read
    │   └── ContentMismatch         bytes that are not the bytes their descriptor names
    ├── StoreError                  the local store cannot be read or written
    ├── ModuleError                 WebAssembly bytes that are no filter
    │   └── ModuleRefused           a module that Envoy would refuse, with Envoy's reason
    ├── RegistryError               a registry did not do what was asked
    │   ├── Unreachable             no connection: DNS, refused, TLS, time-out
    │   ├── Unauthorized            401
    │   ├── Forbidden               403
    │   ├── RemoteNotFound          404
    │   ├── Throttled               429 after all retries
    │   ├── NotARegistry            something else answers there
    │   └── UnsafeAnswer            an answer that would leak or harm: foreign realm, redirect, lying size
    ├── ToolError                   a program that wasme runs
    │   ├── ToolMissing             it is not on this machine
    │   ├── BuildFailed             a compiler said no
    │   └── MissingExtra            a Python extra that is not installed
    ├── EnvoyError                  Envoy did not start, or did not stay
    ├── ClusterError                a Kubernetes API server did not do what was asked
    │   ├── ClusterUnreachable      no connection, or no kubeconfig that leads to one
    │   ├── ClusterForbidden        401 or 403: the message names the right that is missing
    │   ├── NotServed               the server has no such kind: a CRD is missing
    │   ├── ObjectRefused           the server's validation says no
    │   ├── Conflict                somebody else changed the object, or owns the field
    │   ├── LeadershipLost          the lease cannot be proved held, so nothing may be written
    │   └── DeployFailed            some of several objects failed; the message tells all of them
    │       ├── NothingMatches      nothing is there of what was asked for: no workload, no gateway
    │       └── RolledBack          a step of a rollout was not well: what it had changed was turned back
    ├── CacheError                  the node cache does not hold what it must, or cannot be installed
    ├── OperatorError               the operator cannot be installed, or taken away
    ├── ScaffoldError               `init` would overwrite, or does not know the combination
    ├── HubError                    the hub cannot serve
    │   └── Refusal                 (hub.refusal) one request that the hub answers with an error
    └── InternalError               a bug in wasme, of which something else goes on all the same

The message says what is wrong and where; ``hint`` says what to do about it. Only the command line turns an error into
text and an exit code. No message holds a secret: registry errors redact URLs before they get here. Anything raised
that is not in this tree is a bug.
"""

from __future__ import annotations


class WasmeError(Exception):
    """Anything that wasme can explain.

    Args:
        message: what is wrong and where, one line unless it quotes a program's own output.
        hint: what to do about it, one line; None where nothing can be said.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(WasmeError):
    """The command was called wrongly."""

    exit_code = 2


class InputError(WasmeError):
    """A value or a file of the user's cannot be used."""


class InvalidReference(InputError):
    """An image reference that names nothing."""


class InvalidRuntimeConfig(InputError):
    """A runtime-config.json that cannot be read."""


class InvalidSettings(InputError):
    """A settings or credentials file that cannot be read."""


class InvalidBootstrap(InputError):
    """An Envoy bootstrap that cannot take a filter."""


class InvalidScenario(InputError):
    """A file of scenarios that cannot be read."""


class ImageError(WasmeError):
    """An image that is not what it should be."""


class ImageNotFound(ImageError):
    """No such image in the store."""


class UnsupportedImage(ImageError):
    """An image that carries no filter wasme can read."""


class ContentMismatch(ImageError):
    """Bytes that are not the bytes their descriptor names."""


class StoreError(WasmeError):
    """The local store cannot be read or written."""


class ModuleError(WasmeError):
    """WebAssembly bytes that are no filter."""


class ModuleRefused(ModuleError):
    """A module that Envoy would refuse, with Envoy's reason."""


class RegistryError(WasmeError):
    """A registry did not do what was asked."""


class Unreachable(RegistryError):
    """No connection: name resolution, refused, TLS, time-out."""


class Unauthorized(RegistryError):
    """The registry wants (other) credentials: 401."""


class Forbidden(RegistryError):
    """The credentials are known and not enough: 403."""


class RemoteNotFound(RegistryError):
    """The registry has no such repository, manifest or blob: 404."""


class Throttled(RegistryError):
    """The registry asked to slow down, and went on asking: 429."""


class NotARegistry(RegistryError):
    """Something else answers at that address."""


class UnsafeAnswer(RegistryError):
    """An answer that would leak credentials or do harm if it were followed."""


class ToolError(WasmeError):
    """A program that wasme runs did not do its work."""


class ToolMissing(ToolError):
    """A program is not on this machine."""


class BuildFailed(ToolError):
    """A compiler said no; its own output has been shown or is in the message."""


class MissingExtra(ToolError):
    """A Python extra of wasme that is not installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the extra [{extra}], which is not installed",
            hint=f"pip install 'wasme[{extra}]'",
        )


class EnvoyError(WasmeError):
    """Envoy did not start, or did not stay."""


class ClusterError(WasmeError):
    """A Kubernetes API server did not do what was asked."""


class ClusterUnreachable(ClusterError):
    """No connection to an API server, or no kubeconfig that leads to one."""


class ClusterForbidden(ClusterError):
    """The API server knows nobody of that name, or gives too few rights: 401, 403."""


class NotServed(ClusterError):
    """The API server has no such kind."""


class ObjectRefused(ClusterError):
    """An object that the API server's validation refuses: 400, 422."""


class Conflict(ClusterError):
    """Somebody else changed the object, or owns the field: 409."""


class LeadershipLost(ClusterError):
    """The lease cannot be proved held, so nothing may be written."""


class DeployFailed(ClusterError):
    """Some of several objects failed; the others are done."""


class NothingMatches(DeployFailed):
    """Nothing is there of what was asked for: no workload, no gateway."""


class RolledBack(DeployFailed):
    """A step of a rollout was not well, and what the rollout had changed was turned back."""


class CacheError(WasmeError):
    """The node cache does not hold what it must, or cannot be installed."""


class OperatorError(WasmeError):
    """The operator cannot be installed, or taken away."""


class ScaffoldError(WasmeError):
    """`init` would overwrite a file, or does not know the combination."""


class HubError(WasmeError):
    """The hub cannot serve."""


class InternalError(WasmeError):
    """A bug in wasme, of which something else goes on all the same."""
