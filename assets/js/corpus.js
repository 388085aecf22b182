/* Corpus: what the visitor's text is. 'corpus' is the card on the Corpus tab (figures, notes, the beginning with its
   unseen characters made visible), 'source' the line on the Train tab that names the text. Both ask the server at mount
   and follow the topic `corpus`. 'notice' shows a sentence that Python sends: {text, kind: 'error' | ''}. */
(function () {
  'use strict';
  const { h } = glass;

  function figures(list) {
    return h('dl', { class: 'g-figures', 'data-testid': 'corpus-figures' }, (list || []).map(([name, value]) =>
      h('div', {}, h('dt', {}, name), h('dd', {}, value))));
  }

  function common(list) {
    if (!list || !list.length) return null;
    const most = list[0][1];
    return h('div', { class: 'g-common' }, h('h3', { class: 'g-subtitle' }, 'Its most frequent characters'),
      h('ul', { class: 'g-common-list' }, list.map(([character, share]) => h('li', {},
        glass.piece(character, character === '\n' ? 'newline' : character === ' ' ? 'space' : 'text'),
        h('span', { class: 'g-common-bar', 'aria-hidden': 'true' }, h('i', { style: { width: (100 * share / most) + '%' } })),
        h('span', { class: 'g-common-share' }, glass.percent(share))))));
  }

  function faded(box) {
    glass.fades(box);
    return box;
  }

  function card(corpus) {
    const from = { file: 'your file', paste: 'pasted', shipped: 'comes with the app' };
    const source = from[corpus.source] || String(corpus.source).replace(/^hub:/, 'from the Hub: ');
    return [
      h('h2', { class: 'g-title', 'data-testid': 'corpus-name' }, h('bdi', {}, corpus.name)),
      h('p', { class: 'g-say' }, 'As it was read: ' + source + ', ' + corpus.encoding + '.'),
      figures(corpus.figures),
      corpus.notes.length ? h('ul', { class: 'g-notes' }, corpus.notes.map((note) => h('li', {}, h('bdi', {}, note)))) : null,
      h('h3', { class: 'g-subtitle' }, 'How it begins'),
      faded(h('pre', { class: 'g-excerpt', tabindex: '0', dir: 'auto', 'data-testid': 'corpus-excerpt' }, corpus.excerpt)),
      corpus.more ? h('p', { class: 'g-fine' }, 'and ' + corpus.more.toLocaleString('en') + ' characters more') : null,
      common(corpus.common),
    ];
  }

  // ---- a file that is too large is refused here, before it travels ----
  let refuse = null; // of the card, once it stands

  /** A size as the server says it too (training/files.py): 812 bytes, 1.1 MB. */
  function size(bytes) {
    if (bytes < 1000) return bytes + ' bytes';
    const [value, unit] = bytes < 1e6 ? [bytes / 1e3, ' kB'] : [bytes / 1e6, ' MB'];
    return value.toFixed(1).replace('.0', '') + unit;
  }

  const tooLarge = (file, most) => '"' + file.name + '" is ' + size(file.size) + ', and the limit is ' + size(most) + '. Cut it to its first '
    + size(most) + ' or take a part of it; a small GPT learns its style from one to five megabytes.';
  let leftOut = []; // sentences about files of a selection whose others are on their way

  /** Gradio uploads on these events, at the drop field itself; the document hears of them first. */
  function guard(event) {
    if (!event.target.closest || !event.target.closest('#upload')) return;
    const dropped = event.type === 'drop', most = glass.last('upload');
    const files = [...((dropped ? event.dataTransfer && event.dataTransfer.files : event.target.files) || [])];
    const large = most ? files.filter((file) => file.size > most) : [];
    if (!large.length || !refuse) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    const rest = new DataTransfer(), sentences = large.map((file) => tooLarge(file, most));
    for (const file of files) if (!large.includes(file)) rest.items.add(file);
    if (rest.files.length) leftOut = sentences;
    else refuse(sentences.join(' '));
    if (dropped) { // an empty one ends Gradio's highlight
      event.target.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: rest }));
    } else if (rest.files.length) {
      event.target.files = rest.files;
      event.target.dispatchEvent(new Event('change', { bubbles: true }));
    } else event.target.value = '';
  }
  document.addEventListener('change', guard, true);
  document.addEventListener('drop', guard, true);

  /** Whether something stands in the box of a source that the text is not from. */
  function stale(corpus) {
    const filled = (selector) => Boolean((document.querySelector(selector) || {}).value);
    return (corpus.source !== 'paste' && filled('#paste textarea')) || (!corpus.example && filled('#example input'));
  }

  /** Gradio's lists have no placeholder of their own, and this one comes a little after the card. */
  function invite(frames = 120) {
    const list = document.querySelector('#example input');
    if (list) list.placeholder = 'Choose a text…';
    else if (frames) requestAnimationFrame(() => invite(frames - 1));
  }

  async function ask(server) {
    if (glass.last('corpus')) return;
    try {
      glass.emit('corpus', await glass.call(server, 'corpus', { session: glass.session }, { quiet: true }));
    } catch (error) {
      glass.emit('corpus', { ok: false, error: error.message });
    }
  }

  glass.component('corpus', function ({ element, props, server, trigger, watch }) {
    const problem = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true, 'data-testid': 'corpus-error' });
    const body = h('div', {}, h('p', { class: 'g-empty' }, 'Reading the text…'));
    const root = h('section', { class: 'g-card g-corpus', 'data-testid': 'corpus' }, problem, body);
    element.querySelector('.g-mount').replaceChildren(root);

    let taken = null;

    function show(corpus) {
      if (!corpus) return;
      const beside = [...leftOut, ...(corpus.refused || [])];
      problem.hidden = corpus.ok !== false && !beside.length;
      if (problem.hidden) problem.textContent = ''; // the next one is news, even when it says the same
      if (corpus.ok === false) {
        problem.textContent = [...leftOut, corpus.error].join(' ') + (root.dataset.name ? ' The text below stays in use.' : '');
        if (!root.dataset.name) body.replaceChildren();
        problem.scrollIntoView({ block: 'nearest' }); // on a phone the card lies below what was pressed
        leftOut = [];
        return; // the text that was there stays
      }
      if (beside.length) {
        problem.textContent = beside.join(' ') + (corpus.files > 1 ? ' The other files are used.' : ' The other file is used.');
        problem.scrollIntoView({ block: 'nearest' });
        leftOut = [];
      }
      if (taken !== null && taken !== corpus.taken && stale(corpus)) trigger('clear'); // see the tab
      taken = corpus.taken;
      body.replaceChildren(...card(corpus).filter(Boolean));
      root.dataset.name = corpus.name;
      root.dataset.characters = corpus.characters;
    }

    refuse = (error) => show({ ok: false, error });
    invite();
    glass.on('corpus', show, root);
    watch('value', () => {
      if (!props.value) return;
      if (props.value.ok === false) show(props.value);
      else glass.emit('corpus', props.value);
    });
    ask(server);
  });

  glass.component('source', function ({ element, props, server, watch }) {
    const line = h('p', { class: 'g-source', 'data-testid': 'source' });
    element.querySelector('.g-mount').replaceChildren(line);
    let corpus = null, problem = '', reads = {}; // reads: what the settings take of the text, see examples.js

    function amount() {
      if (reads.busy) return ', which is being cut';
      const { characters = corpus.left ?? corpus.characters, documents, cleaned } = reads;
      return (documents ? ', the first ' + documents[0].toLocaleString('en') + ' of its ' + documents[1].toLocaleString('en') + ' documents' : '')
        + ', ' + characters.toLocaleString('en') + ' characters'
        + (cleaned ? ', cleaned by the recipe: ' + cleaned : corpus.cleaned ? ', cleaned: ' + corpus.cleaned : '');
    }

    function show() {
      if (!corpus) { line.textContent = problem; return; }
      const change = h('button', { type: 'button', class: 'g-link', onclick: () => glass.openTab('Corpus') }, 'another text');
      line.replaceChildren(problem ? problem + ' ' : '', problem ? 'It still reads ' : 'It reads ', h('b', {}, h('bdi', {}, corpus.name)), amount() + ' ', h('span', { style: { whiteSpace: 'nowrap' } }, '(', change, ').'));
    }

    glass.on('corpus', (value) => {
      problem = value && value.ok === false ? value.error : '';
      if (problem || !value) { show(); return; } // the text that was there stays
      if (corpus && (value.taken !== corpus.taken || value.left !== corpus.left)) reads = {}; // of the text before
      corpus = value;
      show();
    }, line);
    glass.on('reads', (value) => { reads = value; show(); }, line);
    glass.on('cleaning', (reply) => {
      if (!corpus || !reply) return;
      if (reply.after.characters !== corpus.left || reply.words !== corpus.cleaned) reads = {};
      corpus = { ...corpus, left: reply.after.characters, cleaned: reply.words };
      show();
    }, line);
    watch('value', () => { if (props.value) glass.emit('corpus', props.value); });
    ask(server);
  });

  glass.component('notice', function ({ element, props, watch }) {
    const line = h('p', { class: 'g-tip', role: 'alert', hidden: true, 'data-testid': 'notice' });
    element.querySelector('.g-mount').replaceChildren(line);
    function show() {
      const { text = '', kind = '' } = props.value || {};
      line.textContent = text;
      line.hidden = !text;
      line.classList.toggle('g-wrong', kind === 'error');
    }
    watch('value', show);
    show();
  });
})();
