"""Several runs side by side: curves, figures and settings, recomputed here from what the runs wrote down."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from explorer.compare import curve_of, differences, inert, table_of
from explorer.figures.loss import UNITS, figure, page_of
from explorer.server import Server
from tests.explorer.test_page_protocol import documented, keys_of
from tests.explorer.test_runs import HOSTILE, Call, caller
from tests.explorer.tiny import over, sentence, tiny_recipe, tiny_trainer
from training.artifacts import smooth
from training.config import Recipe
from training.events import BaselinesKnown, Changed, Evaluated, Event, Finished, Started, Stepped
from training.runs import Parent, RunFolder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(server: Server, uploads: Path) -> Call:
    return caller(server)


def write(server: Server, run_id: str, events: list[Event], name: str = "a run", recipe: Recipe | None = None) -> str:
    """A run on disk in which this happened; its ref."""
    folder = RunFolder.create(
        server.jobs.root / run_id, name, recipe or tiny_recipe(), {"name": "x.txt", "characters": 9}
    )
    for event in events:
        folder.append(event)
    folder.close()
    return f"run:{run_id}"


def steps(count: int, pace: float = 320.0) -> list[Event]:
    """A training of `count` steps of a tenth of a second, measured after every hundredth."""
    found: list[Event] = [Started(0, 0.0, count, 99, "cpu", 2.1, train_bytes_per_token=2.6)]
    for step in range(1, count + 1):
        found.append(Stepped(step, step / 10, 4 * math.exp(-step / 500), 0.01, 1.0, pace))
        if step % 100 == 0:
            found.append(
                Evaluated(step, step / 10, 3.0, 3.5 - step / 1000, (3.5 - step / 1000) / math.log(2) / 2.1, True)
            )
    return [*found, Finished(count, count / 10, "done")]


# ---- curves and figures -------------------------------------------------------------------------------------------


def test_a_comparison_is_what_the_runs_wrote_down(server: Server, call: Call) -> None:
    runs = [over(server.jobs.submit(tiny_trainer(server.jobs.root, n, steps=s))) for n, s in (("one", 6), ("two", 9))]
    refs = [f"run:{run.info.id}" for run in runs]
    reply = call("compare", models=refs)
    assert keys_of(reply) == documented("compare: reply")
    for run, told in zip(runs, reply["runs"], strict=True):
        written = [json.loads(line) for line in (run.folder.path / "metrics.jsonl").read_text().splitlines()]
        made = [line for line in written if line["event"] == "step"]
        measured = [line for line in written if line["event"] == "eval"]
        assert told["points"]["step"] == [line["step"] for line in made]
        assert told["points"]["loss"] == pytest.approx([line["loss"] for line in made], rel=1e-4)
        assert told["points"]["seconds"] == pytest.approx([line["wall_s"] for line in made], abs=0.01)
        assert told["points"]["tokens"] == [4 * 8 * line["step"] for line in made], "a batch of 4 windows of 8"
        assert told["evals"]["tokens"] == [4 * 8 * line["step"] for line in measured]
        assert told["evals"]["val"] == pytest.approx([line["val_loss"] for line in measured], rel=1e-4)
        assert told["evals"]["bits_per_byte"] == pytest.approx([line["bits_per_byte"] for line in measured], rel=1e-4)
        best = min(measured, key=lambda line: line["val_loss"])
        for end, line in ((told["final"], measured[-1]), (told["best"], best)):
            assert end == {
                "kind": "validation",
                "step": line["step"],
                "nats": line["val_loss"],
                "bits": line["bits_per_byte"],
            }
        first = written[0]
        assert told["nats_to_bits"] == pytest.approx(1 / math.log(2) / first["bytes_per_token"])
        assert told["train_nats_to_bits"] == pytest.approx(1 / math.log(2) / first["train_bytes_per_token"])
        assert (told["parameters"], told["optimizer"]) == (first["parameters"], "adamw")
        assert told["tokenizer"].startswith("characters, ")
    assert reply["differences"] == [
        {"name": "steps", "help": "Number of updates of the weights.", "values": ["6", "9"]}
    ]


def test_long_curves_are_averaged(server: Server, call: Call) -> None:
    ref = write(server, "long", steps(7_000))
    told = call("compare", models=[ref])["runs"][0]["points"]
    assert len(told["step"]) == math.ceil(7_000 / 3) <= 3_000
    assert told["step"][:2] == [3, 6]
    assert told["step"][-1] == 7_000
    wanted = sum(4 * math.exp(-step / 500) for step in (1, 2, 3)) / 3
    assert told["loss"][0] == pytest.approx(wanted, rel=1e-4)


def test_steps_that_were_walked_twice_count_once(server: Server) -> None:
    """A run that was killed and goes on from a checkpoint."""
    again = [Stepped(step, 20 + step / 10, 1.0, 0.01, 1.0, 320.0) for step in range(151, 181)]
    ref = write(server, "twice", [*steps(200)[:-1], *again, Evaluated(180, 38.0, 1.0, 2.0, 3.0, True)])
    curve = curve_of(ref, server.jobs.find("twice"))
    assert [event.step for event in curve.steps] == list(range(1, 181))
    assert {event.loss for event in curve.steps[150:]} == {1.0}
    assert [(event.step, event.val_loss) for event in curve.evals] == [(100, 3.4), (180, 2.0)]


def test_tokens_of_documents_are_reckoned_from_the_pace(server: Server) -> None:
    """Each of these steps took 0.1 s at 320 tokens a second; one has a measurement of a second before it."""
    happened = steps(300)
    late = [e if e.step <= 100 else type(e)(**{**vars(e), "wall_s": e.wall_s + 1.0}) for e in happened]
    recipe = tiny_recipe(cut="documents")
    curve = curve_of(write(server, "documents", late, recipe=recipe), server.jobs.find("documents"))
    assert curve.tokens == [32 * step for step in range(1, 301)]
    assert curve.tokens_at(0) == 0
    assert curve.tokens_at(100) == 3_200


def test_without_held_out_text_it_is_the_training(server: Server, call: Call) -> None:
    events: list[Event] = [Started(0, 0.0, 4, 99, "cpu", 2.0)]
    for step, loss in ((1, 3.0), (2, 1.5), (3, 2.0)):
        events += [Stepped(step, step, loss, 0.1, 1.0, 10.0), Evaluated(step, step, loss, None, None, False)]
    told = call("compare", models=[write(server, "all-of-it", events)])["runs"][0]
    assert told["final"] == {"kind": "training", "step": 3, "nats": 2.0, "bits": pytest.approx(2.0 / math.log(2) / 2)}
    assert (told["best"]["step"], told["best"]["nats"]) == (2, 1.5)
    nothing = call("compare", models=[write(server, "nothing", [])])["runs"][0]
    assert (nothing["final"], nothing["best"], nothing["points"]["step"]) == (None, None, [])


def test_the_shipped_model_can_be_compared(tmp_path: Path, uploads: Path) -> None:
    from explorer.limits import Limits

    server = Server(tmp_path / "runs", ROOT / "weights", Limits())
    reply = caller(server)("compare", models=["shipped:tales", write(server, "mine", steps(100))])
    told = reply["runs"][0]
    lines = [json.loads(line) for line in (ROOT / "weights/tales/metrics.jsonl").read_text().splitlines()]
    made = [line for line in lines if line["event"] == "step"]
    assert told["points"]["step"][-1] == made[-1]["step"]
    total = 16 * 128  # tokens a step, as the card of the model says its batch and context
    assert told["points"]["tokens"][-1] / made[-1]["step"] == pytest.approx(total, rel=0.01)
    assert (told["state"], told["optimizer"], told["tokenizer"]) == ("shipped", None, "own BPE, 1,536")
    unknown = next(row for row in reply["differences"] if row["name"] == "layers")
    assert unknown["values"] == ["4", "1"]
    assert all(row["values"][0] is not None or row["name"] not in ("layers", "width") for row in reply["differences"])
    assert not any(row["name"] == "batch size" for row in reply["differences"]), "one of two is not known"


# ---- settings -----------------------------------------------------------------------------------------------------


def test_only_settings_that_differ_and_matter(server: Server) -> None:
    recipes = {
        "a": tiny_recipe(),
        "b": tiny_recipe(optimizer="muon", muon_learning_rate=0.02, threads=2, width=32),
        "c": tiny_recipe(cut="documents", lower=True, teacher_temperature=7.0),
    }
    refs = [write(server, name, steps(100), recipe=recipe) for name, recipe in recipes.items()]
    rows = {row["name"]: row["values"] for row in differences([server.jobs.find(ref[4:]) for ref in refs])}
    assert rows["optimizer"] == ["adamw", "muon", "adamw"]
    assert rows["width"] == ["16", "32", "16"]
    assert rows["cut"] == ["blocks", "blocks", "documents"]
    assert rows["cleaning: lower"] == ["no", "no", "yes"]
    for name in ("threads", "teacher temperature", "learning rate", "steps", "heads", "text", "muon learning rate"):
        assert name not in rows
    assert differences([server.jobs.find("a")]) == []


def test_where_a_run_began_and_what_was_changed_while_it_trained(server: Server) -> None:
    """A fork may have its parent's settings to the last one, and still be another run."""
    one = write(server, "a", steps(100))
    changes = [Changed(40, 4.0, 0.5, 4), Changed(60, 6.0, 0.5, 8), Changed(60, 6.0, 0.25, 8)]
    parent = Parent("a", "the first", 50, "exact", "kept", ("layer 2, head 3 silenced",))
    folder = RunFolder.create(
        server.jobs.root / "b", "b", tiny_recipe(), {"name": "x.txt", "characters": 9}, None, parent
    )
    for event in (*changes, *steps(100)):
        folder.append(event)
    folder.close()
    rows = {row["name"]: row["values"] for row in differences([server.jobs.find(one[4:]), server.jobs.find("b")])}
    assert rows == {
        "begins from": ["random weights", "the first, step 50"],
        "edited there": ["nothing", "layer 2, head 3 silenced"],
        "rate and batch changed": ["never", "× 0.5, batch 4 after step 40; × 0.25, batch 8 after step 60"],
    }


