/* Loss chart: train loss in indigo (thin: every step, thick: smoothed), validation in orange with round markers,
   baselines dashed in grey, with a diamond where validation comes below them; in nats per token or bits per byte
   (glass.losses). Follows the topic `run`; hover or arrow keys read it exactly, a drag zooms.
   For tests: data-points, data-evals, data-drawn, data-zoom and data-ends (the words at the lines' ends) stand on the element with data-testid="loss". */
(function () {
  'use strict';

  const { h, curve } = window.glass;
  const KEPT = 'glass.smoothing';

  function keptSmoothing() {
    try {
      const kept = parseFloat(localStorage.getItem(KEPT));
      return kept >= 0 && kept < 1 ? kept : 0.9;
    } catch { return 0.9; }
  }

  // ---- the sentence and the table ---------------------------------------------------------------------------------

  /** A loss in the unit that is shown, and after it in the other one. */
  function loss(value, unit, f) {
    const { fixed } = glass.fmt, { bits } = glass.losses;
    const other = !curve.known(value) || f === null ? '' : unit === 'bits' ? `, ${fixed(value / f)} nats per token` : `, ${fixed(bits(value, f))} bits per byte`;
    return [h('b', {}, fixed(value)), other];
  }

  function reading(data, index, smoothing, unit) {
    const { points, evals } = data, { fixed, count } = glass.fmt, f = glass.losses.factor(data.asSent), learnt = glass.losses.trainFactor(data.asSent);
    const step = points.step[index], e = curve.nearest(evals.step, step);
    const parts = [h('b', {}, `Step ${count(step)}`), ': train loss ', loss(points.loss[index], unit, learnt)];
    if (smoothing > 0) parts.push(` (${fixed(data.even[index])} smoothed)`);
    if (e >= 0 && curve.known(evals.val[e])) {
      parts.push('; validation ', loss(evals.val[e], unit, f));
      if (evals.step[e] !== step) parts.push(`, measured at step ${count(evals.step[e])}`);
    }
    return [...parts.flat(), '.'];
  }

  function best(evals) {
    let found = -1;
    evals.val.forEach((v, i) => { if (curve.known(v) && (found < 0 || v < evals.val[found])) found = i; });
    return found;
  }

  function summary({ points, evals, unit }) {
    const { fixed, count } = glass.fmt;
    if (!points.step.length) return 'Loss chart, empty';
    const b = best(evals);
    return `Loss over steps, in ${unit}. Train loss, each step's own: ${fixed(points.loss[0])} at step ${count(points.step[0])}, ${fixed(points.loss.at(-1))} at step `
      + `${count(points.step.at(-1))}.` + (b >= 0 ? ` Lowest validation loss ${fixed(evals.val[b])} at step ${count(evals.step[b])}.` : '');
  }

  function table(state) {
    const { evals } = state, { fixed, count } = glass.fmt, b = best(evals), f = glass.losses.trainFactor(state);
    const head = ['step', 'train, mean since the last', 'validation', 'bits per byte', 'train’s bits per byte'].map((t) => h('th', { scope: 'col' }, t));
    const rows = evals.step.map((s, i) => h('tr', { class: i === b ? 'best' : '' }, h('th', { scope: 'row' }, count(s) + (i === b ? ' (best)' : '')),
      h('td', {}, fixed(evals.train[i])), h('td', {}, fixed(evals.val[i])), h('td', {}, fixed(evals.bits_per_byte[i])), h('td', {}, fixed(glass.losses.bits(evals.train[i], f)))));
    return h('table', { 'data-testid': 'loss-evals' }, h('caption', { class: 'g-hidden' }, 'Evaluations, newest first'), h('thead', {}, h('tr', {}, head)), h('tbody', {}, rows.reverse()));
  }

  function emptySentence({ id, run, problem }) {
    if (problem) return [problem];
    if (!id) return ['Nothing is being watched. Start a training, or open one of your runs, and its loss is drawn here step by step.'];
    if (!run) return ['Opening the run…'];
    const name = h('bdi', {}, run.name);
    if (run.state === 'queued') return [name, ' waits its turn. The line begins with its first step.'];
    if (run.state === 'running') return [name, ' is taking its first step.'];
    if (run.state === 'opened') return [name, ' was opened from a file. It was trained elsewhere, so there is no curve of it here.'];
    return [name, ' ended before its first step.', run.message ? ' ' : '', run.message ? h('bdi', {}, run.message) : ''];
  }

  /** In an empty chart: the curve of the model that came with the app, where it came too. */
  function offer({ id }) {
    const example = glass.last('example');
    if (id || !example) return [];
    return [h('button', { type: 'button', class: 'g-btn', 'data-testid': 'show-shipped', onclick: () => glass.watchRun(example) },
      'Show how the shipped model learnt')];
  }

  /** Where settings were changed in flight, and what of them. */
  function marks({ run, changes }) {
    const forked = run.parent ? [{ step: run.parent.step, said: 'forked here' }] : [];
    return forked.concat(changes.map((change, i) => {
      const before = i ? changes[i - 1] : { rate: 1, batch_size: run.batch_size };
      const said = [change.rate === before.rate ? '' : `rate × ${glass.fmt.rate(change.rate)}`, change.batch_size === before.batch_size ? '' : `batch ${glass.fmt.count(change.batch_size)}`];
      return { step: change.step, said: said.filter(Boolean).join(', ') };
    }).filter((mark) => mark.said));
  }

  /** The curve of the run that the watched one was forked from: fetched when it comes into sight, and while it trains. */
  function parentCurve(server, redraw) {
    let ref = null, found = null, asked = 0;
    async function load(wanted) {
      asked = Date.now();
      try {
        const reply = await glass.call(server, 'compare', { session: glass.session, models: [wanted] }, { quiet: true });
        if (ref === wanted) { found = reply.runs[0]; redraw(); }
      } catch { /* it was deleted: its curve went with it */ }
    }
    return {
      follow({ run }) {
        const now = run && run.parent ? run.parent.ref : null;
        if (now !== ref) { ref = now; found = null; asked = 0; }
        if (ref && (!asked || (found && ['running', 'paused'].includes(found.state) && Date.now() - asked > 5000))) load(ref);
      },
      /** Its lines in a unit: training smoothed, and validation; null where there are none. */
      in(unit) {
        if (!found || !found.points.step.length) return null;
        const { points, evals } = found, bits = (v) => glass.losses.bits(v, found.train_nats_to_bits ?? found.nats_to_bits ?? null);
        const even = curve.smooth(points.step, points.loss, points.step.length > 50 ? 0.95 : 0, {}), same = unit !== 'bits';
        return { name: found.name, train: { step: points.step, loss: same ? even : even.map(bits) }, val: { step: evals.step, loss: same ? evals.val : evals.bits_per_byte } };
      },
    };
  }

  // ---- the component ----------------------------------------------------------------------------------------------

  function controls(view, redraw) {
    const said = h('output', {}, view.smoothing.toFixed(2));
    const slider = h('input', { type: 'range', class: 'g-loss-range', min: '0', max: '0.99', step: '0.01',
      value: String(view.smoothing), 'aria-label': 'Smoothing of the train loss' });
    const fill = () => slider.style.setProperty('--p', `${slider.value / 0.99 * 100}%`);
    slider.addEventListener('input', () => {
      view.smoothing = Number(slider.value);
      said.textContent = view.smoothing.toFixed(2);
      try { localStorage.setItem(KEPT, slider.value); } catch { /* forgotten at the next visit */ }
      fill(); redraw();
    });
    fill();
    const scale = (log, label) => h('button', { type: 'button', class: 'g-loss-seg', 'aria-pressed': String(view.log === log), onclick: (event) => {
      view.log = log;
      for (const b of event.currentTarget.parentNode.children) b.setAttribute('aria-pressed', String(b === event.currentTarget));
      redraw();
    } }, label);
    const units = Object.entries(glass.losses.NAMES).map(([name, label]) => h('button', { type: 'button', class: 'g-loss-seg', 'data-testid': `loss-${name}`,
      'aria-pressed': String(view.unit === name), onclick: () => {
        view.unit = name;
        glass.losses.keep(name);
        for (const b of units) b.setAttribute('aria-pressed', String(b.dataset.testid === `loss-${name}`));
        redraw();
      } }, label));
    const reset = h('button', { type: 'button', class: 'g-btn g-small', hidden: true, 'data-testid': 'loss-reset',
      onclick: () => { view.zoom = null; redraw(); } }, 'Show the whole run');
    const bar = h('div', { class: 'g-loss-bar' }, h('label', {}, h('span', {}, 'smoothing'), slider, said),
      h('div', { class: 'g-loss-axis', role: 'group', 'aria-label': 'Loss axis' }, scale(false, 'linear'), scale(true, 'log')),
      h('div', { class: 'g-loss-axis', role: 'group', 'aria-label': 'Unit of the loss' }, units), reset);
    return { bar, reset, units };
  }

  function pointing(canvas, view, data, redraw) {
    const clamp = (px) => Math.max(view.frame.box.left, Math.min(view.frame.box.right, px));
    const px = (event) => clamp(event.clientX - canvas.getBoundingClientRect().left);
    const hover = (event) => { view.hover = curve.nearest(data().points.step, view.frame.step(px(event))); redraw(); };
    canvas.addEventListener('pointerdown', (event) => {
      if (!view.frame || event.button) return;
      canvas.setPointerCapture(event.pointerId);
      view.drag = [px(event), px(event)];
      hover(event);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (!view.frame) return;
      if (view.drag) view.drag[1] = px(event);
      hover(event);
    });
    const release = (event) => {
      if (!view.drag) return;
      const [a, b] = view.drag.map(view.frame.step).sort((p, q) => p - q), wide = Math.abs(view.drag[1] - view.drag[0]) > 8;
      view.drag = null;
      if (wide && event.type === 'pointerup' && b - a >= 2) view.zoom = [a, b];
      redraw();
    };
    canvas.addEventListener('pointerup', release);
    canvas.addEventListener('pointercancel', release);
    canvas.addEventListener('pointerleave', () => { if (!view.drag) { view.hover = -1; redraw(); } });
    canvas.addEventListener('blur', () => { view.hover = -1; redraw(); });
    canvas.addEventListener('dblclick', () => { view.zoom = null; redraw(); });
    canvas.addEventListener('keydown', (event) => {
      const size = data().points.step.length, by = event.shiftKey ? Math.max(10, Math.round(size / 20)) : 1;
      const from = view.hover >= 0 ? view.hover : size - 1;
      const to = { ArrowLeft: from - by, ArrowRight: from + by, Home: 0, End: size - 1 }[event.key];
      if (event.key === 'Escape') view.zoom = null;
      else if (to === undefined || !size) return;
      else view.hover = Math.max(0, Math.min(size - 1, to));
      event.preventDefault();
      redraw();
    });
  }

  /** The chart of the watched run as a file. */
  function downloads(server, state, view) {
    const wrong = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true });
    const buttons = [['html', 'Interactive page', 'One HTML file with everything in it, about 5 MB: it can be zoomed and read offline'],
      ['png', 'Picture', 'PNG'], ['csv', 'Figures', 'CSV, a row for each measurement']].map(([kind, label, title]) => h('button', { type: 'button', class: 'g-btn g-small', title,
      'data-testid': `loss-${kind}`, onclick: (event) => glass.runs.take(server, event.currentTarget, wrong, 'export', { models: [state().run.ref], kind, unit: view.unit }) }, label));
    return h('div', { class: 'g-loss-take' }, h('div', { class: 'g-loss-take-row' }, h('span', {}, 'Download'), buttons), wrong);
  }

  glass.chartPointing = pointing;

  glass.component('loss', function ({ element, server }) {
    const view = { width: 0, height: 0, log: false, zoom: null, hover: -1, drag: null, smoothing: keptSmoothing(), frame: null, unit: glass.losses.unit() };
    const cache = {};
    let data = { ...glass.last('run'), even: [] }, asked = false, shownEvals = '', shownUnit = '', explained = '', drawn = 0;
    const redraw = () => { if (!asked) { asked = true; requestAnimationFrame(render); } };
    const { bar, reset, units } = controls(view, redraw);
    const canvas = h('canvas', { role: 'img', tabindex: '0', 'data-testid': 'loss-canvas' });
    const stage = h('div', { class: 'g-loss-stage' }, canvas);
    const empty = h('p', { class: 'g-run-empty', 'data-testid': 'loss-empty' });
    const tip = h('p', { class: 'g-tip', 'data-testid': 'loss-tip' });
    const beats = h('p', { class: 'g-loss-beats', 'data-testid': 'loss-beats' });
    const rows = h('div', { class: 'g-loss-table', tabindex: '0', role: 'region', 'aria-label': 'Evaluations' });
    const count = h('summary', {});
    const fold = h('details', { class: 'g-loss-fold' }, count, rows);
    const whose = h('span', { class: 'g-run-badge', hidden: true, 'data-testid': 'loss-whose' });
    const take = downloads(server, () => data, view), doing = glass.diagnosing(), parent = parentCurve(server, redraw);
    const root = h('section', { class: 'g-card g-loss', 'data-testid': 'loss' },
      h('div', { class: 'g-loss-head' }, h('h2', { class: 'g-title' }, 'Loss'), whose),
      h('p', { class: 'g-say' }, 'How surprised the model is. Thin: every step; thick: smoothed; circles: text it never trains on; dashed: what counting alone '
        + 'gives there, with a diamond at the first later circle below it. Drag to zoom in, double-click to zoom out.'),
      bar, stage, empty, tip, doing.node, beats, fold, take);

    /** Why there is no chart; its button stays the same one while nothing changes, or a slow click would miss it. */
    function explain() {
      const { id, run, problem } = data, now = JSON.stringify([id, problem, run && [run.name, run.state, run.message], glass.last('example')]);
      if (now === explained) return;
      explained = now;
      empty.replaceChildren(...emptySentence(data), ...offer(data));
    }

    function render() {
      asked = false;
      const any = data.points.step.length > 0;
      bar.hidden = stage.hidden = tip.hidden = beats.hidden = take.hidden = !any;
      fold.hidden = !any || !data.evals.step.length;
      empty.hidden = any;
      whose.hidden = !glass.runs.isShipped(data.id) || !data.run;
      if (!whose.hidden) whose.replaceChildren('how the shipped model ', h('bdi', {}, data.run.name), ' learnt');
      root.dataset.points = data.points.step.length;
      root.dataset.evals = data.evals.step.length;
      root.dataset.zoom = view.zoom ? view.zoom.map((s) => s.toFixed(1)).join(' ') : '';
      reset.hidden = !view.zoom;
      if (!any) { explain(); root.dataset.drawn = ++drawn; return; }
      view.width = stage.clientWidth;
      if (view.width < 40) return;  // the tab is hidden; the observer calls again
      view.height = Math.round(Math.max(250, Math.min(380, view.width * 0.46)));
      const f = glass.losses.factor(data), unit = f === null ? 'nats' : view.unit;  // before it is known how many bytes a token has
      for (const b of units) { b.disabled = f === null && b.dataset.testid === 'loss-bits'; b.setAttribute('aria-pressed', String(b.dataset.testid === `loss-${unit}`)); }
      if (unit !== shownUnit || (unit === 'bits' && cache.factor !== f)) delete cache.out;
      cache.factor = f; shownUnit = unit; root.dataset.unit = unit;
      const shown = { ...glass.losses.within(data, unit), asSent: data, unit: glass.losses.NAMES[unit], marks: marks(data), parent: parent.in(unit) };
      shown.even = curve.smooth(shown.points.step, shown.points.loss, view.smoothing, cache);
      if (view.hover >= data.points.step.length) view.hover = -1;
      view.frame = glass.paintLoss(canvas, view, shown);
      root.dataset.ends = view.frame.ends.join('; ');
      tip.replaceChildren(...reading(shown, view.hover >= 0 ? view.hover : data.points.step.length - 1, view.smoothing, unit));
      const now = [data.evals.step.at(-1), data.baselines.length, unit, data.run?.state].join(' ');
      if (shownEvals !== now) {
        shownEvals = now;
        canvas.setAttribute('aria-label', summary(shown));
        beats.textContent = [glass.losses.sentence(data), data.run && data.run.unseen].filter(Boolean).join(' ');
        count.textContent = `${glass.fmt.many(data.evals.step.length, 'evaluation')} as a table`;
        rows.replaceChildren(...(data.baselines.length ? [glass.losses.table(data)] : []), table(data));
      }
      root.dataset.drawn = ++drawn;
      glass.drawn(canvas, 'loss', data.points.step.length);
    }

    (element.querySelector('.g-mount') || element).replaceChildren(root);
    pointing(canvas, view, () => data, redraw);
    glass.on('run', (state) => {
      if (!state) return;
      if (state.id !== data.id) { view.zoom = null; view.hover = -1; shownEvals = ''; delete cache.out; }
      data = { ...state, even: [] };
      doing.show(state);
      parent.follow(state);
      redraw();
    }, root);
    glass.on('example', redraw, root);
    glass.on('theme', redraw, root);
    new ResizeObserver(redraw).observe(root);
    if (document.fonts) document.fonts.ready.then(redraw);
  });
})();
