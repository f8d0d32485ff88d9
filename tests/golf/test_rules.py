"""The rules against contradictions: each refuses a sentence that breaks it and accepts good advice on the same subject."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.golf.areas import CLUB_FAMILIES, LEVELS
from golf_nb_utils.golf.rules import PARTS, Rule, RuleError, contradictions, load_rules

RULES = {
    rule.id: rule for rule in load_rules(Path(__file__).resolve().parents[2] / "knowledge" / "golf_instruction" / "rules.yaml")
}  # fmt: skip

# {rule: (part of a topic, a sentence that breaks the rule there, sentences on the same subject that do not)}
PAIRS = {
    "tempo_not_just_slower": (
        "steps", "Swing slower with every club.", ["Finish the turn before the club comes down.", "An even rhythm beats a hurried one."],
    ),
    "tempo_ratio_is_a_range": (
        "ideal", "The backswing takes exactly three times as long.", ["The backswing takes about three times as long."],
    ),
    "pause_is_a_drill": (
        "cue", "Stop for a moment at the top.", ["Turn through the top without a pause at the top.", "Do not wait at the top."],
    ),
    "head_fairly_still": (
        "steps", "Keep your head down until the ball is gone.", ["Let the head stay fairly still.", "The head need not be frozen."],
    ),
    "pressure_never_all": (
        "ideal", "At the finish all of your weight is on the lead foot.", ["Nearly all of your weight is on the lead foot at the finish."],
    ),
    "reverse_style_is_no_fault": (
        "happening", "A Reverse-style shift is a fault of its own.", ["Some good players have a Reverse-style shift."],
    ),
    "load_is_not_sway": (
        "steps", "Feel the pressure on the outer edge of the trail foot.",
        ["Feel the pressure inside the trail foot.", "Keep the pressure away from the outer edge of the trail foot."],
    ),
    "shift_is_not_slide": (
        "steps", "Slide the lead hip at the target.", ["Turn the hips as they move forward.", "Let the hips turn and never slide forward."],
    ),
    "hips_stay_free": ("cue", "Lock your hips and turn the chest.", ["Let your hips turn with the chest.", "Do not lock your hips."]),
    "lead_arm_folds_after": (
        "steps", "Let the lead elbow bend before impact.", ["Fold the lead arm late.", "Keep the lead arm long through impact."],
    ),
    "wide_is_not_steadier": (
        "happening", "A wider stance is always steadier.", ["A stance as wide as the shoulders suits a middle iron."],
    ),
    "address_weight_about_even": (
        "ideal", "Most of your weight is on the lead foot at address.", ["Your weight is about even at address."],
    ),
    "towel_only_for_short_swings": (
        "drill", "Hold a towel under your arms and make full swings.", ["Hold a towel under your arms and make half swings."],
    ),
    "no_static_stretch_before_play": (
        "steps", "Stretch the hamstrings for a while before you play.", ["Move lightly before you play.", "Stretch after the round."],
    ),
    "steps_without_targets_in_degrees": ("steps", "Turn the chest by ninety degrees.", ["Turn the chest as far as is comfortable."]),
    "scores_stay_scores": (
        "happening", "Your score suggests that the hips lag by some degrees.", ["Your score suggests that the hips lag."],
    ),
    "no_number_for_the_x_factor": ("ideal", "A good X-Factor is large.", ["The chest turns more than the hips."]),
    "driver_advice_for_the_driver": (
        "steps", "Play the ball off the lead heel.", ["Play the ball in mid-stance.", "Play the ball well inside the lead heel."],
    ),
    "one_model_of_ball_position": (
        "ideal", "The ball stays opposite the lead heel. The ball moves back as the club gets shorter.",
        ["The ball stays opposite the lead heel.", "The ball moves back as the club gets shorter."],
    ),
    "one_count_for_the_finish": (
        "check", "Hold the finish for three seconds. Hold the finish for four seconds.",
        ["Hold the finish for three seconds.", "Hold the finish for four seconds."],
    ),
    "hips_open_at_impact": ("ideal", "The hips are square at impact.", ["The hips are partly open at impact."]),
    "upper_body_never_starts_down": (
        "steps", "Start the downswing with your shoulders.", ["Start the downswing with a press of the lead foot."],
    ),
    "knees_soft_never_locked": (
        "steps", "Lock the lead knee at the finish.", ["Let the lead leg be straight, but not locked.", "Soften your knees a little."],
    ),
    "s_posture_is_no_goal": ("cue", "Arch your back a little.", ["Let the back be long, and do not arch your back."]),
    "no_strain_in_the_back": (
        "drill", "Turn until you feel a pull in the low back.", ["Turn until the chest faces away, and stop if the back hurts."],
    ),
    "causes_are_possibilities": (
        "happening", "You sway off the ball, and the ball slices.",
        ["You may sway off the ball.", "The ball tends to slice.", "Slices are common, and thin hits often follow.", "One reason is a tight hold."],
    ),
    "one_leg_with_support": ("drill", "Stand on one leg and swing.", ["Stand on one leg beside a chair and swing."]),
    "no_diagnosis": ("plan", "This drill cures the pain.", 
        ["Stop at any pain, and ask a qualified coach or clinician.", "Nothing cures a slice sooner.", "Treat the ball as if it were not there."],
   ),
    "no_player_with_numbers": ("ideal", "Hogan turned his hips by 40 steps.", ["Hogan turned his hips early."]),
    "unverified_claims": ("happening", "The back often carries eight times body weight.", ["The back often carries a heavy load."]),
}  # fmt: skip


def broken(rule: Rule, text: str) -> bool:
    return rule.broken_by(text) or rule.joined_in(text)


def test_every_rule_of_the_repository_has_an_example_here_and_an_id_of_its_own():
    path = Path(__file__).resolve().parents[2] / "knowledge" / "golf_instruction" / "rules.yaml"
    assert [rule.id for rule in load_rules(path)] == list(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_a_rule_refuses_a_bad_sentence_where_it_holds(name):
    part, bad, _ = PAIRS[name]
    assert RULES[name].concerns(part, "balance", CLUB_FAMILIES, LEVELS, faults=("XF1",))
    assert broken(RULES[name], bad)
    assert broken(RULES[name], bad.upper())


@pytest.mark.parametrize(
    ("name", "good"), [(name, good) for name, (_, _, goods) in PAIRS.items() for good in goods]
)
def test_a_rule_accepts_good_advice_on_the_same_subject(name, good):
    assert not broken(RULES[name], good)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("pressure_never_all", "Put 100% of it on the lead foot."),
        ("pressure_never_all", "A hundred percent is in front."),
        ("pressure_never_all", "Every bit of your weight is in front."),
        ("scores_stay_scores", "A score of 0.45 costs 20 yards."),
        ("scores_stay_scores", "The score is worth two strokes."),
        ("no_diagnosis", "Slow turns heal."),
        ("no_diagnosis", "The drill treats your back."),
        ("causes_are_possibilities", "The reason is a tight hold."),
        ("no_player_with_numbers", "McIlroy has his weight forward by 9 parts in ten."),
    ],
)
def test_a_rule_refuses_other_wordings_of_the_same(name, bad):
    assert RULES[name].broken_by(bad)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("pressure_never_all", "Never put all of your weight on one foot."),
        ("pressure_never_all", "Almost all of the pressure is in front."),
        ("causes_are_possibilities", "A second reason is fear."),
        ("causes_are_possibilities", "Perhaps the hold is tight, and slices are likelier then."),
        # A number in the next sentence, or words that only hold the name of a unit or a player, are nobody's figure.
        ("scores_stay_scores", "The score is 0.45. Aim a few yards ahead."),
        ("no_player_with_numbers", "Hogan turned early. Do it 5 times."),
        ("no_player_with_numbers", "Turn both wheels 5 times."),
    ],
)
def test_a_rule_accepts_what_only_looks_like_the_same(name, good):
    assert not RULES[name].broken_by(good)


def test_a_good_sentence_breaks_no_rule_of_its_part():
    for part, _, goods in PAIRS.values():
        for good in goods:
            assert contradictions(tuple(RULES.values()), good, part) == []


def test_a_rule_without_parts_concerns_every_part_that_a_topic_has(knowledge):
    parts = {part for topic in knowledge.topics for part, _, _ in topic.items()}
    assert parts == set(PARTS)
    for part in parts:
        assert Rule("one", "Reason.", never="x").concerns(
            part, "balance", CLUB_FAMILIES, LEVELS, ()
        )


# What a rule says.


@given(st.text(min_size=1), st.text(), st.text())
def test_a_rule_never_finds_its_pattern_anywhere_in_a_text(pattern, before, after):
    rule = Rule("one", "Reason.", never=re.escape(pattern))
    assert rule.broken_by(before + pattern + after)
    assert not Rule(
        "one", "Reason.", never=re.escape(pattern), unless=re.escape(pattern)
    ).broken_by(before + pattern + after)
    assert not Rule("one", "Reason.", always=re.escape(pattern)).broken_by(before + pattern + after)


@pytest.mark.parametrize(
    ("fields", "text", "expected"),
    [
        ({"never": "nail"}, "A NAIL.", True),
        ({"never": "nail"}, "A hammer.", False),
        ({"never": "nail", "unless": "finger"}, "A fingernail.", False),
        ({"never": "nail", "unless": "finger"}, "A finger.", False),
        ({"never": "nail", "unless": "finger"}, "A toenail.", True),
        ({"always": "tends|often"}, "It Often slices.", False),
        ({"always": "tends|often"}, "It slices.", True),
        ({"together": ("heel", "middle")}, "The heel. The middle.", False),
    ],
)
def test_a_sentence_breaks_a_rule_by_what_it_has_or_lacks(fields, text, expected):
    assert Rule("one", "Reason.", **fields).broken_by(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The HEEL.\nThe middle.", True),
        ("The middle of the heel.", True),
        ("The heel.", False),
        ("The middle.", False),
    ],
)
def test_expressions_are_joined_only_where_all_of_them_occur(text, expected):
    assert Rule("one", "Reason.", together=("heel", "middle")).joined_in(text) is expected


def test_a_rule_for_sentences_joins_nothing():
    assert not Rule("one", "Reason.", never="heel").joined_in("The heel.")


ITEM = {
    "part": "steps",
    "area": "balance",
    "clubs": ("driver", "iron"),
    "levels": ("beginner", "advanced"),
    "faults": ("BF1",),
}


@pytest.mark.parametrize(
    ("fields", "item", "expected"),
    [
        ({}, {}, True),
        ({}, {"faults": (), "part": "small_dose"}, True),
        ({"parts": ("cue", "steps")}, {}, True),
        ({"parts": ("cue",)}, {}, False),
        ({"areas": ("balance", "followthrough")}, {}, True),
        ({"areas": ("followthrough",)}, {}, False),
        # An item for some of the rule's levels is read by them.
        ({"levels": ("intermediate", "advanced")}, {}, True),
        ({"levels": ("intermediate",)}, {}, False),
        # A rule is lifted only where an item is for no other club.
        ({"only_clubs": ("driver",)}, {}, True),
        ({"only_clubs": ("driver",)}, {"clubs": ("driver",)}, False),
        ({"only_clubs": ("driver", "wood")}, {"clubs": ("driver",)}, False),
        ({"only_clubs": ("driver",)}, {"clubs": ("iron",)}, True),
        ({"only_faults": ("BF1", "BF2")}, {}, False),
        ({"only_faults": ("BF2",)}, {}, True),
        ({"only_faults": ("BF2",)}, {"faults": ()}, True),
        # What weighs two faults may say what is right for one of them.
        ({"only_faults": ("BF2",)}, {"faults": ("BF1", "BF2")}, False),
    ],
)
def test_a_rule_concerns_the_items_that_its_fields_leave(fields, item, expected):
    assert Rule("one", "Reason.", never="x", **fields).concerns(**ITEM | item) is expected


def test_contradictions_name_the_rules_that_a_sentence_breaks_as_one_of_a_part():
    rules = (
        Rule("nails", "Reason.", never="nail"),
        Rule("heads", "Reason.", never="head", unless="free head", parts=("cue",)),
        # What depends on the golfer, the fault, on other sentences or on a hedge can not be judged by the sentence alone.
        Rule("hips", "Reason.", never="head", only_faults=("RF2",)),
        Rule("tees", "Reason.", never="head", only_clubs=("driver",)),
        Rule("turns", "Reason.", never="head", areas=("balance",)),
        Rule("novices", "Reason.", never="head", levels=("beginner",)),
        Rule("hedges", "Reason.", always="tends"),
        Rule("pairs", "Reason.", together=("nail", "head")),
    )
    assert contradictions(rules, "Nail the head down.", "cue") == ["nails", "heads"]
    assert contradictions(rules, "Nail the head down.") == ["nails"]
    assert contradictions(rules, "Have a free head.", "cue") == []
    assert contradictions((), "Nail the head down.") == []


# The file.


def write_rules(folder: Path, text: str) -> Path:
    path = folder / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_rule_is_read_with_all_its_fields(tmp_path):
    path = write_rules(
        tmp_path,
        "- {id: one, says: A reason., never: 'na[il]', unless: not, parts: [cue], areas: [balance], levels: [beginner], "
        "only_clubs: [driver], only_faults: [BF1]}\n- {id: two, says: Größe., always: often}\n- {id: three, says: Why., together: [a, b]}",
    )
    one = Rule(
        "one", "A reason.", never="na[il]", unless="not", parts=("cue",), areas=("balance",), levels=("beginner",),
        only_clubs=("driver",), only_faults=("BF1",),
    )  # fmt: skip
    assert load_rules(path) == (
        one,
        Rule("two", "Größe.", always="often"),
        Rule("three", "Why.", together=("a", "b")),
    )
    assert load_rules(str(path))[1].parts == PARTS


def test_a_list_without_rules_is_allowed(tmp_path):
    assert load_rules(write_rules(tmp_path, "[]")) == ()


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "rules.yaml"))):
        load_rules(tmp_path / "rules.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {id: one", "line 1"),
        ("- id: one: two", "line 1"),
        ("- &one {id: one, says: Why., never: x}\n- *one", "alias[^$]*line 2"),
        ("- id: one\n  says: Why.\n  never: x\n  says: Whatever.", "'says'[^$]*line 2"),
        ("- {? [id] : one}", "no text"),
        ("[" * 3000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused_with_what_is_wrong(tmp_path, text, problem):
    with pytest.raises(RuleError, match=f"not valid YAML[^$]*{problem}"):
        load_rules(write_rules(tmp_path, text))


@pytest.mark.parametrize("call", ["apply:os.mkdir", "new:os.mkdir"])
def test_yaml_that_would_run_python_is_refused_and_runs_nothing(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuleError):
        load_rules(write_rules(tmp_path, f"- !!python/object/{call} [made]"))
    assert not (tmp_path / "made").exists()


def test_the_fields_of_a_rule_are_texts_whatever_they_look_like(tmp_path):
    path = write_rules(
        tmp_path,
        "- {id: 7, says: yes, never: 2024-02-30}\n- {id: two, says: !!bool x, together: [7, null]}",
    )
    assert load_rules(path) == (
        Rule("7", "yes", never="2024-02-30"),
        Rule("two", "x", together=("7", "null")),
    )


def test_a_file_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "rules.yaml").write_bytes("- {id: one, says: Größe, never: x}".encode("latin-1"))
    with pytest.raises(RuleError, match="UTF-8"):
        load_rules(tmp_path / "rules.yaml")


@pytest.mark.parametrize("text", ["", "id: one", "one", "7"])
def test_a_file_that_is_no_list_is_refused(tmp_path, text):
    with pytest.raises(RuleError, match="expected a list"):
        load_rules(write_rules(tmp_path, text))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("one", "needs `id`"),
        ("[id, says, never]", "needs `id`"),
        ("{says: Why., never: x}", "needs `id`"),
        ("{id: two, never: x}", "needs `id`"),
        ("{id: two, says: Why.}", "needs `id`"),
        ("{id: two, says: Why., unless: x}", "needs `id`"),
        ("{id: two, says: Why., never: x, part: [cue]}", "'part'"),
        ("{id: two, says: Why., never: x, 7: y}", "'7'"),
        ("{id: two, says: Why., never: [x]}", "'never'"),
        ("{id: [7], says: Why., never: x}", "'id'"),
        ("{id: '', says: Why., never: x}", "'id'"),
        ("{id: two, says: , never: x}", "'says'"),
        ("{id: two, says: Why., never: ''}", "'never'"),
        ("{id: two, says: Why., together: [x, '']}", "'together'"),
        ("{id: two, says: Why., together: [x, [y]]}", "'together'"),
        ("{id: two, says: Why., never: x, parts: [[cue]]}", "'parts'"),
        ("{id: two, says: Why., never: x, only_faults: ['']}", "'only_faults'"),
        ("{id: one, says: Why., never: x}", "one is used twice"),
        ("{id: two, says: Why., together: x}", "'together'"),
        ("{id: two, says: Why., never: x, parts: cue}", "'parts'"),
        (
            "{id: two, says: Why., never: x, parts: [cue, cues]}",
            "parts has the unknown value 'cues'",
        ),
        ("{id: two, says: Why., never: x, areas: [setup]}", "areas has the unknown value 'setup'"),
        (
            "{id: two, says: Why., never: x, levels: [beginner, expert]}",
            "levels has the unknown value 'expert'",
        ),
        (
            "{id: two, says: Why., never: x, only_clubs: [chipper]}",
            "only_clubs has the unknown value 'chipper'",
        ),
        ("{id: two, says: Why., never: '(x'}", "'(x'"),
        ("{id: two, says: Why., never: x, unless: '*'}", "'*'"),
        ("{id: two, says: Why., always: '[x'}", "'[x'"),
        ("{id: two, says: Why., never: 'a{99999999999}'}", "'a{99999999999}'"),
        ("{id: two, says: Why., together: [x, '(x']}", "'(x'"),
    ],
)
def test_an_entry_that_is_no_rule_is_refused_with_its_place_in_the_list(tmp_path, entry, problem):
    path = write_rules(tmp_path, f"- {{id: one, says: Why., never: x}}\n- {entry}\n")
    with pytest.raises(RuleError, match=re.escape(problem)) as caught:
        load_rules(path)
    assert str(caught.value).startswith(f"{path}: rule 2")
