"""Files of a site: which there are, that they repeat, and that nobody's text escapes into them."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from itprobe.cli import main
from itprobe.errors import InputError
from itprobe.leaderboard.board.reading import read_board
from itprobe.leaderboard.site import build_site
from itprobe.leaderboard.site.build import MARKER
from itprobe.leaderboard.site.downloads import csv_text, script_of
from itprobe.leaderboard.site.tables import key_of, make_tables

VOID = {"meta", "link", "img", "input", "br", "wbr", "hr"}
INLINE = {"a", "b", "bdi", "code", "i", "span", "wbr"}
IN_SVG = {"path", "circle", "rect", "polyline"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; unbalanced tags are an error."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in INLINE:
            self.words.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID | IN_SVG
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in sorted(site.rglob("*.html"))}


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_the_same_results_give_the_same_files(site, board_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "empty"))  # draws are made again, too
    build_site(board_folder, tmp_path / "again", title="Planted board")
    assert contents(tmp_path / "again") == contents(site)


def test_every_link_leads_to_a_file_of_the_site(site):
    for name, page in pages(site).items():
        ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
        for _, attributes in page.elements:
            for target in (attributes.get("href"), attributes.get("src")):
                if target is None:
                    continue
                path, _, fragment = target.partition("#")
                assert re.fullmatch(r"(\.\./)?[a-z0-9./_-]*", path), (
                    target
                )  # no scheme, no host, no raw names
                if path:
                    assert (site / name).parent.joinpath(path).resolve().is_file(), (name, target)
                elif not re.match("[ab]=", fragment):
                    assert fragment in ids


def test_links_to_results_find_their_anchors(site):
    anchors = {
        name: {attributes.get("id") for _, attributes in page.elements} for name, page in pages(site).items()
    }
    for name, page in pages(site).items():
        for link in page.all("a"):
            path, _, fragment = link["href"].partition("#r-")
            if fragment:
                target = (site / name).parent.joinpath(path or (site / name).name).resolve()
                assert f"r-{fragment}" in anchors[target.relative_to(site).as_posix()]


def test_pages_allow_scripts_and_styles_of_the_site_only(site):
    for name, page in pages(site).items():
        (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'"), name
        assert "unsafe" not in policy
        assert not [attributes for _, attributes in page.elements if "style" in attributes]
        assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
        assert all(script.get("src") for script in page.all("script"))
    style = (site / "static" / "site.css").read_text()
    assert "url(" not in style and "@import" not in style and "http" not in style


def test_hostile_names_are_text(site):
    """A candidate is called like an attack; it is shown as it is, on every page that names it."""
    shown = 0
    for name, page in pages(site).items():
        assert not page.all("img"), name
        assert len(page.all("script")) <= 3
        shown += 'onerror="document.title=1">' in page.text
        assert "49" not in re.findall(r"layer(\S+)", page.text)  # no template is run on it
    assert shown >= 3  # its table, its own page, the compare page's data are scripts
    for script in site.rglob("data/**/*.js"):
        text = script.read_text()
        assert text.isascii() and "<" not in text and ">" not in text


def test_scripts_hold_the_data_and_cannot_close_a_page():
    content = {"name": "</script><!--\u2028'\"\\", "n": 1.5}
    text = script_of("table", content)
    assert text.isascii() and "<" not in text
    inner = re.fullmatch(r'itprobe\.receive\("table",(.*)\);\n', text).group(1)
    assert json.loads(inner) == content


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1"])
def test_spreadsheets_find_no_formula(text):
    (_, line), *_ = [csv_text(["a", "b"], [{"a": text, "b": -1.5}]).splitlines()]
    cell, figure = next(csv.reader([line]))
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.strip("' ").lstrip("' ") in text
    assert figure == "-1.5"  # numbers stay numbers


def test_csv_has_all_results(site, board_folder):
    entries = read_board(board_folder).entries
    found = rows(site / "data" / "all.csv")
    assert len(found) == len(entries) == 15
    by_digest = {row["file_sha256"]: row for row in found}
    for entry in entries:
        row, pearson = by_digest[entry.sha256], entry.result.scores.pearson_r
        assert row["candidate"].lstrip("'") == entry.result.candidate.id
        assert row["r_median"] == ("" if pearson is None else repr(pearson.median))
        assert row["kind"] == "measured" and row["simulated"] == "True"
    tested = [row for row in found if row["rank"]]
    assert {row["compared_with"] for row in tested} == {"12"}
    (neuroids, *_) = sorted((site / "data" / "neuroids").iterdir())
    assert len(rows(neuroids)) == 24


def test_a_table_says_what_it_holds(site):
    (ridge,) = [page for name, page in pages(site).items() if name.startswith("tables/planted-it-ridge")]
    text = ridge.text
    assert "Simulated recording. Simulated responses: these scores say nothing about the brain" in text
    assert "Share of ceiling = r |r| / median reliability, r = median r" in text
    assert "Ceiling of r, √ρ 0.900" in text and "version 1" in text and "planted truth" in text
    assert "object_onehot" in text and "control" in text
    (rsa,) = [page for name, page in pages(site).items() if name.startswith("tables/planted-it-rsa")]
    assert "no held-out predictions to pair" in rsa.text and "no ranks are given" in rsa.text


def test_a_model_page_has_its_parts(site):
    page = next(
        p for name, p in pages(site).items() if name.startswith("models/net-") and "random" not in name
    )
    for part in (
        "block5",
        "ceiling √ρ of the neuroid",
        "geometric mean over splits",
        "itprobe score net:block4 --benchmark simulated_small.IT-ridge --seed 1",
        "itprobe score net:block4 --benchmark simulated_small.IT-rsa --seed 1",
        "planted: nothing was measured",
        "recording sha256",
        "not tested: it has no predictions",
    ):
        assert part in page.text, part
    assert len(page.all("circle")) > 5 * 24


def test_checks_name_what_was_refused_and_flagged(site):
    text = Page(site / "checks.html").text
    assert "broken.json" in text and "candidate" in text


def test_reported_figures_stand_apart(planted_site, tmp_path):
    data = planted_site.held_out(0.5, 1)
    made = planted_site.result("pixels", data, track="control")
    recording = made.recording.model_copy(update={"id": "NX414"})
    split = made.split.model_copy(update={"name": "course"})
    made = made.model_copy(update={"recording": recording, "split": split})
    planted_site.save(made, data, tmp_path / "board")
    build_site(tmp_path / "board", tmp_path / "site")
    (page,) = [p for name, p in pages(tmp_path / "site").items() if name.startswith("tables/")]
    assert "Reported elsewhere, not measured here, never ranked" in page.text
    assert "layer3, trained reported 0.015 mean −0.0044" in page.text
    found = rows(tmp_path / "site" / "data" / "all.csv")
    assert [row["kind"] for row in found].count(
        "reported, not measured"
    ) == 5  # the frozen rows of the report
    assert all(not row["rank"] for row in found if row["kind"] != "measured")


def test_what_differs_in_kind_stands_in_tables_of_its_own(planted_site, tmp_path):
    data = planted_site.held_out(0.5, 1)
    made = planted_site.result("net:layer", data)
    other_params = made.mapping.model_copy(
        update={"params": {**made.mapping.params, "lambda_per_neuroid": False}}
    )
    seed = made.split.model_copy(update={"seed": 2})
    newer = made.benchmark.model_copy(update={"version": 2})
    fitted = made.candidate.model_copy(update={"track": "fitted"})
    coarse = made.provenance.model_copy(update={"precision": "bf16"})
    own = {
        key_of(made.model_copy(update=update))
        for update in (
            {},
            {"mapping": other_params},
            {"split": seed},
            {"benchmark": newer},
            {"candidate": fitted},
        )
    }
    assert len(own) == 5
    assert key_of(made) == key_of(made.model_copy(update={"provenance": coarse}))
    planted_site.save(made, data, tmp_path)
    planted_site.save(made.model_copy(update={"provenance": coarse}), data, tmp_path)
    (table,) = make_tables(read_board(tmp_path).entries)
    assert sorted(row.variant for row in table.rows) == ["", "bf16 forward pass"]
    assert {row.standing.compared for row in table.rows} == {0}  # one candidate, computed twice


def test_an_earlier_site_is_replaced_as_a_whole(site, board_folder, tmp_path):
    out = tmp_path / "site"
    build_site(board_folder, out, title="first")
    (only,) = [
        path
        for path in sorted(board_folder.iterdir())
        if path.name.startswith("pixels") and "ridge" in path.name and path.suffix == ".json"
    ]
    smaller = tmp_path / "smaller"
    smaller.mkdir()
    (smaller / only.name).write_bytes(only.read_bytes())
    build_site(smaller, out, title="second")
    names = {path.name for path in out.rglob("*.html")}
    assert "second" in (out / "index.html").read_text() and not any("net" in name for name in names)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("make", ["foreign", "added", "file", "link"])
def test_nothing_but_a_site_is_replaced(make, board_folder, site, tmp_path):
    out = tmp_path / "out"
    if make == "file":
        out.write_text("mine")
    elif make == "link":
        out.symlink_to(tmp_path)
    else:
        out.mkdir()
        if make == "added":
            (out / MARKER).write_text((site / MARKER).read_text())
        (out / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=re.escape(str(out))):
        build_site(board_folder, out)
    assert out.is_symlink() or out.read_text() == "mine" if out.is_file() else True
    assert not (out / "index.html").exists()


def test_a_failed_build_leaves_the_old_site(board_folder, tmp_path, monkeypatch):
    out = tmp_path / "site"
    build_site(board_folder, out)
    before = contents(out)

    def fails(*_):
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr("itprobe.leaderboard.site.pages.Pages.model", fails)
    with pytest.raises(RuntimeError):
        build_site(board_folder, out)
    assert contents(out) == before
    assert [path for path in tmp_path.iterdir() if path != out] == []


def test_command_line(board_folder, tmp_path, capsys):
    main(["leaderboard", "build", str(board_folder), "--out", str(tmp_path / "site"), "--title", "A & B"])
    said = capsys.readouterr().out
    assert "15 results in 2 tables" in said and "1 file refused" in said
    assert "A &amp; B" in (tmp_path / "site" / "index.html").read_text()
    with pytest.raises(SystemExit) as stop:
        main(["leaderboard", "build", str(tmp_path / "nowhere"), "--out", str(tmp_path / "b")])
    assert stop.value.code == 2
    assert "nowhere" in capsys.readouterr().err and not Path(tmp_path / "b").exists()


def test_a_new_board_has_a_site(tmp_path):
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "README.md").write_text("to come")
    build_site(tmp_path / "board", tmp_path / "site")
    assert "There are no results yet." in Page(tmp_path / "site" / "index.html").text


def test_no_site_is_replaced_by_an_empty_one(site, board_folder, tmp_path):
    """A sweep's folder keeps its results in a folder of their own; a board may be given by a wrong name."""
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "results").symlink_to(board_folder)
    with pytest.raises(InputError, match=r"no result files in .*sweep; there are some in .*sweep/results"):
        build_site(tmp_path / "sweep", tmp_path / "new")
    (tmp_path / "empty").mkdir()
    build_site(board_folder, tmp_path / "site", title="Planted board")
    with pytest.raises(InputError, match=r"no result files in .*empty"):
        build_site(tmp_path / "empty", tmp_path / "site")
    assert contents(tmp_path / "site") == contents(site)
    (tmp_path / "empty" / "broken.json").write_text("{")
    with pytest.raises(InputError, match=r"of 1 file refused the first is broken\.json"):
        build_site(tmp_path / "empty", tmp_path / "another")
