/* The chart of several runs: one line a run, on the axes and with the strokes of the loss chart (loss-paint.js).
   glass.paintRuns(canvas, view, {lines, unit, axis}) draws and returns the frame that turns pixels back into x.
   view: {width, height, zoom, log, hover: index into data.xs | -1, drag}; a line: {xs, ys, colour, dash, dots, name}. */
(function () {
  'use strict';

  function frame(view, { lines, xs }) {
    const { curve } = glass, wide = view.width >= 520;
    const [x0, x1] = view.zoom || [Math.min(0, xs[0] ?? 0), xs.at(-1) || 1];
    const box = { left: 48, right: view.width - (wide ? 64 : 14), top: 26, bottom: view.height - 38 };
    let range = [Infinity, -Infinity];
    for (const line of lines) { line.span = curve.span(line.xs, x0, x1); range = curve.reach(line.ys, ...line.span, range); }
    let [lo, hi] = range[0] <= range[1] ? range : [0, 1];
    const log = view.log && lo > 0, f = log ? Math.log : (v) => v;
    if (log) {
      const pad = (Math.log(hi / lo) || 0.2) * 0.06;
      lo *= Math.exp(-pad); hi *= Math.exp(pad);
    } else {
      const pad = (hi - lo || 0.2) * 0.06;
      lo = Math.max(0, lo - pad); hi += pad;
    }
    return {
      box, wide, x0, x1, lo, hi, log,
      x: (v) => box.left + (v - x0) / (x1 - x0 || 1) * (box.right - box.left),
      y: (v) => box.bottom - (f(v) - f(lo)) / (f(hi) - f(lo)) * (box.bottom - box.top),
      step: (px) => x0 + (px - box.left) / (box.right - box.left) * (x1 - x0),
    };
  }

  /** The last values at the right edge, spread so that no two are written on each other. */
  function drawEnds(g, fr, ink, ends) {
    ends.sort((a, b) => a.at - b.at);
    ends.forEach((end, i) => { end.py = Math.max(end.at, i ? ends[i - 1].py + 15 : fr.box.top); });
    for (let i = ends.length - 1, low = fr.box.bottom - 4; i >= 0; i--, low = ends[i + 1].py - 15) ends[i].py = Math.min(ends[i].py, low);
    g.font = ink.bold;
    for (const end of ends) glass.paintLoss.parts.write(g, end.colour, end.value.toFixed(3), Math.min(end.px, fr.box.right) + 8, end.py, 'left', ink.card);
    g.font = ink.font;
  }

  function drawDots(g, fr, ink, line, list) {
    const every = Math.max(1, Math.ceil(list.length * 9 / (fr.box.right - fr.box.left)));
    g.setLineDash([]);
    for (let k = list.length - 1; k >= 0; k -= every) {
      if (!list[k]) continue;
      g.beginPath(); g.arc(list[k][0], fr.y(list[k][1]), 2.8, 0, 7);
      g.fillStyle = ink.card; g.fill(); g.stroke();
    }
  }

  glass.paintRuns = function (canvas, view, data) {
    const { curve } = glass, { drawAxes, inks, trace } = glass.paintLoss.parts;
    const g = glass.canvas2d(canvas, view.width, view.height), ink = inks(canvas), fr = frame(view, data), { box } = fr, ends = [];
    g.font = ink.font; g.textBaseline = 'middle';
    drawAxes(g, fr, ink, data.unit, data.axis);
    g.save();
    g.beginPath(); g.rect(box.left - 4, 0, box.right - box.left + 8, box.bottom + 4); g.clip();
    g.lineJoin = 'round';
    for (const line of data.lines) {
      const list = line.dots ? line.xs.slice(...line.span).map((x, i) => [fr.x(x), line.ys[line.span[0] + i]]) : curve.means(line.xs, line.ys, ...line.span, fr.x);
      g.strokeStyle = line.colour; g.lineWidth = 2; g.setLineDash(line.dash);
      trace(g, list, fr.y);
      if (line.dots) { g.lineWidth = 1.5; drawDots(g, fr, ink, line, list); }
      const last = line.ys.length - 1;
      if (last >= 0 && line.xs[last] <= fr.x1 + 1e-9) ends.push({ px: fr.x(line.xs[last]), at: fr.y(line.ys[last]), value: line.ys[last], colour: line.colour });
    }
    g.setLineDash([]);
    if (view.drag) {
      const [a, b] = view.drag;
      g.globalAlpha = 0.16; g.fillStyle = ink.accent;
      g.fillRect(Math.min(a, b), box.top, Math.abs(b - a), box.bottom - box.top);
      g.globalAlpha = 1;
    }
    if (view.hover >= 0) {
      const at = Math.round(fr.x(data.xs[view.hover])) + 0.5;
      g.strokeStyle = ink.soft; g.lineWidth = 1;
      g.beginPath(); g.moveTo(at, box.top); g.lineTo(at, box.bottom); g.stroke();
      for (const line of data.lines) {
        const i = curve.reads(line.xs, data.xs[view.hover]);
        if (i < 0) continue;
        g.beginPath(); g.arc(fr.x(line.xs[i]), fr.y(line.ys[i]), 4.2, 0, 7);
        g.fillStyle = line.colour; g.fill();
        g.strokeStyle = ink.card; g.lineWidth = 1.5; g.stroke();
      }
    }
    g.restore();
    if (fr.wide) drawEnds(g, fr, ink, ends);
    return fr;
  };
})();
