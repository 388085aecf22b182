/* Open a model file: a dialog that uploads weights and their vocabulary, and has the server keep them as a model of the
   visitor's own; below, the models opened so far, each with a button that removes it.
   glass.imports.connect({server, upload, limit}) by the header; glass.imports.open() shows the dialog, whose element is
   glass.imports.node. limit: bytes of the largest file of weights. */
(function () {
  'use strict';

  const { h } = window.glass;
  const SURE = 5000;  // milliseconds in which a second press removes a model
  let server = null, upload = null, limit = Infinity, runLimit = Infinity, dialog = null;

  const megabytes = (bytes) => Math.round(bytes / 1e6).toLocaleString('en-US') + ' MB';

  function field(label, help, control) {
    const id = 'import-' + control.dataset.testid;
    control.id = id;
    control.setAttribute('aria-describedby', id + '-help');
    return h('div', { class: 'g-import-field' }, h('label', { for: id }, label), h('p', { id: id + '-help', class: 'g-import-help' }, help), control);
  }

  function fields() {
    const file = (testid, accept) => h('input', { type: 'file', class: 'g-file', accept, 'data-testid': testid });
    const line = (testid, more) => h('input', { class: 'g-line', autocomplete: 'off', 'data-testid': testid, ...more });
    return {
      weights: file('import-weights', '.pt,.pth,.ckpt,.bin,.safetensors,.zip'),
      vocabulary: file('import-vocabulary', '.json,.txt'),
      characters: h('textarea', { class: 'g-line', rows: '2', spellcheck: 'false', autocomplete: 'off', 'data-testid': 'import-characters' }),
      name: line('import-name', { type: 'text', maxlength: '80' }),
      heads: line('import-heads', { type: 'number', min: '1', step: '1', inputmode: 'numeric' }),
    };
  }

  async function sent(file, what) {
    if (!file) return null;
    const most = /\.zip$/i.test(file.name) ? Math.max(limit, runLimit) : limit; // a run has more in it than weights
    if (file.size > most) throw new Error(`${file.name} is ${megabytes(file.size)} and this server opens up to ${megabytes(most)}: give a smaller file, such as the weights without the optimizer's state.`);
    let reply = null;
    try { reply = await upload(file); } catch { /* said below */ }
    if (!reply || !reply.path) throw new Error(`${what} could not be uploaded. Check that the app is still running, then try again.`);
    return reply.path;
  }

  async function ask(values, tell) {
    const chosen = values.weights.files[0];
    if (!chosen) throw new Error('There are no weights yet: choose a .pt, .safetensors or .zip file.');
    const heads = values.heads.value.trim();
    tell(`Uploading ${chosen.name}, ${megabytes(chosen.size)}…`);
    const request = {
      session: glass.session,
      weights: await sent(chosen, 'The file of weights'),
      vocabulary: await sent(values.vocabulary.files[0], 'The vocabulary'),
      characters: values.characters.value || null,
      name: values.name.value.trim() || null,
      heads: heads ? Number(heads) : null,
    };
    tell('Reading it…');
    return await glass.call(server, 'open_model', request, { quiet: true, seconds: 300 });
  }

  // ---- the models opened so far -----------------------------------------------------------------------------------

  function removeButton(entry, complain) {
    let timer = 0;
    const rest = () => { clearTimeout(timer); timer = 0; button.textContent = 'Remove'; };
    const button = h('button', { type: 'button', class: 'g-btn g-small', 'data-testid': 'import-remove', onblur: rest, onclick: async () => {
      if (!timer) {
        button.textContent = 'Remove for good?';
        timer = setTimeout(rest, SURE);
        return;
      }
      rest();
      button.disabled = true;
      complain('');
      try {
        const reply = await glass.call(server, 'remove_model', { session: glass.session, model: entry.ref }, { quiet: true });
        glass.emit('models', reply.models);
        const seen = glass.last('model'), run = glass.last('run'), left = reply.models[0];
        if (run && 'run:' + run.id === entry.ref) glass.watchRun(null);
        if (seen && seen.ref === entry.ref && left) glass.decoder.useModel(left.ref);
      } catch (error) {
        button.disabled = false;
        complain(error.message);
      }
    } }, 'Remove');
    return h('li', {}, h('span', {}, h('b', {}, h('bdi', {}, String(entry.name))), h('span', { class: 'g-import-help' }, h('bdi', {}, String(entry.detail)))), button);
  }

  function shelf(complain) {
    const list = h('ul', { class: 'g-import-list' });
    const node = h('div', { class: 'g-import-shelf' }, h('h3', { class: 'g-title' }, 'Opened from files'), list);
    function show(models) {
      const own = (models || []).filter((entry) => entry.source === 'file');
      node.hidden = !own.length;
      list.replaceChildren(...own.map((entry) => removeButton(entry, complain)));
    }
    let before = '';
    glass.on('models', (models) => {
      const now = JSON.stringify((models || []).filter((entry) => entry.source === 'file'));
      if (now === before) return;  // the list is asked for every few seconds: a button must not change under the finger
      before = now;
      show(models);
    }, node);
    return node;
  }

  // ---- the dialog -------------------------------------------------------------------------------------------------

  function build() {
    const values = fields();
    const status = h('p', { class: 'g-tip', role: 'status', hidden: true, 'data-testid': 'import-status' });
    const wrong = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true, 'data-testid': 'import-error' });
    const tell = (text) => { status.textContent = text; status.hidden = !text; };
    const complain = (text) => { wrong.textContent = text; wrong.hidden = !text; };
    const go = h('button', { type: 'submit', class: 'g-btn go', 'data-testid': 'import-open' }, 'Open');
    const form = h('form', { class: 'g-import-form', novalidate: true },
      field('Weights, or a run', 'A .pt, .safetensors or .zip file: a run that was downloaded here, a checkpoint folder of this project or of Hugging Face’s GPT-2 as .zip, '
        + 'nanoGPT’s ckpt.pt, or weights of a lyrics or Shakespeare GPT. No code in it is run.', values.weights),
      field('Vocabulary', 'Its tokenizer.json, or a JSON list of its characters. Not needed where the .zip holds it.', values.vocabulary),
      field('Or type its characters', 'In the order of their numbers, one after the other; a line break as \\n.', values.characters),
      h('details', { class: 'g-import-more' }, h('summary', {}, 'Name and heads'),
        field('Name', 'The file’s own when left empty.', values.name),
        field('Attention heads', 'Only for files that do not tell.', values.heads)),
      wrong, status, h('div', { class: 'g-import-buttons' }, go,
        h('button', { type: 'button', class: 'g-btn', 'data-testid': 'import-close', onclick: () => dialog.close() }, 'Close')));
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      if (go.disabled) return;
      go.disabled = true;
      complain('');
      try {
        const reply = await ask(values, tell);
        glass.emit('models', reply.models);
        glass.watchRun(reply.model.slice(4));
        if (reply.models.some((entry) => entry.ref === reply.model)) glass.decoder.useModel(reply.model); // a run may have no weights
        glass.openTab(reply.kind === 'run' ? 'Train' : 'Decode');
        form.reset();
        dialog.close();
      } catch (error) {
        complain(error.message);
      } finally {
        go.disabled = false;
        tell('');
      }
    });
    const made = h('dialog', { class: 'g-panel g-import', 'aria-labelledby': 'import-title', 'data-testid': 'import' },
      h('div', { class: 'g-panel-in' },
        h('div', { class: 'g-panel-head' }, h('h2', { class: 'g-title', id: 'import-title' }, 'Open a model or a run')),
        h('p', { class: 'g-say' }, 'Weights that were trained elsewhere become a model of yours here: let it write, and look into its heads. The zip of a whole run becomes a run of yours, with its curve and its text.'),
        form, shelf(complain)));
    made.addEventListener('click', (event) => { if (event.target === made) made.close(); });
    return made;
  }

  dialog = build();
  glass.imports = {
    node: dialog,
    connect(options) {
      server = options.server;
      upload = options.upload;
      if (options.limit) limit = options.limit;
      if (options.runLimit) runLimit = options.runLimit;
    },
    open() {
      if (!dialog.open) dialog.showModal();
      dialog.querySelector('input').focus();
    },
  };
})();
