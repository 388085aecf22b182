"""Runs as a visitor has them: renamed, compared, taken out as a zip, deleted, opened again; the chart as a page."""

import json
import re
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Server, Visit
from tests.browser.reference import SHORT_MEMORY, SHORT_MEMORY_RUN, evaluations, losses
from tests.browser.screen import arrived, follow, here
from training.bundle import pack, unpack
from training.runs import RunFolder

HOSTILE = "</script><b id=planted>mine</b>"
ON_THE_CLOCK = """iso => new Date(iso).toLocaleString(
    'en-GB', {day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit'})"""


def plant_copy(server: Server, tmp_path: Path, name: str) -> str:
    """A second run with the planted one's curve, under another id; removed by the test that plants it."""
    file = pack(server.runs / SHORT_MEMORY_RUN, tmp_path / "copy.zip")
    run = unpack(file, server.runs)
    assert run != SHORT_MEMORY_RUN
    RunFolder(server.runs / run).rename(name)
    return run


def row(page: Page, run: str) -> Locator:
    return here(page, "runs").locator(f'tr[data-ref="run:{run}"]')


def choose(page: Page, *runs: str) -> None:
    """Tick these runs, and no others."""
    ticked = here(page, "runs").locator("tbody input:checked")
    while ticked.count():
        ticked.first.uncheck()
    for run in runs:
        row(page, run).locator("input[type=checkbox]").check()


def test_rename_compare_zip_delete_and_open_again(visit: Visit, server: Server, tmp_path: Path) -> None:
    run = plant_copy(server, tmp_path, "a copy")
    page = follow(visit, run, "a copy")
    expect(row(page, run)).to_contain_text("finished")

    # rename, with a name that is markup
    choose(page, run)
    here(page, "runs-rename").click()
    box = here(page, "runs-new-name")
    expect(box).to_have_value("a copy")
    box.fill("   ")
    box.press("Enter")
    expect(here(page, "runs-error")).to_contain_text("A run needs a name")
    box.fill(HOSTILE)
    box.press("Enter")
    expect(row(page, run).locator(".g-runs-name")).to_have_text(HOSTILE)
    expect(here(page, "run-name")).to_have_text(HOSTILE)
    expect(page.get_by_test_id("chip").locator("b")).to_have_text(HOSTILE)
    assert page.locator("#planted").count() == 0
    assert RunFolder(server.runs / run).info().name == HOSTILE

    for label, loss in (("nats per token", "1.250"), ("bits per byte", "1.790")):  # of its best checkpoint
        expect(row(page, SHORT_MEMORY_RUN).locator(f'td[data-label="{label}"]')).to_have_text(loss)

    # compare it with the one it was copied from
    choose(page, run, SHORT_MEMORY_RUN)
    expect(here(page, "runs-rename")).to_be_disabled()
    here(page, "runs-compare").click()
    panel = here(page, "compare")
    expect(panel).to_have_attribute("data-lines", "2")
    legend = here(page, "compare-legend").locator("tbody tr")
    for ref, name in ((run, HOSTILE), (SHORT_MEMORY_RUN, SHORT_MEMORY)):
        line = here(page, "compare-legend").locator(f'tr[data-ref="run:{ref}"]')
        expect(line.locator("th bdi")).to_have_text(name)
        cells = line.locator("td").all_inner_texts()
        assert cells[:2] == ["2.010", "1.790 at 300"], "the last measurement and the best, in bits per byte"
    expect(panel).to_contain_text("They have the same settings")

    # take it out as a zip, and delete it: one press asks
    choose(page, run)
    with page.expect_download() as taken:
        here(page, "runs-download").click()
    file = tmp_path / "taken.zip"
    taken.value.save_as(file)
    assert taken.value.suggested_filename == "script-b-id-planted-mine-b.zip"
    button = here(page, "runs-delete")
    button.click()
    expect(button).to_have_text("Delete it for good?")
    assert (server.runs / run).exists()
    button.click()
    expect(row(page, run)).to_have_count(0)
    assert not (server.runs / run).exists()
    expect(here(page, "monitor")).to_have_attribute("data-run", "")
    expect(legend).to_have_count(1)
    expect(page.get_by_test_id("chip").locator("b")).not_to_have_text(HOSTILE)

    # and open it again
    page.get_by_test_id("models").click()
    page.get_by_test_id("open-file").click()
    page.get_by_test_id("import-weights").set_input_files(file)
    page.get_by_test_id("import-open").click()
    expect(page.get_by_test_id("import")).to_be_hidden()
    arrived(page, "Train")
    expect(row(page, run)).to_contain_text("unpacked here")
    expect(here(page, "run-name")).to_have_text(HOSTILE)
    expect(here(page, "loss")).to_have_attribute("data-points", str(len(losses())))
    expect(page.get_by_test_id("chip").locator("b")).to_have_text(HOSTILE)
    choose(page, run)
    button.click()
    button.click()
    expect(row(page, run)).to_have_count(0)
    assert not (server.runs / run).exists()


