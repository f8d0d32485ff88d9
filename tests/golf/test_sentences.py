"""Any text, sentence by sentence: what each is, or is closest to, and which scores it states."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.golf.answer import Entry, build_index
from golf_nb_utils.golf.knowledge import Fault
from golf_nb_utils.golf.records import generate_records
from golf_nb_utils.golf.request import Request
from golf_nb_utils.golf.sentences import SentenceReader, Span, number_origins
from golf_nb_utils.golf.wording import SAY_BY_ID
from golf_nb_utils.settings import DataConfig

HEADINGS = (
    "WHAT SHOULD HAPPEN (Ideal/Expected):",
    "WHAT IS HAPPENING (Current Issue):",
    "WHAT TO DO (Actionable Steps):",
)
PARTS = ("what_should_happen", "what_is_happening", "what_to_do")
OTHER_SIDE = {"left": "right", "right": "left"}
# A request whose every score sentence can be filled by hand.
SCORES = {"setup_quality": 0.91, "balance": 0.31, "weight_shift": 0.45, "consistency": 0.65}
REQUEST = Request("weight_shift", 0.45, 0.8, all_scores=SCORES, meaning="Standing up")
FILLED = {
    "label": "weight shift", "current": "45.0%", "target": "80.0%", "words": "far below",
    "strength": "setup", "later": "balance", "fault": "standing up", "other": "body rotation",
}  # fmt: skip
# What is low and comes earlier than the area leaves no room for what comes later.
EARLIER = replace(REQUEST, all_scores={"setup_quality": 0.31})
FAULTS = [Fault("RF1", "Standing up", "body_rotation", "r", 1), Fault("WF1", "Swaying", "weight_shift", "w", 1)]  # fmt: skip
DRILL = 'Drill "Pump": Pump a towel 10 times. Hold it there.'
SMALL = {
    "a.WF1a.ideal.1": Entry("Swing easy.", "Swing easy."),
    "a.WF1a.happening.1": Entry("The ball starts left of the flag.", "The ball starts right of the flag."),
    "a.WF1a.steps.1": Entry("Stand tall.", "Stand tall."),
    "a.WF1a.steps.2": Entry("Stand tall. Breathe out.", "Stand tall. Breathe out."),
    "a.WD1.text.1": Entry(DRILL, DRILL),
}  # fmt: skip
READER = SentenceReader(SMALL, FAULTS)


def filled(name):
    """A phrase of SAY as an answer to one of the two requests has it, and that request."""
    if name.startswith("say.earlier."):
        return SAY_BY_ID[name].format_map(FILLED | {"earlier": "setup"}), EARLIER
    return SAY_BY_ID[name].format_map(FILLED), REQUEST


def entry(kind, text, **about):
    """An entry for every golfer; a drill's is part of no advice."""
    everybody = {"clubs": ("driver", "wood", "iron", "wedge"), "levels": ("beginner", "intermediate", "advanced")}  # fmt: skip
    everybody |= {"audiences": ("adult",), "severities": ("none", "slight", "clear", "large")}
    return Entry(text, text, kind, **(everybody | about))


def read(text, request=REQUEST, nearest=True):
    return READER.read(text, request, nearest=nearest)


def origins(text, request=REQUEST):
    return [(span.text, span.origin) for span in read(text, request).sentences]


# Sentences.


