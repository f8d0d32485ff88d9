"""Texts on which two tokenizers may differ, as a strategy of hypothesis."""

from hypothesis import strategies as st

from golf_nb_utils.prompt import END_OF_TEXT

# Surrogates are no text; characters that this Python does not know yet may be letters to one library and not to another.
UNICODE = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cn")), max_size=40)
PIECES = st.sampled_from(
    [
        "don't",
        "I'LL",
        "we've",
        " ",
        "   ",
        "\n\n",
        "\t",
        "\u00a0",
        "0.45",
        "87.0%",
        "1234567",
        "½",
        END_OF_TEXT,
        " , .",
    ]
)
TEXTS = st.lists(UNICODE | PIECES | st.integers().map(str), max_size=8).map("".join)
