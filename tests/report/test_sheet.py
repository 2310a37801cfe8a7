"""What all pages have in common; their content is tested where it is made."""

from __future__ import annotations

import base64
import hashlib
import re

from hwnas.report.sheet import placed


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "deep" / "page.html"
    assert placed("first", path) == path and placed("second", str(path)) == path
    assert path.read_text() == "second" and [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_only_the_scripts_of_a_page_may_run(comparison_page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', comparison_page)[1]
    scripts = re.findall(r"<script>(.*?)</script>", comparison_page, re.S)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests and len(digests) == 2
