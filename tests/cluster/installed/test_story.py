"""The story comes true on a real cluster, installed by Helm from images of this repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.installed.visits import SOCKETS
from tests.stories.clustered import Clustered
from tests.stories.story import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500, func_only=True), SOCKETS]


def test_the_whole_main_job_on_kubernetes(at: Clustered, tmp_path: Path) -> None:
    story = Story(at)
    try:
        story.run(tmp_path)
    except BaseException:
        for part in ("broker", "gateway"):  # which it may have killed; what comes after it is not to fail for that
            at.start(part)
        raise
    assert at.left_behind() == [], "a tunnel left something behind"
    assert {one.step for one in story.told} == {1, 2, 3, 4, 5, 6, 7}
    assert sum(one.said.startswith("refused") for one in story.told) >= 15, "the story tried less than it should"
