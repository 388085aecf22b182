/* Header: which model is being looked at, what trains in the background, the menu of models, sharing, light and dark.
   Value at mount, both optional: {model: summary, models: [...]}; a whole decode reply will do, and starts the decoder
   for a page whose Decode tab was never opened. Its server has `pulse`, and better also `control` and `decode`.
   The chip follows the topics model, models, active, run and offline; choosing a model goes to glass.decoder.useModel. */
(function () {
  'use strict';

  const THEME = 'glass.theme';
  const {h} = glass;

  function named(text) { return glass.h('bdi', {}, String(text ?? '')); }

  // ---- the chip ----
  function facts(model) {
    const {fmt} = glass;
    return [
      `${model.layers} layers × ${model.heads} heads · ${model.width} wide`,
      `${fmt.parameters(model.parameters)} parameters`,
      model.source === 'file' && 'opened from a file',
      (model.source !== 'file' || model.step > 0) && `step ${fmt.count(model.step)}`,
      Number.isFinite(model.loss) && `${model.loss_kind === 'training' ? 'train' : 'val'} loss ${fmt.fixed(model.loss)} nats/token`,
      Number.isFinite(model.bits_per_byte) && `${fmt.fixed(model.bits_per_byte, 2)} bits per byte`,
    ].filter(Boolean);
  }

  function liveSentence(active, state) {
    const run = state && state.run;
    if (run && run.state === 'queued') {
      const place = run.queue_position > 0 ? `, ${glass.fmt.ordinal(run.queue_position)} in the queue` : '';
      return {id: run.id, before: '', name: run.name, after: ` waiting${place}`};
    }
    if (!active) return null;
    if (active.state === 'queued') return {id: active.run, before: '', name: active.name, after: ' waiting in the queue'};
    if (active.state === 'paused') {
      const at = `${glass.fmt.count(active.step)} of ${glass.fmt.count(active.steps)}`;
      return {id: active.run, before: '', name: active.name, after: ` paused at step ${at}`};
    }
    const known = Number.isFinite(active.seconds_left);
    const left = known ? `, ${glass.fmt.duration(active.seconds_left)} left` : `, step ${glass.fmt.count(active.step)}`;
    return {id: active.run, before: 'training ', name: active.name, after: left};
  }

  function buildChip() {
    const name = h('b', {class: 'g-chip-name'});
    const list = h('span', {class: 'g-chip-facts', id: 'glass-facts'});
    const all = h('button', {type: 'button', class: 'g-chip-all', 'aria-expanded': 'false', 'aria-controls': 'glass-facts', 'aria-label': 'All figures of the model',
      hidden: true, 'data-testid': 'chip-all', onclick: () => unfold(!chip.classList.contains('open'))}, h('i', {class: 'g-header-caret', 'aria-hidden': 'true'}));
    const text = h('span', {class: 'g-chip-live-text'});
    const live = h('button', {type: 'button', class: 'g-chip-live', hidden: true, title: 'Open the Train tab and watch'},
      h('i', {'aria-hidden': 'true'}), text);
    const chip = h('div', {class: 'g-chip', role: 'group', 'aria-label': 'The model being looked at', 'data-testid': 'chip'},
      name, list, all, live);
    let watched = null;
    // One line, of one height: figures that do not fit on it wait behind a button.
    function unfold(open) {
      chip.classList.toggle('open', open);
      all.setAttribute('aria-expanded', String(open));
    }
    function fit() {
      if (chip.classList.contains('open')) return;
      const line = list.getBoundingClientRect();
      let cut = false;
      for (const fact of list.children) {
        fact.classList.remove('over');
        const at = fact.getBoundingClientRect();
        const over = at.top > line.top + 4 || at.right > line.right + 0.5;
        fact.classList.toggle('over', over);
        cut = cut || over;
      }
      all.hidden = !cut;
    }
    new ResizeObserver(fit).observe(list);
    document.addEventListener('pointerdown', event => { if (!chip.contains(event.target)) unfold(false); });
    chip.addEventListener('keydown', event => { if (event.key === 'Escape') unfold(false); });
    chip.addEventListener('focusout', event => { if (!chip.contains(event.relatedTarget)) unfold(false); });
    live.addEventListener('click', () => { if (watched) glass.watchRun(watched); glass.openTab('Train'); });

    function model() {
      const shown = glass.last('model');
      if (!shown) {
        name.textContent = 'No model is open';
        list.replaceChildren(h('span', {}, 'Choose one under Models, or train your own.'));
        return;
      }
      const listed = (glass.last('models') || []).find(entry => entry.ref === shown.ref); // it may have been renamed since
      name.replaceChildren(named((listed || shown).name));
      list.replaceChildren(...facts(shown).map(fact => h('span', {}, fact)));
      chip.dataset.model = shown.ref || '';
      fit();
    }

    function active() {
      if (glass.last('offline')) {
        live.hidden = false; live.disabled = true;
        text.textContent = 'the server gives no answer; trying again';
        return;
      }
      const said = liveSentence(glass.last('active'), glass.last('run'));
      live.hidden = !said; live.disabled = false;
      watched = said && said.id;
      if (said) text.replaceChildren(said.before, named(glass.fmt.short(said.name, 24)), said.after);
    }


    for (const topic of ['model', 'models']) glass.on(topic, model, chip);
    for (const topic of ['active', 'run', 'offline']) glass.on(topic, active, chip);
    model(); active();
    return chip;
  }

  // ---- the menu of models: a button and a list that arrows, Home, End, Escape and a click elsewhere all understand ----
  function menuItem(entry, current, choose) {
    const chosen = entry.ref === current;
    return h('button', {type: 'button', role: 'menuitemradio', 'aria-checked': String(chosen), tabindex: '-1', class: 'g-models-item',
      'data-ref': entry.ref, onclick: () => choose(entry)}, h('b', {}, named(entry.name)),
      h('span', {}, named(entry.detail), entry.made ? ` · ${glass.fmt.when(entry.made)}` : ''));
  }

  function fillMenu(list, choose, openFile, allRuns) {
    const models = glass.last('models') || [], current = (glass.last('model') || {}).ref;
    const [shipped, own, files] = ['shipped', 'run', 'file'].map(source => models.filter(m => m.source === source));
    const group = (title, members, empty) => h('div', {role: 'group', 'aria-label': title},
      h('div', {class: 'g-models-title', 'aria-hidden': 'true'}, title),
      ...(members.length ? members.map(m => menuItem(m, current, choose)) : [h('p', {class: 'g-models-empty'}, empty)]));
    const focused = document.activeElement && list.contains(document.activeElement) && document.activeElement.dataset.ref;
    list.replaceChildren(group('Shipped', shipped, 'None came with this copy.'),
      group('Your runs', own, 'None yet. What you train appears here while it learns.'),
      ...(files.length ? [group('Opened from files', files, '')] : []),
      h('div', {class: 'g-models-foot', role: 'group', 'aria-label': 'More'},
        h('button', {type: 'button', role: 'menuitem', tabindex: '-1', class: 'g-models-item g-models-open', 'data-testid': 'open-file',
          'data-ref': 'file', onclick: openFile}, 'Open a model or a run from a file…'),
        h('button', {type: 'button', role: 'menuitem', tabindex: '-1', class: 'g-models-item g-models-open', 'data-testid': 'all-runs',
          'data-ref': 'runs', onclick: allRuns}, 'All runs: rename, compare, download…')));
    if (focused) [...list.querySelectorAll('.g-models-item')].filter(b => b.dataset.ref === focused).forEach(b => b.focus());
  }

  function buildMenu() {
    const list = h('div', {class: 'g-models-menu', role: 'menu', 'aria-label': 'Models', hidden: true, 'data-testid': 'models-menu'});
    const button = h('button', {type: 'button', class: 'g-btn', 'aria-haspopup': 'menu', 'aria-expanded': 'false', 'data-testid': 'models'},
      'Models', h('span', {'aria-hidden': 'true', class: 'g-header-caret'}));
    const wrap = h('div', {class: 'g-models'}, button, list);
    const items = () => [...list.querySelectorAll('.g-models-item')];

    function open(where) {
      fillMenu(list, choose, openFile, allRuns);
      list.hidden = false;
      button.setAttribute('aria-expanded', 'true');
      const all = items(), current = all.findIndex(b => b.getAttribute('aria-checked') === 'true');
      const target = where === 'last' ? all.at(-1) : all[Math.max(0, current)];
      if (target) target.focus();
    }
    function close(back) {
      if (list.hidden) return;
      list.hidden = true;
      button.setAttribute('aria-expanded', 'false');
      if (back) button.focus();
    }
    function openFile() {
      close(true); // the focus comes back to the button when the dialog is closed
      glass.imports.open();
    }
    function allRuns() {
      close(true);
      glass.openTab('Train');
      glass.showRuns();
    }
    function choose(entry) {
      close(true);
      if (glass.decoder) glass.decoder.useModel(entry.ref);
      if (entry.ref.startsWith('run:')) glass.watchRun(entry.ref.slice(4)); // its curve and samples come along
    }
    button.addEventListener('click', () => list.hidden ? open() : close(true));
    button.addEventListener('keydown', event => {
      if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
        event.preventDefault();
        event.stopPropagation(); // the menu's own arrows would move on from the entry that is focused now
        open(event.key === 'ArrowUp' ? 'last' : 'first');
      }
    });
    wrap.addEventListener('keydown', event => {
      const all = items(), at = all.indexOf(document.activeElement);
      const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1}[event.key];
      if (event.key === 'Escape') { close(true); event.stopPropagation(); }
      if (event.key === 'Tab') close(false);
      if (to === undefined || at < 0) return;
      event.preventDefault();
      all[(to + all.length) % all.length].focus();
    });
    document.addEventListener('pointerdown', event => { if (!wrap.contains(event.target)) close(false); });
    for (const topic of ['models', 'model']) glass.on(topic, () => { if (!list.hidden) fillMenu(list, choose, openFile, allRuns); }, wrap);
    return wrap;
  }

  // ---- sharing ----
  function shareLink() {
    const state = glass.last('run'), run = state && state.run;
    if (run && run.link) return new URL(run.link, location.href).href;
    const here = new URL(location.pathname, location.href);
    if (state && state.id && run) here.searchParams.set('run', state.id);
    return here.href;
  }

  async function copy(text) {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* not allowed in a frame or over http */ }
    const box = h('textarea', {'aria-hidden': 'true', class: 'g-header-offstage'});
    box.value = text;
    document.body.append(box);
    box.select();
    let done = false;
    try { done = document.execCommand('copy'); } catch { /* then the link is shown instead */ }
    box.remove();
    return done;
  }

  function shareButton(label = 'Share', testid = 'share') {
    const button = h('button', {type: 'button', class: 'g-btn', 'data-testid': testid}, label);
    const said = h('span', {class: 'g-hidden', role: 'status'});
    let timer = 0;
    button.addEventListener('click', async () => {
      const link = shareLink(), done = await copy(link);
      button.dataset.link = link;
      if (!done) { window.prompt('Copy this link', link); return; }
      button.textContent = 'Link copied';
      button.classList.add('done');
      said.textContent = 'The link is in the clipboard: ' + link;
      clearTimeout(timer);
      timer = setTimeout(() => { button.textContent = label; button.classList.remove('done'); said.textContent = ''; }, 2500);
    });
    return h('span', {class: 'g-share'}, button, said);
  }

  // ---- light and dark ----
  function applyTheme() {
    let wanted = null;
    try { wanted = localStorage.getItem(THEME); } catch { /* private window: follow the system */ }
    if (wanted) document.body.classList.toggle('dark', wanted === 'dark');
  }

  function themeButton() {
    const button = h('button', {type: 'button', class: 'g-btn g-header-theme', 'aria-label': 'Dark colours', 'data-testid': 'theme'}, h('i', {}));
    const show = () => {
      const dark = document.body.classList.contains('dark');
      button.setAttribute('aria-pressed', String(dark));
      button.title = dark ? 'Light colours' : 'Dark colours';
    };
    button.addEventListener('click', () => {
      const dark = document.body.classList.toggle('dark');
      try { localStorage.setItem(THEME, dark ? 'dark' : 'light'); } catch { /* only for this visit then */ }
    });
    new MutationObserver(show).observe(document.body, {attributes: true, attributeFilter: ['class']});
    show();
    return button;
  }

  function problemBar() {
    const text = h('span', {});
    const bar = h('div', {class: 'g-problem', role: 'alert', hidden: true, 'data-testid': 'problem'}, text,
      h('button', {type: 'button', class: 'g-btn', onclick: () => { bar.hidden = true; }}, 'Close'));
    glass.on('problem', sentence => {
      bar.hidden = !sentence;
      text.textContent = sentence ? String(sentence) : '';
    }, bar);
    return bar;
  }

  glass.shareButton = shareButton;
  glass.component('header', function ({element, props, server, watch, upload}) {
    const first = () => {
      const value = props.value || {};
      if (value.model && !glass.last('model')) glass.emit('model', value.model);
      if (value.models && !glass.last('models')) glass.emit('models', value.models);
      if (value.example) glass.emit('example', value.example);
      if (value.upload_bytes) glass.emit('upload', value.upload_bytes);
    };
    applyTheme();
    first();
    const place = element.querySelector('.g-mount') || element;
    place.replaceChildren(
      h('header', {class: 'g-header', 'data-testid': 'header'},
        h('div', {class: 'g-logo'}, h('i', {'aria-hidden': 'true'}), 'Glass GPT'),
        buildChip(),
        h('div', {class: 'g-header-actions'}, buildMenu(), glass.glossary.button((props.value || {}).glossary), shareButton(), themeButton())),
      problemBar(), glass.imports.node);
    watch('value', first);
    glass.imports.connect({server, upload, limit: (props.value || {}).model_bytes, runLimit: (props.value || {}).run_bytes});
    if (glass.decoder) glass.decoder.connect(server, props.value);
    glass.runs.connect(server);
  });
})();
