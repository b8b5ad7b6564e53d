"""Images on the search page, in a real browser: given by file, drop and paste; shown beside the results."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from brickwork.api import index as indexing
from brickwork.index.encoding import Query
from brickwork.index.index import open_index
from brickwork.service.config import ServiceConfig
from brickwork.service.keys import digest
from image_model import tiny_image_model, write_images
from running_server import running
from search_page import NEEDS_BROWSER, Page, headless

pytestmark = [pytest.mark.slow, NEEDS_BROWSER]
IMAGES = 10
KEY = "a-key-of-sixteen-characters"
# What a browser does when a file is dropped on the page, or pasted: an event that carries it.
GIVE = """
const [how, name, type, data] = arguments;
const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
const carried = new DataTransfer();
carried.items.add(new File([bytes], name, { type }));
const target = document.getElementById("results");
if (how === "paste") {
  return target.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried, bubbles: true, cancelable: true }));
}
const over = new DragEvent("dragover", { dataTransfer: carried, bubbles: true, cancelable: true });
target.dispatchEvent(over);
const drop = new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true });
target.dispatchEvent(drop);
return over.defaultPrevented && drop.defaultPrevented;  // else the browser would leave the page for the file
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder / "photos", IMAGES)
    indexing.build_index(tiny_image_model(), folder / "photos", folder / "index").close()
    return folder


@pytest.fixture(scope="module")
def server(place):
    with running(ServiceConfig(target=str(place / "index")), place / "server.log") as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with headless(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    page = Page(browser, server.url).open()
    page.js("localStorage.clear(); sessionStorage.clear()")
    browser.get_log("performance")
    page.complaints()
    yield page.open()
    assert page.complaints() == []


def encoded(path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def asked(page) -> dict:
    """The last search that was sent, its image read."""
    page.until(page.searches)
    sent = page.settled().searches()[-1]
    return {
        **sent,
        "image": np.asarray(Image.open(io.BytesIO(base64.b64decode(sent["image"]))).convert("RGB")),
    }


@pytest.mark.parametrize("how", ["drop", "paste", "file"])
def test_a_image_is_looked_for_however_it_is_given(page, place, how):
    file = place / "photos" / "scene-6.png"
    if how == "file":
        page.one("#file").send_keys(str(file))
    else:
        assert page.js(GIVE, how, "scene-6.png", "image/png", encoded(file)) is True or how == "paste"
    sent = asked(page)
    pixels = np.asarray(Image.open(file))
    np.testing.assert_array_equal(sent["image"], pixels)
    assert "query" not in sent
    with open_index(place / "index") as index:
        assert page.ids() == [hit.id for hit in index.search(Query(image=pixels), IMAGES)[0]]
    assert page.ids()[0] == "scene-6.png"
    assert page.texts("#image-name") == ["scene-6.png"]
    assert page.one("#shown").is_displayed()
    # A text beside it, and then without the image again.
    page.press("blue", into="#query")
    page.until(lambda: page.searches()[-1].get("query") == "blue")
    assert "image" in page.searches()[-1]
    page.settled().one("#image-off").click()
    page.until(lambda: "image" not in page.searches()[-1])
    assert not page.one("#shown").is_displayed()


def test_a_large_image_is_made_small_before_it_is_sent(page, tmp_path):
    Image.effect_noise((1600, 800), 60).convert("RGB").save(tmp_path / "large.jpg", quality=95)
    page.js(GIVE, "drop", "large.jpg", "image/jpeg", encoded(tmp_path / "large.jpg"))
    assert asked(page)["image"].shape == (256, 512, 3)


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_what_is_no_image_is_left_alone_or_refused(page, how):
    note = base64.b64encode(b"no image").decode()
    page.js(GIVE, how, "note.txt", "text/plain", note)
    if how == "paste":
        assert page.js("return document.getElementById('image-off').hidden")
        assert page.searches() == []
        return
    page.until(lambda: page.texts("#message h2") == ["The server cannot answer this"])
    assert "no image, or of a format that is not read" in page.texts("#message p")[0]
    assert not page.one("#shown").is_displayed()
    assert [line for line in page.complaints() if "400" not in line] == []


def shown(page) -> list[tuple[str, int, str]]:
    """Of each result: its id, the width of its thumbnail as loaded, and its text for who does not see."""
    loaded = "return [...document.querySelectorAll('article img')].every(i => i.complete && i.naturalWidth)"
    page.until(lambda: page.all("article img") and page.js(loaded))
    return [
        tuple(row)
        for row in page.js(
            "return [...document.querySelectorAll('article')].map(a => [a.dataset.id, "
            "a.querySelector('img').naturalWidth, a.querySelector('img').alt])"
        )
    ]


def test_thumbnails_stand_beside_the_results(page, place):
    page.search("a red circle")
    with open_index(place / "index") as index:
        wanted = [(hit.id, 32, hit.text) for hit in index.search("a red circle", IMAGES)[0]]
        assert shown(page) == wanted
        # The pixels that the browser shows are those of the index.
        first = page.js(
            "const image = document.querySelector('article img');"
            "const pen = new OffscreenCanvas(32, 32).getContext('2d'); pen.drawImage(image, 0, 0);"
            "return [...pen.getImageData(0, 0, 32, 32).data]"
        )
        kept = Image.open(io.BytesIO(index.get(wanted[0][0])[0].thumbnail)).convert("RGB")
    drawn = np.array(first).reshape(32, 32, 4)[..., :3]
    np.testing.assert_allclose(drawn, np.asarray(kept), atol=8)  # two decoders of JPEG


def test_thumbnails_are_asked_for_with_the_key(browser, place, tmp_path):
    config = ServiceConfig(target=str(place / "index"), keys=(digest(KEY),))
    with running(config, tmp_path / "log") as server:
        page = Page(browser, server.url).open(ready="#ask-key[open]")
        page.press(KEY + "\ue007", into="#key")
        page.until(lambda: page.all("#app:not([hidden])"))
        page.search("a red circle")
        assert len(shown(page)) == IMAGES
        page.complaints()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_of_a_result_covers_another_part(page, browser, width):
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 760}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.search("a red circle")
        assert len(shown(page)) == IMAGES
        covering = page.js(
            "const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5"
            "  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 0.5;"
            "const found = [];"
            "for (const article of document.querySelectorAll('article')) {"
            "  const boxes = [...article.children].map((part) => [part.className || 'h3', part.getBoundingClientRect()]);"
            "  boxes.forEach(([a, box], at) => boxes.slice(at + 1).forEach(([b, other]) => {"
            "    if (over(box, other)) found.push(`${article.dataset.id}: ${a}, ${b}`); }));"
            "} return found"
        )
        assert covering == []
        assert page.js("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
