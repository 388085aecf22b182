/* Losses in two units, and where a model beats what the text gives away for free: arithmetic, without a pixel.
   Nats per token depend on the tokenizer; bits per byte do not, so runs with different tokenizers stand on one axis. glass.losses: unit (kept), factor(state), trainFactor(state), within(state, unit), beaten(state), heldOut(state), sentence(state), table(state, unit). */
(function () {
  'use strict';

  const { h, curve } = window.glass;
  const KEPT = 'glass.loss-unit';
  const GOES_ON = ['queued', 'running', 'paused'];
  const NAMES = { nats: 'nats per token', bits: 'bits per byte' };
  const SAID = { uniform: 'every token alike', unigram: 'how frequent each token is', bigram: 'the token before', trigram: 'the two tokens before',
    'back-off': 'the six before, or as many as were ever seen (Kneser-Ney)' };

  function unit() {
    try { return localStorage.getItem(KEPT) === 'bits' ? 'bits' : 'nats'; } catch { return 'nats'; }
  }

  function keep(name) {
    try { localStorage.setItem(KEPT, name); } catch { /* forgotten at the next visit */ }
  }

  /** Bits per byte for one nat per token of this run's text: that of the last evaluation, so that both its figures are
      its own; else the server's, or that of the baselines; null where none of them is known. */
  function factor({ run, evals, baselines }) {
    const i = evals.val.findLastIndex((v, k) => curve.known(v) && v > 0 && curve.known(evals.bits_per_byte[k]));
    if (i >= 0) return evals.bits_per_byte[i] / evals.val[i];
    if (run && curve.known(run.nats_to_bits)) return run.nats_to_bits;
    const b = baselines.find((one) => curve.known(one.bits) && one.value > 0);
    return b ? b.bits / b.value : null;
  }

  /** The same of the text it learns from: a byte-pair vocabulary is learnt on that, so its tokens are longer there. */
  const trainFactor = (state) => (state.run && curve.known(state.run.train_nats_to_bits) ? state.run.train_nats_to_bits : factor(state));

  const bits = (nats, f) => (curve.known(nats) && f !== null ? nats * f : null);

  /** The state with every loss in this unit; the same state where that is nats, or where bits are not known. */
  function within(state, name) {
    const f = factor(state), learnt = trainFactor(state);
    if (name !== 'bits' || f === null) return state;
    const scaled = (list) => list.map((v) => bits(v, learnt));
    const { points, evals, baselines } = state;
    return {
      ...state, points: { ...points, loss: scaled(points.loss) },
      evals: { ...evals, train: scaled(evals.train), val: evals.val.map((v, i) => (curve.known(evals.bits_per_byte[i]) ? evals.bits_per_byte[i] : bits(v, f))) },
      baselines: baselines.map((b) => ({ ...b, value: curve.known(b.bits) ? b.bits : bits(b.value, f) })),
    };
  }

  /** The baselines, each with the step of the first evaluation that is below it, or null; lost: the last one is not any more.
      Before the first step nothing is learnt: what an untrained model is better at is luck. */
  function beaten({ baselines, evals }) {
    const now = evals.val.findLast(curve.known);
    return baselines.filter((b) => curve.known(b.value)).map((b) => {
      const i = evals.val.findIndex((v, k) => evals.step[k] > 0 && curve.known(v) && v < b.value);
      return { ...b, index: i, step: i < 0 ? null : evals.step[i], lost: i >= 0 && now >= b.value };
    });
  }

  const heldOut = ({ evals }) => evals.val.some(curve.known);

  /** What the marks in the chart say, in words, or why there are none; '' before the first evaluation. */
  function sentence(state) {
    const all = beaten(state), { count } = glass.fmt;
    if (state.evals.step.length && !heldOut(state)) return 'Nothing was held out of this text, so there is no validation loss, and no baselines: counting is measured on held-out text too.';
    if (!all.length || !heldOut(state)) return '';
    const list = (words, last = 'and') => (words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} ${last} ${words.at(-1)}`);
    const told = (some) => list([...new Set(some.map((b) => b.step))].sort((a, b) => a - b)
      .map((step) => `${list(some.filter((b) => b.step === step).map((b) => b.name))} from step ${count(step)}`));
    const done = all.filter((b) => b.step !== null && !b.lost), lost = all.filter((b) => b.lost), left = all.filter((b) => b.step === null).map((b) => b.name);
    const not = GOES_ON.includes(state.run?.state) ? 'not yet' : 'not', words = list(left, 'or');
    const share = all[0].share, some = curve.known(share) ? ` Counting looked at ${glass.percent(share)} of the training part, spread over it.` : '';
    const once = lost.length ? ` It beat ${told(lost)}, and does no more.` : '';
    if (!done.length && !left.length) return `On held-out text the model beat ${told(lost)}, and does no more.${some}`;
    if (!done.length) return `On held-out text the model does ${not} beat ${words}.${once}${some}`;
    return `On held-out text the model beats ${told(done)}${left.length ? `, but ${not} ${words}` : ''}.${once}${some}`;
  }

  function table(state) {
    const { fixed, count } = glass.fmt, f = factor(state);
    const head = ['counting alone', 'nats per token', 'bits per byte', 'beaten by step'].map((t) => h('th', { scope: 'col' }, t));
    const rows = beaten(state).map((b) => h('tr', { dataset: { baseline: b.name } }, h('th', { scope: 'row' }, b.name, SAID[b.name] ? h('small', {}, ` ${SAID[b.name]}`) : null),
      h('td', {}, fixed(b.value)), h('td', {}, fixed(curve.known(b.bits) ? b.bits : bits(b.value, f))), h('td', {}, b.step === null ? (GOES_ON.includes(state.run?.state) ? 'not yet' : '–') : count(b.step))));
    return h('table', { 'data-testid': 'loss-baselines' }, h('caption', { class: 'g-hidden' }, 'What counting alone gives on the held-out text'), h('thead', {}, h('tr', {}, head)), h('tbody', {}, rows));
  }

  window.glass.losses = { NAMES, unit, keep, factor, trainFactor, bits, within, beaten, heldOut, sentence, table };
})();
