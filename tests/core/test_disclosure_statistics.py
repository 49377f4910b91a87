"""Statistics, models, curves, texts and rows of persons: faults with their harmless twins."""

from __future__ import annotations

from typing import Any

import pytest

from sulku.disclosure import manifest, texts
from sulku.disclosure.findings import Finding, Severity
from sulku.disclosure.identifiers import identity_codes
from sulku.errors import InvalidInputError, UnreadableTextError
from tests.core.disclosed import DEFAULT, at, check, serious

# Real: yearly survival of the flchain cohort.
SURVIVAL = "year,at_risk,events,survival\n0,7874,267,0.965947\n1,7549,172,0.943863\n2,7334,166,0.922324\n3,7152,170,0.9004\n"
COEFFICIENTS = ",coef,se,p\nIntercept,0.7114,0.0745,1.8e-21\nC(sex)[T.M],0.2004,0.0084,1.3e-120\nage,-0.0083,0.017,0.623\n"
OLS = """                            OLS Regression Results
Dep. Variable:             creatinine   R-squared:                       0.146
No. Observations:                6524   AIC:                             2972.
Df Residuals:                    6517   BIC:                             3019.
Df Model:                           6
                          coef    std err          t      P>|t|      [0.025      0.975]
Intercept               0.7114      0.075      9.549      0.000       0.565       0.857
C(sex)[T.M]             0.2004      0.008     23.849      0.000       0.184       0.217
"""


def read(text: str, **said: Any) -> list[Finding]:
    return texts.check_text(texts.rebuild(text.encode()), manifest.parse(said), DEFAULT)


def test_group_means_with_their_persons_pass() -> None:
    text = "age_band,sex,persons,mean_creatinine,sd_creatinine\n50–59,F,1647,0.9123,0.21\n50–59,M,1510,1.1044,0.25\n"
    assert serious(check(text, kind="statistics", persons="persons")) == []


def test_means_without_the_number_of_persons_need_an_answer() -> None:
    assert serious(check("sex,mean_age\nF,61.5\nM,60.25\n", kind="statistics")) == ["counts-missing"]


def test_smallest_and_largest_values_are_found_in_columns_and_in_rows() -> None:
    columns = check("sex,n,min,max\nF,500,50.5,99.1\nM,400,51.2,95.3\n", kind="statistics", persons="n")
    assert at(columns, "extreme-value") == [("", "min"), ("", "max")]
    rows = check(",age,cost\ncount,4000,4000\nmean,61.2,12.5\nstd,8.2,3\nmin,18,0.1\n50%,60,11\nmax,99,310.4\n", kind="statistics")
    assert at(rows, "extreme-value") == [("min", ""), ("max", "")]
    twin = check(",age,cost\ncount,4000,4000\nmean,61.2,12.5\nstd,8.2,3\n50%,60,11\n", kind="statistics")
    assert serious(twin) == []


def test_a_described_column_of_few_persons_is_found() -> None:
    text = ",age,cost\ncount,4000,7\nmean,61.2,12.5\nstd,8.2,3.5\n"
    assert at(check(text, kind="statistics"), "small-count") == [("count", "cost")]


@pytest.mark.parametrize(
    ("heading", "n", "found"), [("median", 20, False), ("median", 18, True), ("p95", 199, True), ("p95", 200, False), ("q1", 40, False)]
)
def test_a_percentile_needs_enough_people_beyond_it(heading: str, n: int, found: bool) -> None:
    text = f"sex,n,{heading}\nF,{n},50.5\nM,4000,51.5\n"
    assert bool(at(check(text, kind="statistics", persons="n"), "percentile")) is found


def test_no_spread_means_that_everybody_is_the_same() -> None:
    text = "town,n,mean,sd\nKemi,20,7.5,0\nOulu,30,7.25,1.5\n"
    assert at(check(text, kind="statistics", persons="n"), "no-spread") == [("Kemi", "sd")]


@pytest.mark.parametrize(
    ("total", "largest", "second", "severity"),
    [
        (1000, 950, 20, Severity.BLOCK),  # 30 is under 10 % of 950
        (1000, 600, 100, Severity.REVIEW),  # p% holds, more than half does not
        (1000, 499, 300, None),
        (1050, 500, 500, None),  # remainder 50 is exactly 10 % of 500
        (1049, 500, 500, Severity.BLOCK),
        (100, 40, -40, Severity.REVIEW),
    ],
)
def test_one_person_must_not_make_up_a_sum(total: int, largest: int, second: int, severity: Severity | None) -> None:
    text = f"clinic,n,sum,largest,second\nX,12,{total}.0,{largest}.0,{second}.0\nY,40,900.5,30.5,20.5\n"
    found = [one.severity for one in check(text, kind="statistics", persons="n") if one.code in {"dominance", "dominance-unknown"}]
    assert found == ([severity] if severity else [])


