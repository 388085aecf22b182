/* Kinds: which head behaves most like each of the kinds that the field has names for, over the text on screen.
   The scores come with each reply of `decode` (model/trace.py, head_scores): the mean attention paid to one sort of
   target. A click selects the head. glass.kindOf(scores, layer, head) is the strongest kind of one head. */
(function () {
  'use strict';
  const { h } = glass;
  const KINDS = [
    ['previous', 'previous token', 'looks at the token just before'],
    ['first', 'first token', 'rests on the first token'],
    ['self', 'itself', 'looks at its own token'],
    ['duplicate', 'same token', 'finds where this token stood before'],
    ['induction', 'induction', 'finds what followed this token before'],
  ];

  /** The head with the highest score of a kind: {layer, head, score}, or null where no row had such a target. */
  function best(table, from) {
    let found = null;
    (table || []).forEach((row, layer) => row.forEach((score, head) => {
      if (layer >= from && score !== null && (!found || score > found.score)) found = { layer, head, score };
    }));
    return found;
  }

  /** The strongest kind of one head: {name, score}, or null. */
  function kindOf(scores, layer, head) {
    let found = null;
    for (const [key, name] of KINDS) {
      if (key === 'induction' && layer === 0) continue; // it takes a head of an earlier layer to bring it about
      const score = scores && scores[key] && scores[key][layer] ? scores[key][layer][head] : null;
      if (score !== null && score !== undefined && (!found || score > found.score)) found = { name, score };
    }
    return found;
  }

  function line([key, name, about], scores, selected) {
    const top = best(scores[key], key === 'induction' ? 1 : 0);
    const on = top && top.layer === selected[0] && top.head === selected[1];
    const bar = h('span', { class: 'g-kind-bar', 'aria-hidden': 'true' }, h('i', { style: { width: (top ? 100 * top.score : 0) + '%' } }));
    const head = top
      ? h('button', { type: 'button', class: 'g-btn g-small', 'aria-pressed': String(on), dataset: { kind: key, layer: top.layer, head: top.head },
        onclick: () => glass.decoder.selectHead(top.layer, top.head) }, 'layer ' + (top.layer + 1) + ', head ' + (top.head + 1))
      : h('span', { class: 'g-fine' }, 'no place for it yet');
    return h('li', { dataset: { kind: key } }, h('div', {}, h('b', {}, name), h('span', {}, about)), bar,
      h('output', {}, top ? top.score.toFixed(2) : '–'), head);
  }

  glass.component('kinds', function ({ element }) {
    const list = h('ul', { class: 'g-kinds', 'data-testid': 'kinds' });
    const root = h('section', { class: 'g-card' }, h('h2', { class: 'g-title' }, 'What they look for'),
      h('p', { class: 'g-say' }, 'The head of each known kind, and its mean attention to such tokens here. Click to see it.'), list);
    element.querySelector('.g-mount').replaceChildren(root);
    let shown = '';
    glass.on('decode', (state) => {
      const scores = state.next && state.next.kinds;
      root.hidden = !scores && !shown;
      if (!scores) return;
      const now = JSON.stringify([scores, state.head]);
      if (now === shown) return;
      shown = now;
      list.replaceChildren(...KINDS.map((kind) => line(kind, scores, state.head)));
    }, root);
  });

  glass.kindOf = kindOf;
})();
