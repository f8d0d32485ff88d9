"""The notebooks as committed: nbval compares what is marked, what was trained serves, the panel is used in JupyterLab.

Trains `tiny` with its defaults, which takes minutes.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from PIL import Image
from processes import REPOSITORY, run

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def committed_run(tmp_path_factory):
    """The committed notebooks with their defaults, compared by nbval where they are marked."""
    root = tmp_path_factory.mktemp("committed")
    options = [
        "--nbval-lax",
        "--nbval-current-env",
        "-q",
        "-p",
        "no:cacheprovider",
        "--override-ini",
        "addopts=",
    ]
    return root, run("-m", "pytest", *options, *map(str, NOTEBOOKS), root=root, check=False)


def test_the_committed_notebooks_run_and_their_marked_outputs_are_reproduced(committed_run):
    _, result = committed_run
    assert result.returncode == 0, result.stdout[-6000:]


def test_tiny_serves(committed_run):
    """Steered every answer is right, on topics that were never taught, too; alone it has learnt the form, and not yet to spell.

    README and benchmarks/results/ hold what was measured; the thresholds here leave room for other CPUs' rounding.
    """
    root, _ = committed_run
    metrics = json.loads(
        (root / "experimental/golf_feedback_evaluation/tiny/metrics.json").read_text(
            encoding="utf-8"
        )
    )
    systems = metrics["strata"]["test"]["systems"]
    tuned, base = (
        {name: figure["value"] for name, figure in systems[name].items()}
        for name in ("fine-tuned", "base")
    )
    assert tuned["headings"] >= 0.95
    assert tuned["area"] >= 0.70
    assert base["headings"] == 0.0
    # Of two thousand tokens some ten are left to choose from.
    assert tuned["perplexity"] < 12 < base["perplexity"]
    assert systems["template"]["verified"]["value"] == 1.0
    for stratum in metrics["strata"].values():
        assert stratum["n_groups"] >= 60
        assert stratum["systems"]["steered"]["verified"]["value"] == 1.0


CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)


@pytest.fixture
def jupyterlab(committed_run, tmp_path):
    """The address of a JupyterLab of its own, in which notebook 04 lies, with the model and the data of the committed run."""
    notebook = nbformat.read(NOTEBOOKS[3], as_version=4)
    (parameters,) = (
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    )
    parameters.source += "\nn_records = 4\nmax_new_tokens = 300"
    nbformat.write(notebook, tmp_path / "04.ipynb")
    # Every cell is in the page, and not only those in view.
    settings = tmp_path / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    hidden = ("GOLF_HEADLESS", "CI", "PYTEST_CURRENT_TEST")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {
        "GOLF_OUTPUT_ROOT": str(committed_run[0]),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        # Nobody's own layout of the window.
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
    }
    options = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.port_retries=50",
        "--IdentityProvider.token=golf",
    ]
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={tmp_path}"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        said = []
        for line in server.stderr:
            said.append(line)
            if found := re.search(r"http://127[.]0[.]0[.]1:\d+/", line):
                break
        else:
            raise AssertionError("JupyterLab did not start:\n" + "".join(said))
        # Somebody has to read what the server goes on to say, or it waits for a reader.
        threading.Thread(target=server.stderr.read, daemon=True).start()
        yield found[0] + "lab/tree/04.ipynb?token=golf"
        server.terminate()


WORDS = "I never get off my back foot. I try to scoop the ball up and hit it fat."


# Keeps what the cards show at each moment of the writing, which is over sooner than one looks.
WATCH = """panel => {
  const cards = panel.querySelector(".golf-verdict").parentElement, seen = window.golfSeen = [];
  new MutationObserver(() => seen.push(cards.innerHTML)).observe(cards, { childList: true });
}"""
SHOW = "(panel, html) => panel.querySelector('.golf-verdict').parentElement.innerHTML = html"


class Film:
    """What the panel looks like from moment to moment, if GOLF_SCREENSHOT names a PNG to write.

    The last picture is that PNG; a WebP beside it shows them all in motion, the writing slowly.
    """

    def __init__(self, panel):
        self.panel, self.path, self.frames = panel, os.environ.get("GOLF_SCREENSHOT"), []

    def shoot(self, seconds):
        """Add a picture that is shown for so long."""
        if self.path:
            self.frames.append((self.panel.screenshot(animations="disabled"), int(1000 * seconds)))

    def save(self):
        if not self.path:
            return
        Path(self.path).write_bytes(self.frames[-1][0])
        pictures = [Image.open(io.BytesIO(shot)).convert("RGB") for shot, _ in self.frames]
        size = [max(picture.size[axis] for picture in pictures) for axis in (0, 1)]
        # The panel grows with the answer; the film does not.
        sheets = [Image.new("RGB", size, "white") for _ in pictures]
        for sheet, picture in zip(sheets, pictures, strict=True):
            sheet.paste(picture)
        durations = [duration for _, duration in self.frames]
        target = Path(self.path).with_suffix(".webp")
        options = {"save_all": True, "loop": 0, "quality": 70, "method": 6}
        sheets[0].save(target, append_images=sheets[1:], duration=durations, **options)


@pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium to open JupyterLab with; `make chromium` installs Debian's",
)
def test_somebody_in_jupyterlab_gets_feedback_and_says_what_they_think_of_it(
    jupyterlab, committed_run
):
    from playwright.sync_api import expect, sync_playwright

    kept = committed_run[0] / "experimental" / "user_feedback" / "feedback.jsonl"
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.goto(jupyterlab)
        # Before the kernel is there, "Run All Cells" runs nothing.
        expect(page.get_by_text("| Idle")).to_be_visible(timeout=180_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        button = page.get_by_role("button", name="Coach me")
        expect(button).to_be_enabled(timeout=600_000)
        film = Film(page.locator(".golf-panel"))
        # By the keyboard alone.
        words = page.get_by_label("What happens, in your own words")
        words.fill("")
        film.shoot(1)
        for word in re.findall(r"\S+\s*", WORDS):
            words.press_sequentially(word)
            film.shoot(0.15)
        slider = page.locator(".widget-slider").filter(has=page.get_by_text("balance", exact=True))
        # In ipywidgets 7 a handle has no role.
        slider = slider.get_by_role("slider").or_(slider.locator(".ui-slider-handle"))
        slider.focus()
        slider.press("ArrowRight")
        film.panel.evaluate(WATCH)
        button.press("Enter")
        # A draft has cards too; its sentences have no origin yet.
        origin = page.locator(".golf-origin")
        expect(origin.first).to_have_attribute(
            "aria-description", re.compile(r"[.]md:\d+"), timeout=120_000
        )
        expect(page.locator(".golf-card")).to_have_count(3)
        drafts = page.evaluate("golfSeen.splice(0)")
        assert len(drafts) > 1, "the answer came at once"
        for html in drafts:
            film.panel.evaluate(SHOW, html)
            film.shoot(0.25)
        film.shoot(3)
        # A sentence that has the focus shows the entry of the knowledge base that it is.
        known = page.locator('.golf-origin[aria-description*=".md:"]').nth(1)
        known.focus()
        source = known.evaluate("it => getComputedStyle(it, '::after').content")
        assert source == f'"{known.get_attribute("aria-description")}"'
        film.shoot(3)
        film.save()
        page.get_by_role("button", name=re.compile("Helpful")).press("Enter")
        expect(page.locator(".golf-panel").get_by_text("Kept in")).to_be_visible(timeout=60_000)
    (line,) = kept.read_text(encoding="utf-8").splitlines()
    line = json.loads(line)
    assert line["thumb"] == "up"
    assert f"Observation: {WORDS}" in line["input"]
