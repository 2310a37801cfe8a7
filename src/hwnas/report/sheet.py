"""A page as one file: template, style, scripts and data put together, so that it needs no network."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hwnas
from hwnas.report.plots import Plot


def assembled(template: str, plots: Sequence[Plot], record: Any, **values: Any) -> str:
    """The page as text. Everything that comes from a record is escaped, and no script but the page's own may run.

    Args:
        template: one of the files beside this one; it extends `frame.html.j2`.
        record: what "Save as JSON" saves.
        values: what the template asks for.
    """
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hwnas.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [_source(environment, "page.js")]
    if plots:
        scripts.insert(0, get_plotlyjs().replace("</script", r"<\/script"))
    return environment.get_template(template).render(
        version=hwnas.__version__,
        style=_source(environment, "page.css"),
        scripts=scripts,
        policy=" ".join(f"'sha256-{_hash(script)}'" for script in scripts),
        figures=[plot.figure() for plot in plots],
        record=record,
        **values,
    )


def placed(text: str, path: str | Path) -> Path:
    """Writes a file that appears whole or not at all, so that a browser may reload it while a run goes on.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path


def _source(environment: Any, name: str) -> str:
    return str(environment.loader.get_source(environment, name)[0])


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


__all__ = ["assembled", "placed"]
