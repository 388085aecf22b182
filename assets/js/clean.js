/* Clean: each step a switch, with what it does to real lines of the visitor's text. The server cleans (function
   `clean`); this draws what it counted and marks what differs between a line before and after. What the text has become
   is put on the topic `cleaning`; whoever shows or reads the text listens to it. For tests: data-state on the card
   (`ready`, `busy`), data-lines and data-characters: what is left. */
(function () {
  'use strict';
  const { h } = glass;
  const LONG = 2e6; // characters from which on a cleaning is shown on the beginning first
  const NEWS_MS = 300; // between two looks at a cleaning under way
  const PAUSE_MS = 250; // after a key in a number field
  const MARK = '<|endoftext|>';
  const LONGEST = 420; // characters of a line that are compared one by one
  const number = (n) => n.toLocaleString('en');
  const count = (n, one) => number(n) + ' ' + (n === 1 ? one.replace(/s$/, '') : one);

  /** Runs of [text, same] of both sides. What stays the same is looked for in long stretches: a letter counts more when
      it follows one that stays too, so that a link goes as a whole and does not leave letters of the next word behind.
      A letter that only became small keeps its place, and is marked. */
  function compare(before, after) {
    const a = [...before], b = [...after];
    if (a.length > LONGEST || b.length > LONGEST) return [[[before, before === after]], [[after, before === after]]];
    const small = (list) => list.map((c) => c.toLowerCase());
    const p = small(a), q = small(b), width = b.length + 1, cells = (a.length + 1) * width;
    const best = [new Float32Array(cells), new Float32Array(cells)]; // from here on; after a letter that was lost, that stayed
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        const at = i * width + j, skip = Math.max(best[0][at + width], best[0][at + 1]);
        const stay = p[i] === q[j] ? best[1][at + width + 1] + 1 : -1;
        best[0][at] = Math.max(skip, stay);
        best[1][at] = Math.max(skip, stay < 0 ? -1 : stay + 2);
      }
    }
    const runs = []; // {gone, come} or {same}
    const last = (kind) => {
      const end = runs[runs.length - 1];
      if (end && (kind === 'same') === ('same' in end)) return end;
      runs.push(kind === 'same' ? { same: '' } : { gone: '', come: '' });
      return runs[runs.length - 1];
    };
    let i = 0, j = 0, stayed = 0;
    while (i < a.length || j < b.length) {
      const at = i * width + j, both = i < a.length && j < b.length;
      if (both && p[i] === q[j] && best[stayed][at] === best[1][at + width + 1] + 1 + 2 * stayed) {
        if (a[i] === b[j]) last('same').same += a[i];
        else {
          last('change').gone += a[i];
          last('change').come += b[j];
        }
        i++;
        j++;
        stayed = 1;
        continue;
      }
      if (j >= b.length || (both && best[0][at + width] >= best[0][at + 1])) last('change').gone += a[i++];
      else last('change').come += b[j++];
      stayed = 0;
    }
    return sides(runs);
  }

  /** A letter or two that happen to be the same in the middle of a long change belong to it: nobody reads them apart. */
  function sides(runs) {
    const long = (run) => run && !('same' in run) && run.gone.length > 3;
    const left = [], right = [];
    const add = (side, text, same) => {
      const end = side[side.length - 1];
      if (!text) return;
      if (end && end[1] === same) end[0] += text;
      else side.push([text, same]);
    };
    runs.forEach((run, at) => {
      const same = 'same' in run;
      const chance = same && run.same.length < 3 && long(runs[at - 1]) && long(runs[at + 1]);
      add(left, same ? run.same : run.gone, same && !chance);
      add(right, same ? run.same : run.come, same && !chance);
    });
    return [left, right];
  }

  const MARKS = { '\n': '↵\n', '\t': '⇥' };
  const seen = (text) => text.replace(/[\n\t]/g, (c) => MARKS[c]);
  const marked = (runs, tag) => runs.map(([text, same]) => (same ? seen(text) : h(tag, {}, seen(text))));

  function example([before, after]) {
    if (after === null) {
      return h('li', { class: 'g-clean-line gone', dataset: { gone: 'true' } }, h('p', { class: 'g-clean-before', dir: 'auto' }, h('del', {}, seen(before))), h('p', { class: 'g-clean-note' }, 'goes'));
    }
    if (before === after) {
      return h('li', { class: 'g-clean-line same' }, h('p', { class: 'g-clean-after', dir: 'auto' }, seen(after)), h('p', { class: 'g-clean-note' }, 'stays as it is'));
    }
    const [left, right] = compare(before, after);
    return h('li', { class: 'g-clean-line' }, h('p', { class: 'g-clean-before', dir: 'auto' }, marked(left, 'del')), h('p', { class: 'g-clean-after', dir: 'auto' }, marked(right, 'ins')));
  }

  function did(step, unit) {
    if (step.changed === null) return '';
    const parts = [];
    if (step.changed) parts.push(count(step.changed, unit) + ' changed');
    if (step.removed) parts.push(count(step.removed, unit) + ' gone');
    if (step.characters > 0) parts.push('−' + count(step.characters, 'characters'));
    if (step.characters < 0) parts.push('+' + count(-step.characters, 'characters'));
    return parts.join(', ') || 'nothing to do here';
  }

  glass.component('clean', function ({ element, server }) {
    const problem = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true, 'data-testid': 'clean-error' });
    const steps = h('div', { class: 'g-clean-steps', role: 'group', 'aria-label': 'Steps' });
    const lines = h('ul', { class: 'g-clean-lines', 'data-testid': 'clean-examples', tabindex: '0', 'aria-label': 'Lines before and after' });
    const total = h('p', { class: 'g-clean-total', role: 'status', 'data-testid': 'clean-total' });
    const bar = h('div', { class: 'g-clean-bar', role: 'progressbar', 'aria-label': 'Cleaning the text', 'aria-valuemin': 0, 'aria-valuemax': 100, hidden: true, 'data-testid': 'clean-progress' }, h('i', {}));
    const file = h('p', { class: 'g-fine g-clean-file', 'data-testid': 'clean-file', title: 'Each line, a blank, <|endoftext|> and a line break: 15 characters more a line than its text' });
    const tweets = h('button', { type: 'button', class: 'g-btn g-small', 'data-testid': 'clean-tweets', title: 'Small letters and blanks only, links and names off, at least five words', onclick: () => all('tweets') }, 'As for tweets');
    const off = h('button', { type: 'button', class: 'g-btn g-small', 'data-testid': 'clean-off', onclick: () => all(null) }, 'All off');
    const root = h('section', { class: 'g-card g-clean', 'data-testid': 'clean', dataset: { state: 'busy' } },
      h('div', { class: 'g-clean-head' }, h('div', {}, h('h2', { class: 'g-title' }, 'Clean'),
        h('p', { class: 'g-say' }, 'Each step is a switch; they are taken from top to bottom. What is left is what a model reads.')),
      h('div', { class: 'g-clean-buttons' }, tweets, off)),
      h('div', { class: 'g-clean-body' }, steps, h('div', { class: 'g-clean-seen' }, total, file, bar, problem, lines)));
    element.querySelector('.g-mount').replaceChildren(root);
    const rows = new Map();
    let known = null, asked = 0, timer = 0;

    const wish = () => Object.fromEntries([...rows].map(([name, row]) => [name, row.value()]));

    /** Every step as in TWEETS (the server says which), or none of them. */
    function all(which) {
      if (!known) return;
      for (const step of known.steps) rows.get(step.name).set(which ? step[which] : typeof step.value === 'boolean' ? false : typeof step.value === 'number' ? 0 : 'keep');
      ask(wish());
    }

    /** A long text takes seconds: tells how far it is, for as long as it is asked for. */
    async function wait(mine) {
      const wanted = () => mine === asked && root.isConnected && root.dataset.state === 'busy';
      await new Promise((resolve) => { setTimeout(resolve, NEWS_MS); });
      while (wanted()) {
        const reply = await glass.call(server, 'clean_progress', { session: glass.session }, { quiet: true }).catch(() => null);
        if (wanted() && reply) {
          bar.firstChild.style.width = (100 * reply.share).toFixed(0) + '%';
          bar.setAttribute('aria-valuenow', (100 * reply.share).toFixed(0));
          bar.hidden = false;
        }
        await new Promise((resolve) => { setTimeout(resolve, NEWS_MS); });
      }
    }

    /** The beginning of a long text is cleaned at once; the whole comes after it. */
    async function first(mine, cleaning) {
      const request = { session: glass.session, cleaning, sample: true };
      const reply = await glass.call(server, 'clean', request, { quiet: true }).catch(() => null); // the whole may have more to say
      if (reply && mine === asked) show(reply);
    }

    async function ask(cleaning) {
      const mine = ++asked;
      if (cleaning) wait(mine);
      clearTimeout(timer);
      root.dataset.state = 'busy';
      lines.setAttribute('aria-busy', 'true');
      try {
        if (cleaning && known && known.before.characters > LONG) await first(mine, cleaning);
        if (mine !== asked) return;
        const reply = await glass.call(server, 'clean', { session: glass.session, cleaning }, { quiet: true, seconds: 300 });
        if (mine !== asked) return;
        problem.hidden = true;
        show(reply);
        if (cleaning || reply.words) glass.emit('cleaning', reply);
      } catch (error) {
        if (mine !== asked) return;
        problem.textContent = error.message + (known ? ' The text stays as it was.' : '');
        problem.hidden = false;
        if (known) for (const step of known.steps) rows.get(step.name).set(step.value);
      } finally {
        if (mine === asked) {
          root.dataset.state = 'ready';
          bar.hidden = true;
          lines.removeAttribute('aria-busy');
        }
      }
    }

    function control(step) {
      const id = 'clean-' + step.name;
      const changed = () => ask(wish());
      if (typeof step.value === 'boolean') {
        const box = h('input', { type: 'checkbox', id, onchange: changed });
        return { node: box, value: () => box.checked, set: (value) => { box.checked = value; } };
      }
      if (typeof step.value === 'number') {
        const box = h('input', { type: 'number', id, class: 'g-field', min: 0, max: 1000000, step: 1, onchange: changed, oninput: () => { clearTimeout(timer); timer = setTimeout(changed, PAUSE_MS); } });
        const value = () => Math.min(1000000, Math.max(0, Math.floor(Number(box.value) || 0)));
        return { node: box, value, set: (n) => { if (document.activeElement !== box || value() !== n) box.value = n; } };
      }
      const list = h('select', { id, class: 'g-field', onchange: changed }, ['keep', 'decode', 'drop'].map((word) => h('option', { value: word }, word)));
      return { node: list, value: () => list.value, set: (value) => { list.value = value; } };
    }

    function build(list) {
      rows.clear();
      steps.replaceChildren(...list.map((step) => {
        const made = control(step);
        const note = h('span', { class: 'g-clean-did', 'data-testid': 'did-' + step.name });
        rows.set(step.name, { ...made, note });
        const label = h('label', { for: 'clean-' + step.name, title: step.help }, step.label);
        return h('div', { class: 'g-clean-step' + (typeof step.value === 'boolean' ? '' : ' field'), dataset: { step: step.name } }, made.node, label, note);
      }));
    }

    function show(reply) {
      if (rows.size !== reply.steps.length) build(reply.steps);
      if (reply.sample === null) known = reply;
      for (const step of reply.steps) {
        const row = rows.get(step.name);
        row.set(step.value);
        row.note.textContent = did(step, reply.unit);
      }
      const { before, after, unit } = reply;
      const same = before.lines === after.lines && before.characters === after.characters && !reply.words;
      const beginning = reply.sample === null ? [] : ['In its first ' + count(reply.sample, 'characters') + ' (the rest is being cleaned): '];
      file.hidden = reply.sample !== null;
      total.replaceChildren(...beginning, ...(same ? [count(before.lines, unit), ', ', count(before.characters, 'characters'), ': nothing is cleaned.']
        : [h('b', {}, number(after.lines)), ' of ', count(before.lines, unit), ' and ', h('b', {}, number(after.characters)), ' of ', count(before.characters, 'characters'), ' are left.']));
      const one = unit === 'documents' ? 'document' : 'line';
      file.replaceChildren('A character is a letter, sign or blank, or the line break between two ' + unit + '. As a file with ' + MARK + ' behind each ' + one + ': ',
        h('b', {}, number(after.marked)), ' characters.');
      lines.replaceChildren(...reply.examples.map(example));
      off.disabled = !reply.words;
      if (reply.sample === null) Object.assign(root.dataset, { lines: after.lines, characters: after.characters, unit });
    }

    glass.on('corpus', (corpus) => {
      if (!corpus || corpus.ok === false) return;
      if (glass.last('cleaning')) glass.emit('cleaning', null); // it was another text's
      ask(null);
    }, root);
    if (!glass.last('corpus')) ask(null);
  });
})();
