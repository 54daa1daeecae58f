"""The skills without state, loaded once."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from handlers.agent.skills.standard import standard_skills


@pytest.fixture(scope="session")
def skills() -> Skills:
    return Skills(standard_skills())
