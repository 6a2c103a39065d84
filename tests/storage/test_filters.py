"""Conditions against real SQLite: what they select, that they always prepare, what errors say."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import time

import pytest
from hypothesis import example, given, settings, strategies as st

from mmsearch.errors import FilterError
from mmsearch.storage.filters import parse_where
from mmsearch.storage.schema import with_nfc

settings.register_profile("filters", deadline=None)
settings.load_profile("filters")

COLUMNS = (
    "uri", "kind", "text", "grp", "meta", "size", "taken", "modified", "width", "height", "camera"
)  # fmt: skip


def database(rows):
    connection = with_nfc(sqlite3.connect(":memory:"))
    connection.execute(
        "CREATE TABLE items(id INTEGER PRIMARY KEY, seq INTEGER, uri TEXT, kind TEXT, text TEXT,"
        " grp TEXT, meta TEXT, size INTEGER, taken TEXT, modified TEXT, width INTEGER,"
        " height INTEGER, camera TEXT)"
    )
    for number, row in enumerate(rows):
        full = {"uri": f"/{number}", "kind": "image", "text": "", "grp": "", **row}
        full["meta"] = json.dumps(row.get("meta", {}), ensure_ascii=False)
        connection.execute(
            f"INSERT INTO items(id, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})",
            (number, *(full.get(column) for column in COLUMNS)),
        )
    return connection


def select(connection, *conditions):
    where = parse_where(conditions)
    assert where.sql.count("?") == len(where.params)
    query = f"SELECT i.id FROM items i WHERE {where.sql} ORDER BY i.id"
    return [row[0] for row in connection.execute(query, where.params)]


@pytest.fixture(scope="module")
def photos():
    return database(
        [
            {
                "uri": "/photos/2021/cat (1).jpg", "width": 4000, "height": 3000, "size": 2_500_000,
                "taken": "2021-05-30T18:00:01", "camera": "Canon EOS R5",
                "meta": {"year": "2020", "stars": 5, "by": "Åsa O'Neil", "ok": True},
            },
            {
                "uri": "/photos/2022/dog.png", "width": 800, "height": 600, "size": 90_000,
                "taken": "2022-01-02 08:00:00", "camera": "NIKON D90",
                "meta": {"year": 2021, "stars": "4.5", "by": "Bo", "ok": False, "a b": "x"},
            },
            {
                "uri": "/photos/2022/dog.png#caption1", "kind": "text", "text": "A dog, 100% happy",
                "grp": "/photos/2022/dog.png", "camera": "",
                "meta": {"year": "unknown", "stars": None, "day": "2021-05-03", "size": "XL"},
            },
            {"uri": "/photos/plain[1]_x.gif", "meta": {"code": "2021-05", "year": ""}},
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("colour = red", [0]), ("colour in (blue, red)", [0, 1]), ("colour != red", [1, 2]),
        ("colour = gre*", [0]), ("colour ~ EE", [0]), ("colour is missing", [2]),
        ("keywords = 'New York'", [0]), ("keywords = 2020", [1]), ("keywords < 2021", [1]),
        ("keywords = true", [1]), ("not (keywords = true or colour = red)", [2]),
        ('colour = "red, green"', []),
    ],
)  # fmt: skip
def test_one_value_of_a_list_is_enough(condition, expected):
    lists = database([
        {"meta": {"colour": ["red", "green"], "keywords": ["New York"]}},
        {"meta": {"colour": ["blue"], "keywords": [2020, True, None, "é"]}},
        {"meta": {"keywords": []}},
    ])  # fmt: skip
    assert select(lists, condition) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("width==4000", [0]),
        ("width<=8e2", [1]),
        ("width not in (800, 1)", [0, 2, 3]),
        ("not kind = text AND Not width > 1000", [1, 3]),
        ("kind=text or width>1000 and height<10", [2]),
        ("(kind=text or width>1000) and height<10", []),
        # Missing fields.
        ("camera IS NOT missing", [0, 1]),
        ("camera exists", [0, 1]),
        ("not camera exists", [2, 3]),
        ("camera != 'Canon EOS R5'", [1, 2, 3]),
        ("nothing is missing", [0, 1, 2, 3]),
        # Text.
        ("by ~ å", [0]),
        ("by ~ ÅSA", [0]),
        ('by = "Åsa O\'Neil"', [0]),
        ("by = 'Åsa O''Neil'", [0]),
        ("text ~ 100%", [2]),
        ("text ~ '100_'", []),
        ("text ~ 'dog, 1'", [2]),
        ("path ~ [1]_X", [3]),
        ("path ~ *", []),
        ("path = '/photos/2021/cat (1).jpg'", [0]),
        ("path ~ cat or (path ~ (1).jpg)", [0]),
        ("group = /photos/2022/dog.png", [2]),
        ("ok ~ ALS", [1]),
        ("'a b' = x", [1]),
        # Wildcards.
        ("path = *.png", [1]),
        ("uri = */2022/*", [1, 2]),
        ("path != *.png", [0, 2, 3]),
        ("path = '*.png'", []),
        ("path = */plain[1]_?.gif", [3]),
        ("path = */PLAIN*", []),
        ("width = 8?0", [1]),
        ("path in (*.gif, /photos/2022/dog.png)", [1, 3]),
        # Dates.
        ("taken = 2021-05-30T18", [0]),
        ("taken = '2022-01-02T08:00'", [1]),
        ("taken = '2021-05-30 18:00'", [0]),
        ("taken = 2021-05-30T18:00:01Z", [0]),
        ("taken = 2021-*", [0]),
        ("taken ~ 05-30", [0]),
        ("day = '2021-05'", []),
        ("code = '2021-05'", [3]),
        # Manifest columns, JSON numbers and numbers as text alike.
        ("year = 2020.0", [0]),
        ("stars = '5'", [0]),
        ("year = unknown", [2]),
        ("year > m", [2]),
        ("meta.size = XL", [2]),
        ("meta.size exists", [2]),
    ],
)
def test_what_a_condition_selects(photos, condition, expected):
    """Beyond what `test_conditions_agree_with_python` draws."""
    assert select(photos, condition) == expected


@pytest.mark.parametrize(
    ("condition", "place", "expected"),
    [
        ("", 1, "a field name"),
        ("   ", 4, "a field name"),
        ("= 3", 1, "a field name"),
        ("camera", 7, "is missing or exists"),
        ("camera =", 9, "a value"),
        ("camera = ''", 10, "not empty"),
        ("camera = 'x", 10, "a closing '"),
        ("camera = Canon EOS", 16, "needs quotes"),
        ("camera is gone", 11, "expected missing"),
        ("camera not here", 12, "expected in"),
        ("taken = 2021-02-30", 9, "there is no such day"),
        ("taken>=2021-13-01", 8, "there is no such day"),
        ("taken < 2021-05-30T25", 9, "there is no such time"),
        ("camera in Canon", 11, "( and a list"),
        ("camera in (a b)", 14, ", or )"),
        ("camera in ()", 12, "a value"),
        ("width = big", 9, "a number"),
        ("width in (1, big)", 14, "a number"),
        ("taken > yesterday", 9, "a date such as"),
        ("taken = 202", 9, "a date such as"),
        ("(kind = text", 13, "expected )"),
        ("kind = text)", 12, "and, or"),
        ("kind = text and", 16, "a field name"),
        ("'a\"b' = 1", 1, "a field name without"),
        ("'' = 1", 1, "a field name without"),
        ("kind = a\udcff", 9, "a byte that is none"),
        ("kind = a\0", 9, "a byte that is none"),
        ("not " * 17 + "a=1", 69, "16 levels"),
        ("a = " + "x" * 4001, 5, "4000 characters"),
        (" or ".join(["a=1"] * 501), 3501, "500 comparisons"),
    ],
)
def test_errors_say_where_and_what_was_expected(condition, place, expected):
    with pytest.raises(FilterError) as caught:
        parse_where([condition])
    message = str(caught.value)
    assert expected in message
    assert f"at character {place}," in message
    assert message.isprintable()


def test_a_condition_has_a_limit_and_so_have_all_together():
    with pytest.raises(FilterError, match="20000 characters"):
        parse_where(["a = 1 " + " " * 20_000])
    with pytest.raises(FilterError, match="500 comparisons"):
        parse_where(["a is missing"] * 501)


def test_the_largest_conditions_still_prepare(photos):
    select(photos, " or ".join(["year >= 2020"] * 500))
    select(photos, *["year >= 2020 and width exists"] * 250)
    select(photos, f"year in ({', '.join(['2020'] * 500)})")
    select(photos, "kind=a or (kind=b and " * 8 + "kind=c" + ")" * 8)
    select(photos, "a!=2020 or not (b!=2020 and " * 8 + "c in (2020, 2021)" + ")" * 8)
    select(photos, "text ~ '" + "é*" * 2000 + "'")


def test_many_wildcards_do_not_hang():
    connection = database([{"text": "a" * 4000}])
    start = time.perf_counter()
    assert select(connection, "text = " + "*a" * 100 + "*b") == []
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(
    "attack",
    [
        "'; DROP TABLE items; --",
        "x' OR '1'='1",
        '" OR 1=1 --',
        "1) OR (1=1",
        "1; DELETE FROM items",
        "$.\"x\"') OR 1 OR json_extract(i.meta, '$",
        "?",
        "%",
        "\\' OR 1=1",
    ],
)
@pytest.mark.parametrize("shape", ["by = {}", "{} = 1", "by in ({})", "path ~ {}", "{}"])
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_injections_find_nothing_and_change_nothing(photos, attack, shape, quote):
    quoted = quote + attack.replace(quote, quote * 2) + quote if quote else attack
    condition = shape.format(quoted)
    try:
        where = parse_where([condition])
    except FilterError:
        return
    assert "DROP" not in where.sql
    assert "DELETE" not in where.sql
    assert "1=1" not in where.sql
    assert select(photos, condition) in ([], [3]) or attack == "?"
    assert photos.execute("SELECT count(*) FROM items").fetchone() == (4,)


VOCABULARY = """
    a year width taken path kind meta.x and or not in is missing exists ( ) , = == != < <= > >= ~
    1 2020 2021-05 1e5 -3 9e999 * a? [x] 'ab' "c" ' é ß İ