def test_a_text_is_told_apart_into_sentences_with_and_without_an_origin():
    text = (
        f"{HEADINGS[0]}\nSwing easy. Hope for the best.\n\n"
        f"{HEADINGS[1]}\nYour weight shift target is 80.0%. It was 7 of 45.0%!\n\n"
        f"{HEADINGS[2]}\n1. Stand tall. Breathe out.\n2. {DRILL} Stand tall.\n3. Check: Film 3 swings.\n"
        "As a senior: Rest often.\nGo on.\nSwing thought: Swing easy.\nSafety: Mind your back"
    )
    reading = read(text)
    assert [(span.text, span.origin) for span in reading.sentences] == [
        ("Swing easy.", "a.WF1a.ideal.1"),
        ("Hope for the best.", None),
        ("Your weight shift target is 80.0%.", "say.target.2"),
        ("It was 7 of 45.0%!", None),
        ("Stand tall. Breathe out.", "a.WF1a.steps.2"),
        (DRILL, "a.WD1.text.1"),
        ("Stand tall.", "a.WF1a.steps.1"),
        ("Film 3 swings.", None),
        ("Rest often.", None),
        ("Go on.", None),
        ("Swing easy.", "a.WF1a.ideal.1"),
        ("Mind your back", None),
    ]
    assert [(piece.part, piece.label) for piece in reading.pieces] == [
        *[(PARTS[0], "")] * 2,
        *[(PARTS[1], "")] * 2,
        *[(PARTS[2], label) for label in ("", "", "", "Check", "As a senior", "", "Swing thought", "Safety")],
    ]  # fmt: skip
    assert [(span.text, span.origin) for span in reading.numbers] == [
        ("80.0%", "say.target.2"),
        ("7", None),
        ("45.0%", "Current Score"),
        ("10", "a.WD1.text.1"),
        ("3", None),
    ]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Why? You sway! So it is.", ["Why?", "You sway!", "So it is."]),
        ("It is 4.5 times, e.g. more.", ["It is 4.5 times, e.g.", "more."]),
        ("One.Two. Three...  Four", ["One.Two.", "Three...", "Four"]),
        ("No end\nin sight. - !", ["No end", "in sight.", "- !"]),
        ("1. First\n2 Second\n3.Third", ["First", "2 Second", "3.Third"]),
        ("Check: this. Check: that.", ["this.", "that."]),
        ("Sit down. Check:", ["Sit down."]),
        ("Stand tall. Check: \nSafety: So.", ["Stand tall.", "So."]),
        ("Perhaps Check: this.", ["Perhaps Check: this."]),
    ],
)
def test_a_made_up_text_is_split_into_its_sentences(text, sentences):
    assert [span.text for span in read(text).sentences] == sentences


def test_only_headings_numbers_and_labels_make_no_sentence():
    scaffold = f"{HEADINGS[0]}\n\n{HEADINGS[1]}\n\n{HEADINGS[2]}\n1. \n2. Check:\nAs a junior:\nSwing thought: \nSafety:  "
    reading = read(scaffold)
    assert reading.sentences == reading.pieces == reading.numbers == ()
    assert read("").sentences == ()


def test_a_sentence_said_twice_is_found_twice():
    assert (
        origins("Swing easy. Swing easy.\nSwing easy.") == [("Swing easy.", "a.WF1a.ideal.1")] * 3
    )


@pytest.mark.parametrize("hand", ["right", "left"])
def test_the_side_of_the_ball_has_its_origin_for_the_golfers_hand_alone(hand):
    request = Request("weight_shift", 0.45, 0.8, handedness=hand)
    texts = {
        "right": "The ball starts left of the flag.",
        "left": "The ball starts right of the flag.",
    }
    assert read(texts[hand], request).sentences == (Span(texts[hand], "a.WF1a.happening.1"),)
    (wrong,) = read(texts[OTHER_SIDE[hand]], request).sentences
    assert (wrong.origin, wrong.nearest) == (None, "a.WF1a.happening.1")
    assert 0.5 < wrong.similarity < 1
    if hand == "right":
        assert read(texts[hand]).sentences == (Span(texts[hand], "a.WF1a.happening.1"),)


@pytest.mark.parametrize("hand", ["right", "left"])
def test_the_side_that_a_beginner_is_told_is_no_part_of_the_sentence(hand):
    """Whether it is the right side, and whether anybody wanted to know, the grammar says."""
    entry = Entry("Press the lead foot.", "Press the lead foot.")
    reader = SentenceReader({"a.WF1a.steps.1": entry})
    request = Request("weight_shift", 0.45, 0.8, handedness=hand)
    for side in ("left", "right"):
        found = reader.read(f"Press the lead ({side}) foot. Hit it ({side}).", request).sentences
        assert [(span.text, span.origin) for span in found] == [
            ("Press the lead foot.", "a.WF1a.steps.1"),
            (f"Hit it ({side}).", None),
        ]


