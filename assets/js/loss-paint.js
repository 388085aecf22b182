/* Loss chart, the painting: axes, lines, baselines and the words beside them, on one canvas.
   glass.paintLoss(canvas, view, data) draws and returns the frame that turns pixels back into steps. For tests it leaves
   on the canvas data-baselines, the words of the baselines, data-names, the pixel at which each stands and that of its
   line, and data-beaten, each diamond's name and pixels.
   view: {width, height, zoom: [from, to] | null, log, smoothing, hover: index | -1, drag: [px, px] | null};
   data: the state on the topic `run` in the unit that is shown (glass.losses.within), with `even`, the smoothed train
   loss, and `unit`, its words, beside it. */
(function () {
  'use strict';

  const { curve } = window.glass;

  /** The range of the curves, with the baselines that leave them at least half of the height, the nearest first. */
  function stretched(lo, hi, baselines, log) {
    const f = log ? (v) => Math.log(Math.max(v, 1e-6)) : (v) => v, least = (f(hi) - f(lo)) || (log ? 0.5 : 1);
    const away = (b) => Math.max(f(lo) - f(b.value), f(b.value) - f(hi));
    let range = [lo, hi];
    for (const b of [...baselines].sort((a, c) => away(a) - away(c))) {
      const wider = curve.reach([b.value], 0, 1, range);
      if (f(wider[1]) - f(wider[0]) <= 2 * least) range = wider;
    }
    return range;
  }

  function frame(view, data) {
    const { points, evals, run } = data, baselines = glass.losses.beaten(data);
    const wide = view.width >= 520;
    const { parent } = data, lastStep = Math.max(points.step.at(-1) || 0, evals.step.at(-1) || 0, (parent && parent.train.step.at(-1)) || 0, 1);
    const live = run && (run.state === 'running' || run.state === 'paused');
    let full = lastStep;
    if (live && run.steps > lastStep) full = Math.min(run.steps, Math.max(10, curve.ticks(0, lastStep * 1.5, 4).at(-1) || lastStep, lastStep * 1.1));
    const [x0, x1] = view.zoom || [Math.min(points.step[0] ?? 0, 0), full];
    // The words at the lines' ends stand in the room still empty at the right, else in a margin made for them.
    const words = view.smoothing > 0 ? 158 : 118;
    const margin = wide && (1 - (Math.min(lastStep, x1) - x0) / (x1 - x0 || 1)) * (view.width - 60) < words ? words : 14;
    const box = { left: 44, right: view.width - margin, top: wide ? 30 : 50, bottom: view.height - 38 };
    const trainSpan = curve.span(points.step, x0, x1), evalSpan = curve.span(evals.step, x0, x1);
    let range = curve.reach(points.loss, ...trainSpan);
    range = curve.reach(evals.val, ...evalSpan, range);
    for (const line of parent ? [parent.train, parent.val] : []) range = curve.reach(line.loss, ...curve.span(line.step, x0, x1), range);
    let [lo, hi] = range[0] <= range[1] ? range : curve.reach(baselines.map((b) => b.value), 0, baselines.length, [0, 1]);
    const log = view.log && hi > 0;
    [lo, hi] = stretched(lo, hi, baselines, log);
    const shown = baselines.filter((b) => b.value >= lo && b.value <= hi), off = baselines.filter((b) => b.value < lo || b.value > hi);
    if (log) {
      lo = Math.max(lo, hi / 1e5, 1e-6);
      const pad = (Math.log(hi / lo) || 0.2) * 0.06;
      lo *= Math.exp(-pad); hi *= Math.exp(pad);
    } else {
      const pad = (hi - lo || 0.2) * 0.06;
      lo = Math.max(lo >= 0 ? 0 : -Infinity, lo - pad); hi += pad;
    }
    const f = log ? Math.log : (v) => v;
    const y = (v) => box.bottom - (f(log ? Math.max(v, lo) : v) - f(lo)) / (f(hi) - f(lo)) * (box.bottom - box.top);
    const x = (s) => box.left + (s - x0) / (x1 - x0 || 1) * (box.right - box.left);
    const step = (px) => x0 + (px - box.left) / (box.right - box.left) * (x1 - x0);
    return { box, wide, x0, x1, lo, hi, log, x, y, step, trainSpan, evalSpan, shown, off };
  }

  function write(g, ink, text, px, py, align, card) {
    g.textAlign = align;
    g.strokeStyle = card; g.lineWidth = 4; g.lineJoin = 'round';
    g.strokeText(text, px, py);
    g.fillStyle = ink;
    g.fillText(text, px, py);
  }

  function trace(g, list, y) {
    g.beginPath();
    let pen = false;
    for (const p of list) {
      if (!p) { pen = false; continue; }
      if (pen) g.lineTo(p[0], y(p[1])); else g.moveTo(p[0], y(p[1]));
      pen = true;
    }
    g.stroke();
  }

  function drawAxes(g, fr, ink, unit, axis = 'step') {
    const { box } = fr, ys = fr.log ? curve.logTicks(fr.lo, fr.hi, 5) : curve.ticks(fr.lo, fr.hi, 6);
    g.lineWidth = 1;
    const digits = [0, 1, 2, 3, 4].find((d) => ys.every((v) => Math.abs(v * 10 ** d - Math.round(v * 10 ** d)) < 1e-6)) ?? 5;
    for (const v of ys) {
      const at = Math.round(fr.y(v)) + 0.5;
      g.strokeStyle = ink.line;
      g.beginPath(); g.moveTo(box.left, at); g.lineTo(box.right, at); g.stroke();
      g.fillStyle = ink.soft; g.textAlign = 'right';
      g.fillText(fr.log ? String(v) : v.toFixed(digits), box.left - 8, at);
    }
    const count = Math.max(2, Math.floor((box.right - box.left) / 90));
    g.textAlign = 'center';
    for (const s of curve.ticks(fr.x0, fr.x1, count)) {
      if (s % 1) continue;
      g.fillStyle = ink.soft;
      g.fillText(s.toLocaleString('en-US'), fr.x(s), box.bottom + 14);
    }
    g.textAlign = 'right';
    g.fillText(axis, box.right, box.bottom + 31);
    g.textAlign = 'left';
    g.fillText(`loss, ${unit}` + (fr.log ? ', log scale' : ''), 4, 10);
  }

  /** The lines as dots a few pixels apart: what a word must not be written on. */
  function inked(fr, ...lists) {
    const dots = [];
    for (const list of lists) {
      list.forEach((p, i) => {
        const before = list[i - 1];
        if (!p || !before) return;
        const pieces = Math.min(200, Math.ceil((p[0] - before[0]) / 6) || 1), a = fr.y(before[1]), b = fr.y(p[1]);
        for (let k = 1; k <= pieces; k++) dots.push([before[0] + (p[0] - before[0]) * k / pieces, a + (b - a) * k / pieces]);
      });
    }
    return dots;
  }

  /** A diamond on a baseline, at the step of the first evaluation below it. */
  function drawBeat(g, fr, ink, [px, at]) {
    g.beginPath(); g.moveTo(px, at - 5.5); g.lineTo(px + 5.5, at); g.lineTo(px, at + 5.5); g.lineTo(px - 5.5, at); g.closePath();
    g.fillStyle = ink.warm; g.fill();
    g.strokeStyle = ink.card; g.lineWidth = 1.5; g.stroke();
  }

  /** Writes a word where it covers least of the curves and no other word, at one of these heights and as far right as it
      can; and where none of the other `lines` is nearer than its own, `at`, which it would seem to name. */
  function seat(g, fr, ink, label, heights, taken, dots, at = null, lines = []) {
    const wide = g.measureText(label).width, { left, right } = fr.box;
    const places = [1, 0.8, 0.6, 0.4, 0.2, 0].flatMap((share) => heights.map((py) => ({ px: left + wide + 4 + (right - left - wide - 8) * share, py })));
    const cost = (p, rank) => {
      if (p.py < fr.box.top - 8 || p.py > fr.box.bottom - 4) return 1e6;
      const word = taken.some((t) => Math.abs(t.py - p.py) < 15 && p.px > t.x0 - 8 && p.px - wide < t.x1 + 8);
      const stray = at !== null && lines.some((line) => line !== at && Math.abs(line - p.py) < Math.max(6, Math.abs(at - p.py) + 1));
      return rank + (word ? 1e4 : 0) + (stray ? 5e3 : 0) + 8 * dots.filter(([x, y]) => Math.abs(y - p.py) < 9 && x > p.px - wide - 3 && x < p.px + 3).length;
    };
    const costs = places.map(cost), place = places[costs.indexOf(Math.min(...costs))];
    write(g, ink.soft, label, place.px, place.py, 'right', ink.card);
    taken.push({ py: place.py, x0: place.px - wide, x1: place.px });
    return place.py;
  }

  /** Baselines with their names, above their line if they can; those off the scale as words with an arrow at the edge.
      Returns what was drawn: the words, and where the diamonds stand. */
  function drawBaselines(g, fr, ink, taken, dots) {
    g.font = ink.small;
    const words = [], marks = [], seats = [], name = (b) => `${b.name} ${b.value.toFixed(2)}`;
    const lineOf = (b) => Math.round(fr.y(b.value)) + 0.5, lines = fr.shown.map(lineOf);
    for (const b of [...fr.shown].sort((a, c) => c.value - a.value)) {
      const at = lineOf(b), beaten = Number.isFinite(b.step);
      const label = name(b) + (beaten && fr.wide ? `, beaten by ${b.step.toLocaleString('en-US')}` : '');
      g.strokeStyle = ink.cut; g.lineWidth = 1.25; g.setLineDash([5, 4]);
      g.beginPath(); g.moveTo(fr.box.left, at); g.lineTo(fr.box.right, at); g.stroke();
      g.setLineDash([]);
      seats.push([b.name, seat(g, fr, ink, label, [at - 8, at + 9, at], taken, dots, at, lines), at].join(' '));
      words.push(name(b));
      const mark = beaten ? [fr.x(b.step), fr.y(b.value)] : [NaN];
      if (mark[0] >= fr.box.left - 1 && mark[0] <= fr.box.right + 1) marks.push({ name: b.name, at: mark });
    }
    // From the edge inwards: the highest of those above first, and the lowest of those below.
    for (const b of [...fr.off].sort((a, c) => (a.value > fr.hi ? c.value - a.value : a.value - c.value))) {
      const above = b.value > fr.hi, edge = above ? fr.box.top + 4 : fr.box.bottom - 9, label = `${name(b)} ${above ? '↑' : '↓'}`;
      seat(g, fr, ink, label, [0, 16, 32, 48].map((more) => edge + (above ? more : -more)), taken, dots);
      words.push(label);
    }
    words.sort((a, b) => parseFloat(b.match(/[\d.]+/)) - parseFloat(a.match(/[\d.]+/)));
    g.font = ink.font;
    return { words, marks, seats };
  }

  function validation(fr, evals) {
    const [from, to] = fr.evalSpan, list = [];
    for (let i = from; i < to; i++) if (curve.known(evals.val[i])) list.push([fr.x(evals.step[i]), evals.val[i]]);
    return list;
  }

  function drawValidation(g, fr, ink, list) {
    g.strokeStyle = ink.warm; g.lineWidth = 1.75;
    trace(g, list, fr.y);
    const every = Math.max(1, Math.ceil(list.length * 9 / (fr.box.right - fr.box.left)));
    for (let k = list.length - 1; k >= 0; k -= every) {
      g.beginPath(); g.arc(list[k][0], fr.y(list[k][1]), 3.2, 0, 7);
      g.fillStyle = ink.card; g.fill(); g.stroke();
    }
  }

  /** The last point of a line; where it leaves a zoomed picture, that place, and then it has no last value. */
  function lineEnd(list, right) {
    const i = list.findLastIndex((p) => p && p[0] <= right + 1), point = list[i], after = list[i + 1];
    if (!point || !after) return { point, value: point && point[1] };
    const share = (right - point[0]) / (after[0] - point[0] || 1);
    return { point: [right, point[1] + (after[1] - point[1]) * share], value: undefined };
  }

  /** Where the words at the lines' ends go: beside them, or above the picture where it is narrow. */
  function placeEnds(g, fr, ink, ends) {
    const placed = ends.filter((e) => e.point).map((e) => ({ ...e, at: fr.y(e.point[1]), text: [e.name, e.value === undefined ? '' : e.value.toFixed(3), e.kind].filter(Boolean).join(' ') }));
    g.font = ink.bold;
    if (fr.wide) placed.sort((a, b) => a.at - b.at);
    const close = placed.length > 1 && placed[1].at - placed[0].at < 17, middle = close && (placed[0].at + placed[1].at) / 2;
    let px = fr.box.left;
    placed.forEach((e, i) => {
      const width = g.measureText(e.text).width;
      Object.assign(e, { px: fr.wide ? Math.min(e.point[0], fr.box.right) + 9 : px, py: !fr.wide ? 32 : close ? middle + (i ? 8.5 : -8.5) : e.at });
      Object.assign(e, { x0: e.px, x1: e.px + width });
      px += width + 16;
    });
    g.font = ink.font;
    return placed;
  }

  function drawEnds(g, fr, ink, placed) {
    g.font = ink.bold;
    for (const e of placed) {
      if (e.value !== undefined) {
        g.beginPath(); g.arc(Math.min(e.point[0], fr.box.right), e.at, 3.6, 0, 7);
        g.fillStyle = e.ink; g.fill();
      }
      write(g, e.textInk, e.text, e.px, e.py, 'left', ink.card);
    }
    g.font = ink.font;
  }

  function inks(element) {
    const of = (name) => glass.variable(element, name), family = getComputedStyle(element).fontFamily;
    return { card: of('--g-card'), line: of('--g-line'), soft: of('--g-soft'), cut: of('--g-cut'), text: of('--g-ink'),
      accent: of('--g-accent'), wash: of('--g-accent-soft'), warm: of('--g-warm'), warmText: of('--g-warm-ink') || of('--g-warm'),
      font: `13px ${family}`, small: `12px ${family}`, bold: `600 13px ${family}` };
  }

  /** Where settings were changed in flight: a dotted line with what was changed, in the words of `said`. */
  function drawChanges(g, fr, ink, changes, taken) {
    const words = [];
    g.font = ink.small;
    let right = -Infinity, row = 0;
    for (const { step, said } of changes) {
      if (step < fr.x0 || step > fr.x1) continue;
      const at = Math.round(fr.x(step)) + 0.5, wide = g.measureText(said).width, left = at + 4 + wide > fr.box.right;
      g.strokeStyle = ink.warm; g.lineWidth = 1.25; g.setLineDash([2, 3]);
      g.beginPath(); g.moveTo(at, fr.box.top); g.lineTo(at, fr.box.bottom); g.stroke();
      g.setLineDash([]);
      row = at - (left ? wide + 4 : 0) < right ? row + 1 : 0;
      write(g, ink.warmText, said, at + (left ? -4 : 4), fr.box.top + 7 + 15 * (row % 4), left ? 'right' : 'left', ink.card);
      right = Math.max(right, left ? at : at + 10 + wide);
      words.push(`${said} at ${step}`);
      taken.push({ py: fr.box.top + 7 + 15 * (row % 4), x0: left ? at - 4 - wide : at + 4, x1: left ? at - 4 : at + 4 + wide });
    }
    g.font = ink.font;
    return words;
  }

  /** The curve of the run that this one was forked from, grey and behind its own. */
  function drawParent(g, fr, ink, parent, taken) {
    g.strokeStyle = ink.soft;
    g.globalAlpha = 0.55;
    let end = null;
    for (const [line, width, dash] of [[parent.train, 1.5, []], [parent.val, 1.5, [5, 3]]]) {
      const list = curve.means(line.step, line.loss, ...curve.span(line.step, fr.x0, fr.x1), fr.x);
      g.lineWidth = width; g.setLineDash(dash);
      trace(g, list, fr.y);
      end = end || lineEnd(list, fr.box.right).point;
    }
    g.setLineDash([]);
    g.globalAlpha = 1;
    if (!end || !fr.wide) return;
    g.font = ink.small;
    const name = glass.fmt.short(parent.name, 28), px = Math.max(end[0], fr.box.left + g.measureText(name).width), py = Math.max(fr.box.top, fr.y(end[1]) - 12);
    write(g, ink.soft, name, px, py, 'right', ink.card);
    taken.push({ py, x0: px - g.measureText(name).width, x1: px });
    g.font = ink.font;
  }

  /** Draws everything into the canvas; returns the frame, for turning pixels back into steps. */
  function paint(canvas, view, data) {
    const g = glass.canvas2d(canvas, view.width, view.height), ink = inks(canvas), fr = frame(view, data);
    const { box } = fr, { points, evals } = data;
    g.font = ink.font; g.textBaseline = 'middle';
    drawAxes(g, fr, ink, data.unit);
    g.save();
    g.beginPath(); g.rect(box.left - 4, 0, box.right - box.left + 8, box.bottom + 4); g.clip();
    const raw = curve.columns(points.step, points.loss, ...fr.trainSpan, fr.x);
    const even = curve.means(points.step, data.even, ...fr.trainSpan, fr.x), val = validation(fr, evals);
    const ends = placeEnds(g, fr, ink, [
      { ...lineEnd(even, box.right), ink: ink.accent, textInk: ink.accent, name: 'train', kind: view.smoothing > 0 ? 'smoothed' : '' },
      { ...lineEnd(val, box.right), ink: ink.warm, textInk: ink.warmText, name: 'validation' },
    ]);
    g.lineJoin = 'round';
    const taken = [...ends];
    if (data.parent) drawParent(g, fr, ink, data.parent, taken);
    canvas.dataset.parent = data.parent ? `${data.parent.train.step.length} ${data.parent.train.step.at(-1)}` : '';
    g.globalAlpha = view.smoothing > 0 ? 0.34 : 1; g.strokeStyle = ink.accent; g.lineWidth = 1;
    trace(g, raw, fr.y);
    g.globalAlpha = 1;
    const marked = drawChanges(g, fr, ink, data.marks || [], taken);
    const counted = drawBaselines(g, fr, ink, taken, inked(fr, even, val));
    g.strokeStyle = ink.accent; g.lineWidth = 2.25;
    if (view.smoothing > 0) trace(g, even, fr.y);
    drawValidation(g, fr, ink, val);
    for (const mark of counted.marks) drawBeat(g, fr, ink, mark.at);
    if (view.drag) {
      const [a, b] = view.drag;
      g.globalAlpha = 0.16; g.fillStyle = ink.accent;
      g.fillRect(Math.min(a, b), box.top, Math.abs(b - a), box.bottom - box.top);
      g.globalAlpha = 1;
    }
    if (view.hover >= 0) drawCross(g, fr, ink, view.hover, data);
    g.restore();
    drawEnds(g, fr, ink, ends);
    Object.assign(canvas.dataset, { changes: marked.join('; '), baselines: counted.words.join('; '), names: counted.seats.join('; '), beaten: counted.marks.map((m) => [m.name, ...m.at.map((v) => v.toFixed(1))].join(' ')).join('; ') });
    return { ...fr, ends: ends.map((e) => e.text) };
  }

  function drawCross(g, fr, ink, index, { points, evals, even }) {
    const s = points.step[index], at = Math.round(fr.x(s)) + 0.5;
    g.strokeStyle = ink.soft; g.lineWidth = 1;
    g.beginPath(); g.moveTo(at, fr.box.top); g.lineTo(at, fr.box.bottom); g.stroke();
    const dot = (px, value, colour) => {
      if (!curve.known(value)) return;
      g.beginPath(); g.arc(px, fr.y(value), 4.2, 0, 7);
      g.fillStyle = colour; g.fill();
      g.strokeStyle = ink.card; g.lineWidth = 1.5; g.stroke();
    };
    dot(fr.x(s), even[index], ink.accent);
    const e = curve.nearest(evals.step, s);
    if (e >= 0) dot(fr.x(evals.step[e]), evals.val[e], ink.warm);
  }

  window.glass.paintLoss = Object.assign(paint, { parts: { drawAxes, inks, trace, write } }); // for the chart of several runs, too
})();
