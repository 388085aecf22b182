/* Runs: a table of what the visitor trained, opened or can compare with, and what can be done with the chosen rows: rename,
   download as a zip, delete, compare (compare.js). glass.showRuns() brings the card into sight.
   Its server has runs, rename, delete, download, compare and export (docs/page-protocol.md). */
(function () {
  'use strict';

  const { h } = window.glass;
  const SURE = 5000, EVERY = 3000;  // milliseconds: for a second press; between two looks while something trains
  const WORDS = { queued: 'waiting', running: 'training', opened: 'from a file' };
  const MOST = 6;

  /** A button whose first press asks and whose second one, within some seconds, does it. */
  function asksOnce(button, question, act) {
    const plain = button.textContent;
    let timer = 0;
    const rest = () => { clearTimeout(timer); timer = 0; delete button.dataset.sure; button.textContent = plain; };
    button.setAttribute('aria-live', 'polite');
    button.addEventListener('blur', rest);
    button.addEventListener('keydown', (event) => { if (event.key === 'Escape') rest(); });
    button.addEventListener('click', (event) => {
      if (timer && event.detail < 2) { rest(); act(); return; }
      if (timer) return; // the second half of a double click, which read nothing
      button.textContent = question();
      button.dataset.sure = '';
      timer = setTimeout(rest, SURE);
    });
    return rest;
  }

  /** Of its best checkpoint; of the training, and marked as that, where nothing was held out. */
  function loss(run, value) {
    const known = Number.isFinite(value) && run.loss_kind === 'training';
    return [glass.fmt.fixed(value), known ? h('small', {}, ' train') : null];
  }

  function figures(run) {
    const { fmt } = glass, of = run.steps && run.step !== run.steps ? ` of ${fmt.count(run.steps)}` : '';
    return [['parameters', fmt.parameters(run.parameters)], ['steps', Number.isFinite(run.step) ? fmt.count(run.step) + of : '–'],
      ['nats per token', loss(run, run.loss)], ['bits per byte', loss(run, run.bits_per_byte)], ['begun', fmt.when(run.made) || '–']];
  }

  function row(run, chosen, onChoose, onOpen) {
    const box = h('input', { type: 'checkbox', 'aria-label': `Choose ${run.name}`, onchange: (event) => onChoose(run.ref, event.target.checked) });
    box.checked = chosen;
    const name = h('button', { type: 'button', class: 'g-runs-name', title: 'Show its curve and its samples', onclick: () => onOpen(run) }, h('bdi', {}, run.name));
    const badge = h('span', { class: 'g-run-badge', dataset: { state: run.state } }, WORDS[run.state] || run.state);
    const origin = [run.corpus, run.brought && 'unpacked here'].filter(Boolean).join(' · ');
    return h('tr', { dataset: { ref: run.ref }, class: chosen ? 'on' : '' }, h('td', {}, box),
      h('th', { scope: 'row' }, name, h('small', {}, h('bdi', {}, origin))), h('td', { class: 'g-runs-state' }, badge),
      figures(run).map(([label, text]) => h('td', { dataset: { label } }, text)));
  }

  function renaming(cell, run, save, leave) {
    const box = h('input', { type: 'text', class: 'g-field', maxlength: '80', 'aria-label': `New name of ${run.name}`, 'data-testid': 'runs-new-name' });
    box.value = run.name;
    const form = h('form', { class: 'g-runs-form', onsubmit: (event) => { event.preventDefault(); save(box.value); } }, box,
      h('button', { type: 'submit', class: 'g-btn g-small go' }, 'Save'), h('button', { type: 'button', class: 'g-btn g-small', onclick: leave }, 'Cancel'));
    form.addEventListener('keydown', (event) => { if (event.key === 'Escape') { event.stopPropagation(); leave(); } });
    cell.replaceChildren(form);
    box.focus();
    box.select();
  }

  glass.component('runs', function ({ element, server }) {
    const chosen = new Set();
    let list = [], shown = '', editing = false, asking = false, stale = true, seen = false;
    const wrong = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true, 'data-testid': 'runs-error' });
    const complain = (text) => { wrong.textContent = text; wrong.hidden = !text; };
    const button = (testid, label, act) => h('button', { type: 'button', class: 'g-btn g-small', disabled: true, 'data-testid': testid, onclick: act }, label);
    const view = glass.comparison(server);
    const compare = button('runs-compare', 'Compare', () => view.show(refs()));
    const rename = button('runs-rename', 'Rename', edit);
    const download = button('runs-download', 'Download', () => glass.runs.take(server, download, wrong, 'download', { run: refs()[0].slice(4) }).then(tools));
    const remove = button('runs-delete', 'Delete');
    const rest = asksOnce(remove, () => (chosen.size > 1 ? `Delete ${chosen.size} runs for good?` : 'Delete it for good?'), drop);
    const hint = h('p', { class: 'g-runs-hint', role: 'status' });
    const body = h('tbody', {});
    const head = ['', 'name', 'state', 'parameters', 'steps', 'nats per token', 'bits per byte', 'begun'].map((t, i) => h('th', { scope: 'col' }, i ? t : h('span', { class: 'g-hidden' }, 'chosen')));
    const table = h('div', { class: 'g-runs-table', tabindex: '0', role: 'region', 'aria-label': 'Runs' }, h('table', {}, h('thead', {}, h('tr', {}, head)), body));
    const root = h('section', { class: 'g-card g-runs', 'data-testid': 'runs' }, h('h2', { class: 'g-title' }, 'Runs'),
      h('p', { class: 'g-say' }, 'What you trained or opened here. Click a name to see its curve; choose rows to compare, rename, download or delete them. A downloaded run '
        + 'opens in any copy of this page, under Models. The loss is that of the best checkpoint on held-out text; “train” marks that of a training that held nothing out.'),
      h('div', { class: 'g-runs-tools' }, compare, rename, download, remove, hint), wrong, table, view.node);

    const refs = () => list.filter((run) => chosen.has(run.ref)).map((run) => run.ref);
    const picked = () => list.filter((run) => chosen.has(run.ref));
    const own = (run) => run.ref.startsWith('run:');

    function tools() {
      const some = picked(), one = some.length === 1 && own(some[0]);
      compare.disabled = !some.length || some.length > MOST;
      compare.classList.toggle('go', some.length > 1 && some.length <= MOST);
      compare.textContent = some.length > 1 ? `Compare ${some.length}` : 'Compare';
      rename.disabled = download.disabled = !one;
      remove.disabled = !some.length || !some.every(own);
      if (remove.disabled) rest();
      hint.textContent = some.length > MOST ? `Up to ${MOST} can be compared.` : some.length > 1 ? 'To rename or download, choose one.'
        : some.length && !own(some[0]) ? 'This one came with the app: it can be compared.' : '';
    }

    function choose(ref, on) {
      if (on) chosen.add(ref); else chosen.delete(ref);
      rest();
      complain('');
      const line = body.querySelector(`tr[data-ref="${CSS.escape(ref)}"]`);
      if (line) line.classList.toggle('on', on);
      tools();
    }

    function open(run) {
      glass.watchRun(own(run) ? run.ref.slice(4) : run.ref);
      glass.bringChart();
    }

    function show(runs) {
      list = runs;
      for (const ref of [...chosen]) if (!runs.some((run) => run.ref === ref)) chosen.delete(ref);
      const now = JSON.stringify(runs);
      if (now !== shown && !editing) {
        shown = now;
        const at = document.activeElement, focused = at && body.contains(at) ? [at.closest('tr').dataset.ref, at.tagName] : null;
        body.replaceChildren(...runs.map((run) => row(run, chosen.has(run.ref), choose, open)));
        if (focused) body.querySelector(`tr[data-ref="${CSS.escape(focused[0])}"] ${focused[1]}`)?.focus();
      }
      root.dataset.runs = runs.length;
      tools();
    }

    async function ask() {
      if (asking || document.hidden || !root.checkVisibility()) return;
      asking = seen = true;
      stale = false;
      try {
        show((await glass.call(server, 'runs', { session: glass.session }, { quiet: true })).runs);
      } catch { stale = true; /* asked again with the next tick */ } finally { asking = false; }
    }

    /** What an action answered: the list, and the models for the header. */
    function took(reply) {
      editing = false;
      show(reply.runs);
      glass.emit('models', reply.models);
      glass.runs.ask();
    }

    async function act(name, request) {
      complain('');
      try {
        took(await glass.call(server, name, { session: glass.session, ...request }, { quiet: true }));
        return true;
      } catch (error) {
        complain(error.message);
        stale = true;
        return false;
      }
    }

    function edit() {
      const run = picked()[0], line = run && body.querySelector(`tr[data-ref="${CSS.escape(run.ref)}"]`);
      if (!line) return;
      editing = true;
      const leave = () => { editing = false; shown = ''; complain(''); show(list); rename.focus(); };
      renaming(line.querySelector('th'), run, async (name) => {
        if (await act('rename', { run: run.ref.slice(4), name })) { rename.focus(); view.refresh(); }
      }, leave);
      line.scrollIntoView({ block: 'nearest' });
    }

    async function drop() {
      const gone = refs();
      if (!await act('delete', { runs: gone.map((ref) => ref.slice(4)) })) { ask(); return; }
      view.leave(gone);
      const seen = glass.last('model'), watched = glass.last('run'), left = (glass.last('models') || [])[0];
      if (watched && gone.includes(`run:${watched.id}`)) glass.watchRun(null);
      if (seen && gone.includes(seen.ref) && left) glass.decoder.useModel(left.ref);
    }

    (element.querySelector('.g-mount') || element).replaceChildren(root);
    let before = '';
    const heard = () => {
      const run = glass.last('run'), active = glass.last('active');
      const now = JSON.stringify([glass.last('models'), active && [active.run, active.state], run && run.run && [run.id, run.run.state]]);
      if (now === before) return;
      before = now;
      stale = true;
      ask();
    };
    for (const topic of ['models', 'active', 'run']) glass.on(topic, heard, root);
    new IntersectionObserver((entries) => { if (entries.some((e) => e.isIntersecting) && stale) ask(); }).observe(root);
    const clock = setInterval(() => {
      if (seen && !root.isConnected) clearInterval(clock); // Gradio mounted another one
      else if (stale || glass.last('active')) ask();
    }, EVERY);
    glass.showRuns = (tries = 20) => {
      if (root.checkVisibility()) { root.scrollIntoView({ block: 'start', behavior: glass.calm() ? 'auto' : 'smooth' }); ask(); }
      else if (tries) setTimeout(() => glass.showRuns(tries - 1), 150);  // its tab is being opened
    };
  });
})();
