"""`submeter compare`: its figures are those that an independent reckoning gives, and each says which runs it is of."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner, Result
from ledger_play import Play
from scipy import stats

import submeter.cli.compare
from submeter.cli.compare_forms import escaped
from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.cli.statistics_of import compare, describe, magnitude
from submeter.data.call import Usage
from submeter.data.journal import new_call_id

SHARED = Path(os.environ.get("SUBMETER_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "genai-devbench-runs"
MEMBERS = {
    "api_calls": "API_CALLS",
    "tokens_in": "TOK_IN",
    "tokens_out": "TOK_OUT",
    "cached_tokens": "CACHED_TOKENS",
    "execution_time": "T_WALL_seconds",
}
USERS_COLUMNS = "Framework,n,Mean,Median,Std Dev,Min,Max,Q1,Q3,IQR,Skewness,Kurtosis,Outliers"


def run(ledger: Path | Play, *words: str) -> Result:
    obj = Invocation(ledger=ledger.path, clock=ledger.clock) if isinstance(ledger, Play) else Invocation(ledger=ledger)
    result = CliRunner().invoke(cli, list(words), obj=obj)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def check_sample(told: dict[str, Any], values: Sequence[float]) -> None:
    """One framework's figures against plain Python, numpy and scipy."""
    assert sorted(told["values"]) == sorted(values)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    spread = high - low
    wanted = {
        "n": len(values),
        "mean": statistics.fmean(values),
        "median": median,
        "std_dev": statistics.stdev(values),
        "minimum": min(values),
        "maximum": max(values),
        "q1": low,
        "q3": high,
        "iqr": spread,
        "outliers": sum(not low - 1.5 * spread <= value <= high + 1.5 * spread for value in values),
    }
    assert {name: told[name] for name in wanted} == pytest.approx(wanted)
    if len(set(values)) == 1:
        assert [told[name] for name in ("skewness", "kurtosis", "shapiro_w", "shapiro_p")] == [None] * 4
        return
    mean, deviation = np.mean(values), np.std(values)
    moments = [np.mean((np.array(values) - mean) ** power) / deviation**power for power in (3, 4)]
    assert (told["skewness"], told["kurtosis"]) == pytest.approx((moments[0], moments[1] - 3))
    normal = stats.shapiro(np.array(values))
    assert (told["shapiro_w"], told["shapiro_p"]) == pytest.approx((normal.statistic, normal.pvalue))
    # Another generator and another seed: the interval is the same but for the luck of 10,000 draws.
    drawn = np.random.RandomState(7).choice(values, (10_000, len(values))).mean(axis=1)
    wanted_low, wanted_high = np.percentile(drawn, (2.5, 97.5))
    assert (told["ci_low"], told["ci_high"]) == pytest.approx((wanted_low, wanted_high), abs=0.05 * np.ptp(values))
    assert told["half_width"] == pytest.approx((told["ci_high"] - told["ci_low"]) / 2 / abs(mean))
    assert told["enough"] == (told["half_width"] <= 0.1 if len(values) >= 5 else None)


def check_figure(told: dict[str, Any], samples: dict[str, list[float]]) -> None:
    """One metric of all frameworks."""
    for each in told["frameworks"]:
        check_sample(each, samples[each["framework"]])
    assert [each["framework"] for each in told["frameworks"]] == sorted(samples)
    h, p = stats.kruskal(*samples.values())
    assert (told["tests"]["kruskal_h"], told["tests"]["kruskal_p"]) == pytest.approx((h, p))
    w, p = stats.levene(*samples.values(), center="median")
    assert (told["tests"]["levene_w"], told["tests"]["levene_p"]) == pytest.approx((w, p))
    pairs = list(combinations(sorted(samples), 2))
    assert [(pair["first"], pair["second"]) for pair in told["pairs"]] == pairs
    for pair, (first, second) in zip(told["pairs"], pairs, strict=True):
        above = sum((one > other) - (one < other) for one in samples[first] for other in samples[second])
        delta = above / len(samples[first]) / len(samples[second])
        assert pair["delta"] == pytest.approx(delta)
        assert pair["ci_low"] <= pair["delta"] <= pair["ci_high"]
        u, p = stats.mannwhitneyu(samples[first], samples[second])
        assert (pair["u"], pair["p"]) == pytest.approx((u, p))
        assert pair["alpha"] == pytest.approx(1 - 0.95 ** (1 / len(pairs)))
        assert pair["significant"] == (pair["p"] < pair["alpha"])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published runs are not here")