def test_sums_without_contributions_need_an_answer_and_contributions_do_not_leave_unseen() -> None:
    assert serious(check("clinic,n,sum\nX,12,1000.5\nY,40,900.5\n", kind="statistics", persons="n")) == ["dominance-unknown"]
    given = check("clinic,n,sum,largest\nX,12,1000.5,100.5\n", kind="statistics", persons="n")
    assert at(given, "extreme-value") == [("", "largest")]


def test_sums_find_their_own_contributions() -> None:
    text = "clinic,n,sum_a,sum_b,largest_a,largest_b\nX,50,1000.5,1000.5,20.5,990.5\nY,50,900.5,900.5,20.5,20.5\n"
    assert at(check(text, kind="statistics", persons="n"), "dominance") == [("X", "sum_b")]


def test_a_real_survival_table_passes_and_its_small_step_does_not() -> None:
    assert serious(check(SURVIVAL, kind="statistics", persons="at_risk")) == []
    assert at(check(SURVIVAL.replace(",170,", ",4,"), kind="statistics"), "small-count") == [("3", "events")]


def test_a_bare_survival_curve_gives_its_events_away() -> None:
    curve = "time,KM_estimate\n1,0.99\n2,0.98\n3,0.80\n"
    found = check(curve, kind="statistics", persons=120)
    assert at(found, "survival-steps") == [("1", "KM_estimate"), ("2", "KM_estimate")]
    assert {one.severity for one in found if one.code == "survival-steps"} == {Severity.BLOCK}
    assert serious(check(curve, kind="statistics")) == ["survival-steps"]
    assert serious(check(curve, kind="statistics", persons=5000)) == []


def test_each_group_of_a_curve_begins_at_one() -> None:
    curve = "sex,time,KM_estimate\nF,1,0.9\nF,2,0.8\nM,1,0.9\nM,2,0.7\n"
    assert serious(check(curve, kind="statistics", persons=5000)) == []
    assert at(check(curve.replace("M,1,0.9", "M,1,0.999"), kind="statistics", persons=5000), "survival-steps") == [("M", "KM_estimate")]


def test_a_model_needs_degrees_of_freedom() -> None:
    assert serious(check(COEFFICIENTS, kind="model", observations=6524, parameters=3)) == []
    assert serious(check(COEFFICIENTS, kind="model", observations=14, parameters=10)) == ["low-degrees-of-freedom"]
    assert serious(check(COEFFICIENTS, kind="model", observations=12)) == ["low-degrees-of-freedom"], "rows are parameters"
    assert serious(check(COEFFICIENTS, kind="model")) == ["degrees-of-freedom-unknown"]
    assert serious(check(COEFFICIENTS, kind="model", dof=9)) == ["low-degrees-of-freedom"]
    assert serious(check(COEFFICIENTS, kind="model", dof=10)) == []


def test_degrees_of_freedom_in_the_table_count_more_than_what_is_declared() -> None:
    assert at(check("term,coef,df_resid\nage,0.25,4\n", kind="model", dof=400), "low-degrees-of-freedom") == [("age", "df_resid")]
    assert at(check("item,value\nr2,0.9\ndf_resid,4\n", kind="model", dof=400), "low-degrees-of-freedom") == [("df_resid", "value")]


def test_enough_degrees_of_freedom_pass() -> None:
    assert serious(check("term,coef,df_resid\nage,0.25,10\n", kind="model")) == []
    assert serious(check("item,value\nr2,0.9\ndf_resid,10\n", kind="model")) == []


def test_a_dummy_that_is_one_person_is_found_by_its_count() -> None:
    text = "term,coef,persons\nage,0.25,400\nis_p17,3.75,1\n"
    assert at(check(text, kind="model", dof=397, persons="persons"), "small-count") == [("is_p17", "persons")]


def test_rows_of_persons_are_found() -> None:
    rows = "".join(f"{50 + n % 40}.5,{1 + n / 7:.4f},{n % 28 + 1:02}.03.2024\n" for n in range(40))
    found = check(f"a,b,c\n{rows}", kind="statistics")
    assert "row-level-data" in serious(found)
    assert any(one.severity is Severity.BLOCK for one in found)
    ids = "".join(f"P{n:06},{n % 3},{n % 7}\n" for n in range(30))
    assert "row-level-data" in serious(check(f"pid,a,b\n{ids}", kind="statistics"))
    counted = "".join(f"g{n},{100 + n},{n / 3:.5f},{n / 7:.5f}\n" for n in range(40))
    assert serious(check(f"group,n,mean_a,mean_b\n{counted}", kind="statistics", persons="n")) == []


