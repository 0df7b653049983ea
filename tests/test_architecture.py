"""The house holds: imports run one way, names are exact, files stay small, light commands stay light."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("audit", "attacks", "reports")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAY_IMPORT = {"audit": {"audit", "attacks", "reports"}, "attacks": {"attacks"}, "reports": {"reports"}}
LONGEST = 320


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name their package in full"
            names.add((node.module or "").split(".")[0])
    return names


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_top_level_is_the_designs():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout, so there is no list of the project's own files")
    top = {name.split("/")[0] for name in tracked if not name.startswith(".")}
    fixed = {"pyproject.toml", "audit", "attacks", "reports", "tests", "examples", "README.md"}
    beside = {"docs", "benchmarks", "Makefile", "constraints.txt", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"}
    assert fixed <= top <= fixed | beside


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    assert imported(path) & set(PACKAGES) <= MAY_IMPORT[package]


def test_the_renderers_know_no_torch():
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == "reports":
            assert not imported(path) & {"torch", "transformers", "captum"}, path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_one_room(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(text)), "a module says what it is for"


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("audit", {"data", "judge", "load", "run"}),
        ("audit.fairness", {"RATES", "Cube", "Residuals", "Scores", "Strata"}),
    ],
)
def test_public_names_are_exact(module, names):
    found = importlib.import_module(module)
    assert set(found.__all__) == names
    for name in names:
        assert getattr(found, name) is not None


@pytest.mark.parametrize("module", ["attacks", "audit.explainers", "audit.datasets", "audit.loading", "reports"])
def test_every_public_name_is_there_and_documented(module):
    found = importlib.import_module(module)
    for name in found.__all__:
        value = getattr(found, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, f"{module}.{name} has no docstring"


def test_help_imports_nothing_heavy():
    heavy = run(
        "import sys, audit.cli\n"
        "from click.testing import CliRunner\n"
        "assert CliRunner().invoke(audit.cli.commands, ['--help']).exit_code == 0\n"
        "print([m for m in ('torch', 'numpy', 'pandas', 'pydantic', 'scipy', 'rich') if m in sys.modules])"
    )
    assert heavy == "[]"


def test_listing_explaining_judging_and_reporting_load_no_torch(tmp_path):
    record = tmp_path / "record.json"
    run(f"from tests.records import record; from pathlib import Path; record().write(Path({str(record)!r}))")
    loaded = run(
        "import sys, audit.cli\n"
        "from click.testing import CliRunner\n"
        "for command in (['list'], ['explain', 'fit.accuracy'], ['schema'],\n"
        f"                ['judge', {str(record)!r}], ['report', {str(record)!r}, '-o', {str(tmp_path / 'r.html')!r}]):\n"
        "    result = CliRunner().invoke(audit.cli.commands, command, standalone_mode=False)\n"
        "    assert result.exception is None, (command, result.exception)\n"
        "print([m for m in ('torch', 'transformers', 'captum', 'shap') if m in sys.modules])"
    )
    assert loaded == "[]"
    assert (tmp_path / "r.html").stat().st_size > 1000


def test_every_check_says_what_it_measures():
    from audit.check import SECTIONS, card, registry

    assert {name.split(".")[0] for name in registry()} == set(SECTIONS)
    for name in registry():
        text = card(name)
        assert all((text.title, text.what, text.why, text.how)), f"{name}: a heading is missing from its docstring"


def test_checks_hold_no_thresholds():
    for path in (ROOT / "audit" / "checks").rglob("*.py"):
        assert "Outcome" not in path.read_text(encoding="utf-8"), f"{path}: judging belongs to a policy"


def test_nothing_names_a_place_that_users_do_not_have():
    for path in [*FILES, *(ROOT / "examples").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        text = path.read_text(encoding="utf-8")
        assert "../shared" not in text
        assert f"{Path.home()}/" not in text
