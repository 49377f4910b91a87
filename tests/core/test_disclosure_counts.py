"""Counts: what must be found, exactly where, and the table that differs only in the fault and must pass."""

from __future__ import annotations

import pytest

from sulku.codec import typed
from sulku.disclosure.findings import ADVICE, MAX_PER_CODE, Code, Finding, Severity
from sulku.disclosure.profiles import parse as parse_profile
from sulku.disclosure.report import summarise, written
from sulku.errors import ConfigurationError
from tests.core.disclosed import BY_AGE, BY_CHAPTER, DEFAULT, PEOPLE, SHIPPED, STRICT, at, check, serious, together

TABLE1 = "age_band,F,M\n50–59,1647 (20.9%),1510 (19.2%)\n60–69,1214 (15.4%),1115 (14.2%)\n80+,540 (6.9%),225 (2.9%)\n"


@pytest.mark.parametrize(
    "text",
    [
        BY_AGE,
        "age_band,F,M,All\n50–59,1647,1510,3157\n60–69,1214,1115,2329\nAll,2861,2625,5486\n",
        "age_band,sex,n\n50–59,F,1647\n50–59,M,1510\n80+,F,540\n80+,M,225\n",
        "municipality,n\n091,4000\n049,1500\n837,900\n",
        TABLE1,
        "year,n\n2015,120\n2016,131\n2017,117\n",
        "icd,n\nE10,44\nE11,310\nI10,290\n",
    ],
    ids=["crosstab", "with-totals", "long", "leading-zeros", "count-and-share", "years", "codes"],
)
def test_a_table_of_large_groups_passes(text: str) -> None:
    assert serious(check(text, **PEOPLE)) == []


def test_every_small_cell_of_a_real_crosstab_is_found_and_no_other() -> None:
    findings = check(BY_CHAPTER, **PEOPLE)
    assert at(findings, "small-count") == [("Blood", "F"), ("Blood", "M"), ("Congenital", "M"), ("Infectious", "M")]


def test_the_finding_speaks_to_the_researcher() -> None:
    (finding,) = check("town,under 65,65–74\nKemi,20,3\nOulu,80,20\n", **PEOPLE)
    assert finding.severity is Severity.BLOCK
    assert finding.message == "Row Kemi, column 65–74: 3 people; the limit is 10."
    assert finding.advice == "Suppress it, or merge it with a neighbouring row or column, then submit again."


@pytest.mark.parametrize(("count", "blocked"), [(9, True), (10, False), (11, False), (1, True)])
def test_the_threshold_is_the_least_number_that_may_leave(count: int, blocked: bool) -> None:
    assert bool(at(check(f"town,F,M\nKemi,{count},20\nOulu,80,90\n", **PEOPLE), "small-count")) is blocked


def test_a_stricter_profile_finds_more() -> None:
    text = "town,F,M\nKemi,15,20\nOulu,80,90\n"
    assert serious(check(text, **PEOPLE)) == []
    assert "small-count" in serious(check(text, STRICT, **PEOPLE))


@pytest.mark.parametrize("kind", ["statistics", "model", "frequency table"])
@pytest.mark.parametrize("heading", ["n", "N", "count", "n_patients", "events", "at_risk", "at risk", "observed", "lkm", "henkilöt"])
def test_counts_are_known_by_their_heading_whatever_the_file_claims_to_be(kind: str, heading: str) -> None:
    text = f"group,{heading},mean_age\na,3,61.5\nb,40,60.2\n"
    assert at(check(text, kind=kind, dof=50), "small-count") == [("a", heading)]
    assert at(check(text.replace(",3,", ",30,"), kind=kind, dof=50), "small-count") == []


def test_declared_roles_are_followed() -> None:
    text = "group,X,y\na,3,7\nb,40,8\n"
    for heading in ("x", "X "):
        said = {"columns": {heading: "count", "y": "mean"}}
        assert at(check(text, kind="statistics", **said), "small-count") == [("a", "X")]


