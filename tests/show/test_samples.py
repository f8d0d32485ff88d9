"""What a model reads and writes, as HTML: what counts, and which sentences are known."""

from html.parser import HTMLParser

from golf_nb_utils.golf.answer import Entry
from golf_nb_utils.golf.request import Request
from golf_nb_utils.golf.sentences import SentenceReader
from golf_nb_utils.show.samples import labelled_tokens, marked_answers

WORDS = ["<b>", " turn", "\n", "now"]
REQUEST = Request("balance", 0.55, 0.8)
READER = SentenceReader(
    {"a.steps.1": Entry("Turn & hold.", "Turn & hold."), "a.steps.2": Entry("Walk on.", "Walk on.")}
)


class Spans(HTMLParser):
    """The spans of a page, [style, title, text], in their order."""

    def __init__(self, page):
        super().__init__()
        self.found, self.is_open = [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "span":
            self.is_open = True
            self.found.append([given["style"], given.get("title"), ""])

    def handle_endtag(self, tag):
        self.is_open = self.is_open and tag != "span"

    def handle_data(self, data):
        if self.is_open:
            self.found[-1][2] += data


def test_each_token_stands_over_its_target_and_what_does_not_count_is_plain():
    page = labelled_tokens([0, 1, 2], [-100, 2, 3], lambda ids: WORDS[ids[0]])
    boxes = Spans(page).found
    assert [text for _, _, text in boxes] == ["<b>\u2013", "\u00b7turn\u21b5", "\u21b5now"]
    assert ["background" in style for style, _, _ in boxes] == [False, True, True]


def test_a_sentence_is_marked_by_whether_the_knowledge_base_has_it():
    text = "WHAT TO DO (Actionable Steps):\n1. Turn & hold. Walk <up>.\nTurn & hold."
    reading = READER.read(text, REQUEST, nearest=True)
    page = marked_answers({"After <5> steps": reading})
    known, unknown, again = Spans(page).found
    assert (known[2], known[1]) == ("Turn & hold. \u2713", "a.steps.1")
    assert again[2] == "Turn & hold. \u2713"
    assert unknown[2] == "Walk <up>. \u2717"
    assert unknown[1].startswith("closest: a.steps.2, ")
    assert known[0] != unknown[0]
    assert "After &lt;5&gt; steps: 2 of 3 sentences known" in page


def test_a_page_of_one_sign_or_of_nothing_is_shown_short():
    noise = READER.read("#" * 3000, REQUEST)
    blank = READER.read("\n" * 500, REQUEST)
    page = marked_answers({"noise": noise, "blank": blank})
    assert "(3,000 of them)" in page
    assert "(nothing but blanks)" in page
    assert page.count("no sentence yet") == 2
    counting = READER.read("1.\n" * 60, REQUEST)
    page += marked_answers({"counting": counting})
    assert "(36 more lines)" in page
    assert len(page) < 7000
