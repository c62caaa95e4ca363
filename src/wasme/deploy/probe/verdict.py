"""From what a proxy shows to what is true of the filter in it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wasme.deploy.probe.evidence import Configured, Counted, Logged

State = Literal["running", "failed", "rejected", "stand-in", "pending", "other module", "absent", "unknown"]
"""``unknown``: the proxy could not be asked, or what it says makes no sense."""


_SILENT = Logged()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one proxy runs a filter.

    Attributes:
        state: in a word; only ``running`` is well.
        reason: in a line; "" where there is nothing to say.
    """

    state: State
    reason: str = ""

    @property
    def well(self) -> bool:
        """The proxy runs the filter."""
        return self.state == "running"

    def __str__(self) -> str:
        return f"{self.state}: {self.reason}" if self.reason else self.state


def judge(configuration: Configured, count: Counted, module: str = "", log: Logged = _SILENT) -> Verdict:
    """Decide.

    Args:
        configuration: what the proxy is configured with.
        count: what it has counted.
        module: digest of the module that should run; "" where it is not known.
        log: what it has logged since then.
    """
    refused = "; ".join(f"{name}: {reason}" for name, reason in configuration.refused.items())
    if refused:
        # Envoy goes on with the listener of before, which may have the filter's last version, or no filter.
        still = " (an older one of it is in use)" if configuration.listeners else ""
        return Verdict("rejected", f"Envoy refuses the configuration{still}: {refused}")
    if not configuration.listeners:
        if configuration.waiting:
            return Verdict("pending", f"the listener {configuration.waiting[0]} is not ready yet")
        return Verdict("absent", "it is in no listener's filter chain")
    rejected = _refused_extension(configuration, count, log)
    if rejected:
        return Verdict("rejected", rejected)
    if configuration.stand_in == "pending":
        return Verdict("pending", "the filter's own configuration has not been delivered")
    if configuration.stand_in:
        what = "refuses" if configuration.stand_in == "deny" else "lets through"
        return Verdict(
            "stand-in",
            f"the agent of the mesh could not get the module and {what} all requests; the log of istio-proxy says why",
        )
    if module and configuration.digest and configuration.digest != module:
        return Verdict("other module", f"it runs {configuration.digest[:19]} instead of {module[:19]}")
    if count.active == 0:
        if count.fetch_failures:
            return Verdict("failed", f"Envoy could not fetch the module ({count.fetch_failures} times)")
        return Verdict("failed", f"no VM is left of {count.created}" if count.created else "there is no VM for it")
    if count.reload_failures > count.reloads:
        return Verdict("failed", f"its VM failed, and {count.reload_failures} times no new one could be made")
    if count.reloads:
        return Verdict("running", f"its VM failed and was replaced {count.reloads} times{_last(log.failures)}")
    if log.failures and not configuration.alone:
        return Verdict("running", f"a VM of this proxy failed, of this filter or of another{_last(log.failures)}")
    if log.failures and "RELOAD" in configuration.failure_policy:
        return Verdict("running", f"its VM failed, and the next request makes a new one{_last(log.failures)}")
    if log.failures:
        what = "passes requests by" if "OPEN" in configuration.failure_policy else "refuses requests"
        return Verdict("failed", f"its VM is dead and {what} on a worker at least{_last(log.failures)}")
    return Verdict("running")


def _refused_extension(configuration: Configured, count: Counted, log: Logged) -> str:
    """Why Envoy did not take the configuration that was discovered last; "" if it did.

    Counters decide where they are; Istio's proxies do not show these, and then the log does.
    """
    if not configuration.place:
        return ""
    if count.refusals or count.accepted:
        refused = bool(count.refusals) and count.accepted != configuration.version
    else:
        refused = bool(log.refusals) and configuration.alone
    if not refused:
        return ""
    still = " (an older one of it is in use)" if count.accepted else ""
    reason = log.refusals[-1] if log.refusals else "the log of istio-proxy says why"
    return f"Envoy refuses the configuration{still}: {configuration.place}: {reason}"


def _last(failures: Sequence[str]) -> str:
    return f": {failures[-1]}" if failures else ""