@pytest.mark.parametrize("name", SAY_BY_ID)
def test_a_sentence_around_the_advice_has_its_origin_with_what_the_request_says_alone(name):
    sentence, request = filled(name)
    reading = read(sentence, request)
    assert reading.sentences == (Span(sentence, name),)
    assert all(span.origin == name for span in reading.numbers)
    for score in re.findall(r"\d+\.0%", sentence):
        wrong = read(sentence.replace(score, "99.0%"), request)
        assert {span.origin for span in wrong.sentences} == {None}
        assert {span.nearest for span in wrong.sentences} == {name}
        assert [span.text for span in wrong.numbers if span.origin is None] == ["99.0%"]


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("Your weight shift score is 80.0%, far below the target.", "score"),
        ("Your weight shift score is 45.0%, a little below the target.", "score"),
        ("Your setup score is 45.0%, far below the target.", "score"),
        ("Your weight shift target is 45.0%.", "target"),
        ("Your impact is a strength to build on.", "strength"),
        # Setup comes earlier than weight shift, balance later.
        ("Start with your balance: it is low, too, and this builds on it.", "earlier"),
        ("Your setup is low, too; come to it once this is better.", "later"),
        ('Your words point to balance ("standing up") rather than to weight shift.', "elsewhere"),
        ('Your words point to body rotation ("swaying") rather than to weight shift.', "elsewhere"),
        ("Settle the balance first: ask the app about it in the same words.", "settle"),
    ],
)
def test_a_sentence_with_another_score_area_or_fault_than_the_request_has_has_no_origin(
    sentence, kind
):
    (span,) = read(sentence, EARLIER if kind == "earlier" else REQUEST).sentences
    assert span.origin is None
    assert span.nearest.split(".")[1] == kind


@pytest.mark.parametrize("name", ["say.strength.1", "say.later.1"])
def test_a_score_that_the_request_does_not_show_is_not_named(name):
    (span,) = read(filled(name)[0], Request("weight_shift", 0.45, 0.8)).sentences
    assert span.origin is None


@pytest.mark.parametrize("meaning", [None, "Swaying", "slice"])
def test_a_fault_of_another_area_is_named_only_where_the_words_mean_one(meaning):
    for name in ("say.elsewhere.1", "say.elsewhere.2", "say.settle.1"):
        (span,) = read(filled(name)[0], replace(REQUEST, meaning=meaning)).sentences
        assert span.origin is None


def test_without_any_knowledge_the_score_sentences_are_still_known():
    reading = SentenceReader({}).read(
        "Your weight shift target is 80.0%. Swing easy.", REQUEST, nearest=True
    )
    assert [span.origin for span in reading.sentences] == ["say.target.2", None]
    assert reading.sentences[1].nearest in SAY_BY_ID


def test_every_sentence_and_number_of_a_generated_answer_has_the_origin_that_it_was_made_of(
    knowledge,
):
    reader = SentenceReader(build_index(knowledge), knowledge.faults)
    hands, kinds = set(), set()
    for record in generate_records(knowledge, DataConfig(n_examples=240))["train"]:
        meta, text = record.meta, record.output
        reading = reader.read(text, Request.from_text(record.input))
        assert [span.origin for span in reading.sentences] == meta["items"]
        assert (reading.about, reading.drills) == (
            meta["chain"],
            (meta["drill"],) if meta["drill"] else (),
        )
        # The numbers of the steps are none of the answer's.
        bare = re.sub(r"(?m)^\d+\. ", "", text)
        assert [span.text for span in reading.numbers] == re.findall(r"\d+(?:\.\d+)?%?", bare)
        assert all(span.origin for span in reading.numbers)
        hands.add(meta["handedness"])
        kinds.add(meta["kind"])
    assert hands == {"right", "left"}
    assert kinds >= {"fault", "keep", "unclear", "outcome", "other_area"}


# What the whole is about, and which of two items a sentence is.


def test_a_text_is_about_the_advice_that_most_sentences_are_part_of():
    index = {
        "t.BF1a.happening.1": entry("happening", "One.", topic="t", advice="BF1a", fault="BF1"),
        "t.BF1b.happening.1": entry("happening", "Two.", topic="t", advice="BF1b", fault="BF1"),
        "u.CU1.happening.1": entry("happening", "Three.", topic="u", advice="CU1"),
        "u.CU1.steps.1": entry("steps", "Four.", topic="u", advice="CU1"),
        "u.CD1.text.1": entry("drill", "Do.", topic="u", drill="CD1", fixes=("BF1b",)),
        "CD1.dose": entry("dose", "Ten times.", topic="u", drill="CD1", fixes=("BF1b",)),
    }
    reader = SentenceReader(index)

    def about(text):
        reading = reader.read(text, REQUEST)
        return reading.about, reading.drills

    assert about("One. Three. Four.") == ("CU1", ())
    # Of two chains of one fault, too, one alone is told.
    assert about("One. Two. Two.") == ("BF1b", ())
    assert about("Two. Do. Ten times.") == ("BF1b", ("CD1",))
    # A dose on its own is no drill.
    assert about("Ten times.") == ("", ())
    assert about("Do. Do.") == ("", ("CD1", "CD1"))
    assert about("Nothing of this.") == ("", ())


