/* Component 'zoom': the selected head drawn large, tokens on both axes. Pointing at a cell reads it as a sentence above
   the map, with the server's own float32 numbers, and as a number beside the cell; a click (or a tap, or Enter) locks it, again or Escape lets go. What is looked at
   is the topic `look`, so every view of it agrees. Below: the scale, and the row's five largest weights as a table. */
(function () {
  'use strict';
  const glass = window.glass, h = glass.h;
  const TICKS = [0, 0.05, 0.25, 0.5, 1], LABEL = 9, WIDEST = 76, LARGEST = 620, EASY = 10;
  const FAMILY = 'px "IBM Plex Mono", ui-monospace, SFMono-Regular, Menlo, monospace';
  const graphemes = typeof Intl.Segmenter === 'function' ? new Intl.Segmenter() : null;

  const quoted = (piece) => h('span', { class: 'g-quote' }, '“', h('b', { class: 'g-mono' }, glass.piece(piece[0], piece[1])), '”');

  function shorten(text) {
    const parts = graphemes ? Array.from(graphemes.segment(text), (s) => s.segment) : [...text];
    return parts.length > 9 ? parts.slice(0, 8).join('') + '…' : text;
  }

  /** Sizes for a room: cells as large as fit, never too small to point at (the card scrolls instead). They give way to the
      height only while they stay easy to read; up to 9 pixels every token has its label. */
  function geometry(g, view, pieces, width, height) {
    g.font = 11 + FAMILY;
    const labels = [], wide = [];
    for (let i = 0; i < view.count; i++) {
      labels.push('\u2066' + shorten(glass.show(...pieces[view.start + i])) + '\u2069'); // isolated: may run right to left
      wide.push(Math.min(WIDEST, g.measureText(labels[i]).width));
    }
    const widest = Math.ceil(Math.max(10, ...wide)), left = widest + 8;
    const across = Math.min(LARGEST, width - left - 1) / view.count, down = Math.max(EASY, (height - widest - 16) / view.count);
    const finest = window.matchMedia('(pointer: coarse)').matches ? 7 : Math.max(1.6, Math.min(LABEL, 1.3 * across));
    const cell = Math.min(48, Math.max(finest, Math.min(across, down)));
    const turned = widest + 6 > cell, every = Math.max(1, Math.ceil(LABEL / cell - 0.01)), side = cell * view.count;
    const font = Math.max(9, Math.min(11, Math.floor(cell))) + FAMILY;
    return { labels, left, cell, side, turned, every, font, width: Math.ceil(left + side + 1), height: Math.ceil(side + 2 + (turned ? widest + 8 : 18)), widest };
  }

  // ---- drawing ----------------------------------------------------------------------------------------------------

  function labelAt(g, at, text, i, axis) {
    g.save();
    const middle = (i + 0.5) * at.cell + (axis === 'key' ? at.left : 1);
    if (axis === 'query') {
      g.textAlign = 'right';
      g.fillText(text, at.left - 6, Math.max(LABEL / 2, Math.min(at.side + 2 - LABEL / 2, middle)), WIDEST); // none cut by the edge
    } else if (at.turned) {
      g.translate(middle, at.side + 7);
      g.rotate(-Math.PI / 2);
      g.textAlign = 'right';
      g.fillText(text, 0, 0, WIDEST);
    } else {
      g.textAlign = 'center';
      g.fillText(text, middle, at.side + 12);
    }
    g.restore();
  }

  function blank(g, at, i, axis, colour) {
    const middle = (i + 0.5) * at.cell, half = LABEL + 3;
    g.fillStyle = colour;
    if (axis === 'query') g.fillRect(0, middle + 1 - half, at.left - 2, 2 * half);
    else if (at.turned) g.fillRect(at.left + middle - half, at.side + 3, 2 * half, at.height);
  }

  /** Labels thin out when they would overlap; the ones looked at are always there, with room around them. */
  function labels(g, at, view, colours, look, axis) {
    const marked = look ? look[axis] - view.start : -1;
    g.font = at.font;
    g.textBaseline = 'middle';
    g.fillStyle = colours.css.soft;
    for (let i = 0; i < view.count; i++) {
      const fromEnd = view.count - 1 - i; // the newest token always keeps its label
      if (fromEnd % at.every === 0 && i !== marked) labelAt(g, at, at.labels[i], i, axis);
    }
    if (marked < 0 || marked >= view.count) return;
    if (at.every > 1) blank(g, at, marked, axis, colours.css.card);
    g.fillStyle = axis === 'key' ? colours.css.warm : colours.css.ink;
    g.font = 'bold ' + at.font;
    labelAt(g, at, at.labels[marked], marked, axis);
  }

  /** The tokens on both axes, on canvases of their own that stay in sight while the map scrolls. */
  function edges() {
    const one = (side) => h('canvas', { class: 'g-edge ' + side, 'aria-hidden': 'true' });
    const rows = one('rows'), columns = one('columns'), corner = h('i', { class: 'g-edge corner', 'aria-hidden': 'true' });
    return {
      nodes: [rows, columns, corner],
      draw(at, view, colours, look) {
        const map = at.side + 2, below = at.height - map;
        labels(glass.canvas2d(rows, at.left - 1, map), at, view, colours, look, 'query');
        const g = glass.canvas2d(columns, at.width, below);
        g.translate(0, -map);
        labels(g, at, view, colours, look, 'key');
        Object.assign(corner.style, { width: at.left - 1 + 'px', height: below + 'px' });
      },
      /** Whether a pointer is on the tokens and not on the map beside or under them. */
      under: (event) => event.clientX < rows.getBoundingClientRect().right || event.clientY > columns.getBoundingClientRect().top,
      /** How far the map is covered at the left and at the bottom. */
      covers: () => [rows.clientWidth, columns.clientHeight],
    };
  }

  /** What lies ahead is hatched: its tone alone could be taken for a weight near zero. */
  function hatch(g, at, seen, colours) {
    const cell = at.side / seen, rows = Math.ceil(seen);
    g.save();
    g.beginPath();
    g.moveTo(at.left + cell, 1);
    for (let i = 0; i < rows; i++) {
      g.lineTo(Math.min(at.left + at.side, at.left + (i + 1) * cell), 1 + i * cell);
      g.lineTo(Math.min(at.left + at.side, at.left + (i + 1) * cell), 1 + (i + 1) * cell);
    }
    g.lineTo(at.left + at.side, 1);
    g.clip();
    g.beginPath();
    for (let d = 0; d < 2 * at.side; d += 7) {
      g.moveTo(at.left + d, 1);
      g.lineTo(at.left + d - at.side, 1 + at.side);
    }
    g.strokeStyle = colours.css.hatch;
    g.lineWidth = 1;
    g.stroke();
    g.restore();
  }

  function marks(g, at, view, colours, look, token) {
    const line = (query, key, colour) => {
      g.strokeStyle = colour;
      g.lineWidth = 1;
      if (query !== null) g.strokeRect(at.left + 0.5, 1 + query * at.cell + 0.5, (query + 1) * at.cell - 1, at.cell - 1);
      if (key !== null) g.strokeRect(at.left + key * at.cell + 0.5, 1 + key * at.cell + 0.5, at.cell - 1, (view.count - key) * at.cell - 1);
    };
    if (token !== null && token >= view.start && token < view.start + view.count) line(token - view.start, token - view.start, colours.css.soft);
    if (!look) return;
    const query = look.query - view.start, key = look.key - view.start;
    if (query < 0 || key < 0 || query >= view.count) return;
    line(query, key, colours.css.soft);
    g.strokeStyle = colours.css.warm;
    g.lineWidth = look.locked ? 3 : 2;
    g.strokeRect(at.left + key * at.cell, 1 + query * at.cell, at.cell, at.cell);
  }

  function draw(canvas, at, view, colours, source, look, token, seen) {
    const g = glass.canvas2d(canvas, at.width, at.height), scale = at.side / seen;
    g.imageSmoothingEnabled = at.cell * (window.devicePixelRatio || 1) < 1;
    g.drawImage(source.canvas, 0, 0, seen, seen, at.left, 1, scale * seen, scale * seen);
    hatch(g, at, seen, colours);
    g.strokeStyle = colours.css.line;
    g.lineWidth = 1;
    g.strokeRect(at.left - 0.5, 0.5, at.side + 1, at.side + 1);
    if (seen === view.count) marks(g, at, view, colours, look, token);
  }

  // ---- words ------------------------------------------------------------------------------------------------------

  /** The exact row of a query: [{key, value}], all exact or null. */
  function rowOf(view, [layer, head], query) {
    const row = [];
    for (let key = view.start; key <= query; key++) {
      const w = glass.decoder.weight(layer, head, query, key);
      if (!w || !w.exact) return null;
      row.push({ key, value: w.value });
    }
    return row;
  }

  function rest(node, view, state) {
    const query = view.start + view.count - 1, row = rowOf(view, state.head, query);
    node.dataset.state = 'rest';
    delete node.dataset.weight;
    if (!row) return node.replaceChildren(h('span', {}, 'Point at a cell to read it.'));
    const top = row.reduce((best, cell) => (cell.value > best.value ? cell : best));
    return node.replaceChildren(h('span', {}, 'Layer ' + (state.head[0] + 1) + ', head ' + (state.head[1] + 1) + ': ', quoted(state.pieces[query]),
      ' at ' + query + ' looks most at ', quoted(state.pieces[top.key]), ' at ' + top.key + ': ', h('b', {}, glass.weightText(top.value)), '. '),
    h('span', { class: 'g-soft' }, 'Point at a cell to read it; click to lock it.'));
  }

  function tell(node, view, state, look) {
    if (!look) return rest(node, view, state);
    const name = 'Layer ' + (look.layer + 1) + ', head ' + (look.head + 1) + ': ';
    const pair = (verb) => [name, quoted(state.pieces[look.query]), ' at ' + look.query + ' ' + verb + ' ', quoted(state.pieces[look.key]), ' at ' + look.key];
    node.dataset.state = look.masked ? 'masked' : look.locked ? 'locked' : 'hover';
    Object.assign(node.dataset, { query: look.query, key: look.key });
    delete node.dataset.weight;
    if (look.masked) return node.replaceChildren(h('span', {}, pair('cannot look ahead to'), ': masked, exactly 0.'));
    const row = rowOf(view, [look.layer, look.head], look.query), cell = glass.decoder.weight(look.layer, look.head, look.query, look.key);
    const number = h('b', { title: row ? String(cell.value) : 'being read' }, (row ? '' : 'about ') + glass.weightText(cell.value));
    if (row) node.dataset.weight = cell.value;
    const sum = row ? 'Its row sums to ' + row.reduce((total, c) => total + c.value, 0).toFixed(3) + '. ' : '';
    return node.replaceChildren(h('span', {}, pair('attends to'), ': ', number, '. '),
      h('span', { class: 'g-soft' }, sum + (look.locked ? 'Locked; Escape lets go.' : 'Click to lock.')));
  }

  function table(node, view, state, look) {
    const query = look && look.locked && !look.masked ? look.query : view.start + view.count - 1, row = rowOf(view, state.head, query);
    const key = row && [state.head, query, view.start, row[0].value, row[row.length - 1].value].join('|');
    node.hidden = !row && !node.dataset.shown;
    node.style.visibility = row ? '' : 'hidden'; // its place is kept while the numbers of another head are on their way
    if (!row || node.dataset.shown === key) return;
    node.dataset.shown = key;
    const top = row.slice().sort((a, b) => b.value - a.value || a.key - b.key).slice(0, 5);
    node.replaceChildren(h('caption', {}, quoted(state.pieces[query]), ' at ' + query + ' looks most at'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'token'), h('th', { scope: 'col' }, 'position'), h('th', { scope: 'col' }, 'weight'))),
      h('tbody', {}, top.map((cell) => h('tr', { dataset: { key: cell.key } }, h('th', { scope: 'row', class: 'g-mono' }, glass.piece(...state.pieces[cell.key])),
        h('td', {}, cell.key), h('td', {}, cell.value.toFixed(6))))));
  }

  function scale() {
    const ramp = h('div', { class: 'g-ramp' }), marker = h('i', { class: 'g-here' });
    const tick = (w) => h('span', { style: { left: 100 * Math.sqrt(w) + '%' }, class: w === 0 ? 'first' : w === 1 ? 'last' : '' }, String(w));
    const mask = h('i', { class: 'g-swatch mask' });
    ramp.append(marker);
    return {
      node: h('div', { class: 'g-scale' }, h('div', { class: 'g-ramp-box' }, ramp, h('div', { class: 'g-ticks' }, TICKS.map(tick))),
        h('span', { class: 'g-masked' }, mask, 'masked')),
      paint(element) {
        const colour = (name) => 'rgb(' + glass.rgb(glass.variable(element, name)).join(',') + ')';
        ramp.style.background = 'linear-gradient(90deg, ' + colour('--g-h0') + ', ' + colour('--g-h1') + ')';
      },
      mark(weight) {
        marker.hidden = weight === null || weight === undefined;
        if (!marker.hidden) marker.style.left = 100 * Math.sqrt(weight) + '%';
      },
    };
  }

  /** The weight beside the cell that is looked at, on the side where there is room. */
  function floating(box, edge) {
    const node = h('output', { class: 'g-float', 'aria-hidden': 'true', hidden: true, dataset: { testid: 'float' } });
    function show(at, view, look) {
      node.hidden = !look;
      if (!look) return;
      node.textContent = look.masked ? 'masked' : glass.weightText(look.weight);
      const [left, below] = edge.covers(), gap = 5;
      const x = at.left + (look.key - view.start) * at.cell, y = 1 + (look.query - view.start + 0.5) * at.cell - node.offsetHeight / 2;
      const right = x + at.cell + gap, room = box.scrollLeft + box.clientWidth - node.offsetWidth - 8;
      const top = box.scrollTop, bottom = box.scrollTop + box.clientHeight - below - node.offsetHeight - 4;
      node.style.left = (right <= room ? right : Math.max(box.scrollLeft + left, x - gap - node.offsetWidth)) + 'px';
      node.style.top = Math.max(top, Math.min(bottom, y)) + 'px';
    }
    return { node, show };
  }

  // ---- looking ----------------------------------------------------------------------------------------------------

  const weightOf = (query, key) => { const s = glass.decoder.state; return glass.decoder.weight(s.head[0], s.head[1], query, key); };

  function lookAt(query, key, locked) {
    const [layer, head] = glass.decoder.state.head, found = weightOf(query, key), was = glass.last('look');
    const weight = found ? found.value : 0;
    if (was && was.query === query && was.key === key && was.locked === locked && was.weight === weight && was.layer === layer && was.head === head) return;
    glass.emit('look', { query, key, weight, layer, head, locked, masked: key > query });
  }

  function pointing(canvas, stage, edge, current) {
    const cellAt = (event) => {
      const { at, view } = current();
      if (!at || !view || edge.under(event)) return null;
      const box = canvas.getBoundingClientRect();
      const j = Math.floor((event.clientX - box.left - at.left) / at.cell), i = Math.floor((event.clientY - box.top - 1) / at.cell);
      return i < 0 || j < 0 || i >= view.count || j >= view.count ? null : [view.start + i, view.start + j];
    };
    const locked = () => Boolean(glass.last('look') && glass.last('look').locked);
    canvas.addEventListener('pointermove', (event) => {
      if (event.pointerType === 'touch' || locked()) return;
      const cell = cellAt(event);
      if (cell) lookAt(cell[0], cell[1], false);
      else if (glass.last('look')) glass.emit('look', null);
    });
    canvas.addEventListener('pointerleave', () => { if (!locked() && glass.last('look')) glass.emit('look', null); });
    canvas.addEventListener('click', (event) => {
      const cell = cellAt(event), look = glass.last('look');
      if (!cell || (look && look.locked && look.query === cell[0] && look.key === cell[1])) glass.emit('look', null);
      else lookAt(cell[0], cell[1], cell[1] <= cell[0]); // a masked cell is read, not locked
    });
    stage.addEventListener('keydown', (event) => {
      const { view } = current(), look = glass.last('look');
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }, move = moves[event.key];
      if (!view || !(move || event.key === 'Enter' || event.key === ' ')) return;
      event.preventDefault();
      event.stopPropagation();
      const end = view.start + view.count - 1, from = look || { query: end, key: end, locked: false };
      const inside = (x, low, high) => Math.max(low, Math.min(high, x));
      if (!move) return look && look.locked ? glass.emit('look', null) : lookAt(from.query, from.key, true);
      const query = look ? inside(from.query + move[0], view.start, end) : end;
      const key = look ? inside(Math.min(from.key, query) + move[1], view.start, query) : end;
      lookAt(query, key, from.locked);
      follow(stage.parentNode, edge, current(), query, key);
    });
  }

  /** Scrolls the map so that a cell chosen by keyboard lies in sight, beside the tokens at its edges. */
  function follow(box, edge, { at, view }, query, key) {
    const [left, below] = edge.covers(), room = 8;
    const x = at.left + (key - view.start) * at.cell, y = 1 + (query - view.start) * at.cell;
    if (x - box.scrollLeft < left) box.scrollLeft = x - left - room;
    else if (x + at.cell + room > box.scrollLeft + box.clientWidth) box.scrollLeft = x + at.cell + 2 * room - box.clientWidth;
    if (y < box.scrollTop) box.scrollTop = y - room;
    else if (y + at.cell + room > box.scrollTop + box.clientHeight - below) box.scrollTop = y + at.cell + room - box.clientHeight + below;
  }
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape' && glass.last('look')) glass.emit('look', null); });

  // ---- the card ---------------------------------------------------------------------------------------------------

  glass.component('zoom', function (gradio) {
    const root = gradio.element, maps = glass.maps.sheet(), bar = scale();
    const canvas = h('canvas', { class: 'g-map', role: 'img', dataset: { testid: 'zoom-canvas', drawn: 0, settled: 0, tokens: 0 } });
    const slide = glass.maps.slider(canvas), edge = edges();
    const stage = h('div', { class: 'g-stage', tabindex: 0, role: 'group', 'aria-label': 'Attention map. Arrow keys move over its cells, Enter locks one.' }, canvas, edge.nodes);
    const box = h('div', { class: 'g-scroll' }, stage), float = floating(box, edge), words = h('p', { class: 'g-says', role: 'note', dataset: { testid: 'look', state: 'rest' } });
    const top = h('table', { class: 'g-top', dataset: { testid: 'top-keys' } }), title = h('h2', { class: 'g-title', dataset: { testid: 'zoom-title' } }, 'One head');
    const kind = h('span', { class: 'g-kind-tag', dataset: { testid: 'zoom-kind' } });
    const empty = h('p', { class: 'g-empty' }, 'Nothing has been decoded yet. The map fills as soon as there is a text.');
    const rest = h('div', {}, bar.node, h('p', { class: 'g-say' }, 'Each row is a token that looks; the columns are what it looks at.'), top);
    stage.append(float.node);
    root.replaceChildren(h('section', { class: 'g-card g-zoom', dataset: { testid: 'zoom' } },
      h('div', { class: 'g-head' }, title, kind), empty, words, box, rest));
    let at = null, view = null, colours = null, token = null, shown = '', lastRow = null, before = null;

    function show(progress, added) {
      const look = glass.last('look');
      const source = maps.update(view, colours, glass.decoder.state.head);
      edge.draw(at, view, colours, look);
      draw(canvas, at, view, colours, source, look, token, progress < 1 ? view.count - (1 - progress) * added : view.count);
    }

    function overlay() {
      const state = glass.decoder.state, look = glass.last('look');
      if (!view || !at || view.rows.length < view.count) return; // the text is being replaced: a paint follows
      tell(words, view, state, look);
      bar.mark(look && !look.masked ? look.weight : null);
      float.show(at, view, look);
      table(top, view, state, look);
      if (!slide.moving()) show(1, 0);
    }

    function paint() {
      const state = glass.decoder.state, now = glass.decoder.view();
      empty.hidden = Boolean(now);
      box.hidden = rest.hidden = words.hidden = !now;
      view = now;
      const width = view ? glass.maps.room(box) : 0, height = parseFloat(getComputedStyle(box).maxHeight) || LARGEST;
      if (!width) {
        slide.stop(); // its next frame would have nowhere to draw
        at = null; // drawn when it comes on screen
        return;
      }
      if (!colours) {
        colours = glass.maps.palette(root);
        bar.paint(root);
      }
      keepLook(view);
      const key = [view.start, view.count, state.head, width, height, colours.ramp[0], window.devicePixelRatio].join('|');
      if (at && key === shown && lastRow === view.rows[view.count - 1]) return overlay();
      const added = glass.maps.grew(before, view) && String(before.head) === String(state.head) ? view.count - before.count : 0;
      shown = key;
      lastRow = view.rows[view.count - 1];
      before = { start: view.start, rows: view.rows, count: view.count, head: state.head.slice() };
      at = geometry(canvas.getContext('2d'), view, state.pieces, width, height);
      title.textContent = 'Layer ' + (state.head[0] + 1) + ', head ' + (state.head[1] + 1);
      canvas.setAttribute('aria-label', title.textContent + ': attention among ' + view.count + ' tokens. The five largest weights are in the table below.');
      Object.assign(canvas.dataset, { layer: state.head[0], head: state.head[1], start: view.start, cell: at.cell, left: at.left, top: 1 });
      slide.stop();
      overlay();
      if (added) slide.run((t) => show(t, added));
      box.scrollTo(box.scrollWidth, box.scrollHeight); // the newest row, where the map is larger than the card
      glass.drawn(canvas, 'zoom', view.count);
      if (!slide.moving()) slide.settle();
    }

    /** What is looked at follows the head and the exact numbers, and goes when it is no longer on the map. */
    function keepLook(v) {
      const look = glass.last('look');
      if (!look) return;
      if (look.query < v.start || look.key < v.start || Math.max(look.query, look.key) >= v.start + v.count) glass.emit('look', null);
      else lookAt(look.query, look.key, look.locked);
    }

    pointing(canvas, stage, edge, () => ({ at, view }));
    glass.on('decode', (state) => {
      const found = state.next && glass.kindOf(state.next.kinds, ...state.head);
      kind.textContent = found && found.score >= 0.2 ? found.name + ' ' + found.score.toFixed(2) : '';
    }, root);
    glass.decoder.connect(gradio.server, gradio.props && gradio.props.value);
    glass.on('decode', paint, root);
    glass.on('look', () => { slide.stop(); overlay(); }, root);
    glass.on('token', (position) => { token = position ?? null; overlay(); }, root);
    glass.on('theme', () => { colours = null; paint(); }, root);
    new ResizeObserver(paint).observe(box);
    window.addEventListener('resize', () => { if (box.isConnected) paint(); });
    paint();
  });
})();
