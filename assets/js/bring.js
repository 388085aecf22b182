/* Corpus, the left card: 'columns' lists the files in use, shows the first rows of a table and lets one choose the
   column that holds the text, what parts its cells, or leave broken lines out; 'hub' lists the files of a data set on the Hugging Face Hub and fetches one of them.
   Both put a text they got on the topic `corpus`; `reading` is what is known of the files read last, `adding` whether
   the next ones join them. */
(function () {
  'use strict';
  const { h } = glass;

  const size = (bytes) => {
    if (bytes === null || bytes === undefined) return '';
    if (bytes < 1000) return bytes + ' bytes';
    const [value, unit] = bytes < 1e6 ? [bytes / 1e3, ' kB'] : [bytes / 1e6, ' MB'];
    return value.toFixed(1).replace('.0', '') + unit;
  };

  const MOST_LISTED = 12;
  const CUTS = { comma: 'comma  ,', semicolon: 'semicolon  ;', tab: 'tab', bar: 'bar  |' };

  function took(reply) {
    glass.emit('reading', reply.reading);
    glass.emit('corpus', reply.corpus);
  }

  glass.component('columns', function ({ element, props, server, watch }) {
    const problem = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true, 'data-testid': 'columns-error' });
    const body = h('div', {});
    const root = h('section', { class: 'g-columns', 'data-testid': 'columns', hidden: true, 'aria-label': 'The table' }, body, problem);
    const inUse = h('section', { class: 'g-in-use', 'data-testid': 'files', hidden: true, 'aria-label': 'Files in use' });
    element.querySelector('.g-mount').replaceChildren(h('div', { class: 'g-brought' }, inUse, root));
    let known = null, asked = 0;

    async function choose(column, keep, delimiter = known.delimiter) {
      const mine = ++asked;
      root.setAttribute('aria-busy', 'true');
      problem.hidden = true;
      try {
        const reply = await glass.call(server, 'choose', { session: glass.session, column, keep_good: keep, delimiter }, { quiet: true });
        if (mine === asked) took(reply);
      } catch (error) {
        if (mine !== asked) return;
        problem.textContent = error.message + ' The text stays as it was.';
        problem.hidden = false;
        show(/keep the good lines/.test(error.message) ? { ...known, can_keep: true } : known);
      } finally {
        if (mine === asked) root.removeAttribute('aria-busy');
      }
    }

    /** Arrow keys go from column to column, as in any group of radio buttons. */
    function arrows(event, at, buttons) {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      buttons[(at + step + buttons.length) % buttons.length].focus();
    }

    /** What the text stands in: a column of a table, or a field of the objects of a JSON Lines file. */
    const question = (reading) => 'Which ' + (reading.layout && !reading.delimiters.length ? 'field' : 'column') + ' holds the text?';

    function grid(reading) {
      const buttons = reading.columns.map((name) => h('button', {
        type: 'button', role: 'radio', class: 'g-column', 'aria-checked': String(name === reading.column), dataset: { column: name },
        tabindex: name === (reading.column || reading.columns[0]) ? '0' : '-1',
        onclick: () => { if (name !== known.column) choose(name, known.keep_good); },
      }, h('bdi', {}, name)));
      buttons.forEach((button, at) => button.addEventListener('keydown', (event) => arrows(event, at, buttons)));
      const on = reading.columns.indexOf(reading.column);
      return h('div', { class: 'g-columns-scroll', tabindex: '0', 'aria-label': 'First rows of the table' }, h('table', { class: 'g-columns-table' },
        h('thead', {}, h('tr', { role: 'radiogroup', 'aria-label': question(reading) },
          buttons.map((button, at) => h('th', { scope: 'col', class: at === on ? 'on' : '' }, button)))),
        h('tbody', {}, reading.rows.map((row) => h('tr', {}, row.map((cell, at) =>
          h('td', { class: at === on ? 'on' : '' }, h('bdi', { title: cell.length > 60 ? cell : null }, cell))))))));
    }

    /** The files that the text is made of, under the names that the visitor gave them. */
    function list(files) {
      inUse.hidden = !files.length;
      if (inUse.hidden) { inUse.replaceChildren(); return; }
      const box = h('input', { type: 'checkbox', id: 'add-files', checked: Boolean(glass.last('adding')), onchange: () => glass.emit('adding', box.checked) });
      inUse.replaceChildren(
        h('h3', { class: 'g-subtitle' }, files.length > 1 ? files.length + ' files joined' : 'In use'),
        h('ul', { class: 'g-files' }, files.slice(0, MOST_LISTED).map(([name, bytes]) => h('li', {}, h('bdi', { class: 'g-file' }, name), h('span', { class: 'g-fine' }, size(bytes)))),
          files.length > MOST_LISTED ? h('li', { class: 'g-fine' }, 'and ' + (files.length - MOST_LISTED) + ' more') : null),
        h('label', { class: 'g-check', for: 'add-files' }, box, 'Add the next files to ' + (files.length > 1 ? 'these' : 'this one')));
    }

    /** What parts the cells: found out, or chosen by hand. */
    function cut(reading) {
      const found = reading.delimiter ? '' : ': ' + reading.layout;
      const options = reading.delimiters.map((word) => h('option', { value: word }, CUTS[word] || word));
      const box = h('select', { class: 'g-field', id: 'delimiter', 'data-testid': 'delimiter', onchange: () => choose(null, known.keep_good, box.value || null) },
        h('option', { value: '' }, 'automatic' + found), options);
      box.value = reading.delimiter || '';
      return h('label', { class: 'g-check', for: 'delimiter' }, 'Cells are parted by', box);
    }

    function show(reading) {
      known = reading;
      list((reading && reading.files) || []);
      root.hidden = !reading || !(reading.columns.length || reading.delimiters.length || reading.can_keep || reading.refused); // a wrong delimiter leaves one column
      if (root.hidden) { body.replaceChildren(); problem.hidden = true; return; }
      const box = h('input', { type: 'checkbox', id: 'keep-good', checked: reading.keep_good, onchange: () => choose(known.column, box.checked) });
      const parts = reading.refused ? [h('p', { class: 'g-fine', 'data-testid': 'mend' }, 'Read ', h('bdi', {}, '"' + reading.refused + '"'), ' in another way:')] : [];
      if (reading.columns.length) {
        parts.push(h('h3', { class: 'g-subtitle' }, question(reading)), grid(reading));
      }
      if (reading.delimiters.length) parts.push(cut(reading));
      if (reading.can_keep) {
        parts.push(h('label', { class: 'g-check', for: 'keep-good' }, box, 'Keep the good lines only'));
      }
      body.replaceChildren(...parts);
      root.dataset.column = reading.column || '';
      const chosen = body.querySelector('th.on'), scroll = body.querySelector('.g-columns-scroll');
      if (scroll) glass.fades(scroll);
      if (chosen && scroll) scroll.scrollLeft = Math.max(0, chosen.offsetLeft - 24);
    }

    glass.on('reading', (reading) => { problem.hidden = true; show(reading); }, root);
    watch('value', () => {
      if (!props.value || props.value.ok === false) return;
      glass.emit('adding', false); // said for one selection
      glass.emit('reading', props.value);
    });
    // A text that came without files: on the Train tab, say.
    glass.on('corpus', (corpus) => { if (known && corpus && corpus.ok && !corpus.files) glass.emit('reading', null); }, root);
    if (!glass.last('reading')) {
      glass.call(server, 'reading', { session: glass.session }, { quiet: true })
        .then((reply) => { if (!glass.last('reading')) glass.emit('reading', reply); }, () => {});
    }
  });

  glass.component('hub', function ({ element, server }) {
    const problem = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true, 'data-testid': 'hub-error' });
    const box = h('input', {
      type: 'text', class: 'g-field', id: 'hub-name', placeholder: 'owner/name, or its address', autocomplete: 'off', spellcheck: 'false',
      maxlength: '300', 'data-testid': 'hub-name',
    });
    const list = h('ul', { class: 'g-files', 'data-testid': 'hub-files' });
    const go = h('button', { type: 'submit', class: 'g-btn', 'data-testid': 'hub-list' }, 'List its files');
    const form = h('form', { class: 'g-hub', onsubmit: (event) => { event.preventDefault(); files(); } },
      h('label', { class: 'g-subtitle', for: 'hub-name' }, 'Or a data set from the Hugging Face Hub'),
      h('div', { class: 'g-hub-row' }, box, go), problem, list);
    element.querySelector('.g-mount').replaceChildren(form);

    let taken = null;
    glass.on('corpus', (corpus) => {
      if (!corpus || corpus.ok === false) return;
      const another = taken !== null && taken !== corpus.taken && (corpus.example || !String(corpus.source).startsWith('hub:'));
      taken = corpus.taken;
      if (!another) return;
      box.value = ''; // another text is in use
      list.replaceChildren();
      problem.hidden = true;
    }, form);

    async function busy(button, words, work) {
      const label = button.textContent;
      button.disabled = true;
      button.textContent = words;
      problem.hidden = true;
      try {
        await work();
      } catch (error) {
        problem.textContent = error.message;
        problem.hidden = false;
      } finally {
        button.disabled = false;
        button.textContent = label;
      }
    }

    function files() {
      return busy(go, 'Asking the Hub…', async () => {
        list.replaceChildren();
        const reply = await glass.call(server, 'hub_files', { session: glass.session, repo: box.value }, { quiet: true });
        box.value = reply.repo;
        list.replaceChildren(...reply.files.map((file) => {
          const take = h('button', { type: 'button', class: 'g-btn g-small', onclick: () => fetchOne(take, reply.repo, file.name) }, 'Take');
          return h('li', { dataset: { file: file.name } }, h('bdi', { class: 'g-file' }, file.name), h('span', { class: 'g-fine' }, size(file.size)), take);
        }), reply.more ? h('li', { class: 'g-fine' }, 'and ' + reply.more + ' more') : '');
      });
    }

    function fetchOne(button, repo, file) {
      return busy(button, 'Fetching…', async () => {
        took(await glass.call(server, 'hub_take', { session: glass.session, repo, file }, { quiet: true, seconds: 600 }));
      });
    }
  });
})();
