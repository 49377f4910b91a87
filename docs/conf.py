"""How Sphinx builds these pages: Markdown, no network, no file from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

project = "sulku"
author = "the sulku developers"
html_title = "sulku"
html_short_title = "sulku"
extensions = ["myst_parser"]
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "images/README.md"]
html_theme = "furo"
html_theme_options = {"sidebar_hide_name": False}
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_copy_source = False
html_show_sourcelink = False
html_extra_path = ["reference/permit.schema.json", "reference/release.schema.json"]
highlight_language = "text"
pygments_style = "friendly"
pygments_dark_style = "monokai"


class DropMissingImages(SphinxTransform):
    """Drop an image whose file is not there: the tests make the screenshots, and the pages must build without them."""

    default_priority = 10

    def apply(self, **_: Any) -> None:
        """Look at each image of a page."""
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for image in list(self.document.findall(nodes.image)):
            if not (folder / image["uri"]).exists():
                image.parent.remove(image)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what is ours."""
    app.add_transform(DropMissingImages)
    app.add_lexer("mermaid", TextLexer)  # forges draw the diagrams; here their source stands beside the table
    return {"parallel_read_safe": True}
