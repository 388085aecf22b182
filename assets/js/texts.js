/* glass.texts: what has been decoded, kept for a reload of this browser tab: per model its tokens, prompt, settings and head.
   get(ref) -> a record or null; keep(ref, record) (null forgets it). At most MOST models, the one used longest ago goes
   first; a text of more than LONGEST tokens is not kept. What is read back is checked: another version wrote it, perhaps. */
(function () {
  'use strict';
  const glass = window.glass;
  const PREFIX = 'glass.text:', ORDER = 'glass.texts', MOST = 6, LONGEST = 6000;

  const whole = (x) => Number.isInteger(x) && x >= 0;
  const LIMITS = { temperature: [0, 100], top_k: [0, 1e7], top_p: [0, 1], min_p: [0, 1], repetition_penalty: [0, 100], seed: [0, 2147483647] };

  function sound(record) {
    if (!record || !Array.isArray(record.ids) || !record.ids.length || record.ids.length > LONGEST || !record.ids.every(whole)) return false;
    if (typeof record.prompt !== 'string' || !whole(record.step) || !whole(record.prompt_tokens) || !whole(record.rows)) return false;
    if (!whole(record.length) || record.length < 1 || record.length > record.ids.length) return false;
    if (!Array.isArray(record.head) || record.head.length !== 2 || !record.head.every(whole)) return false;
    return Boolean(record.settings) && Object.entries(record.settings).every(([name, value]) =>
      LIMITS[name] && typeof value === 'number' && value >= LIMITS[name][0] && value <= LIMITS[name][1]);
  }

  function order() {
    const kept = JSON.parse(sessionStorage.getItem(ORDER) || '[]');
    return Array.isArray(kept) ? kept.filter((ref) => typeof ref === 'string') : [];
  }

  function get(ref) {
    try {
      const record = JSON.parse(sessionStorage.getItem(PREFIX + ref));
      return sound(record) ? record : null;
    } catch {
      return null; // storage is switched off, or what is there is not ours
    }
  }

  let last = '';

  function keep(ref, record) {
    const text = record && record.ids.length <= LONGEST ? JSON.stringify(record) : null;
    if (ref + text === last) return; // most of what is announced changes nothing here
    last = ref + text;
    try {
      const refs = order().filter((one) => one !== ref);
      if (text) {
        refs.push(ref);
        sessionStorage.setItem(PREFIX + ref, text);
      } else sessionStorage.removeItem(PREFIX + ref);
      while (refs.length > MOST) sessionStorage.removeItem(PREFIX + refs.shift());
      sessionStorage.setItem(ORDER, JSON.stringify(refs));
    } catch { /* full, or switched off: a reload begins anew then */ }
  }

  glass.texts = { get, keep };
})();
