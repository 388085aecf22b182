/* Train it on Hugging Face instead: a folded card under the recipe. The visitor's token stays in this field, goes with each
   request and nowhere else; below, what can be hired and what it costs at most; then the visitor's jobs, one a row.
   Its server has hf_hardware, hf_send, hf_jobs, hf_cancel, hf_fetch and hf_forget (docs/page-protocol.md). The values of the
   recipe's boxes come from Gradio: a press of its hidden button calls glass.hfRecipe with them. */
(function () {
  'use strict';

  const { h } = window.glass;
  const EVERY = 10000, SURE = 5000, SENDING = 900;  // milliseconds; the last in seconds: an upload may take a while
  const STAGES = { sent: 'sent', scheduling: 'waiting', running: 'running', completed: 'done', canceled: 'cancelled', error: 'failed', deleted: 'deleted' };

  const dollars = (amount) => (amount > 0 && amount < 0.01 ? 'less than $0.01' : '$' + amount.toFixed(2));
  const price = (amount) => '$' + Number(amount.toPrecision(3)) + ' a minute';

  /** A link to a page of the Hub; plain text where its address is none. */
  function link(address, label) {
    return /^https?:\/\//.test(address) ? h('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, label) : h('span', {}, label);
  }

  /** What stands in the boxes of the recipe: [preset, name, values]. */
  function recipe() {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('The recipe cannot be read: reload the page and choose it again.')), 5000);
      glass.hfRecipe = ([preset, name, ...values]) => { clearTimeout(timer); resolve({ preset, name, values }); };
      document.getElementById('hf-recipe').click();
    });
  }

  /** A button whose second press within some seconds does it. */
  function surely(testid, label, question, act) {
    let timer = 0;
    const rest = () => { clearTimeout(timer); timer = 0; delete button.dataset.sure; button.textContent = label; };
    const button = h('button', { type: 'button', class: 'g-btn g-small', 'data-testid': testid, 'aria-live': 'polite', onblur: rest, onclick: (event) => {
      if (timer && event.detail < 2) { rest(); act(); return; }
      if (timer) return;
      button.textContent = question;
      button.dataset.sure = '';
      timer = setTimeout(rest, SURE);
    } }, label);
    return button;
  }

  function inBoth(nats, bytes) {
    const { fixed } = glass.fmt, bits = Number.isFinite(bytes) ? `, ${fixed(nats / Math.LN2 / bytes)} bits per byte` : '';
    return `${fixed(nats)} nats/token${bits}`;
  }

  function facts(job) {
    const { fmt } = glass, list = [];
    if (Number.isFinite(job.step)) list.push(`step ${fmt.count(job.step)}${job.steps ? ' of ' + fmt.count(job.steps) : ''}`);
    if (Number.isFinite(job.loss)) list.push(`train loss ${inBoth(job.loss, job.train_bytes_per_token ?? job.bytes_per_token)}`);
    if (Number.isFinite(job.val_loss)) list.push(`validation ${inBoth(job.val_loss, job.bytes_per_token)}`);
    if (Number.isFinite(job.seconds)) list.push(fmt.duration(job.seconds));
    if (job.cost > 0) list.push(`${dollars(job.cost)} so far`);
    return list.join(' · ');
  }

  function row(job, act) {
    const { id } = job, buttons = [];
    if (job.run) buttons.push(h('button', { type: 'button', class: 'g-btn g-small go', 'data-testid': 'hf-open', onclick: () => act.open(job) }, 'Show its curve'));
    else if (job.ready) buttons.push(h('button', { type: 'button', class: 'g-btn g-small go', 'data-testid': 'hf-fetch', onclick: (event) => act.fetch(job, event.currentTarget) }, 'Bring it here'));
    if (job.over) buttons.push(surely('hf-forget', 'Delete at the Hub', job.run ? 'Delete its repository?' : 'Delete it and its run for good?', () => act.forget(job)));
    else buttons.push(surely('hf-cancel', 'Cancel', 'End it now?', () => act.cancel(job)));
    return h('li', { class: 'g-hf-job', 'data-testid': 'hf-job', dataset: { job: id, stage: job.stage } },
      h('div', { class: 'g-hf-head' }, h('b', {}, h('bdi', {}, job.name)), h('span', { class: 'g-run-badge', dataset: { state: job.stage === 'running' ? 'running' : '' }, 'data-testid': 'hf-stage' }, STAGES[job.stage] || job.stage)),
      h('p', { 'data-testid': 'hf-say' }, job.problem || job.say),
      h('p', { class: 'g-hf-facts', 'data-testid': 'hf-facts' }, facts(job)),
      job.lines.length ? h('details', {}, h('summary', {}, 'The end of its log'), h('pre', { tabindex: '0', 'data-testid': 'hf-log' }, job.lines.join('\n'))) : null,
      h('p', { class: 'g-hf-facts' }, job.flavor, Number.isFinite(job.most) ? `, at most ${dollars(job.most)}` : '', ' · ', link(job.url, 'its page'), ' · ', link(job.repo_url, 'its repository')),
      h('div', { class: 'g-hf-row' }, buttons));
  }

  glass.component('hf-jobs', function ({ element, props, server }) {
    const words = props.value;
    let offers = [], jobs = [], asking = false, shown = '', seen = false, sending = false;
    const token = h('input', { type: 'password', class: 'g-line', id: 'hf-token', autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'hf-token-help', 'data-testid': 'hf-token' });
    const look = h('button', { type: 'button', class: 'g-btn', 'data-testid': 'hf-hardware', onclick: hire }, 'Show hardware');
    const choice = h('fieldset', { class: 'g-hf-offers', hidden: true, 'data-testid': 'hf-offers' });
    const minutes = h('input', { type: 'number', class: 'g-line', id: 'hf-minutes', min: '5', max: '10080', step: '5', value: '30', inputmode: 'numeric', 'data-testid': 'hf-minutes', oninput: most });
    const cost = h('output', { 'data-testid': 'hf-most', for: 'hf-minutes' });
    const go = h('button', { type: 'button', class: 'g-btn go', 'data-testid': 'hf-send', onclick: send }, 'Train there');
    const order = h('div', { class: 'g-hf-order', hidden: true }, h('label', { for: 'hf-minutes' }, 'Time limit, minutes'), minutes, cost, go);
    const wrong = h('p', { class: 'g-tip g-wrong', role: 'alert', hidden: true, 'data-testid': 'hf-error' });
    const status = h('p', { class: 'g-tip', role: 'status', hidden: true, 'data-testid': 'hf-status' });
    const list = h('ul', { class: 'g-hf-jobs', 'aria-label': 'Your jobs', 'data-testid': 'hf-list' });
    const hint = h('p', { class: 'g-hf-facts', hidden: true }, 'Enter the token to see how they stand now.');
    const fold = h('details', { class: 'g-card g-hf', 'data-testid': 'hf', ontoggle: () => ask() }, h('summary', {}, words.title),
      h('p', { class: 'g-say' }, words.say),
      h('label', { for: 'hf-token' }, 'Your token'), h('p', { class: 'g-hf-help', id: 'hf-token-help' }, words.token + ' ', link(words.page, 'Make one.')), token,
      h('div', { class: 'g-hf-row' }, look), choice, order, wrong, status, hint, list);
    (element.querySelector('.g-mount') || element).replaceChildren(fold);

    const complain = (text) => { wrong.textContent = text; wrong.hidden = !text; };
    const tell = (text) => { status.textContent = text; status.hidden = !text; };
    const call = (name, request, seconds = 120) => glass.call(server, name, { session: glass.session, token: token.value.trim(), ...request }, { quiet: true, seconds });
    const chosen = () => offers.find((offer) => offer.name === choice.querySelector('input:checked')?.value);

    async function during(button, label, work) {
      const plain = button.textContent;
      complain('');
      button.disabled = true;
      button.textContent = label;
      try { await work(); } catch (error) { complain(error.message); } finally { button.disabled = false; button.textContent = plain; }
    }

    function hire() {
      return during(look, 'Asking…', async () => {
        offers = (await call('hf_hardware', {})).hardware;
        choice.replaceChildren(h('legend', {}, `Hardware, ${offers.length} kinds`), ...offers.map((offer, i) => {
          const button = h('input', { type: 'radio', name: 'hf-flavor', value: offer.name, onchange: most });
          button.checked = i === 0;
          return h('label', { 'data-testid': 'hf-offer', dataset: { flavor: offer.name } }, button, h('span', {}, h('b', {}, offer.title), h('small', {}, offer.about)), h('span', { class: 'g-hf-price' }, price(offer.price)));
        }));
        choice.hidden = order.hidden = false;
        most();
      });
    }

    function most() {
      const offer = chosen(), time = Number(minutes.value);
      const each = offer && offer.processes > 1 ? ` ${offer.processes} processes: the batch is that of each.` : '';
      cost.textContent = offer && time > 0 ? `At most ${dollars(offer.price * time)}: ${price(offer.price)} × ${time} minutes.${each}` : '';
      go.disabled = sending || !offer || !(time > 0);
    }

    async function send() {
      sending = true;
      tell('The text is prepared and sent…');
      await during(go, 'Sending…', async () => {
        const reply = await call('hf_send', { ...await recipe(), flavor: chosen().name, minutes: Number(minutes.value) }, SENDING);
        show(reply.jobs);
        tell(reply.notes);
        setTimeout(ask, 1000);
      });
      sending = false;
      if (!wrong.hidden) tell('');
      most();
    }

    const act = {
      open(job) { glass.watchRun(job.run); glass.bringChart(); },
      fetch: (job, button) => during(button, 'Fetching…', async () => {
        const reply = await call('hf_fetch', { job: job.id }, SENDING);
        glass.emit('models', reply.models);
        glass.watchRun(reply.model.slice(4));
        if (reply.models.some((entry) => entry.ref === reply.model)) glass.decoder.useModel(reply.model); // a run may have no weights
        show(reply.jobs);
      }),
      cancel: (job) => does('hf_cancel', job),
      forget: (job) => does('hf_forget', job),
    };

    async function does(name, job) {
      complain('');
      try { show((await call(name, { job: job.id })).jobs); } catch (error) { complain(error.message); }
    }

    function show(rows) {
      jobs = rows;
      hint.hidden = !rows.some((job) => !job.over) || token.value.trim() !== '';
      const now = JSON.stringify(rows);
      const busy = list.querySelector('[data-sure], button:disabled'); // a question that waits for its second press
      if (now === shown || (busy && list.contains(document.activeElement))) return;
      shown = now;
      const at = document.activeElement, held = at && list.contains(at) ? [at.closest('li').dataset.job, at.dataset.testid] : null;
      const open = [...list.querySelectorAll('details[open]')].map((log) => log.closest('li').dataset.job);
      list.replaceChildren(...rows.map((job) => row(job, act)));
      for (const id of open) list.querySelector(`li[data-job="${CSS.escape(id)}"] details`)?.setAttribute('open', '');
      if (held) list.querySelector(`li[data-job="${CSS.escape(held[0])}"] [data-testid="${held[1]}"]`)?.focus();
    }

    async function ask() {
      if (asking || document.hidden || !fold.checkVisibility()) return;
      asking = true;
      try {
        const first = !seen;
        seen = true;
        const rows = (await call('hf_jobs', { token: fold.open ? token.value.trim() || null : null })).jobs;
        if (first && rows.some((job) => !job.over)) fold.open = true;
        show(rows);
      } catch { /* asked again with the next tick */ } finally { asking = false; }
    }

    token.addEventListener('change', ask);
    new IntersectionObserver((entries) => { if (!seen && entries.some((entry) => entry.isIntersecting)) ask(); }, { rootMargin: '5000px' }).observe(fold); // once its tab is open
    const clock = setInterval(() => {
      if (seen && !fold.isConnected) clearInterval(clock); // Gradio mounted another one
      else if (fold.open && token.value.trim() && jobs.some((job) => !job.over)) ask();
    }, EVERY);
  });
})();
