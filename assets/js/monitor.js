/* Monitor: the watched training run in numbers, its buttons, and the samples it writes while it learns.
   Value {run: id} starts watching that run. Its server (or the header's) has `control`.
   Pause, Resume, Stop, Go on and Train more show only to the run's owner; everybody may look into its latest snapshot. */
(function () {
  'use strict';

  const { h } = window.glass;
  const MOST = 40;  // samples kept on the page; the rest stays on the server
  const MOST_TOKENS = 1000;  // listed of those whose rows were copied
  const WORDS = { queued: 'waiting', running: 'training', paused: 'paused', finished: 'finished', stopped: 'stopped', failed: 'failed', interrupted: 'interrupted', opened: 'opened from a file' };
  /** The same loss in bits per byte, small beside it. */
  const inBits = (s, nats) => {
    const bits = glass.losses.bits(nats, glass.losses.trainFactor(s));
    return bits === null ? 'nats per token' : `nats per token, ${glass.fmt.fixed(bits, 2)} bits per byte`;
  };
  const unheld = (s) => s.evals.step.length > 0 && !glass.losses.heldOut(s);
  /** Of the validation; of the training where nothing is held out. */
  const bitsNow = (s) => (unheld(s) ? glass.losses.bits(s.points.loss.at(-1), glass.losses.trainFactor(s)) : s.evals.bits_per_byte.at(-1));
  const teacherLoss = (s) => (Number.isFinite(s.run.soft_loss) ? `; loss against the teacher ${glass.fmt.fixed(s.run.soft_loss, 2)}` : '');
  /** What was changed in flight, once a step was made with it. */
  function scheduled({ changes, run }) {
    const last = changes.filter((change) => change.step < run.step).at(-1);
    return last && last.rate !== 1 ? `× ${glass.fmt.rate(last.rate)} of the schedule` : '';
  }

  const FIGURES = [
    ['loss', 'train loss', (s) => glass.fmt.fixed(s.points.loss.at(-1)), (s) => s.points.step.at(-1), (s) => inBits(s, s.points.loss.at(-1)) + teacherLoss(s)],
    ['val', 'validation', (s) => glass.fmt.fixed(s.evals.val.at(-1)), (s) => s.evals.step.at(-1), (s) => (unheld(s) ? 'nothing held out' : 'nats per token')],
    ['bpb', 'bits per byte', (s) => glass.fmt.fixed(bitsNow(s), 2), (s) => (unheld(s) ? s.points : s.evals).step.at(-1), (s) => (unheld(s) ? 'of the training loss' : 'of the validation')],
    ['speed', 'tokens/s', (s) => glass.fmt.count(s.run.tokens_per_s)],
    ['rate', 'learning rate', (s) => glass.fmt.rate(s.run.learning_rate), null, scheduled],
    ['norm', 'gradient norm', (s) => glass.fmt.fixed(s.run.grad_norm, 2)],
  ];
  const SURE = 5000;  // milliseconds in which a second press stops a run
  let honoured = null;  // a component mounted again must not go back to the run its old value names

  /** What there is to say about a state, beyond its name. */
  function sentence({ run, problem }) {
    if (problem) return problem;
    if (glass.runs.isShipped(run.id)) return 'The training that made the model which comes with the app. It is over; yours will be drawn in its place.';
    const { fmt } = glass;
    const own = run.message ? String(run.message) : '';
    if (run.state === 'queued') {
      const place = run.queue_position > 0 ? `It is ${fmt.ordinal(run.queue_position)} in the queue and starts by itself.` : 'It starts by itself when its turn comes.';
      return own ? `${place} ${own}` : place;
    }
    if (run.state === 'failed') return own || 'The training failed and gave no reason. Start it again, with a smaller model if it happens twice.';
    if (run.state === 'paused') return own || 'Paused. Resume goes on from this step.';
    return own;
  }

  function timeLeft(run) {
    if (run.state === 'running' && Number.isFinite(run.seconds_left)) return `${glass.fmt.duration(run.seconds_left)} left`;
    return '';
  }

  function progressBar() {
    const fill = h('i', {});
    const bar = h('div', { class: 'g-run-progress', role: 'progressbar', 'aria-label': 'Steps done', 'aria-valuemin': '0' }, fill);
    const steps = h('span', {}), left = h('span', { 'data-testid': 'time-left' });
    function show(run) {
      const share = run.steps > 0 ? Math.min(1, run.step / run.steps) : 0;
      fill.style.width = `${100 * share}%`;
      bar.setAttribute('aria-valuemax', run.steps);
      bar.setAttribute('aria-valuenow', run.step);
      steps.textContent = `step ${glass.fmt.count(run.step)} of ${glass.fmt.count(run.steps)}`;
      left.textContent = timeLeft(run);
    }
    return { node: h('div', { class: 'g-run-steps' }, bar, h('div', {}, steps, left)), show };
  }

  function figures() {
    const cells = FIGURES.map(([key, label, read, at, also]) => ({ label, read, at, also, name: h('dt', {}, label), value: h('dd', { 'data-figure': key }, '–'), small: h('dd', { class: 'g-run-unit' }) }));
    const node = h('dl', { class: 'g-run-figures' }, cells.map((c) => h('div', {}, c.name, c.value, c.also ? c.small : null)));
    const show = (state) => cells.forEach((c) => {
      c.value.textContent = c.read(state);
      if (c.also) c.small.textContent = c.value.textContent === '–' && !unheld(state) ? '\u00a0' : c.also(state);
      const step = c.at && c.value.textContent !== '–' ? c.at(state) : null;
      c.name.textContent = Number.isFinite(step) ? c.label + ' at step ' + glass.fmt.count(step) : c.label;
    });
    return { node, show };
  }

  /** What a run took from other models: whose predictions it learns from, and whose embedding rows it began with. */
  function origins() {
    const teacher = h('p', { 'data-testid': 'run-teacher' }), copied = h('p', { 'data-testid': 'run-copied' });
    const tokens = h('p', { class: 'g-run-tokens', tabindex: '0', role: 'group', 'aria-label': 'Tokens whose rows were copied' });
    const fold = h('details', { class: 'g-loss-fold' }, h('summary', {}, 'Which tokens'), tokens);
    const node = h('div', { class: 'g-run-origins' }, teacher, copied, fold);
    let shown = '';
    function show({ run }) {
      const from = run.from || {}, rows = run.copied;
      node.hidden = !from.teacher && !rows;
      const now = JSON.stringify([run.id, from, rows && [rows.rows, rows.of]]);
      if (now === shown) return;
      shown = now;
      teacher.hidden = !from.teacher;
      copied.hidden = fold.hidden = !rows;
      fold.open = false;
      teacher.replaceChildren('Besides its text it learns from what ', h('bdi', {}, from.teacher || ''), ', its teacher, would have said next.');
      if (!rows) return;
      const { count } = glass.fmt, some = rows.tokens.slice(0, MOST_TOKENS), more = rows.tokens.length - some.length;
      copied.replaceChildren(`${count(rows.rows)} of ${count(rows.of)} embedding rows copied from `, h('bdi', {}, from.embeddings || 'another model'), ': those of the tokens that both know.');
      tokens.replaceChildren(...some.map((text) => glass.piece(String(text), 'text')), more > 0 ? ` and ${count(more)} more` : '');
    }
    return { node, show };
  }

  /** A button that cannot be taken back: its first press asks, a second one within some seconds does it. Escape, going
      elsewhere or waiting lets it be. Returns what is told about the run, for the question. */
  function asksFirst(button) {
    const plain = button.textContent;
    let timer = 0, question = '', of = null;
    const rest = () => {
      clearTimeout(timer);
      timer = 0;
      delete button.dataset.sure;
      button.textContent = plain;
    };
    button.setAttribute('aria-live', 'polite');
    button.addEventListener('click', (event) => {
      if (timer && event.detail < 2) return rest(); // the question was read: go on to what the button does
      event.stopImmediatePropagation(); // also the second half of a double click, which read nothing
      if (timer) return;
      button.dataset.sure = '';
      button.textContent = question;
      timer = setTimeout(rest, SURE);
    }, true);
    button.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') rest();
      else if (event.repeat) event.preventDefault(); // a key held down is one press
    });
    button.addEventListener('blur', rest);
    return (run) => {
      question = run.state === 'queued' ? 'Stop? It will not begin' : 'Stop? Its weights are kept';
      if (timer && of !== run.id + run.state) rest();
      of = run.id + run.state;
    };
  }

  function steering(server, complain) {
    const press = (action, label, extra = '', more = () => null, name = action) => {
      const button = h('button', { type: 'button', class: `g-btn ${extra}`, 'data-testid': name, onclick: async () => {
        for (const b of all) b.disabled = true;
        complain('');
        const reply = await glass.runs.control(action, server, more());
        for (const b of all) b.disabled = false;
        if (reply.ok === false) complain(reply.error || 'The server refused and gave no reason. Try once more.');
      } }, label);
      return button;
    };
    const pause = press('pause', 'Pause'), resume = press('resume', 'Resume', 'go'), stop = press('stop', 'Stop');
    const one = press('step', 'One step');
    const goOn = press('go_on', 'Go on', 'go');
    const count = h('input', { type: 'number', class: 'g-run-more', min: '1', step: '1', 'aria-label': 'How many more steps', 'data-testid': 'more-steps' });
    const train = press('go_on', 'Train', '', () => Math.round(Number(count.value)), 'more');
    count.addEventListener('keydown', (event) => { if (event.key === 'Enter') train.click(); });
    const longer = h('span', { class: 'g-run-longer' }, train, count, h('span', {}, 'more steps'));
    const all = [pause, one, resume, stop, goOn, train];
    let asked = '';
    const say = asksFirst(stop);
    const node = h('div', { class: 'g-run-steer' }, pause, one, resume, stop, goOn, longer);
    function show(run) {
      const mine = run.mine === true, now = run.state;
      pause.hidden = !mine || !(now === 'running' || (now === 'queued' && run.step > 0)); // one that waits to go on
      resume.hidden = one.hidden = !mine || now !== 'paused';
      stop.hidden = !mine || !['running', 'paused', 'queued'].includes(now);
      const can = mine && Number.isFinite(run.goes_on_from);
      goOn.hidden = !can || now === 'finished';
      goOn.textContent = run.goes_on_from > 0 ? `Go on from step ${glass.fmt.count(run.goes_on_from)}` : 'Begin anew';
      longer.hidden = train.hidden = !can || now !== 'finished';
      if (asked !== run.id + run.steps) { asked = run.id + run.steps; count.value = Math.max(1, Math.ceil(run.steps / 2)); }
      say(run);
      node.hidden = all.every((b) => b.hidden);
    }
    return { node, show };
  }

  function looking() {
    const note = h('span', { class: 'g-run-note' });
    const button = h('button', { type: 'button', class: 'g-btn go', disabled: true, 'data-testid': 'look', onclick: () => {
      glass.runs.look();
      glass.openTab('Decode');
    } }, 'Look into it');
    const close = h('button', { type: 'button', class: 'g-btn', 'data-testid': 'close-shipped', onclick: () => glass.watchRun(null) }, 'Close');
    function show(run) {
      close.hidden = !glass.runs.isShipped(run.id);
      const ready = Number.isFinite(run.snapshot_step), live = ['running', 'paused'].includes(run.state);
      button.disabled = !ready;
      const waits = run.state === 'paused' || (run.state !== 'finished' && Number.isFinite(run.goes_on_from));
      button.classList.toggle('go', !(run.mine === true && waits)); // one first thing to do: there it is to go on
      note.textContent = !ready ? (live || run.state === 'queued' ? 'from its first snapshot on' : 'it left no weights to open')
        : live ? 'opens the model as it is at this moment' : run.state === 'opened' ? 'lets it write' : `opens its weights of step ${glass.fmt.count(run.snapshot_step)}`;
    }
    return { node: h('div', { class: 'g-run-look' }, button, note, glass.shareButton('Copy watch link', 'watch-link'), close), show };
  }

  function sampleNode({ step, prompt, text }) {
    return h('li', {}, h('span', { class: 'g-run-sample-step' }, `step ${glass.fmt.count(step)}`), h('pre', { dir: 'auto', class: 'g-run-sample' }, prompt ? h('span', { class: 'g-run-prompt', title: 'given' }, prompt) : null, String(text ?? '')));
  }

  function samples() {
    const list = h('ol', { class: 'g-run-samples', reversed: true, tabindex: '0', 'aria-label': 'Samples, newest first' });
    const node = h('div', { class: 'g-run-sample-box' }, h('h3', { class: 'g-title' }, 'What it writes'),
      h('p', { class: 'g-say' }, 'A sample every so many steps, newest on top.'), list);
    let shown = 0, of = null;
    function show(state) {
      node.hidden = !state.samples.length;
      if (of !== state.id || shown > state.samples.length) { list.replaceChildren(); shown = 0; of = state.id; }
      for (const sample of state.samples.slice(Math.max(shown, state.samples.length - MOST))) list.prepend(sampleNode(sample));
      shown = state.samples.length;
      while (list.children.length > MOST) list.lastChild.remove();
      list.dataset.samples = shown;
    }
    return { node, show };
  }

  glass.component('monitor', function ({ element, props, server, watch }) {
    const name = h('h2', { class: 'g-title', 'data-testid': 'run-name' });
    const badge = h('span', { class: 'g-run-badge', 'data-testid': 'run-state' });
    const say = h('p', { class: 'g-tip', role: 'status', hidden: true, 'data-testid': 'run-message' });
    const wrong = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true });
    const complain = (text) => { wrong.textContent = text; wrong.hidden = !text; };
    const further = glass.steering(server, complain), fork = glass.forking(server), from = h('p', { class: 'g-run-parent', hidden: true, 'data-testid': 'run-parent' });
    const steer = steering(server, complain), look = looking(), parts = [progressBar(), figures(), samples()], taken = origins();
    const empty = h('p', { class: 'g-run-empty', 'data-testid': 'monitor-empty' });
    const blank = h('div', {}, h('h2', { class: 'g-title' }, 'The run'),
      h('p', { class: 'g-say' }, 'Its numbers, its buttons, and what it writes while it learns.'), empty);
    const body = h('div', { class: 'g-run-body' }, h('div', { class: 'g-run-head' }, name, badge, steer.node),
      parts[0].node, parts[1].node, further.changes.node, fork.node, from, taken.node, say, wrong, look.node, further.step.node, parts[2].node);
    const root = h('section', { class: 'g-card g-monitor', 'data-testid': 'monitor' }, body, blank);

    /** Which run this one was forked from, and what of it was taken over. */
    function descent(parent) {
      from.hidden = !parent;
      const now = JSON.stringify(parent);
      if (!parent || from.dataset.parent === now) return;
      from.dataset.parent = now;
      const name = h('button', { type: 'button', class: 'g-link', onclick: () => glass.watchRun(parent.id) }, h('bdi', {}, parent.name));
      const kept = [parent.weights === 'exact' ? 'with its weights' : 'with its weights rounded to float16', parent.optimizer === 'kept' ? 'and its optimizer' : 'and an optimizer that began anew'].join(' ');
      from.replaceChildren('Forked from ', name, ` at step ${glass.fmt.count(parent.step)}, ${kept}${parent.edits.length ? '; ' + parent.edits.join('; ') : ''}.`);
    }

    function nothing(state) {
      empty.replaceChildren(state.problem || (state.id ? 'Opening the run…'
        : 'No run is being watched. While one trains, its numbers and the text it writes appear here, and you can look into it before it is done.'));
    }

    function show(state) {
      if (!state) return;
      body.hidden = !state.run;
      blank.hidden = Boolean(state.run);
      root.dataset.run = state.id || '';
      root.dataset.state = state.run ? state.run.state : '';
      if (!state.run) { nothing(state); return; }
      name.replaceChildren(h('bdi', {}, state.run.name));
      badge.textContent = glass.runs.isShipped(state.id) ? 'shipped' : WORDS[state.run.state] || String(state.run.state);
      badge.dataset.state = state.run.state;
      const words = sentence(state);
      if (say.textContent !== words) say.textContent = words;  // a status that is set again is read out again
      say.hidden = !words;
      say.classList.toggle('g-wrong', state.run.state === 'failed');
      steer.show(state.run);
      further.changes.show(state);
      further.step.show(state);
      fork.show(state);
      descent(state.run.parent);
      look.show(state.run);
      for (const part of parts.slice(0, 2)) part.node.hidden = state.run.state === 'opened';  // it was not trained here
      parts[0].show(state.run);
      parts[1].show(state);
      taken.show(state);
      parts[2].show(state);
    }

    function asked() {
      const id = props.value && props.value.run;
      if (!id || id === honoured) return;
      honoured = id;
      glass.watchRun(String(id));
      glass.bringChart();
    }

    (element.querySelector('.g-mount') || element).replaceChildren(root);
    glass.on('run', show, root);
    watch('value', asked);
    asked();
  });
})();
