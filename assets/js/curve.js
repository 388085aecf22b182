/* Curves: the arithmetic behind the loss chart, without a pixel of its own.
   smooth() is a debiased moving average that is continued, not computed anew, when points are added; columns() keeps
   the first, lowest, highest and last value of each pixel column, so 20,000 points draw like 1,000 and no spike is lost. */
(function () {
  'use strict';

  const known = (x) => typeof x === 'number' && Number.isFinite(x);

  /** Exponential moving average with the start-up bias divided out. `cache` ({}) is kept by the caller. */
  function smooth(steps, values, weight, cache) {
    const done = cache.out ? cache.out.length : 0;
    const stale = cache.weight !== weight || done > values.length || (done && cache.last !== steps[done - 1]);
    if (!cache.out || stale) Object.assign(cache, { weight, out: [], sum: 0, left: 1 });
    for (let i = cache.out.length; i < values.length; i++) {
      if (known(values[i])) {
        cache.sum = weight * cache.sum + (1 - weight) * values[i];
        cache.left *= weight; // what is still missing of the weights' sum
        cache.out.push(cache.sum / (1 - cache.left));
      } else cache.out.push(null);
    }
    cache.last = steps[values.length - 1];
    return cache.out;
  }

  /** First index whose step is >= wanted; steps rise. */
  function at(steps, wanted) {
    let low = 0, high = steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Index of the step nearest to wanted, -1 without steps. */
  function nearest(steps, wanted) {
    if (!steps.length) return -1;
    const i = Math.min(at(steps, wanted), steps.length - 1);
    return i > 0 && wanted - steps[i - 1] < steps[i] - wanted ? i - 1 : i;
  }

  /** Index of the measurement that a curve reads at x, the nearest one; -1 where the curve has not begun or is over. */
  function reads(xs, x) {
    return xs.length && x >= xs[0] && x <= xs.at(-1) ? nearest(xs, x) : -1;
  }

  /** [from, to): the points inside lo..hi and one neighbour on each side, so that lines run out of the picture. */
  function span(steps, lo, hi) {
    return [Math.max(0, at(steps, lo) - 1), Math.min(steps.length, at(steps, hi + 1e-9) + 1)];
  }

  /** The points to draw, [x, value] or null for a gap: at most four for each pixel column. */
  function columns(steps, values, from, to, toX) {
    const out = [];
    let column = null, kept = [];
    const flush = () => {
      kept.sort((a, b) => a - b);
      let before = -1;
      for (const i of kept) if (i !== before) { out.push([toX(steps[i]), values[i]]); before = i; }
    };
    for (let i = from; i < to; i++) {
      if (!known(values[i])) {
        if (column !== null) { flush(); column = null; }
        out.push(null);
        continue;
      }
      const here = Math.floor(toX(steps[i]));
      if (here !== column) {
        if (column !== null) flush();
        column = here;
        kept = [i, i, i, i];
      } else {
        if (values[i] < values[kept[1]]) kept[1] = i;
        if (values[i] > values[kept[2]]) kept[2] = i;
        kept[3] = i;
      }
    }
    if (column !== null) flush();
    return out;
  }

  /** Like columns(), with the mean of each pixel column once there are several points in one: for a smooth line. */
  function means(steps, values, from, to, toX) {
    const out = [];
    for (let i = from; i < to;) {
      if (!known(values[i])) { out.push(null); i++; continue; }
      const column = Math.floor(toX(steps[i]));
      let n = 0, x = 0, sum = 0;
      for (; i < to && known(values[i]) && Math.floor(toX(steps[i])) === column; i++) { n++; x += toX(steps[i]); sum += values[i]; }
      const atEnd = i === to;  // the last point is shown as it is: its value is written beside it
      out.push(atEnd ? [toX(steps[i - 1]), values[i - 1]] : [x / n, sum / n]);
    }
    return out;
  }

  /** Round numbers within lo..hi, about `count` of them. */
  function ticks(lo, hi, count) {
    const rough = (hi - lo) / Math.max(1, count), ten = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * ten).find((s) => s >= rough * 0.999);
    const out = [];
    for (let k = Math.ceil(lo / step - 1e-9); k * step <= hi + step * 1e-9; k++) out.push(Number((k * step).toPrecision(12)));
    return out;
  }

  /** 1, 2, 5, 10 ... within lo..hi; ordinary round numbers where the range holds fewer than three of those. */
  function logTicks(lo, hi, count) {
    const out = [];
    for (let ten = 10 ** Math.floor(Math.log10(lo)); ten <= hi; ten *= 10) {
      for (const m of [1, 2, 5]) if (m * ten >= lo && m * ten <= hi) out.push(Number((m * ten).toPrecision(12)));
    }
    return out.length > 2 ? out : ticks(lo, hi, count).filter((t) => t > 0);
  }

  /** [lowest, highest] of the known values in [from, to), widened by what was found before. */
  function reach(values, from, to, before) {
    let [lo, hi] = before || [Infinity, -Infinity];
    for (let i = from; i < to; i++) {
      if (!known(values[i])) continue;
      if (values[i] < lo) lo = values[i];
      if (values[i] > hi) hi = values[i];
    }
    return [lo, hi];
  }

  window.glass.curve = { known, smooth, at, nearest, reads, span, columns, means, ticks, logTicks, reach };
})();
