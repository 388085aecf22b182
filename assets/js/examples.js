/* Examples: the first rows of the first batch that a training with these settings would read, input over target, as the
   server cut them (explorer/recipes.py, examples). A place behind the end of a document is masked: it counts for nothing.
   The tab emits `cutting` when it asks for them (true) and when they are there (false); the card passes on with the topic
   `reads` what of the text they are cut from, for the line above the settings. */
(function () {
  'use strict';
  const { h } = glass;

  function cell(piece, masked) {
    if (!piece) return h('span', { class: 'g-ex-tok g-ex-mask', title: masked }, '×');
    return h('span', { class: 'g-ex-tok', dataset: { kind: piece[1] } }, glass.piece(piece[0], piece[1]));
  }

  function row(example, number) {
    const columns = example.input.map((piece, place) => h('span', { class: 'g-ex-column' },
      cell(piece, 'behind the end: nothing is read here'), cell(example.target[place], 'behind the end: left out of the loss')));
    const label = 'Example ' + number + ': ' + example.target.filter(Boolean).length + ' tokens to predict';
    const strip = h('div', { class: 'g-ex-row', tabindex: '0', role: 'group', 'aria-label': label, 'data-testid': 'example' }, columns);
    return { strip, goesOn: glass.fades(strip) };
  }

  const SAY = {
    blocks: 'The first rows of the first batch: stretches from anywhere in the text, the input over its target. The target is the same text one token on.',
    documents: 'The first rows of the first batch: a document each, or a piece of one that is longer than the context, the input over its target. Behind its end the row is filled up (×), which counts for nothing.',
  };
  const MARK = {
    true: 'The mark before a document stands for its start: from it the model learns how documents begin.',
    false: 'No mark stands before a document, so its first token is never predicted, and how documents begin is not learnt.',
  };

  const SOON_MS = 200; // what is there sooner is not announced

  glass.component('examples', function ({ element, props, watch }) {
    const say = h('p', { class: 'g-say' }), facts = h('p', { class: 'g-fine', 'data-testid': 'example-facts' });
    const rows = h('div', { class: 'g-ex' });
    const more = h('p', { class: 'g-fine g-ex-more', hidden: true, 'data-testid': 'example-more' }, 'Rows go on to the right: scroll each to the side, or use the arrow keys.');
    const root = h('section', { class: 'g-card', hidden: true, 'data-testid': 'examples' },
      h('h2', { class: 'g-title' }, 'What it will read'), say, rows, more, facts);
    element.querySelector('.g-mount').replaceChildren(root);
    let busy = false, running = 0, timer = 0, all = [];
    function show() {
      const value = props.value;
      root.hidden = !value && !busy;
      root.setAttribute('aria-busy', String(busy));
      glass.emit('reads', { busy, ...(value && value.reads) });
      if (busy) { say.textContent = 'Cutting the text by these settings…'; return; }
      if (!value) return;
      root.dataset.cut = value.cut || '';
      if (value.ok === false) { say.textContent = value.error; all = []; rows.replaceChildren(); facts.textContent = ''; measure(); return; }
      say.textContent = SAY[value.cut] + (value.cut === 'documents' ? ' ' + MARK[value.start_mark] : '');
      all = value.rows.map((example, i) => row(example, i + 1));
      rows.replaceChildren(...all.map(({ strip }) => strip));
      facts.textContent = [...value.facts.map((fact) => fact + '.'), ...value.notes].join(' ');
      measure();
    }
    /** Again whenever the card changes its width. */
    function measure() {
      more.hidden = !all.map(({ goesOn }) => goesOn()).some(Boolean);
    }
    new ResizeObserver(measure).observe(rows);
    glass.on('cutting', (begun) => { // one may begin before the answer to another is there
      running = Math.max(0, running + (begun ? 1 : -1));
      clearTimeout(timer);
      if (running) timer = setTimeout(() => { busy = true; show(); }, busy ? 0 : SOON_MS);
      else { busy = false; show(); }
    }, root);
    watch('value', show);
    show();
  });
})();