def test_declaring_a_count_as_something_else_does_not_hide_it() -> None:
    for role in ("label", "statistic", "time"):
        found = check("group,n\na,3\nb,40\n", kind="statistics", columns={"n": role})
        assert "declared-otherwise" in serious(found), role


def test_small_whole_numbers_that_escape_the_roles_need_an_answer() -> None:
    found = check("group,n,x\na,30,3\nb,40,2\n", kind="statistics", persons="n")
    assert at(found, "declared-otherwise") == [("", "x")]
    assert serious(check("group,n,x\na,30,3.5\nb,40,2.25\n", kind="statistics", persons="n")) == []


def test_what_nothing_is_said_of_is_checked_as_a_frequency_table() -> None:
    assert at(check("town,F,M\nKemi,4,20\nOulu,80,90\n"), "small-count") == [("Kemi", "F")]


def test_distinct_persons_count_not_their_visits() -> None:
    text = "clinic,visits,persons,mean_cost\nX,30,1,120.5\nY,900,400,98.25\n"
    assert at(check(text, kind="statistics", persons="persons"), "small-count") == [("X", "persons")]
    note = check("clinic,visits\nX,30\nY,900\n")
    assert [one.code for one in note if one.severity is Severity.NOTE] == [Code.PERSONS_UNKNOWN]


def test_a_number_hidden_in_text_is_no_way_around() -> None:
    for cell in ("3 people", "n=3", "1,234", "three"):
        found = check(f'town,F,M\nKemi,"{cell}",20\nOulu,80,90\n', columns={"F": "count"}, **PEOPLE)
        assert at(found, "mixed-column") == [("Kemi", "F")], cell
    assert at(check(TABLE1.replace("225 (", "5 ("), **PEOPLE), "small-count") == [("80+", "M")]


def test_an_empty_cell_and_a_group_of_one_kind_are_found() -> None:
    text = "town,yes,no\nKemi,50,0\nOulu,80,70\nSalo,90,60\n"
    found = check(text, **PEOPLE)
    assert at(found, "class-disclosure") == [("Kemi", "yes")]
    assert at(found, "zero-count") == [("Kemi", "no")]
    assert {one.severity for one in found} == {Severity.REVIEW}
    assert summarise(check(text, STRICT, **PEOPLE)).blocked


@pytest.mark.parametrize(("big", "found"), [(970, True), (900, True), (270, False), (271, True)])
def test_nearly_all_of_a_row_in_one_cell_is_found_above_ninety_per_cent(big: int, found: bool) -> None:
    text = f"town,yes,maybe,no\nKemi,{big},15,15\nOulu,600,45,40\n"
    assert at(check(text, **PEOPLE), "group-disclosure") == ([("Kemi", "yes")] if found else [])


def test_nearly_all_of_a_column_and_of_a_long_table_is_found() -> None:
    assert at(check("town,yes,no\nKemi,15,120\nOulu,970,500\n", **PEOPLE), "group-disclosure") == [("Oulu", "yes")]
    long = "town,dx,n\nKemi,yes,970\nKemi,no,15\nOulu,yes,400\nOulu,no,50\n"
    assert at(check(long, **PEOPLE), "group-disclosure") == [("Kemi", "n")]


def test_totals_are_no_part_of_the_shares() -> None:
    assert serious(check("dx,n\nE10,40\nE11,60\nTotal,100\n", **PEOPLE)) == []


def test_few_left_over_is_as_bad_as_few() -> None:
    text = "stage,n,deaths\nI,100,40\nII,60,57\n"
    assert at(check(text, kind="statistics", persons="n"), "small-complement") == [("II", "n")]


def test_midpoint_six_rounding_is_believed_only_if_it_fits() -> None:
    text = "band,F_midpoint6,M_midpoint6\na,3,9\nb,15,21\nc,33,45\n"
    assert serious(check(text, **PEOPLE)) == []
    assert at(check(text.replace("3,9", "4,9"), **PEOPLE), "small-count") == [("a", "F_midpoint6"), ("a", "M_midpoint6")]
    assert at(check(text, STRICT, **PEOPLE), "small-count"), "the strict profile accepts no rounding"
    assert at(check("band,F_midpoint6\na,3\nb,9\n", **PEOPLE), "small-count"), "two cells prove nothing"


