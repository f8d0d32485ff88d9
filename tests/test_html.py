"""A page is one file: nothing in it is fetched, and no text of a golfer or a model becomes markup."""

import base64
import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.image import imread

from golf_nb_utils.html import columns, mark_in_order, page, picture, table

HOSTILE = "<script>alert(\"1\")</script> & '<b>' {title} {0} &lt;"
TEXTS = st.text(alphabet="ab<>&\"'{}%= /é\n;", max_size=30)


class Reader(HTMLParser):
    """Collects the elements in order with their attributes, and the text within each."""

    def __init__(self, html):
        super().__init__()
        self.opened, self.attributes, self.texts, self.within = [], [], {}, []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.opened.append(tag)
        self.attributes.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in ("meta", "img"):
            self.within.append(tag)

    def handle_endtag(self, tag):
        assert self.within.pop() == tag, "every element is closed where it should be"

    def handle_data(self, data):
        if self.within:
            self.texts[self.within[-1]][-1] += data


def test_a_page_has_its_title_twice_its_summary_and_its_body_as_it_is():
    whole = page("Report", "Three answers.", "<h2>Part</h2>")
    read = Reader(whole)
    assert whole.startswith("<!DOCTYPE html>")
    assert read.texts["title"] == read.texts["h1"] == ["Report"]
    assert read.texts["p"] == ["Three answers."]
    assert read.texts["h2"] == ["Part"]
    assert read.within == []
    assert [
        attributes["charset"] for tag, attributes in read.attributes if "charset" in attributes
    ] == ["utf-8"]


def test_a_page_fetches_nothing():
    whole = page("Report", "", table(["a"], [[1]]) + picture("Plot", Figure(figsize=(1, 1))))
    addresses = re.findall(r"(?:src|href)\s*=\s*\"([^\"]*)|url\(|@import|https?:", whole)
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert len(addresses) == 1


def test_markup_in_a_title_a_summary_a_cell_or_a_name_is_shown_and_not_obeyed():
    whole = page(
        HOSTILE,
        HOSTILE,
        table([HOSTILE], [[HOSTILE, 1]]) + picture(HOSTILE, Figure(figsize=(1, 1))),
    )
    read = Reader(whole)
    assert "script" not in read.opened
    assert "b" not in read.opened
    for tag in ("title", "h1", "p", "th", "h2"):
        assert read.texts[tag] == [HOSTILE]
    assert read.texts["td"] == [HOSTILE, "1"]
    assert [attributes["alt"] for tag, attributes in read.attributes if tag == "img"] == [HOSTILE]


@given(
    TEXTS,
    TEXTS,
    st.lists(TEXTS, min_size=1, max_size=3),
    st.lists(st.lists(TEXTS, min_size=1, max_size=3), max_size=3),
)
def test_whatever_stands_in_a_text_comes_back_as_text(title, summary, header, rows):
    read = Reader(page(title, summary, table(header, rows)))
    assert read.texts["h1"] == [title]
    assert read.texts["p"] == [summary]
    assert read.texts["th"] == header
    assert read.texts.get("td", []) == [cell for row in rows for cell in row]
    assert read.opened.count("tr") == 1 + len(rows)
    # Nothing but the elements of the page itself.
    assert set(read.opened) <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "p",
        "table",
        "tr",
        "th",
        "td",
    }


@pytest.mark.parametrize(
    ("cell", "shown", "to_the_right"),
    [
        (7, "7", True), (12345678, "12,345,678", True), (-1200, "-1,200", True), (0.25, "0.25", True), ("45.0%", "45.0%", True),
        ("1,024", "1,024", True), ("0.80", "0.80", True),
        ("balance", "balance", False), ("", "", False), ("7-iron", "7-iron", False), ("3 of them", "3 of them", False),
        (None, "None", False),
    ],
)  # fmt: skip
def test_a_number_stands_to_the_right_and_a_text_to_the_left(cell, shown, to_the_right):
    read = Reader(table(["a", "b"], [["x", cell]]))
    assert read.texts["td"] == ["x", shown]
    classes = [attributes.get("class") for tag, attributes in read.attributes if tag == "td"]
    assert classes == [None, "number" if to_the_right else None]


def test_a_table_without_rows_still_has_its_header():
    read = Reader(table(["one", "two"], []))
    assert read.texts["th"] == ["one", "two"]
    assert "td" not in read.opened


def test_a_picture_is_embedded_under_its_name():
    figure = Figure(figsize=(2, 1), facecolor="#ff0000")
    read = Reader(picture("Red", figure))
    assert read.texts["h2"] == ["Red"]
    (source,) = [attributes["src"] for tag, attributes in read.attributes if tag == "img"]
    kind, data = source.split(",")
    assert kind == "data:image/png;base64"
    pixels = imread(io.BytesIO(base64.b64decode(data, validate=True)), format="png")
    height, width = pixels.shape[:2]
    assert width > height > 50
    assert pixels[0, 0, :3].tolist() == [1, 0, 0]


def test_texts_side_by_side_are_shown_as_text_and_blanks_are_said_to_be_blanks():
    shown = columns({"base <b>": " \n\n\n ", "fine-tuned": "one\n\n\n\n\ntwo <i>"})
    assert "base &lt;b&gt;" in shown
    assert "(nothing but blanks)" in shown
    assert "one\n\ntwo &lt;i&gt;" in shown


@pytest.mark.parametrize(
    ("text", "passages", "shown"),
    [
        ("a & b", [], "a &amp; b"),
        ("a < b", ["a", "b"], "[a] &lt; [b]"),
        # The second "a" is the one after "b".
        ("a b a", ["b", "a"], "a [b] [a]"),
        ("a b", ["b", "a"], "a [b]"),
        ("a b", ["z", "b"], "a [b]"),
    ],
)
def test_passages_are_replaced_in_their_order_and_what_is_not_there_is_passed_over(
    text, passages, shown
):
    assert mark_in_order(text, [(passage, f"[{passage}]") for passage in passages]) == shown
