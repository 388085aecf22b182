/* Glass GPT in the browser: the message bus, the DOM helpers and the registry of components.
   Loaded first; every other file adds itself to window.glass, the only global there is.
   Nothing here or elsewhere turns a string from the server into HTML or code: text goes in as text nodes.
   Topics: model, decode, look, token, head, run, models, problem, theme (see `on`); from the page's first value:
   example (the ref of a shipped model whose training can be shown), upload (the most bytes of a file). */
(function () {
  'use strict';

  const topics = new Map();
  const makers = new Map();
  const waiting = new Map();

  function topic(name) {
    if (!topics.has(name)) topics.set(name, { listeners: new Set(), told: false, value: undefined });
    return topics.get(name);
  }

  /** Calls fn with every value of a topic, at once with the last one. A listener with an owner element
      goes when that element leaves the page, so that a component Gradio mounts again is not counted twice. */
  function on(name, fn, owner) {
    const listeners = topic(name).listeners;
    const entry = { fn, owner, seen: false };
    listeners.add(entry);
    if (topic(name).told) run(entry, topic(name).value);
    return () => listeners.delete(entry);
  }

  function run(entry, value) {
    try {
      entry.fn(value);
    } catch (error) {
      console.error('glass: a listener failed', error); // one broken view must not stop the others
    }
  }

  function emit(name, value) {
    const t = topic(name);
    t.value = value;
    t.told = true;
    for (const entry of [...t.listeners]) {
      if (entry.owner) {
        if (entry.owner.isConnected) entry.seen = true;
        else if (entry.seen) { t.listeners.delete(entry); continue; }
      }
      run(entry, value);
    }
  }

  const last = (name) => topic(name).value;

  // ---- components -------------------------------------------------------------------------------------------

  /** Registers what `glass.mount(name, ...)` of a gr.HTML's js_on_load calls. */
  function component(name, make) {
    makers.set(name, make);
    for (const gradio of waiting.get(name) || []) make(gradio);
    waiting.delete(name);
  }

  function mount(name, gradio) {
    if (makers.has(name)) makers.get(name)(gradio);
    else waiting.set(name, [...(waiting.get(name) || []), gradio]); // its file may come later
  }

  /** An option of a component: a prop of the gr.HTML, or data-<name> on its template's element. */
  function option(gradio, name, otherwise) {
    const inProps = gradio.props && gradio.props[name];
    if (inProps !== undefined && inProps !== null && inProps !== '') return inProps;
    const holder = gradio.element.querySelector('[data-' + name + ']') || gradio.element;
    return holder.dataset[name] || otherwise;
  }

  // ---- building and showing -----------------------------------------------------------------------------------

  function put(node, children) {
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return node;
  }

  /** h('button', {class, onclick: fn, dataset: {..}, style: {..}, 'aria-label': ..}, 'text', node, ...) */
  function h(tag, props, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(props || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
      else if (key === 'class') node.className = value;
      else if (key === 'dataset') Object.assign(node.dataset, value);
      else if (key === 'style') for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
      else node.setAttribute(key, value === true ? '' : value);
    }
    return put(node, children);
  }

  function svg(tag, attributes, ...children) {
    const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    return put(node, children);
  }

  const MARKS = { ' ': '·', '\n': '↵', '\r': '␍', '\t': '⇥', '\u00a0': '⍽' };
  const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Zs}\p{Co}\p{Cn}\p{Cs}]/u;
  const JOINS = /[\u200c\u200d\u{e0020}-\u{e007f}]/u; // joiners and flag tags belong to the character before

  /** A token as pieces that can all be seen: [{text, mark}], mark null for ordinary text. */
  function visible(text, kind) {
    const value = String(text);
    if (kind === 'bytes') return [{ text: value.startsWith('⟨') ? value : '⟨' + value + '⟩', mark: 'bytes' }];
    if (kind === 'special') return [{ text: value, mark: 'special' }];
    if (value === '') return [{ text: '∅', mark: 'unseen' }];
    const parts = [];
    for (const c of value) {
      const before = parts[parts.length - 1];
      if (MARKS[c]) parts.push({ text: MARKS[c], mark: 'space' });
      else if (UNSEEN.test(c) && !(JOINS.test(c) && before && !before.mark)) {
        parts.push({ text: '⟨U+' + c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0') + '⟩', mark: 'unseen' });
      } else if (before && !before.mark) before.text += c;
      else parts.push({ text: /\p{M}/u.test(c) ? '◌' + c : c, mark: null }); // a lone accent needs something to sit on
    }
    return parts;
  }

  const show = (text, kind) => visible(text, kind).map((p) => p.text).join('');

  /** A token as a DOM node: space as ·, newline as ↵, bytes labelled, special tokens boxed. */
  function piece(text, kind) {
    const node = h('bdi', { class: 'g-piece', dir: 'auto', dataset: { kind: kind || 'text' } });
    for (const part of visible(text, kind)) {
      node.append(part.mark ? h('span', { class: 'g-' + part.mark }, part.text) : document.createTextNode(part.text));
    }
    return node;
  }

  const percent = (p) => (p > 0 && p < 0.0005 ? '<0.1 %' : p < 1 && p >= 0.9995 ? '>99.9 %' : (100 * p).toFixed(1) + ' %');

  /** A weight for reading: three decimals, two significant figures when smaller than that. */
  function weightText(w) {
    if (w === 0 || w >= 0.001) return w.toFixed(3);
    return w < 1e-6 ? w.toExponential(1) : w.toFixed(Math.min(8, 1 - Math.floor(Math.log10(w))));
  }

  // ---- the server ---------------------------------------------------------------------------------------------

  function decodeBase64(text) {
    const raw = atob(text || '');
    const out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }

  const floats = (text) => new Float32Array(decodeBase64(text).buffer);

  const NO_ANSWER = 'The server gave no answer. Check that the app is still running, then try again; nothing was lost.';

  /** Calls a server function of a gr.HTML. Returns its reply; throws an Error with a sentence for people when
      there is none or it says {ok: false}, and puts that sentence on the topic `problem` unless quiet. */
  async function call(server, name, payload, { quiet = false, seconds = 60 } = {}) {
    let timer = 0;
    try {
      if (!server || typeof server[name] !== 'function') throw new Error('This page is not connected to its server. Reload the page.');
      const late = new Promise((resolve) => { timer = setTimeout(resolve, seconds * 1000); });
      const reply = await Promise.race([Promise.resolve(server[name](payload)).catch(() => undefined), late]);
      if (!reply || typeof reply !== 'object') throw new Error(NO_ANSWER);
      if (reply.ok === false) throw new Error(String(reply.error || NO_ANSWER));
      return reply;
    } catch (error) {
      if (!quiet) emit('problem', error.message);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  function visitor() {
    const fresh = () => 'v' + [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
    try {
      const kept = localStorage.getItem('glass.visitor');
      if (/^v[0-9a-f]{32}$/.test(kept || '')) return kept;
      const made = fresh();
      localStorage.setItem('glass.visitor', made);
      return made;
    } catch {
      return fresh(); // storage is switched off: a visitor for as long as the page is open
    }
  }

  // ---- canvases -----------------------------------------------------------------------------------------------

  /** Sizes a canvas to width x height CSS pixels at the screen's resolution; returns its 2d context, scaled. */
  function canvas2d(canvas, width, height) {
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    const w = Math.max(1, Math.round(width * ratio)), t = Math.max(1, Math.round(height * ratio));
    if (canvas.width !== w) canvas.width = w;
    if (canvas.height !== t) canvas.height = t;
    canvas.style.width = width + 'px';
    canvas.style.height = height + 'px';
    const g = canvas.getContext('2d');
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    return g;
  }

  const variable = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();

  /** "38,45,140", "rgb(38 45 140)" or "#262d8c" -> [38, 45, 140] */
  function rgb(text) {
    const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(text.trim());
    if (!hex) return (text.match(/[\d.]+/g) || [0, 0, 0]).slice(0, 3).map(Number);
    const full = hex[1].length === 3 ? [...hex[1]].map((c) => c + c).join('') : hex[1];
    return [0, 2, 4].map((i) => parseInt(full.slice(i, i + 2), 16));
  }

  /** Tells browser tests and profilers that a canvas shows what the store holds (a row may still be sliding in:
      data-settled follows data-drawn when nothing moves any more). */
  function drawn(canvas, name, tokens) {
    canvas.dataset.drawn = String((+canvas.dataset.drawn || 0) + 1);
    canvas.dataset.tokens = String(tokens);
    performance.clearMarks('glass:' + name);
    performance.mark('glass:' + name);
  }

  /** A box that scrolls fades out at each side where it goes on. Returns a function that looks again, and says
      whether it goes on to the left or the right. */
  function fades(box) {
    function look() {
      const { scrollLeft: left, scrollTop: top } = box;
      const more = { left, top, right: box.scrollWidth - box.clientWidth - left, bottom: box.scrollHeight - box.clientHeight - top };
      for (const [side, pixels] of Object.entries(more)) box.classList.toggle('g-more-' + side, pixels > 1);
      return more.left + more.right > 1;
    }
    box.classList.add('g-fades');
    box.addEventListener('scroll', look, { passive: true });
    new ResizeObserver(look).observe(box);
    new MutationObserver(look).observe(box, { childList: true, subtree: true });
    return look;
  }

  const calm = () => window.matchMedia('(prefers-reduced-motion: reduce)').matches;

  window.glass = {
    session: visitor(), on, emit, last, component, mount, option, h, svg, visible, show, piece, percent, weightText,
    bytes: decodeBase64, floats, call, canvas2d, variable, rgb, drawn, fades, calm,
  };

  // Gradio switches themes with a class on <body>; a canvas has to be told.
  function watchTheme() {
    let dark = document.body.classList.contains('dark');
    new MutationObserver(() => {
      if (document.body.classList.contains('dark') === dark) return;
      dark = !dark;
      emit('theme', dark ? 'dark' : 'light');
    }).observe(document.body, { attributes: true, attributeFilter: ['class'] });
    emit('theme', dark ? 'dark' : 'light');
  }
  if (document.body) watchTheme();
  else document.addEventListener('DOMContentLoaded', watchTheme);
})();
