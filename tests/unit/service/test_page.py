"""The search page in a real browser, over a real server. What it shows is held against what the API answers."""

import time
from contextlib import contextmanager

import pytest

from brickwork.core.errors import BrickworkWarning
from brickwork.data.types import Document
from brickwork.index.build import build_index
from brickwork.service.config import ServiceConfig
from brickwork.service.keys import digest
from running_server import documents, running, tiny_model
from search_page import NEEDS_BROWSER, Page, headless
from tiny_cross_encoder import write

pytestmark = [pytest.mark.slow, NEEDS_BROWSER]
KEY = "a-key-of-sixteen-characters"
# The page opens at 8 dimensions and 3 layers: the smallest size that keeps 98 % here.
_QUALITY = {(32, 3): 0.5, (16, 3): 0.5, (8, 3): 0.492, (32, 1): 0.2}
MEASUREMENT = {
    "retrieval": [
        {
            "name": "the task",
            "queries": 40,
            "documents": 100,
            "cells": [{"dim": d, "layers": n, "ndcg@10": quality} for (d, n), quality in _QUALITY.items()],
        }
    ]
}
HOSTILE = Document(
    id="hostile",
    title="<script>window.harm = 1</script> river",
    text="<img src=x onerror='window.harm = 2'> the river </p></article><b>bold</b>",
    source="javascript:window.harm = 3",
    meta={"<i>field</i>": "<u>value</u>", "row": 1000},
)
LONG = Document(
    id="long",
    title="",
    text="pebble " * 300 + "a\nzebra crosses rivers at night " + "stone " * 300,
    source="",
)
# Luminance and contrast as WCAG 2.2 defines them, of every element that has text of its own. A canvas resolves colours.
CONTRASTS = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const over = (colours) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const linear = (v) => v / 255 <= .04045 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility() || element.classList.contains("hidden") || element.closest("noscript")) continue;
  const behind = [];
  for (let one = element; one; one = one.parentElement) behind.unshift(getComputedStyle(one).backgroundColor);
  const a = light(over(["white", ...behind])), b = light(over(["white", ...behind, getComputedStyle(element).color]));
  found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), element.outerHTML.slice(0, 120)]);
}
return found;
"""


@pytest.fixture(scope="module")
def index_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "tiny"
    model = tiny_model()
    model.card["measurement"] = MEASUREMENT
    with pytest.warns(BrickworkWarning, match="2 of 102 texts are longer"):
        build_index(model, [*documents(), HOSTILE, LONG], folder, layers=(1, 3), kind="flat").close()
    return folder


@pytest.fixture(scope="module")
def server(index_folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "server.log"
    with running(ServiceConfig(target=str(index_folder), name="tiny"), log) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with headless(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    """The page of the index, at a desk, in light colours, nothing stored; nothing may go to the console."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page = Page(browser, server.url).open()
    page.js("localStorage.clear(); sessionStorage.clear()")
    browser.get_log("performance")
    page.complaints()
    yield page.open()
    assert page.complaints() == []


def test_results_are_those_of_the_server_with_the_words_of_the_query_marked(page, server):
    assert page.js("return document.activeElement.id") == "query"
    assert page.texts("#who") == ["tiny · 102 documents"]
    page.search("red rivers")
    asked = page.searches()[0]
    assert asked == {"query": "red rivers", "top": 10, "dim": 8, "layers": 3}
    hits = server.client.post("/v1/search", json=asked).json()["results"][0]
    assert page.ids() == [hit["id"] for hit in hits]
    small = "article[data-side=small]"
    assert page.texts(f"{small} .hit") == [hit["title"] or hit["id"] for hit in hits]
    assert [text[:5] for text in page.texts(f"{small} .score")] == [f"{hit['score']:.3f}" for hit in hits]
    assert page.texts(f"{small} .rank") == [str(rank) for rank in range(1, len(hits) + 1)]
    words = " ".join(hit["title"] + " " + hit["text"] for hit in hits).lower().replace("<", " ").split()
    wanted = sorted(word for word in words if word.startswith(("red", "river")))
    assert wanted
    assert sorted(text.lower() for text in page.texts(f"{small} mark")) == wanted


