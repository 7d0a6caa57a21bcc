"""`submeter verify`: derive the verdict of a certificate again, from the file alone.

Offline, without any key and without a ledger. What a good end of it shows, and what it does not, is said every time.
"""

from __future__ import annotations

from pathlib import Path

import click

from ..data.error import SubmeterError
from ..data.system import read_file, words
from .invocation import DIFFER, FINE, WRONG_USAGE, json_option
from .output import print_json, say

CERTIFICATE_BYTES_MAX = 1024**3
"""No certificate is as large; what is would not fit into memory as Python reads it."""


@click.command()
@click.argument("certificate", metavar="CERTIFICATE", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def verify(context: click.Context, certificate: Path, as_json: bool) -> None:
    """Derive a certificate's verdict again, offline, without any key.

    Chain, minute book, gates, least amount and verdict are made again from the calls, marks and pages in the file; a
    change of anything else breaks its seal, and a file laid out anew, or with a name given twice, is refused. This
    shows a wrong derivation, not a forgery: whoever writes a certificate can make up both books together and seal
    them. Against that, publish the SHA-256 where it cannot be changed later, and compare it. A certificate of an older
    format is to be verified with the submeter that made it.

    Exit code 0: the verdict follows from what the file holds; 1: it does not; 2: this is no certificate.

    \b
    Example:
        submeter verify r-1.certificate.json
    """
    from ..audit.certificate_check import DEFAULT_RULES, verify_certificate

    try:
        data = read_file(certificate, CERTIFICATE_BYTES_MAX + 1)
    except OSError as error:
        raise SubmeterError(
            f"There is no certificate to read at {certificate}",
            f"The system says: {words(error)}.",
            "Make one with: submeter audit RUN --certificate FILE",
            exit_code=WRONG_USAGE,
        ) from error
    if len(data) > CERTIFICATE_BYTES_MAX:
        raise SubmeterError(
            f"This is no certificate: {certificate}",
            f"It has more than {CERTIFICATE_BYTES_MAX // 1024**3} GiB.",
            "Make one with: submeter audit RUN --certificate FILE",
            exit_code=WRONG_USAGE,
        )
    found = verify_certificate(data)
    if as_json:
        print_json(
            {
                "run": found.run,
                "verdict": found.verdict,
                "holds": found.good,
                "rules": found.rules,
                "below_defaults": found.below_defaults,
                "submeter": found.submeter,
                "sha256": found.sha256,
                "problems": list(found.problems),
            }
        )
    else:
        follows = "follows" if found.good else "does not follow"
        click.echo(f"{_shown(found.run)}  {_shown(found.verdict)}: {follows} from the pages and the calls in this file")
        for problem in found.problems:
            click.echo(f"    {_shown(problem)}")
        click.echo(f"rules   {found.rules}, made by submeter {_shown(found.submeter)}")
        if found.below_defaults:
            click.echo(f"        which is less than an audit waits for unless told otherwise: {DEFAULT_RULES}")
        click.echo(f"sha256  {found.sha256}")
    say("This can show a wrong derivation or a change, not a forgery: both books can be made up together and sealed.")
    say("Against that, the SHA-256 must have been published elsewhere; compare it with this one.")
    context.exit(FINE if found.good else DIFFER)


def _shown(text: str) -> str:
    """A text of the file on one line, whatever is in it: what a stranger wrote must not pass for what is said here."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
