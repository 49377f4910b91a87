"""The story comes true on a real cluster, installed by Helm from images of this repository. Run by `make test-cluster`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.install import Separate
from tests.stories.clustered import Clustered
from tests.stories.story import Story


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.filterwarnings("default::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning")  # kept-alive sockets
def test_the_whole_main_job_on_kubernetes(tmp_path: Path) -> None:
    cluster = Separate("story")
    cluster.up()
    at = Clustered(cluster, tmp_path / "node")
    at.installed.load()  # built before the network is entered, from which no registry is reached
    cluster.join()
    with at:
        story = Story(at)
        story.run(tmp_path)
        assert at.left_behind() == [], "a tunnel left something behind"
    assert {one.step for one in story.told} == {1, 2, 3, 4, 5, 6, 7}
    assert sum(one.said.startswith("refused") for one in story.told) >= 15, "the story tried less than it should"
