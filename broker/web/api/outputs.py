"""Outputs: what a release holds, and the rebuilt bytes of one for its reviewers."""

from __future__ import annotations

from fastapi import APIRouter, Response

from broker.flows import outputs
from broker.web.api.asking import By, OutputId, ReleaseId, World, file, many
from broker.web.api.documents import Listing
from sulku.outputs import Output

router = APIRouter(tags=["outputs"])
BYTES = {200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}, "description": "The file."}}


@router.get("/releases/{release}/outputs", response_model=Listing[Output])
def listing(ports: World, by: By, release: ReleaseId) -> Response:
    """Return a release's outputs with their findings, in order."""
    return many(outputs.listing(ports, by, release))


@router.get("/outputs/{output}/preview", responses=BYTES, response_class=Response)
def preview(ports: World, by: By, output: OutputId) -> Response:
    """Return what an output was rebuilt to; reading it is recorded."""
    record, data = outputs.preview(ports, by, output)
    return file(record.rebuilt_name, record.media, data)