def test_hovering_reads_every_curve(visit: Visit, server: Server, tmp_path: Path) -> None:
    run = plant_copy(server, tmp_path, "another")
    page = follow(visit, SHORT_MEMORY_RUN, SHORT_MEMORY)
    choose(page, SHORT_MEMORY_RUN, run)
    here(page, "runs-compare").click()
    legend = here(page, "compare-legend")
    expect(legend.locator("tbody tr")).to_have_count(2)
    canvas = here(page, "compare-canvas")
    canvas.focus()
    page.keyboard.press("Home")
    for number, measured in enumerate(evaluations()):
        if number:
            page.keyboard.press("ArrowRight")
        expect(legend.locator("thead")).to_contain_text(f"at step {measured.step}")
        assert [float(cell) for cell in legend.locator(".g-compare-now").all_inner_texts()] == [
            measured.bits_per_byte
        ] * 2
    here(page, "compare-unit-nats").click()
    page.keyboard.press("Tab")
    canvas.focus()
    page.keyboard.press("End")
    assert measured.val_loss is not None
    expect(legend.locator(".g-compare-now").first).to_have_text(f"{measured.val_loss:.3f}")
    here(page, "compare-axis-seconds").click()
    expect(legend.locator(".g-compare-now").first).to_have_text(f"{measured.val_loss:.3f}")
    here(page, "compare-lines-training").click()
    expect(here(page, "compare")).to_contain_text("Loss of the training, smoothed")
    expect(legend.locator("thead")).to_contain_text("last measured")
    expect(legend.locator("tbody tr").first.locator("td").nth(1)).to_have_text(f"{measured.val_loss:.3f}")
    choose(page, run)
    here(page, "runs-delete").click()
    here(page, "runs-delete").click()
    expect(row(page, run)).to_have_count(0)


def test_the_loss_of_known_text_is_told_from_held_out_text(visit: Visit, server: Server, tmp_path: Path) -> None:
    run = plant_copy(server, tmp_path, "nothing held out")
    metrics = server.runs / run / "metrics.jsonl"
    events = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    for event in events:
        event |= {name: None for name in ("val_loss", "bits_per_byte") if name in event}
    metrics.write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")
    page = follow(visit, SHORT_MEMORY_RUN, SHORT_MEMORY)
    choose(page, SHORT_MEMORY_RUN, run)
    here(page, "runs-compare").click()
    panel, said = here(page, "compare"), "Lines without points are losses of a training that held nothing out"
    expect(panel).to_contain_text(said)
    expect(panel.locator(f'tr[data-ref="run:{run}"]')).to_contain_text("nothing held out training")
    here(page, "compare-lines-training").click()
    expect(panel).not_to_contain_text(said)
    choose(page, run)
    here(page, "runs-delete").click()
    here(page, "runs-delete").click()
    expect(row(page, run)).to_have_count(0)


def test_dates_are_those_of_the_visitors_clock(visit: Visit, server: Server) -> None:
    config = json.loads((server.runs / SHORT_MEMORY_RUN / "config.json").read_text())
    hours = {}
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # 25 hours apart
        page = visit(f"/?run={SHORT_MEMORY_RUN}", timezone_id=zone)
        arrived(page, "Train")
        expect(row(page, SHORT_MEMORY_RUN)).to_be_visible()
        wanted = page.evaluate(ON_THE_CLOCK, config["created"])
        expect(row(page, SHORT_MEMORY_RUN).locator("td[data-label=begun]")).to_have_text(wanted)
        page.get_by_test_id("models").click()
        item = page.get_by_test_id("models-menu").get_by_role("menuitemradio").filter(has_text=SHORT_MEMORY)
        expect(item).to_contain_text(wanted)
        hours[zone] = wanted
    assert len(set(hours.values())) == 2


def test_the_chart_as_a_page_of_its_own(visit: Visit, browser: Browser, tmp_path: Path) -> None:
    page = follow(visit, SHORT_MEMORY_RUN, SHORT_MEMORY)
    saved = {}
    for kind in ("html", "png", "csv"):
        with page.expect_download() as taken:
            here(page, f"loss-{kind}").click()
        saved[kind] = tmp_path / f"loss.{kind}"
        taken.value.save_as(saved[kind])
        assert taken.value.suggested_filename == f"short-memory.{kind}"
    assert saved["png"].read_bytes().startswith(b"\x89PNG")
    assert len(saved["csv"].read_text().splitlines()) == 1 + len(losses()) + len(evaluations())
    offline = browser.new_context(offline=True)
    wrong: list[str] = []
    alone = offline.new_page()
    alone.on("pageerror", lambda error: wrong.append(str(error)))
    alone.on("request", lambda sent: wrong.append(sent.url) if not re.match("file:|data:|blob:", sent.url) else None)
    alone.goto(saved["html"].as_uri())
    expect(alone.locator(".legend .traces")).to_have_count(3)
    drawn = alone.evaluate("document.querySelector('.js-plotly-plot').calcdata[2].map(point => point.y)")
    assert drawn == [event.val_loss for event in evaluations()]
    assert wrong == []
    offline.close()