def test_one_text_under_two_names_is_no_difference(server: Server) -> None:
    refs = [write(server, name, steps(100)) for name in "ab"]
    one, other = (server.jobs.find(ref[4:]) for ref in refs)
    told = {"characters": 1000, "opening": "The cat sat"}
    named = [
        replace(run, info=replace(run.info, corpus=told | {"name": name}))
        for run, name in ((one, "Tales"), (other, "tales.txt"))
    ]
    assert differences(named) == []
    named[1] = replace(one, info=replace(one.info, corpus=told | {"name": "tales.txt", "opening": "A dog"}))
    assert [row["name"] for row in differences(named)] == ["text"]


@pytest.mark.parametrize(
    "models", [None, [], ["run:x"], ["run:a", "run:a"], "run:a", [1], ["shipped:../x"], ["run:../.."]]
)
def test_what_cannot_be_compared(server: Server, call: Call, models: Any) -> None:
    write(server, "a", steps(100))
    sentence(call("compare", models=models))
    sentence(call("export", models=models, kind="csv"))
    refs = [write(server, f"r{i}", steps(100)) for i in range(7)]
    assert "up to 6" in sentence(call("compare", models=refs))
    assert len(call("compare", models=refs[:6])["runs"]) == 6


# ---- files --------------------------------------------------------------------------------------------------------


