/* Corpus, the left card: 'columns' shows the first rows of a table and lets one choose the column that holds the text,
   or leave broken lines out; 'hub' lists the files of a data set on the Hugging Face Hub and fetches one of them.
   Both put a text they got on the topic `corpus`; `reading` is what is known of the files read last. */
(function () {
  'use strict';
  const { h } = glass;

  const size = (bytes) => {
    if (bytes === null || bytes === undefined) return '';
    if (bytes < 1000) return bytes + ' bytes';
    const [value, unit] = bytes < 1e6 ? [bytes / 1e3, ' kB'] : [bytes / 1e6, ' MB'];
    return value.toFixed(1).replace('.0', '') + unit;
  };

  function took(reply) {
    glass.emit('reading', reply.reading);
    glass.emit('corpus', reply.corpus);
  }

  glass.component('columns', function ({ element, props, server, watch }) {
    const problem = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true, 'data-testid': 'columns-error' });
    const body = h('div', {});
    const root = h('section', { class: 'g-columns', 'data-testid': 'columns', hidden: true, 'aria-label': 'The file' }, body, problem);
    element.querySelector('.g-mount').replaceChildren(root);
    let known = null, asked = 0;

    async function choose(column, keep) {
      const mine = ++asked;
      root.setAttribute('aria-busy', 'true');
      problem.hidden = true;
      try {
        const reply = await glass.call(server, 'choose', { session: glass.session, column, keep_good: keep }, { quiet: true });
        if (mine === asked) took(reply);
      } catch (error) {
        if (mine !== asked) return;
        problem.textContent = error.message + ' The text stays as it was.';
        problem.hidden = false;
        show(known);
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

    function grid(reading) {
      const buttons = reading.columns.map((name) => h('button', {
        type: 'button', role: 'radio', class: 'g-column', 'aria-checked': String(name === reading.column), dataset: { column: name },
        tabindex: name === (reading.column || reading.columns[0]) ? '0' : '-1',
        onclick: () => { if (name !== known.column) choose(name, known.keep_good); },
      }, h('bdi', {}, name)));
      buttons.forEach((button, at) => button.addEventListener('keydown', (event) => arrows(event, at, buttons)));
      const on = reading.columns.indexOf(reading.column);
      return h('div', { class: 'g-columns-scroll', tabindex: '0', 'aria-label': 'First rows of the table' }, h('table', { class: 'g-columns-table' },
        h('thead', {}, h('tr', { role: 'radiogroup', 'aria-label': 'Which column holds the text?' },
          buttons.map((button, at) => h('th', { scope: 'col', class: at === on ? 'on' : '' }, button)))),
        h('tbody', {}, reading.rows.map((row) => h('tr', {}, row.map((cell, at) =>
          h('td', { class: at === on ? 'on' : '' }, h('bdi', { title: cell.length > 60 ? cell : null }, cell))))))));
    }

    function show(reading) {
      known = reading;
      root.hidden = !reading || !(reading.columns.length || reading.can_keep);
      if (root.hidden) { body.replaceChildren(); problem.hidden = true; return; }
      const box = h('input', { type: 'checkbox', id: 'keep-good', checked: reading.keep_good, onchange: () => choose(known.column, box.checked) });
      const parts = [];
      if (reading.columns.length) {
        parts.push(h('h3', { class: 'g-subtitle' }, 'Which column holds the text?'), grid(reading));
      }
      if (reading.can_keep) {
        parts.push(h('label', { class: 'g-check', for: 'keep-good' }, box, 'Keep the good lines only'));
      }
      body.replaceChildren(...parts);
      root.dataset.column = reading.column || '';
      const chosen = body.querySelector('th.on'), scroll = body.querySelector('.g-columns-scroll');
      if (chosen && scroll) scroll.scrollLeft = Math.max(0, chosen.offsetLeft - 24);
    }

    glass.on('reading', (reading) => { problem.hidden = true; show(reading); }, root);
    watch('value', () => { if (props.value && props.value.ok !== false) glass.emit('reading', props.value); });
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