def test_two_tables_whose_difference_is_one_person() -> None:
    everyone = "town,yes,no\nKemi,50,60\nOulu,70,80\n"
    found = together(("all.csv", everyone), ("some.csv", everyone.replace("50,", "49,")))
    assert at(found, "differencing") == [("Kemi", "yes")]
    assert found[0].where.file == "all.csv"
    assert "difference is 1 " in found[0].message

    assert at(together(("some.csv", everyone.replace("50,", "49,")), ("all.csv", everyone)), "differencing") == [("Kemi", "yes")]


def test_tables_of_other_people_or_far_apart_do_not_alarm() -> None:
    one = "town,yes,no\nKemi,50,60\nOulu,70,80\n"
    assert together(("a.csv", one), ("b.csv", one)) == ()
    assert together(("a.csv", one), ("b.csv", "town,yes,no\nKemi,48,63\nOulu,75,78\n")) == ()
    assert together(("a.csv", one), ("b.csv", "town,yes,no\nKemi,20,30\nOulu,35,40\n")) == ()


def test_a_total_in_one_file_opens_a_hidden_cell_in_another() -> None:
    hidden = ("cross.csv", "town,F,M\nKemi,40,*\nOulu,*,80\nRovaniemi,90,70\n")
    found = together(hidden, ("towns.csv", "town,n\nKemi,43\nOulu,95\nRovaniemi,160\n"))
    assert [(one.where.row_name, one.severity) for one in found if one.code == "recoverable"] == [
        ("Kemi", Severity.BLOCK),
        ("Oulu", Severity.REVIEW),
    ]
    assert "43 in towns.csv less the other cells 40 is 3" in found[0].message
    towns = ("towns.csv", "town,n\nKemi,43\nOulu,95\nRovaniemi,160\n")
    assert at(together(towns, hidden), "recoverable") == at(found, "recoverable")
    assert together(hidden, ("other.csv", "place,n\nKemi,43\nSavonlinna,95\nTurku,160\n")) == ()
    assert together(hidden, ("dx.csv", "dx,n\nE10,43\nE11,95\nI10,160\n")) == ()


def test_many_findings_are_cut_but_counted() -> None:
    rows = "".join(f"g{number},3,200\n" for number in range(100))
    found = [one for one in check(f"group,F,M\n{rows}", **PEOPLE) if one.code == "small-count"]
    assert len(found) == MAX_PER_CODE
    assert found[-1].message.endswith("And 60 more like this in the file.")


def test_findings_go_to_json_and_back_and_into_words() -> None:
    findings = check(BY_CHAPTER, **PEOPLE)
    assert tuple(typed(Finding, one.document()) for one in findings) == findings
    summary = summarise(findings)
    assert (summary.blocked, summary.blocks, summary.codes["small-count"]) == (True, 4, 4)
    text = written(findings)
    assert text.index("Forbids release (4)") < text.index("Needs an answer")
    assert "- Row Blood, column F: 1 person; the limit is 10. Suppress it" in text
    assert not summarise(check(BY_AGE, **PEOPLE)).blocked


def test_every_code_has_advice() -> None:
    assert set(ADVICE) == set(Code)


@pytest.mark.parametrize("change", [{"threshold": 1}, {"threshold": "10"}, {"extra": 1}, {"share_percent": 10}, {"rounding": ["any"]}])
def test_a_wrong_profile_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        parse_profile({**SHIPPED["default"], **change})


def test_the_shipped_profiles_are_the_documented_ones() -> None:
    assert (DEFAULT.threshold, DEFAULT.degrees, DEFAULT.p_percent, DEFAULT.share_percent) == (10, 10, 10, 90)
    assert STRICT.threshold > DEFAULT.threshold
    assert [entry["name"] for entry in SHIPPED.values()] == list(SHIPPED)
