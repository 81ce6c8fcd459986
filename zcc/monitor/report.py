"""`zcc report`: a build's page as one file that can be mailed. Pure: a build and the page's files in, HTML out.

The file has the page's own code and style in it and fetches nothing. Its policy lets run what is in it and
nothing else: names of files and members are data, in a block that no browser runs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from zcc.monitor import analysis
from zcc.watching.state import FarmState
from zcc.watching.views import BuildView
from zcc.watching.words import sentences

# In the order of who needs whom. Each name stands in one of them only, as they become one.
MODULES = (
    "dom.js", "format.js", "layout.js", "palette.js", "chart.js", "parts.js", "build-page.js", "report.js",
)  # fmt: skip
_IMPORT = re.compile(r"^import\s[^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:function|class|const|let|async) )", re.MULTILINE)


def report(state: FarmState, build: BuildView, files: Mapping[str, bytes]) -> str:
    """The whole file; `files` are the page's, by name."""
    script = joined({name: files[name].decode() for name in MODULES})
    style = files["style.css"].decode()
    data = embedded({"build": analysis.document(state, build), "words": sentences()})
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}';"
        " base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="content-security-policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="dark light">\n<title>zcc: a build</title>\n'
        f"<style>{style}</style>\n</head>\n"
        '<body class="report">\n<main id="view"></main>\n<div id="tip" role="tooltip" hidden></div>\n'
        f'<script type="application/json" id="data">{data}</script>\n'
        f'<script type="module">{script}</script>\n</body>\n</html>\n'
    )


def joined(modules: Mapping[str, str]) -> str:
    """Modules that name no other than each other, as one."""
    parts = [_EXPORT.sub("", _IMPORT.sub("", text)) for text in modules.values()]
    return "\n" + "\n".join(parts)


def embedded(told: Any) -> str:
    """JSON that can end no element around it."""
    text = json.dumps(told, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