def test_it_opens_at_the_size_that_was_measured_as_good_enough(page, browser, tmp_path):
    advice = page.texts("#advice")[0]
    assert advice == (
        "Opens at 8 dimensions and 3 layers: by meaning alone, they were measured to keep 98.4 % of full size’s quality "
        "(nDCG@10 of the task)."
    )
    folder = tmp_path / "unmeasured"
    build_index(tiny_model(), documents(), folder, kind="flat").close()
    with other_page(browser, tmp_path, ServiceConfig(target=str(folder))) as (other, _):
        other.open().search("red rivers")
        assert other.searches()[0] == {"query": "red rivers", "top": 10, "dim": 32, "layers": 3}
        assert "was not measured for this model, so the page opens at full size" in other.texts("#advice")[0]


def test_in_and_out_are_explained_where_they_stand(page):
    assert not page.one("#legend").is_displayed()
    page.search("quiet winter bridge")
    assert page.one("#legend").is_displayed()
    legend = page.texts("#legend")[0]
    assert "in the chosen size shows it, full size does not" in legend
    assert "out full size shows it, the chosen size leaves it out" in legend
    page.one("#compare").click()
    page.until(lambda: not page.one("#legend").is_displayed())


def test_results_are_grouped_reranked_and_unfold_the_passages_around_them(browser, page, tmp_path):
    folder = tmp_path / "passages"
    passages = [
        Document(
            id=f"{name}.md#{n}", title=f"{name} {n}", text=f"the quiet river {name} {n}", source=f"{name}.md"
        )
        for name in "pqr"
        for n in range(4)
    ]
    build_index(tiny_model(), passages, folder, kind="flat").close()
    config = ServiceConfig(target=str(folder), rerank=str(write(tmp_path / "reranker")))
    with other_page(browser, tmp_path, config) as (other, server):
        other.open().search("quiet river")
        assert len(other.ids()) == 10
        other.one("#group").click()
        other.until(lambda: len(other.settled().ids()) == 3)
        assert other.searches()[-1]["group_by"] == "source"
        assert other.texts(".others summary") == 3 * ["3 more passages of this file"]
        other.one("#rerank").click()
        other.until(
            lambda: other.settled().texts(".parts") and "before reranking" in other.texts(".parts")[0]
        )
        asked = other.searches()[-1]
        assert asked["rerank"] is True
        hits = server.client.post("/v1/search", json=asked).json()["results"][0]
        assert other.ids() == [hit["id"] for hit in hits]
        assert "Rerank" in other.texts("#facts dt")
        assert {"group", "rerank"} <= set(other.state())
        name, _, number = other.ids()[0].partition("#")
        other.one("article .hit").click()
        buttons = [side for side, there in (("before", number != "0"), ("after", number != "3")) if there]
        other.until(lambda: len(other.all(".unfold")) == len(buttons))
        while other.all(".unfold"):  # one after the other, to both ends of the file
            before = len(other.texts(".whole .passage p"))
            other.one(".unfold").click()
            other.until(lambda before=before: len(other.texts(".whole .passage p")) == before + 1)
            time.sleep(0.3)
        texts = [passage.text for passage in passages if passage.source == name]
        assert other.texts(".whole .passage p") == texts
        assert other.complaints() == []


def test_one_may_search_by_meaning_words_or_both(page, server):
    page.search("red rivers")
    parts = page.texts("article[data-side=small] .parts")
    hits = server.client.post("/v1/search", json=page.searches()[0]).json()["results"][0]
    assert parts == [f"meaning {hit['dense']:.3f} · words {hit['lexical']:.2f}" for hit in hits]
    page.js("document.getElementById('mode').value = 'lexical'")
    page.js("document.getElementById('mode').dispatchEvent(new Event('change'))")
    page.until(lambda: page.texts("#results h2 b") == ["By words"])
    asked = page.searches()[-1]
    assert asked == {"query": "red rivers", "top": 10, "mode": "lexical"}
    hits = server.client.post("/v1/search", json=asked).json()["results"][0]
    assert page.ids() == [hit["id"] for hit in hits]
    assert page.texts(".parts") == []
    assert page.js("return document.getElementById('dim').disabled") is True
    assert "mode=lexical" in page.js("return location.hash")
    page.js("document.activeElement.blur()")
    page.press("m")  # round again to both
    page.until(lambda: page.texts(".parts"))
    assert page.js("return document.getElementById('dim').disabled") is False


