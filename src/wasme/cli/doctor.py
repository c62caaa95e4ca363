"""``wasme doctor``: which tools are here, what for, how to get what is not."""

from __future__ import annotations

from wasme.cli.grammar import command, exactly
from wasme.cli.options import output_option


@command(
    "doctor",
    use="doctor",
    args=exactly(0),
    help="""
    Tell which tools are here, what for, and how to get those that are not.

    Nothing is installed or changed. A missing tool is no failure: most people need only a few.
    """,
)
@output_option
def doctor(args: tuple[str, ...], output: str) -> None:  # noqa: ARG001
    """Examine, then print."""
    from wasme.build.doctor import examine
    from wasme.cli.output import emit, emit_json, table

    diagnoses = examine()
    if output == "json":
        emit_json(
            [
                {
                    "name": each.name,
                    "found": each.found is not None,
                    "usable": each.found is not None and each.found.usable,
                    "version": each.found.version if each.found else None,
                    "path": each.found.path if each.found else None,
                    "note": each.found.note if each.found else "",
                    "chosen": each.chosen,
                    "purpose": each.purpose,
                    "how": each.how,
                }
                for each in diagnoses
            ]
        )
        return
    rows = [("TOOL", "VERSION", "FOR", "WHERE")]
    for each in diagnoses:
        found = each.found
        if found is None:
            rows.append((each.name, "-", each.purpose, f"not here: {each.how}"))
        else:
            notes = "; ".join(filter(None, [found.note, "the one that is taken" if each.chosen else ""]))
            where = f"{found.path} ({notes})" if notes else found.path
            remedy = "" if found.usable else f": {each.how}"
            rows.append((each.name, found.version or "?", each.purpose, where + remedy))
    emit(table(rows))
