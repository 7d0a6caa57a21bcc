"""The documents and the code name each other rightly: every file, section and name that one gives is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_arrows import MAY_IMPORT

from submeter.audit.history import FALL_US
from submeter.audit.schedule import BACKOFF_US, HOUR_US
from submeter.audit.settings import INTERVAL_MIN, SETTLE_MIN
from submeter.audit.verdict import Verdict
from submeter.audit.window import SHIFT_MIN
from submeter.data.call import Standing
from submeter.data.columns import Kind

TREE = Path(__file__).resolve().parents[1]
CODE = sorted(
    path
    for folder in ("proxy", "audit", "data", "sim", "cli", "tests", "bench")
    for path in (TREE / folder).rglob("*")
    if path.suffix in (".py", ".sql") and path != Path(__file__).resolve()
)
CITING = [path for path in CODE if ".md" in path.read_text()]
PAGES = sorted([*(TREE / "docs").rglob("*.md"), TREE / "CONTRIBUTING.md", TREE / "README.md"])
FACTS = "docs/openai-usage.md"
AUDIT = (TREE / "docs/design/audit.md").read_text()
JOURNAL = (TREE / "docs/design/journal-and-ledger.md").read_text()

LINE_BREAK = re.compile(r"\n[ \t]*(?:#|--)?[ \t]*")
"""With what begins the next line of a comment."""
NAMED_PAGE = re.compile(r"[\w./-]*\w\.md\b")
SECTIONS = r'(?:"[^"\n]+"|[A-H](?:\.\d+)?\b)'
CITED = re.compile(rf"([\w./-]*\w\.md)`?,? ({SECTIONS}(?:(?:-|, | and ){SECTIONS})*)")
SHORT = re.compile(r"\(([A-H]\.\d+)(?:, (?:[A-H](?:\.\d+)?))*\)")
"""A section of the facts, in a module that named them before."""
TICKED = re.compile(r"`([^`\n]+)`")
OURS = re.compile(r"(?:proxy|audit|data|sim|cli|tests|bench|docs|\.ci)/[\w./*-]*|[A-Z]+\.md|Makefile|\w+\.toml")
HOLDS = re.compile(r"`([\w./-]+\.\w+)` \(((?:`\w+`(?:, )?)+)")
"""A file, and names that stand in it."""
LINK = re.compile(r"\]\(([^)#\s]+)")


def run_on(text: str) -> str:
    """A text with its lines joined, so that a citation may go over two of them."""
    return LINE_BREAK.sub(" ", text)


def sections(page: Path) -> set[str]:
    """The headings of a page; of one whose headings are lettered the letters, and the numbers of a list below one."""
    found: set[str] = set()
    letter = ""
    for line in page.read_text().splitlines():
        if heading := re.fullmatch(r"#+ (.+)", line):
            lettered = re.match(r"([A-H](?:\.\d+)?)\.? ", heading[1])
            letter = lettered[1] if lettered else ""
            found |= {heading[1], letter} - {""}
        elif letter and (item := re.match(r"(\d+)\. ", line)):
            found.add(f"{letter}.{item[1]}")
    return found


def cited_sections(text: str) -> list[tuple[str, str]]:
    """Each page that a text cites, with each section it cites of it."""
    return [
        (page, section.strip('"')) for page, listed in CITED.findall(run_on(text)) for section in split_list(listed)
    ]


def split_list(listed: str) -> list[str]:
    return re.findall(SECTIONS, listed)


def missing_sections(text: str) -> list[str]:
    return [
        f"{page} {section}"
        for page, section in cited_sections(text)
        if not (TREE / page).is_file() or section not in sections(TREE / page)
    ]


def missing_names(text: str) -> list[str]:
    """Files of ours that a page names and that are not there, and names that are not in the file it gives."""
    gone = [named for named in TICKED.findall(text) if OURS.fullmatch(named) and not any(TREE.glob(named.rstrip("/")))]
    for file, names in HOLDS.findall(run_on(text)):
        if (TREE / file).is_file():
            held = (TREE / file).read_text()
            gone += [f"{file}: {name}" for name in TICKED.findall(names) if not re.search(rf"\b{name}\b", held)]
    return gone


def name(path: Path) -> str:
    return str(path.relative_to(TREE))


def test_every_page_and_section_that_code_cites_is_there() -> None:
    assert sum(len(cited_sections(path.read_text())) for path in CITING) > 40
    gone = {name(path): found for path in CITING if (found := missing_sections(path.read_text()))}
    assert gone == {}


def test_every_page_that_code_names_is_a_page_of_this_repository() -> None:
    gone = {
        name(path): found
        for path in CITING
        if (found := [page for page in NAMED_PAGE.findall(path.read_text()) if not stands(page)])
    }
    assert gone == {}


def stands(page: str) -> bool:
    """Whether a page is there, by its path or (where a program puts the path together) by its name in `docs`."""
    return (TREE / page).is_file() or (TREE / "docs" / page).is_file()


def test_every_short_citation_is_a_section_of_the_facts_that_its_module_names() -> None:
    there = sections(TREE / FACTS)
    gone = {}
    for path in CODE:
        text = path.read_text()
        cited = [section for match in SHORT.finditer(run_on(text)) for section in split_list(match[0])]
        if cited and (FACTS not in text or set(cited) - there):
            gone[name(path)] = cited
    assert gone == {}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_name_link_and_section_that_a_page_gives_is_there(page: Path) -> None:
    text = page.read_text()
    links = [link for link in LINK.findall(text) if "://" not in link and not (page.parent / link).exists()]
    assert missing_names(text) + missing_sections(text) + links == []


def under(page: str, heading: str) -> str:
    """What stands under a heading of a page."""
    return re.split(r"^#+ ", page.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_page_on_the_audit_lists_the_verdicts_from_worst_to_best() -> None:
    named = [word for word in TICKED.findall(under(AUDIT, "Final")) if word in set(Verdict)]
    assert named[-len(Verdict) :] == [str(each) for each in Verdict]
    assert {word for word in TICKED.findall(under(AUDIT, "Verdicts")) if word in set(Verdict)} == set(Verdict)


def test_the_page_on_the_audit_says_how_long_is_waited() -> None:
    said = run_on(AUDIT)
    hours = [each // HOUR_US for each in BACKOFF_US]
    assert f"k (`--shift`, {SHIFT_MIN})" in said
    assert f"at least {INTERVAL_MIN} minutes after the one counted before it" in said
    assert f"at least {SETTLE_MIN} minutes after the minute" in said
    assert f"until good reads over {FALL_US // HOUR_US} hours since agree" in said
    assert f"after {', '.join(map(str, hours[:-1]))} and {hours[-1]} hours, then daily" in said


def test_the_page_on_journals_tells_of_every_kind_of_line_and_every_standing() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", under(JOURNAL, "The journal"), re.MULTILINE)
    assert [word for row in rows for word in TICKED.findall(row)] == [str(kind) for kind in Kind]
    assert {word for word in TICKED.findall(under(JOURNAL, "Standings")) if word in set(Standing)} == set(Standing)


def test_the_arrows_of_the_page_on_architecture_are_those_that_imports_are_held_to() -> None:
    page = (TREE / "docs/architecture.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)/` \| ([^|]+) \|", under(page, "Arrows"), re.MULTILINE))
    for folder, may in MAY_IMPORT.items():
        others = "nothing of ours" if may == {folder} else "all of them" if may == {*MAY_IMPORT} else None
        assert told[folder] == (others or ", ".join(f"`{other}/`" for other in sorted(may - {folder})))


def test_the_quick_tests_are_all_there() -> None:
    listed = re.search(r"^QUICK := ((?:.*\\\n)*.*)", (TREE / "Makefile").read_text(), re.MULTILINE)
    assert listed is not None
    named = listed[1].replace("\\\n", " ").split()
    assert len(named) > 20
    assert [file for file in named if not any((TREE / "tests").glob(f"test_{file}.py"))] == []


def test_the_reader_of_citations_sees_every_form_of_one_and_what_is_wrong_with_it() -> None:
    text = '''"""By docs/openai-usage.md A.2-A.5, G.14 and B; see docs/design/audit.md
    "Gates".
    """'''
    assert cited_sections(text) == [
        ("docs/openai-usage.md", "A.2"),
        ("docs/openai-usage.md", "A.5"),
        ("docs/openai-usage.md", "G.14"),
        ("docs/openai-usage.md", "B"),
        ("docs/design/audit.md", "Gates"),
    ]
    assert missing_sections(text) == []
    assert missing_sections('docs/openai-usage.md A.99, docs/design/audit.md "Windmills"') == [
        "docs/openai-usage.md A.99",
        "docs/design/audit.md Windmills",
    ]
    assert missing_sections("docs/nowhere.md A.1") == ["docs/nowhere.md A.1"]
    assert not stands("NOWHERE.md")
    assert missing_names("`proxy/nowhere.py`, `tests/test_nothing_*.py`, `proxy/sse.py` (`DONE`, `NEVER`)") == [
        "proxy/nowhere.py",
        "tests/test_nothing_*.py",
        "proxy/sse.py: NEVER",
    ]