def test_an_excerpt_shows_where_the_query_is_met(page):
    page.one("#where").send_keys("id=long")
    page.search("when does the zebra cross a river")
    assert page.ids() == ["long"]
    snippet = page.texts("article .snippet")[0]
    assert snippet.startswith("… ")
    assert snippet.endswith(" …")
    assert len(snippet) < 300
    assert page.texts("article[data-side=small] mark") == ["zebra", "crosses", "rivers"]
    assert page.texts("article .hit")[0] == "long"  # it has no title


def test_a_slider_searches_anew_and_the_readout_follows(page, server):
    page.search("green lamp")
    page.searches().clear()
    before = page.texts("#facts dd")
    page.press("\ue014", into="#dim")  # arrow right: 8 to 16 dimensions
    page.until(lambda: page.searches())
    page.settled()
    # Twice, for the times; full size is known from before and not asked again.
    assert page.searches() == 2 * [{"query": "green lamp", "top": 10, "dim": 16, "layers": 3}]
    answer = server.client.post("/v1/search", json=page.sent[0]).json()
    full = server.client.post("/v1/search", json={**page.sent[0], "dim": 32}).json()
    assert page.ids() == [hit["id"] for hit in answer["results"][0]]
    assert page.texts("#dim-value") == ["16 of 32"]
    facts = page.texts("#facts dd")
    assert facts != before
    read, whole = answer["cost"]["bytes_scanned"], full["cost"]["bytes_scanned"]
    assert facts[6] == f"{read / 1000:.2f} kB"
    assert facts[7] == f"{whole / read:.1f}× less than {whole / 1000:.1f} kB"
    page.press("\ue012", into="#layers")  # arrow left: from 3 to 1, the other depth of the index
    page.until(lambda: page.state()["layers"] == ["1"])
    page.settled()
    assert page.searches()[-1]["layers"] == 1
    assert page.texts("#sentence")[0].startswith(
        "Cut to 16 of 32 dimensions and 1 of 3 layers, the search finds "
    )


def test_full_size_stands_beside_it_and_what_moved_is_marked(page):
    page.search("quiet winter bridge")
    small, full = page.ids("small"), page.ids("full")
    bodies = page.searches()
    assert bodies[1] == {**bodies[0], "dim": 32}
    assert small != full
    assert page.texts("#overlap") == [f"{len(set(small) & set(full))} of the 10"]

    def mark(side: str, id: str) -> str:
        results = page.texts(f"article[data-side={side}][data-id='{id}'] .moved [aria-hidden]")
        return results[0] if results else ""

    for rank, id in enumerate(small):
        up = full.index(id) - rank if id in full else None
        wanted = "in" if up is None else "" if up == 0 else f"▲ {up}" if up > 0 else f"▼ {-up}"
        assert mark("small", id) == wanted
    for id in full:
        assert mark("full", id) == ("" if id in small else "out")
    assert {mark("full", id) for id in full} == {"", "out"}
    page.one(".switch").click()
    page.until(lambda: not page.ids("full"))
    assert page.settled().ids() == small
    assert page.state()["compare"] == ["0"]
    page.press("\ue010", into="#dim")  # End: all dimensions, and all layers are chosen already
    page.until(lambda: page.texts("#sentence")[0].startswith("Full size"))
    assert page.settled().ids() == full


def test_an_answer_that_was_overtaken_is_dropped(page):
    page.search("old engine")
    # The first answer comes late although the page has cancelled it: what it must not do is show it.
    page.js("""
      const real = window.fetch; window.cancelled = [];
      window.fetch = async (path, options) => {
        const late = options.body?.includes("bright apple");
        options.signal.addEventListener("abort", () => window.cancelled.push(options.body));
        const answer = await real(path, { ...options, signal: undefined });
        if (late) { await new Promise((done) => setTimeout(done, 900)); window.came = true; }
        return answer;
      }""")
    page.one("#query").clear()
    page.press("bright apple", into="#query")
    page.until(lambda: [body for body in page.searches() if body["query"] == "bright apple"])
    page.search("cold window")
    expected = page.ids()
    page.until(lambda: page.js("return window.came"))
    time.sleep(0.1)
    assert page.ids() == expected
    assert page.state()["q"] == ["cold window"]
    assert any("bright apple" in body for body in page.js("return window.cancelled"))


