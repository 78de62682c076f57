"""docs/guest-agent.md lists every setting of the guest's services, as the structs say it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from guest_agent.daemon.cli import serve

_ROOT = Path(__file__).resolve().parents[2]


def test_the_table_is_what_the_structs_say() -> None:
    code = "from scripts.guest_settings import render, written; sys.exit(render() != written())"
    subprocess.run([sys.executable, "-c", f"import sys; {code}"], cwd=_ROOT, check=True)


def test_the_page_names_every_option_of_serve() -> None:
    page = (_ROOT / "docs" / "guest-agent.md").read_text(encoding="utf-8")
    for parameter in serve.params:
        if not getattr(parameter, "hidden", False):
            assert re.search(rf"`{parameter.opts[0]}`", page), parameter.opts
