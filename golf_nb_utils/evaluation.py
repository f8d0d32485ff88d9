"""Judge answers by rules that need no model: structure, area, scores; perplexity; and the report."""

import html
import json
import math
import re
from pathlib import Path

import tiktoken
import torch
from matplotlib.figure import Figure

from golf_nb_utils.artifacts import write_text
from golf_nb_utils.config import AREAS
from golf_nb_utils.dataset import InstructionDataset, collate
from golf_nb_utils.grounding import Entry, Grounding, ground
from golf_nb_utils.model import GPTModel
from golf_nb_utils.pages import page, picture
from golf_nb_utils.phrases import percent
from golf_nb_utils.prompts import FeedbackFormatError, parse_feedback

CHECKS = {
    "headings": "all three headed parts, in order",
    "area": "names the right area first",
    "current_score": "states the current score as given",
    "target_score": "states the target score as given",
}


def check_answer(answer: str, record: dict) -> dict[str, bool]:
    """Judge one answer by the rules of CHECKS, against the record's own area and scores.

    The current score is the first percentage of WHAT IS HAPPENING. The target is the second one there, and any
    percentage of WHAT SHOULD HAPPEN has to be the target as well. Without the three headed parts every check fails.
    """
    try:
        parts = parse_feedback(answer)
    except FeedbackFormatError:
        return dict.fromkeys(CHECKS, False)
    meta = record["meta"]
    happening = parts["what_is_happening"]
    stated = _percentages(happening)
    ideal = _percentages(parts["what_should_happen"])
    target = percent(meta["target_score"])
    return {
        "headings": True,
        "area": _first_area(happening) == meta["area"],
        "current_score": stated[:1] == [percent(meta["current_score"])],
        "target_score": stated[1:2] == [target] and all(value == target for value in ideal),
    }


def ground_answer(answer: str, record: dict, index: dict[str, Entry]) -> Grounding:
    """Return which sentences and numbers of an answer are grounded, and in what; see grounding.ground and build_index."""
    return ground(answer, record["input"], index)


def _percentages(text: str) -> list[str]:
    return re.findall(r"\d+(?:\.\d+)?%", text)


def _first_area(text: str) -> str | None:
    found = {key: re.search(rf"\b{re.escape(area.label)}\b", text, re.IGNORECASE) for key, area in AREAS.items()}
    named = {key: match.start() for key, match in found.items() if match}
    return min(named, key=named.get) if named else None


def summarise(answers: list[str], records: list[dict]) -> dict[str, float]:
    """Return the share of answers, 0..1, that pass each check."""
    verdicts = [check_answer(answer, record) for answer, record in zip(answers, records, strict=True)]
    return {name: sum(verdict[name] for verdict in verdicts) / len(verdicts) for name in CHECKS}


def response_perplexity(
    model: GPTModel, tokenizer: tiktoken.Encoding, records: list[dict], device: torch.device, batch_size: int = 16
) -> float:
    """Return exp(mean cross-entropy) over the tokens of the reference answers, given their prompts."""
    dataset = InstructionDataset(records, tokenizer, model.config.n_ctx)
    examples = sorted(dataset, key=lambda example: len(example[0]))
    total, count = 0.0, 0
    for start in range(0, len(examples), batch_size):
        input_ids, targets = collate(examples[start : start + batch_size], tokenizer.eot_token, "response")
        with torch.inference_mode():
            loss, n_tokens = model.loss_sum(input_ids.to(device), targets.to(device))
        total, count = total + loss.item(), count + int(n_tokens)
    return math.exp(total / count)


def write_predictions(path: Path, records: list[dict], answers: dict[str, list[str]]) -> Path:
    """Write one JSON line a record: its input, the reference, and each system's answer with its verdicts."""
    lines = []
    for index, record in enumerate(records):
        systems = {name: {"answer": texts[index], "checks": check_answer(texts[index], record)} for name, texts in answers.items()}
        lines.append(json.dumps({"input": record["input"], "reference": record["output"], "systems": systems}, ensure_ascii=False))
    return write_text(path, "\n".join(lines) + "\n")


def write_report(
    path: Path, title: str, summary: str, metrics: dict[str, dict[str, float]], figures: dict[str, Figure], shown: list[dict]
) -> Path:
    """Write one self-contained HTML page.

    `metrics` is {system: {check: share, "perplexity": value}}; `shown` holds {"record": record, "answers": {system: text}}.
    """

    def cell(name: str, values: dict[str, float]) -> str:
        if name not in values:
            return "-"
        return f"{values[name]:,.2f}" if name == "perplexity" else f"{values[name]:.0%}"

    labels = {**CHECKS, "perplexity": "response perplexity (lower is better)"}
    rows = "".join(
        f"<tr><td>{html.escape(label)}</td>"
        + "".join(f'<td class="number">{cell(name, values)}</td>' for values in metrics.values())
        + "</tr>"
        for name, label in labels.items()
    )
    header = "".join(f"<th>{html.escape(name)}</th>" for name in metrics)
    images = "".join(picture(name, figure) for name, figure in figures.items())
    answers = "".join(_answers_html(entry) for entry in shown)
    body = f"<table><tr><th>check</th>{header}</tr>{rows}</table>\n{images}\n<h2>Answers side by side</h2>{answers}"
    return write_text(path, page(title, summary, body))


def _answers_html(entry: dict) -> str:
    columns = [f"<div><h4>input</h4><pre>{html.escape(entry['record']['input'])}</pre></div>"]
    for name, text in {**entry["answers"], "reference": entry["record"]["output"]}.items():
        failed = [check for check, passed in check_answer(text, entry["record"]).items() if not passed]
        verdict = f'<p class="fail">fails: {", ".join(failed)}</p>' if failed else ""
        columns.append(f"<div><h4>{html.escape(name)}</h4>{verdict}<pre>{html.escape(text.strip() or '(nothing but blanks)')}</pre></div>")
    return f'<div class="answers">{"".join(columns)}</div><hr>'