def test_the_keyboard_is_enough(page):
    def place():
        return page.js(
            "const a = document.activeElement.closest('article'); return a && [a.dataset.side, a.dataset.id]"
        )

    page.search("heavy letter")
    small, full = page.ids("small"), page.ids("full")
    page.press("\ue015")  # down, from the query
    assert place() == ["small", small[0]]
    page.press("j")
    page.press("\ue015")
    assert place() == ["small", small[2]]
    page.press("k")
    assert place() == ["small", small[1]]
    page.press("\ue014")
    assert place() == ["full", full[1]]
    page.press("\ue012")
    page.press("\ue007")  # Enter opens
    assert page.one("article[data-side=small] .hit[aria-expanded=true]").is_displayed()
    opened = page.texts("article .whole")
    assert len(opened) == 1
    assert "row" in opened[0]
    # A slider that moves keeps open what was open, and the keyboard on its document.
    page.js(
        "const dim = document.getElementById('dim'); dim.value = 1; dim.dispatchEvent(new Event('input'))"
    )
    page.until(lambda: page.texts("#dim-value") == ["16 of 32"] and page.state()["dim"] == ["16"])
    page.until(lambda: page.texts(".sidehead")[0].count("16 dims"))
    if small[1] in page.ids():
        assert place() == ["small", small[1]]
        assert len(page.all("article[data-side=small] .whole")) == 1
    page.press("?", into="body")
    assert page.one("#help").is_displayed()
    page.press("\ue00c")
    assert not page.one("#help").is_displayed()
    page.press("/", into="body")
    assert page.js("return document.activeElement.id") == "query"
    assert page.js("return document.activeElement.value") == "heavy letter"
    page.press("\ue00c")
    assert page.one("#query").get_attribute("value") == ""
    page.until(lambda: page.texts("#message h2") == ["102 documents, ready to search"])
    assert page.ids() == []


def test_documents_are_shown_as_text_whatever_they_hold(page):
    page.one("#where").send_keys("id=hostile")
    page.search("river")
    assert page.texts("article[data-side=small] .hit") == [HOSTILE.title]
    page.one("article[data-side=small] .hit").click()
    assert page.texts("article .whole p") == [HOSTILE.text]
    assert page.texts("article .whole dd") == ["hostile", "<u>value</u>", "1000"]
    assert page.texts("article .whole dt") == ["id", "<i>field</i>", "row"]
    assert page.texts("article[data-side=small] .source") == [HOSTILE.source]
    assert page.all("article :is(script, img, b, u, a)") == []
    assert page.js("return window.harm") is None


def test_colours_follow_the_system_and_the_toggle_and_can_be_read(page, browser):
    def paper() -> str:
        return page.js("return getComputedStyle(document.body).backgroundColor")

    def emulate(scheme: str):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def unreadable() -> list:
        results = page.js(CONTRASTS)
        assert len(results) > 60
        return [(round(ratio, 2), what) for ratio, what in results if ratio < 4.5]

    emulate("light")
    page.search("narrow garden")
    page.one("article .hit").click()
    bright = paper()
    assert unreadable() == []
    emulate("dark")
    dark = paper()
    assert dark != bright
    assert unreadable() == []
    page.one("#theme").click()
    assert paper() == bright
    page.open()
    assert paper() == bright  # remembered, against the system
    page.one("#theme").click()
    emulate("light")
    page.open()
    assert paper() == dark
    emulate("")