def test_the_table_holds_every_measurement(server: Server, call: Call) -> None:
    refs = [write(server, "a", steps(200), name="=cmd|x"), write(server, "b", steps(100), name='b, "quoted"\n')]
    reply = call("export", models=refs, kind="csv")
    assert keys_of(reply) == documented("download: reply")
    rows = list(csv.DictReader(io.StringIO(Path(reply["path"]).read_text(encoding="utf-8"))))
    assert len(rows) == 200 + 2 + 100 + 1
    assert [row["run"] for row in rows[:202]] == ["'=cmd|x"] * 202, "no formula"
    row = next(row for row in rows if row["kind"] == "validation" and row["step"] == "200")
    assert float(row["loss_nats_per_token"]) == 3.3
    assert float(row["loss_bits_per_byte"]) == pytest.approx(3.3 / math.log(2) / 2.1)
    row = next(row for row in rows if row["kind"] == "training" and row["step"] == "5")
    assert float(row["loss_nats_per_token"]) == 4 * math.exp(-5 / 500)
    assert float(row["loss_bits_per_byte"]) == pytest.approx(4 * math.exp(-5 / 500) / math.log(2) / 2.6)
    assert [inert(text) for text in ("-1", "@x", "+1", "plain")] == ["'-1", "'@x", "'+1", "plain"]
    assert table_of([]).count("\n") == 1


