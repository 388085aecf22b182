/* Component 'distribution': what could come next. One row a token: outline = the model's own probability, filled =
   after the settings, grey = cut and by what, orange = the token that Next takes. Below, the tail as one row that
   opens, what everything sums to, and the cumulative staircase with the draw u on it. A click on a row chooses it. */
(function () {
  'use strict';
  const glass = window.glass, h = glass.h, svg = glass.svg;
  const MORE = [12, 60, 200], STEPS = 30;

  // ---- sliders --------------------------------------------------------------------------------------------------

  const TOP_K = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 5000, 10000, 20000];
  const stops = (size) => [...TOP_K.filter((k) => k < size), null]; // the last stop is off

  const SETTINGS = [
    { name: 'temperature', label: 'temperature', low: 0, high: 2, step: 0.05, text: (v) => (v === 0 ? 'greedy' : v.toFixed(2)),
      help: '0 always takes the most probable token; 1 is the model as it is; above 1 flattens' },
    { name: 'top_k', label: 'top-k', help: 'Only the k most probable tokens stay' },
    { name: 'top_p', label: 'top-p', low: 0.01, high: 1, step: 0.01, off: 1, text: (v) => (v >= 1 ? 'off' : v.toFixed(2)),
      help: 'Only the most probable tokens that together reach p stay' },
    { name: 'min_p', label: 'min-p', low: 0, high: 1, step: 0.01, off: 0, text: (v) => (v <= 0 ? 'off' : v.toFixed(2)),
      help: 'Only tokens at least this fraction as probable as the most probable one stay' },
  ];

  function slider(spec) {
    const range = h('input', { type: 'range', class: 'g-range', 'aria-label': spec.label, title: spec.help, dataset: { testid: spec.name } });
    const field = h('input', { type: 'text', class: 'g-value', inputmode: 'decimal', 'aria-label': spec.label + ', typed', dataset: { testid: spec.name + '-value' } });
    const size = () => glass.decoder.state.next?.size || glass.decoder.state.model?.vocab_size || 2;
    const isK = spec.name === 'top_k';
    const shown = (value) => (isK ? (value ? String(value) : 'off') : spec.text(value));
    const set = (value) => glass.decoder.settings({ [spec.name]: value });
    range.addEventListener('input', () => set(isK ? stops(size())[+range.value] || 0 : +range.value));
    const typed = () => {
      const text = field.value.trim().toLowerCase(), number = Number(text.replace(',', '.'));
      if (text === 'off' || text === 'greedy') set(isK ? 0 : spec.off ?? 0);
      else if (text !== '' && Number.isFinite(number)) {
        if (isK) set(number < 1 || number >= size() ? 0 : Math.floor(number));
        else set(Math.max(spec.low, Math.min(spec.high, number)));
      } else paint(glass.decoder.state.settings[spec.name]);
    };
    field.addEventListener('change', typed);
    field.addEventListener('focus', () => field.select());
    field.addEventListener('keydown', (event) => {
      event.stopPropagation();
      if (event.key === 'Enter') { typed(); field.select(); }
    });
    function paint(value) {
      if (isK) {
        const all = stops(size()), at = value ? all.findIndex((k) => k === null || k >= value) : all.length - 1;
        Object.assign(range, { min: 0, max: all.length - 1, step: 1, value: at });
      } else Object.assign(range, { min: spec.low, max: spec.high, step: spec.step, value });
      range.style.setProperty('--p', 100 * (range.value - range.min) / Math.max(1e-9, range.max - range.min) + '%');
      range.setAttribute('aria-valuetext', shown(value));
      if (document.activeElement !== field) field.value = shown(value);
    }
    return { nodes: [h('span', { title: spec.help }, spec.label), range, field], paint };
  }

  function sliders() {
    const all = SETTINGS.map(slider);
    const fold = h('details', { class: 'g-fold' }, h('summary', {}, 'min-p'), h('div', { class: 'g-ctl' }, all[3].nodes));
    return {
      node: h('div', {}, h('div', { class: 'g-ctl' }, all.slice(0, 3).map((s) => s.nodes)), fold),
      paint(settings) {
        SETTINGS.forEach((spec, i) => all[i].paint(settings[spec.name] ?? (spec.off ?? null)));
        fold.firstChild.textContent = settings.min_p > 0 ? 'min-p ' + settings.min_p.toFixed(2) : 'min-p';
      },
    };
  }

  // ---- rows -----------------------------------------------------------------------------------------------------

  /** The value a full bar stands for: the next round number above the largest. */
  const fullBar = (rows) => [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8].find((top) => rows.every((r) => r.p <= top && r.raw <= top)) || 1;

  function emptyRow() {
    const label = h('span', { class: 'g-word g-mono' }), fill = h('i', { class: 'fill' }), raw = h('i', { class: 'raw' });
    const own = h('span', { class: 'own' }), after = h('span', { class: 'after' }), tag = h('span', { class: 'tag' });
    const node = h('button', { type: 'button', class: 'g-row', dataset: { testid: 'next-row' } }, label, h('span', { class: 'g-track' }, fill, raw), own, after, tag);
    node.addEventListener('click', () => { if (node.dataset.id) glass.decoder.next(+node.dataset.id); });
    return { node, label, fill, raw, own, after, tag };
  }

  function fillRow(parts, row, drawn, full) {
    const { node } = parts, hit = drawn && row.id === drawn.id, name = '“' + glass.show(row.text, row.kind) + '”';
    node.className = 'g-row' + (row.cut ? ' cut' : '') + (hit ? ' hit' : '');
    node.dataset.id = row.id;
    node.dataset.cut = row.cut || '';
    node.dataset.drawn = String(Boolean(hit));
    const known = row.raw !== null; // a drawn token of the tail comes with its share of the draw only
    node.title = name + ' · id ' + row.id + (known ? ' · the model’s own ' + (100 * row.raw).toPrecision(4) + ' %' : '') + ' · after the settings '
      + (100 * row.p).toPrecision(4) + ' %. Click to take it.';
    node.setAttribute('aria-label', 'Take ' + name + (known ? ': the model’s own ' + glass.percent(row.raw) : ':') + ', after the settings '
      + glass.percent(row.p) + (hit ? ', drawn' : '') + (row.cut ? ', cut by ' + row.cut : ''));
    parts.label.replaceChildren(glass.piece(row.text, row.kind));
    parts.fill.style.width = 100 * row.p / full + '%';
    parts.raw.hidden = !known;
    parts.raw.style.width = 100 * (row.raw || 0) / full + '%';
    parts.own.textContent = known ? glass.percent(row.raw) : '';
    parts.after.textContent = row.cut ? '0' : glass.percent(row.p);
    parts.tag.textContent = hit ? 'drawn' : row.cut || '';
  }

  function list() {
    const holder = h('div', { class: 'g-rows', dataset: { testid: 'rows' } }), scale = h('span', {});
    const names = h('div', { class: 'g-row g-names', 'aria-hidden': 'true' }, h('span', {}), scale, h('span', { class: 'own' }, 'own'), h('span', { class: 'after' }, 'after'), h('span', {}));
    const rows = [], among = emptyRow(); // `among`: the drawn token when it is one of the tail
    among.node.dataset.testid = 'drawn-row';
    const tail = h('button', { type: 'button', class: 'g-row tail', dataset: { testid: 'tail' }, onclick: () => glass.decoder.showRows(MORE[MORE.indexOf(glass.decoder.state.rows) + 1] || MORE[2]) });
    const fewer = h('button', { type: 'button', class: 'g-link', dataset: { testid: 'fewer' }, onclick: () => glass.decoder.showRows(MORE[0]) }, 'Show fewer');
    function paint(next, asked) {
      const shown = next.rows.slice(0, Math.max(asked, 1)), hidden = next.rows.slice(shown.length), full = fullBar(shown);
      while (rows.length > shown.length) rows.pop().node.remove();
      while (rows.length < shown.length) { rows.push(emptyRow()); holder.insertBefore(rows[rows.length - 1].node, tail.parentNode === holder ? tail : null); }
      shown.forEach((row, i) => fillRow(rows[i], row, next.drawn, full));
      const count = next.tail.count + hidden.length;
      const sum = (key) => hidden.reduce((total, row) => total + row[key], next.tail[key]);
      const hit = !shown.some((row) => row.id === next.drawn.id);
      const canOpen = asked < MORE[2];
      tail.disabled = !canOpen;
      tail.classList.toggle('has', hit);
      tail.dataset.count = count;
      tail.title = canOpen ? 'Show more of them' : '';
      tail.replaceChildren(h('span', { class: 'g-word' }, count.toLocaleString('en') + ' more', canOpen && h('i', { class: 'g-open' }, ' ▾')),
        h('span', { class: 'g-track' }, h('i', { class: 'fill', style: { width: Math.min(100, 100 * sum('p') / full) + '%' } }),
          h('i', { class: 'raw', style: { width: Math.min(100, 100 * sum('raw') / full) + '%' } })),
        h('span', { class: 'own' }, glass.percent(sum('raw'))), h('span', { class: 'after' }, sum('p') > 0 ? glass.percent(sum('p')) : '0'),
        h('span', { class: 'tag' }, hit ? 'has it' : ''));
      if (count > 0) holder.append(tail); else tail.remove();
      if (hit) {
        const d = hidden.find((row) => row.id === next.drawn.id) || { ...next.drawn, p: next.drawn.high - next.drawn.low, raw: null, cut: null };
        fillRow(among, d, next.drawn, full);
        holder.append(among.node);
      } else among.node.remove();
      scale.textContent = 'a full bar is ' + (100 * full).toFixed(0) + ' %';
      holder.dataset.full = full;
    }
    return { holder, names, fewer, paint };
  }

  // ---- the staircase --------------------------------------------------------------------------------------------

  /** Steps in the order of drawing: [{text, kind, id, low, high}], the last one for everything not listed. */
  function steps(next) {
    const listed = next.rows.filter((row) => row.p > 0).sort((a, b) => b.p - a.p), kept = listed.slice(0, STEPS);
    const rest = listed.slice(STEPS).reduce((total, row) => total + row.p, next.tail.p);
    let sum = 0;
    const out = kept.map((row) => ({ ...row, low: sum, high: (sum += row.p) }));
    return rest > 1e-9 ? [...out, { tail: true, low: sum, high: sum + rest }] : out;
  }

  function staircase() {
    const holder = h('div', { class: 'g-stairs', dataset: { testid: 'stairs' } });
    const caption = h('p', { class: 'g-fall', dataset: { testid: 'draw' } });
    let last = null;
    new ResizeObserver(() => { if (last) draw(last); }).observe(holder);
    function draw(next) {
      last = next;
      const width = holder.clientWidth;
      if (!width) return;
      const H = 92, top = 6, base = H - 18, left = 24, all = steps(next), u = next.drawn.u;
      const y = (p) => base - p * (base - top), step = (width - left - 2) / Math.max(1, all.length);
      const inside = all.findIndex((s) => s.id === next.drawn.id), at = inside < 0 ? all.length - 1 : inside;
      const here = all[at], along = here.tail ? (u - here.low) / (here.high - here.low) : 0.5, x = left + (at + along) * step;
      let path = 'M' + left + ' ' + base;
      all.forEach((s, i) => { // the tail is many small steps: a slope
        path += s.tail ? ' L' + (left + (i + 1) * step).toFixed(2) + ' ' + y(s.high).toFixed(2) : ' V' + y(s.high).toFixed(2) + ' H' + (left + (i + 1) * step).toFixed(2);
      });
      const label = (s, i) => svg('text', { x: left + (i + 0.5) * step, y: H - 4, 'text-anchor': 'middle', class: i === at ? 'hit' : '' },
        s.tail ? 'more' : [...glass.show(s.text, s.kind)].slice(0, Math.max(1, Math.floor(step / 7))).join(''));
      holder.replaceChildren(svg('svg', { width, height: H, role: 'img', 'aria-label': caption.textContent },
        svg('line', { x1: left, x2: width, y1: base, y2: base, class: 'axis' }), svg('line', { x1: left, x2: width, y1: y(1), y2: y(1), class: 'axis' }),
        svg('text', { x: left - 8, y: base + 4, 'text-anchor': 'end' }, '0'), svg('text', { x: left - 8, y: y(1) + 4, 'text-anchor': 'end' }, '1'),
        svg('rect', { x: left, width: Math.max(0, (at + 1) * step), y: y(next.drawn.high), height: Math.max(1, y(next.drawn.low) - y(next.drawn.high)), class: 'span' }),
        svg('path', { d: path, class: 'steps' }), svg('line', { x1: left, x2: x, y1: y(u), y2: y(u), class: 'draw' }),
        svg('circle', { cx: x, cy: y(u), r: 4.5, class: 'dot' }), step >= 9 || all.length < 2 ? all.map(label) : label(all[at], at)));
    }
    function paint(next, settings) {
      const d = next.drawn, name = h('b', { class: 'g-mono' }, glass.piece(d.text, d.kind));
      const lead = settings.temperature === 0 ? ['Temperature 0: always the most probable, ', '“', name, '”']
        : ['u = ' + d.u.toFixed(3) + ' falls on ', '“', name, '”', h('span', { class: 'g-soft' }, ', which holds ' + d.low.toFixed(3) + ' to ' + d.high.toFixed(3))];
      caption.replaceChildren(h('span', {}, lead));
      draw(next);
    }
    return { node: h('div', {}, caption, holder), paint };
  }

  // ---- the card -------------------------------------------------------------------------------------------------

  /** 1 is said as 100 %, anything else with the digits that show it is not. */
  function whole(sum) {
    return Math.abs(sum - 1) < 5e-5 ? '100 %' : (100 * sum).toFixed(3) + ' %';
  }

  function sums(node, next, state) {
    const total = (key) => next.rows.reduce((sum, row) => sum + row[key], next.tail[key]);
    const cut = next.size - next.kept, words = state.model.vocab_word || 'tokens';
    node.dataset.own = total('raw');
    node.dataset.after = total('p');
    node.replaceChildren(h('span', {}, 'all ' + next.size.toLocaleString('en') + ' ' + words + ', sums to ' + whole(total('raw'))),
      h('span', {}, next.kept.toLocaleString('en') + ' kept, ' + (cut ? cut.toLocaleString('en') + ' cut, ' : '') + 'sums to ' + whole(total('p'))),
      h('span', {}, 'entropy ' + next.entropy_bits.toFixed(2) + ' bits'));
  }

  const swatch = (kind, text) => h('span', {}, h('i', { class: 'g-swatch ' + kind }), text);

  glass.component('distribution', function (gradio) {
    const root = gradio.element, controls = sliders(), rows = list(), stairs = staircase();
    const total = h('p', { class: 'g-sums', dataset: { testid: 'sums' } });
    const say = h('p', { class: 'g-say' }, 'Click a row to make the model say that instead.');
    const legend = h('div', { class: 'g-legend' }, swatch('raw', 'the model’s own'), swatch('fill', 'after your settings'),
      swatch('cut', 'cut'), swatch('hit', 'drawn'));
    const body = h('div', { class: 'g-body' }, legend, rows.names, rows.holder, rows.fewer, total, stairs.node);
    const empty = h('p', { class: 'g-empty' }, 'Nothing has been decoded yet. Write a prompt and press Enter.');
    root.replaceChildren(h('section', { class: 'g-card g-next', dataset: { testid: 'distribution' } },
      h('h2', { class: 'g-title' }, 'What comes next'), say, controls.node, empty, body));
    let shown = null, key = '';
    function paint(state) {
      controls.paint(state.settings);
      const next = state.next, now = state.rows + JSON.stringify(state.settings);
      body.hidden = !(next || shown);
      empty.hidden = !body.hidden;
      body.classList.toggle('old', !next);
      rows.fewer.hidden = state.rows === MORE[0];
      if (!next || (next === shown && now === key)) return;
      shown = next;
      key = now;
      say.textContent = 'At position ' + next.position + ', all ' + next.size.toLocaleString('en') + ' ' + (state.model.vocab_word || 'tokens')
        + '. Click a row to make the model say that instead.';
      rows.paint(next, state.rows);
      sums(total, next, state);
      stairs.paint(next, state.settings);
      body.dataset.position = next.position;
    }
    glass.decoder.connect(gradio.server, gradio.props && gradio.props.value);
    glass.on('decode', paint, root);
    if (!glass.last('decode')) paint(glass.decoder.state);
  });
})();