def test_a_sentence_of_two_items_is_the_one_that_fits_its_place_and_the_rest():
    index = {
        "t.A1.cue.1": entry("cue", "Easy.", topic="t", advice="A1"),
        "u.B1.cue.1": entry("cue", "Easy.", topic="u", advice="B1"),
        "t.A1.cue.2": entry("cue", "Look.", topic="t", advice="A1"),
        "t.A1.check.1": entry("check", "Look.", topic="t", advice="A1"),
        "t.A1.ideal.1": entry("ideal", "Tall.", topic="t", advice="A1"),
        "u.B1.ideal.1": entry("ideal", "Wide.", topic="u", advice="B1"),
    }
    reader = SentenceReader(index)

    def found(text):
        return [span.origin for span in reader.read(text, REQUEST).sentences]

    assert found(f"{HEADINGS[0]}\nTall.\nSwing thought: Easy.") == ["t.A1.ideal.1", "t.A1.cue.1"]
    assert found(f"{HEADINGS[0]}\nWide.\nSwing thought: Easy.") == ["u.B1.ideal.1", "u.B1.cue.1"]
    assert found(f"{HEADINGS[0]}\nTall.\n1. Check: Look.") == ["t.A1.ideal.1", "t.A1.check.1"]
    assert found(f"{HEADINGS[0]}\nTall.\nSwing thought: Look.") == ["t.A1.ideal.1", "t.A1.cue.2"]


def test_a_dose_that_two_drills_share_is_that_of_the_drill_that_is_told():
    index = {}
    for name in ("AD1", "AD2"):
        index[f"t.{name}.text.1"] = entry("drill", f"Do {name}.", topic="t", drill=name)
        index[f"{name}.dose"] = entry("dose", "Ten times.", topic="t", drill=name)
    for name in ("AD1", "AD2"):
        reading = SentenceReader(index).read(f"{HEADINGS[2]}\n1. Do {name}. Ten times.", REQUEST)
        assert [span.origin for span in reading.sentences] == [f"t.{name}.text.1", f"{name}.dose"]


# Nearest entries.


def test_a_made_up_sentence_has_no_origin_and_the_nearest_item_with_its_similarity():
    # Swi win ing "ng " "g e" " ea" eas are in both; asy sy. in the item alone; asi sil ily ly. in the sentence alone.
    assert read("Swing easily.").sentences == (
        Span("Swing easily.", None, "a.WF1a.ideal.1", pytest.approx(7 / 13)),
    )


def test_the_nearest_item_is_looked_for_only_when_it_is_wanted():
    text = f"Swing easily. {DRILL} At 45.0% or 9%."
    found, fast = read(text), read(text, nearest=False)
    assert [(span.text, span.origin) for span in fast.sentences] == [
        (span.text, span.origin) for span in found.sentences
    ]
    assert fast.numbers == found.numbers
    assert found.sentences[0].nearest == "a.WF1a.ideal.1"
    assert {(span.nearest, span.similarity) for span in fast.sentences} == {(None, 0.0)}


# Numbers and scores.


@pytest.mark.parametrize(
    ("number", "origin"),
    [
        ("45.0%", "Current Score"), ("45%", "Current Score"), ("0.45", "Current Score"),
        ("80.0%", "Target Score"), ("80%", "Target Score"), ("0.80", "Target Score"),
        ("35.0%", "Gap"), ("91.0%", "setup_quality"), ("31%", "balance"), ("0.65", "consistency"),
        ("46.0%", None), ("4.5%", None), ("145.0%", None), ("45", None), ("45.1%", None), ("0.46", None), ("0.8", None), ("7", None),
    ],
)  # fmt: skip
def test_a_number_of_a_made_up_sentence_has_an_origin_if_the_request_has_it_as_a_score(
    number, origin
):
    assert read(f"Nobody says {number} here.").numbers == (Span(number, origin),)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("\u00b90", ["\u00b9", "0"]),
        ("0\u00b9 and \u2163, then 7", ["0", "\u00b9", "\u2163", "7"]),
        ("\uff14\uff15.0% \u0664", ["\uff14\uff15.0%", "\u0664"]),
        ("\u00bd of 45.0%", ["\u00bd", "45.0%"]),
    ],
)
def test_numerals_of_any_script_are_numbers_in_the_order_of_the_text(text, numbers):
    spans = number_origins([Span(text, None)], REQUEST)
    assert [span.text for span in spans] == numbers
    assert {span.origin for span in spans} <= {None, "Current Score"}
    assert [span.text for span in read(text).numbers] == numbers


