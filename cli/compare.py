"""`submeter compare`: frameworks side by side, from a ledger's runs or from `metrics.json` files alone."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..data.error import SubmeterError
from ..data.metrics import find_metrics, is_part
from .compare_forms import latex, number, p_text, parquet, sample_text, write_csv
from .costs import prices_of, prices_option
from .invocation import Invocation, json_option, ledger_option, pass_invocation
from .output import print_json, print_table, say
from .report_extra import without_extra
from .samples import METRICS, Subject, file_subjects, ledger_subjects

if TYPE_CHECKING:
    from .comparison import Figure

FORMATS = ("table", "html", "csv", "latex", "parquet")


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--framework", "frameworks", metavar="F", multiple=True, help="Only this framework; may be repeated.")
@click.option(
    "--by",
    type=click.Choice(("run", "step")),
    default="run",
    show_default=True,
    help="Compare whole runs, or each step by itself.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(METRICS),
    help="Only this metric; may be repeated. Default: all.",
)
@click.option("--only-verified", is_flag=True, help="Leave out every run that no final audit has verified.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How it is printed: html is one page of its own, latex needs booktabs, parquet goes to a file or a pipe.",
)
@prices_option
@json_option
@ledger_option
@pass_invocation
def compare(
    invocation: Invocation,
    folder: Path | None,
    frameworks: tuple[str, ...],
    by: str,
    metrics: tuple[str, ...],
    only_verified: bool,
    form: str,
    prices: str | None,
    as_json: bool,
) -> None:
    """Compare frameworks, metric by metric: descriptive statistics, tests and effect sizes.

    With DIR from the <framework>/<run_id>/metrics.json files under it, without a ledger. Beside each figure stand the
    runs that are not in it: not ended, with books that differ (short, over, incomplete, warning), with calls that are
    unknown, optional or ambiguous, or flawed as `submeter metrics judge` finds. JSON names them and gives every value.

    Quartiles are inclusive, the standard deviation is a sample's. Shapiro-Wilk, Levene, Kruskal-Wallis; for each pair
    Cliff's delta with a 95 % interval and its Mann-Whitney p at the Dunn-Sidak alpha; bootstrap of 10,000 resamples,
    seed 42. execution_time is in seconds. Needs the extra `report`.

    \b
    Example:
        submeter compare
        submeter compare --framework chatdev --framework ghspec --by step --metric tokens_total
        submeter compare runs/ --format latex > tables.tex
    """
    if not (find_spec("scipy") and find_spec("numpy")):
        raise without_extra("submeter compare")
    from .comparison import figures_of, record, unknown_metrics
    from .statistics_of import reproducibility

    subjects = _subjects(invocation, folder, frameworks, by, only_verified, prices)
    wanted = metrics or METRICS
    figures = figures_of(subjects, wanted)
    if as_json:
        print_json({"reproducibility": reproducibility(), "figures": [record(figure) for figure in figures]})
    elif form == "csv":
        write_csv(figures)
    elif form == "latex":
        click.echo(latex(figures, _reproduce()), nl=False)
    elif form == "parquet":
        _write_parquet(figures)
    elif form == "html":
        from .compare_page import page

        click.echo(page(figures, _reproduce()), nl=False)
    else:
        for figure in figures:
            _print(figure)
    for metric, reasons in unknown_metrics(subjects, wanted).items():
        why = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        say(f"No figure of {metric}: {why}.")
    for line in _reproduce():
        say(line)


def _subjects(
    invocation: Invocation,
    folder: Path | None,
    frameworks: tuple[str, ...],
    by: str,
    only_verified: bool,
    prices: str | None,
) -> list[Subject]:
    if folder is not None:
        paths = [path for path in find_metrics(folder) if not is_part(path)]
        found, broken = file_subjects(paths, frameworks, by_step=by == "step")
        for error in broken:
            say(str(error))
        return [_unless_verified(subject) for subject in found] if only_verified else found
    ledger = invocation.open_ledger(as_it_is=True)
    found = ledger_subjects(
        ledger,
        frameworks,
        prices=prices_of(ledger, prices, by_default=True),
        by_step=by == "step",
        only_verified=only_verified,
    )
    if not found:
        raise SubmeterError(
            "There is no run to compare.",
            "This ledger has no run with a label, or none with a step where steps were asked for.",
            "List what there is with: submeter runs",
        )
    return found


def _unless_verified(subject: Subject) -> Subject:
    from dataclasses import replace

    if subject.verified:
        return subject
    left_out = dict.fromkeys(subject.values, "not verified") | dict(subject.left_out)
    return replace(subject, values={}, left_out=left_out)


def _print(figure: Figure) -> None:
    from .comparison import COLUMNS

    print_table(
        ["Framework", *COLUMNS],
        [[number(value) for value in group.row()] for group in figure.groups],
        numbers=COLUMNS,
        title=figure.title,
    )
    for group in figure.groups:
        said = f"{group.framework}: {sample_text(group)}"
        found = group.figures
        if found.ci_low is not None:
            said += f"; mean in [{number(found.ci_low)}, {number(found.ci_high)}]"
        if found.half_width is not None:
            said += f", half width {found.half_width:.1%}"
            if found.enough is not None:
                said += ", enough runs" if found.enough else ", more runs needed"
        if found.shapiro_p is not None:
            said += f"; Shapiro-Wilk W {found.shapiro_w:.3f}, p {p_text(found.shapiro_p)}"
        click.echo(f"  {said}")
    tested = figure.tested
    if tested.kruskal_h is not None:
        said = f"Kruskal-Wallis H {tested.kruskal_h:.3f}, p {p_text(tested.kruskal_p)}"
        if tested.levene_w is not None:
            said += f"; Levene W {tested.levene_w:.3f}, p {p_text(tested.levene_p)}"
        click.echo(f"  {said}")
    for pair in tested.pairs:
        click.echo(
            f"  {pair.first} and {pair.second}: Cliff's delta {pair.delta:+.3f} [{pair.ci_low:+.3f},"
            f" {pair.ci_high:+.3f}], {pair.magnitude}; p {p_text(pair.p)} at alpha {pair.alpha:.4f}"
        )
    click.echo("")


def _reproduce() -> list[str]:
    from .statistics_of import reproducibility

    told = reproducibility()
    versions = ", ".join(f"{name} {told[name]}" for name in ("submeter", "python", "numpy", "scipy"))
    return [f"Counted by {versions}; seed {told['seed']}, {told['resamples']:,} resamples."]


def _write_parquet(figures: list[Figure]) -> None:
    if sys.stdout.isatty():
        raise SubmeterError(
            "Parquet is not for a terminal.",
            "It is a file of bytes.",
            "Write it to one: submeter compare --format parquet > comparison.parquet",
        )
    sys.stdout.buffer.write(parquet(figures))