def test_as_many_rows_as_persons_is_row_level_data() -> None:
    rows = "".join(f"g{n},{100 + n}\n" for n in range(40))
    assert "row-level-data" in serious(check(f"group,n\n{rows}", persons=60))
    assert "row-level-data" not in serious(check(f"group,n\n{rows}", persons=6000))


def test_more_rows_than_a_result_needs() -> None:
    rows = "".join(f"g{n},{100 + n}\n" for n in range(501))
    assert serious(check(f"group,n\n{rows}")) == ["many-rows"]


# Numbers 900–999 are never given to a person.
@pytest.mark.parametrize(
    "text",
    [
        "010190-900P",
        "010190-900p",
        "seen 010190\u2212900P today",
        "0 1 0 1 9 0 - 9 0 0 P",
        "０１０１９０-９００Ｐ",
        "010190-,900P",
        "010190Y900P",
        "010100A900F",
    ],
)
def test_an_identity_code_is_found_however_it_is_dressed(text: str) -> None:
    assert identity_codes(text) == 1


@pytest.mark.parametrize("text", ["010190-9001", "320190-900P", "FI21 1234 5600 0007 85", "1234567-8", "010190 900P", "2019-03-04", ""])
def test_what_only_resembles_an_identity_code_passes(text: str) -> None:
    assert identity_codes(text) == 0


def test_an_identity_code_in_a_table_forbids_release() -> None:
    found = check("who,n\n010190-900P,40\nothers,50\n")
    assert [one.severity for one in found if one.code == "identifier"] == [Severity.BLOCK]


def test_a_real_regression_printed_as_text_passes() -> None:
    assert read(OLS, kind="model") == []


def test_too_few_degrees_of_freedom_are_read_from_text() -> None:
    (found,) = read(OLS.replace("6517", "   4"), kind="model")
    assert (found.code.value, found.where.line) == ("low-degrees-of-freedom", 4)
    assert [one.code.value for one in read("Residual standard error: 0.5 on 4 degrees of freedom")] == ["low-degrees-of-freedom"]
    assert [one.code.value for one in read("No. Observations: 14\nDf Model: 9\n")] == ["low-degrees-of-freedom"]
    assert [one.code.value for one in read("The model fits well.", kind="model")] == ["degrees-of-freedom-unknown"]


def test_tables_and_codes_hidden_in_text_need_an_answer() -> None:
    rows = "\n".join(f"{n} {n * 3} {n / 7:.3f}" for n in range(25))
    assert [one.code.value for one in read(rows)] == ["table-in-text"]
    assert [one.code.value for one in read("key: " + "abcdefgh1J" * 12)] == ["encoded-text"]
    assert [one.code.value for one in read("x = 0.123456789012")] == ["precision"]
    assert [one.code.value for one in read("id 010190-900P")] == ["identifier"]
    assert read("# Methods\n\nWe fitted " + "-" * 120 + "\n- p = 0.003, HR 1.25 (1.05–1.49)\n") == []


@pytest.mark.parametrize(
    "bad", ["a\u202eb", "a\u200bb", "a\x00b", "a\rb", "a\x1b[31mb", "a\ue000", "a\ufe0f", "a\u0301\u0301\u0301\u0301", "\ud7a4"]
)
def test_text_with_hidden_characters_is_refused_with_its_line(bad: str) -> None:
    with pytest.raises(UnreadableTextError) as caught:
        texts.rebuild(f"fine\n{bad}\n".encode())
    assert caught.value.findings[0].where.line == 2


def test_text_keeps_its_layout() -> None:
    assert texts.rebuild(b"\xef\xbb\xbf\r\n  a   b  \r\n\tc\n\n") == "  a   b\n    c\n"
    assert texts.rebuild("Ja\u0308rvi\u00a0on".encode()) == "Järvi on\n"
    for data in (b"\xff\xfe", b"x" * 1001, b"x\n" * 5001):
        with pytest.raises(UnreadableTextError):
            texts.rebuild(data)


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "picture"},
        {"columns": {"n": "secret"}},
        {"colums": {}},
        {"smallest": -1},
        {"persons": 1.5},
        {"columns": {"x" * 300: "count"}},
        [],
        "x",
    ],
)
def test_a_wrong_manifest_is_refused(entry: object) -> None:
    with pytest.raises(InvalidInputError):
        manifest.parse(entry)
