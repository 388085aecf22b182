/* Where did it learn this? Two cards below the heads.
   `learnt` underlines what of the text stands word for word in the text that the model was trained on; a click shows
   where. `measure` has the model write 1,000 or 5,000 characters and sets the figures of them beside those of real text,
   and asks it for its texts by heart (recital.js).
   Servers: learnt, places; measure, places, by_heart. For tests: data-testid learnt, learnt-text, learnt-piece,
   learnt-places, learnt-verdict, measure, measure-go, measure-length, measure-save, measure-table; data-state on the cards. */
(function () {
  'use strict';

  const { h } = window.glass;
  const QUIET_MS = 350;  // the text has to stand still for so long before it is looked up
  const WAITS = 'Looking it up…';
  const KINDS = { memorised: 'Memorised', 'partly copied': 'Partly copied', new: 'New', 'too short': 'Too short to tell', nothing: 'Nothing yet' };
  const count = (n) => Number(n).toLocaleString('en-US');
  const share = (x) => (x === null || x === undefined ? '–' : `${Math.round(100 * x)} %`);
  const times = (n) => (n === 1 ? 'once' : n === 2 ? 'twice' : `${count(n)} times`);
  const shorter = (text, most) => (text.length > most ? `${text.slice(0, Math.ceil(most * 0.6))} … ${text.slice(-Math.floor(most * 0.3))}` : text);

  /** What is being looked at, as every request names it. */
  const asked = () => ({ session: glass.session, model: glass.decoder.state.ref, step: glass.decoder.state.model?.step });

  // ---- a text with its copied pieces underlined, and the places of the one that was clicked ------------------------

  const strength = (length, least) => (length >= 8 * least ? 4 : length >= 4 * least ? 3 : length >= 2 * least ? 2 : 1);

  function placesOf(piece, reply, name, close) {
    const rows = reply.places.map((place) => h('li', {},
      h('span', { class: 'g-learnt-line' }, `${reply.unit} ${count(place.line)}`),
      h('bdi', { class: 'g-learnt-place', dir: 'auto' }, place.before, h('mark', {}, shorter(piece, 400)), place.after)));
    const more = reply.count - reply.places.length;
    return [
      h('div', { class: 'g-learnt-head' },
        h('p', {}, 'Stands ', h('b', {}, times(reply.count)), ' in what it learnt of ', h('bdi', {}, name), more > 0 ? `; the first ${reply.places.length}:` : ':'),
        h('button', { type: 'button', class: 'g-btn g-small', onclick: close }, 'Close')),
      h('ol', { class: 'g-learnt-list' }, rows),
    ];
  }

  /** A box for a text and a box for places below it. show(found) draws a reply's segments; clear() empties it. */
  function reader(server) {
    const text = h('div', { class: 'g-learnt-text', 'data-testid': 'learnt-text', role: 'group', tabindex: '0', 'aria-label': 'The text; what stands in the training text is underlined and can be opened' });
    glass.fades(text);
    const places = h('div', { class: 'g-learnt-places', 'data-testid': 'learnt-places', 'aria-live': 'polite', hidden: true });
    let chosen = -1, ticket = 0;
    const parts = (piece) => text.querySelectorAll(`[data-piece="${piece}"]`);
    /** Lights all of a piece, also where others overlap it; -1 for none. */
    const light = (piece) => {
      for (const part of text.querySelectorAll('.g-learnt-piece')) part.classList.toggle('lit', part.dataset.around.split(' ').includes(String(piece)));
    };
    const choose = (piece) => {
      for (const part of parts(chosen)) part.setAttribute('aria-expanded', 'false');
      for (const part of parts(piece)) part.setAttribute('aria-expanded', 'true');
      chosen = piece;
      light(piece);
    };
    const close = () => {
      const before = parts(chosen)[0];
      choose(-1);
      ticket += 1;
      places.hidden = true;
      if (before) before.focus();
    };

    async function open(number, piece, name) {
      if (chosen === number) return close();
      choose(number);
      const mine = ++ticket;
      let inside;
      try {
        const reply = await glass.call(server, 'places', { ...asked(), piece: piece.text }, { quiet: true });
        inside = placesOf(piece.text, reply, name, close);
      } catch (error) {
        inside = [h('p', {}, error.message)];
      }
      if (mine !== ticket) return;
      places.replaceChildren(...inside);
      places.hidden = false;
    }

    /** An inline part of a piece that may run over several lines; a real <button> cannot be broken between words. The
        first part of each is reached by keyboard. */
    function part(segment, found, first) {
      const piece = found.pieces[segment.piece], name = found.source.name;
      const act = () => open(segment.piece, piece, name);
      return h('span', {
        class: 'g-learnt-piece', role: 'button', tabindex: first ? '0' : '-1', 'data-testid': 'learnt-piece', 'aria-expanded': 'false',
        dataset: { piece: String(segment.piece), around: segment.around.join(' '), strength: String(strength([...piece.text].length, found.thresholds.piece)), prompt: String(segment.prompt) },
        title: `${count([...piece.text].length)} characters, stands ${times(piece.count)} in the training text`,
        onclick: act, onmouseenter: () => light(segment.piece), onmouseleave: () => light(chosen),
        onkeydown: (event) => {
          if (event.key === 'Escape' && chosen >= 0) close();
          else if (event.key !== 'Enter' && event.key !== ' ') return;
          else act();
          event.preventDefault();
        },
      }, segment.text);
    }

    function show(found) {
      chosen = -1;
      ticket += 1;
      places.hidden = true;
      const met = new Set();
      text.replaceChildren(...found.segments.map((segment) => {
        if (segment.piece === null) return h('span', { class: segment.prompt ? 'g-learnt-prompt' : '' }, segment.text);
        const first = !met.has(segment.piece);
        met.add(segment.piece);
        return part(segment, found, first);
      }));
    }

    return { node: h('div', { class: 'g-learnt-reader' }, text, places), show };
  }

  // ---- the sentences ------------------------------------------------------------------------------------------------

  function verdict(found) {
    const rest = found.sentence.replace(/^[^:]*:\s*/, '');
    return [h('b', { class: 'g-learnt-kind', dataset: { kind: found.kind } }, KINDS[found.kind] || found.kind), h('span', {}, rest)];
  }

  function figures(found) {
    const { copied, longest, thresholds } = found;
    const cell = (name, value, more) => h('div', {}, h('dt', {}, name), h('dd', {}, value, more ? h('small', {}, ` ${more}`) : null));
    return [
      cell(`copied runs of ${thresholds.gram} ${copied.units}`, share(copied.share), copied.total ? `${count(copied.count)} of ${count(copied.total)}` : ''),
      cell('longest copied piece', longest ? count(longest) : '–', longest ? 'characters' : `none of ${thresholds.piece} or more`),
    ];
  }

  function footnote({ source, thresholds }) {
    const name = h('bdi', {}, source.name);
    const parts = source.own
      ? ['Looked up in the ', h('b', {}, count(source.characters)), ' characters of ', name, ' that it learnt from']
      : ['Looked up in the ', h('b', {}, count(source.characters)), ' characters of ', name, ' from the Corpus tab, as the text of this model did not come with it'];
    if (source.left_out) parts.push(`, the first ones: ${count(source.left_out)} more were not looked into`);
    if (source.held_out) parts.push(`; the ${count(source.held_out)} held out are not among them`);
    parts.push(`. Pieces of fewer than ${thresholds.piece} characters are left out: texts of one language share those by chance. `
      + `Memorised: ${share(thresholds.memorised)} or more of the runs of ${thresholds.gram} are copied; new: less than ${share(thresholds.new)}. `
      + 'A training keeps its text in its own folder for this; on a shared server only you can look into it.');
    return parts;
  }

  /** The fine print, closed until somebody wants it. */
  function counted(note, testid) {
    return h('details', { class: 'g-learnt-fold', 'data-testid': testid, hidden: true }, h('summary', {}, 'How it is counted'), note);
  }

  // ---- where did it learn this? -------------------------------------------------------------------------------------

  glass.component('learnt', function ({ element, server }) {
    const say = h('p', { class: 'g-learnt-verdict', 'data-testid': 'learnt-verdict', 'aria-live': 'polite' }, WAITS);
    const cells = h('dl', { class: 'g-learnt-figures' });
    const note = h('p', { class: 'g-learnt-note' });
    const fold = counted(note, 'learnt-counted');
    const problem = h('p', { class: 'g-tip', 'data-testid': 'learnt-problem', hidden: true });
    const more = h('button', { type: 'button', class: 'g-btn', hidden: true, onclick: () => glass.decoder.toEnd(64) }, 'Write 64 tokens');
    const read = reader(server);
    const body = h('div', { class: 'g-learnt-body' }, say, read.node, cells, more, fold);
    const root = h('section', { class: 'g-card g-learnt', 'data-testid': 'learnt', dataset: { state: 'waiting' } },
      h('h2', { class: 'g-title' }, 'Where did it learn this?'),
      h('p', { class: 'g-say' }, 'Underlined: what stands word for word in the text it was trained on. The longer the piece, the heavier the line. Click one to see where.'),
      problem, body);
    (element.querySelector('.g-mount') || element).replaceChildren(root);

    let seen = false, timer = 0, flying = false, known = '', again = false, drawn = null;
    wait();
    const identity = ({ ref, model, ids, length, prompt_tokens }) => [ref, model?.step, prompt_tokens, ids.slice(0, length).join(' ')].join('|');

    function later() {
      clearTimeout(timer);
      timer = setTimeout(ask, QUIET_MS);
    }

    async function ask() {
      const { state } = glass.decoder;
      if (!seen || !state.model || !state.length || document.hidden) return;
      if (state.busy || state.playing) return later();
      const mine = identity(state);
      if (mine === known) return;
      if (flying) { again = true; return; }
      flying = true;
      root.dataset.state = 'looking';
      if (drawn !== state.ref) wait(); // what another model's text said is not shown for this one's
      try {
        const reply = await glass.call(server, 'learnt', { ...asked(), ids: state.ids.slice(0, state.length), prompt_tokens: Math.min(state.prompt_tokens, state.length) }, { quiet: true });
        if (mine === identity(glass.decoder.state)) draw(reply);
      } catch (error) {
        if (mine === identity(glass.decoder.state)) complain(error.message);
      }
      known = mine;
      flying = false;
      if (again || mine !== identity(glass.decoder.state)) { again = false; later(); }
    }

    /** Nothing is known yet of the model that is looked at: indexing a long text takes a while. */
    function wait() {
      problem.hidden = true;
      body.hidden = false;
      say.textContent = WAITS;
      read.node.hidden = cells.hidden = more.hidden = fold.hidden = true;
    }

    function draw(found) {
      drawn = glass.decoder.state.ref;
      problem.hidden = true;
      body.hidden = false;
      read.node.hidden = fold.hidden = false;
      say.replaceChildren(...verdict(found));
      cells.replaceChildren(...figures(found));
      note.replaceChildren(...footnote(found));
      cells.hidden = found.kind === 'nothing';
      more.hidden = found.kind !== 'nothing' && found.kind !== 'too short';
      read.show(found);
      root.dataset.state = 'done';
      root.dataset.kind = found.kind;
      root.dataset.tokens = String(glass.decoder.state.length);
    }

    function complain(sentence) {
      problem.textContent = sentence;
      drawn = null;
      problem.hidden = false;
      body.hidden = true;
      root.dataset.state = 'problem';
    }

    new IntersectionObserver((entries) => {
      seen = entries.at(-1).isIntersecting;
      if (seen) later();
    }, { rootMargin: '200px' }).observe(root);
    glass.on('decode', later, root);
  });

  // ---- evaluation of what it writes ---------------------------------------------------------------------------------

  const per = (x) => (x === null || x === undefined ? '–' : x.toFixed(2));
  const ROWS = [
    ['distinct_1', 'distinct words', 'of all words, how many are different', share],
    ['distinct_2', 'distinct pairs', 'the same of two words in a row', share],
    ['distinct_3', 'distinct triples', 'of three in a row', share],
    ['repetition', 'repeated runs of four', 'four words in a row that stood in the text before', share],
    ['repeated_lines', 'repeated lines', 'lines that stood in it before', share],
    ['rhyme_density', 'rhyme density', 'vowels at a word’s end shared with one of the 15 words before, on average; told from spelling', per],
    ['rhymed_lines', 'rhymed lines', 'lines whose end rhymes with one of the four before, as spelt', share],
    ['copied', 'copied runs of eight', 'runs of eight words that stand in the training text', share],
    ['longest_copy', 'longest copied piece', 'characters in a row that stand there', (x) => (x === null || x === undefined ? '–' : count(x))],
  ];

  function comparison({ figures: found, reference, text }) {
    const long = (letters) => (letters ? h('small', {}, `${count([...letters].length)} characters`) : null), real = reference.held_out ? 'real text, held out' : 'real text';
    const rows = ROWS.map(([key, name, what, fmt]) => h('tr', { dataset: { figure: key } },
      h('th', { scope: 'row' }, name, h('small', {}, what)), h('td', {}, fmt(found[key][0])), h('td', {}, fmt(found[key][1]))));
    return h('table', { class: 'g-learnt-table', 'data-testid': 'measure-table' }, h('caption', { class: 'g-hidden' }, 'What the model wrote, beside real text'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'figure'), h('th', { scope: 'col' }, 'the model', long(text)), h('th', { scope: 'col' }, real, long(reference.text)))), h('tbody', {}, rows));
  }

  function about(settings) {
    const { temperature, top_k, top_p, min_p } = settings;
    const cuts = [top_k ? `top-k ${top_k}` : '', top_p < 1 ? `top-p ${top_p}` : '', min_p ? `min-p ${min_p}` : ''].filter(Boolean);
    return `temperature ${temperature}${cuts.length ? ', ' + cuts.join(', ') : ''}, seed ${settings.seed}`;
  }

  function remark({ reference, found, text, begun }) {
    const size = [...reference.text].length, parts = [begun ? `It never learnt how a document begins, so each is begun with the first ${begun} words of one of its text. ` : 'The model writes from an empty context. '];
    if (!size) parts.push('There is no real text to set beside it: what this model was trained on did not come with it.');
    else if (reference.held_out) parts.push(`Beside it ${count(size)} characters of the held-out text, which it never trained on: a model that copies more than they do has learnt by heart.`);
    else parts.push(`Beside it ${count(size)} characters of the text it learnt from, as nothing was held out; how much of that is copied says nothing.`);
    if (size && size < 0.9 * [...text].length) parts.push(' There is no more of it, and a shorter text repeats itself less.');
    if (found) parts.push(' ', found.sentence);
    return parts;
  }

  /** Hands a text to the browser as a file. */
  function save(text, name) {
    const address = URL.createObjectURL(new Blob([text], { type: 'text/plain;charset=utf-8' }));
    h('a', { href: address, download: `${name.replace(/[^\p{L}\p{N}._ -]+/gu, '-')}.txt` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }

  const LENGTHS = [1000, 5000];

  /** A pair of buttons, one of them pressed. now() is the length that is chosen. */
  function lengths(changed) {
    let chosen = LENGTHS[0];
    const all = LENGTHS.map((n) => h('button', { type: 'button', class: 'g-loss-seg', 'data-testid': `measure-length-${n}`, 'aria-pressed': String(n === chosen), onclick: () => {
      chosen = n;
      for (const [i, button] of all.entries()) button.setAttribute('aria-pressed', String(LENGTHS[i] === n));
      changed();
    } }, count(n)));
    return { node: h('div', { class: 'g-learnt-length', 'data-testid': 'measure-length' }, h('span', {}, 'characters'), h('div', { class: 'g-loss-axis', role: 'group', 'aria-label': 'How many characters' }, all)), now: () => chosen };
  }

  glass.component('measure', function ({ element, server }) {
    const length = lengths(() => { if (!running) label(); });
    const go = h('button', { type: 'button', class: 'g-btn go', 'data-testid': 'measure-go' });
    const fill = h('i', {});
    const bar = h('div', { class: 'g-learnt-progress', role: 'progressbar', 'aria-label': 'Characters written', 'aria-valuemin': '0', hidden: true }, fill);
    const said = h('p', { class: 'g-learnt-note', 'aria-live': 'polite', hidden: true });
    const note = h('p', { class: 'g-learnt-note' }), fold = counted(note, 'measure-counted');
    const keep = h('button', { type: 'button', class: 'g-btn', hidden: true, 'data-testid': 'measure-save', onclick: () => save(result.text, result.name) }, 'Save as .txt');
    const table = h('div', {}), read = reader(server), heart = glass.recital(server, asked);
    const texts = h('details', { class: 'g-learnt-fold', 'data-testid': 'measure-texts', hidden: true }, h('summary', {}, 'Read the two texts'),
      h('h3', {}, 'The model'), read.node, h('h3', {}, 'Real text'),
      h('div', { class: 'g-learnt-text', tabindex: '0', role: 'group', 'aria-label': 'Real text' }));
    const root = h('section', { class: 'g-card g-learnt', 'data-testid': 'measure', dataset: { state: 'idle' } },
      h('h2', { class: 'g-title' }, 'Evaluation of what it writes'),
      h('p', { class: 'g-say' }, 'The model writes with the settings above. Figures say little by themselves, so those of as much real text, where there is so much, stand beside them. By heart: it is given how texts of its own begin.'),
      h('div', { class: 'g-learnt-bar' }, length.node, go, keep, heart.go), bar, said, table, texts, fold, heart.node);
    (element.querySelector('.g-mount') || element).replaceChildren(root);
    let running = 0, tickets = 0, rounds = 0, result = null, looked = null;
    label();

    /** What was measured of one model is not shown under another one's name. */
    function follow({ ref, model }) {
      if (!model || ref === looked) return;
      if (looked) clear();
      looked = ref;
    }

    function clear() {
      result = null;
      idle('idle');
      tell();
      table.replaceChildren();
      texts.hidden = fold.hidden = keep.hidden = true;
      heart.clear();
    }

    function label() {
      go.textContent = result ? `Write another ${count(length.now())} characters` : `Write ${count(length.now())} characters and measure`;
      go.classList.toggle('go', !result);
    }

    function tell(...parts) {
      said.replaceChildren(...parts);
      said.hidden = !parts.length;
    }

    function progress(characters, wanted) {
      bar.setAttribute('aria-valuemax', wanted);
      bar.setAttribute('aria-valuenow', Math.min(characters, wanted));
      fill.style.width = `${Math.min(100, 100 * characters / wanted)}%`;
    }

    function idle(state) {
      running = 0;
      bar.hidden = true;
      label();
      root.dataset.state = state;
    }

    async function write() {
      const { state } = glass.decoder;
      if (!state.model) return;
      const mine = ++tickets, model = state.model, name = asked(), wanted = length.now();
      const settings = { ...state.settings, seed: (state.settings.seed + rounds * 7919) % 2147483648 };
      running = mine;
      go.textContent = 'Stop';
      go.classList.remove('go');
      bar.hidden = false;
      progress(0, 1);
      tell();
      root.dataset.state = 'writing';
      let draft = null;
      try {
        for (;;) {
          const reply = await glass.call(server, 'measure', { ...name, settings, wanted, draft }, { quiet: true });
          if (running !== mine) return;
          progress(reply.characters, reply.wanted);
          draft = reply.draft;
          if (!reply.result) continue;
          rounds += 1;
          show(reply.result, model, settings);
          return idle('done');
        }
      } catch (error) {
        if (running !== mine) return;
        idle('problem');
        tell(error.message);
      }
    }

    function show(found, model, settings) {
      result = { text: found.text, name: `${model.name} step ${model.step}` };
      tell(h('bdi', {}, model.name), ` at step ${count(model.step)}, ${about(settings)}.`);
      note.replaceChildren(...remark(found));
      table.replaceChildren(comparison(found));
      texts.hidden = fold.hidden = keep.hidden = false;
      read.show(found.found || { segments: [{ text: found.text, piece: null, prompt: false }], pieces: [] });
      texts.lastElementChild.textContent = found.reference.text || 'There is none.';
    }

    go.addEventListener('click', () => (running ? idle('idle') : write()));
    glass.on('decode', follow, root);
  });
})();