def test_the_published_runs_are_compared_as_an_independent_reckoning_does_without_the_flawed_ones() -> None:
    flawed = {
        each["run"]: " and ".join(each["found"]).replace("_", " ")
        for each in json.loads(run(Path("none.duckdb"), "metrics", "judge", str(SHARED), "--json").stdout)
        if each["found"]
    }
    assert len(flawed) == 7
    told = {
        each["metric"]: each for each in json.loads(run(Path("n"), "compare", str(SHARED), "--json").stdout)["figures"]
    }
    files = {path: json.loads(path.read_text())["aggregate_metrics"] for path in SHARED.glob("*/*/metrics.json")}
    assert len(files) == 23
    for metric, member in (*MEMBERS.items(), ("tokens_total", "")):
        samples: dict[str, list[float]] = {}
        for path, totals in files.items():
            if f"{path.parts[-3]}/{path.parts[-2]}" not in flawed:
                value = totals[member] if member else totals["TOK_IN"] + totals["TOK_OUT"]
                samples.setdefault(path.parts[-3], []).append(value)
        check_figure(told[metric], samples)
        left_out = {
            name: reason
            for each in told[metric]["frameworks"]
            for reason, names in each["left_out"].items()
            for name in names
        }
        assert left_out == {name: f"judged {reason}" for name, reason in flawed.items()}
    assert set(told) == {*MEMBERS, "tokens_total"}, "a cost of 0.0 is no cost, and reasoning was never told"
    assert sum(each["verified"] for each in told["tokens_in"]["frameworks"]) == 0, "what they claim is not proven"


COUNTS = {
    "baes": [(500, 40), (510, 41), (505, 44), (520, 39), (498, 40), (507, 47)],
    "chatdev": [(900, 100), (1500, 90), (700, 300), (2000, 80), (910, 95)],
    "ghspec": [(800, 60), (790, 61), (3000, 10)],
}


