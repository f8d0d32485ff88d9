"""dataset_report.html: what notebook 01 made, on one page."""

from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from golf_nb_utils.evaluation.metrics import DIVERSITY
from golf_nb_utils.files import write_text
from golf_nb_utils.golf.areas import SCORE_LABELS
from golf_nb_utils.golf.dataset import REPORTED
from golf_nb_utils.html import folded, page, picture, table

_SUMMARY = (
    "each generated one is drawn from the grammar of right answers, so that every sentence comes "
    "from an entry of the knowledge base."
)
# On a phone the cells of a row stand below one another.
_STYLE = """<style>
.texts td { overflow-wrap: anywhere; }
@media (max-width: 40rem) { .texts tr { display: block; margin-bottom: .8rem; }
  .texts th { display: none; } .texts td { display: block; border-width: 0 0 0 3px; } }
</style>"""


def write_dataset_page(
    path: Path, report: dict, pictures: dict[str, Figure], shown: list[list]
) -> Path:
    """Write dataset_report.html, one self-contained page, and return `path`.

    `report` is the content of dataset_report.json, `pictures` is {heading: figure}, and `shown`
    holds the rows of one answer: sentence, id, sources.
    """
    sizes, names = report["records"], SCORE_LABELS | report["names"]
    unseen = escape(", ".join(names[topic] for topic in report["unseen_topics"]) or "none")
    parts = [
        _STYLE,
        table(["file", "records"], _rows(sizes)),
        *(picture(name, figure) for name, figure in pictures.items()),
        "<h2>What the training set gives away</h2>",
        _leakage(report["leakage"]),
        f"<p>Topics that only the file <i>unseen</i> is about: {unseen}.</p>",
        "<h2>How varied the answers are</h2>",
        _variety(report["diversity"]),
        "<h2>One answer, sentence by sentence</h2>",
        f'<div class="texts">{table(["sentence", "item", "sources"], shown)}</div>',
        "<h2>What the records are about</h2>",
        # A chain has no name; what it is about, the fault above it says.
        *(_counts(name, report[name], names) for name in REPORTED if name != "chain"),
    ]
    if "user_feedback" in report:
        told = table(["lines", "count"], _rows(report["user_feedback"]))
        parts.append(f"<h2>User feedback</h2>{told}")
    summary = f"{sum(sizes.values()):,} records; {_SUMMARY}"
    return write_text(path, page("Golf swing feedback: the data", summary, "\n".join(parts)))


def _counts(name: str, counts: dict[str, int], names: dict[str, str]) -> str:
    """The records by what they have under a key of meta, folded, the most frequent first."""
    most_first = sorted(counts.items(), key=lambda each: -each[1])
    rows = [[names.get(value, value.replace("_", " ")), count] for value, count in most_first]
    return folded(f"Records by {name} ({len(rows)})", table([name, "records"], rows))


def _leakage(leaks: dict[str, dict]) -> str:
    head = ["set", "answers found in train", "near duplicates"]
    rows = [
        [split, found["exact"], f"{found['near']:.1%}", f"{found['nearest']:.2f}"]
        for split, found in leaks.items()
    ]
    return table([*head, "mean similarity to the nearest"], rows)


def _variety(diversity: dict[str, float]) -> str:
    rows = [[DIVERSITY[name].label, f"{value:.4f}"] for name, value in diversity.items()]
    return table(["measure", "value"], rows)


def _rows(counts: dict[str, int]) -> list[list]:
    return [[name, count] for name, count in counts.items()]
