"""`zarrfs doctor` where mounts work."""

from __future__ import annotations

import json

from tests.commands import zarrfs


def test_for_people_and_for_programs() -> None:
    findings = json.loads(zarrfs("doctor", "--json").stdout)
    states = {finding["name"]: finding["state"] for finding in findings}
    assert states["a trial mount"] == "works"
    assert "broken" not in states.values()
    text = zarrfs("doctor").stdout
    for finding in findings:
        assert finding["name"] in text
        assert finding["fix"] in text
