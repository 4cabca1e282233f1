"""The site in a headless browser, opened as files: sort, filter, compare, keyboard, phone, both themes."""

from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest

from itprobe.leaderboard.board.reading import read_board
from itprobe.leaderboard.result_files import load_held_out
from itprobe.leaderboard.site import build_site
from itprobe.metrics import paired_difference

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture
def visit(browser, site):
    """Open a page of the site: visit("tables", ...). What the browser complains of or asks for fails the test."""
    contexts, complaints = [], []

    def opened(kind="index", viewport=DESKTOP, theme="light", which="", **options):
        context = browser.new_context(viewport=viewport, color_scheme=theme, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: complaints.append(request.url) if outside(request.url) else None)
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
        page.goto(address(kind, which))
        return page

    def outside(url):
        return not url.startswith(site.as_uri() + "/")

    def address(kind, which):
        if (site / f"{kind}.html").exists():
            return (site / f"{kind}.html").as_uri()
        found = [path for path in sorted((site / kind).iterdir()) if which in path.name]
        return found[0].as_uri()

    yield SimpleNamespace(open=opened, site=site)
    for context in contexts:
        context.close()
    assert complaints == []


def names(page):
    return [
        text.strip()
        for text in page.locator("#rows tr:visible th[scope=row] a:first-child").all_inner_texts()
    ]


def column(page, header):
    headers = [text.split("\n")[0].strip() for text in page.locator("#board thead th").all_inner_texts()]
    place = headers.index(header) + 1
    return page.locator(f"#rows tr:visible > :nth-child({place})").all_inner_texts()


def test_tables_sort(visit):
    page = visit.open("tables", which="ridge")
    values = [float(text.split()[0]) for text in column(page, "r")]
    assert len(values) == 13 and values == sorted(values, reverse=True)
    page.get_by_role("button", name="r", exact=True).click()
    header = page.locator("#board thead th").nth(5)
    assert header.get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="r", exact=True).click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert [float(text.split()[0]) for text in column(page, "r")] == sorted(values)
    assert "sorted by r, ascending" in page.get_by_role("status").inner_text()
    page.get_by_role("button", name="Layer").click()
    layers = [text for text in column(page, "Layer") if text.strip()]
    assert header.get_attribute("aria-sort") is None
    assert layers[:4] == ["block1", "block1", "block2", "block2"]
    assert column(page, "Layer")[-1].strip() == ""  # without a layer: last


def test_tables_filter_and_announce(visit):
    page = visit.open("tables", which="ridge")
    assert page.get_by_role("status").inner_text() == "13 of 13 shown."
    page.get_by_role("searchbox").fill("net BLOCK4")
    assert names(page) == ["net", "net@random-0"]
    assert page.get_by_role("status").inner_text() == "2 of 13 shown."
    page.get_by_role("searchbox").fill("")
    page.get_by_label("Kind").select_option("control")
    assert sorted(names(page)) == ["object_onehot", "pixels"]
    page.get_by_label("Kind").select_option("")
    page.get_by_label("best layer of each model only").check()
    assert len(names(page)) == 5 and len(set(names(page))) == 5


def test_long_tables_list_their_first_rows_until_all_are_asked_for(browser, planted_site, tmp_path):
    for k in range(230):
        made = planted_site.result(f"m{k}:layer", mapping="rsa", value=k / 1000)
        planted_site.save(made, None, tmp_path / "board")
    build_site(tmp_path / "board", tmp_path / "site")
    (table,) = (tmp_path / "site" / "tables").iterdir()
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(table.as_uri())
        assert len(names(page)) == 100 and names(page)[0] == "m229"
        assert page.get_by_role("status").inner_text() == "100 of 230 shown; 230 match."
        page.get_by_role("button", name="Score", exact=True).click()
        page.get_by_role("button", name="Score", exact=True).click()
        assert names(page)[0] == "m0" and len(names(page)) == 100
        page.get_by_role("button", name="List all 230").click()
        assert len(names(page)) == 230
        assert page.evaluate("document.activeElement.textContent") == "m100"
        page.get_by_role("searchbox").fill("m22")
        assert len(names(page)) == 11 and page.get_by_role("status").inner_text() == "11 of 230 shown."
    finally:
        context.close()


def test_ranks_on_the_page_are_those_of_the_data(visit):
    page = visit.open("tables", which="ridge")
    ranks = [int(text) for text in column(page, "Rank")]
    assert ranks[0] == 1 and ranks[-1] == max(ranks) > 5


def test_compare_gives_the_paired_difference(visit, board_folder):
    page = visit.open("compare")
    labels = [
        option.split(". ", 1)[1].rsplit(" (", 1)[0]
        for option in page.locator("#first option").all_inner_texts()
    ]
    held_out = {}
    for entry in read_board(board_folder).entries:
        if entry.result.predictions:
            held_out[entry.result.candidate.id] = load_held_out(entry.result, board_folder)
    for first, second in (("net:block4", "net:block3"), ("pixels", "object_onehot")):
        page.locator("#first").select_option(index=labels.index(first))
        page.locator("#second").select_option(index=labels.index(second))
        page.wait_for_function(
            "pair => document.querySelector('.verdict')?.textContent.includes(pair[0]) "
            "&& document.querySelector('.verdict').textContent.includes(pair[1])",
            arg=[first, second],
        )
        shown = page.locator("#figures").evaluate(
            "e => [e.dataset.value, e.dataset.low, e.dataset.high].map(Number)"
        )
        expected = paired_difference(held_out[first], held_out[second], seed=1)
        np.testing.assert_allclose(
            shown, [expected.value, *expected.ci95], atol=1e-6
        )  # draws come as float32
    assert "object_onehot lies wholly above pixels" in page.locator(".verdict").inner_text()
    assert page.locator("svg circle.neuroid").count() == 24
    page.get_by_role("button", name="Swap").click()
    page.wait_for_function("() => document.querySelector('#figures').dataset.value > 0")
    page.locator("summary").click()
    assert page.locator("#comparison table tbody tr").count() == 24


