"""Outputs: what a release holds, and the rebuilt bytes of one for its reviewers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from broker.flows import outputs
from broker.web.api.asking import By, OutputId, ReleaseId, World, file, many
from broker.web.api.documents import Listing
from sulku.outputs import Output

router = APIRouter(tags=["outputs"])


def binary(*media: str) -> dict[int | str, dict[str, Any]]:
    """Return the description of an answer that is a file, of one of these media types."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(media, schema), "description": "The file."}}


BYTES = binary("text/csv", "text/plain", "image/png", "application/octet-stream")  # what outputs are rebuilt to


@router.get("/releases/{release}/outputs", response_model=Listing[Output])
def listing(ports: World, by: By, release: ReleaseId) -> Response:
    """Return a release's outputs with their findings, in order."""
    return many(outputs.listing(ports, by, release))


@router.get("/outputs/{output}/preview", responses=BYTES, response_class=Response)
def preview(ports: World, by: By, output: OutputId) -> Response:
    """Return what an output was rebuilt to; reading it is recorded."""
    record, data = outputs.preview(ports, by, output)
    return file(record.rebuilt_name, record.media, data)
