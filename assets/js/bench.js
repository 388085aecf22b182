/* Tokenizers side by side: one sentence under four tokenizers, what each makes of the visitor's text, and the merges of
   a byte-pair encoding played back over the sentence. Asks the server for one tokenizer after another (function
   `bench`), once the card comes into view, and again for another text, sentence or size; moving through the merges
   asks nobody. For tests: data-state on the card and on each row (`waiting`, `ready`, `failed`), data-id on each token. */
(function () {
  'use strict';
  const { h } = glass;

  const KINDS = [['char', 'Characters'], ['word', 'Words'], ['bpe', 'Own BPE'], ['gpt2', 'GPT-2’s BPE']];
  const NAMES = Object.fromEntries(KINDS);
  const WAITS = {
    char: 'Collecting the characters…', word: 'Collecting the words…',
    bpe: 'Learning byte pairs…', gpt2: 'Reading the text with GPT-2’s entries…',
  };
  const PAUSE_MS = 300, PROGRESS_MS = 250;

  const number = (n) => n.toLocaleString('en');
  const count = (n, one) => number(n) + ' ' + one + (n === 1 ? '' : 's');
  const quoted = (text, kind) => ['“', glass.piece(text, kind), '”'];

  /** A token's exact bytes in hexadecimal; kind `bytes` comes as such. */
  function bytesOf(text, kind) {
    if (kind === 'bytes') return text;
    return [...new TextEncoder().encode(text)].map((b) => b.toString(16).toUpperCase().padStart(2, '0')).join(' ');
  }

  /** Draws how far along a slider stands. */
  function filled(slider) {
    const span = slider.max - slider.min;
    slider.style.setProperty('--p', (span ? 100 * (slider.value - slider.min) / span : 0) + '%');
  }

  // ---- a strip of tokens ------------------------------------------------------------------------------------------

  /** Tokens side by side, and below them the one under the pointer (or the arrow keys) in words. */
  function tokenStrip(label, testid, otherwise) {
    const holder = h('div', { class: 'g-bench-strip', role: 'group', tabindex: 0, 'aria-label': label, 'data-testid': testid });
    const reading = h('p', { class: 'g-fine g-bench-reading', 'data-testid': testid + '-reading' });
    let items = [], nodes = [], at = null;

    function read(place) {
      if (at !== null && nodes[at]) nodes[at].classList.remove('at');
      at = place;
      if (at === null || !items[at]) { reading.replaceChildren(...[otherwise()].flat()); return; }
      const [id, text, kind] = items[at];
      nodes[at].classList.add('at');
      if (id === null) reading.replaceChildren(...quoted(text, 'text'), ': this vocabulary has no token for it.');
      else {
        const bytes = bytesOf(text, kind);
        reading.replaceChildren(...quoted(text, kind), ' · id ', h('b', {}, String(id)), kind === 'special' ? ' · a mark'
          : ' · ' + (bytes.length > 2 ? 'bytes ' : 'byte '), kind === 'special' ? '' : h('span', { class: 'g-mono' }, bytes));
      }
    }

    function show(list, fresh) {
      items = list;
      nodes = list.map(([id, text, kind], place) => h('span', {
        class: 'g-bench-tok' + (id === null ? ' unknown' : '') + (fresh && fresh.has(place) ? ' fresh' : ''),
        dataset: { id: id === null ? '' : id, place, kind },
      }, glass.piece(text, kind === 'unknown' ? 'text' : kind)));
      const turned = nodes.map((node, i) => (list[i][2] === 'newline' ? [node, h('i', { class: 'g-bench-turn' })] : node));
      holder.replaceChildren(...turned.flat());
      at = null;
      read(null);
    }

    const placeOf = (event) => {
      const node = event.target.closest && event.target.closest('.g-bench-tok');
      return node ? +node.dataset.place : null;
    };
    holder.addEventListener('pointerover', (event) => { if (placeOf(event) !== null) read(placeOf(event)); });
    holder.addEventListener('click', (event) => { if (placeOf(event) !== null) read(placeOf(event)); });
    holder.addEventListener('pointerleave', () => read(null));
    holder.addEventListener('blur', () => read(null));
    holder.addEventListener('keydown', (event) => {
      const to = { ArrowLeft: (at ?? 0) - 1, ArrowRight: (at ?? -1) + 1, Home: 0, End: items.length - 1 }[event.key];
      if (to === undefined || !items.length) return;
      event.preventDefault();
      event.stopPropagation(); // tabs listen to arrows too
      read(Math.max(0, Math.min(items.length - 1, to)));
      nodes[at].scrollIntoView({ block: 'nearest', inline: 'nearest' });
    });
    return { holder, reading, show, again: () => read(null), get count() { return items.length; },
      get tokens() { return items.filter(([id]) => id !== null).length; } };
  }

  // ---- one tokenizer ----------------------------------------------------------------------------------------------

  function row(kind, extra) {
    const problem = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true });
    const notice = h('p', { class: 'g-fine', hidden: true, 'data-testid': 'bench-notice' });
    const bar = h('i', {});
    const wait = h('div', { class: 'g-bench-wait', hidden: true },
      h('span', {}, WAITS[kind]), kind === 'bpe' && h('span', { class: 'g-bench-bar', role: 'progressbar', 'aria-label': WAITS[kind],
        'aria-valuemin': 0, 'aria-valuemax': 100 }, bar));
    let letters = 0;
    const strip = tokenStrip('The sentence as ' + NAMES[kind], 'bench-strip', () => {
      if (root.dataset.state !== 'ready') return [];
      if (!strip.count) return 'Type a sentence above.';
      const lost = strip.count - strip.tokens;
      return count(strip.tokens, 'token') + (lost ? ' and ' + number(lost) + ' unknown' : '') + ' for ' + count(letters, 'character') + '.';
    });
    const root = h('div', { class: 'g-bench-row', 'data-testid': 'bench-row', dataset: { kind, state: 'waiting' } },
      h('div', { class: 'g-bench-head' }, h('h3', { class: 'g-subtitle' }, NAMES[kind]), extra, wait),
      h('div', { class: 'g-bench-body' }, notice, problem, strip.holder, strip.reading));

    function state(name) {
      root.dataset.state = name;
      wait.hidden = name !== 'waiting';
      strip.holder.setAttribute('aria-busy', String(name === 'waiting'));
    }
    function progress(share) {
      bar.style.width = (100 * share).toFixed(0) + '%';
      if (bar.parentNode) bar.parentNode.setAttribute('aria-valuenow', (100 * share).toFixed(0));
    }
    function show(reply) {
      letters = [...reply.sentence].length;
      problem.hidden = true;
      notice.textContent = reply.notice || '';
      notice.hidden = !reply.notice;
      state('ready');
      strip.show(reply.strip);
    }
    function fail(sentence) {
      problem.textContent = sentence;
      problem.hidden = false;
      notice.hidden = true;
      state('failed');
      strip.show([]);
    }
    function begin() {
      progress(0);
      state('waiting');
    }
    /** Another text is read: what stands here is no longer true of anything. */
    function clear() {
      notice.hidden = problem.hidden = true;
      begin();
      strip.show([]);
    }
    return { root, begin, clear, progress, show, fail };
  }

  // ---- the figures ------------------------------------------------------------------------------------------------

  const COLUMNS = ['', 'Entries', 'Tokens per character', 'Characters per token', 'Entries used', 'Unknown', 'Longest used', 'Learnt in'];

  function figuresRow(kind, reply) {
    const f = reply && reply.figures;
    const cell = (...content) => h('td', {}, ...content);
    const named = (cells) => cells.map((node, at) => { node.dataset.name = COLUMNS[at + 1]; return node; }); // for a phone, where a row is a list
    if (!f) return h('tr', { dataset: { kind } }, h('th', { scope: 'row' }, NAMES[kind]), named(COLUMNS.slice(1).map(() => cell('–'))));
    const ratio = (a, b, digits) => (b ? (a / b).toFixed(digits) : '–');
    return h('tr', { dataset: { kind } }, h('th', { scope: 'row' }, NAMES[kind]), named([cell(number(f.entries)),
      cell(ratio(f.tokens, f.characters, 3)), cell(ratio(f.characters, f.tokens, 2)),
      cell(f.characters < f.learnt && f.used < f.entries ? '≥ ' : '', number(f.used), ' ', h('span', { class: 'g-bench-share' }, glass.percent(f.used / f.entries))),
      cell(f.held_out ? glass.percent(f.unknown / f.held_out) : '–'),
      h('td', { class: 'g-bench-longest' }, kind === 'char' ? '–' : f.longest.slice(0, 3).map(([, text, type]) => h('span', {}, glass.piece(text, type)))),
      cell(f.seconds === null ? 'comes ready' : f.seconds < 0.1 ? '< 0.1 s' : f.seconds.toFixed(1) + ' s')]));
  }

  function table() {
    const body = h('tbody', {}), counted = h('p', { class: 'g-fine', hidden: true, 'data-testid': 'bench-counted' });
    const node = h('div', { class: 'g-bench-scroll', tabindex: 0, role: 'group', 'aria-label': 'Figures of the four tokenizers' },
      h('table', { class: 'g-bench-table', 'data-testid': 'bench-table' },
        h('thead', {}, h('tr', {}, COLUMNS.map((name) => h('th', { scope: 'col' }, name)))), body));
    glass.fades(node);
    function paint(replies) {
      body.replaceChildren(...KINDS.map(([kind]) => figuresRow(kind, replies[kind])));
      const said = Object.values(replies).map((reply) => reply && reply.counted).find(Boolean); // the same of each
      counted.textContent = said || '';
      counted.hidden = !said;
    }
    paint({});
    return { node, counted, paint };
  }

  // ---- merges, played back ----------------------------------------------------------------------------------------

  /** The sentence after `known` merges: {ids, fresh: places joined by the last of them, last: [left, right, joined, rank, times]}. */
  function moment(film, known) {
    const parts = film.start.map((id) => ({ id, fresh: false }));
    let last = null;
    for (const [after, at, joined, rank] of film.merges) {
      if (after > known) break;
      const now = after === known;
      if (now) last = { left: parts[at].id, right: parts[at + 1].id, joined, rank, times: last && last.rank === rank ? last.times + 1 : 1 };
      parts.splice(at, 2, { id: joined, fresh: now });
    }
    return { ids: parts.map((p) => p.id), fresh: new Set(parts.flatMap((p, i) => (p.fresh ? [i] : []))), last };
  }

  function merges() {
    const slider = h('input', { type: 'range', class: 'g-bench-range', min: 0, max: 0, step: 1, value: 0, 'aria-label': 'How many merges are known', 'data-testid': 'bench-merge' });
    const line = h('p', { class: 'g-tip g-bench-line', 'data-testid': 'bench-merge-line' });
    const strip = tokenStrip('The sentence after these merges', 'bench-merged', () => []);
    const films = {};
    let kind = 'bpe', steps = [], pieces = new Map();

    const name = (id) => glass.piece(...pieces.get(id).slice(1));
    function paint() {
      const film = films[kind];
      filled(slider);
      root.dataset.kind = kind;
      if (!film) { line.textContent = 'Waiting for ' + NAMES[kind] + '…'; strip.show([]); return; }
      const value = +slider.value, known = value ? steps[value - 1] : 0, now = moment(film, known);
      root.dataset.known = known;
      strip.show(now.ids.map((id) => pieces.get(id)), now.fresh);
      if (!film.start.length) line.textContent = 'Type a sentence above.';
      else if (!now.last) {
        line.replaceChildren(steps.length ? 'No merge yet: every byte is a token, ' + number(now.ids.length) + ' of them.'
          : 'None of the ' + count(film.total, 'merge') + ' changes this sentence: its bytes stay apart.');
      } else {
        const { left, right, joined, rank, times } = now.last;
        line.replaceChildren(h('b', {}, 'merge ' + number(rank)), ' of ' + number(film.total) + ': ', name(left), ' + ', name(right), ' → ',
          h('b', {}, name(joined)), times > 1 ? ', ' + number(times) + ' times' : '', '; ' + count(now.ids.length, 'token') + ' now');
      }
      slider.setAttribute('aria-valuetext', line.textContent);
    }
    function load() {
      const film = films[kind], atEnd = +slider.value === +slider.max;
      steps = film ? [...new Set(film.merges.map((m) => m[0]))] : [];
      pieces = new Map(film ? film.pieces.map((p) => [p[0], p]) : []);
      slider.max = steps.length;
      if (atEnd) slider.value = steps.length;
      paint();
    }
    const choose = (which) => {
      kind = which;
      for (const b of choice.querySelectorAll('button')) b.setAttribute('aria-pressed', String(b.value === kind));
      slider.value = slider.max; // each begins whole
      load();
    };
    const choice = h('div', { class: 'g-switch', role: 'group', 'aria-label': 'Whose merges' }, ['bpe', 'gpt2'].map((which) =>
      h('button', { type: 'button', value: which, 'aria-pressed': String(which === kind), onclick: () => choose(which), dataset: { testid: 'bench-merges-' + which } }, NAMES[which])));
    slider.addEventListener('input', paint);
    slider.addEventListener('keydown', (event) => event.stopPropagation());
    const root = h('div', { class: 'g-bench-merges', 'data-testid': 'bench-merges' },
      h('div', { class: 'g-bench-head' }, h('h3', { class: 'g-subtitle' }, 'How byte pairs grow'), choice),
      h('p', { class: 'g-fine' }, 'A byte-pair encoding is a list of merges, learnt one after another. Move through those that change this sentence; what the last one joined is orange.'),
      slider, line, strip.holder, strip.reading);
    paint();
    return { root, take(which, film) { films[which] = film; if (which === kind) load(); } };
  }

  // ---- the card ---------------------------------------------------------------------------------------------------

  function sizeControl([low, high], begun, change) {
    const range = h('input', { type: 'range', class: 'g-bench-range', min: low, max: high, step: 1, value: 512, 'aria-label': 'Entries of the own BPE', 'data-testid': 'bench-entries' });
    const field = h('input', { type: 'number', class: 'g-num g-bench-number', min: low, max: high, step: 1, value: 512, 'aria-label': 'Entries of the own BPE, as a number', 'data-testid': 'bench-entries-number' });
    const limit = h('small', { class: 'g-bench-limit', role: 'status', 'data-testid': 'bench-limit' });
    let timer = 0;
    function set(value, wait) {
      const n = Math.max(low, Math.min(high, Math.round(value)));
      if (!Number.isFinite(n)) { field.value = range.value; return; }
      const { count } = glass.fmt;
      limit.textContent = n === Math.round(value) ? '' : n === low ? `At least ${count(low)}: 256 bytes and an end of text.` : `At most ${count(high)} here.`;
      range.value = field.value = n;
      filled(range);
      clearTimeout(timer);
      timer = setTimeout(() => change(n), wait);
      begun();
    }
    range.addEventListener('input', () => set(+range.value, PAUSE_MS));
    field.addEventListener('change', () => set(field.value === '' ? NaN : +field.value, 0));
    for (const box of [range, field]) box.addEventListener('keydown', (event) => event.stopPropagation());
    filled(range);
    return h('div', { class: 'g-bench-size' }, h('span', {}, 'entries'), range, field, limit);
  }

  glass.component('bench', function ({ element, props, server }) {
    const { entries = [257, 8192], longest = 600 } = props.value || {};
    let sentence = null, typed = false, size = 512, seen = false, typing = 0;
    const replies = {}, turn = {}, running = {};

    const box = h('textarea', { class: 'g-prompt g-bench-sentence', rows: 2, maxlength: longest, spellcheck: 'false', dir: 'auto', 'aria-label': 'The sentence to cut', placeholder: 'Type a sentence', 'data-testid': 'bench-sentence' });
    const figures = table(), film = merges();
    const begun = () => { if (seen) root.dataset.state = 'waiting'; };
    const sizes = sizeControl(entries, begun, (n) => {
      size = n;
      refresh(['bpe']);
    });
    const rows = Object.fromEntries(KINDS.map(([kind]) => [kind, row(kind, kind === 'bpe' && sizes)]));
    const root = h('section', { class: 'g-card g-bench', 'data-testid': 'bench', dataset: { state: 'waiting' } },
      h('h2', { class: 'g-title' }, 'Tokenizers side by side'),
      h('p', { class: 'g-say' }, 'The same sentence, cut in four ways. Type your own; point at a token to read its number and its bytes.'),
      box, KINDS.map(([kind]) => rows[kind].root), film.root,
      h('h3', { class: 'g-subtitle' }, 'What they make of your text'),
      h('p', { class: 'g-fine g-bench-how' }, 'Vocabularies are learnt from its first nine tenths and counted there; unknown is the share of the last tenth’s characters that have no token. Longest used: of the entries that occur in this text, those with the most bytes.'),
      figures.counted, figures.node);
    element.querySelector('.g-mount').replaceChildren(root);

    async function learning(kind, mine) { // tells how far the byte pairs are, for as long as they are asked for
      while (kind === 'bpe' && turn[kind] === mine && rows[kind].root.dataset.state === 'waiting') {
        await new Promise((resolve) => { setTimeout(resolve, PROGRESS_MS); });
        if (!root.isConnected || turn[kind] !== mine || document.hidden) continue;
        const reply = await glass.call(server, 'bench_progress', { session: glass.session }, { quiet: true }).catch(() => null);
        if (reply && turn[kind] === mine) rows[kind].progress(reply.share);
      }
    }

    async function one(kind, mine) {
      while (running[kind]) await running[kind]; // one call at a time; those in between are never made
      if (turn[kind] !== mine) return;
      rows[kind].begin();
      learning(kind, mine);
      const asked = sentence;
      const call = glass.call(server, 'bench', { session: glass.session, kind, entries: size, sentence: asked }, { quiet: true, seconds: 180 });
      running[kind] = call.catch(() => null).finally(() => { running[kind] = null; });
      try {
        const reply = await call;
        if (turn[kind] !== mine) return;
        if (asked === null && sentence === null) sentence = box.value = reply.sentence;
        replies[kind] = reply;
        rows[kind].show(reply);
        if (reply.replay) film.take(kind, reply.replay);
      } catch (error) {
        if (turn[kind] !== mine) return;
        replies[kind] = null;
        rows[kind].fail(error.message);
        film.take(kind, null);
      }
      figures.paint(replies);
    }

    async function refresh(kinds) {
      if (!seen) return;
      root.dataset.state = 'waiting';
      const mine = Object.fromEntries(kinds.map((kind) => [kind, (turn[kind] = (turn[kind] || 0) + 1)]));
      for (const kind of kinds) {
        if (!root.isConnected) return;
        if (turn[kind] === mine[kind]) await one(kind, mine[kind]);
      }
      const all = KINDS.map(([kind]) => rows[kind].root.dataset.state);
      root.dataset.state = all.includes('waiting') ? 'waiting' : 'ready';
    }

    /** The answers of the text before go: none of its figures stands beside another text's name. */
    function forget() {
      for (const [kind] of KINDS) {
        turn[kind] = (turn[kind] || 0) + 1; // an answer under way is about the text before
        delete replies[kind];
        if (seen) rows[kind].clear();
        film.take(kind, null);
      }
      figures.paint(replies);
    }

    const everything = () => refresh(KINDS.map(([kind]) => kind));
    /** Once typing has paused, or the page has come to rest with another text. */
    function soon() {
      if (!seen) return;
      root.dataset.state = 'waiting';
      clearTimeout(typing);
      typing = setTimeout(everything, PAUSE_MS);
    }
    box.addEventListener('keydown', (event) => event.stopPropagation());
    box.addEventListener('input', () => {
      typed = true;
      sentence = box.value;
      soon();
    });
    for (const topic of ['corpus', 'cleaning']) {
      glass.on(topic, (value) => {
        if (!value || value.ok === false) return;
        if (!typed) sentence = null;
        forget();
        soon();
      }, root);
    }
    const view = new IntersectionObserver((entriesSeen) => {
      if (seen || !entriesSeen.some((entry) => entry.isIntersecting)) return;
      seen = true;
      view.disconnect();
      everything();
    }, { rootMargin: '200px' });
    view.observe(root);
  });
})();
