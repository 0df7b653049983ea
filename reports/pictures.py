"""Pictures with heat maps, and shaded words: vermilion speaks for, blue against (Okabe and Ito 2008)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from reports.record import Panel

if TYPE_CHECKING:
    from PIL.Image import Image

FOR, AGAINST = (213, 94, 0), (0, 114, 178)
#: opacity of the strongest weight; text on it keeps a contrast of 4.5 on light and on dark paper
STRONGEST = 0.5
#: a picture larger than this in either direction is shrunk
LARGEST = 512
_MAGIC = b"\x89PNG\r\n\x1a\n"


def to_data_uri(panel: Panel) -> str | None:
    """The panel as a PNG in a data URI, its heat map laid over the faded picture; None where neither can be drawn.

    A heat map alone is drawn on white. Pixels are enlarged without smoothing, so that each keeps its edge.
    """
    picture = _decoded(panel.image)
    heat = _heat(panel.heat or ())
    if picture is None and heat is None:
        return None
    if heat is None:
        assert picture is not None
        return _encoded(picture)
    return _encoded(_overlaid(picture, heat))


def of_weights(weights: Sequence[Sequence[float]]) -> str:
    """Weights from 0 up as a PNG in a data URI, a pixel each: the stronger, the less of the paper shows through."""
    from PIL import Image

    largest = max((weight for row in weights for weight in row), default=0.0) or 1.0
    pixels = b"".join(
        bytes((*FOR, round(255 * min(max(weight, 0.0) / largest, 1.0)))) for row in weights for weight in row
    )
    size = (len(weights[0]), len(weights)) if weights else (1, 1)
    return _encoded(Image.frombytes("RGBA", size, pixels or bytes(4)))


def shade(weight: float, largest: float) -> str:
    """The background of a token: `rgba(213,94,0,0.31)`; empty where the weight is nothing.

    Args:
        weight: of this token.
        largest: magnitude that is shaded strongest.
    """
    strength = abs(weight) / largest if largest > 0 else 0.0
    alpha = round(STRONGEST * min(strength, 1.0), 2)
    red, green, blue = FOR if weight > 0 else AGAINST
    return f"rgba({red},{green},{blue},{alpha})" if alpha else ""


def _decoded(image: str | None) -> Image | None:
    from PIL import Image

    if image is None:
        return None
    try:
        content = base64.b64decode(image, validate=True)
        if not content.startswith(_MAGIC):
            return None
        with Image.open(BytesIO(content), formats=["PNG"]) as file:
            # the header is read first: a small file must not unfold into gigabytes
            if file.width * file.height > 64_000_000:
                return None
            picture = file.convert("RGB")
    except (binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    picture.thumbnail((LARGEST, LARGEST))
    return picture


def _heat(heat: Sequence[Sequence[float]]) -> Image | None:
    """The heat map as a picture of its own size: colour, and as opacity its share of the largest magnitude."""
    from PIL import Image

    width = max((len(row) for row in heat), default=0)
    if not width:
        return None
    largest = max(abs(value) for row in heat for value in row) or 1.0
    pixels = bytearray()
    for row in heat:
        for value in (*row, *[0.0] * (width - len(row))):
            pixels += bytes((*(FOR if value > 0 else AGAINST), round(255 * abs(value) / largest)))
    return Image.frombytes("RGBA", (width, len(heat)), bytes(pixels))


def _overlaid(picture: Image | None, heat: Image) -> Image:
    from PIL import Image, ImageOps

    nearest = Image.Resampling.NEAREST
    if picture is None:
        paper = Image.new("RGB", heat.size, "white")
    else:
        factor = max(1, -(-heat.width // picture.width), -(-heat.height // picture.height))
        grey = ImageOps.grayscale(picture).convert("RGB")
        paper = Image.blend(grey, Image.new("RGB", grey.size, "white"), 0.35)
        paper = paper.resize((grey.width * factor, grey.height * factor), nearest)
        heat = heat.resize(paper.size, nearest)
    paper.paste(heat, (0, 0), heat.getchannel("A").point(lambda alpha: round(0.85 * alpha)))
    return paper


def _encoded(picture: Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
