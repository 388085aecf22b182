/* Outcome: once the watched run is over, what a teacher or copied embeddings brought: its loss beside that of the same
   run without them, or with them, or how to get one. Below the monitor; hidden where there is neither. Its server has
   `outcome`. */
(function () {
  'use strict';
  const { h } = glass;

  glass.component('outcome', function ({ element, server }) {
    const lines = h('div', {});
    const root = h('section', { class: 'g-card g-outcome', hidden: true, 'data-testid': 'outcome' },
      h('h2', { class: 'g-title' }, 'With and without'), lines);
    element.querySelector('.g-mount').replaceChildren(root);
    let asked = '';

    function said(one) {
      const text = one.sibling === null ? one.sentence : [one.sentence, h('bdi', {}, one.sibling), '.'];
      return h('p', { class: 'g-say', 'data-testid': 'outcome-' + one.taken }, text);
    }

    async function show({ id, run }) {
      const now = run && run.state === 'finished' ? id : '';
      if (now === asked) return;
      asked = now;
      root.hidden = true;
      if (!now) return;
      const reply = await glass.call(server, 'outcome', { session: glass.session, run: now }, { quiet: true }).catch(() => null);
      if (asked !== now || !reply || !reply.outcomes.length) return;
      lines.replaceChildren(...reply.outcomes.map(said));
      root.hidden = false;
    }

    glass.on('run', (state) => { if (state) show(state); }, root);
  });
})();
