/* Glossary: a panel from the header with every term of docs/glossary.md, a search, and a link to the place where the
   thing can be seen: it opens the tab (and folds, where the place is in one) and outlines the element for two seconds.
   glass.glossary.button(terms) -> the header's button with its panel; glass.glossary.show(slug) goes to a term's place,
   and so does ?see=<slug> in the address. A term: {slug, term, text, label, tab, target}. */
(function () {
  'use strict';

  const { h } = window.glass;
  const SHINE = 2000, PATIENCE = 15000;  // milliseconds
  const HOLD = 500;  // milliseconds between two looks whether it is still in sight
  let terms = [], shining = null;

  // ---- going there ------------------------------------------------------------------------------------------------

  const places = (target) => (target.startsWith('#') ? [document.getElementById(target.slice(1))]
    : [...document.querySelectorAll('[data-testid="' + CSS.escape(target) + '"]')]);

  /** Seen, or at least there: the first that has a size on screen. */
  const standing = (target) => places(target).find((node) => node && node.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && node.getBoundingClientRect().height > 0);

  /** Opens what is folded on the open tab, one after the other; false when nothing is folded any more. */
  function unfold() {
    const folds = [...document.querySelectorAll('.tabitem .label-wrap:not(.open)')].filter((fold) => fold.checkVisibility());
    if (folds.length) folds[0].click();
    return folds.length > 0;
  }

  const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

  /** Whether a tab is the open one: until then the places of the old tab still stand. */
  const isOpen = (tab) => [...document.querySelectorAll('button[role="tab"][aria-selected="true"]')].some((button) => button.textContent.includes(tab));

  async function reach(tab, target) {
    const until = performance.now() + PATIENCE;
    while (!isOpen(tab) && performance.now() < until) await pause(30);
    await pause(60);
    const calm = performance.now() + 700;
    while (performance.now() < until) {
      const node = standing(target);
      if (node) return node;
      // Gradio draws a tab when it is first opened: a place that is not there yet may come without unfolding anything.
      if (performance.now() > calm) unfold();
      await pause(120);
    }
    return null;
  }

  function shine(node) {
    if (shining) shining();
    node.scrollIntoView({ block: 'center', behavior: glass.calm() ? 'auto' : 'smooth' });
    node.classList.add('g-shine');
    // What is drawn above it meanwhile would push it out of sight again; a visitor who scrolls is left alone.
    const hold = setInterval(() => {
      const { top, bottom } = node.getBoundingClientRect();
      if (bottom < 0 || top > innerHeight) node.scrollIntoView({ block: 'center' });
    }, HOLD), free = () => clearInterval(hold);
    for (const kind of ['wheel', 'touchmove', 'keydown']) addEventListener(kind, free, { once: true, passive: true });
    const timer = setTimeout(() => shining && shining(), SHINE);
    shining = () => {
      free();
      clearTimeout(timer);
      node.classList.remove('g-shine');
      shining = null;
    };
  }

  /** Opens the term's tab and outlines its place. Resolves to the element, or null with a sentence on `problem`. */
  async function show(slug) {
    const term = terms.find((one) => one.slug === slug);
    if (!term) return null;
    if (shining) shining();
    glass.openTab(term.tab);
    const node = await reach(term.tab, term.target);
    if (node) shine(node);
    else glass.emit('problem', 'The place of ' + term.term + ' is not on the page now. Open the tab ' + term.tab + ' and look for it there.');
    return node;
  }

  /** ?see=<slug>: once, when the page stands. */
  async function arrive() {
    const here = new URL(location.href), slug = here.searchParams.get('see');
    if (!slug) return;
    here.searchParams.delete('see');
    history.replaceState(history.state, '', here);
    const until = performance.now() + PATIENCE;
    while (!document.querySelector('button[role="tab"]') && performance.now() < until) await pause(100);
    show(slug);
  }

  // ---- the panel --------------------------------------------------------------------------------------------------

  function matches(term, words) {
    const text = (term.term + ' ' + term.text).toLowerCase();
    return words.every((word) => text.includes(word));
  }

  /** Terms whose name holds what was typed come before those that only mention it. */
  function found(typed) {
    const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = terms.filter((term) => matches(term, words));
    const named = (term) => words.length > 0 && words.every((word) => term.term.toLowerCase().includes(word));
    return [...hits.filter(named), ...hits.filter((term) => !named(term))];
  }

  function entry(term, go) {
    return h('div', { class: 'g-term', 'data-testid': 'term', dataset: { slug: term.slug } },
      h('dt', {}, term.term),
      h('dd', {}, h('p', {}, term.text),
        h('button', { type: 'button', class: 'g-link', 'data-testid': 'see', onclick: () => go(term) },
          term.label, h('span', { class: 'g-term-where' }, ' in ' + term.tab))));
  }

  function panel(close) {
    const search = h('input', { type: 'search', class: 'g-term-search', 'aria-label': 'Search the glossary', placeholder: 'Search', autocomplete: 'off', 'data-testid': 'glossary-search' });
    const list = h('dl', { class: 'g-terms' });
    const count = h('p', { class: 'g-term-count', role: 'status', 'data-testid': 'glossary-count' });
    const go = (term) => { close(); show(term.slug); };
    function fill() {
      const hits = found(search.value);
      list.replaceChildren(...hits.map((term) => entry(term, go)));
      list.scrollTop = 0;
      count.textContent = hits.length === terms.length ? `${terms.length} terms`
        : hits.length ? `${hits.length} of ${terms.length} terms` : 'No term has these words. Try a shorter one.';
    }
    search.addEventListener('input', fill);
    fill();
    const head = h('div', { class: 'g-panel-head' }, h('h2', { class: 'g-title', id: 'glossary-title' }, 'Glossary'),
      h('button', { type: 'button', class: 'g-btn g-small', 'data-testid': 'glossary-close', onclick: close }, 'Close'));
    return { node: h('div', { class: 'g-panel-in' }, head, h('p', { class: 'g-say' }, 'What the words mean, and where to see it in the app.'), search, count, list), search };
  }

  function button(list) {
    terms = Array.isArray(list) ? list : [];
    arrive();
    const dialog = h('dialog', { class: 'g-panel', 'aria-labelledby': 'glossary-title', 'data-testid': 'glossary-panel' });
    const open = h('button', { type: 'button', class: 'g-btn', 'aria-haspopup': 'dialog', 'data-testid': 'glossary', onclick: () => {
      const inside = panel(() => dialog.close());
      dialog.replaceChildren(inside.node);
      dialog.showModal();
      inside.search.focus();
    } }, h('span', { class: 'g-glossary-word' }, 'Glossary'), h('span', { class: 'g-glossary-mark', 'aria-hidden': 'true' }, '?'));
    open.setAttribute('aria-label', 'Glossary');  // a phone shows the mark alone
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });  // beside the panel
    return h('span', { class: 'g-panel-holder', hidden: !terms.length }, open, dialog);
  }

  glass.glossary = { button, show };
})();
