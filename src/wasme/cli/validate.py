"""``wasme validate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wasme.cli.grammar import command, exactly, option, stored_images
from wasme.cli.options import auth_options, output_option, registry_map_option, store_option

if TYPE_CHECKING:
    from wasme.inspect.subject import Subject
    from wasme.inspect.trial import Trial
    from wasme.inspect.verdict import Verdict
    from wasme.wasm.finding import Finding


@command(
    "validate",
    use="validate <image or file> [--envoy] [--strict]",
    args=exactly(1),
    complete=stored_images,
    help="Tell whether Envoy would load a filter, without running it.\n\n"
    "Every reason for which Envoy would refuse the module is told in the words of Envoy's own log, in Envoy's order, "
    "with what to do about it; then what loads and will probably not do what it should. The bodies of functions are "
    "not read, and nothing runs: what depends on those only Envoy can tell, and --envoy asks it, by loading, starting "
    "and configuring the filter in the Envoy of this machine.\n\n"
    "<image or file> is a .wasm file, - for a module on standard input, an image of the local store or of a folder "
    "with an OCI image layout (DIR or DIR:NAME), or else an image at its registry, of which nothing is "
    "kept.\n\n"
    "The exit code is 1 if there is an error, and with --strict if there is a warning. --output json gives name, "
    "source, loads, findings (severity, code, text, hint) and, with --envoy, envoy (version, accepted, said, agrees).",
    examples="wasme validate build/filter.wasm\n"
    "wasme validate localhost:5000/demo/add-header:v0.1 --envoy --filter-config=world",
)
@option("--envoy", kind="bool", help="let the real Envoy of this machine judge it too")
@option("--strict", kind="bool", help="a warning is a failure, too")
@option("--root-id", help="with --envoy: which of the module's filters to start; the default is the image's first")
@option("--filter-config", help="with --envoy: what the filter gets as its configuration: text, JSON, or @FILE")
@option(
    "--timeout",
    kind="duration",
    default=60.0,
    help="with --envoy: how long it may take to start the filter; 0 is no limit",
)
@auth_options
@store_option
@registry_map_option
@output_option
def validate(
    args: tuple[str, ...],
    envoy: bool,
    strict: bool,
    root_id: str,
    filter_config: str,
    timeout: float,
    store: str,
    output: str,
    **connection: Any,
) -> int:
    """Judge one module, and the image around it."""
    from wasme.cli import subjects
    from wasme.errors import UsageError
    from wasme.inspect.verdict import judge

    if not envoy and (root_id or filter_config):
        raise UsageError(f"{'--root-id' if root_id else '--filter-config'} is for --envoy, which runs the filter")
    if timeout < 0:
        raise UsageError("--timeout is less than nothing", hint="0 is no limit")
    config = _config(filter_config)
    subject = subjects.found(args[0], store, connection)
    verdict = judge(subject)
    trial = _ask(subject, root_id, config, timeout) if envoy and not subject.unread else None
    more = trial.finding(verdict) if trial else None
    found = (more, *verdict.findings) if more else verdict.findings
    if output == "json":
        _emit_json(subject, verdict, trial, found)
    else:
        _emit(subject, verdict, trial, found)
    worst = {each.severity for each in found}
    return int("error" in worst or (strict and "warning" in worst))


def _ask(subject: Subject, root_id: str, config: str, timeout: float) -> Trial:
    from wasme.inspect.trial import ask

    return ask(subject, root_id, config, timeout)


def _config(text: str) -> str:
    """The filter's configuration: as it is, or a file's content."""
    if not text.startswith("@"):
        return text
    from wasme.errors import InputError
    from wasme.inspect.subject import read

    try:
        return read(Path(text[1:]), text[1:])[0].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{text[1:]} is not UTF-8 text: byte {error.start}") from None


def _emit(subject: Subject, verdict: Verdict, trial: Trial | None, found: tuple[Finding, ...]) -> None:
    from wasme.cli.subjects import PLACES, findings, shown, tell

    lines = [f"{shown(subject.name)} ({PLACES[subject.source]})", *findings(found)]
    if trial:
        lines.append(_judgement(verdict, trial))
    ending = "would load it" if not any(each.severity == "error" for each in found) else "would refuse it"
    lines.append(f"{_counted(found)}: Envoy {ending}")
    tell(lines)


def _judgement(verdict: Verdict, trial: Trial) -> str:
    """The real Envoy's, beside what was foretold."""
    from wasme.cli.subjects import shown

    name = f"Envoy {trial.envoy}".strip()
    if trial.accepted:
        return f"{name} takes it" + ("" if verdict.loads else ", against what is foretold here: please report this")
    foreseen = "" if not verdict.loads else ", which only running it shows"
    return f"{name} refuses it{foreseen}: {shown(trial.said) or 'it gave no reason'}"


def _counted(found: tuple[Finding, ...]) -> str:
    """Such as ``1 error, 2 warnings``."""
    counts = [(kind, sum(each.severity == kind for each in found)) for kind in ("error", "warning", "note")]
    return ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in counts if count) or "nothing to say"


def _emit_json(subject: Subject, verdict: Verdict, trial: Trial | None, found: tuple[Finding, ...]) -> None:
    from wasme.cli.subjects import tell_json

    told: dict[str, Any] = {
        "name": subject.name,
        "source": subject.source,
        "loads": not any(each.severity == "error" for each in found),
        "findings": [each._asdict() for each in found],
    }
    if trial:
        told["envoy"] = {
            "version": trial.envoy,
            "accepted": trial.accepted,
            "said": trial.said,
            "agrees": trial.agrees(verdict),
        }
    tell_json(told)
