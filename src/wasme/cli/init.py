"""``wasme init``: a project folder for a new filter."""

from __future__ import annotations

from pathlib import Path

from wasme.cli.grammar import at_least, command, option
from wasme.cli.options import output_option
from wasme.errors import UsageError


@command(
    "init",
    use="init DEST_DIRECTORY [--language=FILTER_LANGUAGE] [--platform=TARGET_PLATFORM] "
    "[--platform-version=TARGET_PLATFORM_VERSION]",
    args=at_least(1),
    help="""
    Initialize a project directory for a new Envoy WASM Filter.

    The folder may exist already, and be the current one (`.`): only files that are in the way are an error, and with
    --force they are overwritten. What the flags leave open is asked for on a terminal; with --disable-prompt, and where
    nobody can be asked, it is an error that names what is missing.
    """,
    examples="""
    wasme init add-header --language=assemblyscript --platform=istio --platform-version=1.9.x
    wasme init . --language=cpp --platform=envoy --example=rate-limit
    """,
)
@option(
    "--language",
    suggest=("cpp", "rust", "assemblyscript", "tinygo"),
    help="language of the filter: cpp, rust, assemblyscript, tinygo",
)
@option(
    "--platform",
    suggest=("istio", "gloo", "envoy", "envoy-gateway"),
    help="platform to run it on: istio, gloo, envoy, envoy-gateway",
)
@option("--platform-version", help="its version, such as 1.9.x: Istio since 1.5.x, Gloo since 1.3.x")
@option(
    "--example",
    suggest=("add-header", "auth", "body", "metrics", "rate-limit"),
    help="filter to begin with: add-header, auth, body, metrics, rate-limit; the default is auth in Rust, else "
    "add-header",
)
@option("--disable-prompt", kind="bool", help="never ask: a missing flag is an error")
@option("--force", kind="bool", help="overwrite files that are there already")
@output_option
def init(
    args: tuple[str, ...],
    language: str,
    platform: str,
    platform_version: str,
    example: str,
    disable_prompt: bool,
    force: bool,
    output: str,
) -> None:
    """Ask for what is missing, create, tell."""
    import logging
    import shlex
    import sys

    from wasme.cli import select, terminal
    from wasme.scaffold import bases, create

    if not args[0].strip():
        raise UsageError("the destination is empty", hint="name a folder; the current one is `.`")
    if language:
        bases.offered(language, platform)
    lacks_version = not platform_version and bases.needs_version(platform)
    missing = [
        name
        for name, absent in (
            ("--language", not language),
            ("--platform", not platform),
            ("--platform-version", lacks_version),
        )
        if absent
    ]
    if missing and (disable_prompt or not select.can_ask()):
        why = "--disable-prompt is set" if disable_prompt else "there is no terminal to ask on"
        there_are = {
            "--language": f"one of {', '.join(bases.languages())}",
            "--platform": f"one of {', '.join(bases.PLATFORMS)}",
            "--platform-version": "for istio and gloo only, such as 1.9.x",
        }
        raise UsageError(
            f"{', '.join(missing)} must be given, since {why}",
            hint="; ".join(f"{name}: {there_are[name]}" for name in missing),
        )
    if not language:
        known = bases.languages()
        language = known[select.select("What language do you wish to use for the filter", known)]
    base = None
    if not platform or lacks_version:
        offered = bases.offered(language, platform)
        question = "With which platforms do you wish to use the filter?"
        items = [each.label_for(platform) for each in offered]
        base = offered[select.select(question, items, [each.short_label_for(platform) for each in offered])]
    created = create(Path(args[0]), language, platform, platform_version, example or None, base=base, force=force)
    if terminal.is_terminal(sys.stderr):  # elsewhere the one line is all that scripts have ever got
        build = f"wasme build {created.language} {shlex.quote(args[0])} -t localhost:5000/me/{created.example}:v0.1"
        logging.getLogger(__name__).info("README.md says what it does; to build it: %s", build)
    if output == "json":
        from wasme.cli.output import emit_json

        emit_json(
            {
                "directory": str(created.directory),
                "language": created.language,
                "example": created.example,
                "files": created.files,
                "size": created.size,
            }
        )