"""
WORDS = st.sampled_from(VOCABULARY.split())


@settings(max_examples=400)
@given(st.one_of(st.lists(WORDS, max_size=14).map(" ".join), st.text(max_size=40)))
@example("a = 99999999999999999999999999 or a = 9" + "9" * 3000)
@example("x = " + "1" * 3900)
def test_any_text_prepares_or_is_refused(condition):
    try:
        where = parse_where([condition])
    except FilterError as error:
        assert str(error).isprintable()
        return
    # Running it, too: some of SQLite's limits only show then.
    connection = database([{"meta": {"a": 1, "x": "y", "year": "2020"}, "taken": "2021-05-01"}])
    connection.execute(f"SELECT 1 FROM items i WHERE {where.sql}", where.params).fetchall()


# --- an oracle in Python -------------------------------------------------------------------------

FIELDS = {"camera": "text", "taken": "date", "width": "number", "c": "any", "d e": "any"}
DATES = st.sampled_from(["2020-01-01T00:00:00", "2021-05-03T10:00:00", "2021-12-31T23:59:59"])
CELLS = {
    "text": st.sampled_from([None, "", "Ab", "ab", "b%", "20", "é"]),
    "date": st.one_of(st.none(), st.just(""), DATES),
    "number": st.one_of(st.none(), st.sampled_from([0, 5, 20, 2020, 2021])),
    "any": st.one_of(
        st.none(), st.booleans(), st.integers(-1, 3), st.sampled_from([2.5, 2020, 2021]), DATES,
        st.sampled_from(["", "Ab", "2020", "2.5", "2020x", "true", "1", "2021-05"]),
    ),
}  # fmt: skip
CELLS["any"] |= st.lists(CELLS["any"], max_size=3)
VALUES = {
    "text": st.sampled_from(["Ab", "ab", "b%", "20", "é", "A*", "?b", "*"]),
    "date": st.sampled_from(["2020", "2021", "2021-05", "2021-05-03", "2021-12-31T23:59"]),
    "number": st.sampled_from(["0", "5", "20", "2020", "2020.5", "-1"]),
    "any": st.sampled_from(["2", "2.5", "2020", "2021", "2021-05", "Ab", "true", "20*", "1"]),
}
NUMBER = re.compile(r"-?\d+(\.\d+)?")


@st.composite
def expressions(draw, depth=3):
    """A condition as text, and a Python function of a row that says the same."""
    shape = draw(st.sampled_from(["and", "or", "not", "leaf", "leaf"] if depth else ["leaf"]))
    if shape in ("and", "or"):
        left, holds_left = draw(expressions(depth=depth - 1))
        right, holds_right = draw(expressions(depth=depth - 1))
        both = all if shape == "and" else any
        return f"({left} {shape} {right})", lambda row: both([holds_left(row), holds_right(row)])
    if shape == "not":
        inner, holds = draw(expressions(depth=depth - 1))
        return f"not {inner}", lambda row: not holds(row)
    field = draw(st.sampled_from(sorted(FIELDS)))
    name = f"'{field}'" if " " in field else field
    if draw(st.integers(0, 5)) == 0:
        return f"{name} is missing", lambda row: row[field] in (None, "")
    operator = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~", "in"]))
    value = draw(VALUES[FIELDS[field]])
    if operator == "in":
        other = draw(VALUES[FIELDS[field]])
        return (
            f"{name} in ({value}, {other})",
            lambda row: (
                compares(field, row[field], "=", value) or compares(field, row[field], "=", other)
            ),
        )
    return f"{name} {operator} {value}", lambda row: compares(field, row[field], operator, value)


def compares(field, cell, operator, value):
    if operator == "!=":
        return not compares(field, cell, "=", value)
    if isinstance(cell, list):
        return any(compares(field, one, operator, value) for one in cell)
    if cell is None or cell == "":
        return False
    as_text = str(cell).lower() if isinstance(cell, bool) else str(cell)
    if operator == "~":
        return value.lower() in as_text.lower()
    if operator == "=" and re.search(r"[*?]", value):
        pattern = re.escape(value).replace(r"\*", ".*").replace(r"\?", ".")
        return re.fullmatch(pattern, as_text) is not None
    kind = FIELDS[field]
    is_date = re.fullmatch(r"\d{4}(-\d\d.*)?", value) and re.match(r"\d{4}-\d\d", as_text)
    if kind == "date" or (kind == "any" and is_date):
        return ordered(as_text[: len(value)], operator, value)
    if kind == "number" or (kind == "any" and NUMBER.fullmatch(value)):
        is_number = not isinstance(cell, str) or NUMBER.fullmatch(cell)
        number = float(cell) if is_number else math.nan
        return ordered(number, operator, float(value))
    if kind == "any" and re.fullmatch(r"\d{4}-.*", value):
        return False
    return ordered(as_text, operator, value)


def ordered(left, operator, right):
    return {
        "=": left == right, "<": left < right, "<=": left <= right, ">": left > right,
        ">=": left >= right,
    }[operator]  # fmt: skip


@settings(max_examples=300)
@given(
    st.lists(st.fixed_dictionaries({f: CELLS[k] for f, k in FIELDS.items()}), max_size=6),
    st.lists(expressions(), min_size=1, max_size=2),
)
def test_conditions_agree_with_python(rows, conditions):
    connection = database(
        [
            {name: row[name] for name in ("camera", "taken", "width")}
            | {"meta": {name: row[name] for name in ("c", "d e") if row[name] != 3}}
            for row in rows
        ]
    )
    rows = [{name: None if cell == 3 else cell for name, cell in row.items()} for row in rows]
    expected = [
        number for number, row in enumerate(rows) if all(holds(row) for _, holds in conditions)
    ]
    assert select(connection, *(text for text, _ in conditions)) == expected
