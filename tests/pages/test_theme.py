"""The appearance can be read: captions have the contrast of the accessibility guidelines, by day and by night."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THEME = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
CAPTION = 0.6  # of the text's colour, the rest is the background's
HEADINGS = {"title": 1, "header": 2, "subheader": 3}


def channels(color: str) -> list[float]:
    return [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def luminance(color: list[float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", ["backgroundColor", "secondaryBackgroundColor"])
@pytest.mark.parametrize("appearance", ["light", "dark"])
def test_a_caption_stands_out_from_its_ground(appearance: str, ground: str) -> None:
    theme = THEME[appearance]
    below, text = channels(theme[ground]), channels(theme["textColor"])
    caption = [CAPTION * front + (1 - CAPTION) * back for front, back in zip(text, below, strict=True)]
    darker, lighter = sorted((luminance(caption), luminance(below)))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_the_appearance_is_left_to_the_browser() -> None:
    assert "base" not in THEME


@pytest.mark.parametrize("page", ["overview", "orders", "order", "new_order", "logs"])
def test_no_level_of_headings_is_left_out(page: str) -> None:
    source = (ROOT / "pages" / f"{page}.py").read_text()
    levels = {HEADINGS[word] for word in re.findall(r"st\.(title|header|subheader)\(", source)}
    assert levels == set(range(2, len(levels) + 2))  # the first is the page's name, which the frame writes
