/* glass.decoder: the state of decoding and everything that changes it. It lives here, not on the server, so that
   Back, a click on a token and a setting tried before cost nothing. Emits `decode` after every change.
   One call is under way at a time. A reply whose ticket is no longer the newest is dropped; Next pressed meanwhile
   waits in line (two at most); going elsewhere in the text makes the call under way void. */
(function () {
  'use strict';
  const glass = window.glass;
  const BATCH = 16, PACE_MS = 240, IN_LINE = 2, KEPT = 'glass.model';

  const USUAL = { temperature: 1, top_k: 0, top_p: 1, min_p: 0, seed: 1337 };

  const state = {
    model: null, ref: null, prompt: '', ids: [], pieces: [], prompt_tokens: 0,
    length: 0, // tokens that count; those after it are what was there before going back
    position: -1, // of the current token: length - 1
    next: null, // the distribution after the current token; null while it is fetched
    settings: { ...USUAL }, // top_k 0 and top_p 1 are off
    head: [0, 0], rows: 12, ended: false, notice: null, unknown: [], problem: null,
    busy: null, playing: null, calls: 0, dropped: 0,
  };
  let server = null, recalled = false, restoring = false, typed = false, ticket = 0, flying = null, waiting = {}, endedAt = -1, identity = '', lent = {};
  let nexts = new Map(), starts = new Map(), maps = null, exacts = new Map(), timer = 0, tries = 0;

  function announce() {
    remember();
    glass.emit('decode', state);
  }
  const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
  const startAt = (length) => starts.get(length) ?? Math.max(0, length - (state.model ? state.model.context : length));

  function exact(layer, head) {
    const key = layer + '.' + head;
    if (!exacts.has(key)) exacts.set(key, new glass.RowCache(1, 8e6));
    return exacts.get(key);
  }

  // ---- what is known here ---------------------------------------------------------------------------------------

  const nextKey = (length) => length + '|' + JSON.stringify(state.settings);

  function knownNext(length) {
    const next = nexts.get(nextKey(length));
    return next && (next.asked >= state.rows || next.rows.length >= next.size) ? next : null;
  }

  function missing() {
    if (!state.model || !state.length) return false;
    const start = startAt(state.length), rows = state.length - start;
    return !knownNext(state.length) || maps.held(start) < rows || exact(...state.head).held(start) < rows;
  }

  /** Moves the end of the text; true when the tokens there are known. */
  function stand(length) {
    state.length = clamp(length, Math.min(1, state.ids.length), state.ids.length);
    state.position = state.length - 1;
    state.ended = state.length === endedAt;
    state.next = knownNext(state.length) || (nexts.get(nextKey(state.length)) ?? null);
  }

  function forget() {
    nexts = new Map();
    starts = new Map();
    exacts = new Map();
    maps = new glass.RowCache(state.model.layers * state.model.heads, 64e6);
  }

  // ---- replies --------------------------------------------------------------------------------------------------

  function takeModel(model) {
    const now = [model.ref, model.step, model.layers, model.heads, model.context].join('|');
    state.model = model;
    state.ref = model.ref;
    if (now !== identity) {
      if (recalled) store(model.ref);
      identity = now; // another model, or a newer snapshot of it: nothing kept is true of it
      forget();
      state.head = [clamp(state.head[0], 0, model.layers - 1), clamp(state.head[1], 0, model.heads - 1)];
      glass.emit('head', state.head);
      glass.emit('model', model);
    }
  }

  /** Puts the reply's tokens in place. Tokens after them stay when the reply only repeats what is there. */
  function takeTokens(reply, fresh) {
    let same = 0;
    while (!fresh && same < reply.ids.length && reply.ids[same] === state.ids[same]) same++;
    if (same < reply.ids.length || fresh) {
      for (const key of nexts.keys()) if (fresh || parseInt(key, 10) > same) nexts.delete(key);
      for (const cache of [maps, ...exacts.values()]) cache.cut(same);
      state.ids = reply.ids.slice();
      state.pieces = reply.pieces.slice();
      state.prompt_tokens = reply.prompt_tokens;
      if (endedAt > same) endedAt = -1;
      dropLook(same);
    }
    if (reply.ended) endedAt = reply.ids.length;
  }

  /** A cell looked at goes when its row does. */
  function dropLook(from) {
    const look = glass.last('look');
    if (look && look.query >= from) glass.emit('look', null);
  }

  function take(reply, fresh, asked) {
    takeModel(reply.model);
    takeTokens(reply, fresh);
    if (fresh && typeof reply.prompt === 'string') state.prompt = reply.prompt;
    if (reply.settings) {
      lent = { ...reply.settings };
      Object.assign(state.settings, lent);
    }
    if (fresh) state.unknown = [];
    if (reply.unknown && reply.unknown.length) state.unknown = reply.unknown.slice();
    state.notice = reply.notice || null;
    const m = reply.maps, e = reply.exact;
    if (m) {
      starts.set(reply.ids.length, m.start);
      maps.add(m.start, m.from, m.to, glass.bytes(m.cells));
    }
    if (e) exact(e.layer, e.head).add(e.start, e.from, e.to, glass.floats(e.cells));
    if (reply.next) {
      if (nexts.size > 3000) nexts.delete(nexts.keys().next().value);
      nexts.set(nextKey(reply.ids.length), Object.assign(reply.next, { asked, kinds: reply.kinds }));
    }
    stand(reply.ids.length);
  }

  // ---- calls ----------------------------------------------------------------------------------------------------

  /** The request for the text up to the current token, with what of it is already here. */
  function request(append, all) {
    const grown = state.length + (append ? append.count || 1 : 0);
    const start = append ? Math.max(0, grown - state.model.context) : startAt(state.length);
    const held = (cache) => (all ? 0 : clamp(cache.held(start), 0, Math.max(0, state.length - start)));
    return {
      session: glass.session, model: state.ref, step: state.model.step, prompt: null, ids: state.ids.slice(0, state.length),
      prompt_tokens: Math.min(state.prompt_tokens, state.length), append: append || null,
      settings: { ...state.settings }, head: state.head.slice(), rows: state.rows,
      have: { maps: held(maps), exact: held(exact(...state.head)) },
    };
  }

  /** Sends one request and takes its reply. Resolves to true when the reply counted. */
  async function send(kind, body) {
    const mine = ++ticket;
    const asked = JSON.stringify(body.settings);
    flying = { kind };
    waiting = {};
    state.busy = kind;
    state.problem = null;
    state.calls += 1;
    announce();
    let problem = null, reply = null;
    try {
      reply = await glass.call(server, 'decode', body, { quiet: true });
    } catch (error) {
      problem = error.message;
    }
    if (mine !== ticket) {
      state.dropped += 1;
      return false;
    }
    flying = null;
    state.busy = null;
    if (reply && asked !== JSON.stringify(state.settings)) {
      reply.next = null; // the settings moved on while it was computed: its tokens and maps are right, its odds are not
    }
    try {
      if (reply && restoring) state.head = [reply.exact.layer, reply.exact.head];
      if (reply) take(reply, kind === 'open', body.rows);
    } catch (error) {
      problem = error.message;
    }
    if (problem) fail(problem);
    announce();
    if (!problem) drain(kind);
    return !problem;
  }

  function fail(sentence) {
    state.problem = sentence;
    waiting = {};
    stop();
  }

  function drain(kind) {
    const { then, nexts: pressed = 0 } = waiting;
    waiting = {};
    if (then) then();
    else if (pressed) {
      const done = step();
      if (flying && pressed > 1) waiting.nexts = pressed - 1;
      else if (pressed > 1) done.then(step);
    } else if (missing()) {
      // A window that slid, a head chosen meanwhile, or a reply that left rows out: ask for the rest, once from the start.
      tries += 1;
      if (tries < 5) send('refresh', request(null, kind === 'refresh'));
      else fail('The server left out a part of its answer. Reload the page, and report it if it happens again.');
      if (tries >= 5) announce();
    } else tries = 0;
  }

  /** Fetches what the views lack at the current token, or does so after the call under way. */
  function ensure() {
    tries = 0;
    if (!flying && missing()) return send('refresh', request(null, false));
    return Promise.resolve(true);
  }

  function whenIdle(fn) {
    if (flying) waiting.then = fn;
    else fn();
  }

  /** Makes a call under way void. An open() is let through: giving it up would lose the prompt. */
  function interrupt() {
    if (flying && flying.kind === 'open') return false;
    if (flying) {
      ticket += 1;
      flying = null;
      state.busy = null;
    }
    waiting = {};
    return true;
  }

  // ---- operations -----------------------------------------------------------------------------------------------

  /** Keeps a server component to call, and takes the reply a page begins with (only the first one counts). */
  function connect(functions, reply) {
    if (functions && typeof functions.decode === 'function') server = functions;
    if (reply && !state.model && (reply.ids || reply.ok === false)) begin(reply);
    if (server && state.model && !recalled) recall();
  }

  /** After a reload: back to the model that was being looked at, and to its text. One that is gone is forgotten without a
      word. */
  async function recall() {
    recalled = true;
    const ref = stored() || state.ref, kept = glass.texts.get(ref);
    if (kept && (await restore(ref, kept))) return;
    if (!ref || ref === state.ref) return;
    if (!(await useModel(ref)) && state.problem) {
      store(null);
      state.problem = null;
      announce();
    }
  }

  /** What a reload would lose, under the model's name. Only what stands still is worth keeping. */
  function remember() {
    if (!recalled || restoring || !state.model || !state.length || flying) return;
    const { ref, prompt, prompt_tokens, length, head, rows } = state;
    glass.texts.keep(ref, { step: state.model.step, prompt, typed, ids: state.ids, prompt_tokens, length, head, rows, settings: state.settings });
  }

  /** Sends a kept text's tokens back; false where there is nothing to bring back or the server cannot. */
  async function restore(ref, kept) {
    const before = { prompt: state.prompt, settings: { ...state.settings }, rows: state.rows };
    const same = ref === state.ref && kept.length === state.length && String(kept.ids) === String(state.ids) && String(kept.head) === String(state.head)
      && Object.keys(kept.settings).every((key) => kept.settings[key] === state.settings[key]);
    if (same) return true;
    restoring = true;
    state.prompt = kept.prompt;
    state.rows = kept.rows;
    Object.assign(state.settings, kept.settings);
    const went = await send('open', {
      session: glass.session, model: ref, step: kept.step, prompt: null, ids: kept.ids, prompt_tokens: kept.prompt_tokens, append: null,
      settings: { ...state.settings }, head: kept.head, rows: kept.rows, have: { maps: 0, exact: 0 },
    });
    restoring = false;
    if (!went) {
      glass.texts.keep(ref, null);
      Object.assign(state, before, { problem: null });
      announce();
      return false;
    }
    typed = kept.typed;
    stand(kept.length);
    glass.emit('head', state.head);
    announce();
    await ensure();
    return true;
  }

  function stored() {
    try { return localStorage.getItem(KEPT); } catch { return null; }
  }

  function store(ref) {
    try { if (ref) localStorage.setItem(KEPT, ref); else localStorage.removeItem(KEPT); } catch { /* private window */ }
  }

  function begin(reply) {
    if (reply.ok === false) {
      state.problem = String(reply.error);
      return announce();
    }
    state.prompt = reply.prompt ?? reply.pieces.slice(0, reply.prompt_tokens)
      .filter((p) => p[1] !== 'bytes' && p[1] !== 'special').map((p) => p[0]).join('');
    if (reply.exact) state.head = [reply.exact.layer, reply.exact.head]; // the head that the page opens on
    try {
      take(reply, true, state.rows);
    } catch (error) {
      fail(error.message);
    }
    announce();
  }

  /** What a model's recipe asked for is not the next model's, unless the visitor chose it since. */
  function giveBack() {
    for (const [name, value] of Object.entries(lent)) if (state.settings[name] === value) state.settings[name] = USUAL[name];
    lent = {};
  }

  function open(prompt, ref) {
    stop();
    const model = ref ?? state.ref;
    const sameModel = state.model && model === state.ref;
    const own = prompt === null; // the model's own opening, until the visitor has written something
    if (!own) {
      state.prompt = String(prompt);
      typed = ref === undefined || typed;
    }
    if (!sameModel) giveBack();
    return send('open', {
      session: glass.session, model, prompt: own ? null : state.prompt, opening: own, ids: null, prompt_tokens: 0, append: null,
      settings: { ...state.settings }, head: sameModel ? state.head.slice() : [0, 0], rows: state.rows,
      have: { maps: 0, exact: 0 },
    });
  }

  /** One token on: the drawn one, or the one chosen. A token that is already there is stepped onto without a call. */
  function step(choose) {
    if (!state.model || (choose === undefined && state.ended)) return Promise.resolve(false);
    const kept = state.ids[state.length];
    const wanted = choose ?? (state.next ? state.next.drawn.id : undefined);
    if (kept !== undefined && kept === wanted) {
      stand(state.length + 1);
      state.problem = null;
      announce();
      return ensure();
    }
    return send('append', request(choose === undefined ? { count: 1 } : { choose }));
  }

  function next(choose) {
    stop();
    if (choose !== undefined) return interrupt() ? step(choose) : Promise.resolve(false);
    if (!flying) return step();
    waiting.nexts = Math.min(IN_LINE, (waiting.nexts || 0) + 1);
    return Promise.resolve(false);
  }

  /** Writes these tokens after the current one, in one call. */
  function write(ids) {
    stop();
    if (!state.model || !ids.length || !interrupt()) return Promise.resolve(false);
    const body = request(null, true);
    return send('append', { ...body, ids: body.ids.concat(ids) });
  }

  function go(position) {
    stop();
    if (!state.ids.length || !interrupt()) return Promise.resolve(false);
    stand(position + 1);
    state.problem = null;
    dropLook(state.length);
    announce();
    return ensure();
  }

  const back = () => (state.position > 0 ? go(state.position - 1) : Promise.resolve(false));

  function stop() {
    clearTimeout(timer);
    if (state.playing) {
      state.playing = null;
      announce();
    }
  }

  function play() {
    if (!state.model || state.ended) return;
    stop();
    state.playing = 'play';
    announce();
    whenIdle(beat);
  }

  async function beat() {
    if (state.playing !== 'play') return;
    const began = performance.now();
    const went = document.hidden || (await step());
    if (state.playing !== 'play') return;
    if (!went || state.ended) return stop();
    timer = setTimeout(() => whenIdle(beat), Math.max(0, PACE_MS - (performance.now() - began)));
  }

  /** Writes up to count tokens, a few a call so that they can be seen coming and stopped. */
  function toEnd(count) {
    if (!state.model || state.ended) return;
    stop();
    state.playing = 'end';
    announce();
    whenIdle(async () => {
      let left = Math.max(1, Math.floor(count) || 1);
      while (left > 0 && state.playing === 'end' && !state.ended) {
        const before = state.length;
        if (!(await send('append', request({ count: Math.min(BATCH, left) })))) break;
        left -= Math.max(1, state.length - before);
      }
      if (state.playing === 'end') stop();
    });
  }

  function settings(change) {
    Object.assign(state.settings, change);
    for (const name of Object.keys(change)) delete lent[name]; // also where it is set to what it was
    if (state.model) state.next = knownNext(state.length) || state.next;
    announce();
    return ensure();
  }

  /** How many of the most probable tokens are listed. */
  function showRows(rows) {
    state.rows = rows;
    announce();
    return ensure();
  }

  function selectHead(layer, head) {
    if (!state.model) return;
    state.head = [clamp(layer, 0, state.model.layers - 1), clamp(head, 0, state.model.heads - 1)];
    glass.emit('head', state.head);
    announce();
    ensure();
  }

  /** Opens the current prompt with another model. */
  const useModel = (ref) => open(typed ? state.prompt : null, ref);

  // ---- readings -------------------------------------------------------------------------------------------------

  /** The attention maps of the text up to the current token: {start, count, rows, layers, heads}, or null. */
  function view() {
    const window = maps && state.length ? maps.at(startAt(state.length)) : null;
    if (!window) return null;
    const count = Math.min(window.rows.length, state.length - window.start);
    return { start: window.start, count, rows: window.rows, layers: state.model.layers, heads: state.model.heads };
  }

  /** {value, exact} of one weight at absolute positions; null for a masked or unknown cell.
      Exact is the server's float32; otherwise it is read from the map's bytes (within 0.004). */
  function weight(layer, head, query, key) {
    const v = view();
    if (!v || key > query || key < v.start || query >= v.start + v.count) return null;
    const i = query - v.start, j = key - v.start;
    const row = exact(layer, head).at(v.start)?.rows[i];
    if (row) return { value: row[j], exact: true };
    return { value: (v.rows[i][(layer * v.heads + head) * (i + 1) + j] / 255) ** 2, exact: false };
  }

  /** The odds the current settings gave the token at a position when it was next, or null when not at hand. */
  function oddsAt(position) {
    const before = nexts.get(nextKey(position));
    return (before && before.rows.find((row) => row.id === state.ids[position])) || null;
  }

  glass.weight = (layer, head, query, key) => weight(layer, head, query, key)?.value ?? null;
  glass.decoder = {
    state, connect, open, next, back, write, go, play, pause: stop, toEnd, settings, showRows, selectHead, useModel,
    view, weight, oddsAt,
  };
})();
