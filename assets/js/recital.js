/* By heart: asks a model for documents of the text that it was trained on, and shows how they came back. Part of the card
   "Evaluation of what it writes" (learnt.js), whose server has `by_heart`.
   glass.recital(server, asked) -> {go, node, clear}: the button, what is shown below it, and to empty that; `asked()`
   names the model.
   For tests: data-testid heart, heart-go, heart-more, heart-example, heart-failures, heart-all; data-state on the box. */
(function () {
  'use strict';

  const { h } = window.glass;
  const AROUND = 90;  // characters shown before the first difference
  const BEHIND = 160;  // and behind it
  const FEW = 3;  // that did not come back, shown at first
  const ASK = 'Ask for its texts by heart';
  const count = (n) => Number(n).toLocaleString('en-US');

  /** How many characters two texts share from the start, as whole characters. */
  function common(a, b) {
    let n = 0;
    while (n < a.length && n < b.length && a[n] === b[n]) n += 1;
    return n;
  }

  /** A text with its first difference marked; where it only ended too early, the place says so. */
  function marked(letters, same, exact, end) {
    const before = letters.slice(0, same), shared = before.length > AROUND ? '… ' + before.slice(-AROUND).join('') : before.join('');
    if (exact) return h('bdi', { dir: 'auto' }, shared);
    const rest = letters.slice(same), more = rest.length > BEHIND ? ' …' : '';
    const first = rest.length ? h('mark', {}, rest[0] === '\n' ? '↵\n' : rest[0]) : h('mark', { class: 'g-heart-end' }, end);
    return h('bdi', { dir: 'auto' }, shared, first, rest.slice(1, BEHIND).join('') + more);
  }

  function example(one) {
    const written = [...one.written], expected = [...one.expected], same = common(written, expected);
    const row = (name, ...inside) => [h('dt', {}, name), h('dd', {}, inside)];
    return h('dl', { class: 'g-heart-example', 'data-testid': 'heart-example', dataset: { exact: String(one.exact) } },
      row('given', h('bdi', { dir: 'auto' }, one.given)), row('written', marked(written, same, one.exact, one.ended ? '(stopped here)' : '(went no further)')),
      one.exact ? row('in the text', 'the same, to the letter') : row('in the text', marked(expected, same, false, '(ends here)')));
  }

  /** One that came back, and below it those that did not, each with the place where it parts from the text: a few, and
      all of them by a button. The nearest come first. */
  function examples(outcomes, unit) {
    const share = (one) => common([...one.written], [...one.expected]) / Math.max(1, [...one.expected].length);
    const right = outcomes.find((one) => one.exact);
    const wrong = outcomes.filter((one) => !one.exact).map((one) => [share(one), one]).sort((a, b) => b[0] - a[0]).map(([, one]) => one);
    const parts = right ? [h('h4', { class: 'g-heart-group' }, 'One that came back'), example(right)] : [];
    if (!wrong.length) return parts;
    const list = h('div', { 'data-testid': 'heart-failures' }), rest = wrong.length - FEW;
    const all = rest > 0 && h('button', { type: 'button', class: 'g-btn g-small', 'aria-expanded': 'false', 'data-testid': 'heart-all', onclick: () => show(all.getAttribute('aria-expanded') === 'false') });
    const show = (whole) => {
      list.replaceChildren(...wrong.slice(0, whole ? wrong.length : FEW).map(example));
      if (!all) return;
      all.setAttribute('aria-expanded', String(whole));
      all.textContent = whole ? `Show ${FEW}` : `Show all ${count(wrong.length)}`;
    };
    show(false);
    return [...parts, h('h4', { class: 'g-heart-group' }, `Not come back to the letter: ${count(wrong.length)} of ${count(outcomes.length)} ${unit}`), list, all];
  }

  function figures(outcomes, { asked, of: all, unit }) {
    const cell = (name, value, more) => h('div', {}, h('dt', {}, name), h('dd', {}, count(value), more ? h('small', {}, ` ${more}`) : null));
    const number = (test) => outcomes.filter(test).length, of = `of ${count(outcomes.length)}`;
    return h('dl', { class: 'g-learnt-figures g-heart-figures' }, cell(`${unit} asked for`, outcomes.length, asked < all ? `of ${count(all)}, evenly spread` : 'all that are long enough'),
      cell('come back to the letter', number((one) => one.exact), of), cell(unit === 'lines' ? 'came to the line break' : 'stopped by themselves', number((one) => one.ended), of));
  }

  /** A line break is no end: a model of a stream goes on behind it. */
  const UNENDING = 'It was trained on blocks of a stream, which has no end: it goes on behind a line break, and does not stop by itself. Cut into documents, it would learn where each ends.';

  function explained(outcomes, { unit, words }) {
    const longer = outcomes.filter((one) => one.longer).length, lines = unit === 'lines';
    return `${lines ? 'Its text was cut into blocks, so its lines are asked for. ' : ''}Asked for are ${unit} of more than ${words} words. The model is given the first ${words} words of each and goes on with its likeliest token (top-k 1). Come back to the letter: all of the rest, and then ${lines ? 'the line break' : 'its end'}. `
      + (lines ? 'Came to the line break: at most 8 tokens too late.' : 'Stopped by themselves: it came to an end, at most 8 tokens too late.')
      + (longer ? ` ${count(longer)} of ${count(outcomes.length)} have more tokens than it sees at once and cannot come back whole.` : '');
  }

  function recital(server, asked) {
    const go = h('button', { type: 'button', class: 'g-btn', 'data-testid': 'heart-go' }, ASK);
    const more = h('button', { type: 'button', class: 'g-btn g-small', 'data-testid': 'heart-more', onclick: () => ask(true) });
    const said = h('p', { class: 'g-learnt-note', 'aria-live': 'polite', hidden: true });
    const inside = h('div', {});
    const node = h('div', { class: 'g-heart', 'data-testid': 'heart', dataset: { state: 'idle' } }, said, inside);
    let running = 0, tickets = 0;

    function say(words) {
      said.textContent = words;
      said.hidden = !words;
    }

    function idle(state) {
      running = 0;
      go.textContent = ASK;
      node.dataset.state = state;
    }

    function show(outcomes, reply, name) {
      say('');
      more.textContent = `Ask for all ${count(reply.of)}`;
      inside.replaceChildren(...[h('h3', {}, 'By heart: ', h('bdi', {}, name)), figures(outcomes, reply), reply.asked < reply.of && more].filter(Boolean),
        ...(reply.unit === 'lines' ? [h('p', { class: 'g-learnt-note', 'data-testid': 'heart-unending' }, UNENDING)] : []), ...examples(outcomes, reply.unit).filter(Boolean),
        h('details', { class: 'g-learnt-fold' }, h('summary', {}, 'How it is counted'), h('p', { class: 'g-learnt-note' }, explained(outcomes, reply))));
    }

    async function ask(all = false) {
      const { model } = glass.decoder.state, mine = ++tickets, of = asked(), outcomes = [];
      if (!model) return;
      running = mine;
      go.textContent = 'Stop';
      node.dataset.state = 'asking';
      inside.replaceChildren();
      say('Asking…');
      let draft = null;
      try {
        do {
          const reply = await glass.call(server, 'by_heart', { ...of, all, draft }, { quiet: true });
          if (running !== mine) return;
          outcomes.push(...reply.outcomes);
          draft = reply.draft;
          say(`Asked for ${count(reply.done)} of ${count(reply.asked)} ${reply.unit}; ${count(outcomes.filter((one) => one.exact).length)} came back to the letter.`);
          if (!draft) show(outcomes, reply, model.name);
        } while (draft);
        idle('done');
      } catch (error) {
        if (running !== mine) return;
        idle('problem');
        say(error.message);
      }
    }

    function clear() {
      idle('idle');
      say('');
      inside.replaceChildren();
    }

    go.addEventListener('click', () => (running ? clear() : ask()));
    return { go, node, clear };
  }

  window.glass.recital = recital;
})();
