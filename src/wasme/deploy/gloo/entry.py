"""One filter as Gloo takes it: an entry of ``spec.httpGateway.options.wasm.filters`` (Gloo's ``wasm.proto``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from wasme.deploy.spec import FilterSpec
from wasme.errors import UsageError

Entry = dict[str, Any]

STAGES = ("Fault", "Cors", "Waf", "AuthN", "AuthZ", "RateLimit", "Accepted", "OutAuth", "Route")
"""The stages of Gloo's filter chain, in the order in which a request meets them."""
PREDICATES = ("Before", "During", "After")
STRING_VALUE = "type.googleapis.com/google.protobuf.StringValue"


class Stage(NamedTuple):
    """A place in Gloo's filter chain.

    Attributes:
        stage: one of ``STAGES``.
        predicate: one of ``PREDICATES``.
    """

    stage: str
    predicate: str = "During"

    @classmethod
    def parse(cls, text: str) -> Stage:
        """Read ``STAGE[:PREDICATE]`` as typed; upper and lower case are one, and ``AuthNStage`` is ``AuthN``.

        Raises:
            UsageError: Gloo has no such place.
        """
        stage, _, predicate = text.partition(":")
        return cls(
            _one_of(stage.lower().removesuffix("stage"), STAGES, text),
            _one_of(predicate.lower() or "during", PREDICATES, text),
        )

    @property
    def value(self) -> dict[str, str]:
        """As it stands in the entry."""
        return {"stage": f"{self.stage}Stage", "predicate": self.predicate}


def _one_of(word: str, names: tuple[str, ...], text: str) -> str:
    for name in names:
        if name.lower() == word:
            return name
    raise UsageError(
        f'invalid argument "{text}" for "--filter-stage" flag: {word!r} is none of {", ".join(names)}',
        hint="use STAGE[:Before|During|After], such as AuthN:Before",
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """What Gloo takes beyond the filter itself.

    Attributes:
        fail_open: requests pass where the filter's VM has failed.
        stage: where in the chain; None leaves it to Gloo, which puts it before Accepted.
        file_path: a file in the proxy's own container, in place of the image.
    """

    fail_open: bool = False
    stage: Stage | None = None
    file_path: str = ""


def entry(spec: FilterSpec, image: str, settings: Settings) -> Entry:
    """The entry of a filter.

    ``vmType`` is left out, as the original did: V8 is the enumeration's zero.

    Args:
        spec: the filter.
        image: the reference that Gloo pulls; unused where ``settings`` name a file.
        settings: what Gloo takes beyond that.
    """
    made: Entry = {"filePath": settings.file_path} if settings.file_path else {"image": image}
    if spec.config:
        made["config"] = {"@type": STRING_VALUE, "value": spec.config}
    if settings.fail_open:
        made["failOpen"] = True
    if settings.stage:
        made["filterStage"] = settings.stage.value
    made["name"] = spec.id
    if spec.root_id:
        made["rootId"] = spec.root_id
    return made
