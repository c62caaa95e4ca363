"""Which node cache, and how it is installed: the ``--cache-*`` flags as one value."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import msgspec

from wasme.deploy.cache import image, protocol
from wasme.errors import InputError

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PRIORITY_CLASS = "system-node-critical"
"""Of the agents' pods: a node that is full of pods waiting at the gate must still take the agent that opens it."""
_CLASS = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[-.a-z0-9]*[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


class Chosen(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody chose for an installed cache, as its DaemonSet remembers it.

    A deployment that says nothing of these keeps them: who installed the cache from a registry of his own should not
    have to repeat that with each filter.
    """

    repo: str = ""
    tag: str = ""
    pull_policy: str = ""
    custom_command: tuple[str, ...] = ()
    priority_class: str | None = None


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """One node cache.

    Attributes:
        name: of all its objects, but the ConfigMaps of nodes.
        namespace: of all its objects.
        repo: the repository of the agents' image; "" where nothing was said.
        tag: the tag of the agents' image; "" where nothing was said.
        pull_policy: of the agents' image.
        custom_command: the container's arguments in place of ours, as they are.
        priority_class: of the agents' pods; "" for none, None where nothing was said.

    Raises:
        InputError: a name that Kubernetes would refuse, or no pull policy.
    """

    name: str = protocol.NAME
    namespace: str = protocol.NAMESPACE
    repo: str = ""
    tag: str = ""
    pull_policy: str = "IfNotPresent"
    custom_command: tuple[str, ...] = ()
    priority_class: str | None = None

    def __post_init__(self) -> None:
        for flag, value in (("--cache-name", self.name), ("--cache-namespace", self.namespace)):
            if not _LABEL.fullmatch(value):
                raise InputError(
                    f"{flag}: {value[:100]!r} cannot name objects in Kubernetes",
                    hint="at most 63 of a-z, 0-9 and -, with a letter or digit at both ends",
                )
        if self.pull_policy not in PULL_POLICIES:
            raise InputError(
                f"--cache-image-pull-policy: {self.pull_policy[:100]!r} is none of {', '.join(PULL_POLICIES)}"
            )
        if self.priority_class and not _CLASS.fullmatch(self.priority_class):
            raise InputError(
                f"--cache-priority-class: {self.priority_class[:100]!r} cannot name a PriorityClass",
                hint="kubectl get priorityclasses lists them",
            )

    @property
    def image(self) -> str:
        """The agents' image.

        Raises:
            CacheError: it is the original's, or no image's name.
        """
        return image.chosen(self.repo, self.tag)

    @property
    def shown(self) -> str:
        """``NAME.NAMESPACE``, as the original's lines on installing name a cache."""
        return f"{self.name}.{self.namespace}"

    @property
    def pair(self) -> str:
        """``{NAME NAMESPACE}``, as the original's lines on images name a cache."""
        return f"{{{self.name} {self.namespace}}}"

    @property
    def chosen(self) -> Chosen:
        """What is not as it would be without a flag."""
        policy = "" if self.pull_policy == "IfNotPresent" else self.pull_policy
        return Chosen(self.repo, self.tag, policy, self.custom_command, self.priority_class)

    @property
    def priority(self) -> str:
        """The PriorityClass of the agents' pods; "" for none."""
        return PRIORITY_CLASS if self.priority_class is None else self.priority_class

    def keeping(self, before: Chosen) -> CacheOptions:
        """These options, with what was chosen before wherever they say nothing.

        A repository that was given leaves the tag that went with another one behind.
        """
        return replace(
            self,
            repo=self.repo or before.repo,
            tag=self.tag or ("" if self.repo and self.repo != before.repo else before.tag),
            pull_policy=self.chosen.pull_policy or before.pull_policy or self.pull_policy,
            custom_command=self.custom_command or before.custom_command,
            priority_class=before.priority_class if self.priority_class is None else self.priority_class,
        )


def parse_chosen(text: str) -> Chosen:
    """Read what a DaemonSet remembers; nothing where that is not ours."""
    try:
        return msgspec.json.decode(text, type=Chosen)
    except msgspec.DecodeError:
        return Chosen()


def format_chosen(chosen: Chosen) -> str:
    """What a DaemonSet remembers, as the text of an annotation."""
    return msgspec.json.encode(chosen).decode()
