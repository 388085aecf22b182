/* Steer: what can be done to the watched run beyond pause and stop. glass.steering(server, complain) makes {node, show}:
   learning rate and batch changed in flight, and the step that was made alone, seen closely: its batch as tokens coloured by
   what each cost, and what the update did to each layer. Its server has control and step (docs/page-protocol.md). */
(function () {
  'use strict';

  const { h } = window.glass;
  const FEW = 3;  // rows of a batch shown at first
  const USUAL = 'A share of about 0.001 is usual with AdamW; Muon’s are larger.';

  /** What the last change says, or how the run began. */
  function current({ run, changes }) {
    const last = changes.at(-1);
    return { rate: last ? last.rate : 1, batch: last ? last.batch_size : run.batch_size, step: last ? last.step : null };
  }

  // ---- changes in flight ------------------------------------------------------------------------------------------

  function changing(server, complain) {
    const field = (label, testid, attributes) => h('input', { type: 'number', class: 'g-run-more', 'aria-label': label, 'data-testid': testid, ...attributes });
    const rate = field('Factor on the learning rate', 'change-rate', { min: '0.0001', step: 'any' });
    const batch = field('Stretches of text in one step', 'change-batch', { min: '1', step: '1' });
    const said = h('p', { class: 'g-steer-say', 'data-testid': 'changes', role: 'status' });
    const form = h('form', { class: 'g-steer-form', novalidate: true, onsubmit: (event) => { event.preventDefault(); apply(); } },
      h('label', {}, h('span', {}, 'learning rate ×'), rate), h('label', {}, h('span', {}, 'batch'), batch),
      h('button', { type: 'submit', class: 'g-btn g-small', 'data-testid': 'change' }, 'Change'),
      h('button', { type: 'button', class: 'g-btn g-small', 'data-testid': 'halve', onclick: () => send({ rate: (Number(rate.value) || 1) / 2 }) }, 'Halve the rate'));
    const fold = h('details', { class: 'g-loss-fold', 'data-testid': 'change-fold' }, h('summary', {}, 'Change it while it trains'),
      h('p', { class: 'g-say' }, 'From the next step on; the run keeps a note of it, and the chart a mark. The rate is a factor on the schedule’s.'), form);
    const node = h('div', { class: 'g-steer-changes' }, said, fold);
    let shown = '', of = null, now = null;

    async function send(wanted) {
      complain('');
      const reply = await glass.runs.control('change', server, wanted);
      if (reply.ok === false) complain(reply.error || 'The server refused and gave no reason. Try once more.');
    }

    /** Only what is other than it was. */
    function apply() {
      const wanted = {}, number = Number(rate.value), count = Number(batch.value);
      if (rate.value.trim() !== '' && number !== now.rate) wanted.rate = number;
      if (batch.value.trim() !== '' && count !== now.batch) wanted.batch_size = count;
      send(wanted);
    }

    function show(state) {
      now = current(state);
      const live = state.run.mine === true && ['running', 'paused', 'queued'].includes(state.run.state);
      fold.hidden = !live;
      const { count, rate: asRate } = glass.fmt, words = [now.rate === 1 ? '' : `learning rate × ${asRate(now.rate)}`, now.batch === state.run.batch_size ? '' : `batch ${count(now.batch)}`].filter(Boolean);
      const text = now.step === null ? '' : `Changed in flight: since step ${count(now.step)} ${words.length ? words.join(', ') : 'as the recipe says again'}.`;
      if (said.textContent !== text) said.textContent = text;
      said.hidden = !text;
      node.hidden = !live && !text;
      const key = JSON.stringify([state.id, now]), typing = [rate, batch].includes(document.activeElement) && of === state.id;
      if (key === shown || typing) return;
      shown = key;
      of = state.id;
      rate.value = asRate(now.rate);
      batch.value = String(now.batch ?? '');
    }
    return { node, show };
  }

  // ---- one step, closely ------------------------------------------------------------------------------------------

  /** Nats as the share of a colour: nothing is white, what costs as much as the dearest twentieth is full. */
  function shader(rows) {
    const all = rows.flatMap((row) => row.losses).sort((a, b) => a - b), most = Math.max(0.5, all[Math.floor(all.length * 0.95)] || 0);
    return { most, share: (nats) => Math.round(Math.min(1, Math.max(0, nats / most)) * 62) };
  }

  function strip(row, pieces, shade, read) {
    const piece = (id) => glass.piece(...(pieces.get(id) || ['', 'text']));
    const cells = row.tokens.map((id, i) => h('span', { class: 'g-cost', style: { '--cost': `${shade.share(row.losses[i])}%` }, dataset: { nats: row.losses[i], at: i } },
      piece(id), h('em', {}, row.losses[i].toFixed(row.losses[i] < 9.95 ? 1 : 0))));
    const node = h('div', { class: 'g-cost-row', tabindex: '0', role: 'group', 'aria-label': 'A stretch of the batch; arrow keys read its tokens' },
      h('span', { class: 'g-cost first' }, piece(row.first), h('em', {}, 'first')), cells);
    let at = -1;
    const choose = (i) => {
      if (at >= 0) cells[at].classList.remove('on');
      at = Math.max(-1, Math.min(cells.length - 1, i));
      if (at >= 0) { cells[at].classList.add('on'); cells[at].scrollIntoView({ block: 'nearest' }); read(row, at, piece); }
    };
    node.addEventListener('pointerover', (event) => { const cell = event.target.closest('[data-at]'); if (cell) choose(Number(cell.dataset.at)); });
    node.addEventListener('keydown', (event) => {
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: cells.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(Math.max(0, to));
    });
    node.addEventListener('blur', () => choose(-1));
    return node;
  }

  function layers(parts) {
    const { fixed } = glass.fmt, of = (key) => Math.max(...parts.map((p) => p[key] || 0), 1e-12), gradient = of('gradient'), relative = of('relative');
    const bar = (value, most) => h('span', { class: 'g-layer-bar', 'aria-hidden': 'true' }, h('i', { style: { width: `${100 * (value || 0) / most}%` } }));
    const small = (x) => (x === null ? '–' : x >= 0.1 ? fixed(x, 3) : x === 0 ? '0' : Number(x.toPrecision(2)) < 1e-4 ? x.toExponential(1) : x.toFixed(Math.min(6, 1 - Math.floor(Math.log10(x)))));
    const head = ['part', 'gradient norm', 'update ÷ weights'].map((t) => h('th', { scope: 'col' }, t));
    return h('table', { 'data-testid': 'step-layers' }, h('thead', {}, h('tr', {}, head)), h('tbody', {}, parts.map((p) => h('tr', { dataset: { part: p.name, gradient: p.gradient, relative: p.relative } },
      h('th', { scope: 'row' }, p.name), h('td', {}, h('div', {}, bar(p.gradient, gradient), h('b', {}, small(p.gradient)))), h('td', {}, h('div', {}, bar(p.relative, relative), h('b', {}, small(p.relative))))))));
  }

  function closely(server, complain) {
    const node = h('section', { class: 'g-step', hidden: true, 'data-testid': 'step-look', 'aria-label': 'One step, closely' });
    let shown = '', asking = '';

    function draw(found, factor) {
      const { fixed, count, rate } = glass.fmt, pieces = new Map(found.pieces.map(([id, text, kind]) => [id, [text, kind]])), shade = shader(found.rows);
      const reading = h('p', { class: 'g-tip', 'data-testid': 'step-reading' }, 'Point at a token, or use the arrow keys in a row, to read what it cost.');
      const read = (row, i, piece) => reading.replaceChildren(piece(row.tokens[i]), ` cost ${fixed(row.losses[i], 3)} nats: the model gave it ${glass.percent(Math.exp(-row.losses[i]))} after `,
        piece(i ? row.tokens[i - 1] : row.first), '.');
      const list = found.rows.map((row) => strip(row, pieces, shade, read)), box = h('div', { class: 'g-cost-rows' }, list.slice(0, FEW));
      const more = list.length > FEW ? h('button', { type: 'button', class: 'g-btn g-small', onclick: () => { box.append(...list.slice(FEW)); more.remove(); } },
        `Show the other ${count(list.length - FEW)} rows`) : null;
      node.replaceChildren(h('h3', { class: 'g-title' }, `Step ${count(found.step)}, closely`),
        h('p', { class: 'g-say' }, 'The batch that was just learnt from, each token coloured by what it cost before the update (nats; the stronger, the more of a surprise). ',
          h('span', { class: 'g-cost-key', 'aria-hidden': 'true' }, '0', h('i', {}), shade.most.toFixed(1) + ' or more')),
        h('p', { class: 'g-step-sum' }, 'Mean ', h('b', { 'data-testid': 'step-loss' }, fixed(found.loss, 4)), ` nats per token${factor === null ? '' : `, ${fixed(glass.losses.bits(found.loss, factor))} bits per byte`}; learning rate `, h('b', {}, rate(found.learning_rate)), '; gradient norm ', h('b', {}, fixed(found.grad_norm, 3)), '.'),
        box, h('div', { class: 'g-step-more' }, more, found.more ? h('small', {}, `${count(found.more)} more row${found.more > 1 ? 's of the batch are' : ' of the batch is'} not shown here.`) : null), reading,
        h('div', { class: 'g-loss-table g-step-layers' }, layers(found.parts)),
        h('p', { class: 'g-say' }, 'Gradient norm: before clipping. Update ÷ weights: how far this step moved them, as a share of their own size. ' + USUAL));
      node.hidden = false;
      node.dataset.step = found.step;
    }

    async function show(state) {
      const { id, run } = state;
      const key = run.mine === true && Number.isFinite(run.looked_at) ? `${id} ${run.looked_at}` : '';
      if (!key) { node.hidden = true; shown = asking = ''; return; }
      if (key === shown || key === asking) return;
      asking = key;
      try {
        const found = await glass.call(server, 'step', { session: glass.session, run: id }, { quiet: true });
        if (asking !== key) return;
        draw(found, glass.losses.trainFactor(state));
        shown = key;
      } catch (error) {
        if (asking === key) complain(error.message);
      } finally {
        if (asking === key) asking = '';
      }
    }
    return { node, show };
  }

  glass.steering = (server, complain) => ({ changes: changing(server, complain), step: closely(server, complain), current });
})();
