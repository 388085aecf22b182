/* Compare: the curves of up to six runs on one axis, a legend that is a table of their figures and reads the curves where
   the pointer is, and the settings in which they differ. glass.comparison(server) makes one: {node, show(refs), refresh(),
   leave(refs)}. Bits per byte at first, so that runs with different tokenizers stand on one scale. */
(function () {
  'use strict';

  const { h } = window.glass;
  const EVERY = 5000;  // milliseconds between two looks while one of them trains
  const COLOURS = ['--g-run-0', '--g-run-1', '--g-run-2', '--g-run-3', '--g-run-4', '--g-run-5'];
  const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 2], [14, 4]];
  const AXES = { step: 'steps', seconds: 'seconds', tokens: 'tokens' };
  const LINES = { validation: 'validation', training: 'training' };
  const SCALES = { linear: 'linear', log: 'log' };
  const SMOOTH = 0.95;

  /** A row of buttons of which one is pressed. */
  function choice(label, names, value, testid, choose) {
    const buttons = Object.entries(names).map(([name, words]) => h('button', { type: 'button', class: 'g-loss-seg', 'aria-pressed': String(name === value), 'data-testid': `${testid}-${name}`,
      onclick: () => { press(name); choose(name); } }, words));
    const press = (name) => buttons.forEach((b) => b.setAttribute('aria-pressed', String(b.dataset.testid === `${testid}-${name}`)));
    return { node: h('div', { class: 'g-loss-axis', role: 'group', 'aria-label': label }, buttons), press, buttons };
  }

  const inUnit = (run, nats, unit) => (unit === 'nats' ? nats : glass.losses.bits(nats, run.train_nats_to_bits ?? run.nats_to_bits ?? null));

  /** What is drawn of a run: [xs, ys] without gaps; its training where nothing was held out. */
  function lineOf(run, wanted, unit, axis) {
    const { points, evals } = run, held = evals.val.some(glass.curve.known);
    const kind = wanted === 'validation' && held ? 'validation' : 'training';
    const ys = kind === 'training' ? glass.curve.smooth(points.step, points.loss, points.step.length > 50 ? SMOOTH : 0, {}).map((v) => inUnit(run, v, unit))
      : unit === 'bits' ? evals.bits_per_byte : evals.val;
    const xs = (kind === 'training' ? points : evals)[axis], keep = ys.map((v, i) => i).filter((i) => glass.curve.known(ys[i]));
    return { kind, dots: kind === 'validation', xs: keep.map((i) => xs[i]), ys: keep.map((i) => ys[i]) };
  }

  function legend(data, state) {
    const training = state.lines === 'training', measured = training ? ['last measured', 'best measured'] : ['best']; // else the line's end is the last one
    const { fmt } = glass, { unit } = state, at = state.hover >= 0 ? data.xs[state.hover] : null;
    const head = ['run', at === null ? 'last' : `at ${state.axis === 'step' ? 'step ' : ''}${fmt.count(at)}${state.axis === 'step' ? '' : ' ' + AXES[state.axis]}`, ...measured, 'parameters', 'tokenizer', 'optimizer'];
    const rows = data.runs.map((run, k) => {
      const line = data.lines[k], i = at === null ? line.xs.length - 1 : glass.curve.reads(line.xs, at), x = line.xs[i];
      const end = (e) => (e ? fmt.fixed(unit === 'nats' ? e.nats : e.bits) : '–');
      const note = !line.xs.length ? ' no curve' : line.kind !== state.lines ? ` ${line.kind}` : '';
      return h('tr', { dataset: { ref: run.ref } },
        h('th', { scope: 'row' }, h('i', { class: `g-compare-key k${k}`, 'aria-hidden': 'true' }), h('bdi', {}, run.name), h('small', {}, note)),
        h('td', { class: 'g-compare-now' }, fmt.fixed(line.ys[i]), at !== null && i >= 0 && x !== at ? h('small', {}, ` at ${fmt.count(x)}`) : null), training ? h('td', {}, end(run.final)) : null,
        h('td', {}, end(run.best), run.best ? h('small', {}, ` at ${fmt.count(run.best.step)}`) : null),
        h('td', {}, fmt.parameters(run.parameters)), h('td', {}, run.tokenizer || '–'), h('td', {}, run.optimizer || '–'));
    });
    return h('table', { 'data-testid': 'compare-legend' }, h('thead', {}, h('tr', {}, head.map((t) => h('th', { scope: 'col' }, t)))), h('tbody', {}, rows));
  }

  function settings(runs, differences) {
    if (runs.length < 2) return [];
    if (!differences.length) return [h('p', { class: 'g-say' }, 'They have the same settings, as far as these are known.')];
    const head = [h('th', { scope: 'col' }, 'setting'), ...runs.map((run, k) => h('th', { scope: 'col' }, h('i', { class: `g-compare-key k${k}`, 'aria-hidden': 'true' }), h('bdi', {}, run.name)))];
    return [h('table', { 'data-testid': 'compare-settings' }, h('thead', {}, h('tr', {}, head)), h('tbody', {}, differences.map((d) =>
      h('tr', { dataset: { setting: d.name } }, h('th', { scope: 'row', title: d.help || null }, d.name), d.values.map((v) => h('td', {}, h('bdi', {}, v === null ? '–' : v)))))))];
  }

  glass.comparison = function (server) {
    const state = { refs: [], unit: 'bits', axis: 'step', lines: 'validation', log: false, hover: -1, zoom: null, drag: null, width: 0, height: 0, frame: null };
    let reply = null, data = null, asked = false, drawn = 0, mine = 0;
    const redraw = () => { if (!asked) { asked = true; requestAnimationFrame(render); } };
    const again = () => { state.zoom = null; state.hover = -1; prepare(); };
    const unit = choice('Unit of the loss', { bits: 'bits per byte', nats: 'nats per token' }, 'bits', 'compare-unit', (name) => { state.unit = name; again(); });
    const axis = choice('What runs along the axis', AXES, 'step', 'compare-axis', (name) => { state.axis = name; again(); });
    const lines = choice('Which loss', LINES, 'validation', 'compare-lines', (name) => { state.lines = name; again(); });
    const scale = choice('Loss axis', SCALES, 'linear', 'compare-scale', (name) => { state.log = name === 'log'; redraw(); });
    const reset = h('button', { type: 'button', class: 'g-btn g-small', hidden: true, onclick: () => { state.zoom = null; redraw(); } }, 'Show everything');
    const canvas = h('canvas', { role: 'img', tabindex: '0', 'data-testid': 'compare-canvas' });
    const stage = h('div', { class: 'g-loss-stage' }, canvas);
    const say = h('p', { class: 'g-say g-compare-say', role: 'status' }), unseen = h('div', { 'data-testid': 'compare-unseen' });
    const wrong = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true, 'data-testid': 'compare-error' });
    const key = h('div', { class: 'g-compare-table', tabindex: '0', role: 'region', 'aria-label': 'The compared runs' });
    const differ = h('div', { class: 'g-compare-table', tabindex: '0', role: 'region', 'aria-label': 'Settings in which they differ' });
    const title = h('h3', { class: 'g-subtitle' }, 'Settings in which they differ');
    for (const table of [key, differ]) glass.fades(table);
    const files = [['html', 'Interactive page'], ['csv', 'Figures']].map(([kind, label]) => h('button', { type: 'button', class: 'g-btn g-small', 'data-testid': `compare-${kind}`,
      title: kind === 'html' ? 'One HTML file with everything in it, about 5 MB: it can be zoomed and read offline' : 'CSV, a row for each measurement',
      onclick: (event) => glass.runs.take(server, event.currentTarget, wrong, 'export', { models: state.refs, kind, unit: state.unit, axis: state.axis }) }, label));
    const node = h('section', { class: 'g-compare', hidden: true, 'data-testid': 'compare', 'aria-label': 'Compared runs' },
      h('div', { class: 'g-compare-head' }, h('h3', { class: 'g-title' }, 'Compared'), h('button', { type: 'button', class: 'g-btn g-small', 'data-testid': 'compare-close', onclick: close }, 'Close')),
      say, unseen, wrong, h('div', { class: 'g-loss-bar' }, unit.node, axis.node, lines.node, scale.node, reset), stage, key,
      h('div', { class: 'g-loss-take' }, h('div', { class: 'g-loss-take-row' }, h('span', {}, 'Download'), files)), title, differ);

    function close() { node.hidden = true; mine += 1; state.refs = []; }

    /** From the reply to lines in the unit and over the axis that are shown. */
    function prepare() {
      if (!reply) return;
      const { runs } = reply, unknown = runs.filter((run) => run.points.step.length && run.nats_to_bits === null);
      if (unknown.length && state.unit === 'bits') state.unit = 'nats';
      unit.press(state.unit);
      unit.buttons[0].disabled = unknown.length > 0;
      const drawnLines = runs.map((run) => lineOf(run, state.lines, state.unit, state.axis));
      const xs = [...new Set(drawnLines.flatMap((line) => line.xs))].sort((a, b) => a - b);
      data = { runs, lines: drawnLines, xs, points: { step: xs }, unit: glass.losses.NAMES[state.unit], axis: AXES[state.axis] };
      if (state.hover >= xs.length) state.hover = -1;
      const held = drawnLines.some((line) => line.kind === 'validation'), mixed = held && drawnLines.some((line) => line.xs.length && line.kind === 'training');
      say.textContent = (state.lines === 'validation' && held ? 'Loss on held-out text, a point a measurement. ' : 'Loss of the training, smoothed. ')
        + (state.lines === 'validation' && mixed ? 'Lines without points are losses of a training that held nothing out: they are of known text, and say nothing against the others. ' : '')
        + (state.unit === 'bits' ? 'Bits per byte do not depend on the tokenizer; held-out texts do differ where the runs had different texts.' : 'Nats per token can only be compared where the tokenizer is the same.')
        + (unknown.length ? ' Bits per byte are not known of all of them.' : '');
      const free = state.lines === 'validation' && state.unit === 'bits' ? runs.filter((run) => run.unseen) : [];
      unseen.replaceChildren(...free.map((run) => h('p', { class: 'g-say' }, h('bdi', {}, run.name), ': ', run.unseen)));
      differ.replaceChildren(...settings(runs, reply.differences));
      title.hidden = differ.hidden = runs.length < 2;
      redraw();
    }

    function render() {
      asked = false;
      if (!data || node.hidden) return;
      state.width = stage.clientWidth;
      if (state.width < 40) return;
      state.height = Math.round(Math.max(240, Math.min(380, state.width * 0.46)));
      data.lines.forEach((line, k) => Object.assign(line, { colour: glass.variable(node, COLOURS[k]), dash: DASHES[k] }));
      reset.hidden = !state.zoom;
      stage.hidden = !data.xs.length;
      if (data.xs.length) state.frame = glass.paintRuns(canvas, state, data);
      canvas.setAttribute('aria-label', `Loss of ${data.runs.map((run) => run.name).join(', ')} in ${data.unit} over ${data.axis}; the table below reads it.`);
      key.replaceChildren(legend(data, state));
      node.dataset.drawn = ++drawn;
      node.dataset.lines = data.lines.filter((line) => line.xs.length).length;
    }

    async function load() {
      const at = ++mine;
      try {
        const found = await glass.call(server, 'compare', { session: glass.session, models: state.refs }, { quiet: true });
        if (at !== mine) return;
        wrong.hidden = true;
        reply = found;
        prepare();
      } catch (error) {
        if (at !== mine) return;
        wrong.textContent = error.message;
        wrong.hidden = false;
      }
    }

    glass.chartPointing(canvas, state, () => data, redraw);
    glass.on('theme', redraw, node);
    new ResizeObserver(redraw).observe(node);
    const clock = setInterval(() => {
      if (drawn && !node.isConnected) clearInterval(clock); // Gradio mounted another one
      else if (node.checkVisibility() && !document.hidden && !state.drag && reply && reply.runs.some((run) => run.state === 'running')) load();
    }, EVERY);

    return {
      node,
      async show(refs) {
        Object.assign(state, { refs, zoom: null, hover: -1 });
        node.hidden = false;
        await load();
        node.scrollIntoView({ block: 'start', behavior: glass.calm() ? 'auto' : 'smooth' });
      },
      refresh() { if (!node.hidden) load(); },
      leave(gone) {
        if (node.hidden || !state.refs.some((ref) => gone.includes(ref))) return;
        state.refs = state.refs.filter((ref) => !gone.includes(ref));
        if (state.refs.length) load(); else close();
      },
    };
  };
})();
