"""What the sections say of estimates: every pattern speaks of something that a check measures."""

from __future__ import annotations

import ast
import inspect
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from reports.html.sections import SECTIONS
from reports.html.sections.section import Findings

PATTERNS = [(section.id, item.subject) for section in SECTIONS for item in (*section.phrases, *section.advice)]


def names_in(path):
    """Regular expressions of the texts a module writes, with anything where it puts a value."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(re.escape(node.value))
        elif isinstance(node, ast.JoinedStr):
            parts = [re.escape(p.value) if isinstance(p, ast.Constant) else ".+" for p in node.values]
            if sum(map(str.isalpha, "".join(parts))) >= 4:
                found.add("".join(parts))
    return found


def sources(pattern):
    """Files of the checks whose ids fit the pattern; hardening is told as a check without being one."""
    import audit.hardening
    from audit.check import registry

    files = {name: Path(inspect.getfile(check)) for name, check in registry().items()}
    found = [path for name, path in files.items() if fnmatchcase(name, pattern)]
    if pattern == "robustness.hardening":
        found += Path(audit.hardening.__file__).parent.glob("*.py")
    return found


def is_measured(pattern):
    check, _, estimate = pattern.partition("/")
    # what stands after the @ may be put there in another place
    examples = {estimate.replace("*", "x"), estimate.partition("@")[0].replace("*", "x")}
    texts = set().union(*map(names_in, sources(check)))
    return any(
        re.fullmatch(text, example) or fnmatchcase(re.sub(r"\\(.)", r"\1", text), estimate)
        for text in texts
        for example in examples
    )


@pytest.mark.parametrize(("section", "pattern"), PATTERNS)
def test_a_pattern_speaks_of_something_that_is_measured(section, pattern):
    assert is_measured(pattern)


@pytest.mark.parametrize("pattern", ["explain.proxy/proxies@*", "explain.proxies/proxy_count@*", "fit.accuracy/kappa"])
def test_a_pattern_of_nothing_is_told_apart(pattern):
    assert not is_measured(pattern)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.id)
def test_an_ordered_check_stands_before_the_others(section):
    places = [section.place(f"{section.id}.{name}") for name in section.order]
    assert places == sorted(places)
    assert len(set(section.order)) == len(section.order)
    assert max(places, default=(0, "")) < section.place(f"{section.id}.zzz")
    assert not list(Findings(section).measured())
