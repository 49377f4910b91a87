"""Three real clinical datasets, made ready to be catalogued: CSV with a person identifier where the source has none."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sulku.datasets import Sensitivity

SOURCE = "scikit-survival 0.28.0 (PyPI), sksurv/datasets/data"


@dataclass(frozen=True)
class Clinical:
    """One dataset of the demonstration: where it comes from, what it is, how many persons it holds."""

    name: str
    file: str
    title: str
    description: str
    persons: int
    labels: dict[str, str]
    controller: str = "Practice Register Holder"
    sensitivity: Sensitivity = Sensitivity.SPECIAL
    terms: str = "For the purpose of the permit only. Results leave through output review. No attempt to identify anybody."


DATASETS = (
    Clinical(
        "flchain",
        "flchain.arff",
        "Serum free light chain and mortality",
        "Residents of Olmsted County aged 50 or more: assay of serum free light chain, follow-up and cause of death.",
        7874,
        {
            "age": "Age in years",
            "sex": "Sex",
            "sample.yr": "Year of the blood sample",
            "kappa": "Serum free light chain, kappa portion (mg/dL)",
            "lambda": "Serum free light chain, lambda portion (mg/dL)",
            "flc.grp": "Tenth of the total free light chain",
            "creatinine": "Serum creatinine (mg/dL)",
            "mgus": "Diagnosed with monoclonal gammopathy",
            "futime": "Days from sample to death or last contact",
            "death": "Vital status at last contact",
            "chapter": "Chapter of the cause of death",
        },
    ),
    Clinical(
        "gbsg2",
        "GBSG2.arff",
        "German Breast Cancer Study Group 2",
        "Women with node-positive breast cancer: treatment, tumour and recurrence-free survival.",
        686,
        {"horTh": "Hormonal therapy", "age": "Age in years", "menostat": "Menopausal status", "time": "Recurrence-free days"},
    ),
    Clinical(
        "whas500",
        "whas500.arff",
        "Worcester Heart Attack Study",
        "People admitted with acute myocardial infarction: vital signs, complications and survival.",
        500,
        {"age": "Age in years", "gender": "Gender", "lenfol": "Days of follow-up", "fstat": "Vital status"},
    ),
)


def write(clinical: Clinical, data: Path, folder: Path) -> Path:
    """Write ``<name>.csv`` of one dataset into ``folder`` (made), with a first column ``person``; return the folder."""
    source = data / "sksurv" / "datasets" / "data" / clinical.file
    folder.mkdir(parents=True, exist_ok=True)
    header, rows = read_arff(source.read_text())
    with (folder / f"{clinical.name}.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["person", *header])
        out.writerows([f"{clinical.name}-{number:05d}", *row] for number, row in enumerate(rows, 1))
    return folder


def read_arff(text: str) -> tuple[list[str], Iterator[list[str]]]:
    """Return the names and the rows of an ARFF file; ``?`` becomes empty."""
    head, _, body = text.partition("@data") if "@data" in text else text.partition("@DATA")
    names = [shlex.split(line)[1] for line in head.splitlines() if line.lower().startswith("@attribute")]
    lines = (line for line in body.splitlines() if line.strip() and not line.startswith("%"))
    rows = csv.reader(lines, quotechar="'", skipinitialspace=True)
    return names, ([value.strip() if value.strip() != "?" else "" for value in row] for row in rows)
