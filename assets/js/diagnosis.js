/* Diagnosis: one line under the loss chart on how the watched run is doing, and a button for each remedy (training/diagnosis.py).
   glass.diagnosing() makes {node, show(state)}. */
(function () {
  'use strict';

  const { h } = window.glass;
  const ALARMS = ['no number', 'diverging', 'overfitting', 'not falling'];

  glass.diagnosing = function () {
    const words = h('p', { 'data-testid': 'diagnosis', role: 'status' }), row = h('div', { class: 'g-diagnosis-row' });
    const wrong = h('p', { class: 'g-wrong', role: 'alert', hidden: true });
    const node = h('div', { class: 'g-diagnosis', hidden: true }, words, row, wrong);
    let shown = '';

    async function take(remedy, button) {
      if (remedy.action === 'fork') { glass.openFork(remedy); return; }
      button.disabled = true;
      const reply = await glass.runs.control(remedy.action, null, Object.fromEntries(['rate', 'more'].filter((key) => remedy[key] !== null).map((key) => [key, remedy[key]])));
      button.disabled = false;
      wrong.hidden = reply.ok !== false;
      wrong.textContent = reply.ok === false ? reply.error || 'The server refused and gave no reason. Try once more.' : '';
    }

    /** Those that can be done now: a run that is over cannot be stopped, nor one that another program trains. */
    function possible(run) {
      const live = ['running', 'paused', 'queued'].includes(run.state);
      return run.diagnosis.remedies.filter(({ action }) => run.mine === true && (action === 'fork' || (action === 'go_on' ? Number.isFinite(run.goes_on_from) : live)));
    }

    function show({ id, run }) {
      const found = run && run.diagnosis;
      node.hidden = !found;
      if (!found) { shown = ''; return; }
      const remedies = possible(run), now = JSON.stringify([id, found.sentence, remedies]);
      if (now === shown) return;
      shown = now;
      wrong.hidden = true;
      node.dataset.kind = found.kind;
      node.classList.toggle('bad', ALARMS.includes(found.kind));
      if (words.textContent !== found.sentence) words.textContent = found.sentence;
      row.replaceChildren(...remedies.map((remedy) => h('button', { type: 'button', class: 'g-btn g-small', 'data-testid': 'remedy', dataset: { action: remedy.action },
        onclick: (event) => take(remedy, event.currentTarget) }, remedy.label)));
      row.hidden = !remedies.length;
    }
    return { node, show };
  };
})();
