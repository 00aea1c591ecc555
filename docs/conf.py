"""Sphinx settings. ``make docs`` builds the pages; warnings fail the build."""

from importlib.metadata import version as installed_version

project = "millpond"
author = "The millpond authors"
copyright = "The millpond authors"
release = version = installed_version("millpond")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"millpond {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