def test_it_fits_a_phone(page, browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    page.open().search("small signal")
    assert page.js("return document.documentElement.scrollWidth") == 390
    page.one("article .hit").click()
    assert page.js("return document.documentElement.scrollWidth") == 390
    assert page.one("article[data-side=small]").is_displayed()
    assert not page.one("article[data-side=full]").is_displayed()
    page.one("#sides [data-side=full]").click()
    assert page.one("article[data-side=full]").is_displayed()
    assert not page.one("article[data-side=small]").is_displayed()
    assert page.js("return document.documentElement.scrollWidth") == 390


def test_a_link_brings_back_what_its_sender_saw(page):
    page.open("#q=wooden+apple&dim=16&layers=1&where=even%3Dtrue&compare=0", "article")
    assert page.settled().searches() == [
        {"query": "wooden apple", "top": 10, "dim": 16, "layers": 1, "where": "even=true"}
    ]
    assert all(int(id[1:]) % 2 == 0 for id in page.ids())
    assert page.one("#query").get_attribute("value") == "wooden apple"
    assert page.one("#where").get_attribute("value") == "even=true"
    assert not page.one("#compare").is_selected()
    assert page.browser.title == "wooden apple · Brickwork search"
    first = page.ids()
    page.press("\ue007", into="#query")
    page.one("#query").clear()
    page.press("old window\ue007", into="#query")
    page.until(lambda: page.settled().ids() != first)
    page.browser.back()
    page.until(lambda: page.ids() == first)
    assert page.one("#query").get_attribute("value") == "wooden apple"


def test_a_filter_that_fits_nothing_or_is_wrong_is_explained(page):
    page.search("river")
    assert set(page.texts("#fields button")) >= {"id", "source", "title", "row", "even"}
    page.press("source=none.md\ue007", into="#where")
    page.until(lambda: page.texts("#message h2") == ["Nothing found"])
    assert "source=none.md" in page.texts("#message p")[0]
    assert page.complaints() == []
    page.one("#where").clear()
    page.press("colour=red\ue007", into="#where")
    page.until(lambda: page.texts("#message h2") == ["This filter does not work"])
    assert "'colour'" in page.texts("#message p")[0]
    assert page.one("#where").get_attribute("aria-invalid") == "true"
    assert len(page.complaints()) == 1  # the browser's own line on the answer 400
    page.one("#message button").click()
    assert page.until(page.ids)
    assert page.settled().one("#where").get_attribute("aria-invalid") is None


def test_a_busy_server_is_asked_again(page):
    page.search("river")
    page.js("""
      const real = window.fetch; window.refused = 0;
      const full = { status: 429, headers: { "Retry-After": "1" } };
      window.fetch = async (...request) =>
        window.refused++ ? real(...request) : Response.json({ error: { message: "full" } }, full)""")
    started = time.monotonic()
    page.press(" lamp", into="#query")
    page.until(lambda: page.texts("#message h2") == ["The server is busy"])
    page.until(page.ids)
    assert time.monotonic() - started > 1
    assert page.settled().searches()[-1]["query"] == "river lamp"


@contextmanager
def other_page(browser, tmp_path, config: ServiceConfig):
    """The page of another server; what the console says stays with it."""
    with running(config, tmp_path / "log") as server:
        page = Page(browser, server.url)
        yield page, server
        page.complaints()


def test_a_key_is_asked_for_and_kept_for_the_tab(page, browser, tmp_path, index_folder):
    config = ServiceConfig(target=str(index_folder), keys=(digest(KEY),))
    with other_page(browser, tmp_path, config) as (page, _):
        page.open(ready="#ask-key[open]")
        page.press("not-the-key-at-all\ue007", into="#key")
        page.until(lambda: page.texts("#key-why") == ["The server did not take this key. Try another."])
        page.until(lambda: page.all("#ask-key[open]"))
        page.press("\ue00c", into="#key")
        page.until(lambda: page.texts("#message h2") == ["This server wants an API key"])
        page.one("#message button").click()
        page.press(KEY + "\ue007", into="#key")
        page.until(lambda: page.all("#app:not([hidden])"))
        assert page.search("lamp").ids()
        page.open("#q=garden", "article").settled()
        assert not page.all("#ask-key[open]")
        assert page.js("return [localStorage.length, sessionStorage.length, document.cookie]") == [0, 1, ""]


def test_a_server_without_an_index_says_how_to_make_one(page, browser, tmp_path):
    model = tiny_model().save(tmp_path / "model")
    with other_page(browser, tmp_path, ServiceConfig(target=str(model))) as (page, _):
        page.open(ready="#message:not([hidden])")
        assert page.texts("#message h2") == ["This server has a model, but no index to search"]
        assert "brickwork index model DATA" in page.texts("#message pre")[0]
        assert not page.one("#query").is_displayed()
        assert page.complaints() == []


def test_a_server_that_goes_away_is_said_so(page, browser, tmp_path, index_folder):
    with other_page(browser, tmp_path, ServiceConfig(target=str(index_folder))) as (page, server):
        page.open().search("lamp")
        server.stop()
        page.press(" garden", into="#query")
        page.until(lambda: page.texts("#message h2") == ["The server does not answer"])
        assert "brickwork serve" in page.texts("#message p")[0]
        assert page.texts("#live") == ["The server does not answer"]
        assert page.ids() == []
        assert page.one("#message button").text == "Try again"
