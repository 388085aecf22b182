/* Runs: asks the server about the watched training run and gathers its answers into one state for everybody.
   Topics it speaks on: `run` (see empty() for the shape; points, evals and samples grow), `models`, `active`.
   It adds glass.watchRun(id), glass.runs (connect, control, ask, look, take), glass.openTab(name), glass.bringChart() and glass.fmt (numbers as words).
   The watched id outlives a reload in localStorage; ?run=<id> in the address goes before it. */
(function () {
  'use strict';

  const KEPT = 'glass.run', KEPT_TAB = 'glass.tab';
  const LIVE = 330, NEARBY = 1000, IDLE = 5000, PATIENCE = 15000;  // milliseconds
  const LINKED = ['run', 'see'].some((key) => new URLSearchParams(location.search).has(key));  // before anybody takes it off the address
  let server = null, timer = 0, asking = false, again = false, failures = 0, remembered = false, fromLink = null;
  let passing = false;  // the model on show is a state that the watched run, then in training, has since left behind
  let state = empty(null);

  function empty(id) {
    return {
      id, run: null, problem: null, cursor: 0, baselines: [], samples: [], changes: [],
      points: {step: [], loss: []}, evals: {step: [], train: [], val: [], bits_per_byte: []},
    };
  }

  function kept() {
    const asked = new URLSearchParams(location.search).get('run');
    if (asked) { fromLink = 'new'; return asked; }
    try { remembered = true; return localStorage.getItem(KEPT); } catch { return null; }
  }

  function keep(id) {
    try { if (id) localStorage.setItem(KEPT, id); else localStorage.removeItem(KEPT); } catch { /* private window */ }
    const here = new URL(location.href);
    if (!here.searchParams.has('run')) return;  // otherwise a reload would go back to the run of the old link
    if (id) here.searchParams.set('run', id); else here.searchParams.delete('run');
    history.replaceState(history.state, '', here);
  }

  /** Somebody followed a link to this run: show it, and look into it as soon as it has weights. */
  function arrive() {
    if (fromLink === 'new') { openTab('Train'); bringChart(); }
    fromLink = 'shown';
    if (!Number.isFinite(state.run.snapshot_step)) return;
    fromLink = null;
    look();
  }

  /** Somebody followed a link to no run: the tab where a sentence says so. */
  function explain() {
    if (fromLink === 'new') { openTab('Train'); bringChart(); }
    fromLink = null;
  }

  function publish() { glass.emit('run', {...state}); }

  function watchRun(id) {
    const wanted = typeof id === 'string' && id.length > 0 && id.length <= 200 ? id : null;
    if (wanted === state.id && !state.problem) return ask();
    state = empty(wanted);
    remembered = false;
    fromLink = null;
    keep(wanted);
    publish();
    ask();
  }

  // Steps only rise within one run; a run taken up again from a checkpoint walks some of them twice, the newer count.
  function append(target, more, key) {
    const steps = more && Array.isArray(more[key]) ? more[key] : [];
    if (!steps.length) return false;
    let keepUpTo = target[key].length;
    while (keepUpTo > 0 && target[key][keepUpTo - 1] >= steps[0]) keepUpTo--;
    for (const name of Object.keys(target)) {
      target[name].length = keepUpTo;
      const values = more[name] || [];
      for (let i = 0; i < steps.length; i++) target[name].push(values[i] ?? null);
    }
    return true;
  }

  function gather(reply, since) {
    const before = JSON.stringify([state.run, state.problem, state.cursor]);
    if (reply.run && state.run && reply.run.taken_up !== state.run.taken_up) { // it went on: what happened was read anew
      state = {...empty(state.id), run: reply.run, baselines: state.baselines};
      if (since) { again = true; return; }
    }
    state.problem = null;
    if (!reply.run) {
      if (remembered && !state.run) { state = empty(null); keep(null); publish(); return; }  // of an earlier visit, gone
      state.problem = 'This run is not here. It may have been removed, or its link was cut short: ask for the link again.';
      explain();
    } else {
      state.run = reply.run;
      if (fromLink && !remembered) arrive();
      append(state.points, reply.points, 'step');
      append(state.evals, reply.evals, 'step');
      for (const sample of reply.samples || []) state.samples.push(sample);
      for (const change of reply.changes || []) {
        if (state.changes.at(-1)?.step === change.step) state.changes.pop();  // no step was made with it
        state.changes.push(change);
      }
      if (reply.baselines && reply.baselines.length) state.baselines = reply.baselines;
      if (Number.isFinite(reply.cursor)) state.cursor = reply.cursor;
    }
    if (before !== JSON.stringify([state.run, state.problem, state.cursor])) publish();
  }

  function announce(topic, value) {
    if (JSON.stringify(glass.last(topic)) !== JSON.stringify(value)) glass.emit(topic, value);
  }

  function pace() {
    if (failures) return Math.min(10000, 500 * 2 ** failures);
    const now = state.run && state.run.state;
    if (now === 'running' || now === 'queued' || (state.id && !state.run && !state.problem)) return LIVE;
    return now === 'paused' || glass.last('active') ? NEARBY : IDLE;
  }

  function later() {
    clearTimeout(timer);
    if (!document.hidden && server) timer = setTimeout(ask, pace());
  }

  async function ask() {
    if (!server || document.hidden) return;
    if (asking) { again = true; return; }
    clearTimeout(timer);
    asking = true;
    const id = state.id, since = state.cursor;
    try {
      const late = new Promise((_, no) => setTimeout(() => no(new Error('late')), PATIENCE));
      const reply = await Promise.race([server.pulse({session: glass.session, run: id, since}), late]);
      if (!reply) throw new Error('no answer');
      if (failures) { failures = 0; announce('offline', false); }
      if (reply.ok === false) {
        if (id === state.id) { state.problem = reply.error || 'The server could not say how this run is doing.'; explain(); publish(); }
      } else {
        announce('models', reply.models || []);
        announce('active', reply.active || null);
        if (id && id === state.id) gather(reply, since);  // an answer about the run watched before is dropped
      }
    } catch {
      if (++failures > 1) announce('offline', true);
    } finally {
      asking = false;
      if (again) { again = false; ask(); } else later();
    }
  }

  /** more: further keys of the request, or how many more steps. */
  async function control(action, ownServer, more = null) {
    const reachable = [ownServer, server].find(s => s && typeof s.control === 'function');
    if (!reachable || !state.id) return {ok: false, error: 'There is no run to steer. Start one, or reload the page.'};
    const also = more !== null && typeof more === 'object' ? more : {more};
    const reply = await reachable.control({session: glass.session, run: state.id, action, ...also}).catch(() => null);
    ask();
    return reply || {ok: false, error: 'The server gave no answer. Look whether it still runs, then press the button again.'};
  }

  // ---- tabs: Gradio keeps those that do not fit in a menu that exists only while it is open ----
  function tabButton(name) {
    const wanted = name.toLowerCase();
    return [...document.querySelectorAll('button[role="tab"], .overflow-dropdown button')]
      .find(b => !b.closest('.visually-hidden') && b.textContent.toLowerCase().includes(wanted));
  }

  let heading = 0;  // counts where the page was told to go; what a visitor clicks goes before all of it

  /** Opens a tab. While the page is still being put together a click may come to nothing, so it is looked after, until the
      visitor or another call goes elsewhere. */
  function openTab(name, tries = 60, mine = ++heading) {
    const found = tabButton(name);
    if (found) {
      found.click();
      found.scrollIntoView({inline: 'center', block: 'nearest'});
      window.scrollTo({top: 0});
    } else {
      const more = document.querySelector('.overflow-menu > button');
      if (more) {
        more.click();
        requestAnimationFrame(() => { if (mine !== heading) return; const late = tabButton(name); if (late) late.click(); });
      }
    }
    setTimeout(() => {
      const now = tabButton(name);
      if (mine === heading && tries > 0 && !(now && now.getAttribute('aria-selected') === 'true')) openTab(name, tries - 1, mine);
    }, 150);
  }

  /** The curve that was asked for is drawn where the eye is: on a phone it stands below all the settings. */
  function bringChart(tries = 200) {
    const chart = document.querySelector('[data-testid="loss"]');
    if (!chart || !chart.checkVisibility()) { if (tries) setTimeout(bringChart, 150, tries - 1); return; }  // its tab is being opened
    const {top} = chart.getBoundingClientRect();
    if (top < 0 || top > innerHeight / 2) chart.scrollIntoView({block: 'start', behavior: glass.calm() ? 'auto' : 'smooth'});
  }

  document.addEventListener('click', (event) => {
    const tab = event.target.closest && event.target.closest('main.contain > .column > .tabs > .tab-wrapper button[role="tab"], .overflow-dropdown button');
    if (!tab) return;
    if (event.isTrusted) heading += 1;
    try { sessionStorage.setItem(KEPT_TAB, tab.textContent.replace(/[^A-Za-z]/g, '')); } catch { /* a reload begins on Decode then */ }
  }, true);

  /** After a reload: the tab that was open. A link to a run or to a term of the glossary goes before it. */
  function openKeptTab() {
    let tab = null;
    try { tab = sessionStorage.getItem(KEPT_TAB); } catch { /* nothing is kept */ }
    if (!LINKED && /^(Corpus|Train|Attention)$/.test(tab || '')) openTab(tab);
  }

  // ---- numbers as people read them ----
  const known = x => typeof x === 'number' && Number.isFinite(x);
  const fmt = {
    short(text, most) { // by whole characters, also where one is several code points
      const parts = typeof Intl.Segmenter === 'function' ? Array.from(new Intl.Segmenter().segment(String(text)), s => s.segment) : [...String(text)];
      return parts.length > most ? parts.slice(0, most - 1).join('').trimEnd() + '…' : String(text);
    },
    many: (n, thing) => fmt.count(n) + ' ' + thing + (n === 1 ? '' : 's'),
    count: n => known(n) ? Math.round(n).toLocaleString('en-US') : '–',
    fixed: (x, digits = 3) => known(x) ? x.toFixed(digits) : '–',
    parameters: n => !known(n) ? '–' : n < 100000 ? fmt.count(n) : (n / 1e6).toFixed(n < 1e8 ? 2 : 0) + ' M',
    rate: x => !known(x) ? '–' : x === 0 ? '0' : x < 1e-6 ? x.toExponential(1) : String(Number(x.toPrecision(3))),
    ordinal(n) {
      const ending = n % 100 > 10 && n % 100 < 14 ? 'th' : ['th', 'st', 'nd', 'rd'][n % 10] || 'th';
      return n + ending;
    },
    duration(seconds) {
      if (!known(seconds) || seconds < 0) return '–';
      if (seconds < 100) return Math.ceil(seconds) + ' s';
      const minutes = Math.round(seconds / 60);
      return minutes < 60 ? minutes + ' min' : Math.floor(minutes / 60) + ' h ' + (minutes % 60) + ' min';
    },
  };

  const WHEN = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit' });

  /** A moment of the server's, in UTC, on the visitor's own clock; '' for none. */
  fmt.when = (iso) => { const at = new Date(iso || NaN); return Number.isNaN(at.getTime()) ? '' : WHEN.format(at); };
  fmt.megabytes = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`);

  /** Lets the browser save a file that the server has made ready. */
  function save({path, name}) {
    const root = (window.gradio_config && window.gradio_config.root) || location.origin + location.pathname;
    const link = glass.h('a', {href: `${root.replace(/\/$/, '')}/gradio_api/file=${path.split('/').map(encodeURIComponent).join('/')}`, download: name, hidden: true});
    document.body.append(link);
    link.click();
    link.remove();
  }

  /** A button that fetches a file: it says so while the server makes it, and what was wrong stands in `wrong`. */
  async function take(theServer, button, wrong, name, request) {
    const label = button.textContent;
    button.disabled = true;
    button.textContent = 'Preparing…';
    wrong.hidden = true;
    try {
      save(await glass.call(theServer, name, {session: glass.session, ...request}, {quiet: true, seconds: 300}));
    } catch (error) {
      wrong.textContent = error.message;
      wrong.hidden = false;
    } finally {
      button.disabled = false;
      button.textContent = label;
    }
  }

  const isShipped = id => typeof id === 'string' && id.startsWith('shipped:'); // the run that made a shipped model

  const moves = run => run.state === 'running' || run.state === 'paused';

  /** Makes the watched run the model being looked at, once it has weights. A text written with the weights that a run
      ended with stays; one written with an earlier state of them gives way to these. */
  function look() {
    const run = state.run, seen = glass.last('model');
    if (!run || !Number.isFinite(run.snapshot_step)) return;
    if (moves(run) || passing || !seen || seen.ref !== run.ref) glass.decoder.useModel(run.ref);
  }

  function connect(theServer) {
    if (!server) openKeptTab();
    server = theServer;
    ask();
  }

  glass.on('model', model => { passing = Boolean(model && state.run && model.ref === state.run.ref && moves(state.run)); });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) ask(); });
  Object.assign(glass, {watchRun, openTab, bringChart, fmt, runs: {connect, control, ask, look, isShipped, take}});
  state = empty(kept());
  publish();
})();
