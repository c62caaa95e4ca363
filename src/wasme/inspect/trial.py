"""The real Envoy, asked about one module: what only running it can tell, and whether what was foretold is so."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from wasme.envoy.address import Address
from wasme.envoy.binary import find_envoy
from wasme.envoy.config import WasmPlugin, default_bootstrap
from wasme.envoy.validation import validate, version
from wasme.inspect.subject import Subject
from wasme.inspect.verdict import Verdict
from wasme.wasm.finding import Finding, error

_ANY_PORT = Address("127.0.0.1", 0)


class Trial(NamedTuple):
    """What the real Envoy made of a module.

    Attributes:
        envoy: its version.
        accepted: whether it loaded, started and configured it.
        said: why not, in its own words; "" if it did.
        filter_said: the last error that the filter itself logged before; "" if it logged none.
    """

    envoy: str
    accepted: bool
    said: str
    filter_said: str

    def agrees(self, verdict: Verdict) -> bool:
        """Whether both take the module, or both refuse it."""
        return self.accepted == verdict.loads

    def finding(self, verdict: Verdict) -> Finding | None:
        """What the verdict did not foresee."""
        if self.accepted or not verdict.loads:
            return None
        told = f" (the filter said: {self.filter_said})" if self.filter_said else ""
        return error("envoy", f"{self.said or 'Envoy gave no reason'}{told}", _hint(self.said))


def ask(subject: Subject, root_id: str = "", config: str = "", timeout: float = 60.0) -> Trial:
    """Let the Envoy of this machine load, start and configure a module; nothing listens, nothing stays.

    Args:
        root_id: which of the module's filters; "" is the image's first.
        config: the filter's configuration.
        timeout: seconds for Envoy's answer; 0 is no limit.

    Raises:
        ToolMissing, MissingExtra: there is no Envoy here.
        EnvoyError: it gave no answer in time.
    """
    binary = find_envoy()
    named = subject.image.config.root_ids if subject.image else ()
    with ExitStack() as stack:
        path = subject.path
        if path is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wasme-module-"))
            path = Path(folder, "filter.wasm")
            path.write_bytes(subject.module)
        plugin = WasmPlugin("filter", root_id or next(iter(named), ""), config, str(path))
        bootstrap = default_bootstrap(plugin, listen=_ANY_PORT, admin_address=_ANY_PORT)
        judged = validate(binary, bootstrap, timeout)
    return Trial(version(binary), judged.accepted, judged.reason.text, judged.reason.filter_said)


def _hint(said: str) -> str:
    if "bytecode" in said:
        return "a function's body is no valid WebAssembly, or needs a feature that Envoy's V8 has not"
    if "configure" in said or "start" in said:
        return "the filter itself refused or failed: try another --filter-config or --root-id"
    return "only running the code shows this"
