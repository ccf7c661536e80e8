"""Tagged PDFs (PDF/UA-1) from Typst templates; the data travel as JSON, never as template source."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

import typst

TEMPLATES = Path(__file__).resolve().parent / "typst"


@functools.lru_cache(maxsize=16)
def _compiler(path: str) -> typst.Compiler:
    return typst.Compiler(path, font_paths=[], ignore_system_fonts=True)


def render(template: str, data: Mapping[str, object], *, title: str) -> bytes:
    """The PDF of `typst/<template>.typ` fed with `data`; what bidders wrote in it is text, never code."""
    return render_file(TEMPLATES / f"{template}.typ", data, title=title)


def render_file(path: Path, data: Mapping[str, object], *, title: str) -> bytes:
    """The same for a template elsewhere."""
    inputs = {"data": json.dumps(data, ensure_ascii=False, default=str), "title": title}
    pdf = _compiler(str(path)).compile(sys_inputs=inputs, format="pdf", pdf_standards=["ua-1"])
    if not isinstance(pdf, bytes):
        raise TypeError("typst did not give one PDF")
    return pdf
