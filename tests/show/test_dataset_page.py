"""What a browser would see of dataset_report.html."""

from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from golf_nb_utils.golf.dataset import REPORTED
from golf_nb_utils.golf.diversity import measure_diversity
from golf_nb_utils.show.dataset_page import write_dataset_page


@pytest.fixture
def told():
    """The content of dataset_report.json, as far as the page shows it."""
    return {
        "records": {"train": 12_345, "val": 777, "test": 666, "unseen": 555},
        "unseen_topics": ["free_hips", "grip"],
        "names": {"free_hips": "Hips that can turn", "grip": "Grip", "BF1": "Heels that lift"},
        **{name: {"none": 40, "other": 7} for name in REPORTED},
        "fault": {"BF1": 3, "none": 40},
        "area": {"weight_shift": 47},
        "handedness": {"left": 71, "right": 349},
        "severity": {"slight": 98, "none": 35},
        "diversity": measure_diversity(["Turn.", "Step."])
        | {"commonest_answer_skeleton": 0.0456, "mean_pairwise_jaccard": 0.371},
        "leakage": {
            "val": {"exact": 8, "near": 0.025, "nearest": 0.512},
            "test": {"exact": 7, "near": 0.0132, "nearest": 0.433},
            "unseen": {"exact": 9, "near": 0.0, "nearest": 0.25},
        },
    }


class Page(HTMLParser):
    """The rows of a page's tables, its headings, and the addresses a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.addresses, self.text, self.in_cell = [], [], [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        self.in_cell = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self.in_cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.in_cell = False

    def handle_data(self, data):
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data


def test_the_page_shows_the_figures_the_pictures_and_an_answer_with_its_sources(told, tmp_path):
    figure = Figure()
    figure.subplots().plot([0, 1])
    markup = "<script>alert(1)</script> & more"
    path = write_dataset_page(
        tmp_path / "new" / "dataset_report.html",
        told,
        {"Scores": figure},
        [[markup, "grip.ideal.1", "PGA"]],
    )
    page = Page(path.read_text(encoding="utf-8"))
    for row in (
        ["train", "12,345"], ["unseen", "555"],
        ["val", "8", "2.5%", "0.51"], ["test", "7", "1.3%", "0.43"], ["unseen", "9", "0.0%", "0.25"],
        ["answers that are the commonest one, numbers aside", "0.0456"], ["mean likeness of two answers (character 3-grams)", "0.3710"],
        [markup, "grip.ideal.1", "PGA"],
        ["left", str(told["handedness"]["left"])], ["slight", str(told["severity"]["slight"])], ["none", str(told["fault"]["none"])],
    ):  # fmt: skip
        assert row in page.rows
    assert "14,343 records" in page.text
    assert "Hips that can turn, Grip" in page.text
    assert "Records by audience (2)" in page.text
    # Names, and no codes; the commonest first.
    place = page.rows.index(["fault", "records"])
    assert page.rows[place + 1 : place + 3] == [["none", "40"], ["Heels that lift", "3"]]
    assert ["weight shift", "47"] in page.rows
    assert "User feedback" not in page.text
    assert "script" not in page.tags
    assert [address[:22] for address in page.addresses] == ["data:image/png;base64,"]


def test_the_page_says_what_became_of_user_feedback(told, tmp_path):
    told["user_feedback"] = {"used": 3, "rejected": 2}
    page = Page(
        write_dataset_page(tmp_path / "page.html", told, {}, []).read_text(encoding="utf-8")
    )
    assert "User feedback" in page.text
    assert ["used", "3"] in page.rows
    assert ["rejected", "2"] in page.rows
