/* Component 'strip': the text as tokens, and the controls that walk through it.
   mode 'full' (prompt, play, seed; the Decode tab) or 'compact' (tokens, Back and Next), by prop or data-mode.
   Every token is a real button with data-position and data-id; later tokens stay, greyed, after going back. */
(function () {
  'use strict';
  const glass = window.glass, h = glass.h;
  const SHOWN_UNKNOWN = 24;

  const quoted = (piece) => '“' + glass.show(piece[0], piece[1]) + '”';

  // ---- the tokens -----------------------------------------------------------------------------------------------

  function tokenButton(position, id, piece) {
    const says = piece[1] === 'bytes' ? ' (part of a character)' : piece[1] === 'special' ? ' (special)' : '';
    return h('button', {
      type: 'button', class: 'g-tok', tabindex: -1, title: quoted(piece) + says + ' · position ' + position + ' · id ' + id,
      'aria-label': quoted(piece) + says + ', position ' + position,
      dataset: { testid: 'token', position, id, kind: piece[1] },
    }, glass.piece(piece[0], piece[1]), h('em', { class: 'g-at' }, position), h('em', { class: 'g-id' }, id));
  }

  /** Keeps one button a token, changing only what changed (a text may run to thousands). */
  function tokenList(holder) {
    const keys = [], buttons = [];
    let current = null, marks = [];

    function sync(state) {
      let same = 0;
      const key = (i) => state.ids[i] + '|' + state.pieces[i][1] + '|' + state.pieces[i][0];
      while (same < keys.length && same < state.ids.length && keys[same] === key(same)) same++;
      while (buttons.length > same) {
        const gone = buttons.pop();
        if (gone.nextSibling && gone.nextSibling.className === 'g-turn') gone.nextSibling.remove();
        gone.remove();
      }
      keys.length = same;
      for (let i = same; i < state.ids.length; i++) {
        const button = tokenButton(i, state.ids[i], state.pieces[i]);
        buttons.push(button);
        keys.push(key(i));
        holder.append(button);
        if (state.pieces[i][0].includes('\n')) holder.append(h('i', { class: 'g-turn' })); // a line break breaks the line
      }
    }

    function paint(state) {
      sync(state);
      buttons.forEach((button, i) => {
        button.classList.toggle('gen', i >= state.prompt_tokens);
        button.classList.toggle('later', i >= state.length);
      });
      const now = buttons[state.position] || null;
      if (now === current && (!now || now.classList.contains('cur'))) return;
      const hadFocus = current && current === document.activeElement;
      if (current) {
        current.classList.remove('cur');
        current.removeAttribute('aria-current');
        current.tabIndex = -1;
      }
      current = now;
      if (!current) return;
      current.classList.add('cur');
      current.setAttribute('aria-current', 'true');
      current.tabIndex = 0;
      if (hadFocus || (holder.contains(document.activeElement) && document.activeElement !== holder)) current.focus({ preventScroll: true });
      reveal(current);
    }

    /** Scrolls the strip, never the page; by whole rows, so that none is cut at the top. */
    function reveal(node) {
      const gap = parseFloat(getComputedStyle(node).marginBottom), row = node.offsetHeight + gap;
      const at = Math.round((node.offsetTop - gap) / row), rows = Math.floor((holder.clientHeight - gap) / row);
      const first = Math.round(holder.scrollTop / row);
      if (at < first) holder.scrollTop = at * row;
      else if (at >= first + rows) holder.scrollTop = (at - rows + 1) * row;
    }

    function look(value) {
      for (const node of marks) node.classList.remove('from', 'looks');
      marks = value ? [buttons[value.key], buttons[value.query]].filter(Boolean) : [];
      if (value && buttons[value.key]) buttons[value.key].classList.add('from');
      if (value && buttons[value.query]) buttons[value.query].classList.add('looks');
    }

    return { paint, look };
  }

  function tokens(status) {
    const holder = h('div', { class: 'g-strip', role: 'group', tabindex: 0, dataset: { testid: 'strip', under: 'at' },
      'aria-label': 'The text as tokens. Left and right arrow keys step through it.' });
    const list = tokenList(holder);
    const positionOf = (event) => {
      const button = event.target.closest && event.target.closest('.g-tok');
      return button ? +button.dataset.position : null;
    };
    holder.addEventListener('click', (event) => {
      const position = positionOf(event);
      if (position !== null) glass.decoder.go(position);
    });
    holder.addEventListener('pointerover', (event) => { if (event.pointerType !== 'touch') hover(positionOf(event)); });
    holder.addEventListener('pointerleave', () => hover(null));
    holder.addEventListener('keydown', (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const acts = {
        ArrowLeft: () => glass.decoder.back(), ArrowRight: () => glass.decoder.next(),
        Home: () => glass.decoder.go(0), End: () => glass.decoder.go(glass.decoder.state.ids.length - 1),
      };
      if (!acts[event.key]) return;
      event.preventDefault();
      event.stopPropagation(); // tabs listen to arrows too
      acts[event.key]();
    });
    function hover(position) {
      glass.emit('token', position);
      status(position);
    }
    return { holder, ...list };
  }

  /** Where a token that holds parts of characters stands in them: "byte 2 of 2 of ć". Its neighbours bring the others. */
  function partOf(pieces, at) {
    const isBytes = (i) => pieces[i] && pieces[i][1] === 'bytes';
    let first = at, end = at + 1;
    while (isBytes(first - 1)) first--;
    while (isBytes(end)) end++;
    const bytes = [], owner = [];
    for (let i = first; i < end; i++) {
      for (const hex of pieces[i][0].match(/[0-9a-f]{2}/gi) || []) {
        bytes.push(parseInt(hex, 16));
        owner.push(i);
      }
    }
    const found = [];
    for (let b = 0; b < bytes.length;) {
      const lead = bytes[b], size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
      let text = null;
      try { text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(new Uint8Array(bytes.slice(b, b + size))); } catch { /* no character begins here */ }
      if (text === null) { b += 1; continue; }
      const mine = owner.slice(b, b + size).flatMap((i, n) => (i === at ? [n + 1] : []));
      if (size > 1 && mine.length) found.push([mine, size, text]);
      b += size;
    }
    if (!found.length) return [h('span', {}, 'part of a character that is not whole here')];
    return found.map(([mine, size, text]) => h('span', {}, (mine.length > 1 ? 'bytes ' + mine[0] + ' to ' + mine.at(-1) : 'byte ' + mine[0]) + ' of ' + size + ' of ',
      h('b', { class: 'g-mono' }, glass.piece(text, 'text'))));
  }

  /** The line under the strip: what the token under the pointer (or the current one) is, exactly. */
  function reading(node, position) {
    const state = glass.decoder.state, at = position ?? state.position, piece = state.pieces[at];
    if (!piece) return node.replaceChildren();
    const odds = glass.decoder.oddsAt(at);
    const who = at < state.prompt_tokens ? 'from the prompt'
      : at >= state.length ? 'written before you went back' : 'written by the model';
    node.replaceChildren(...h('i', {}, h('b', { class: 'g-mono' }, glass.piece(piece[0], piece[1])),
      piece[1] === 'bytes' && partOf(state.pieces, at), h('span', {}, 'id ', h('b', {}, state.ids[at])), h('span', {}, 'position ', h('b', {}, at)), h('span', {}, who),
      odds && at >= state.prompt_tokens && h('span', {}, 'it had ', h('b', {}, glass.percent(odds.p)))).children);
    return node;
  }

  // ---- the controls ---------------------------------------------------------------------------------------------

  function button(testid, label, act, extra) {
    return h('button', { type: 'button', class: 'g-btn' + (extra || ''), onclick: act, dataset: { testid } }, label);
  }

  function numberField(testid, label, value, min, max, change) {
    const field = h('input', { type: 'number', class: 'g-num', min, max, step: 1, value, inputmode: 'numeric', dataset: { testid } });
    field.addEventListener('change', () => {
      const asked = Math.round(Number(field.value));
      field.value = Number.isFinite(asked) && field.value !== '' ? Math.max(min, Math.min(max, asked)) : value;
      if (change) change(+field.value);
    });
    return { field, node: h('label', { class: 'g-counted' }, h('span', {}, label), field) };
  }

  function controls(full) {
    const decoder = glass.decoder;
    const back = button('back', '◀ Back', () => decoder.back());
    const next = button('next', 'Next ▶', () => decoder.next(), ' go');
    if (!full) return { node: h('div', { class: 'g-bar' }, h('div', { class: 'g-walk' }, back, next)), paint: (state) => enable(state, back, next) };
    const play = button('play', 'Play', () => (decoder.state.playing ? decoder.pause() : decoder.play()), ' g-play');
    const count = numberField('count', 'tokens', 64, 1, 5000);
    const end = button('end', '', () => decoder.toEnd(+count.field.value));
    end.title = 'Writes so many tokens, or fewer where the text ends';
    const promise = () => { end.textContent = 'Write ' + (count.field.value || '…'); };
    for (const event of ['input', 'change']) count.field.addEventListener(event, promise);
    promise();
    const seed = numberField('seed', 'seed', decoder.state.settings.seed, 0, 2147483647, (value) => decoder.settings({ seed: value }));
    seed.node.title = 'The same seed and settings draw the same tokens';
    const node = h('div', { class: 'g-bar' }, h('div', { class: 'g-walk' }, back, next, play, end),
      h('div', { class: 'g-fields' }, count.node, seed.node));
    function paint(state) {
      enable(state, back, next);
      play.textContent = state.playing ? 'Pause' : 'Play';
      play.setAttribute('aria-pressed', String(Boolean(state.playing)));
      play.disabled = !state.playing && next.disabled;
      end.disabled = next.disabled || state.playing === 'end';
      if (document.activeElement !== seed.field) seed.field.value = state.settings.seed;
    }
    return { node, paint };
  }

  function enable(state, back, next) {
    back.disabled = state.position < 1;
    next.disabled = !state.model || state.ended;
  }

  function promptBox() {
    const box = h('textarea', { class: 'g-prompt', rows: 1, spellcheck: 'false', autocomplete: 'off', placeholder: 'Write the beginning of a text',
      'aria-label': 'Prompt. Enter starts decoding, Shift and Enter breaks the line.', dataset: { testid: 'prompt' } });
    const start = button('start', 'Start', () => decode());
    let shown = null;
    const decode = () => { shown = box.value; glass.decoder.open(box.value); };
    box.addEventListener('keydown', (event) => {
      event.stopPropagation();
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      decode();
    });
    const grow = () => {
      box.style.height = 'auto';
      box.style.height = Math.min(160, box.scrollHeight + 2) + 'px';
    };
    box.addEventListener('input', grow);
    let wide = 0; // a narrower box breaks its lines elsewhere; out of sight it has no width at all
    new ResizeObserver(() => { if (box.clientWidth !== wide) { wide = box.clientWidth; grow(); } }).observe(box);
    return {
      node: h('div', { class: 'g-ask' }, box, start),
      paint(state) {
        if (state.prompt === shown || document.activeElement === box) return; // what is being typed is the visitor's
        box.value = shown = state.prompt;
        grow();
      },
    };
  }

  // ---- sentences --------------------------------------------------------------------------------------------------

  function unknownLine(state) {
    const distinct = [...new Set(state.unknown)];
    if (!distinct.length) return null;
    const more = distinct.length - SHOWN_UNKNOWN;
    const one = distinct.length === 1;
    return h('p', { class: 'g-unknown', dataset: { testid: 'unknown' } },
      distinct.slice(0, SHOWN_UNKNOWN).map((text) => h('s', { class: 'g-mono' }, glass.piece(text, 'text'))),
      more > 0 && h('span', {}, 'and ' + more + ' more'),
      h('span', {}, one ? 'is not in this model’s vocabulary, so the model reads the prompt without it.'
        : 'are not in this model’s vocabulary, so the model reads the prompt without them.'));
  }

  function sentence(state) {
    if (state.problem) return state.problem;
    const ended = state.ended ? 'The model ended its text here. Go back to try another way.' : null;
    const first = state.ids.length > state.length && state.next ? state.next.drawn : null;
    const over = first && first.id !== state.ids[state.length]
      ? 'Next would write “' + glass.show(first.text, first.kind) + '” over the grey tokens; click one of them to keep them.' : null;
    return [state.notice, ended, over].filter(Boolean).join(' ');
  }

  const TITLES = {
    full: ['Decoding, one token at a time', 'Prompt in grey, what the model wrote in colour. Click a token to go back to it, or a row of what comes next to make it say that instead.'],
    compact: ['The text', 'Click a token to go back to it; point at the map to see who looks at whom.'],
  };

  /** Where a visitor learns whose model this is, and that they can make one; gone once they look at their own. */
  function invitation() {
    const name = h('bdi', {}), arrow = h('span', { 'aria-hidden': 'true' }, ' →');
    const link = h('button', { type: 'button', class: 'g-link', onclick: () => glass.openTab('Corpus') }, 'Train one on your own text', arrow);
    const node = h('p', { class: 'g-invite', hidden: true, dataset: { testid: 'invite' } },
      'This is ', h('b', {}, name), ', a small GPT trained by this project. ', link);
    return {
      node,
      paint({ model }) {
        node.hidden = !model || model.source !== 'shipped';
        if (model && name.textContent !== model.name) name.textContent = model.name;
      },
    };
  }

  function underSwitch(holder) {
    const choose = (under) => {
      holder.dataset.under = under;
      for (const b of node.querySelectorAll('button')) b.setAttribute('aria-pressed', String(b.value === under));
    };
    const one = (under, label) => h('button', { type: 'button', value: under, onclick: () => choose(under), dataset: { testid: 'under-' + under } }, label);
    const node = h('div', { class: 'g-switch', role: 'group', 'aria-label': 'Number under each token' }, one('at', 'position'), one('id', 'id'));
    choose('at');
    return node;
  }

  /** On a wide screen the strip stays in sight over the maps (decode.css). What stands above it in its card goes under the
      header: --lift says how much that is, --stuck how far down the card then reaches. */
  function stick(card, holder) {
    const measure = () => {
      if (!card.clientHeight) return;
      const lift = card.classList.contains('full') ? holder.offsetTop - 8 : 0;
      const around = card.closest('.tabitem') || card;
      around.style.setProperty('--lift', lift + 'px');
      around.style.setProperty('--stuck', card.offsetHeight - lift + 'px');
    };
    const watch = new ResizeObserver(measure);
    for (const node of [card, holder]) watch.observe(node);
  }

  glass.component('strip', function (gradio) {
    const root = gradio.element, full = glass.option(gradio, 'mode', 'full') !== 'compact';
    const said = h('div', { class: 'g-reading', 'aria-hidden': 'true' });
    const spoken = h('div', { class: 'g-hidden', 'aria-live': 'polite' });
    const status = h('p', { class: 'g-status', role: 'status', dataset: { testid: 'status' } });
    const unknown = h('div', { role: 'status' });
    const strip = tokens((position) => reading(said, position));
    const bar = controls(full), ask = full ? promptBox() : null, invite = full ? invitation() : null;
    const [title, say] = TITLES[full ? 'full' : 'compact'];
    const under = underSwitch(strip.holder), heading = h('h2', { class: 'g-title' }, title), how = h('p', { class: 'g-say' }, say);
    const card = h('section', { class: 'g-card g-decode ' + (full ? 'full' : 'compact') }, full
      ? [h('div', { class: 'g-head' }, heading, under), invite.node, how, ask.node, unknown, strip.holder, said, status, bar.node]
      : [h('div', { class: 'g-head' }, h('div', {}, heading, how), bar.node, under), unknown, strip.holder, said, status], spoken);
    root.replaceChildren(card);
    stick(card, strip.holder);
    let heard = '', left = '';
    function paint(state) {
      if (ask) ask.paint(state);
      if (invite) invite.paint(state);
      strip.paint(state);
      bar.paint(state);
      reading(said, null);
      if (left !== state.unknown.join('\n')) { // said again only when it changes: a status is read out
        left = state.unknown.join('\n');
        unknown.replaceChildren(...[unknownLine(state)].filter(Boolean));
      }
      const words = sentence(state);
      if (status.textContent !== words) status.textContent = words;
      status.classList.toggle('bad', Boolean(state.problem));
      strip.holder.setAttribute('aria-busy', String(state.busy === 'open'));
      const now = state.length + '|' + state.ids[state.position];
      if (now !== heard && !state.playing && state.pieces[state.position]) {
        heard = now;
        spoken.textContent = quoted(state.pieces[state.position]) + ' at ' + state.position;
      }
    }
    glass.decoder.connect(gradio.server, gradio.props && gradio.props.value);
    glass.on('decode', paint, root);
    glass.on('look', strip.look, root);
    if (!glass.last('decode')) paint(glass.decoder.state);
  });
})();
