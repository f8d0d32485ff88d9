"""The page for a phone, in a real browser, against a server whose model is small and random."""

import contextlib
import json
import shutil
import socket
import threading
from datetime import UTC, datetime

import pytest

from golf_nb_utils.coach.generators import FineTunedGolfFeedbackGenerator
from golf_nb_utils.coach.protocol import Model
from golf_nb_utils.coach.server import PAGE, Serving, make_app, uvicorn_server
from golf_nb_utils.golf.areas import AREAS, CLUBS, HANDEDNESS, LEVELS, SCORE_LABELS
from golf_nb_utils.prompt import HEADINGS
from golf_nb_utils.settings import GPTConfig, SampleConfig

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium to open the page with; `make chromium` installs Debian's"
)
WORDS = "My heels lift <b>before</b> I hit it"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1400, "height": 900}
# By WCAG 2.2: the contrast of each text with the nearest background that is painted behind it.
CONTRASTS = """() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (css) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = css;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const light = (css) => {
    const [r, g, b] = rgb(css).map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const css = getComputedStyle(node).backgroundColor;
    return rgb(css)[3] ? css : behind(node.parentElement);
  };
  const texts = [...document.querySelectorAll("main *")].filter((node) =>
    node.checkVisibility() && [...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim()));
  return texts.map((node) => {
    const [one, two] = [light(getComputedStyle(node).color), light(behind(node))];
    return [(Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05), node.textContent];
  });
}"""


@pytest.fixture(scope="module")
def serving(knowledge, reader, random_model, byte_tokenizer, tmp_path_factory):
    shape = GPTConfig(n_vocab=257, n_ctx=4096, n_embd=16, n_head=2, n_layer=1)
    coach = FineTunedGolfFeedbackGenerator(
        random_model(shape, seed=1), byte_tokenizer, SampleConfig(model_size="tiny"), knowledge
    )
    coach._reader = reader
    model = Model(("gpt2-tiny-golf-feedback",), 1, "0" * 64, shape, datetime.now(UTC))
    return Serving(model, coach, tmp_path_factory.mktemp("serving") / "feedback.jsonl")


@pytest.fixture(scope="module")
def url(serving):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn_server(make_app(serving))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(60)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        yield browser


@pytest.fixture
def opened(browser, url):
    """A function that opens the page; what it asks for is noted, and no script of it may fail."""
    with contextlib.ExitStack() as stack:

        def opened(viewport=PHONE, scheme="light", reply=None):
            page = stack.enter_context(
                contextlib.closing(browser.new_page(viewport=viewport, color_scheme=scheme))
            )
            page.asked, page.failed = [], []
            page.on("request", lambda request: page.asked.append(request.url))
            page.on("pageerror", lambda error: page.failed.append(str(error)))
            if reply:
                page.route("**/feedback", reply)
            page.goto(f"{url}/coach")
            return page

        yield opened


def coached(page):
    """Ask by the keyboard alone, and wait for the answer."""
    words = page.get_by_label("In your own words")
    words.focus()
    page.keyboard.type(WORDS)
    page.get_by_role("radio", name="weight shift").press("ArrowRight")
    page.get_by_role("button", name="Coach me").press("Enter")
    page.get_by_role("button", name="Helpful", exact=True).wait_for()
    return page


def test_somebody_asks_by_the_keyboard_reads_three_cards_and_leaves_a_thumb(opened, url, serving):
    page = coached(opened())
    cards = page.get_by_role("article")
    assert [card.text_content() for card in cards.get_by_role("heading").all()] == [
        "What should happen", "What is happening", "What to do",
    ]  # fmt: skip
    page.get_by_role("button", name="Helpful", exact=True).press("Enter")
    page.get_by_text("Thank you.").wait_for()
    (line,) = map(json.loads, serving.thumbs_path.read_text(encoding="utf-8").splitlines())
    assert line["thumb"] == "up"
    assert line["input"].startswith("Area: body_rotation\nCurrent Score: 0.58\nTarget Score: 0.80")
    # Headings and the numbers of the steps stand elsewhere, every other word on the page.
    shown = " ".join(cards.all_text_contents())
    for each in line["output"].split("\n"):
        if each and each not in HEADINGS.values():
            assert each.lstrip("123. ").removeprefix("Swing thought: ") in shown
    assert page.failed == []
    assert all(address.startswith(url + "/") for address in page.asked)


def test_a_sentence_that_has_the_focus_says_where_it_comes_from(opened):
    page = coached(opened())
    sentence = page.locator(".said").first
    sentence.focus()
    said = sentence.get_attribute("aria-description")
    assert said
    assert sentence.evaluate("it => getComputedStyle(it, '::after').content") == f'"{said}"'


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_any_screen_and_can_be_read_in_light_and_dark(opened, viewport, scheme):
    page = coached(opened(viewport, scheme))
    page.get_by_text("My scores, my club, my level").press("Enter")
    page.get_by_text("Where each sentence comes from").press("Enter")
    page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished))")
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 50
    assert min(contrasts)[0] >= 4.5, min(contrasts)


def test_what_a_server_sends_is_shown_as_text_while_it_comes_and_an_error_in_words(opened):
    heading = next(iter(HEADINGS.values()))
    sent = [
        {"text": f"{heading}\nTurn <img src=x onerror=alert(1)>"},
        {"error": "no answer within 60 s"},
    ]
    body = "".join(json.dumps(line) + "\n" for line in sent)
    page = opened(reply=lambda route: route.fulfill(body=body))
    page.evaluate("""() => {
      window.seen = [];
      new MutationObserver(() => seen.push(document.getElementById("cards").textContent))
        .observe(document.getElementById("cards"), { childList: true, subtree: true });
    }""")
    page.get_by_role("button", name="Coach me").press("Enter")
    page.get_by_text("The coach could not answer: no answer within 60 s").wait_for()
    assert any("Turn <img src=x onerror=alert(1)>" in each for each in page.evaluate("seen"))
    assert page.locator("img").count() == 0
    assert not page.get_by_role("button", name="Helpful", exact=True).is_visible()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (lambda route: route.abort(), "The coach cannot be reached."),
        (lambda route: route.fulfill(status=503, body='{"error": "full"}'), "The coach is busy."),
        (lambda route: route.fulfill(status=400, body='{"error": "<b>bad</b>"}'), "<b>bad</b>"),
        (lambda route: route.fulfill(status=502, body="<html>"), "could not take this"),
        (lambda route: route.fulfill(body='{"text": "Turn"}\n'), "The answer broke off."),
    ],
)
def test_what_goes_wrong_is_said_and_one_can_ask_again(opened, reply, said):
    page = opened(reply=reply)
    page.get_by_role("button", name="Coach me").press("Enter")
    page.get_by_role("alert").get_by_text(said).wait_for()
    page.unroute("**/feedback")
    coached(page)
    assert not page.get_by_role("alert").is_visible()
    assert page.failed == []


def test_the_page_knows_the_areas_clubs_and_levels_that_the_coach_knows(opened):
    page = opened()
    labels = page.locator("#areas label").all_text_contents()
    assert labels == [area.label for area in AREAS.values()]
    scores = page.locator("#scores label > span").all_text_contents()
    assert scores == [*SCORE_LABELS.values(), "my target"]
    for name, values in {"club": CLUBS, "level": LEVELS, "handedness": HANDEDNESS}.items():
        options = page.locator(f"select[name={name}] option").all_text_contents()
        assert options == list(values)
    assert all(heading in PAGE.read_text(encoding="utf-8") for heading in HEADINGS.values())