def test_the_picture_has_what_that_of_the_run_has(server: Server, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of counting alone and the axis in bits per byte as well."""
    drawn: list[Event] = []
    monkeypatch.setattr("explorer.compare.draw_loss", lambda path, events, title: drawn.extend(events))
    happened: list[Event] = [*steps(100)[:-1], BaselinesKnown(1, 0.1, {"unigram": 3.45}, {"unigram": 2.4})]
    call("export", models=[write(server, "a", happened)], kind="png")
    assert sorted(map(str, drawn)) == sorted(map(str, happened))


def test_the_picture_and_what_cannot_be_made(server: Server, call: Call) -> None:
    ref = write(server, "a", steps(100), name="</title>x" * 5)
    reply = call("export", models=[ref], kind="png")
    assert Path(reply["path"]).read_bytes().startswith(b"\x89PNG")
    assert reply["name"].endswith(".png")
    other = write(server, "b", steps(100))
    for kind in ("png", "exe", None):
        assert "html or csv" in sentence(call("export", models=[ref, other], kind=kind))
    assert "no curve yet" in sentence(call("export", models=[write(server, "c", [])], kind="html"))


@pytest.mark.parametrize("unit", list(UNITS))
@pytest.mark.parametrize("axis", ["step", "seconds", "tokens"])
def test_the_figure_shows_the_runs_own_numbers(server: Server, unit: str, axis: str) -> None:
    known = BaselinesKnown(1, 0.1, {"unigram": 3.1, "bigram": 2.4}, {"unigram": 2.2, "bigram": 1.7})
    events = steps(200)
    ref = write(server, "a", [*events[:2], known, *events[2:]])
    chart = figure([curve_of(ref, server.jobs.find("a"))], unit, axis)
    raw, even, val = chart.data
    factor = 1.0 if unit == "nats" else 1 / math.log(2) / 2.6
    losses = [4 * math.exp(-step / 500) * factor for step in range(1, 201)]
    assert list(raw.y) == pytest.approx(losses)
    assert list(even.y) == pytest.approx(smooth(losses))
    assert list(val.y) == pytest.approx([v if unit == "nats" else v / math.log(2) / 2.1 for v in (3.4, 3.3)])
    each = {"step": 1, "seconds": 0.1, "tokens": 32}[axis]
    assert list(raw.x) == pytest.approx([each * step for step in range(1, 201)])
    assert list(val.x) == pytest.approx([each * 100, each * 200])
    lines = sorted(shape.y0 for shape in chart.layout.shapes)
    assert lines == ([2.4, 3.1] if unit == "nats" else [1.7, 2.2])
    assert UNITS[unit] in chart.layout.yaxis.title.text


def test_a_hostile_name_is_text_in_the_page(server: Server, call: Call) -> None:
    names = [HOSTILE, "<!--<script>", '"><img src=x onerror=alert(1)>', '<a href="javascript:alert(1)">x</a>']
    refs = [write(server, f"r{i}", steps(100), name=name) for i, name in enumerate(names)]
    reply = call("export", models=refs, kind="html", unit="bits", axis="tokens")
    html = Path(reply["path"]).read_text(encoding="utf-8")
    assert 3_000_000 < reply["bytes"] < 8_000_000, "plotly is inside, and once"
    for name in names:
        assert name not in html
    library = page_of([curve_of(write(server, "plain", steps(100), name="plain"), server.jobs.find("plain"))])
    for mark in ("<script", "</script>", "<!--", "<img"):
        assert html.count(mark) == library.count(mark), f"a name brought another {mark}"
    assert 'src="http' not in html


def test_plotly_is_loaded_when_it_is_asked_for() -> None:
    code = "import sys, app; print('plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False", "each start of the app would pay for it"
