"""A page of its own: one HTML document without a script, with its style and pictures inside.

Whatever is put into it is escaped; a picture alone is markup, and was drawn here. Needs jinja2 (extra `report`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.harmless import harmless
from .pictures import Picture, svg

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A picture as a page has it."""

    svg: Markup
    caption: str


def drawn(pictures: Iterable[Picture]) -> list[Drawn]:
    """Pictures as markup; the drawing has escaped what is in them."""
    from markupsafe import Markup

    return [Drawn(svg=Markup(svg(picture)), caption=picture.caption) for picture in pictures]


def rendered(template: str, **told: Any) -> str:
    """A page of one of the templates beside this file."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: harmless(value) if type(value) is str else value,
    )
    return environment.get_template(template).render(**told)
