"""WCAG 2.2 contrast of every colour the page uses, computed from the style sheet."""

import re
from pathlib import Path

import pytest

import reports.html
from reports.pictures import AGAINST, FOR, STRONGEST

STYLE = (Path(reports.html.__file__).parent / "style.css").read_text(encoding="utf-8")
TEXTS = ("ink", "muted", "link", "pass", "fail", "insufficient")
SERIES = (*(f"series-{i}" for i in range(1, 7)), *(f"level-{i}" for i in range(1, 6)))


def palettes():
    blocks = re.findall(r":root \{([^}]*)\}", STYLE)
    return {
        theme: {name: rgb(value) for name, value in re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block)}
        for theme, block in zip(("light", "dark", "print"), blocks, strict=True)
    }


def rgb(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * d for d in colour[1:])
    return tuple(int(digits[i : i + 2], 16) for i in (0, 2, 4))


def luminance(colour):
    """Relative luminance (WCAG 2.2)."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_formula_gives_the_known_ends():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_reaches_aa(theme):
    palette = palettes()[theme]
    for paper in ("paper", "raised"):
        for text in TEXTS:
            assert contrast(palette[text], palette[paper]) >= 4.5, (text, paper)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_lines_and_bars_reach_three_to_one(theme):
    palette = palettes()[theme]
    for series in SERIES:
        assert contrast(palette[series], palette["paper"]) >= 3.0, series


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_on_the_strongest_shade_reaches_aa(theme):
    palette = palettes()[theme]
    for shade in (FOR, AGAINST):
        mixed = tuple(STRONGEST * s + (1 - STRONGEST) * p for s, p in zip(shade, palette["paper"], strict=True))
        assert contrast(palette["ink"], mixed) >= 4.5, shade


def test_every_variable_that_is_used_is_defined():
    used = set(re.findall(r"var\(--([\w-]+)", STYLE))
    defined = set(re.findall(r"--([\w-]+):", STYLE)) | {"per-row", "columns"}
    assert used <= defined
    themes = palettes()
    assert set(themes["light"]) == set(themes["dark"]) == set(themes["print"])