def test_the_numbers_of_a_sentence_with_an_origin_have_its_origin():
    assert number_origins([Span("At 9 of 45.0%.", "a.WF1a.ideal.1")], REQUEST) == (
        Span("9", "a.WF1a.ideal.1"),
        Span("45.0%", "a.WF1a.ideal.1"),
    )


def test_what_scores_are_said_to_be_goes_by_part_and_by_the_name_beside_them():
    text = (
        f"{HEADINGS[0]}\nBalance at 80.0%, not at 70.0%.\n\n"
        f"{HEADINGS[1]}\nYour balance is at 45.0% of 80.0%. Impact is 31.0%. At 91.0% your setup is best. And 1.0%.\n\n"
        f"{HEADINGS[2]}\n1. Aim for 70% in tempo and rhythm."
    )
    stated = read(text).stated

    def pairs(scores):
        return [(score.value, score.name) for score in scores]

    assert pairs(stated.target) == [("80.0%", "balance")]
    assert pairs(stated.current) == [("45.0%", "balance")]
    assert pairs(stated.others) == [
        ("70.0%", "balance"),
        ("80.0%", "balance"),
        ("31.0%", "impact_quality"),
        ("91.0%", "setup_quality"),
        ("1.0%", None),
        ("70%", "tempo_rhythm"),
    ]
    assert read(text.replace(HEADINGS[1], "")).stated is None


def test_the_figures_of_the_knowledge_base_are_no_scores():
    reader = SentenceReader({"a.steps.1": entry("steps", "Put 60% of your weight forward.")})
    text = f"{HEADINGS[0]}\nx\n{HEADINGS[1]}\ny\n{HEADINGS[2]}\n1. Put 60% of your weight forward. Put 61% back."
    assert [score.value for score in reader.read(text, REQUEST).stated.others] == ["61%"]


# Whatever the text.


def in_order(text, spans):
    """Whether the spans follow each other in the text and none overlaps the next."""
    place = 0
    for span in spans:
        place = text.find(span.text, place)
        if place < 0:
            return False
        place += len(span.text)
    return True


PIECES = st.sampled_from(
    [
        *HEADINGS, *(entry.right for entry in SMALL.values()), *(filled(name)[0] for name in list(SAY_BY_ID)[::4]),
        "\n", " ", "1. ", "12. Check: ", "lead (left)", "Safety:", "Swing thought: ", "As a senior: ",
        "Made up.", "At 45.0% or 99%?", "\0", "\r\n", ".", "\u00b90",
    ]
)  # fmt: skip


@given(
    st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12).map("".join))
)
def test_any_text_is_read_without_an_error_and_its_spans_come_in_its_order(text):
    reading = read(text)
    assert in_order(reading.text, reading.sentences)
    assert in_order(reading.text, reading.numbers)
    renderings = {name: entry.right for name, entry in SMALL.items()} | {
        name: filled(name)[0] for name in SAY_BY_ID
    }
    for span in reading.sentences:
        if span.origin:
            assert span.text == renderings[span.origin]
        else:
            assert 0 <= span.similarity <= 1
            assert span.nearest in renderings or span.similarity == 0
            assert span.text.strip(" ") != ""


@given(st.text(alphabet="abcdefg .!?,\n"))
def test_no_word_of_a_made_up_text_goes_uncounted(text):
    found = read(text).sentences
    words = re.findall(r"\w+", text)
    assert re.findall(r"\w+", " ".join(span.text for span in found)) == words
    assert not any(span.origin for span in found)


@given(st.lists(st.sampled_from(sorted(SMALL)), max_size=6))
def test_the_sentences_of_the_index_are_found_in_whatever_order_they_stand(names):
    # A line for each keeps two short sentences from reading as the longer one that joins them.
    found = read("\n".join(SMALL[name].right for name in names))
    assert [span.origin for span in found.sentences] == names
