"""What stands in a project: a pure function of its base and its example."""

from __future__ import annotations

import json

from wasme.errors import ScaffoldError
from wasme.scaffold import templates
from wasme.scaffold.bases import Base

_SDK_FOLDER = {"assemblyscript": "assembly/proxy", "cpp": "proxy"}
# The original's root ids; scripts deploy with them. Everywhere else it is the example's name.
_ROOT_IDS = {
    ("cpp", "add-header"): "add_header_root_id",
    ("rust", "auth"): "root_id",
    ("tinygo", "add-header"): "root_id",
}
# Flags with which an example shows what it does.
_DEPLOY_FLAGS = {
    "add-header": "--config=everyone",
    "auth": "--cluster 'outbound|8080||auth-simple.istio.svc.cluster.local=127.0.0.1:8081'",
    "rate-limit": """--config='{"requests": 3, "milliseconds": 10000}'""",
}
# A request that shows it then, with Envoy where `wasme deploy envoy` puts it.
_REQUESTS = {
    "auth": "curl -i -H 'userId: admin' localhost:8080",
    "body": "curl -d 'hello, Envoy' localhost:8080",
    "metrics": "curl -s localhost:8080 'localhost:19000/stats?filter=wasmcustom'",
}
# Of C++, whose SDK speaks every ABI: the one line on which it depends.
_ABI_CURRENT = (
    "A line `-DPROXY_WASM_ABI=0_2_0` or `0_1_0` in `compile_flags.txt` makes one for older ones (`proxy/version.h`)."
)
_ABI_LOWERED = (
    "That is by the line `{}` of `compile_flags.txt`; leave it out when no proxy is older than Envoy 1.17\n"
    "(Istio 1.9), and the filter has all that the newest ABI offers (`proxy/version.h`)."
)
_REQUEST = "curl -i localhost:8080"
_DEFAULTS = {"rust": "auth"}
_DEFAULT = "add-header"
_WIDTH = 120


def examples(base: Base) -> tuple[str, ...]:
    """The examples of a base, the one to begin with first."""
    known = templates.examples(base.template)
    first = default_example(base.language)
    return tuple(sorted(known, key=lambda name: (name != first, name)))


def default_example(language: str) -> str:
    """The example that the original began with."""
    return _DEFAULTS.get(language, _DEFAULT)


def root_id(language: str, example: str) -> str:
    """The root id that an example's source registers, and Envoy is told to run."""
    return _ROOT_IDS.get((language, example), example.replace("-", "_"))


def render(base: Base, example: str) -> dict[str, bytes]:
    """The files of a project, by their path in it.

    A file of the example's own takes the place of the one that all projects of the language have.

    Raises:
        ScaffoldError: the language has no such example.
    """
    known = examples(base)
    if example not in known:
        raise ScaffoldError(f"there is no example {example!r} for {base.language}", hint=_hint(example, known))
    shared = templates.tree("shared", example)
    introduction = shared.pop("README.md", b"")
    content = shared | templates.tree(base.language, "common") | templates.tree(base.template, "project")
    language_part = content.get("README.md")
    if base.language in _SDK_FOLDER:
        content |= templates.tree(base.template, "proxy", under=_SDK_FOLDER[base.language])
    content |= templates.tree(base.template, "examples", example)
    if language_part is not None:
        content["README.md"] = _readme(introduction, language_part, base, example)
    if define := _define(base):
        content["compile_flags.txt"] = content.get("compile_flags.txt", b"") + f"{define}\n".encode()
    content["runtime-config.json"] = _runtime_config(base, example)
    return content


def _hint(example: str, known: tuple[str, ...]) -> str:
    import difflib

    close = difflib.get_close_matches(example, known, 1)
    return f"did you mean {close[0]}?" if close else f"examples: {', '.join(known)}"


def _define(base: Base) -> str:
    """The one line that older platforms need in compile_flags.txt, the compiler's and editors' own convention."""
    return f"-DPROXY_WASM_ABI={base.abi.replace('.', '_')}" if base.language == "cpp" and base.abi != "0.2.1" else ""


def _readme(introduction: bytes, language_part: bytes, base: Base, example: str) -> bytes:
    """What the example does, then how it is built in this language, with the words of example and base put in."""
    define = _define(base)
    told = language_part.decode()
    for name, value in (
        ("example", example),
        ("request", _REQUESTS.get(example, _REQUEST)),
        ("abi", base.abi),
        ("runs_in", base.runs_in),
        ("abi_flag", _ABI_LOWERED.format(define) if define else _ABI_CURRENT),
    ):
        told = told.replace(f"{{{{{name}}}}}", value)
    lines = [_with_flags(line, _DEPLOY_FLAGS.get(example, "")) for line in told.splitlines()]
    parts = (introduction.decode().strip("\n"), "\n".join(lines).strip("\n"))
    return ("\n\n".join(part for part in parts if part) + "\n").encode()


def _with_flags(line: str, flags: str) -> str:
    """A line with the flags in it; those that are too long for it stand on the next one, as a shell takes them."""
    before, placeholder, after = line.partition("{{deploy_flags}}")
    if not placeholder:
        return line
    before = before.rstrip(" ")
    if not flags:
        return before + after
    if len(before) + len(flags) + len(after) < _WIDTH:
        return f"{before} {flags}{after}"
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return f"{before} \\\n{indent}{flags}{after}"


def _runtime_config(base: Base, example: str) -> bytes:
    document = {
        "type": "envoy_proxy",
        "abiVersions": base.abi_versions,
        "config": {"rootIds": [root_id(base.language, example)]},
    }
    return (json.dumps(document, indent=2) + "\n").encode()
