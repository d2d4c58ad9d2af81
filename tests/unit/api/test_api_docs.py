"""The example in docs/api.md runs."""
from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

API_MD = Path(__file__).parents[3] / "docs" / "api.md"


async def test_the_example_of_the_documentation_runs(server, settings):
    found = re.search(r"```python\n(.*?)```", API_MD.read_text(), re.DOTALL)
    assert found is not None
    script = found[1].replace("/run/calicopy/calicopy.sock", settings.socket_path)
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(done.communicate(), 20)
    assert out.decode().splitlines() == [
        "node2 SESSION_STATE_ESTABLISHED ",
        "node3 SESSION_STATE_ACTIVE hold timer expired",
    ]
