"""What tests ask of drawings."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from xml.etree import ElementTree

from PIL import Image

#: names that break out of a chart, or of the language its expressions are written in
HOSTILE = [
    "'",
    '"',
    "if",
    "\\",
    "a'b",
    "</svg>",
    "datum",
    "{signal}",
    "'||alert(1)||'",
    "`",
    "${x}",
    "",
    "null",
    "[0]",
    "a.b",
    "//",
]


def parts(svg, tag):
    return [element for element in ElementTree.fromstring(svg).iter() if element.tag == tag]


def width_of(path):
    """The width of a rectangle that is drawn as `Mx,yhWvH...`."""
    return abs(float(re.search(r"h(-?[\d.]+)v", path.get("d").replace("H", "h")).group(1)))


def marks(svg, colour):
    return [path for path in parts(svg, "path") if colour in (path.get("fill") or "")]


def opened(uri):
    assert uri.startswith("data:image/png;base64,")
    return Image.open(BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def encoded(picture, form="PNG"):
    buffer = BytesIO()
    picture.save(buffer, form)
    return base64.b64encode(buffer.getvalue()).decode()
