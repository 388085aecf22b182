/* Fork: a form under the watched run that begins another one with its weights of some step, on its text or the visitor's,
   with other settings, or with silenced heads. glass.forking(server) makes {node, show(state)}; glass.openFork({step, changes})
   opens it with these filled in. Its server has fork_offer and fork (docs/page-protocol.md). */
(function () {
  'use strict';

  const { h } = window.glass;
  const LABELS = { learning_rate: 'Learning rate', muon_learning_rate: 'Muon’s learning rate', batch_size: 'Batch', dropout: 'Dropout', weight_decay: 'Weight decay' };

  glass.forking = function (server) {
    const say = h('p', { class: 'g-say' }, 'Another run begins with these weights. The optimizer goes on only from the last checkpoint; from any other step it begins anew, and the weights of a step '
      + 'between checkpoints are rounded to float16.');
    const form = h('form', { class: 'g-fork-form', novalidate: true, 'data-testid': 'fork-form', onsubmit: (event) => { event.preventDefault(); go(); } });
    const wrong = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true, 'data-testid': 'fork-error' });
    const fold = h('details', { class: 'g-loss-fold', 'data-testid': 'fork', ontoggle: () => { if (fold.open && !box) load(); } }, h('summary', {}, 'Fork from here'), say, form, wrong);
    const node = h('div', { class: 'g-fork', hidden: true }, fold);
    let run = null, box = null, offer = null, wish = null, asking = 0;

    const complain = (text) => { wrong.textContent = text; wrong.hidden = !text; };
    const number = (testid, value, attributes = {}) => h('input', { type: 'number', class: 'g-run-more', 'data-testid': testid, value, step: 'any', ...attributes });
    const labelled = (text, field) => h('label', {}, h('span', {}, text), field);

    async function load() {
      const mine = ++asking;
      complain('');
      try {
        const found = await glass.call(server, 'fork_offer', { session: glass.session, run: run.id }, { quiet: true });
        if (mine !== asking) return;
        offer = found;
        build();
        fill();
      } catch (error) {
        if (mine === asking) complain(error.message);
      }
    }

    function heads() {
      const buttons = [];
      for (let layer = 0; layer < offer.layers; layer++) {
        buttons.push(h('div', {}, h('small', {}, `layer ${layer + 1}`), Array.from({ length: offer.heads }, (_, head) => h('button', {
          type: 'button', class: 'g-fork-head', 'aria-pressed': 'false', dataset: { layer, head }, title: `Silence head ${head + 1} of layer ${layer + 1}`, 'aria-label': `Silence head ${head + 1} of layer ${layer + 1}`,
          onclick: (event) => event.currentTarget.setAttribute('aria-pressed', String(event.currentTarget.getAttribute('aria-pressed') !== 'true')) }, String(head + 1)))));
      }
      return h('details', { class: 'g-loss-fold' }, h('summary', {}, 'Silence heads before it goes on'), h('div', { class: 'g-fork-heads' }, buttons));
    }

    function build() {
      const { count } = glass.fmt, { best, last } = offer.exact;
      const called = (s) => `step ${count(s)}${s === last ? ', last' : s === best ? ', best' : ''}`;
      const step = h('select', { class: 'g-field', 'aria-label': 'Step to fork at', 'data-testid': 'fork-step', onchange: () => { more.value = steps(); follow(); } },
        [...offer.steps].reverse().map((s) => h('option', { value: s }, called(s))));
      const steps = () => Math.max(1, offer.planned - Number(step.value) || Math.ceil(offer.planned / 2));
      const more = number('fork-more', steps(), { min: '1', step: '1' });
      const inForce = () => offer.settings[offer.steps.indexOf(Number(step.value))];
      let shown = inForce();
      const settings = Object.entries(shown).map(([name, value]) => [name, number(`fork-${name}`, value)]);
      /** Settings that were changed in flight differ from step to step; what the visitor typed stays. */
      function follow() {
        for (const [key, field] of settings) if (field.value === String(shown[key])) field.value = String(inForce()[key]);
        shown = inForce();
      }
      const text = h('select', { class: 'g-field', 'aria-label': 'Text', 'data-testid': 'fork-text' }, h('option', { value: '' }, `its own, ${glass.fmt.short(offer.own_text, 40)}`),
        offer.text === null ? null : h('option', { value: '1' }, `the one in Corpus, ${glass.fmt.short(offer.text, 40)}`));
      const name = h('input', { type: 'text', class: 'g-field', maxlength: '80', placeholder: 'Name of the fork', 'aria-label': 'Name of the fork', 'data-testid': 'fork-name' });
      const silenced = heads(), button = h('button', { type: 'submit', class: 'g-btn go', 'data-testid': 'fork-go' }, 'Fork');
      box = { step, more, settings, text, name, silenced, button };
      form.replaceChildren(h('div', { class: 'g-fork-row' }, labelled('At', step), labelled('Steps from there', more), labelled('Text', text)),
        h('div', { class: 'g-fork-row' }, settings.map(([key, field]) => labelled(LABELS[key], field))), silenced, h('div', { class: 'g-fork-row' }, name, button));
    }

    /** What a remedy asked for: the kept step nearest below, and its settings. */
    function fill() {
      if (!wish || !box) return;
      const at = offer.steps.filter((s) => wish.step === null || s <= wish.step).at(-1) ?? offer.steps[0];
      box.step.value = String(at);
      box.step.dispatchEvent(new Event('change'));
      for (const [key, field] of box.settings) if (key in wish.changes) field.value = String(wish.changes[key]);
      wish = null;
    }

    async function go() {
      complain('');
      const settings = {};
      for (const [key, field] of box.settings) if (field.value.trim() !== '') settings[key] = Number(field.value);
      const silence = [...box.silenced.querySelectorAll('[aria-pressed="true"]')].map((b) => [Number(b.dataset.layer), Number(b.dataset.head)]);
      box.button.disabled = true;
      try {
        const reply = await glass.call(server, 'fork', { session: glass.session, run: run.id, step: Number(box.step.value), more: box.more.value.trim() === '' ? null : Number(box.more.value),
          text: box.text.value === '1', settings, silence, name: box.name.value.trim() || null }, { quiet: true, seconds: 300 });
        fold.open = false;
        glass.watchRun(reply.run);
      } catch (error) {
        complain(error.message);
      } finally {
        if (box) box.button.disabled = false;
      }
    }

    function show(state) {
      const now = state.run, can = now && now.mine === true && !glass.runs.isShipped(state.id) && now.state !== 'opened' && now.step > 0;
      node.hidden = !can;
      if (!can) return;
      if (!run || run.id !== now.id) { fold.open = false; box = offer = wish = null; asking += 1; form.replaceChildren(); complain(''); }
      run = now;
    }

    glass.openFork = (remedy) => {
      wish = remedy;
      fold.open = true;
      box = null;
      load();
      fold.scrollIntoView({ block: 'center', behavior: glass.calm() ? 'auto' : 'smooth' });
    };
    return { node, show };
  };
})();