def test_compare_is_reached_from_a_row(visit):
    page = visit.open("tables", which="ridge")
    page.get_by_role("link", name="compare pixels").click()
    page.wait_for_selector(".verdict")
    assert "pixels" in page.locator("#first option:checked").inner_text()
    assert (
        page.locator("#second option:checked").inner_text()
        != page.locator("#first option:checked").inner_text()
    )


def test_theme_follows_the_system_until_it_is_chosen(visit):
    page = visit.open("index", theme="dark")

    def paper():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    button, dark = page.get_by_role("button", name="Dark theme"), paper()
    assert button.get_attribute("aria-pressed") == "true"
    page.emulate_media(color_scheme="light")
    light = paper()
    page.wait_for_function("() => document.getElementById('theme').ariaPressed === 'false'")
    assert light != dark
    button.click()
    assert paper() == dark and button.get_attribute("aria-pressed") == "true"
    page.goto((visit.site / "about.html").as_uri())
    assert paper() == dark  # it is remembered


def test_keyboard_alone(visit):
    page = visit.open("tables", which="ridge")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        if seen[-1] == "EV":
            break
    assert {"find", "kind", "best", "Rank", "EV"} <= set(seen)
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Enter")
    assert page.locator("#board th[aria-sort=descending]").inner_text().strip() == "EV"
    page.keyboard.press("Space")
    assert page.locator("#board th[aria-sort=ascending]").inner_text().strip() == "EV"


PAGES = [
    ("index", ""),
    ("about", ""),
    ("checks", ""),
    ("tables", "ridge"),
    ("tables", "rsa"),
    ("models", "net-"),
    ("models", "img-src"),
    ("compare", ""),
]


@pytest.mark.parametrize(("kind", "which"), PAGES)
def test_nothing_scrolls_sideways_on_a_phone(visit, kind, which):
    page = visit.open(kind, viewport=PHONE, which=which)
    page.wait_for_load_state("load")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if kind == "tables":  # rows are cards: all figures are within the screen
        boxes = page.locator("#rows tr:visible > *:visible").evaluate_all(
            "cells => cells.map(cell => cell.getBoundingClientRect()).map(box => [box.left, box.right])"
        )
        assert min(left for left, _ in boxes) >= 0 and max(right for _, right in boxes) <= 360


AXE_PAGES = [("tables", "ridge"), ("models", "net-"), ("compare", "")]
"""The others have no parts that these lack, but for those that are seen at one width only."""


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "viewport", [pytest.param(DESKTOP, marks=pytest.mark.slow), PHONE], ids=["desktop", "phone"]
)
def test_axe_finds_nothing_serious(visit, theme, viewport):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    for kind, which in (
        AXE_PAGES if viewport is PHONE else [*AXE_PAGES, ("index", ""), ("about", ""), ("checks", "")]
    ):
        # axe is put into the page by its driver, which the page's own policy would refuse.
        page = visit.open(kind, theme=theme, viewport=viewport, which=which, bypass_csp=True)
        if kind == "compare":
            page.wait_for_selector(".verdict")
        page.locator("details").evaluate_all("all => all.forEach(details => { details.open = true; })")
        found = axe.Axe().run(page, options={"preload": False}).response["violations"]
        serious = [
            (violation["id"], [node["html"][:160] for node in violation["nodes"]][:3])
            for violation in found
            if violation["impact"] in ("serious", "critical")
        ]
        assert serious == [], (kind, which)


def test_hostile_text_runs_nothing(visit):
    for kind, which in (("tables", "ridge"), ("models", "img-src"), ("compare", ""), ("checks", "")):
        page = visit.open(kind, which=which)
        page.wait_for_timeout(100)
        assert page.title() != "1"
        assert page.locator("img").count() == 0


def test_without_javascript_tables_are_there(visit):
    page = visit.open("tables", which="ridge", java_script_enabled=False)
    assert page.locator("#rows tr").count() == 13
    assert page.locator("#filters").is_hidden() and page.locator("#theme").is_hidden()
    compare = visit.open("compare", java_script_enabled=False)
    assert "needs JavaScript" in compare.locator("main").inner_text()


def test_the_same_pages_work_from_a_server(browser, site):
    """Any static host will do; every request goes to it."""
    import functools
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context()
    hosts, complaints = set(), []
    page = context.new_page()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("console", lambda message: complaints.append(message.text))
    try:
        base = f"127.0.0.1:{server.server_port}"
        page.goto(f"http://{base}/index.html")
        page.get_by_role("link", name="ridge").first.click()
        page.get_by_role("link", name="Compare two candidates").click()
        page.wait_for_selector(".verdict")
        assert hosts == {base} and complaints == []
    finally:
        context.close()
        server.shutdown()