def audited(play: Play, name: str, verdict: str, *, final: bool = True, timing: str | None = None) -> None:
    framework, run_id = name.split("/")
    said = {"audit_id": new_call_id(play.clock.now_us()), "audited_at": play.clock.now_us(), "scope": "run"}
    said |= {"framework": framework, "run_id": run_id, "verdict": verdict, "final": final, "timing": timing}
    play.journal.append("audit", said)


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Three frameworks with runs of two steps, and one run more for each reason to leave one out."""
    play = Play(tmp_path_factory.mktemp("compared"))

    def one(name: str, *counts: Usage, ended: bool = True) -> None:
        framework, run_id = name.split("/")
        play.begin(run_id=run_id, framework=framework)
        for step, each in enumerate(counts, 1):
            play.begin(str(step), run_id=run_id, framework=framework)
            play.call(run_id, str(step), framework=framework, counts=each, response_model="gpt-4o-mini", took_s=step)
            play.end(str(step), run_id=run_id, framework=framework)
        if ended:
            play.end(run_id=run_id, framework=framework)
        play.wait(1)

    for framework, counts in COUNTS.items():
        for number, (tokens_in, tokens_out) in enumerate(counts):
            first = Usage(input_tokens=tokens_in, output_tokens=tokens_out, cached_input_tokens=0, reasoning_tokens=1)
            second = Usage(input_tokens=number, output_tokens=2, cached_input_tokens=0)
            one(f"{framework}/r-{number}", first, second)
    whole = Usage(input_tokens=1, output_tokens=1, cached_input_tokens=0)
    for name in ("unknown", "short", "later-short", "tried"):
        one(f"chatdev/{name}", Usage() if name == "unknown" else whole)
    one("chatdev/open", whole, ended=False)
    audited(play, "chatdev/short", "short")
    audited(play, "chatdev/later-short", "over")
    play.wait(60)
    audited(play, "chatdev/later-short", "pending", final=False)
    audited(play, "chatdev/tried", "short", timing="test")
    audited(play, "chatdev/r-1", "verified")
    audited(play, "chatdev/r-2", "verified", final=False)
    audited(play, "baes/r-0", "verified", timing="test")
    play.ledger.ingest()
    return play


def test_the_runs_of_a_ledger_are_compared_as_an_independent_reckoning_does(play: Play) -> None:
    told = {each["metric"]: each for each in json.loads(run(play, "compare", "--json").stdout)["figures"]}
    samples = {
        name: [float(tokens_in + number) for number, (tokens_in, _) in enumerate(counts)]
        for name, counts in COUNTS.items()
    }
    samples["chatdev"].append(1.0)  # `tried`: a verdict without the waiting times counts for nothing.
    check_figure(told["tokens_in"], samples)
    check_figure(
        told["tokens_total"],
        {
            name: [
                *(float(tokens_in + number + tokens_out + 2) for number, (tokens_in, tokens_out) in enumerate(counts)),
                *([2.0] if name == "chatdev" else []),
            ]
            for name, counts in COUNTS.items()
        },
    )
    chatdev = told["tokens_in"]["frameworks"][1]
    assert chatdev["left_out"] == {
        "not ended": ["chatdev/open"],
        "unknown calls": ["chatdev/unknown"],
        "verdict over": ["chatdev/later-short"],
        "verdict short": ["chatdev/short"],
    }
    assert chatdev["runs"] == len(chatdev["values"]) + 4
    assert [each["verified"] for each in told["tokens_in"]["frameworks"]] == [0, 1, 0]
    assert "chatdev/unknown" not in str(told["execution_time"]["frameworks"][1]["left_out"]), "its time is known"
    assert told["execution_time"]["frameworks"][0]["values"] == [3.0] * 6
    price = (500 * 0.15 + 42 * 0.6) / 1_000_000
    assert told["cost_usd"]["frameworks"][0]["values"][0] == pytest.approx(price)


def test_steps_are_compared_one_by_one(play: Play) -> None:
    words = ("compare", "--by", "step", "--metric", "tokens_in", "--metric", "execution_time", "--json")
    told = json.loads(run(play, *words).stdout)["figures"]
    assert [(each["step"], each["metric"]) for each in told] == [
        (step, metric) for step in ("1", "2") for metric in ("tokens_in", "execution_time")
    ]
    assert told[2]["frameworks"][0]["values"] == [0, 1, 2, 3, 4, 5]
    assert told[3]["frameworks"][0]["values"] == [2.0] * 6


def test_only_verified_leaves_out_every_run_that_no_final_audit_verified(play: Play) -> None:
    words = ("compare", "--metric", "tokens_in", "--only-verified", "--json")
    (told,) = json.loads(run(play, *words).stdout)["figures"]
    assert [each["values"] for each in told["frameworks"]] == [[], [1501.0], []]
    assert told["frameworks"][0]["n"] == 0
    assert told["frameworks"][0]["mean"] is None
    assert told["frameworks"][0]["left_out"]["not verified"][0] == "baes/r-0"
    assert told["pairs"] == []


def test_csv_has_the_users_columns_in_their_order(play: Play) -> None:
    printed = run(play, "compare", "--metric", "tokens_in", "--format", "csv").stdout
    header, *rows = csv.reader(io.StringIO(printed))
    assert ",".join(header[2:15]) == USERS_COLUMNS
    assert [row[0:4] for row in rows] == [
        ["tokens_in", "", "baes", "6"],
        ["tokens_in", "", "chatdev", "6"],
        ["tokens_in", "", "ghspec", "3"],
    ]
    assert rows[1][header.index("Left Out")] == "4"
    assert "1 unknown calls" in rows[1][header.index("Why")]


def test_parquet_holds_the_same_with_numbers_as_numbers(play: Play, tmp_path: Path) -> None:
    path = tmp_path / "comparison.parquet"
    path.write_bytes(run(play, "compare", "--metric", "tokens_in", "--format", "parquet").stdout_bytes)
    rows = duckdb.sql(f'SELECT "Framework", "n", "Mean", "Left Out" FROM \'{path}\' ORDER BY "Framework"').fetchall()
    assert rows[0] == ("baes", 6, pytest.approx(np.mean([500, 511, 507, 523, 502, 512])), 0)
    assert rows[1][3] == 4


def test_the_table_says_beside_each_figure_which_runs_it_is_of(play: Play) -> None:
    printed = run(play, "compare", "--metric", "tokens_in").stdout
    assert (
        "chatdev: 10 runs, left out 4 (1 not ended, 1 unknown calls, 1 verdict over, 1 verdict short), verified 1"
        in printed
    )
    assert ", ".join(printed.splitlines()[1].split()).replace("Std, Dev", "Std Dev") == USERS_COLUMNS.replace(",", ", ")


def test_a_framework_that_no_run_is_of_is_an_error_with_those_there_are(play: Play) -> None:
    result = run(play, "compare", "--framework", "chatdevv")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[1] == "Runs are of: baes, chatdev, ghspec."


def test_without_the_extra_three_lines_name_it(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submeter.cli.compare, "find_spec", lambda _name: None)
    result = run(play, "compare")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 3)
    assert "submeter[report]" in result.stderr


def test_latex_tables_hold_what_was_left_out_and_no_sign_that_latex_would_obey(play: Play) -> None:
    printed = run(play, "compare", "--metric", "tokens_in", "--format", "latex").stdout
    assert printed.count(r"\toprule") == 1
    assert r"\caption{tokens\_in}" in printed
    assert "1 unknown calls" in printed
    assert escaped("\\input{/etc/passwd} 50%_$x$ ^~<>&#\n\\end") == (
        r"\textbackslash{}input\{/etc/passwd\} 50\%\_\$x\$ \textasciicircum{}\textasciitilde{}\textless{}"
        r"\textgreater{}\&\# \textbackslash{}end"
    )


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not on this machine")
def test_the_latex_tables_compile(play: Play, tmp_path: Path) -> None:
    tables = run(play, "compare", "--format", "latex").stdout
    packages = r"\documentclass{article}\usepackage{booktabs}\usepackage{graphicx}\begin{document}"
    (tmp_path / "t.tex").write_text(f"{packages}\n{tables}\n\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:]


def test_names_from_strangers_are_escaped_in_the_page_and_its_pictures(tmp_path: Path) -> None:
    play = Play(tmp_path)
    evil = "</text><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    for framework in (evil, "baes"):
        for number in range(3):
            play.begin(run_id=f"{evil}{number}", framework=framework)
            play.call(f"{evil}{number}", None, framework=framework, input_tokens=10 + number)
            play.end(run_id=f"{evil}{number}", framework=framework)
    play.begin(run_id=f"{evil}open", framework=framework)
    result = run(play, "compare", "--metric", "tokens_in", "--format", "html")
    assert result.exit_code == 0, result.output
    page = result.stdout
    assert "&lt;script&gt;" in page
    assert "<script" not in page.lower()
    assert "<img" not in page.lower()
    assert page.count("<svg") == 3
    assert "http" not in page.replace("http://www.w3.org/", "").replace("http-equiv", ""), "a page asks nobody"


def test_what_is_too_small_or_too_constant_for_a_figure_has_none() -> None:
    assert describe([]).mean is None
    one = describe([5.0])
    assert (one.mean, one.std_dev, one.ci_low, one.enough) == (5.0, None, None, None)
    constant = describe([5.0] * 6)
    assert (constant.skewness, constant.shapiro_p, constant.half_width, constant.enough) == (None, None, 0.0, True)
    zeros = describe([0.0] * 6)
    assert (zeros.mean, zeros.half_width, zeros.enough) == (0.0, None, None)
    same = compare({"a": [1.0, 1.0], "b": [1.0, 1.0], "c": []})
    assert (same.kruskal_h, same.levene_w, [pair.delta for pair in same.pairs]) == (None, None, [0.0])
    assert compare({"a": [1.0]}).pairs == ()
    assert math.isclose(compare({"a": [1.0, 2.0], "b": [3.0, 4.0]}).pairs[0].delta, -1.0)


@pytest.mark.parametrize(
    ("delta", "word"),
    [
        (0.146, "negligible"),
        (-0.147, "small"),
        (0.329, "small"),
        (0.33, "medium"),
        (-0.473, "medium"),
        (0.474, "large"),
    ],
)
def test_an_effect_is_called_by_the_published_limits(delta: float, word: str) -> None:
    assert magnitude(delta) == word
