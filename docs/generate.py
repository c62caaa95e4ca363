"""`make docs`: what is committed and comes from the code; with --check, fail where it is not up to date.

That is docs/commands.md and docs/errors.md, the operator's manifests/, and what its chart takes from the code.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wasme import errors
from wasme.cli.grammar import Command, Flag, Group
from wasme.cli.main import make_root
from wasme.deploy.cache.telling import go_duration

_ENVIRONMENT = """## Environment

| variable | what for |
|---|---|
| `WASM_IMAGE_REGISTRY` | the default server of `login`, `logout` and `list --published`, instead of webassemblyhub.io |
| `WASME_LOG_FORMAT` | as `--log-format` |
| `WASME_USE_PODMAN` | any value: where a container engine is used, podman instead of docker |
| `DOCKER_CONFIG` | folder of Docker's `config.json`, whose credentials are used where wasme has none |
| `http_proxy`, `https_proxy`, `no_proxy` | proxies for registries, in lower or upper case; loopback is never proxied |
| `SSL_CERT_FILE`, `SSL_CERT_DIR` | authorities to trust besides the system's |
| `NPM_OUTPUT` | the module that a project's `asbuild` script makes, instead of build/optimized.wasm |
| `NO_COLOR`, `FORCE_COLOR`, `CLICOLOR_FORCE` | colour off, or on in a pipe |
"""

HERE = Path(__file__).resolve().parent


def commands() -> str:
    """The reference of every command and flag."""
    root = make_root()
    parts = [
        "# Commands\n",
        "Made from the code by `make docs`. Flags of a group stand before or after the sub-command.\n",
        _ENVIRONMENT,
        "## Every command\n",
        _flags([*root.own_flags(), *root.persistent]),
    ]
    for name, (_, summary) in sorted(root.table.items()):
        if not summary:
            continue  # hidden
        found = root.get_command(None, name)  # type: ignore[arg-type]
        parts += _chapter(found, f"wasme {name}", summary)
    return "\n".join(parts)


def _chapter(found: object, path: str, summary: str) -> list[str]:
    assert isinstance(found, Command | Group)
    import textwrap

    parts = [f"## {path}\n", textwrap.dedent(found.help or summary).strip() + "\n"]
    if isinstance(found, Group):
        flags = [*found.own_flags(), *found.persistent]
        by_path = found.get_command(None, found.fallback)  # type: ignore[arg-type]
        if isinstance(by_path, Command):
            parts.append(f"```\nwasme {by_path.use}\n{path} [command]\n```\n")
            flags += by_path.own_flags()
        parts += [_flags(flags)] if flags else []
        for name, (_, told) in sorted(found.table.items()):
            if told:
                parts += _chapter(found.get_command(None, name), f"{path} {name}", told)  # type: ignore[arg-type]
        return parts
    parts.append(f"```\nwasme {found.use}\n```\n")
    if found.examples:
        parts.append(f"```sh\n{textwrap.dedent(found.examples).strip()}\n```\n")
    if found.own_flags():
        parts.append(_flags(found.own_flags()))
    return parts


def _flags(flags: list[Flag]) -> str:
    lines = ["| flag | type | default | |", "|---|---|---|---|"]
    for each in sorted(flags, key=lambda flag: flag.long):
        if each.hidden:
            continue
        names = f"`{each.short}`, `{each.long}`" if each.short else f"`{each.long}`"
        kind = " \\| ".join(each.choices) or each.kind.name or "switch"
        default = each.default_value
        shown = go_duration(default) if each.kind.name == "duration" else default
        told = (each.help or "").replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {names} | {kind} | {f'`{shown}`' if shown else ''} | {told} |")
    return "\n".join(lines) + "\n"


def error_pages() -> str:
    """The tree of errors, as errors.py draws it."""
    drawing = (errors.__doc__ or "").partition("::\n")[2]
    tree, _, rest = drawing.rpartition("\n\n")
    return (
        "# Errors\n\nMade from `errors.py` by `make docs`. Every error is one line that says what is wrong and where, "
        f"and a hint that says what to do.\n\n```\n{_dedent(tree)}\n```\n\n{rest.strip()}\n"
    )


def manifests() -> dict[str, str]:
    """The operator's manifests, and those parts of them that the chart includes as they are; by path."""
    from wasme.deploy.cache.manifests import role
    from wasme.operator.installation import rights
    from wasme.operator.installation.manifests import (
        CRDS_FILE,
        DEFAULT_FILE,
        OperatorOptions,
        as_text,
        crds,
        objects,
        plain_text,
    )

    options = OperatorOptions()
    definition = as_text(crds(), options)
    return {
        f"manifests/{CRDS_FILE}": definition,
        f"manifests/{DEFAULT_FILE}": as_text(objects(options), options),
        f"charts/wasme/files/{CRDS_FILE}": definition,
        "charts/wasme/files/cluster-rules.yaml": rights.as_text(rights.CLUSTER),
        "charts/wasme/files/own-rules.yaml": rights.as_text(rights.own(options.cache.name)),
        "charts/wasme/files/cache-rules.yaml": plain_text(role(options.cache)["rules"]),
    }


def _dedent(text: str) -> str:
    import textwrap

    return textwrap.dedent(text).strip("\n")


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is out of date")
    check = parser.parse_args().check
    stale = []
    made = {"docs/commands.md": commands(), "docs/errors.md": error_pages(), **manifests()}
    for name, text in made.items():
        page = HERE.parent / name
        if not page.exists() or page.read_text() != text:
            stale.append(name)
            if not check:
                page.write_text(text)
    if check and stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
