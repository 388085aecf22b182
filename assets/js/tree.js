/* Component 'tree': where the text could go from here, as a beam search sees it. A column is a token further; in it, what
   was kept stands above what was dropped at once, the most probable way on first. Edges are as thick as their token is
   probable. Indigo leads to a text that was kept to the end, grey was dropped, orange is what the draw would write.
   Opened on demand; while it is open and in sight, it follows the text. */
(function () {
  'use strict';
  const glass = window.glass, h = glass.h, svg = glass.svg;
  const QUIET_MS = 350, ROW = 29, HEIGHT = 24, GAP = 24, AIRY = 64, BAND = 18, TAIL = 48;
  const EMPTY = 'Nothing has been decoded yet. Write a prompt and press Enter.';
  const ENDED = 'The text has come to its end here. Go back to see where else it could have gone.';
  const MOVED = 'This training has gone on since the text was begun. Press Start to look at the model as it is now.';

  // ---- numbers ----------------------------------------------------------------------------------------------------

  const nats = (x) => (x < 0 ? '−' : '') + Math.abs(x).toFixed(2);
  const POWER = { '-': '⁻', 0: '⁰', 1: '¹', 2: '²', 3: '³', 4: '⁴', 5: '⁵', 6: '⁶', 7: '⁷', 8: '⁸', 9: '⁹' };

  /** A probability, however small: 6.9 %, or 1.2 · 10⁻⁷. */
  function chance(p) {
    if (p === 0 || (p >= 0.0005 && p <= 1)) return glass.percent(p);
    const [digits, power] = p.toExponential(1).replace('+', '').split('e');
    return digits + ' · 10' + [...power].map((c) => POWER[c] || '').join('');
  }

  /** "3.2 times as probable as", by the difference of two log-probabilities; two figures of it. */
  function times(difference) {
    const ratio = Math.exp(Math.abs(difference));
    const many = ratio < 1e6 ? Number(ratio.toPrecision(2)).toLocaleString('en') : chance(ratio);
    return many === '1' ? 'as probable as' : many + ' times ' + (difference < 0 ? 'less probable than' : 'as probable as');
  }

  const same = (a, b) => a.ids.join() === b.ids.join();

  // ---- sliders ----------------------------------------------------------------------------------------------------

  function slider(name, label, low, high, step, value, help, changed) {
    const range = h('input', { type: 'range', class: 'g-range', min: low, max: high, step, value, 'aria-label': label, title: help, dataset: { testid: name } });
    const out = h('output', {});
    const paint = () => {
      range.style.setProperty('--p', 100 * (range.value - low) / (high - low) + '%');
      out.textContent = range.value;
    };
    range.addEventListener('input', () => { paint(); changed(); });
    range.addEventListener('keydown', (event) => event.stopPropagation());
    paint();
    const nodes = [h('span', { title: help }, label), range, out];
    return { nodes, value: () => +range.value, show: (yes) => { for (const node of nodes) node.hidden = !yes; } };
  }

  // ---- the picture ------------------------------------------------------------------------------------------------

  /** What the drawing needs beside the reply: pieces by id, the tokens of each way, and which nodes are on which. */
  function read(reply) {
    const pieces = new Map(reply.pieces.map(([id, text, kind]) => [id, { text, kind }]));
    const up = (at) => { const way = []; for (let i = at; i !== null; i = reply.nodes[i].parent) way.unshift(i); return way; };
    const best = new Set(up(reply.hypotheses[0].node)), drawn = new Set();
    let at = null;
    for (const token of reply.drawn.ids) {
      at = reply.nodes.findIndex((node) => node.parent === at && node.token === token);
      if (at < 0) break;
      drawn.add(at);
    }
    return { pieces, up, best, drawn };
  }

  /** The tree as buttons over an SVG of its edges. tell(index or null): what is pointed at; take(index): it was clicked. */
  function picture(tell, take) {
    const edges = svg('svg', { 'aria-hidden': 'true' }), band = h('span', { class: 'g-tree-band', 'aria-hidden': 'true' }, 'dropped at once');
    const field = h('div', { class: 'g-tree-field' });
    const holder = h('div', { class: 'g-tree-scroll', role: 'group', 'aria-label': 'Ways on as a tree. Arrow keys walk through it, Enter writes the text up to a token.', dataset: { testid: 'tree' } }, field);
    let reply = null, known = null, buttons = [], lines = [], at = null;

    function label(i) {
      const node = reply.nodes[i], piece = known.pieces.get(node.token), fate = node.state === 'pruned' ? (node.pruned === node.depth ? 'dropped at once' : 'dropped at token ' + node.pruned) : node.state === 'ended' ? 'ends the text' : 'kept to the end';
      return '“' + glass.show(piece.text, piece.kind) + '”, token ' + node.depth + ', ' + chance(Math.exp(node.logprob)) + ', ' + fate;
    }

    function button(node, i) {
      const piece = known.pieces.get(node.token), marks = [node.state, known.best.has(i) && 'best', known.drawn.has(i) && 'drawn'].filter(Boolean).join(' ');
      let armed = true; // a finger cannot point: its first tap reads, the second one writes
      return h('button', { type: 'button', class: 'g-tree-node ' + marks, tabindex: -1, 'aria-label': label(i), dataset: { testid: 'tree-node', node: i, state: node.state },
        onclick: (event) => { if (armed || event.detail === 0) take(i); }, onpointerdown: (event) => { armed = event.pointerType !== 'touch' || at === i; },
        onpointerenter: (event) => { if (event.pointerType !== 'touch') point(i); }, onfocus: () => point(i) }, glass.piece(piece.text, piece.kind));
    }

    /** Columns by depth, rows by how the search ranked them; below the beams, with a gap, what was not taken. */
    function rows(beams) {
      const filled = [], found = reply.nodes.map((node) => {
        const dropped = node.pruned === node.depth, column = (filled[node.depth] ??= [0, 0]);
        return dropped ? beams + column[1]++ : column[0]++;
      });
      return found.map((row) => row * ROW + (row >= beams ? BAND : 0));
    }

    function place() {
      if (!reply || !field.clientWidth) return;
      const taken = new Map();
      for (const node of reply.nodes) if (node.pruned !== node.depth) taken.set(node.depth, (taken.get(node.depth) || 0) + 1);
      const beams = Math.max(...taken.values()), tops = rows(beams), widths = [root.offsetWidth];
      reply.nodes.forEach((node, i) => { widths[node.depth] = Math.max(widths[node.depth] || 0, buttons[i].offsetWidth); });
      const free = holder.clientWidth - 18 - widths.reduce((all, width) => all + width, 0); // short tokens spread over the card
      const gap = Math.max(GAP, Math.min(AIRY, Math.floor(free / (widths.length - 1))));
      const lefts = widths.reduce((all, width) => [...all, all.at(-1) + width + gap], [0]);
      const height = Math.max(...tops) + HEIGHT + 2, width = lefts.at(-1) - gap;
      buttons.forEach((node, i) => { node.style.left = lefts[reply.nodes[i].depth] + 'px'; node.style.top = tops[i] + 'px'; });
      Object.assign(field.style, { height: height + 'px', width: width + 'px' });
      edges.setAttribute('width', width);
      edges.setAttribute('height', height);
      band.hidden = Math.max(...tops) < beams * ROW;
      band.style.top = beams * ROW - 2 + 'px';
      lines.forEach((line, i) => {
        const node = reply.nodes[i], from = node.parent === null ? root : buttons[node.parent];
        const x = (node.parent === null ? 0 : lefts[reply.nodes[node.parent].depth]) + from.offsetWidth, y = (node.parent === null ? 0 : tops[node.parent]) + HEIGHT / 2;
        const to = lefts[node.depth], low = tops[i] + HEIGHT / 2, bend = (to - x) / 2;
        line.setAttribute('d', 'M' + x + ' ' + y + ' C' + (x + bend) + ' ' + y + ' ' + (to - bend) + ' ' + low + ' ' + to + ' ' + low);
      });
      holder.dataset.nodes = String(reply.nodes.length);
    }

    const root = h('span', { class: 'g-tree-root', 'aria-hidden': 'true' });

    function show(next, facts, last) {
      reply = next;
      known = facts;
      at = null;
      root.replaceChildren(glass.piece(last[0], last[1]));
      buttons = reply.nodes.map(button);
      const behind = (node, i) => (known.best.has(i) ? 3 : node.state !== 'pruned' ? 2 : node.pruned === node.depth ? 0 : 1);
      lines = reply.nodes.map((node, i) => svg('path', { class: node.state + (known.best.has(i) ? ' best' : ''), 'stroke-width': (1 + 6 * Math.exp(node.logprob)).toFixed(2) }));
      edges.replaceChildren(...lines.map((line, i) => [behind(reply.nodes[i], i), line]).sort((a, b) => a[0] - b[0]).map(([, line]) => line));
      const focused = field.contains(document.activeElement);
      field.replaceChildren(edges, band, root, ...buttons);
      buttons[0].tabIndex = 0;
      place();
      holder.scrollLeft = 0;
      if (focused) buttons[0].focus({ preventScroll: true });
    }

    function point(i) {
      at = i;
      const way = new Set(i === null ? [] : known.up(i));
      buttons.forEach((node, n) => { node.classList.toggle('on', way.has(n)); node.tabIndex = n === (i ?? 0) ? 0 : -1; });
      lines.forEach((line, n) => line.classList.toggle('on', way.has(n)));
      tell(i);
    }

    function walk(key) {
      const { nodes } = reply, here = nodes[at ?? 0], column = nodes.flatMap((node, i) => (node.depth === here.depth ? [i] : [])), row = column.indexOf(at ?? 0);
      if (key === 'ArrowLeft') return here.parent;
      if (key === 'ArrowRight') return nodes.findIndex((node) => node.parent === (at ?? 0));
      return column[row + (key === 'ArrowDown' ? 1 : -1)];
    }

    holder.addEventListener('keydown', (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || !event.target.closest('.g-tree-node')) return;
      if (!['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown'].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation(); // tabs listen to arrows too
      const next = buttons[walk(event.key) ?? -1];
      if (next) next.focus();
    });
    glass.fades(holder);
    holder.addEventListener('pointerleave', () => { if (reply && !holder.contains(document.activeElement)) point(null); });
    new ResizeObserver(place).observe(holder);
    if (document.fonts) document.fonts.ready.then(place);
    return { node: holder, show };
  }

  // ---- in words ---------------------------------------------------------------------------------------------------

  const line = (text) => h('bdi', { dir: 'auto' }, text.replaceAll('\n', '↵ ').replace(/^ /, '·') || '∅');

  /** The ranked ways on, then the greedy and the drawn one where they are not among them. A click writes one. */
  function table(reply, scored, write) {
    const tags = (way) => [same(way, reply.greedy) && 'greedy', same(way, reply.drawn) && 'drawn', way.ended && 'ends'].filter(Boolean);
    const row = (rank, way, marks) => h('tr', { dataset: { testid: 'way', total: way.total, node: way.node ?? '' } }, h('td', {}, rank),
      h('td', {}, h('button', { type: 'button', class: 'g-tree-way', title: 'Write this', onclick: () => write(way.ids) }, line(way.text)),
        marks.map((mark) => h('i', { class: 'g-tree-tag ' + mark }, mark))),
      h('td', {}, nats(way.total)), h('td', {}, way.nats.toFixed(2)), scored && h('td', {}, way.score === undefined ? '' : nats(way.score)));
    const kept = reply.hypotheses, others = [['greedy', reply.greedy], ['drawn', reply.drawn]].filter(([, way]) => !kept.some((one) => same(one, way)));
    const both = others.length === 2 && same(reply.greedy, reply.drawn) ? [['', reply.greedy, ['greedy', 'drawn']]] : others.map(([mark, way]) => ['', way, [mark]]);
    const head = (name, title) => h('th', { scope: 'col', title }, name);
    return h('table', { class: 'g-tree-table', dataset: { testid: 'ways' } }, h('caption', { class: 'g-hidden' }, 'The ways on that were kept, most probable first'),
      h('thead', {}, h('tr', {}, head('#'), head('way on'), head('ln p', 'Log of its probability: the sum over its tokens, in nats'), head('nats/token', 'How surprising a token of it is on average'),
        scored && head('score', 'Log-probability over the length penalty: what it is ranked by'))),
      h('tbody', {}, kept.map((way, i) => row(i + 1, way, tags(way))), both.map(([rank, way, marks]) => row(rank, way, marks))));
  }

  function verdict(reply, beams) {
    const best = reply.hypotheses[0], lengths = new Set([best, reply.greedy, reply.drawn].map((way) => way.ids.length));
    const against = (name) => (same(best, reply[name]) ? 'the ' + name + ' text itself' : times(best.total - reply[name].total) + ' the ' + name + ' text');
    const subject = beams === 1 ? 'One beam is greedy decoding; its text is ' : 'The best of ' + beams + ' beams is ' + against('greedy') + ' and ';
    return subject + against('drawn') + '.' + (lengths.size > 1 ? ' They differ in length: each further token costs probability.' : '');
  }

  // ---- the card ---------------------------------------------------------------------------------------------------

  glass.component('tree', function ({ element, server }) {
    const beams = slider('tree-beams', 'beams', 1, 8, 1, 4, 'How many ways on are kept side by side; 1 is greedy decoding', () => later());
    const tokens = slider('tree-tokens', 'tokens', 1, 24, 1, 6, 'How far to look ahead', () => later());
    const penalty = slider('tree-penalty', 'length penalty', 0, 2, 0.1, 0, '0 ranks by probability alone, which favours texts that end early; 1 makes up for length', () => later());
    const tip = h('p', { class: 'g-says g-tree-tip', dataset: { testid: 'tree-tip' } });
    const said = h('p', { class: 'g-tree-verdict', 'aria-live': 'polite', dataset: { testid: 'tree-verdict' } });
    const problem = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true, dataset: { testid: 'tree-problem' } }), empty = h('p', { class: 'g-empty', hidden: true, dataset: { testid: 'tree-empty' } });
    const view = picture(tell, (i) => write(known.up(i).map((n) => reply.nodes[n].token))), ranked = h('div', {});
    const touch = window.matchMedia('(hover: none)').matches;
    const mark = (kind, text) => h('span', {}, h('i', { class: 'g-tree-mark ' + kind }), text);
    const legend = h('div', { class: 'g-legend', 'aria-hidden': 'true' }, mark('best', 'the best'), mark('kept', 'kept to the end'), mark('pruned', 'dropped'), mark('drawn', 'what the draw would write'));
    const found = h('div', { class: 'g-tree-found', hidden: true }, said, view.node, legend, tip, ranked);
    const body = h('div', { id: 'tree-body', hidden: true }, h('div', { class: 'g-ctl g-tree-ctl' }, beams.nodes, tokens.nodes, penalty.nodes), problem, empty, found);
    const opener = h('button', { type: 'button', class: 'g-btn', 'aria-expanded': 'false', 'aria-controls': 'tree-body', dataset: { testid: 'tree-open' }, onclick: () => open(body.hidden) });
    const root = h('section', { class: 'g-card g-next g-tree', dataset: { testid: 'branches', state: 'closed' } }, h('div', { class: 'g-head' }, h('div', {}, h('h2', { class: 'g-title' }, 'Where could it go from here?'),
      h('p', { class: 'g-say' }, 'A beam search follows several ways on at once and keeps the most probable ones.')), opener), body);
    (element.querySelector('.g-mount') || element).replaceChildren(root);

    let seen = false, timer = 0, flying = false, again = false, shown = '', stood = '', reply = null, known = null;
    penalty.show(false);
    open(false);

    function open(yes) {
      body.hidden = !yes;
      opener.textContent = yes ? 'Close' : 'Show the tree';
      opener.setAttribute('aria-expanded', String(yes));
      root.dataset.state = yes ? 'looking' : 'closed';
      shown = '';
      if (yes) ask();
    }

    const asked = ({ ref, model, ids, length, settings }) => ({ session: glass.session, model: ref, step: model.step, ids: ids.slice(0, length),
      beams: beams.value(), tokens: tokens.value(), length_penalty: penalty.value(), settings: { ...settings } });

    /** Writes a way on, unless the text has moved on since it was searched for. */
    function write(tokens) {
      const { state } = glass.decoder, place = JSON.stringify([state.ref, state.model.step, state.ids.slice(0, state.length)]);
      if (place === stood) glass.decoder.write(tokens);
    }

    function later() {
      if (body.hidden) return;
      const { state } = glass.decoder;
      found.classList.toggle('old', Boolean(reply) && JSON.stringify(state.model && asked(state)) !== shown);
      clearTimeout(timer);
      timer = setTimeout(ask, QUIET_MS);
    }

    async function ask() {
      clearTimeout(timer);
      const { state } = glass.decoder;
      if (!seen || body.hidden) return;
      if (state.busy || state.playing) return later();
      if (!state.model || !state.length || state.ended) {
        shown = '';
        return say(empty, state.ended ? ENDED : EMPTY);
      }
      const request = asked(state), mine = JSON.stringify(request);
      if (mine === shown) return found.classList.remove('old');
      if (flying) { again = true; return; }
      flying = true;
      root.dataset.state = 'looking';
      if (!reply) say(empty, 'Looking ahead…', 'looking');
      let answer = null, sentence = '';
      try {
        answer = await glass.call(server, 'branches', request, { quiet: true, seconds: 120 });
        if (answer.step !== request.step) sentence = MOVED;
      } catch (error) {
        sentence = error.message;
      }
      flying = false;
      if (body.hidden) return;
      const now = glass.decoder.state, current = !again && now.model && JSON.stringify(asked(now)) === mine;
      again = false;
      if (!current) return later();
      shown = mine;
      if (sentence) say(problem, sentence, 'problem');
      else draw(answer, request, state.pieces[request.ids.length - 1]);
    }

    /** A sentence in place of the tree. */
    function say(node, sentence, state) {
      problem.hidden = empty.hidden = found.hidden = true;
      node.textContent = sentence;
      node.hidden = false;
      reply = null;
      root.dataset.state = state || 'empty';
    }

    function draw(answer, request, last) {
      reply = answer;
      stood = JSON.stringify([request.model, request.step, request.ids]);
      known = read(reply);
      problem.hidden = empty.hidden = true;
      found.hidden = false;
      found.classList.remove('old');
      penalty.show(reply.ends);
      said.textContent = verdict(reply, request.beams);
      view.show(reply, known, last);
      ranked.replaceChildren(table(reply, request.length_penalty > 0, write));
      tell(null);
      root.dataset.state = 'done';
      root.dataset.tokens = String(request.ids.length);
    }

    /** What a node is, exactly; without one, what to do. */
    function tell(i) {
      if (i === null) return tip.replaceChildren((touch ? 'Tap a token to read it; tap it again' : 'Point at a token to read it; click it') + ' to write the text up to it. The probabilities are the model’s own, whatever the settings.');
      const node = reply.nodes[i], way = known.up(i).map((n) => known.pieces.get(reply.nodes[n].token)), here = +root.dataset.tokens;
      const shows = [...glass.decoder.state.pieces.slice(Math.max(0, here - TAIL), here).map(([text, kind]) => glass.show(text, kind)).join('')];
      const before = (shows.length > TAIL || here > TAIL ? '…' : '') + shows.slice(-TAIL).join('');
      tip.replaceChildren(h('b', {}, chance(Math.exp(node.logprob))), ' after what stands before it; the way so far ', h('b', {}, chance(Math.exp(node.total))), ' (ln p ' + nats(node.total) + '). ',
        node.state === 'pruned' ? (node.pruned === node.depth ? 'Dropped at once. ' : 'Dropped at token ' + node.pruned + '. ') : '',
        h('span', { class: 'g-mono g-tree-so-far' }, h('span', { class: 'g-soft' }, before), ...way.map((piece) => glass.piece(piece.text, piece.kind))));
    }

    new IntersectionObserver((entries) => {
      seen = entries.at(-1).isIntersecting;
      if (seen) later();
    }, { rootMargin: '200px' }).observe(root);
    glass.on('decode', later, root);
  });
})();
