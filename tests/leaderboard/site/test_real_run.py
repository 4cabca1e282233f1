"""The site of a real run in headless Chromium: what a reader sees is what the result files say.

Controls and layers of a trained and a random network are scored through the command line, on the macaque V4
recording where it lies beside this checkout, else on the small simulated one.
"""

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from itprobe.cli import main
from itprobe.data import package_recording
from itprobe.leaderboard import load_held_out, load_result
from itprobe.metrics import paired_difference

pytestmark = pytest.mark.slow

RECORDING = Path(__file__).parents[4] / "shared" / "recordings" / "macaque_v4_cowley2023"
NETWORK, RANDOM = "efficientnet_lite0", "efficientnet_lite0@random"
LAYERS = ("_blocks.4", "_blocks.8", "_blocks.12")
TRAINED = [f"{NETWORK}:{layer}" for layer in LAYERS]
NETWORKS = [*TRAINED, f"{RANDOM}:_blocks.8"]
SCORED = {"ridge": ["pixels", "object_onehot", *NETWORKS], "cka": ["pixels", TRAINED[1]]}
OTHER_SEED = 2
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


def recording_in(folder):
    """Recording and region: macaque V4, packaged into a folder, or simulated."""
    if not RECORDING.is_dir():
        return "simulated_small.IT"
    path = package_recording(RECORDING / "images.zip", RECORDING / "counts.npz", "V4", folder / "v4.nc")
    return f"{path}#V4"


@pytest.fixture(scope="module")
def real(own_caches, tmp_path_factory):
    """The site, and by candidate the results (ridge, cka) and held-out predictions that it was made of."""
    folder = tmp_path_factory.mktemp("real")
    results, site = folder / "results", folder / "site"
    recording = recording_in(folder)
    for mapping, candidates in SCORED.items():
        main(["score", *candidates, "--benchmark", f"{recording}-{mapping}", "--results", str(results)])
    main(["leaderboard", "build", str(results), "--out", str(site)])
    read = [load_result(path) for path in results.glob("*.json")]
    ridge, cka = (
        {result.candidate.id: result for result in read if result.mapping.name == name} for name in SCORED
    )
    assert set(ridge) == set(SCORED["ridge"]) and set(cka) == set(SCORED["cka"])
    held_out = {name: load_held_out(result, results) for name, result in ridge.items()}
    return SimpleNamespace(site=site, ridge=ridge, cka=cka, held_out=held_out)


@pytest.fixture(scope="module")
def differences(real):
    """Paired difference of every two candidates, from the predictions and with the draws of the benchmark's seed."""
    return {
        (first, second): paired_difference(
            real.held_out[first], real.held_out[second], seed=real.ridge[first].split.seed
        )
        for first, second in combinations(real.ridge, 2)
    }


