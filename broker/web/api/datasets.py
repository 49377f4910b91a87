"""The catalogue: public to read, for stewards to keep."""

from __future__ import annotations

from fastapi import APIRouter, Response

from broker.flows import datasets
from broker.web.api.asking import Anyone, By, DatasetId, Expected, Key, World, done, expect, made, many, one
from broker.web.api.documents import Because, CatalogueDataset, Edition, Listing, Recorded
from sulku.codec import typed
from sulku.datasets import Catalogue, Dataset
from sulku.datasets import Edition as CoreEdition

router = APIRouter(prefix="/datasets", tags=["datasets"])


@router.get("", response_model=Listing[Dataset])
def listing(ports: World, by: Anyone) -> Response:
    """Return the catalogue, by name. Public."""
    return many(datasets.listing(ports, by))


@router.get("/{dataset}", response_model=Dataset)
def view(ports: World, by: Anyone, dataset: DatasetId) -> Response:
    """Return one dataset's entry. Public."""
    return one(datasets.view(ports, by, dataset))


@router.post("", status_code=201, response_model=Recorded[Dataset])
def catalogue(ports: World, by: By, asked: CatalogueDataset, key: Key = None) -> Response:
    """Enter a dataset into the catalogue."""
    command = typed(Catalogue, asked.model_dump(exclude={"dataset"}))
    return made(datasets.catalogue(ports, by, command, key, dataset=asked.dataset), "dst", by)


@router.post("/{dataset}/editions", status_code=201, response_model=Recorded[Dataset])
def revise(ports: World, by: By, dataset: DatasetId, asked: Edition, expected: Expected = None) -> Response:
    """Add a version; permits keep the version that they name."""
    expect(ports, dataset, expected)
    return done(datasets.revise(ports, by, dataset, typed(CoreEdition, asked.model_dump())), dataset, 201)


@router.post("/{dataset}/withdraw", response_model=Recorded[Dataset])
def withdraw(ports: World, by: By, dataset: DatasetId, asked: Because, expected: Expected = None) -> Response:
    """Take a dataset out of the catalogue: no new tunnel mounts it."""
    expect(ports, dataset, expected)
    return done(datasets.withdraw(ports, by, dataset, asked.reason), dataset)
