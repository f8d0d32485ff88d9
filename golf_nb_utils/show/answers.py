"""Answers that show what they are made of: forced and chosen tokens, known and unknown sentences,
what each check notices, where a model looks for a number.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import tiktoken
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from golf_nb_utils.evaluation.copying import PLACES
from golf_nb_utils.golf.answer import elsewhere_slots
from golf_nb_utils.golf.checks import CHECKS, Verifier
from golf_nb_utils.golf.sentences import Span
from golf_nb_utils.golf.wording import SAY_BY_ID
from golf_nb_utils.gpt2.steering import Choice
from golf_nb_utils.show.plots import GREEN, RUST

# Read on white, with a contrast of 4.5 or more.
_INK, _FORCED = "#1d2b24", "#6a737a"
_LOOKS = {  # of a choice by its share; the lines tell the classes apart without their colours
    "sure (90 % and more)": (0.9, {"fc": "#cfe6d8", "ec": GREEN, "linewidth": 0.8}),
    "leaning (60 to 90 %)": (0.6, {"fc": "#f6e3b5", "ec": "#8a6100", "linestyle": "--"}),
    "torn (below 60 %)": (0.0, {"fc": "#f5cdbd", "ec": RUST, "linewidth": 2.0}),
}
COPIES_FROM = 0.5
"""A head that gives one number half of its attention passes on little else."""
_MARK = "background: #fbd9cc; color: #7a1f05; text-decoration: underline wavy #b4532a"
_SIDE = r"(?: \\((?:left|right)\\))?"


def marked(text: str, verifier: Verifier, request: str) -> str:
    """Return a text as HTML, each sentence that the knowledge base does not have in red.

    Behind it stands the entry that comes closest (character-3-gram Jaccard similarity). Each other
    sentence shows on hover which entry it is. `request` is the input that the text answers.
    """
    asked = verifier.request(request)
    fault = verifier.book.fault_of(asked)
    slots = asked.slots | (elsewhere_slots(fault) if fault else {})
    parts, end = [], 0
    for span in verifier.verify(text, request, nearest=True).sentences:
        # The verifier reads "lead (left) foot" as "lead foot".
        pattern = re.sub(r"\b(lead|trail)\b", rf"\1{_SIDE}", re.escape(span.text))
        found = re.compile(pattern).search(text, end)
        if found:
            parts += [escape(text[end : found.start()]), _sentence(found[0], span, verifier, slots)]
            end = found.end()
    shown = "".join([*parts, escape(text[end:])]).strip() or "(nothing but blanks)"
    style = "white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.5; max-width: 44em"
    return f'<div style="{style}">{shown}</div>'


def _sentence(shown: str, span: Span, verifier: Verifier, slots: dict[str, str]) -> str:
    text = escape(shown)
    if span.origin:
        return f'<span title="{escape(span.origin)}">{text}</span>'
    close = "nothing comes near"
    if span.nearest:
        entry = verifier.index.get(span.nearest)
        said = entry.right if entry else SAY_BY_ID[span.nearest].format_map(slots)
        close = f"nearest, {span.similarity:.0%} alike: \u201c{said}\u201d ({span.nearest})"
    return f'<mark style="{_MARK}">&#10007; {text}</mark> <small>[{escape(close)}]</small>'


def plot_choices(tokens: Sequence[str], choices: Sequence[Choice], n_columns: int = 44) -> Figure:
    """Return an answer with the tokens that a steered model chose lit, and the forced ones grey.

    `tokens` are the texts of Steered.tokens, `choices` are Steered.choices.
    """
    lines = _wrapped("".join(tokens), n_columns)
    size, height = 9.5, 0.19
    figure = Figure(
        figsize=(n_columns * 0.602 * size / 72 + 0.2, height * len(lines) + 0.2), dpi=110
    )
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.8, n_columns + 0.8), ylim=(len(lines) - 0.2, -0.8))
    axis.set_axis_off()
    share_of = {choice.place: choice.shares[choice.taken] for choice in choices}
    look = {"family": "monospace", "fontsize": size, "va": "center", "ha": "left"}
    start, label_of = 0, dict.fromkeys(share_of, "")
    for place, token in enumerate(tokens):
        share = share_of.get(place)
        for row, column, piece in _pieces(lines, start, start + len(token)):
            lit = {"color": _FORCED}
            if share is not None:
                label_of[place], box = next(
                    (label, box) for label, (least, box) in _LOOKS.items() if share >= least
                )
                lit = {"color": _INK, "weight": "bold"}
                lit["bbox"] = {"boxstyle": "round,pad=0.15", **box}
            text = piece.lstrip()
            axis.text(column + len(piece) - len(text), row, text, **lit, **look)
        start += len(token)
    n_chosen = sum(choice.place < len(tokens) for choice in choices)
    title = f"The model chose {n_chosen} of {len(tokens)} tokens"
    counts = Counter(label_of.values())
    marks = [Patch(label=f"{name}: {counts[name]}", **box) for name, (_, box) in _LOOKS.items()]
    figure.suptitle(title, x=0.02, ha="left", va="bottom", y=1.01, weight="bold")
    figure.legend(handles=marks, loc="upper left", bbox_to_anchor=(0, 0), ncols=1, frameon=False)
    figure.set_label(
        f"{title}. The answer, with forced tokens in grey and chosen ones in boxes: "
        + "".join(tokens).replace("\n", " ")
    )
    return figure


def listed(choices: Sequence[Choice], tokenizer: tiktoken.Encoding) -> str:
    """Return a row for each choice as HTML: what was taken and what else could have followed.

    `alone` is the share of the model's probability on all of that, before it was held to it.
    """
    rows = [("alone", "what the model took", "what else could have followed")]
    for choice in choices:
        texts = (tokenizer.decode(list(option)).strip() or "(end)" for option in choice.options)
        told = [f"{share:.0%} {text}" for share, text in zip(choice.shares, texts, strict=True)]
        taken = told.pop(choice.taken)
        rows.append((f"{choice.legal_mass:.0%}", taken, " / ".join(told)))
    style = 'style="text-align: left; vertical-align: top; white-space: normal"'
    lines = ("".join(f"<td {style}>{escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _wrapped(text: str, n_columns: int) -> list[tuple[int, str]]:
    """The lines of a text, each with the place of its first character."""
    lines, start = [], 0
    for line in text.split("\n"):
        place = start
        while len(line) > n_columns:
            cut = line.rfind(" ", 0, n_columns + 1) + 1 or n_columns
            lines.append((place, line[:cut]))
            place, line = place + cut, line[cut:]
        lines.append((place, line))
        start += len(text[start:].split("\n", 1)[0]) + 1
    return lines


def _pieces(lines: list[tuple[int, str]], start: int, end: int) -> list[tuple[int, int, str]]:
    """Where the characters from `start` to `end` stand: (row, column, text)."""
    found = []
    for row, (place, line) in enumerate(lines):
        first, last = max(start, place), min(end, place + len(line))
        if first < last and line[first - place : last - place].strip():
            found.append((row, first - place, line[first - place : last - place]))
    return found


def plot_noticed(noticed: Mapping[str, Sequence[str]]) -> Figure:
    """Return which checks notice which edit of a right answer, {edit: names of failed checks}."""
    figure = Figure(figsize=(5.4, 5.0), dpi=110, layout="constrained")
    axis = figure.subplots()
    checks = list(CHECKS)
    for column, failed in enumerate(noticed.values()):
        rows = [checks.index(name) for name in failed]
        axis.plot([column] * len(rows), rows, "X", color=RUST, markersize=11)
    look = {"fontsize": 10, "rotation": 55, "ha": "right", "rotation_mode": "anchor"}
    axis.set_xticks(range(len(noticed)), list(noticed), **look)
    axis.set_yticks(range(len(checks)), [name.replace("_", " ") for name in checks], fontsize=11)
    axis.set(xlim=(-0.5, len(noticed) - 0.5), ylim=(len(checks) - 0.5, -0.5))
    axis.set_xlabel("what was edited", fontsize=11)
    axis.set_ylabel("check that fails (✕)", fontsize=11)
    axis.set_xticks([place + 0.5 for place in range(len(noticed))], minor=True)
    axis.set_yticks([place + 0.5 for place in range(len(checks))], minor=True)
    axis.grid(which="minor", color="#dfe6e2")
    axis.tick_params(which="both", length=0)
    axis.spines[:].set_visible(False)
    counts = [len(failed) for failed in noticed.values()]
    n_noticed = sum(count > 0 for count in counts)
    title = (
        f"{n_noticed} of {len(counts)} edits are noticed, by {min(counts)} to {max(counts)} checks"
    )
    figure.suptitle(textwrap.fill(title, 44), x=0.02, ha="left", fontsize=12, weight="bold")
    rows = "; ".join(f"{edit}: {', '.join(failed) or 'none'}" for edit, failed in noticed.items())
    figure.set_label(f"{title}. {rows}.")
    return figure


def plot_attention(shares: torch.Tensor, most: int = 8) -> Figure:
    """Return what the heads attend to where the current score is due.

    `shares`, (layers, heads, len(copying.PLACES)), sum to 1. Of many heads the `most` that look at
    the score hardest are drawn.
    """
    n_heads = shares.shape[1]
    flat = shares.flatten(0, 1)
    order = flat[:, 0].argsort(descending=True)[:most].tolist()
    names = [f"layer {head // n_heads + 1}, head {head % n_heads + 1}" for head in order]
    figure = Figure(figsize=(5.4, 0.36 * len(order) + 2), dpi=110, layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right", "left"]].set_visible(False)
    colours, hatches = (RUST, "#f6e3b5", "#dfe6e2", "#a9c9b7"), ("", "//", "", "..")
    left = [0.0] * len(order)
    for place, (name, colour, hatch) in enumerate(zip(PLACES, colours, hatches, strict=True)):
        widths = flat[order, place].tolist()
        look = {"color": colour, "hatch": hatch, "edgecolor": "#33404a", "linewidth": 0.6}
        axis.barh(names, widths, left=left, label=name, **look)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axis.invert_yaxis()
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axis.tick_params(axis="y", length=0, labelsize=11)
    axis.set_xlabel("share of the attention where the score is due", fontsize=11)
    best = float(flat[order[0], 0])
    if best >= COPIES_FROM:
        title = f"A head copies the score: {names[0]} gives it {best:.0%} of its attention"
    else:
        title = f"No head looks at the score: the best gives it {best:.1%} of its attention"
    figure.suptitle(textwrap.fill(title, 46), x=0.02, ha="left", fontsize=12, weight="bold")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    rows = "; ".join(f"{name} {flat[head, 0]:.1%}" for name, head in zip(names, order, strict=True))
    figure.set_label(f"{title}. On the score: {rows}.")
    return figure