@pytest.fixture
def visit(browser, real):
    """Open a page by its path: visit("tables/*ridge*"). Complaints of the browser and requests elsewhere fail."""
    contexts, complaints = [], []
    own = real.site.as_uri() + "/"

    def opened(pattern, viewport=DESKTOP, theme="light", **options):
        context = browser.new_context(viewport=viewport, color_scheme=theme, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
        page.on(
            "request",
            lambda request: None if request.url.startswith(own) else complaints.append(request.url),
        )
        (path,) = real.site.glob(f"{pattern}.html")
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def written(value):
    return f"{value:z.3f}".replace("-", "\N{MINUS SIGN}")


def between(ends):
    return f"{written(ends[0])} to {written(ends[1])}"


def numbers(text):
    """Figures in a text, to three digits as they are shown."""
    signs = text.replace("\N{MINUS SIGN}", "-").replace("95 %", "").split()
    return [float(sign) for sign in signs if sign.strip("+-").replace(".", "").isdigit()]


SHOWN = """
() => {
  const headers = [...document.querySelectorAll("#board thead th")];
  const rows = [...document.querySelectorAll("#rows tr")].filter((row) => row.checkVisibility());
  const text = (cell) => cell.innerText.trim().replace(/\\s+/g, " ");
  const name = (header) => text(header.querySelector("button") ?? header);
  return rows.map((row) => Object.fromEntries([...row.cells].map((cell, k) => [name(headers[k]), text(cell)])));
}
"""


def shown(page):
    """Rows of a table as they are seen, each by the names of its columns."""
    return page.evaluate(SHOWN)


def ids(rows):
    return [f"{row['Candidate']}:{row['Layer']}" if row["Layer"] else row["Candidate"] for row in rows]


def by(results, value, highest_first=True):
    """Ids of results, sorted by a figure."""
    return sorted(results, key=lambda name: value(results[name]), reverse=highest_first)


def median_r(result):
    return result.scores.pearson_r.median


def median_ev(result):
    return result.scores.explained_variance.median


def features(result):
    return result.candidate.n_features


def test_figures_and_order_are_those_of_the_result_files(visit, real):
    rows = shown(visit("tables/*ridge*"))
    assert ids(rows) == by(real.ridge, median_r)
    for row, name in zip(rows, ids(rows), strict=True):
        result = real.ridge[name]
        scores = result.scores
        expected = {
            "r": f"{written(scores.pearson_r.median)} {between(scores.pearson_r.ci95)}",
            "EV": written(scores.explained_variance.median),
            "Share of ceiling": f"{written(scores.ceiled.value)} {between(scores.ceiled.ci95)}",
            "Features": f"{result.candidate.n_features:,}",
            "Scored": result.provenance.started[:10],
            "Kind": "trained" if name in TRAINED else "random" if name in NETWORKS else "control",
        }
        assert {column: row[column] for column in expected} == expected, name


def test_ranks_and_ties_follow_from_the_paired_differences(visit, real, differences):
    above = {(one, other) for (one, other), found in differences.items() if found.ci95[0] > 0}
    above |= {(other, one) for (one, other), found in differences.items() if found.ci95[1] < 0}
    rows = shown(visit("tables/*ridge*"))
    for row, name in zip(rows, ids(rows), strict=True):
        over = sum(better == name for better, _ in above)
        under = sum(worse == name for _, worse in above)
        assert (row["Rank"], row["Tied with"]) == (str(1 + under), str(len(rows) - 1 - over - under)), name
    assert (TRAINED[1], "pixels") in above  # there is something to tell apart


def test_similarities_stand_in_a_table_of_their_own_without_ranks(visit, real):
    rows = shown(visit("tables/*cka*"))
    primary = {name: result.scores.primary for name, result in real.cka.items()}
    names = [
        name.replace(" flagged", "") for name in ids(rows)
    ]  # without predictions, nobody can score them again
    assert names == by(real.cka, lambda result: result.scores.primary.value)
    for row, name in zip(rows, names, strict=True):
        assert row["Score"] == f"{written(primary[name].value)} {between(primary[name].ci95)}"
        assert row["Rank"] == "\N{EN DASH}"


def test_the_index_names_the_first_of_each_table(visit, real):
    cells = (
        visit("index")
        .locator("table.overview tbody tr")
        .evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))")
    )
    best, similar = (
        by(real.ridge, median_r)[0],
        by(real.cka, lambda result: result.scores.primary.value)[0],
    )
    expected = [
        ["ridge", str(len(real.ridge)), best, written(median_r(real.ridge[best]))],
        ["cka", "2", similar, written(real.cka[similar].scores.primary.value)],
    ]
    assert [[row[0], *row[3:6]] for row in cells] == expected


def test_the_page_of_a_network_has_its_layers_in_order(visit, real):
    page = visit("models/efficientnet-lite0-[0-9a-f]*")
    assert page.locator("h1").inner_text() == NETWORK
    of_ridge, of_cka = (
        [" ".join(text.split()) for text in section.locator("details[id^=r-] > summary").all_inner_texts()]
        for section in page.locator("section.of-table").all()
    )
    scores = [real.ridge[name].scores.pearson_r for name in TRAINED]
    assert of_ridge == [
        f"{layer} r {written(score.median)} {between(score.ci95)}"
        for layer, score in zip(LAYERS, scores, strict=True)
    ]
    primary = real.cka[TRAINED[1]].scores.primary
    assert len(of_cka) == 1 and of_cka[0].startswith("_blocks.8 ")
    assert of_cka[0].endswith(f"{written(primary.value)} {between(primary.ci95)}")


def test_a_click_sorts(visit, real):
    page = visit("tables/*ridge*")
    button = page.get_by_role("button", name="EV", exact=True)
    for highest_first in (True, False):
        button.click()
        assert ids(shown(page)) == by(real.ridge, median_ev, highest_first)
    page.get_by_role("button", name="Rank", exact=True).click()
    ranks = [int(row["Rank"]) for row in shown(page)]
    assert ranks == sorted(ranks)


def test_the_keyboard_sorts_and_compares(visit, real):
    page = visit("tables/*ridge*")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "Features":
            break
    page.keyboard.press("Enter")
    sizes = [features(real.ridge[name]) for name in ids(shown(page))]
    assert sizes == sorted(map(features, real.ridge.values()), reverse=True)
    page.keyboard.press("Space")
    assert [features(real.ridge[name]) for name in ids(shown(page))] == sizes[::-1]

    page.get_by_role("link", name="compare pixels").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".verdict")
    assert ". pixels (" in page.locator("#first option:checked").inner_text()
    page.locator("#first").focus()
    page.keyboard.press("Home")
    best = by(real.ridge, median_r)[0]
    page.wait_for_function(
        "id => document.querySelector('#first option:checked').textContent.includes(`. ${id} (`)", arg=best
    )


def test_a_text_and_a_kind_filter(visit, real):
    page = visit("tables/*ridge*")
    total = len(real.ridge)
    page.get_by_role("searchbox").fill("BLOCKS.8 lite0")
    assert set(ids(shown(page))) == {TRAINED[1], f"{RANDOM}:_blocks.8"}
    assert page.get_by_role("status").inner_text() == f"2 of {total} shown."
    page.get_by_label("Kind").select_option("random")
    assert ids(shown(page)) == [f"{RANDOM}:_blocks.8"]
    page.get_by_role("searchbox").fill("")
    page.get_by_label("Kind").select_option("")
    page.get_by_label("best layer of each model only").check()
    ranked = by({name: real.ridge[name] for name in TRAINED}, median_r)
    assert set(ids(shown(page))) == set(real.ridge) - set(ranked[1:])


PAIRS = [(TRAINED[1], f"{RANDOM}:_blocks.8"), ("pixels", TRAINED[0]), (TRAINED[2], TRAINED[1])]


@pytest.mark.parametrize("pair", PAIRS, ids=["trained and random", "pixels", "two layers"])
def test_compare_gives_the_paired_difference(visit, real, pair):
    page = visit("compare/*ridge*")
    for select, name in zip(("#first", "#second"), pair, strict=True):
        key = page.locator(f"{select} option").evaluate_all(
            "(options, id) => options.find((option) => option.textContent.includes(`. ${id} (`)).value", name
        )
        page.locator(select).select_option(key)
    first, second = (real.ridge[name] for name in pair)
    page.wait_for_function(  # predictions are kept as float32
        "value => Math.abs(document.querySelector('#figures')?.dataset.value - value) < 1e-5",
        arg=median_r(first) - median_r(second),
    )
    ends = page.locator("#figures").evaluate("e => [e.dataset.low, e.dataset.high].map(Number)")
    held_out = [real.held_out[name] for name in pair]
    same = paired_difference(*held_out, seed=first.split.seed).ci95
    np.testing.assert_allclose(ends, same, atol=1e-6)  # draws reach the page as float32
    # An end at share p of n draws has the standard error sqrt(p (1 - p) / n) / density, for a normal difference
    # 0.022 widths; 5 of them, for two sets of draws, are 0.15.
    other = paired_difference(*held_out, seed=OTHER_SEED).ci95
    np.testing.assert_allclose(ends, other, atol=0.15 * (other[1] - other[0]))

    text = page.locator("#figures dd").first.inner_text()
    np.testing.assert_allclose(numbers(text), [median_r(first) - median_r(second), *same], atol=6e-4)
    verdict = page.locator(".verdict").inner_text()
    above = f"{pair[0]} lies wholly above {pair[1]}."
    below = f"{pair[1]} lies wholly above {pair[0]}."
    tied = f"{pair[0]} and {pair[1]} are tied: the interval of their difference holds 0."
    assert verdict == (above if same[0] > 0 else below if same[1] < 0 else tied)


def test_compare_shows_each_neuroid(visit, real):
    page = visit("compare/*ridge*")
    page.wait_for_selector(".verdict")
    first, second = (
        page.locator(f"{select} option:checked").inner_text().split(". ", 1)[1].rsplit(" (", 1)[0]
        for select in ("#first", "#second")
    )
    page.locator("summary").click()
    rows = page.locator("#comparison table tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    expected = {
        one.neuroid_id: (one.pearson_r, other.pearson_r, one.pearson_r - other.pearson_r)
        for one, other in zip(real.ridge[first].per_neuroid, real.ridge[second].per_neuroid, strict=True)
        if one.pearson_r is not None and other.pearson_r is not None
    }
    assert {row[0] for row in rows} == set(expected)
    assert page.locator("svg circle.neuroid").count() == len(expected)
    for name, *figures in rows:
        np.testing.assert_allclose(numbers(" ".join(figures[:3])), expected[name], atol=6e-4)


def test_a_chosen_theme_holds_on_the_next_page(visit):
    page = visit("tables/*ridge*")

    def paper():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = paper()
    page.get_by_role("button", name="Dark theme").click()
    dark = paper()
    assert dark != light
    page.get_by_role("link", name="Compare two candidates").click()
    page.wait_for_selector(".verdict")
    assert paper() == dark


def test_no_page_scrolls_sideways_on_a_phone(visit, real):
    page = visit("index", viewport=PHONE)
    pages = sorted(real.site.rglob("*.html"))
    assert len(pages) >= 9
    for path in pages:
        page.goto(path.as_uri())
        if path.parent.name == "compare":
            page.wait_for_selector(".verdict")
        page.locator("details").evaluate_all("all => all.forEach(details => { details.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path.name


AXE_PAGES = [
    "index",
    "tables/*ridge*",
    "tables/*cka*",
    "models/efficientnet-lite0-[0-9a-f]*",
    "compare/*ridge*",
]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious(visit, theme, viewport):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    for pattern in AXE_PAGES:
        page = visit(pattern, theme=theme, viewport=viewport, bypass_csp=True)  # the policy would refuse axe
        if pattern.startswith("compare"):
            page.wait_for_selector(".verdict")
        page.locator("details").evaluate_all("all => all.forEach(details => { details.open = true; })")
        found = axe.Axe().run(page, options={"preload": False}).response
        assert found["passes"]
        assert [
            (one["id"], one["nodes"][0]["html"][:160])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ] == [], pattern
